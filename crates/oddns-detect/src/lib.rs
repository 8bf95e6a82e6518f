#![doc = include_str!("../README.md")]

mod alarm_line;
mod attribution;
pub mod baseline;
mod cause;
mod error;
mod evidence;
mod persistence;
mod quantile;
mod tracker;

pub use alarm_line::{AlarmLine, AlarmLineConfig};
pub use attribution::{Deviations, contributions};
pub use cause::{Area, CAUSES, CauseEntry, Diagnosis, Diagnostics, Moves, SCRAPES_FLAP, diagnose};
pub use error::DetectError;
pub use persistence::{Persistence, PersistenceConfig, PersistenceState};
pub use quantile::quantile;
pub use tracker::{IncidentEvent, IncidentTracker, Observation, Tracked};
