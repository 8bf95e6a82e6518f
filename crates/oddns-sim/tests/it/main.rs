//! The simulator as its users see it.

mod effects;
mod exposition;
mod properties;
