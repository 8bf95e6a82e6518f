//! A history series by series, with bounded memory.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use tempfile::TempDir;

use crate::checking::damage_of;
use crate::compaction::{Surplus, compact, in_order};
use crate::history::{COLUMNS, Columns, HistoryFilter, Snapshot, check_columns};
use crate::log::LogDamage;
use crate::parquet_file::{Batches, ParquetFile, guarded};
use crate::{Mistake, StoreError};

/// Walks over all series of some Parquet files in their order: by instance, name, labels.
///
/// In memory are a batch of each file and the samples of one series.
pub(crate) struct SeriesWalk {
    sources: Vec<Source>,
    samples: Vec<(i64, f64)>,
    pub(crate) surplus: Surplus,
}

/// Which rows a walk looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rows<'a> {
    All,
    /// Only those of this name.
    Named(&'a str),
    /// Those that no damaged page holds a part of. Costs a second look at all bytes.
    Sound,
}

impl SeriesWalk {
    /// Over `parts`, of which later ones come later in time of writing: of samples of one series at
    /// one time that of the first part stays. Each part must be sorted as the format says;
    /// otherwise it is an error on the way.
    pub(crate) fn open(parts: &[PathBuf], rows: Rows<'_>) -> Result<Self, StoreError> {
        let sources = parts.iter().map(|path| Source::open(path, rows));
        let sources = sources.collect::<Result<_, _>>()?;
        Ok(Self { sources, samples: Vec::new(), surplus: Surplus::default() })
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
        let ordered = in_order(&mut self.samples);
        self.surplus += ordered.surplus;
        Ok(Some((series, &self.samples[..ordered.n])))
    }
}

/// The Parquet files that hold all of a history, what its log holds among them.
pub(crate) struct WholeHistory {
    pub(crate) parts: Vec<PathBuf>,
    /// What of the log could not be read.
    pub(crate) log_damage: Vec<LogDamage>,
    /// Where the log has become Parquet, for us alone.
    _log: TempDir,
}

impl WholeHistory {
    /// Of the data set folder `root`, or of one Parquet file.
    pub(crate) fn open(root: &Path, filter: &HistoryFilter) -> Result<Self, StoreError> {
        let log = tempfile::tempdir().map_err(StoreError::write(Path::new("temporary folder")))?;
        if root.is_file() {
            return Ok(Self { parts: vec![root.to_owned()], log_damage: Vec::new(), _log: log });
        }
        let snapshot = Snapshot::take(root)?;
        let mut parts = snapshot.part_files(root, filter)?;
        let mut log_damage = Vec::new();
        if !snapshot.segments.is_empty() {
            let compacted = compact(log.path(), &snapshot.segments, 0)?;
            parts.extend(compacted.parts.iter().map(|part| log.path().join(&part.names.0)));
            // By day, and what is in the log last.
            parts.sort_by_key(|path| day_name(path));
            // What is being written right now is only half there.
            log_damage.extend(compacted.damage.into_iter().filter(|damage| !damage.is_torn_end));
        }
        Ok(Self { parts, log_damage, _log: log })
    }

    /// The files of one day after the other, so that a walk over them keeps few files open.
    pub(crate) fn days(&self) -> impl Iterator<Item = &[PathBuf]> {
        self.parts.chunk_by(|a, b| day_name(a) == day_name(b))
    }

    /// The names of all series, sorted.
    pub(crate) fn names(&self) -> Result<BTreeSet<String>, StoreError> {
        texts_of(&self.parts, "name")
    }

    /// Leaves out the files of which nothing can be read, and says what of all is damaged.
    pub(crate) fn retain_readable(&mut self) -> Vec<Mistake> {
        let mut damage = Vec::new();
        self.parts.retain(|part| {
            let found = damage_of(part);
            let is_readable = found.is_ok();
            damage.extend(found.unwrap_or_else(|error| Vec::from([error])));
            is_readable
        });
        damage
    }
}

/// All texts of a column of `parts`, sorted.
pub(crate) fn texts_of(parts: &[PathBuf], column: &str) -> Result<BTreeSet<String>, StoreError> {
    let mut names = BTreeSet::new();
    for path in parts {
        let mut batches = guarded(path, || {
            let file = ParquetFile::open(path)?;
            check_columns(path, file.schema())?;
            file.with_string_dictionaries()?.into_batches(&[column], None)
        })?;
        while let Some(batch) = guarded(path, || batches.next().transpose())? {
            let texts = batch.column_by_name(column).and_then(crate::history::texts);
            let texts = texts.ok_or_else(|| StoreError::damaged(path)("no texts"))?;
            names.extend(texts.into_iter().map(str::to_owned));
        }
    }
    Ok(names)
}

/// The names of the servers in the data set folder or Parquet file `root`, sorted.
pub fn instances(root: &Path) -> Result<Vec<String>, StoreError> {
    let history = WholeHistory::open(root, &HistoryFilter::default())?;
    Ok(texts_of(&history.parts, "instance")?.into_iter().collect())
}

pub(crate) fn day_name(path: &Path) -> Option<OsString> {
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
    fn open(path: &Path, rows: Rows<'_>) -> Result<Self, StoreError> {
        let batches = guarded(path, || {
            let file = ParquetFile::open_with_index(path)?;
            check_columns(path, file.schema())?;
            let file = file.with_string_dictionaries()?;
            let rows = match rows {
                Rows::All => None,
                Rows::Named(name) => Some(file.rows_with("name", name.as_bytes())),
                Rows::Sound => file.sound_rows()?,
            };
            file.into_batches(&COLUMNS, rows)
        })?;
        let name = if let Rows::Named(name) = rows { Some(name.to_owned()) } else { None };
        let path = path.to_owned();
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
