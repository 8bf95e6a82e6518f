//! A watch that begins with what a Prometheus remembers: history is fetched, every server is
//! calibrated by its own past, and the site's own model is trained, all in the background.
//!
//! A thread of its own with the lowest priority does it, on a runtime of its own, so that neither the
//! parsing of large answers nor a slow Prometheus holds up a scrape. Whatever fails is told once and
//! tried again; the watch goes on as it would without.

mod board;
mod cadence;
mod clerk;
mod fetched;
mod gauges;
mod note;
mod settings;
mod settling;

pub use clerk::{Backfill, BackfillSite, BackfillTraining};
pub use settings::BackfillSettings;

pub(crate) use board::{BackfillBoard, Stage, Standing};
