#![doc = include_str!("../README.md")]

mod bridge;
mod catalogue;
mod counter;
mod distribution;
mod extractor;
mod fleet;
mod frames;
mod interval;
mod part;
mod rhythm;
mod scaler;
mod transform;
mod trend;

pub use catalogue::{Concern, FEATURES, Feature, Unit, schema};
pub use extractor::{Extractor, Features};
pub use fleet::Fleet;
pub use frames::{FleetExtractor, extract, extract_fleet};
pub use scaler::{CLIP, Scaler};
pub use transform::Transform;
