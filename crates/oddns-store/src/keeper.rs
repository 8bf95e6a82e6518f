//! Looks after the Parquet files of a history: makes them from the log, joins small ones, removes
//! what is too old.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use oddns_core::Timestamp;

use crate::commit::Commit;
use crate::compaction::{Compacted, compact};
use crate::history::{day_folders, parquet_files, part_number};
use crate::live::StoreSettings;
use crate::{Dataset, StoreError};

/// Who writes the Parquet files of a history; there is one at a time.
#[derive(Debug)]
pub(crate) struct Keeper {
    root: PathBuf,
    next_part: u64,
    /// What `dataset.json` does not say yet.
    news: News,
}

/// What has come into the history.
#[derive(Debug, Default)]
struct News {
    times: Option<(Timestamp, Timestamp)>,
    instances: BTreeSet<String>,
}

/// What has been done.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Done {
    pub(crate) parts_written: u64,
    pub(crate) damaged_stretches: u64,
    pub(crate) expired_files: u64,
}

impl Keeper {
    /// Removes what an interrupted writer has left half done.
    pub(crate) fn open(root: &Path) -> Result<Self, StoreError> {
        let mut next_part = 0;
        for folder in day_folders(root)? {
            remove_unfinished(&folder)?;
            for part in parquet_files(&folder)? {
                next_part = next_part.max(part_number(&part).map_or(0, |number| number + 1));
            }
        }
        Ok(Self { root: root.to_owned(), next_part, news: News::default() })
    }

    /// Makes Parquet of `segments`, which are gone afterwards.
    pub(crate) fn compact(&mut self, segments: &[PathBuf]) -> Result<Done, StoreError> {
        // A commit that a full disk has interrupted may have removed some of them.
        Commit::resume(&self.root)?;
        let segments: Vec<PathBuf> =
            segments.iter().filter(|path| path.exists()).cloned().collect();
        if segments.is_empty() {
            return Ok(Done::default());
        }
        let compacted = compact(&self.root, &segments, self.next_part)?;
        self.next_part += compacted.parts.len() as u64;
        let publish = compacted.parts.iter().map(|part| part.names.clone()).collect();
        let remove = segments.iter().map(|path| self.relative(path)).collect();
        Commit::new(publish, remove).apply(&self.root)?;
        let parts_written = compacted.parts.len() as u64;
        let damaged_stretches = compacted.damage.len() as u64;
        self.news.add(compacted);
        Ok(Done { parts_written, damaged_stretches, expired_files: 0 })
    }

    /// Brings `dataset.json` up to date, joins small parts, removes what is too old.
    pub(crate) fn tidy(&mut self, _settings: &StoreSettings) -> Result<Done, StoreError> {
        self.describe()?;
        Ok(Done::default())
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_owned()
    }

    /// Keeps times and instances of `dataset.json` true.
    fn describe(&mut self) -> Result<(), StoreError> {
        let Some((start, end)) = self.news.times else { return Ok(()) };
        let mut dataset = Dataset::read(&self.root)?.unwrap_or_default();
        let before = dataset.clone();
        widen(&mut dataset, start, end);
        let mut instances: BTreeSet<String> = dataset.instances.into_iter().collect();
        instances.extend(self.news.instances.iter().cloned());
        dataset.instances = instances.into_iter().collect();
        if dataset != before {
            dataset.write(&self.root)?;
        }
        self.news = News::default();
        Ok(())
    }
}

impl News {
    fn add(&mut self, compacted: Compacted) {
        let Some((start, end)) = compacted.times else { return };
        self.times =
            Some(self.times.map_or((start, end), |known| (known.0.min(start), known.1.max(end))));
        self.instances.extend(compacted.instances);
    }
}

fn widen(dataset: &mut Dataset, start: Timestamp, end: Timestamp) {
    dataset.start = Some(dataset.start.map_or(start, |known| known.min(start)));
    dataset.end = Some(dataset.end.map_or(end, |known| known.max(end)));
}

/// Temporary files that no commit speaks of.
fn remove_unfinished(folder: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(folder).map_err(StoreError::read(folder))? {
        let path = entry.map_err(StoreError::read(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(".part-") && name.ends_with(".tmp") {
            fs::remove_file(&path).map_err(StoreError::write(&path))?;
        }
    }
    Ok(())
}
