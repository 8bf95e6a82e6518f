//! Writing a history folder: buffered, sorted, each file whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oddns_core::{Labels, Recording, Scrape, SeriesId, SeriesKey, SeriesTable, Timestamp};

use super::folder::{day_folder, day_folders, parquet_files, part_number};
use super::{MILLIS_PER_DAY, SCRAPE_DURATION, UP};
use crate::atomic::folder_of;
use crate::compaction::in_order;
use crate::part::PartWriter;
use crate::{AtomicFile, Dataset, StoreError};

/// Rows kept in memory before they are written without being asked; 24 bytes each.
const MAX_BUFFERED_ROWS: usize = 1 << 20;

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
        let folder = self.root.join(day_folder(day));
        fs::create_dir_all(&folder).map_err(StoreError::write(&folder))?;
        let path = next_part(&folder)?;
        let mut part = PartWriter::new(&path, AtomicFile::create(&path)?)?;
        for (instance, buffer) in &self.buffers {
            let from = buffer.rows.partition_point(|row| day_of(row) < day);
            let to = buffer.rows.partition_point(|row| day_of(row) <= day);
            buffer.write(instance, &buffer.rows[from..to], &mut part)?;
        }
        part.finish()?.commit_new()?;
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
    let last = parquet_files(folder)?.iter().filter_map(|path| part_number(path)).max();
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

    /// Writes sorted rows of one day. Of several at one time of one series the last one stays.
    fn write(
        &self,
        instance: &str,
        rows: &[Row],
        part: &mut PartWriter<AtomicFile>,
    ) -> Result<(), StoreError> {
        for rows in rows.chunk_by(|a, b| a.series == b.series) {
            let Some(key) = self.series.get(rows[0].series) else { continue };
            let mut samples: Vec<(i64, f64)> =
                rows.iter().map(|row| (row.millis, row.value)).collect();
            let n = in_order(&mut samples);
            part.add([instance, &key.name, &key.labels.to_string()], &samples[..n])?;
        }
        Ok(())
    }

    /// Name and canonical labels of every series, by its number.
    fn series_texts(&self) -> Vec<(&str, String)> {
        let keys = (0..self.series.len()).filter_map(|id| self.series.get(SeriesId(id as u32)));
        keys.map(|key| (key.name.as_str(), key.labels.to_string())).collect()
    }
}
