//! One writer at a time.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::StoreError;

/// Held as long as a history is being written; ends with the process, however that ends.
#[derive(Debug)]
pub(super) struct WriterLock {
    _file: File,
}

impl WriterLock {
    /// Locks the history `root`, whose log is in `folder`; fails when another writer has it.
    pub(super) fn take(root: &Path, folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("lock");
        let options =
            File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = options.map_err(StoreError::write(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let owner = pid(&mut file);
                return Err(StoreError::Locked { path: root.to_owned(), owner });
            }
            Err(TryLockError::Error(source)) => return Err(StoreError::Write { path, source }),
        }
        // Only for the message to a second writer: on a full disk it goes without.
        let _ = write_pid(&mut file);
        Ok(Self { _file: file })
    }
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.write_all(std::process::id().to_string().as_bytes())
}

fn pid(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(20).read_to_string(&mut text));
    let is_pid = read.is_ok() && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_pid { format!("process {text}") } else { "another process".to_owned() }
}
