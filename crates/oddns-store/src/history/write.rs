//! Writing a history folder: buffered, sorted, each file whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use oddns_core::{Labels, Recording, Scrape, SeriesId, SeriesKey, SeriesTable, Timestamp};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::Encoding;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use super::read::{day_folders, parquet_files};
use super::{MILLIS_PER_DAY, SCRAPE_DURATION, UP};
use crate::atomic::folder_of;
use crate::parquet_file::{self, string_dictionary, write_error};
use crate::{AtomicFile, Dataset, StoreError};

/// Rows kept in memory before they are written without being asked; 24 bytes each.
const MAX_BUFFERED_ROWS: usize = 1 << 20;

/// Rows given to the encoder at once.
const BATCH_ROWS: usize = 65_536;

/// An instance with at least so many rows ends its row group, so that readers of one instance can
/// skip the others.
const ROW_GROUP_ROWS: usize = 65_536;

/// Appends scrapes to a history folder.
///
/// Samples are buffered and written by [`HistoryWriter::flush`], by [`HistoryWriter::finish`], or
/// when a million rows have gathered; what was appended since is lost in a crash, and when the
/// writer is dropped. Each flush adds one file `part-N.parquet` to each day it has rows of; no
/// existing file is changed but `dataset.json`.
#[derive(Debug)]
pub struct HistoryWriter {
    root: PathBuf,
    dataset: Dataset,
    buffers: BTreeMap<String, Buffer>,
    n_rows: usize,
    max_rows: usize,
}

/// Rows of one instance that are not yet on disk.
#[derive(Debug, Default)]
struct Buffer {
    series: SeriesTable,
    /// Our numbers of the caller's series.
    ids: Vec<Option<SeriesId>>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    series: SeriesId,
    millis: i64,
    value: f64,
}

/// Writes recordings as a new data set folder. It appears at `root` when it is complete; an
/// existing file or non-empty folder there is an error.
pub fn write_history(
    root: &Path,
    dataset: &Dataset,
    recordings: &[Recording],
) -> Result<(), StoreError> {
    refuse_existing(root)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".writing-");
    let folder = folder_of(root);
    let temporary = builder.tempdir_in(folder).map_err(StoreError::write(root))?;
    let inner = temporary.path().join("data");
    let mut writer = HistoryWriter::create(&inner, dataset)?;
    writer.max_rows = usize::MAX;
    for recording in recordings {
        for scrape in &recording.scrapes {
            writer.append(&recording.instance, &recording.series, scrape)?;
        }
    }
    writer.finish()?;
    fs::rename(&inner, root).map_err(StoreError::write(root))
}

impl HistoryWriter {
    /// Starts a new history in the folder `root`, which must not exist or be empty.
    pub fn create(root: &Path, dataset: &Dataset) -> Result<Self, StoreError> {
        refuse_existing(root)?;
        fs::create_dir_all(root).map_err(StoreError::write(root))?;
        let dataset = dataset.clone();
        dataset.write(root)?;
        Ok(Self::new(root, dataset))
    }

