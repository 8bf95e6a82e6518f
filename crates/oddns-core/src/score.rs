//! How odd one instant is, and which features say so.

use crate::Timestamp;

/// The verdict on one instant of one server.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// The instant.
    pub time: Timestamp,
    /// Not negative; above 1 is anomalous, higher is more anomalous.
    pub score: f32,
    /// Whether the alarm holds, after persistence and hysteresis.
    pub alarm: bool,
    /// The features that contribute most, strongest first; shares sum to at most 1.
    pub contributions: Vec<Contribution>,
}

/// What one feature adds to a score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contribution {
    /// Column of the feature in its schema.
    pub feature: usize,
    /// Part of the whole deviation, 0 to 1.
    pub share: f32,
    /// What was seen, in the feature's unit; NaN when it was missing.
    pub observed: f32,
    /// What is usual, in the feature's unit: the mean of normal operation, as it is by then.
    pub expected: f32,
    /// Observed minus usual, in standard deviations of normal operation.
    pub deviation: f32,
}
