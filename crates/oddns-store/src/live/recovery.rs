//! What is found of the log when a history is opened.

use std::path::Path;

use oddns_core::Timestamp;

use crate::StoreError;
use crate::log::{LogDamage, LogReader, read_segment, segments};

/// What the log held when the store was opened: what a process before had taken and not yet made
/// into Parquet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// The writer before ended in order, or there was none. When false it was killed or lost
    /// power: of what it had taken, at most what came after the last sync is missing.
    pub was_closed: bool,
    /// Segments read.
    pub segments: usize,
    /// Samples in them that are kept.
    pub samples: u64,
    /// Time of the newest of these samples; `None` without any.
    pub newest: Option<Timestamp>,
    /// Samples that are there, but of which series is lost with a damaged stretch.
    pub unknown_samples: u64,
    /// What could not be read.
    pub damage: Vec<LogDamage>,
}

impl Recovery {
    /// Reads the log in `folder` without changing it.
    pub(super) fn read(folder: &Path) -> Result<Self, StoreError> {
        let paths = segments(folder)?;
        let mut recovery = Self { was_closed: true, segments: paths.len(), ..Self::default() };
        for (at, path) in paths.iter().enumerate() {
            recovery.read_segment(path, at + 1 == paths.len())?;
        }
        Ok(recovery)
    }

    fn read_segment(&mut self, path: &Path, is_last: bool) -> Result<(), StoreError> {
        let n_damaged = self.damage.len();
        let read = read_segment(path, self)?;
        for damage in &mut self.damage[n_damaged..] {
            damage.is_torn_end &= is_last;
        }
        self.unknown_samples += read.n_unknown;
        self.was_closed = read.is_closed;
        Ok(())
    }
}

impl LogReader for Recovery {
    type Series = ();

    fn series(&mut self, _texts: [&str; 3]) {}

    fn sample(&mut self, (): (), millis: i64, _value: f64) {
        self.samples += 1;
        let time = Timestamp::from_millis(millis);
        self.newest = Some(self.newest.map_or(time, |newest| newest.max(time)));
    }

    fn damage(&mut self, damage: LogDamage, is_end: bool) {
        self.damage.push(LogDamage { is_torn_end: is_end, ..damage });
    }
}
