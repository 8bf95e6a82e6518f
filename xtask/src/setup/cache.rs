//! The folder of the user's cache that all checkouts share.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// An existing folder; `ODDNS_PEERS` of the tests.
#[derive(Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$ODDNS_CACHE`, else `$XDG_CACHE_HOME/oddns`, else `~/.cache/oddns`; made if it is not there.
    pub(crate) fn open() -> Result<Self> {
        let root = std::path::absolute(locate(|name| env::var_os(name))?)?;
        fs::create_dir_all(&root)
            .with_context(|| format!("cannot create the cache folder `{}`", root.display()))?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where an entry lies, whether or not it has been made yet.
    pub(crate) fn entry(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Keeps other setups out until the returned file is dropped.
    pub(super) fn lock(&self) -> Result<File> {
        let path = self.entry(".lock");
        let file = File::create(&path)
            .with_context(|| format!("cannot write lock file `{}`", path.display()))?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => eprintln!("setup: waiting for another setup to end"),
            Err(TryLockError::Error(error)) => return Err(error).context("cannot lock the cache"),
        }
        file.lock().context("cannot lock the cache")?;
        Ok(file)
    }

    #[cfg(test)]
    pub(super) fn at(root: &Path) -> Self {
        Self { root: root.into() }
    }
}

fn locate(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let folder = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(cache) = folder("ODDNS_CACHE") {
        return Ok(cache);
    }
    // The XDG specification asks to ignore relative paths.
    if let Some(xdg) = folder("XDG_CACHE_HOME").filter(|path| path.is_absolute()) {
        return Ok(xdg.join("oddns"));
    }
    match folder("HOME") {
        Some(home) => Ok(home.join(".cache/oddns")),
        None => bail!("there is no cache folder: set `ODDNS_CACHE` to a folder for test peers"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(variables: &[(&str, &str)]) -> String {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name);
        locate(|name| find(name).map(|(_, value)| value.into()))
            .map_or_else(|error| error.to_string(), |path| path.display().to_string())
    }

    #[test]
    fn the_most_specific_variable_wins() {
        let home = ("HOME", "/h");
        assert_eq!(located(&[home]), "/h/.cache/oddns");
        assert_eq!(located(&[home, ("XDG_CACHE_HOME", "/x")]), "/x/oddns");
        assert_eq!(located(&[home, ("XDG_CACHE_HOME", "/x"), ("ODDNS_CACHE", "/c")]), "/c");
    }

    #[test]
    fn empty_and_relative_values_are_passed_over() {
        let home = ("HOME", "/h");
        assert_eq!(located(&[home, ("ODDNS_CACHE", "")]), "/h/.cache/oddns");
        assert_eq!(located(&[home, ("XDG_CACHE_HOME", "x")]), "/h/.cache/oddns");
    }

    #[test]
    fn without_any_variable_the_message_says_what_to_set() {
        assert!(located(&[]).contains("set `ODDNS_CACHE`"));
    }

    #[test]
    fn a_second_lock_has_to_wait() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let held = cache.lock().unwrap();
        let other = File::open(cache.entry(".lock")).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        drop(held);
        other.try_lock().unwrap();
    }
}
