//! What may be chosen about learning in the service.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The folder of models in the history that is learned from, where no other is named.
const FOLDER: &str = "_models";

/// How the service goes on learning.
#[derive(Debug, Clone, PartialEq)]
pub struct LearningSettings {
    /// Whether it does.
    pub enabled: bool,
    /// Time from one update to the next.
    pub interval: Duration,
    /// How far back an update looks.
    pub look_back: Duration,
    /// An update with fewer rows, of all servers together, waits.
    pub min_rows: usize,
    /// Part of one processor that an update takes, above 0 and at most 1.
    pub cpu_share: f64,
    /// Time that a change which harms nobody has to stay until it is normal.
    pub settles_after: Duration,
    /// When the mean of a feature over all servers has moved by so many standard deviations, the next
    /// update comes after a quarter of the interval.
    pub drift: f64,
    /// So many servers may have a model of their own, where the shared one fits them badly; 0 for none.
    pub own_models: usize,
    /// The folder of models; beside the history when it is not named.
    pub registry: Option<PathBuf>,
}

impl Default for LearningSettings {
    /// Each day, with a quarter of a processor.
    fn default() -> Self {
        let day = Duration::from_secs(86_400);
        Self {
            enabled: true,
            interval: day,
            look_back: 14 * day,
            min_rows: 5760,
            cpu_share: 0.25,
            settles_after: 2 * day,
            drift: 1.0,
            own_models: 8,
            registry: None,
        }
    }
}

impl LearningSettings {
    /// Where models are, for a history in this folder.
    pub fn registry_of(&self, storage: &Path) -> PathBuf {
        self.registry.clone().unwrap_or_else(|| storage.join(FOLDER))
    }
}
