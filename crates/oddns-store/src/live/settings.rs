//! What can be chosen about a history that is being written.

use std::time::Duration;

/// How a [`crate::HistoryStore`] goes about its work. The default suits one server as well as ten
/// thousand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// After so long at the latest, what has been taken is on disk for good. Default 1 s; with 0 it
    /// is after each append.
    pub fsync_interval: Duration,
    /// After so long a segment of the log is ended and becomes Parquet. Default 15 min.
    pub segment_age: Duration,
    /// At this size a segment of the log is ended, whatever its age. Default 128 MiB.
    pub segment_bytes: u64,
    /// The log may grow to this size when it cannot be made into Parquet; then nothing is taken
    /// any more. Default 4 GiB.
    pub max_log_bytes: u64,
    /// More series are not taken. Default 10 million, about 1.5 GB.
    pub max_series: usize,
    /// Series without a sample for so long, and for the age of a segment besides, are forgotten when
    /// the next segment begins, once they are an eighth of all. Their data stay. Default 1 h.
    pub forget_after: Duration,
    /// Samples further ahead of the clock are refused. Default 10 min; `None` takes all.
    pub max_ahead: Option<Duration>,
    /// Samples further behind the clock are refused. Default `None`: all are taken, and stored by
    /// their own day.
    pub max_behind: Option<Duration>,
    /// Days that lie further back than this are removed. Default `None`: kept for ever.
    pub retention_time: Option<Duration>,
    /// Above this size, log included, the oldest files are removed. Default `None`: no limit.
    pub retention_bytes: Option<u64>,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            fsync_interval: Duration::from_secs(1),
            segment_age: Duration::from_secs(15 * 60),
            segment_bytes: 128 << 20,
            max_log_bytes: 4 << 30,
            max_series: 10_000_000,
            forget_after: Duration::from_secs(60 * 60),
            max_ahead: Some(Duration::from_secs(10 * 60)),
            max_behind: None,
            retention_time: None,
            retention_bytes: None,
        }
    }
}