    /// Goes on with the history in the folder `root`; its description is kept.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        day_folders(root)?;
        Ok(Self::new(root, Dataset::read(root)?.unwrap_or_default()))
    }

    fn new(root: &Path, dataset: Dataset) -> Self {
        let root = root.to_owned();
        Self { root, dataset, buffers: BTreeMap::new(), n_rows: 0, max_rows: MAX_BUFFERED_ROWS }
    }

    /// Takes a scrape of `instance`; `series` is the table its samples speak of. Samples of series
    /// that are not in the table are left out.
    pub fn append(
        &mut self,
        instance: &str,
        series: &SeriesTable,
        scrape: &Scrape,
    ) -> Result<(), StoreError> {
        if !self.buffers.contains_key(instance) {
            self.buffers.insert(instance.to_owned(), Buffer::default());
        }
        if let Some(buffer) = self.buffers.get_mut(instance) {
            self.n_rows += buffer.append(series, scrape);
        }
        self.note(instance, scrape.time);
        if self.n_rows >= self.max_rows {
            self.flush()?;
        }
        Ok(())
    }

    fn note(&mut self, instance: &str, time: Timestamp) {
        let dataset = &mut self.dataset;
        dataset.start = Some(dataset.start.map_or(time, |start| start.min(time)));
        dataset.end = Some(dataset.end.map_or(time, |end| end.max(time)));
        if !dataset.instances.iter().any(|known| known == instance) {
            dataset.instances.push(instance.to_owned());
            dataset.instances.sort();
        }
    }

    /// Writes what is buffered and returns the new files. On an error the rows stay buffered, but
    /// for those of days already written.
    pub fn flush(&mut self) -> Result<Vec<PathBuf>, StoreError> {
        let mut days = BTreeSet::new();
        for buffer in self.buffers.values_mut() {
            days.extend(buffer.sort());
        }
        let mut files = Vec::new();
        for day in days {
            files.push(self.write_day(day)?);
            for buffer in self.buffers.values_mut() {
                buffer.rows.retain(|row| day_of(row) != day);
            }
        }
        self.n_rows = 0;
        if !files.is_empty() {
            self.dataset.write(&self.root)?;
        }
        Ok(files)
    }

    /// Flushes and closes.
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.flush().map(drop)
    }

    fn write_day(&self, day: i64) -> Result<PathBuf, StoreError> {
        let midnight = Timestamp::from_millis(day.saturating_mul(MILLIS_PER_DAY));
        let folder = self.root.join(format!("day={}", midnight.day()));
        fs::create_dir_all(&folder).map_err(StoreError::write(&folder))?;
        let path = next_part(&folder)?;
        let mut part = Part::create(&path)?;
        for (instance, buffer) in &self.buffers {
            let from = buffer.rows.partition_point(|row| day_of(row) < day);
            let to = buffer.rows.partition_point(|row| day_of(row) <= day);
            part.add(instance, buffer, &buffer.rows[from..to])?;
        }
        part.finish()?;
        Ok(path)
    }
}

fn refuse_existing(root: &Path) -> Result<(), StoreError> {
    let is_empty = match fs::read_dir(root) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => false,
        Err(error) => return Err(StoreError::write(root)(error)),
    };
    if is_empty { Ok(()) } else { Err(StoreError::Exists { path: root.to_owned() }) }
}

fn day_of(row: &Row) -> i64 {
    row.millis.div_euclid(MILLIS_PER_DAY)
}

/// The first `part-N.parquet` above all that are there.
fn next_part(folder: &Path) -> Result<PathBuf, StoreError> {
    let number =
        |path: &PathBuf| path.file_stem()?.to_str()?.strip_prefix("part-")?.parse::<u32>().ok();
    let last = parquet_files(folder)?.iter().filter_map(number).max();
    let next = last.map_or(0, |last| last.saturating_add(1));
    Ok(folder.join(format!("part-{next}.parquet")))
}

impl Buffer {
    /// Takes a scrape and says how many rows it gave.
    fn append(&mut self, series: &SeriesTable, scrape: &Scrape) -> usize {
        let before = self.rows.len();
        let millis = scrape.time.millis();
        let up = f64::from(u8::from(scrape.up));
        let own = self.own_series(UP);
        self.rows.push(Row { series: own, millis, value: up });
        if !scrape.duration_seconds.is_nan() {
            let own = self.own_series(SCRAPE_DURATION);
            self.rows.push(Row { series: own, millis, value: scrape.duration_seconds });
        }
        for sample in &scrape.samples {
            if let Some(own) = self.translate(series, sample.series) {
                self.rows.push(Row { series: own, millis, value: sample.value });
            }
        }
        self.rows.len() - before
    }

    fn own_series(&mut self, name: &str) -> SeriesId {
        self.series.intern(&SeriesKey { name: name.to_owned(), labels: Labels::default() })
    }

    /// Our number for series `id` of the caller's table. The caller may come with another table
    /// after a restart, so a remembered number is checked against the key.
    fn translate(&mut self, series: &SeriesTable, id: SeriesId) -> Option<SeriesId> {
        let key = series.get(id)?;
        let at = id.0 as usize;
        if let Some(Some(own)) = self.ids.get(at)
            && self.series.get(*own) == Some(key)
        {
            return Some(*own);
        }
        let own = self.series.intern(key);
        if self.ids.len() <= at {
            self.ids.resize(at + 1, None);
        }
        self.ids[at] = Some(own);
        Some(own)
    }

