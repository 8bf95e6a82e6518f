#![doc = include_str!("../README.md")]

mod attribution;
pub mod baseline;
mod cause;
mod error;
mod evidence;
mod persistence;
mod threshold;
mod tracker;

pub use attribution::{Deviations, contributions};
pub use cause::{Area, CAUSES, CauseEntry, Diagnosis, Diagnostics, Moves, SCRAPES_FLAP, diagnose};
pub use error::DetectError;
pub use persistence::{Persistence, PersistenceConfig};
pub use threshold::{quantile, tail_threshold};
pub use tracker::{IncidentEvent, IncidentTracker, Observation};
