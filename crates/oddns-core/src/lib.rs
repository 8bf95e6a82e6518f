#![doc = include_str!("../README.md")]

mod frame;
mod hash;
mod incident;
mod schema;
mod score;
mod scrape;
mod series;
mod thinned;
mod time;

pub use frame::{Frame, FrameError, to_single};
pub use hash::stable_hash;
pub use incident::{Cause, Incident, Movement, Severity};
pub use schema::{Schema, SchemaId};
pub use score::{Contribution, Score};
pub use scrape::{Recording, Sample, Scrape};
pub use series::{
    Labels, ParseLabelsError, SeriesId, SeriesKey, SeriesPool, SeriesTable, TableTag,
};
pub use thinned::Thinned;
pub use time::{ParseTimestampError, Timestamp};
