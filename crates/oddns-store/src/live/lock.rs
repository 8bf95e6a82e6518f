//! One writer of a folder at a time.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::StoreError;

/// Held as long as a folder is being written; ends with the process, however that ends.
#[derive(Debug)]
pub struct WriterLock {
    folder: PathBuf,
    _file: File,
}

impl WriterLock {
    /// Locks `root` by a file in `folder`, which lies in it or is the same, and is made when it is not there.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another writer has it.
    pub fn take(root: &Path, folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("lock");
        loop {
            // The folder of the log is ours to know.
            fs::create_dir_all(folder).map_err(StoreError::write(root))?;
            let options =
                File::options().read(true).write(true).create(true).truncate(false).open(&path);
            let mut file = match options {
                // The writer before is just removing the folder.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(StoreError::write(&path))?,
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let owner = owner(&mut file);
                    return Err(StoreError::Locked { path: root.to_owned(), owner });
                }
                Err(TryLockError::Error(source)) => return Err(StoreError::Write { path, source }),
            }
            // The writer before may have removed the file between our opening and locking it.
            if is_still_there(&file, &path) {
                // Only for the message to a second writer: on a full disk it goes without.
                let _ = write_pid(&mut file);
                return Ok(Self { folder: folder.to_owned(), _file: file });
            }
        }
    }

    /// Removes the folder of the log when nothing else is in it.
    pub(super) fn remove_empty_folder(&self) {
        let others = fs::read_dir(&self.folder).map(|entries| entries.count() > 1);
        if others.is_ok_and(|others| !others) {
            // Left behind it is an empty folder, which is harmless.
            let _ = fs::remove_file(self.folder.join("lock"));
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

#[cfg(unix)]
fn is_still_there(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let number = |about: fs::Metadata| (about.dev(), about.ino());
    match (file.metadata().map(number), fs::metadata(path).map(number)) {
        (Ok(locked), Ok(named)) => locked == named,
        _ => false,
    }
}

/// An open file cannot be removed there.
#[cfg(not(unix))]
fn is_still_there(_file: &File, _path: &Path) -> bool {
    true
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(std::process::id().to_string().as_bytes())
}

/// Who says to have the lock.
fn owner(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(20).read_to_string(&mut text));
    let is_pid = read.is_ok() && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_pid { format!("process {text}") } else { "another process".to_owned() }
}
