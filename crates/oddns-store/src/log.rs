//! The write-ahead log: what has been taken and is not yet in Parquet.
//!
//! A log is a folder `_wal` of numbered segments. A segment is a header and records; a record is a
//! marker, the length of its payload, a CRC-32C over length and payload, and the payload. Segments
//! do not need each other: each defines the series that its samples speak of, and a little later
//! once more, so that damage to one place takes no other samples with it. A segment is only ever
//! appended to by the process that began it.

mod payload;
mod reading;
mod segment;

use std::fmt;
use std::path::PathBuf;

pub(crate) use payload::{Definitions, Payload, SampleEncoder, samples};
pub(crate) use reading::{LogReader, read_segment};
#[cfg(test)]
pub(crate) use segment::segment_path;
pub(crate) use segment::{SegmentFile, SegmentWriter, Step, Steps, frame, number_of, segments};

/// The folder of the log within a history. Tools that read Parquet folders pass over names that
/// begin with `_`.
pub(crate) const FOLDER: &str = "_wal";

/// The longest payload that is written or believed; a longer length is damage.
const MAX_PAYLOAD: usize = 1 << 20;

/// A stretch of a segment that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDamage {
    /// The segment.
    pub path: PathBuf,
    /// First byte that makes no sense.
    pub offset: u64,
    /// How many bytes were passed over.
    pub length: u64,
    /// The end of the last segment, where a process was killed while writing: nothing that had
    /// been synced is lost by it.
    pub is_torn_end: bool,
    /// How many samples were in it; `None` when that cannot be known: at the end of a segment, and
    /// in segments of older versions.
    pub samples: Option<u64>,
}

impl fmt::Display for LogDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, offset, length, .. } = self;
        write!(f, "`{}`: {length} bytes from byte {offset} on are damaged, ", path.display())?;
        match self.samples {
            Some(n) => write!(f, "{n} samples are lost with them"),
            None => write!(f, "nobody knows how many samples are lost with them"),
        }
    }
}
