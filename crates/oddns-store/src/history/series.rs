//! One series, read without touching the others.

use std::ops::Range;
use std::path::Path;

use arrow_array::Array;
use oddns_core::{SeriesKey, Timestamp};

use super::columns;
use super::read::{HistoryFilter, day_may_match, row_groups};
use super::snapshot::with_snapshot;
use crate::StoreError;
use crate::compaction::in_order;
use crate::log::{LogDamage, LogReader, read_segment};
use crate::numbers;
use crate::parquet_file::{ParquetFile, guarded};

/// Reads the samples of the series `key` of `instance` in the history `root`, oldest first.
///
/// `filter` cuts time; its instance is not looked at. Only pages that can hold the series are read.
/// A series that is not there gives none. Of several values at one time the first one stays.
pub fn read_series(
    root: &Path,
    instance: &str,
    key: &SeriesKey,
    filter: &HistoryFilter,
) -> Result<Vec<(Timestamp, f64)>, StoreError> {
    let filter = HistoryFilter { instance: Some(instance.to_owned()), ..filter.clone() };
    let texts = [instance.to_owned(), key.name.clone(), key.labels.to_string()];
    let mut samples = with_snapshot(root, |snapshot| {
        let mut reader = SeriesReader { texts: &texts, samples: Vec::new() };
        for (folder, parts) in &snapshot.days {
            if day_may_match(folder, &filter) {
                parts.iter().try_for_each(|path| reader.read_part(path, &filter))?;
            }
        }
        for path in &snapshot.segments {
            read_segment(path, &mut reader)?;
        }
        Ok(reader.samples)
    })?;
    let n = in_order(&mut samples).n;
    let (since, until) = filter.millis();
    let within = samples[..n].iter().filter(|(millis, _)| (since..until).contains(millis));
    Ok(within.map(|(millis, value)| (Timestamp::from_millis(*millis), *value)).collect())
}

struct SeriesReader<'a> {
    /// Instance, name and labels.
    texts: &'a [String; 3],
    samples: Vec<(i64, f64)>,
}

impl SeriesReader<'_> {
    fn read_part(&mut self, path: &Path, filter: &HistoryFilter) -> Result<(), StoreError> {
        guarded(path, || {
            let file = ParquetFile::open_with_index(path)?;
            columns::check(path, file.schema())?;
            let file = file.with_string_dictionaries()?;
            for group in row_groups(&file, filter) {
                let [instance, name, labels] = self.texts.each_ref().map(String::as_str);
                let wanted = [("instance", instance), ("name", name), ("labels", labels)];
                let (mut rows, open) = file.pages(group, &wanted);
                if !rows.is_empty() && !open.is_empty() {
                    let open = wanted.into_iter().filter(|(column, _)| open.contains(column));
                    rows = exact_rows(path, &file, group, rows, &open.collect::<Vec<_>>())?;
                }
                if !rows.is_empty() {
                    self.take_rows(path, &file, group, &rows)?;
                }
            }
            Ok(())
        })
    }

    fn take_rows(
        &mut self,
        path: &Path,
        file: &ParquetFile,
        group: usize,
        rows: &[Range<usize>],
    ) -> Result<(), StoreError> {
        for batch in file.selected_batches(group, &["timestamp", "value"], rows)? {
            let batch = batch?;
            let (times, values) =
                (batch.column_by_name("timestamp"), batch.column_by_name("value"));
            let (Some(times), Some(values)) = (times, values) else { return Err(changed(path)) };
            let (Some(millis), Some(floats)) = (numbers::millis(times), numbers::floats(values))
            else {
                return Err(changed(path));
            };
            let is_there = |at: &usize| !times.is_null(*at) && !values.is_null(*at);
            let rows = (0..batch.num_rows()).filter(is_there);
            self.samples.extend(rows.map(|at| (millis[at], floats[at])));
        }
        Ok(())
    }
}

/// Of some `rows`, those that have all the texts in their columns.
fn exact_rows(
    path: &Path,
    file: &ParquetFile,
    group: usize,
    rows: Vec<Range<usize>>,
    texts: &[(&str, &str)],
) -> Result<Vec<Range<usize>>, StoreError> {
    let names: Vec<&str> = texts.iter().map(|(column, _)| *column).collect();
    let mut places = rows.iter().cloned().flatten();
    let mut exact: Vec<Range<usize>> = Vec::new();
    for batch in file.selected_batches(group, &names, &rows)? {
        let batch = batch?;
        let mut wanted = vec![true; batch.num_rows()];
        for (column, text) in texts {
            let column = batch.column_by_name(column).ok_or_else(|| changed(path))?;
            columns::keep_equal(column, text, &mut wanted).ok_or_else(|| changed(path))?;
        }
        for (is_wanted, place) in wanted.into_iter().zip(&mut places) {
            match exact.last_mut().filter(|last| last.end == place) {
                _ if !is_wanted => {}
                Some(last) => last.end = place + 1,
                None => exact.push(place..place + 1),
            }
        }
    }
    Ok(exact)
}

fn changed(path: &Path) -> StoreError {
    StoreError::damaged(path)("a column changed its type")
}

impl LogReader for SeriesReader<'_> {
    type Series = bool;

    fn series(&mut self, texts: [&str; 3]) -> bool {
        texts == self.texts.each_ref().map(String::as_str)
    }

    fn sample(&mut self, is_wanted: bool, millis: i64, value: f64) {
        if is_wanted {
            self.samples.push((millis, value));
        }
    }

    // What could not be read is told by the writer, and by `read_history`.
    fn damage(&mut self, _damage: LogDamage, _is_end: bool) {}
}
