//! Where received samples are kept.

use std::error::Error;

use oddns_collect::{Directory, WrittenSample, WrittenSeries};
use oddns_core::Timestamp;

/// Keeps received samples.
pub trait Keep: Send {
    /// Takes all of `samples`, whose series are in `directory`, but for those of series that there is
    /// no room for; says how many these are. On an error none is taken, and they come again later.
    fn keep(
        &mut self,
        now: Timestamp,
        directory: &Directory,
        samples: &[WrittenSample],
    ) -> Result<u64, KeepError>;

    /// Forgets what it knows of these series: their numbers will mean others.
    fn forget(&mut self, series: &[WrittenSeries]);

    /// Brings what was kept to its end.
    fn finish(&mut self) -> Result<(), KeepError>;
}

/// Why received samples cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("what is received cannot be kept")]
pub struct KeepError(#[source] Box<dyn Error + Send + Sync>);

impl KeepError {
    /// Because of `source`.
    pub fn new(source: Box<dyn Error + Send + Sync>) -> Self {
        Self(source)
    }
}
