//! What is found of the log when a history is opened.

use std::path::Path;

use oddns_core::Timestamp;

use crate::StoreError;
use crate::log::{LogDamage, Payload, SegmentSeries, Step, Steps, segments};

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
            recovery.was_closed = false;
            recovery.read_segment(path, at + 1 == paths.len())?;
        }
        Ok(recovery)
    }

    fn read_segment(&mut self, path: &Path, is_last: bool) -> Result<(), StoreError> {
        let mut steps = Steps::open(path)?;
        let mut series = SegmentSeries::<()>::default();
        while let Some(step) = steps.next()? {
            match step {
                Step::Record(_, payload) => {
                    self.was_closed = matches!(payload, Payload::Closed);
                    let (n, newest) = (&mut self.samples, &mut self.newest);
                    series.take(payload, &mut |_| (), &mut |(), millis, _| {
                        *n += 1;
                        let time = Timestamp::from_millis(millis);
                        *newest = Some(newest.map_or(time, |newest| newest.max(time)));
                    });
                }
                Step::Damage(damage, is_end) => {
                    self.was_closed = false;
                    self.damage.push(LogDamage { is_torn_end: is_end && is_last, ..damage });
                }
            }
        }
        self.unknown_samples += series.n_unknown;
        Ok(())
    }
}
