//! What a detector knows of each column it is fitted on.

use oddns_core::Frame;
use oddns_features::{Concern, FEATURES, Transform, schema};

/// Without a catalogue entry, changes below this share of a column's largest value do not matter.
const GENERIC_RESOLUTION: f32 = 1e-3;

/// One feature of a frame, from the catalogue of CoreDNS features or of any other table.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Column name.
    pub name: String,
    /// Unit as written behind a value; empty for plain numbers.
    pub unit: String,
    /// One sentence for an operator; empty when nothing is known.
    pub doc: String,
    /// The scale on which it is modelled.
    pub transform: Transform,
    /// The smallest change that matters, on the modelled scale.
    pub resolution: f32,
    /// Which way it has to go to concern those who ask; either way where nothing is known.
    pub concern: Concern,
}

impl Column {
    /// Whether it is known what matters of this column: it is one of the CoreDNS features.
    pub(crate) fn is_of_catalogue(&self) -> bool {
        FEATURES.iter().any(|feature| feature.name == self.name)
    }
}

/// The columns of `frames`, which must agree: catalogue entries for a frame of CoreDNS features,
/// plain linear columns for any other.
pub(crate) fn columns_of(frames: &[&Frame]) -> Vec<Column> {
    let names = frames.first().map(|frame| frame.columns()).unwrap_or_default();
    if names == schema().columns() {
        return FEATURES
            .iter()
            .map(|feature| Column {
                name: feature.name.to_owned(),
                unit: feature.unit.as_str().to_owned(),
                doc: feature.doc.to_owned(),
                transform: feature.transform,
                resolution: feature.resolution,
                concern: feature.concern,
            })
            .collect();
    }
    names.iter().enumerate().map(|(at, name)| generic(name, at, frames)).collect()
}

fn generic(name: &str, at: usize, frames: &[&Frame]) -> Column {
    let largest = frames
        .iter()
        .flat_map(|frame| frame.rows())
        .map(|(_, row)| row[at].abs())
        .filter(|value| value.is_finite())
        .fold(0.0, f32::max);
    Column {
        name: name.to_owned(),
        unit: String::new(),
        doc: String::new(),
        transform: Transform::Linear,
        // A column of zeros still needs a scale above zero.
        resolution: if largest > 0.0 { GENERIC_RESOLUTION * largest } else { 1.0 },
        concern: Concern::Either,
    }
}
