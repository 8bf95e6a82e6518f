//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::StoreError;

/// A file being written under a temporary name beside its final one. Dropped without a commit it
/// leaves nothing behind.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    target: Target,
}

#[derive(Debug)]
enum Target {
    Temporary(NamedTempFile),
    /// A device or pipe such as `/dev/stdout`: renaming a file over it would destroy it.
    Stream(File),
}

impl AtomicFile {
    /// Starts a file that will be at `path`. The folder must exist; `-` is refused.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        StoreError::refuse_dash(path)?;
        let target = open_target(path).map_err(StoreError::write(path))?;
        Ok(Self { path: path.to_owned(), target })
    }

    /// Puts the file in its place, on disk for good, over whatever file was there.
    pub fn commit(self) -> Result<(), StoreError> {
        let path = &self.path;
        commit(self.target, path, true).map_err(StoreError::write(path))
    }

    /// Like [`AtomicFile::commit`], but an existing file is left alone and is an error.
    pub fn commit_new(self) -> Result<(), StoreError> {
        let path = &self.path;
        commit(self.target, path, false).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => StoreError::Exists { path: path.clone() },
            _ => StoreError::Write { path: path.clone(), source },
        })
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.target {
            // Not through the wrapper, whose errors name the temporary file.
            Target::Temporary(file) => file.as_file_mut().write(bytes),
            Target::Stream(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.target {
            Target::Temporary(file) => file.as_file_mut().flush(),
            Target::Stream(file) => file.flush(),
        }
    }
}

/// Writes `bytes` to `path` so that a reader, and a crash, sees the old file or the whole new one.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(StoreError::write(path))?;
    file.commit()
}

fn open_target(path: &Path) -> io::Result<Target> {
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(there) if !there.is_file() => File::options().write(true).open(path).map(Target::Stream),
        _ => temporary_beside(path).map(Target::Temporary),
    }
}

fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".writing-").suffix(".tmp");
    // Temporary files are private by default; what we leave behind is as readable as the user's
    // umask says.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    // The user knows the final name, not the temporary one that the error would name.
    let path = real_path(path);
    let folder = folder_of(&path);
    builder.tempfile_in(folder).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if !folder.is_dir() => {
            let folder = folder.display();
            let reason = format!("the folder `{folder}` does not exist, make it first");
            io::Error::new(io::ErrorKind::NotFound, reason)
        }
        kind => kind.into(),
    })
}

fn commit(target: Target, path: &Path, overwrite: bool) -> io::Result<()> {
    let file = match target {
        Target::Temporary(file) => file,
        Target::Stream(mut file) => return file.flush(),
    };
    file.as_file().sync_all()?;
    let path = real_path(path);
    if overwrite {
        file.persist(&path)?;
    } else {
        file.persist_noclobber(&path)?;
    }
    sync_folder(folder_of(&path))
}

/// What a symbolic link points at, so that the link survives the rename.
fn real_path(path: &Path) -> PathBuf {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_symlink() => {
            fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
        }
        _ => path.to_owned(),
    }
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes a rename survive a power cut.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
pub(crate) fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn replaces_a_file_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        write_atomically(&path, b"first").unwrap();
        write_atomically(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(names(folder.path()), ["a.csv"]);
    }

    #[test]
    fn leaves_nothing_behind_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = AtomicFile::create(&folder.path().join("a.csv")).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn new_file_does_not_overwrite() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part-0.parquet");
        write_atomically(&path, b"kept").unwrap();
        let error = AtomicFile::create(&path).unwrap().commit_new().unwrap_err();
        assert!(matches!(error, StoreError::Exists { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"kept");
        assert_eq!(names(folder.path()).len(), 1);
    }

    #[test]
    fn says_which_path_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("no/such/folder.csv")] {
            let error = write_atomically(&path, b"x").unwrap_err();
            assert!(error.to_string().starts_with("cannot write `"), "{error}");
            assert!(error.source().is_some());
        }
    }

    #[cfg(unix)]
    #[test]
    fn follows_links_and_is_readable_by_others() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        write_atomically(&real, b"1").unwrap();
        symlink(&real, &link).unwrap();
        write_atomically(&link, b"2").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"2");
        assert_ne!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn full_disk_is_told() {
        let error = write_atomically(Path::new("/dev/full"), b"x").unwrap_err();
        assert_eq!(error.to_string(), "cannot write `/dev/full`");
        assert!(error.source().unwrap().to_string().starts_with("No space left on device"));
    }
}
