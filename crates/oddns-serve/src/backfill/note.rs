//! How far history has been fetched, beside the history itself: a restart goes on where it stopped,
//! and what is there is not fetched again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oddns_core::Timestamp;
use oddns_store::{StoreError, write_atomically};
use serde::{Deserialize, Serialize};

/// The file in the folder of the history.
const FILE: &str = "backfill.json";
/// Most bytes of it.
const MAX_BYTES: u64 = 16 << 20;
/// Servers whose names are kept; others are left out.
pub(super) const MOST_SERVERS: usize = 10_000;

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    /// What was asked for, in words.
    pub(super) question: String,
    since_millis: i64,
    /// When the watch began to look by itself: later history is its own.
    until_millis: i64,
    /// Up to here all is there.
    done_millis: i64,
    /// Whether all is there.
    pub(super) fetched: bool,
    /// Whether servers were calibrated by it and a model was trained.
    pub(super) learned: bool,
    /// Servers with a past.
    pub(super) servers: BTreeSet<String>,
    /// First own scrape of servers that were watched before: their history from then on stays as it is.
    pub(super) own_millis: BTreeMap<String, i64>,
}

impl Note {
    /// Of a question that is asked for the first time.
    pub(super) fn new(question: String, since: Timestamp, until: Timestamp) -> Self {
        Self {
            question,
            since_millis: since.millis(),
            until_millis: until.millis(),
            done_millis: since.millis(),
            fetched: false,
            learned: false,
            servers: BTreeSet::new(),
            own_millis: BTreeMap::new(),
        }
    }

    /// What is in the folder `root` of `question`; `None` when that was not asked, or nothing can be
    /// read: then all is fetched anew, which leaves each sample there once.
    pub(super) fn read(root: &Path, question: &str) -> Option<Self> {
        let path = file(root);
        if fs::metadata(&path).ok()?.len() > MAX_BYTES {
            return None;
        }
        let note: Self = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        (note.question == question).then_some(note)
    }

    /// Puts it into the folder `root`.
    pub(super) fn write(&self, root: &Path) -> Result<(), StoreError> {
        let path = file(root);
        let text = serde_json::to_vec_pretty(self).map_err(|error| StoreError::Write {
            path: path.clone(),
            source: io::Error::other(error),
        })?;
        write_atomically(&path, &text)
    }

    pub(super) fn range(&self) -> (Timestamp, Timestamp) {
        (Timestamp::from_millis(self.since_millis), Timestamp::from_millis(self.until_millis))
    }

    pub(super) fn done(&self) -> Timestamp {
        Timestamp::from_millis(self.done_millis)
    }

    pub(super) fn advance(&mut self, done: Timestamp) {
        self.done_millis = self.done_millis.max(done.millis()).min(self.until_millis);
    }

    /// Notes a server with a past; false when there are too many.
    pub(super) fn admit(&mut self, instance: &str, most: usize) -> bool {
        if self.servers.contains(instance) {
            return true;
        }
        self.servers.len() < most && self.servers.insert(instance.to_owned())
    }
}

fn file(root: &Path) -> PathBuf {
    root.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_of_its_question_and_damage_begins_anew() {
        let root = tempfile::tempdir().unwrap();
        let at = |seconds: i64| Timestamp::from_millis(1000 * seconds);
        assert_eq!(Note::read(root.path(), "a"), None);
        let mut note = Note::new("a".to_owned(), at(10), at(20));
        note.advance(at(15));
        note.advance(at(12));
        assert!(note.admit("dns:9153", 1) && note.admit("dns:9153", 1));
        assert!(!note.admit("other:9153", 1));
        note.write(root.path()).unwrap();
        let read = Note::read(root.path(), "a").unwrap();
        assert_eq!((&read, read.done(), read.range()), (&note, at(15), (at(10), at(20))));
        assert_eq!(Note::read(root.path(), "b"), None);
        note.advance(at(99));
        assert_eq!(note.done(), at(20), "what is later is our own");
        fs::write(root.path().join(FILE), b"{\"question").unwrap();
        assert_eq!(Note::read(root.path(), "a"), None);
    }
}
