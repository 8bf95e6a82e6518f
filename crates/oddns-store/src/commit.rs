//! Changes of several files that happen all or not at all.
//!
//! New files are written beside their places under temporary names. Then one small file says what
//! will happen, and it happens; after a crash it is done once more, to the same end. A reader that
//! finds the small file knows which files stand for which.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic::{folder_of, sync_folder};
use crate::log::FOLDER;
use crate::{StoreError, write_atomically};

/// The only version there is.
const VERSION: u32 = 1;

/// Renames and removals, by paths relative to the history.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Commit {
    version: u32,
    /// Temporary and final names.
    publish: Vec<(PathBuf, PathBuf)>,
    /// What the new files replace.
    remove: Vec<PathBuf>,
}

impl Commit {
    pub(crate) fn new(publish: Vec<(PathBuf, PathBuf)>, remove: Vec<PathBuf>) -> Self {
        Self { version: VERSION, publish, remove }
    }

    /// Makes it happen in the history `root`.
    pub(crate) fn apply(&self, root: &Path) -> Result<(), StoreError> {
        let path = commit_path(root);
        let text = serde_json::to_vec(self)
            .map_err(|source| StoreError::Json { path: path.clone(), source })?;
        write_atomically(&path, &text)?;
        self.carry_out(root)
    }

    /// Finishes what a crash has interrupted; says whether there was anything.
    pub(crate) fn resume(root: &Path) -> Result<bool, StoreError> {
        match Self::read(root)? {
            Some(commit) => commit.carry_out(root).map(|()| true),
            None => Ok(false),
        }
    }

    /// What is about to happen in the history `root`; `None` when nothing is.
    pub(crate) fn read(root: &Path) -> Result<Option<Self>, StoreError> {
        let path = commit_path(root);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Read { path, source }),
        };
        let commit: Self = serde_json::from_slice(&text)
            .map_err(|source| StoreError::Json { path: path.clone(), source })?;
        if commit.version != VERSION || !commit.stays_inside() {
            return Err(StoreError::kind(&path, "was written by another version of oddns"));
        }
        Ok(Some(commit))
    }

    /// Whether every path leads somewhere within the history.
    fn stays_inside(&self) -> bool {
        let names = self.publish.iter().flat_map(|(from, to)| [from, to]).chain(&self.remove);
        let is_name = |part: Component<'_>| matches!(part, Component::Normal(_));
        names.into_iter().all(|path| path.components().all(is_name))
    }

    fn carry_out(&self, root: &Path) -> Result<(), StoreError> {
        let mut folders = BTreeSet::new();
        for (from, to) in &self.publish {
            let (from, to) = (root.join(from), root.join(to));
            gone_is_fine(fs::rename(&from, &to)).map_err(StoreError::write(&to))?;
            folders.insert(folder_of(&to).to_owned());
        }
        sync_all(&folders)?;
        for path in &self.remove {
            let path = root.join(path);
            gone_is_fine(fs::remove_file(&path)).map_err(StoreError::write(&path))?;
            folders.insert(folder_of(&path).to_owned());
        }
        sync_all(&folders)?;
        let path = commit_path(root);
        fs::remove_file(&path).map_err(StoreError::write(&path))?;
        sync_folder(folder_of(&path)).map_err(StoreError::write(&path))
    }

    /// Whether a reader has to pass over the file `path`.
    pub(crate) fn takes_away(&self, path: &Path) -> bool {
        self.remove.iter().any(|removed| removed == path)
            || self.publish.iter().any(|(from, _)| from == path)
    }

    /// Temporary and final names of the new files.
    pub(crate) fn published(&self) -> &[(PathBuf, PathBuf)] {
        &self.publish
    }
}

fn commit_path(root: &Path) -> PathBuf {
    root.join(FOLDER).join("commit.json")
}

fn sync_all(folders: &BTreeSet<PathBuf>) -> Result<(), StoreError> {
    for folder in folders {
        gone_is_fine(sync_folder(folder)).map_err(StoreError::write(folder))?;
    }
    Ok(())
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(FOLDER)).unwrap();
        root
    }

    #[test]
    fn interrupted_anywhere_it_ends_the_same() {
        let commit = Commit::new(vec![(".a.tmp".into(), "a".into())], vec!["b".into(), "c".into()]);
        for done in 0..4 {
            let root = history();
            let at = |name: &str| root.path().join(name);
            fs::write(at(if done > 0 { "a" } else { ".a.tmp" }), "new").unwrap();
            for old in ["b", "c"].iter().skip(usize::from(done > 1) + usize::from(done > 2)) {
                fs::write(at(old), "old").unwrap();
            }
            fs::write(commit_path(root.path()), serde_json::to_vec(&commit).unwrap()).unwrap();
            assert!(Commit::resume(root.path()).unwrap());
            assert_eq!(fs::read(at("a")).unwrap(), b"new");
            assert!(!at("b").exists() && !at("c").exists() && !at(".a.tmp").exists());
            assert!(!Commit::resume(root.path()).unwrap());
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        let root = history();
        for path in ["../x", "/etc/passwd", "a/../../x"] {
            let commit = Commit::new(Vec::new(), vec![path.into()]);
            fs::write(commit_path(root.path()), serde_json::to_vec(&commit).unwrap()).unwrap();
            assert!(Commit::resume(root.path()).is_err(), "{path}");
        }
    }
}
