#![doc = include_str!("../README.md")]

mod bridge;
mod catalogue;
mod counter;
mod distribution;
mod extractor;
mod interval;
mod scaler;
mod transform;

pub use catalogue::{FEATURES, Feature, Unit, schema};
pub use extractor::{Extractor, Features, extract};
pub use scaler::{CLIP, Scaler};
pub use transform::Transform;