    /// Sorts by day, series and time, and says which days there are.
    fn sort(&mut self) -> BTreeSet<i64> {
        let texts = self.series_texts();
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by(|a, b| texts[*a].cmp(&texts[*b]));
        let mut rank = vec![0_u32; order.len()];
        for (place, series) in order.into_iter().enumerate() {
            rank[series] = place as u32;
        }
        self.rows.sort_by_key(|row| (day_of(row), rank[row.series.0 as usize], row.millis));
        self.rows.iter().map(day_of).collect()
    }

    /// Name and canonical labels of every series, by its number.
    fn series_texts(&self) -> Vec<(&str, String)> {
        let keys = (0..self.series.len()).filter_map(|id| self.series.get(SeriesId(id as u32)));
        keys.map(|key| (key.name.as_str(), key.labels.to_string())).collect()
    }
}

/// One Parquet file being written.
struct Part {
    path: PathBuf,
    writer: ArrowWriter<AtomicFile>,
}

impl Part {
    fn create(path: &Path) -> Result<Self, StoreError> {
        let file = AtomicFile::create(path)?;
        let options = ArrowWriterOptions::new()
            .with_properties(properties(path)?)
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(file, Arc::new(schema()), options)
            .map_err(write_error(path))?;
        Ok(Self { path: path.to_owned(), writer })
    }

    fn add(&mut self, instance: &str, buffer: &Buffer, rows: &[Row]) -> Result<(), StoreError> {
        let texts = buffer.series_texts();
        let names: ArrayRef =
            Arc::new(StringArray::from_iter_values(texts.iter().map(|(name, _)| name)));
        let labels: ArrayRef =
            Arc::new(StringArray::from_iter_values(texts.iter().map(|(_, labels)| labels)));
        let instance: ArrayRef = Arc::new(StringArray::from_iter_values([instance]));
        for rows in rows.chunks(BATCH_ROWS) {
            let batch = batch(&instance, &names, &labels, rows).map_err(write_error(&self.path))?;
            self.writer.write(&batch).map_err(write_error(&self.path))?;
        }
        if self.writer.in_progress_rows() >= ROW_GROUP_ROWS {
            self.writer.flush().map_err(write_error(&self.path))?;
        }
        Ok(())
    }

    fn finish(self) -> Result<(), StoreError> {
        let file = self.writer.into_inner().map_err(write_error(&self.path))?;
        file.commit_new()
    }
}

fn schema() -> Schema {
    let utc = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    Schema::new(vec![
        Field::new("timestamp", utc, false),
        Field::new("instance", string_dictionary(), false),
        Field::new("name", string_dictionary(), false),
        Field::new("labels", string_dictionary(), false),
        Field::new("value", DataType::Float64, false),
    ])
}

fn properties(path: &Path) -> Result<WriterProperties, StoreError> {
    let column = |name: &str| ColumnPath::from(name);
    Ok(parquet_file::properties(path)?
        .set_column_dictionary_enabled(column("timestamp"), false)
        .set_column_encoding(column("timestamp"), Encoding::DELTA_BINARY_PACKED)
        .set_column_dictionary_enabled(column("value"), false)
        .set_column_encoding(column("value"), Encoding::BYTE_STREAM_SPLIT)
        .build())
}

fn batch(
    instance: &ArrayRef,
    names: &ArrayRef,
    labels: &ArrayRef,
    rows: &[Row],
) -> Result<RecordBatch, arrow_schema::ArrowError> {
    let series = Int32Array::from_iter_values(rows.iter().map(|row| row.series.0 as i32));
    let first = Int32Array::from_iter_values(rows.iter().map(|_| 0));
    let strings = |keys: &Int32Array, texts: &ArrayRef| {
        DictionaryArray::<Int32Type>::try_new(keys.clone(), texts.clone())
    };
    let millis = TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.millis));
    RecordBatch::try_new(
        Arc::new(schema()),
        vec![
            Arc::new(millis.with_timezone("UTC")),
            Arc::new(strings(&first, instance)?),
            Arc::new(strings(&series, names)?),
            Arc::new(strings(&series, labels)?),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.value))),
        ],
    )
}
