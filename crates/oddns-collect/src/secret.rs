//! Texts that must not show in logs, pages or error messages.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A file of a password, a token, a key or a list of certificates is smaller.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A text that `Debug` and `Display` show as `<secret>`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for sending it where it belongs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Where a secret, or a certificate, comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// It stands in the configuration.
    Inline(Secret),
    /// It is the content of a file, read again when that changes.
    File(PathBuf),
}

impl SecretSource {
    /// The file to read, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Inline(_) => None,
            Self::File(path) => Some(path),
        }
    }

    /// The text, blanks around it taken off when it is a file's. Fails on a file that cannot be
    /// read, is no UTF-8, or has more than 1 MiB.
    pub(crate) fn read(&self) -> io::Result<Secret> {
        match self {
            Self::Inline(secret) => Ok(secret.clone()),
            Self::File(path) => Ok(Secret::new(read_bounded(path, MAX_FILE_BYTES)?.trim())),
        }
    }
}

/// The text of a file of at most `max_bytes`.
pub(crate) fn read_bounded(path: &Path, max_bytes: u64) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(max_bytes + 1).read_to_string(&mut text)?;
    if text.len() as u64 > max_bytes {
        return Err(io::Error::other(format!("it has more than {max_bytes} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_a_secret() {
        let source = SecretSource::Inline(Secret::new("hunter2"));
        let shown = format!("{source:?} {:#?} {}", source, Secret::new("hunter2"));
        assert!(!shown.contains("hunter2") && shown.contains("<secret>"), "{shown}");
    }

    #[test]
    fn files_are_bounded_and_trimmed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "abc\n").unwrap();
        assert_eq!(SecretSource::File(path.clone()).read().unwrap().expose(), "abc");
        assert!(read_bounded(&path, 3).is_err());
        assert!(read_bounded(Path::new("/dev/zero"), 100).is_err());
    }
}
