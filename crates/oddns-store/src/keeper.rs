//! Looks after the Parquet files of a history: makes them from the log, joins small ones, removes
//! what is too old.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use oddns_core::Timestamp;

use crate::commit::Commit;
use crate::compaction::{Compacted, Surplus, compact};
use crate::history::{MILLIS_PER_DAY, day_folders, midnight_of, parquet_files, part_number};
use crate::live::StoreSettings;
use crate::log::{FOLDER, segments};
use crate::merging::{first_to_join, join};
use crate::retention::{KeptFile, expired};
use crate::{Dataset, StoreError};

/// So often it is seen to that quiet days are joined and old ones removed.
const TIDY_EVERY: Duration = Duration::from_secs(10 * 60);
/// A day to which nothing has come for so long is quiet.
const QUIET: Duration = Duration::from_secs(60 * 60);

/// What the names of segments end with that are kept because of damage.
const DAMAGED: &str = "log.damaged";

/// Who writes the Parquet files of a history; there is one at a time.
#[derive(Debug)]
pub(crate) struct Keeper {
    root: PathBuf,
    next_part: u64,
    /// What `dataset.json` does not say yet.
    news: News,
    /// When it was last seen to that parts are joined and removed.
    tidied: Option<Instant>,
    /// Days with parts of other programs that cannot be joined.
    unsorted: HashSet<PathBuf>,
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
    pub(crate) surplus: Surplus,
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
        let root = root.to_owned();
        let (news, unsorted) = (News::default(), HashSet::new());
        Ok(Self { root, next_part, news, tidied: None, unsorted })
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
        let mut publish: Vec<_> = compacted.parts.iter().map(|part| part.names.clone()).collect();
        let is_damaged = |path: &PathBuf| {
            compacted.damage.iter().any(|found| found.path == *path && !found.is_torn_end)
        };
        let (damaged, whole): (Vec<_>, Vec<_>) = segments.iter().partition(|path| is_damaged(path));
        // Somebody may want to look at them.
        publish.extend(damaged.into_iter().map(|path| {
            let path = self.relative(path);
            (path.clone(), path.with_extension(DAMAGED))
        }));
        let remove = whole.into_iter().map(|path| self.relative(path)).collect();
        Commit::new(publish, remove).apply(&self.root)?;
        let parts_written = compacted.parts.len() as u64;
        let damaged_stretches = compacted.damage.len() as u64;
        let surplus = compacted.surplus;
        self.news.add(compacted);
        Ok(Done { parts_written, damaged_stretches, expired_files: 0, surplus })
    }

    /// Brings `dataset.json` up to date, joins small parts, removes what is too old. Does nothing
    /// when nothing is new and the last time was not long ago.
    pub(crate) fn tidy(&mut self, settings: &StoreSettings) -> Result<Done, StoreError> {
        let is_due = self.tidied.is_none_or(|tidied| tidied.elapsed() >= TIDY_EVERY);
        if !is_due && self.news.times.is_none() {
            return Ok(Done::default());
        }
        self.describe()?;
        let mut done = Done::default();
        for folder in day_folders(&self.root)? {
            self.join_parts(&folder, false, &mut done)?;
        }
        done.expired_files = self.remove_expired(settings)?;
        self.tidied = Some(Instant::now());
        Ok(done)
    }

    /// Joins the parts of each day, as if nothing will come any more.
    pub(crate) fn join_all(&mut self) -> Result<Done, StoreError> {
        let mut done = Done::default();
        for folder in day_folders(&self.root)? {
            self.join_parts(&folder, true, &mut done)?;
        }
        Ok(done)
    }

    /// Joins the small parts of a day.
    fn join_parts(
        &mut self,
        folder: &Path,
        is_over: bool,
        done: &mut Done,
    ) -> Result<(), StoreError> {
        if self.unsorted.contains(folder) {
            return Ok(());
        }
        loop {
            let parts = parquet_files(folder)?;
            let about = parts.iter().map(|path| fs::metadata(path).map_err(StoreError::read(path)));
            let about: Vec<fs::Metadata> = about.collect::<Result<_, _>>()?;
            let sizes: Vec<u64> = about.iter().map(fs::Metadata::len).collect();
            let is_quiet = is_over || about.iter().all(is_quiet);
            let Some(first) = first_to_join(&sizes, is_quiet) else { return Ok(()) };
            let day = self.relative(folder);
            let (part, surplus) = match join(&self.root, &day, &parts[first..], self.next_part) {
                Ok(part) => part,
                // Left as they are: every reader copes with small parts.
                Err(
                    StoreError::Damaged { .. }
                    | StoreError::Page { .. }
                    | StoreError::Unsorted { .. }
                    | StoreError::Column { .. },
                ) => {
                    remove_unfinished(folder)?;
                    self.unsorted.insert(folder.to_owned());
                    return Ok(());
                }
                Err(other) => return Err(other),
            };
            self.next_part += 1;
            let remove = parts[first..].iter().map(|path| self.relative(path)).collect();
            Commit::new(vec![part.names], remove).apply(&self.root)?;
            done.parts_written += 1;
            done.surplus += surplus;
        }
    }

    /// Removes files by age and size; says how many.
    fn remove_expired(&self, settings: &StoreSettings) -> Result<u64, StoreError> {
        let oldest = settings.retention_time.and_then(|time| SystemTime::now().checked_sub(time));
        let oldest = oldest.and_then(|oldest| oldest.duration_since(UNIX_EPOCH).ok());
        let oldest = oldest.map(|oldest| oldest.as_millis() as i64);
        if oldest.is_none() && settings.retention_bytes.is_none() {
            return Ok(0);
        }
        // Nobody needs them to read the history, so they go first.
        let mut files = self.damaged_segments();
        for folder in day_folders(&self.root)? {
            for path in parquet_files(&folder)? {
                let n_bytes = fs::metadata(&path).map_err(StoreError::read(&path))?.len();
                files.push(KeptFile { path, midnight: midnight_of(&folder), n_bytes });
            }
        }
        let max_bytes = settings.retention_bytes.map(|most| most.saturating_sub(self.log_bytes()));
        let gone = expired(&files, oldest, max_bytes);
        for file in &gone {
            fs::remove_file(&file.path).map_err(StoreError::write(&file.path))?;
            // Works when it was the last file of the day.
            let _ = file.path.parent().map(fs::remove_dir);
        }
        Ok(gone.len() as u64)
    }

    /// Segments that are kept because of damage, oldest first.
    fn damaged_segments(&self) -> Vec<KeptFile> {
        let entries = fs::read_dir(self.root.join(FOLDER)).into_iter().flatten().flatten();
        let mut found: Vec<KeptFile> = entries
            .filter(|entry| entry.file_name().to_string_lossy().ends_with(DAMAGED))
            .filter_map(|entry| {
                let about = entry.metadata().ok()?;
                let written = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
                let midnight = written.as_millis() as i64 / MILLIS_PER_DAY * MILLIS_PER_DAY;
                let (path, n_bytes) = (entry.path(), about.len());
                Some(KeptFile { path, midnight: Some(midnight), n_bytes })
            })
            .collect();
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }

    fn log_bytes(&self) -> u64 {
        let paths = segments(&self.root.join(FOLDER)).unwrap_or_default();
        paths.iter().filter_map(|path| fs::metadata(path).ok()).map(|about| about.len()).sum()
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

fn is_quiet(about: &fs::Metadata) -> bool {
    let age = about.modified().ok().and_then(|written| written.elapsed().ok());
    age.is_some_and(|age| age >= QUIET)
}
