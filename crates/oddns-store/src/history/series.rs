//! One series, read without touching the others.

use std::path::Path;

use arrow_array::RecordBatch;
use oddns_core::{SeriesKey, Timestamp};

use super::COLUMNS;
use super::columns::{self, Columns};
use super::read::{HistoryFilter, day_may_match, row_groups};
use super::snapshot::with_snapshot;
use crate::StoreError;
use crate::compaction::in_order;
use crate::log::{LogDamage, LogReader, read_segment};
use crate::parquet_file::{ParquetFile, guarded};

/// Reads the samples of the series `key` of `instance` in the history `root`, oldest first.
///
/// `filter` cuts time; its instance is not looked at. Only pages that can hold the series are read.
/// A series that is not there gives none. Of several values at one time the last one stays.
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
    let n = in_order(&mut samples);
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
                let wanted = [("instance", 0), ("name", 1), ("labels", 2)]
                    .map(|(column, at)| (column, self.texts[at].as_bytes()));
                let Some(rows) = file.pages(group, &wanted) else { continue };
                for batch in file.selected_batches(group, &COLUMNS, rows)? {
                    self.take(path, &batch?)?;
                }
            }
            Ok(())
        })
    }

    fn take(&mut self, path: &Path, batch: &RecordBatch) -> Result<(), StoreError> {
        let columns = Columns::new(batch)
            .ok_or_else(|| StoreError::damaged(path)("a column changed its type"))?;
        columns.take_series(self.texts, &mut self.samples);
        Ok(())
    }
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
