//! What people say of incidents, in a file that training reads: `feedback.csv` with the header
//! `start,end,instance,verdict`, times in Unix seconds.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use oddns::FeedbackVerdict;
use oddns_core::Timestamp;
use serde::{Deserialize, Serialize};

/// The file in the folder of states.
const FILE: &str = "feedback.csv";
/// Most rows; the oldest go first.
const MAX_ROWS: usize = 10_000;
/// Most bytes of the file that are read.
const MAX_BYTES: u64 = 16 << 20;

/// What somebody says of a stretch of time on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It was rightly told: something was wrong.
    Right,
    /// It was told, and all was as it should be.
    Normal,
    /// Something was wrong, and it was not told.
    Missed,
}

/// A row of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    start: f64,
    end: f64,
    instance: String,
    verdict: Verdict,
}

/// Everything that was said.
#[derive(Debug, Default)]
pub(crate) struct Feedback {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    file: Option<PathBuf>,
    rows: Vec<Row>,
}

/// Why it cannot be kept.
#[derive(Debug)]
pub(crate) enum FeedbackError {
    /// There is no folder.
    NoFolder,
    /// It cannot be written.
    Write(String),
}

impl Row {
    pub(crate) fn new(instance: &str, start: Timestamp, end: Timestamp, verdict: Verdict) -> Self {
        let (start, end) = (start.unix_seconds(), end.unix_seconds());
        Self { start, end, instance: instance.to_owned(), verdict }
    }

    /// As updates read it; `None` of a time that is none.
    fn told(&self) -> Option<oddns::Feedback> {
        let start = Timestamp::from_unix_seconds(self.start)?;
        let end = Timestamp::from_unix_seconds(self.end)?;
        let instance = (self.instance != "*").then(|| self.instance.clone());
        let verdict = match self.verdict {
            Verdict::Right => FeedbackVerdict::Right,
            Verdict::Normal => FeedbackVerdict::Normal,
            Verdict::Missed => FeedbackVerdict::Missed,
        };
        Some(oddns::Feedback { start, end, instance, verdict })
    }

    /// Of one incident there is one row, whenever it ended.
    fn is_about(&self, instance: &str, start: f64) -> bool {
        self.instance == instance && self.start == start
    }
}

impl Feedback {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on with what is in `folder`. Says why it cannot be used, if so; it is left alone then.
    pub(crate) fn open(&self, folder: &Path) -> Option<String> {
        let file = folder.join(FILE);
        match read(&file) {
            Ok(rows) => {
                *self.lock() = Kept { file: Some(file), rows };
                None
            }
            Err(error) => Some(format!("`{}`: {error}", file.display())),
        }
    }

    /// All that was said, for an update.
    pub(crate) fn all(&self) -> Vec<oddns::Feedback> {
        self.lock().rows.iter().filter_map(Row::told).collect()
    }

    /// Whether something can be said.
    pub(crate) fn is_kept(&self) -> bool {
        self.lock().file.is_some()
    }

    /// What was said of an incident.
    pub(crate) fn of(&self, instance: &str, start: Timestamp) -> Option<Verdict> {
        let start = start.unix_seconds();
        let kept = self.lock();
        kept.rows.iter().rfind(|row| row.is_about(instance, start)).map(|row| row.verdict)
    }

    /// Keeps what is said now, instead of what was said of the same before. Writes to the disk.
    pub(crate) fn say(&self, rows: Vec<Row>) -> Result<(), FeedbackError> {
        let mut kept = self.lock();
        let file = kept.file.clone().ok_or(FeedbackError::NoFolder)?;
        let mut all = kept.rows.clone();
        all.retain(|old| !rows.iter().any(|new| old.is_about(&new.instance, new.start)));
        all.extend(rows);
        let excess = all.len().saturating_sub(MAX_ROWS);
        all.drain(..excess);
        write(&file, &all).map_err(FeedbackError::Write)?;
        kept.rows = all;
        Ok(())
    }
}

fn read(file: &Path) -> io::Result<Vec<Row>> {
    use std::io::Read;
    let file = match std::fs::File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let rows = csv::Reader::from_reader(file.take(MAX_BYTES)).into_deserialize();
    let rows: Result<Vec<Row>, csv::Error> = rows.collect();
    rows.map_err(io::Error::other)
}

fn write(file: &Path, rows: &[Row]) -> Result<(), String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    rows.iter().try_for_each(|row| writer.serialize(row)).map_err(|error| error.to_string())?;
    let bytes = writer.into_inner().map_err(|error| error.to_string())?;
    oddns_store::write_atomically(file, &bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(instance: &str, start: i64, verdict: Verdict) -> Row {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        Row::new(instance, at(start), at(start + 60), verdict)
    }

    #[test]
    fn what_is_said_last_holds_and_outlives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let feedback = Feedback::default();
        let nowhere = feedback.say(vec![row("a:1", 100, Verdict::Right)]);
        assert!(matches!(nowhere, Err(FeedbackError::NoFolder)));
        assert_eq!(feedback.open(folder.path()), None);
        feedback.say(vec![row("a,\"1", 100, Verdict::Right)]).unwrap();
        feedback.say(vec![row("b:1", 100, Verdict::Missed)]).unwrap();
        feedback.say(vec![row("a,\"1", 100, Verdict::Normal)]).unwrap();
        let text = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        let expected =
            "start,end,instance,verdict\n100.0,160.0,b:1,missed\n100.0,160.0,\"a,\"\"1\",normal\n";
        assert_eq!(text, expected);
        let again = Feedback::default();
        assert_eq!(again.open(folder.path()), None);
        let start = Timestamp::from_millis(100_000);
        assert_eq!(again.of("a,\"1", start), Some(Verdict::Normal));
        assert_eq!(again.of("c:1", start), None);
    }

    #[test]
    fn a_file_that_is_none_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "start,end\nx,y\n").unwrap();
        let feedback = Feedback::default();
        assert!(feedback.open(folder.path()).unwrap().contains(FILE));
        assert!(!feedback.is_kept());
    }
}
