//! A history series by series, with bounded memory.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use tempfile::TempDir;

use crate::StoreError;
use crate::compaction::{compact, in_order};
use crate::history::{COLUMNS, Columns, HistoryFilter, Snapshot, check_columns};
use crate::parquet_file::{Batches, ParquetFile, guarded};

/// Walks over all series of some Parquet files in their order: by instance, name, labels.
///
/// In memory are a batch of each file and the samples of one series.
pub(crate) struct SeriesWalk {
    sources: Vec<Source>,
    samples: Vec<(i64, f64)>,
    /// Samples left out because a later one has the same time.
    pub(crate) n_duplicates: u64,
}

impl SeriesWalk {
    /// Over `parts`, of which later ones come later in time of writing: of samples of one series at
    /// one time that of the last part stays. Each part must be sorted as the format says;
    /// otherwise it is an error on the way. With `name`, only series of that name.
    pub(crate) fn open(parts: &[PathBuf], name: Option<&str>) -> Result<Self, StoreError> {
        let sources = parts.iter().map(|path| Source::open(path, name));
        let sources = sources.collect::<Result<_, _>>()?;
        Ok(Self { sources, samples: Vec::new(), n_duplicates: 0 })
    }

    /// The next series (instance, name, labels) with its samples, oldest first.
    #[expect(clippy::type_complexity, reason = "two plain things; a type would say less")]
    pub(crate) fn next(&mut self) -> Result<Option<([String; 3], &[(i64, f64)])>, StoreError> {
        let next = self.sources.iter().filter_map(|source| source.series.as_ref()).min();
        let Some(series) = next.cloned() else { return Ok(None) };
        self.samples.clear();
        for source in &mut self.sources {
            if source.series.as_ref() == Some(&series) {
                source.take_series(&series, &mut self.samples)?;
            }
        }
        let n = in_order(&mut self.samples);
        self.n_duplicates += (self.samples.len() - n) as u64;
        Ok(Some((series, &self.samples[..n])))
    }
}

/// The Parquet files that hold all of a history, what its log holds among them.
pub(crate) struct WholeHistory {
    pub(crate) parts: Vec<PathBuf>,
    /// Where the log has become Parquet, for us alone.
    _log: TempDir,
}

impl WholeHistory {
    /// Of the data set folder `root`, or of one Parquet file.
    pub(crate) fn open(root: &Path, filter: &HistoryFilter) -> Result<Self, StoreError> {
        let log = tempfile::tempdir().map_err(StoreError::write(Path::new("temporary folder")))?;
        if root.is_file() {
            return Ok(Self { parts: vec![root.to_owned()], _log: log });
        }
        let snapshot = Snapshot::take(root)?;
        let mut parts = snapshot.part_files(root, filter)?;
        if !snapshot.segments.is_empty() {
            let compacted = compact(log.path(), &snapshot.segments, 0)?;
            parts.extend(compacted.parts.iter().map(|part| log.path().join(&part.names.0)));
            // By day, and what is in the log last.
            parts.sort_by_key(|path| day_name(path));
        }
        Ok(Self { parts, _log: log })
    }

    /// The files of one day after the other, so that a walk over them keeps few files open.
    pub(crate) fn days(&self) -> impl Iterator<Item = &[PathBuf]> {
        self.parts.chunk_by(|a, b| day_name(a) == day_name(b))
    }

    /// The names of all series, sorted.
    pub(crate) fn names(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut names = BTreeSet::new();
        for path in &self.parts {
            let mut batches = guarded(path, || {
                let file = ParquetFile::open(path)?;
                check_columns(path, file.schema())?;
                file.with_string_dictionaries()?.into_batches(&COLUMNS[2..3], None)
            })?;
            while let Some(batch) = guarded(path, || batches.next().transpose())? {
                let texts = batch.column_by_name("name").and_then(crate::history::texts);
                let texts = texts.ok_or_else(|| StoreError::damaged(path)("no names"))?;
                names.extend(texts.into_iter().map(str::to_owned));
            }
        }
        Ok(names)
    }
}

fn day_name(path: &Path) -> Option<OsString> {
    path.parent()?.file_name().map(OsStr::to_owned)
}

/// A part that is read series by series.
struct Source {
    path: PathBuf,
    batches: Batches,
    batch: Option<RecordBatch>,
    /// Only series of this name.
    name: Option<String>,
    /// The next row of the batch.
    at: usize,
    /// Instance, name and labels of the next row; `None` at the end.
    series: Option<[String; 3]>,
}

impl Source {
    fn open(path: &Path, name: Option<&str>) -> Result<Self, StoreError> {
        let batches = guarded(path, || {
            let file = ParquetFile::open_with_index(path)?;
            check_columns(path, file.schema())?;
            let file = file.with_string_dictionaries()?;
            let rows = name.map(|name| file.rows_with("name", name.as_bytes()));
            file.into_batches(&COLUMNS, rows)
        })?;
        let (path, name) = (path.to_owned(), name.map(str::to_owned));
        let mut source = Self { path, batches, batch: None, name, at: 0, series: None };
        source.next_batch()?;
        source.skip_others()?;
        Ok(source)
    }

    /// Goes to the first row of the next batch that has rows.
    fn next_batch(&mut self) -> Result<(), StoreError> {
        let Self { path, batches, .. } = self;
        self.at = 0;
        self.batch = loop {
            match guarded(path, || batches.next().transpose())? {
                Some(batch) if batch.num_rows() == 0 => {}
                other => break other,
            }
        };
        self.note_series()
    }

    /// Sees which series is next, which must not come before the present one.
    fn note_series(&mut self) -> Result<(), StoreError> {
        let next = match &self.batch {
            None => None,
            Some(batch) => Some(
                Columns::new(batch)
                    .and_then(|columns| columns.series(self.at))
                    .ok_or_else(|| StoreError::damaged(&self.path)("a value is missing"))?,
            ),
        };
        if next.is_some() && next < self.series {
            return Err(StoreError::Unsorted { path: self.path.clone() });
        }
        self.series = next;
        Ok(())
    }

    /// Gives all samples of the present series and goes to the next one.
    fn take_series(
        &mut self,
        series: &[String; 3],
        samples: &mut Vec<(i64, f64)>,
    ) -> Result<(), StoreError> {
        self.pass(series, samples)?;
        self.skip_others()
    }

    fn skip_others(&mut self) -> Result<(), StoreError> {
        let mut ignored = Vec::new();
        while let (Some(series), Some(name)) = (&self.series, &self.name) {
            if series[1] == *name {
                break;
            }
            let series = series.clone();
            self.pass(&series, &mut ignored)?;
            ignored.clear();
        }
        Ok(())
    }

    fn pass(
        &mut self,
        series: &[String; 3],
        samples: &mut Vec<(i64, f64)>,
    ) -> Result<(), StoreError> {
        while self.series.as_ref() == Some(series) {
            let Some(batch) = &self.batch else { break };
            let n_rows = batch.num_rows();
            let columns = Columns::new(batch)
                .ok_or_else(|| StoreError::damaged(&self.path)("a column changed its type"))?;
            self.at = columns.take_run(self.at, samples);
            if self.at < n_rows { self.note_series()? } else { self.next_batch()? }
        }
        Ok(())
    }
}
