//! What happened, for a caller that prints or forwards it.

use oddns_core::{Score, Timestamp};

use oddns::{IncidentEvent, State};

/// Something that happened to one server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// Its state changed, the progress of warming up included.
    State {
        /// Which server.
        instance: String,
        /// When.
        time: Timestamp,
        /// What it is now.
        state: State,
    },
    /// It was scored.
    Score {
        /// Which server.
        instance: String,
        /// How.
        score: Score,
    },
    /// An incident began, changed or ended; it names its server.
    Incident(IncidentEvent),
    /// Scrapes fail, or fail in another way than before. Not repeated while they go on to; of all
    /// servers of a job one a minute is told for each kind of failure.
    ScrapeFailed {
        /// Which server.
        instance: String,
        /// When.
        time: Timestamp,
        /// The whole chain of causes, in one line.
        error: String,
    },
    /// What was learned since training cannot be kept, or what was kept cannot be used: learning
    /// goes on from the model.
    StateLost {
        /// Of which server.
        instance: String,
        /// Why, in one line.
        reason: String,
    },
    /// A list of targets could not be read, or a target in it cannot be scraped. What was found
    /// before stays in force. One a minute is told of each cause.
    DiscoveryFailed {
        /// Which job.
        job: String,
        /// When.
        time: Timestamp,
        /// The whole chain of causes, in one line.
        error: String,
    },
    /// Discovery does not find the server any more; it is forgotten.
    TargetGone {
        /// Which server.
        instance: String,
        /// When.
        time: Timestamp,
    },
    /// Something that concerns no single server, and is as it should be.
    Notice {
        /// When.
        time: Timestamp,
        /// What, in one line.
        text: String,
    },
    /// Something that concerns no single server, such as a sender whose requests are refused. For one
    /// cause at most once a minute.
    Warning {
        /// When.
        time: Timestamp,
        /// What, in one line.
        text: String,
    },
    /// Scrapes work again.
    ScrapeRecovered {
        /// Which server.
        instance: String,
        /// When.
        time: Timestamp,
    },
    /// Scrapes cannot be kept any more. Not repeated while that is so.
    StorageFailed {
        /// The whole chain of causes, in one line.
        error: String,
    },
    /// Scrapes are kept again.
    StorageRecovered,
}
