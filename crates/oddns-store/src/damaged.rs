//! Which Parquet files of a history can be read no more.

use std::path::Path;

use crate::StoreError;
use crate::history::{check_columns, day_folders, parquet_files};
use crate::parquet_file::{ParquetFile, guarded};

/// The Parquet files of the history `root` that no reader can use, each as the error that reading it
/// gives, in order of day. Only the end of a file is read, where its layout is told: a file that was
/// cut short or is of another kind is found in a moment, damage within the values is not. A folder
/// that is not there has none.
pub fn damaged_parts(root: &Path) -> Result<Vec<StoreError>, StoreError> {
    let mut damaged = Vec::new();
    if !root.exists() {
        return Ok(damaged);
    }
    for folder in day_folders(root)? {
        for path in parquet_files(&folder)? {
            let looked = guarded(&path, || {
                let file = ParquetFile::open(&path)?;
                check_columns(&path, file.schema())
            });
            damaged.extend(looked.err());
        }
    }
    Ok(damaged)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{HistoryStore, SeriesSample, StoreSettings};
    use oddns_core::Timestamp;

    #[test]
    fn a_file_that_was_cut_short_is_found() {
        let folder = tempfile::tempdir().unwrap();
        assert!(damaged_parts(&folder.path().join("nothing")).unwrap().is_empty());
        let settings = StoreSettings { max_ahead: None, ..StoreSettings::default() };
        let store = HistoryStore::open(folder.path(), settings).unwrap();
        let series = store.intern_text("a", "m", "").unwrap();
        let time = Timestamp::from_millis(0);
        store.append(time, &[SeriesSample { series, time, value: 1.0 }]).unwrap();
        store.close().unwrap();
        assert!(damaged_parts(folder.path()).unwrap().is_empty());
        let part = folder.path().join("day=1970-01-01/part-0.parquet");
        let bytes = fs::read(&part).unwrap();
        fs::write(&part, &bytes[..bytes.len() / 2]).unwrap();
        fs::write(part.with_file_name("other.parquet"), "<html>").unwrap();
        let damaged = damaged_parts(folder.path()).unwrap();
        let told: Vec<String> = damaged.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[1].contains("part-0.parquet` is damaged or cut short"), "{told:?}");
    }
}
