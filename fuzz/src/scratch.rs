//! A file for readers that take a path.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

/// A file in a folder of this process alone, gone with the value.
pub(crate) struct Scratch {
    folder: PathBuf,
    path: PathBuf,
}

impl Scratch {
    pub(crate) fn new(name: &str, bytes: &[u8]) -> Self {
        let folder = env::temp_dir().join(format!("oddns-fuzz-{}", process::id()));
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(&folder);
        let written = fs::create_dir_all(parent).and_then(|()| fs::write(&path, bytes));
        assert!(written.is_ok(), "`{}` can be written", path.display());
        Self { folder, path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
