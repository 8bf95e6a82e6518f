//! What learning remembers over a restart: when it last tried, and from which model it set out.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oddns_core::Timestamp;
use oddns_store::{StoreError, write_atomically};
use serde::{Deserialize, Serialize};

use super::status::{Ending, Outcome};

/// The file beside the generations.
const FILE: &str = "learning.json";
/// Most bytes of it.
const MAX_BYTES: u64 = 1 << 20;
/// An update that did not end so many times in a row waits for its hour: what ends the process may
/// be the update.
const MOST_TRIES: u32 = 3;

/// The file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Diary {
    /// SHA-256 of the model that the user named, from which the first champion came.
    pub(super) configured_sha256: String,
    /// From when the interval to the next update counts.
    since_millis: i64,
    /// Updates in a row that began and did not end.
    unfinished: u32,
    /// How the last one ended.
    last: Option<Written>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    ended_millis: i64,
    ending: Ending,
    reason: String,
    generation: Option<u64>,
    seconds: f64,
    cpu_seconds: f64,
}

impl Diary {
    /// Of somebody who begins now.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { since_millis: now.millis(), ..Self::default() }
    }

    /// What is beside the generations in `root`; `None` when nothing is, or nothing that can be
    /// read: then learning begins anew, which costs an interval.
    pub(super) fn read(root: &Path) -> Option<Self> {
        let path = file(root);
        if fs::metadata(&path).ok()?.len() > MAX_BYTES {
            return None;
        }
        serde_json::from_slice(&fs::read(&path).ok()?).ok()
    }

    pub(super) fn write(&self, root: &Path) -> Result<(), StoreError> {
        let path = file(root);
        let text = serde_json::to_vec_pretty(self).map_err(|error| StoreError::Write {
            path: path.clone(),
            source: io::Error::other(error),
        })?;
        write_atomically(&path, &text)
    }

    /// An update begins.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.since_millis = now.millis();
        self.unfinished += 1;
    }

    /// It has ended.
    pub(super) fn end(&mut self, outcome: &Outcome) {
        self.since_millis = outcome.ended.millis();
        self.unfinished = 0;
        self.last = Some(Written {
            ended_millis: outcome.ended.millis(),
            ending: outcome.ending,
            reason: outcome.reason.clone(),
            generation: outcome.generation,
            seconds: outcome.seconds,
            cpu_seconds: outcome.cpu_seconds,
        });
    }

    /// Whether an update began and did not end, and is to be begun anew.
    pub(super) fn is_unfinished(&self) -> bool {
        (1..=MOST_TRIES).contains(&self.unfinished)
    }

    /// Whether none has ever begun here.
    pub(super) fn is_untried(&self) -> bool {
        self.unfinished == 0 && self.last.is_none()
    }

    /// Seconds since the last update; a clock that was set back begins them anew.
    pub(super) fn seconds_since(&mut self, now: Timestamp) -> f64 {
        self.since_millis = self.since_millis.min(now.millis());
        now.seconds_since(self.since())
    }

    pub(super) fn since(&self) -> Timestamp {
        Timestamp::from_millis(self.since_millis)
    }

    /// The last update, without its gate and notes.
    pub(super) fn last(&self) -> Option<Outcome> {
        self.last.clone().map(|written| Outcome {
            ended: Timestamp::from_millis(written.ended_millis),
            ending: written.ending,
            reason: written.reason,
            generation: written.generation,
            gate: Vec::new(),
            notes: Vec::new(),
            seconds: written.seconds,
            cpu_seconds: written.cpu_seconds,
        })
    }
}

fn file(root: &Path) -> PathBuf {
    root.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1000 * seconds)
    }

    #[test]
    fn a_crash_is_tried_again_but_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Diary::read(folder.path()), None);
        let mut diary = Diary::new(at(0));
        for _ in 0..MOST_TRIES {
            diary.begin(at(10));
            diary.write(folder.path()).unwrap();
            // Killed; somebody else reads it.
            diary = Diary::read(folder.path()).unwrap();
            assert!(diary.is_unfinished());
        }
        diary.begin(at(20));
        assert!(!diary.is_unfinished());
        assert_eq!(diary.seconds_since(at(50)), 30.0);
        assert_eq!(diary.seconds_since(at(5)), 0.0, "the clock was set back");
        assert_eq!(diary.seconds_since(at(9)), 4.0);
        fs::write(folder.path().join(FILE), b"{\"since").unwrap();
        assert_eq!(Diary::read(folder.path()), None);
    }
}
