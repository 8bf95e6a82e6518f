//! Reading a history folder, file or embedded recording.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use oddns_core::{Recording, Timestamp};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use super::columns::{self, Columns};
use super::folder::midnight_of;
use super::snapshot::{Snapshot, with_snapshot};
use super::transpose::{Destination, Transposer};
use super::{COLUMNS, MILLIS_PER_DAY};
use crate::log::{LogDamage, LogReader, read_segment};
use crate::parquet_file::{ParquetFile, guarded};
use crate::{Dataset, LabelledInterval, StoreError, read_labels};

/// Which part of a history to read. The default is all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryFilter {
    /// From this instant on.
    pub since: Option<Timestamp>,
    /// Up to, not including, this instant.
    pub until: Option<Timestamp>,
    /// Only this server.
    pub instance: Option<String>,
}

/// Milliseconds and value.
pub(crate) type MetricSample = (i64, f64);

/// What a history holds.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// One for each instance that has scrapes, sorted by instance.
    pub recordings: Vec<Recording>,
    /// What `dataset.json` says, where there is one.
    pub dataset: Option<Dataset>,
    /// What `labels.csv` says, where there is one; not cut by the filter.
    pub labels: Option<Vec<LabelledInterval>>,
    /// Rows left out because a value was missing (null).
    pub skipped_rows: u64,
    /// Rows left out because the same series had another value at the same time; the one written
    /// first was kept.
    pub duplicate_rows: u64,
    /// Stretches of the write-ahead log that could not be read, where there is one.
    pub log_damage: Vec<LogDamage>,
}

impl HistoryFilter {
    /// First millisecond, and the first one that is too late.
    pub(crate) fn millis(&self) -> (i64, i64) {
        let since = self.since.map_or(i64::MIN, Timestamp::millis);
        (since, self.until.map_or(i64::MAX, Timestamp::millis))
    }

    /// The samples of a series of `instance` that pass, of some sorted by time.
    pub(crate) fn cut<'a>(
        &self,
        instance: &str,
        samples: &'a [MetricSample],
    ) -> &'a [MetricSample] {
        if self.instance.as_deref().is_some_and(|wanted| wanted != instance) {
            return &[];
        }
        let (since, until) = self.millis();
        let from = samples.partition_point(|(millis, _)| *millis < since);
        let to = samples.partition_point(|(millis, _)| *millis < until);
        &samples[from..to.max(from)]
    }
}

/// Reads a data set folder (`day=YYYY-MM-DD/*.parquet`, `dataset.json`, `labels.csv`) or one
/// Parquet file.
///
/// A history that is being written can be read at the same time, with all that has been appended;
/// each sample is seen once. Rows may be in any order; the documented one is fastest. The series `up` and
/// `scrape_duration_seconds` become [`oddns_core::Scrape::up`] and `duration_seconds`; a scrape
/// without `up` counts as up when it has samples. A filter that nothing passes gives no recordings.
pub fn read_history(path: &Path, filter: &HistoryFilter) -> Result<History, StoreError> {
    let about = fs::metadata(path).map_err(StoreError::read(path))?;
    if !about.is_dir() {
        return read_files(&[path.to_owned()], filter).map(history);
    }
    let labels = path.join("labels.csv");
    let labels = if labels.exists() { Some(read_labels(&labels)?) } else { None };
    let history = with_snapshot(path, |snapshot| read_snapshot(path, snapshot, filter))?;
    Ok(History { dataset: Dataset::read(path)?, labels, ..history })
}

/// Reads one Parquet file that is already in memory, such as a recording within the program. `name`
/// is what errors call it.
pub fn read_history_bytes(
    name: &str,
    bytes: impl AsRef<[u8]> + Send + 'static,
    filter: &HistoryFilter,
) -> Result<History, StoreError> {
    let path = Path::new(name);
    let mut rows = Transposer::new(filter.instance.clone());
    guarded(path, || {
        let file = ParquetFile::in_memory(path, Bytes::from_owner(bytes))?;
        read_file(path, file, filter, &mut rows)
    })?;
    Ok(history(rows))
}

fn read_files(files: &[PathBuf], filter: &HistoryFilter) -> Result<Transposer, StoreError> {
    let mut rows = Transposer::new(filter.instance.clone());
    for path in files {
        guarded(path, || read_file(path, ParquetFile::open(path)?, filter, &mut rows))?;
    }
    Ok(rows)
}

