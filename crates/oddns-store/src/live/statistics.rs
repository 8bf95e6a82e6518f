//! What a history that is being written tells about itself.

/// Counts since the store was opened, and how things stand. For metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreStatistics {
    /// Series known.
    pub series: usize,
    /// Series forgotten, see [`crate::StoreSettings::forget_after`].
    pub forgotten_series: u64,
    /// Samples taken.
    pub samples: u64,
    /// Samples left out because the series already had one at that time.
    pub duplicates: u64,
    /// Samples taken and left out when they became Parquet, because the series had one at that time.
    pub repeated: u64,
    /// Of both, samples left out because the series has another value at that time, when they came or when
    /// they became Parquet.
    pub conflicts: u64,
    /// Samples taken although they are older than the last one of their series.
    pub out_of_order: u64,
    /// Samples refused: further ahead of the clock than allowed.
    pub too_far_ahead: u64,
    /// Samples refused: further behind the clock than allowed.
    pub too_far_behind: u64,
    /// New series refused because there were too many.
    pub refused_series: u64,
    /// Samples refused because the log could not be written, or had grown too long.
    pub unwritten: u64,
    /// Why nothing is taken at present; `None` when all is well.
    pub refusing: Option<String>,
    /// Segments of the log.
    pub log_segments: usize,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Times that the log was brought to disk for good.
    pub syncs: u64,
    /// Times that this failed; what had been taken since the time before may be lost in a power cut.
    pub failed_syncs: u64,
    /// Parquet files written from the log or from smaller files.
    pub parts_written: u64,
    /// Times that writing Parquet, or removing what is too old, failed.
    pub failed_compactions: u64,
    /// Why it failed the last time; `None` after it has worked.
    pub compaction_error: Option<String>,
    /// Stretches of the log that could not be read when it became Parquet.
    pub damaged_stretches: u64,
    /// Files removed because of their age or the size of all.
    pub expired_files: u64,
}
