//! Which files make up a history at one instant, also while it is being written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::folder::{day_folders, parquet_files};
use super::read::{HistoryFilter, day_may_match};
use crate::StoreError;
use crate::commit::Commit;
use crate::kind::no_data_set;
use crate::log::{FOLDER, segments};

/// A writer changes files every few minutes; a reader that meets a change this often in a row has
/// met something else.
const MAX_TRIES: usize = 20;

/// The files of a history, which together hold every sample once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Day folders with their Parquet files, in the order in which later values stand for earlier
    /// ones.
    pub(crate) days: Vec<(PathBuf, Vec<PathBuf>)>,
    /// Segments of the log, oldest first; their samples come after all in Parquet.
    pub(crate) segments: Vec<PathBuf>,
}

impl Snapshot {
    /// Looks until two looks in a row see the same.
    pub(crate) fn take(root: &Path) -> Result<Self, StoreError> {
        let mut last = Self::look(root)?;
        if !root.join(FOLDER).exists() {
            return Ok(last);
        }
        for _ in 0..MAX_TRIES {
            let next = Self::look(root)?;
            if next == last {
                return Ok(next);
            }
            last = next;
        }
        Err(StoreError::kind(root, "changes faster than it can be read: try again"))
    }

    /// The Parquet files of the days that the filter asks for, in the order to read them. An error
    /// when the history has no samples at all.
    pub(crate) fn part_files(
        &self,
        root: &Path,
        filter: &HistoryFilter,
    ) -> Result<Vec<PathBuf>, StoreError> {
        let has_log = !self.segments.is_empty();
        // A history that has just begun is one without samples.
        if self.days.is_empty() && !has_log && !root.join(FOLDER).exists() {
            return Err(no_data_set(root));
        }
        if self.days.iter().all(|(_, parts)| parts.is_empty()) && !has_log {
            let expected = "`day=YYYY-MM-DD/*.parquet`";
            return Err(StoreError::Empty { path: root.to_owned(), expected });
        }
        let days = self.days.iter().filter(|(folder, _)| day_may_match(folder, filter));
        Ok(days.flat_map(|(_, parts)| parts).cloned().collect())
    }

    fn look(root: &Path) -> Result<Self, StoreError> {
        let commit = Commit::read(root)?.unwrap_or_default();
        let is_kept = |path: &PathBuf| {
            path.strip_prefix(root).map_or(true, |relative| !commit.takes_away(relative))
        };
        let mut days = Vec::new();
        for folder in day_folders(root)? {
            let mut parts = parquet_files(&folder)?;
            parts.retain(is_kept);
            // New files that still have their temporary names; they come last.
            for (temporary, name) in commit.published() {
                let (temporary, name) = (root.join(temporary), root.join(name));
                if name.parent() == Some(&folder) && !parts.contains(&name) && temporary.exists() {
                    parts.push(temporary);
                }
            }
            days.push((folder, parts));
        }
        let mut segments = segments(&root.join(FOLDER))?;
        segments.retain(is_kept);
        Ok(Self { days, segments })
    }
}

/// Reads with `read` what a snapshot of `root` holds; starts anew when a file has been replaced
/// meanwhile.
pub(crate) fn with_snapshot<T>(
    root: &Path,
    mut read: impl FnMut(&Snapshot) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    for _ in 1..MAX_TRIES {
        match Snapshot::take(root).and_then(|snapshot| read(&snapshot)) {
            Err(error) if is_gone(&error) => {}
            done => return done,
        }
    }
    read(&Snapshot::take(root)?)
}

fn is_gone(error: &StoreError) -> bool {
    match error {
        StoreError::Read { path, source } => {
            source.kind() == io::ErrorKind::NotFound && fs::metadata(path).is_err()
        }
        _ => false,
    }
}
