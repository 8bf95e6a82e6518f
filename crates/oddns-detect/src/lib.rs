#![doc = include_str!("../README.md")]

mod attribution;
pub mod baseline;
mod cause;
mod error;
mod persistence;
mod threshold;
mod tracker;

pub use attribution::{Deviations, contributions};
pub use cause::{CAUSES, CauseEntry, likely_cause};
pub use error::DetectError;
pub use persistence::{Persistence, PersistenceConfig};
pub use threshold::{quantile, tail_threshold};
pub use tracker::{IncidentEvent, IncidentTracker, Observation};