fn read_snapshot(
    root: &Path,
    snapshot: &Snapshot,
    filter: &HistoryFilter,
) -> Result<History, StoreError> {
    let rows = read_files(&snapshot.part_files(root, filter)?, filter)?;
    let (since, until) = filter.millis();
    let mut log = LogRows { rows, since, until, damage: Vec::new() };
    for path in &snapshot.segments {
        read_segment(path, &mut log)?;
    }
    let log_damage = log.damage;
    Ok(History { log_damage, ..history(log.rows) })
}

/// Takes what the log holds beside the Parquet files.
struct LogRows {
    rows: Transposer,
    since: i64,
    until: i64,
    damage: Vec<LogDamage>,
}

impl LogReader for LogRows {
    type Series = Destination;

    fn series(&mut self, texts: [&str; 3]) -> Destination {
        self.rows.log_series(texts)
    }

    fn sample(&mut self, series: Destination, millis: i64, value: f64) {
        if (self.since..self.until).contains(&millis) {
            self.rows.log_sample(series, millis, value);
        }
    }

    fn damage(&mut self, damage: LogDamage, is_end: bool) {
        // The last record of a log that is being written is only half there.
        if !is_end {
            self.damage.push(damage);
        }
    }
}

fn history(rows: Transposer) -> History {
    let (recordings, skipped_rows, duplicate_rows) = rows.finish();
    History { recordings, skipped_rows, duplicate_rows, ..History::default() }
}

fn read_file(
    path: &Path,
    file: ParquetFile,
    filter: &HistoryFilter,
    rows: &mut Transposer,
) -> Result<(), StoreError> {
    columns::check(path, file.schema())?;
    let file = file.with_string_dictionaries()?;
    let (since, until) = filter.millis();
    for number in row_groups(&file, filter) {
        for batch in file.batches(number, &COLUMNS)? {
            let batch = batch?;
            let columns = Columns::new(&batch)
                .ok_or_else(|| StoreError::damaged(path)("a column changed its type"))?;
            rows.add(&columns, since, until).map_err(StoreError::damaged(path))?;
        }
    }
    Ok(())
}

/// The row groups that may have rows that pass the filter.
pub(super) fn row_groups<'a>(
    file: &'a ParquetFile,
    filter: &'a HistoryFilter,
) -> impl Iterator<Item = usize> + 'a {
    let groups = file.row_groups().iter().enumerate();
    groups.filter(|(_, group)| may_match(file, group, filter)).map(|(number, _)| number)
}

/// False when the statistics of a row group show that no row of it passes the filter.
fn may_match(file: &ParquetFile, group: &RowGroupMetaData, filter: &HistoryFilter) -> bool {
    let statistics =
        |name| file.leaf(name).and_then(|leaf| group.columns().get(leaf)?.statistics());
    let instance = match (&filter.instance, statistics("instance")) {
        (Some(instance), Some(found)) => may_contain(found, instance),
        _ => true,
    };
    instance && statistics("timestamp").is_none_or(|found| may_overlap(file, found, filter))
}

fn may_contain(found: &Statistics, instance: &str) -> bool {
    // Old writers compared bytes as signed numbers; their bounds say nothing.
    if found.is_min_max_deprecated() {
        return true;
    }
    let instance = instance.as_bytes();
    found.min_bytes_opt().is_none_or(|min| min <= instance)
        && found.max_bytes_opt().is_none_or(|max| instance <= max)
}

/// Compares only millisecond timestamps, the unit of the format; others are read and then filtered.
fn may_overlap(file: &ParquetFile, found: &Statistics, filter: &HistoryFilter) -> bool {
    use arrow_schema::{DataType, TimeUnit};
    let Ok(field) = file.schema().field_with_name("timestamp") else { return true };
    let DataType::Timestamp(TimeUnit::Millisecond, _) = field.data_type() else { return true };
    let Statistics::Int64(found) = found else { return true };
    let early = |max: &i64| filter.since.is_some_and(|since| *max < since.millis());
    let late = |min: &i64| filter.until.is_some_and(|until| *min >= until.millis());
    !found.max_opt().is_some_and(early) && !found.min_opt().is_some_and(late)
}

/// False when the whole day is outside the filter; a name that is no day is read.
pub(super) fn day_may_match(folder: &Path, filter: &HistoryFilter) -> bool {
    let Some(midnight) = midnight_of(folder) else { return true };
    filter.since.is_none_or(|since| midnight + MILLIS_PER_DAY > since.millis())
        && filter.until.is_none_or(|until| midnight < until.millis())
}
