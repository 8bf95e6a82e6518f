//! Where the files of a history are.

use std::fs;
use std::path::{Path, PathBuf};

use oddns_core::Timestamp;

use super::MILLIS_PER_DAY;
use crate::StoreError;

/// The folder of a day, counted from the Unix epoch, relative to the history.
pub(crate) fn day_folder(day: i64) -> PathBuf {
    let midnight = Timestamp::from_millis(day.saturating_mul(MILLIS_PER_DAY));
    format!("day={}", midnight.day()).into()
}

/// The folders `day=…` in `root`, in order of day.
pub(crate) fn day_folders(root: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut folders = entries(root, |path| path.is_dir() && day_of(path).is_some())?;
    folders.sort();
    Ok(folders)
}

/// The files `*.parquet` in `folder`, those that we have numbered last and in order of number.
pub(crate) fn parquet_files(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let is_parquet = |path: &Path| path.extension().is_some_and(|extension| extension == "parquet");
    let mut files = entries(folder, is_parquet)?;
    files.sort_by_cached_key(|path| (part_number(path), path.clone()));
    Ok(files)
}

/// N of `part-N.parquet`; `None` for another name.
pub(crate) fn part_number(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.strip_prefix("part-")?.parse().ok()
}

/// The first millisecond of a day folder; `None` when its name is no day.
pub(crate) fn midnight_of(folder: &Path) -> Option<i64> {
    let midnight = format!("{}T00:00:00Z", day_of(folder)?).parse::<Timestamp>();
    midnight.ok().map(Timestamp::millis)
}

fn day_of(folder: &Path) -> Option<&str> {
    folder.file_name()?.to_str()?.strip_prefix("day=")
}

fn entries(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(StoreError::read(folder))? {
        let path = entry.map_err(StoreError::read(folder))?.path();
        if wanted(&path) {
            found.push(path);
        }
    }
    Ok(found)
}
