//! Normal operation: the rows that everything is learned from.
//!
//! A history is in memory twice, as the frame that it came in and standardised. All else that is
//! learned from, values on the modelled scale and forecasts, is made when it is looked at.

use std::ops::Range;
use std::sync::Arc;

use oddns_core::{Frame, Timestamp};
use oddns_detect::baseline::Rows;
use oddns_features::Scaler;
use oddns_model::{Network, Sequence};

use crate::column::Column;
use crate::detector::DetectorError;
use crate::forecaster::nearer;
use crate::held_out::HeldOut;
use crate::training::{SequenceBuilder, model};

/// Rows that are forecast at a time.
const BLOCK_ROWS: usize = 256;

/// A stretch of rows without a long pause, on one server.
pub(crate) struct Stretch<'a> {
    frame: &'a Frame,
    /// Rows of the frame.
    rows: Range<usize>,
    columns: &'a [Column],
    /// Standardised; what is missing carries the last known value.
    pub(crate) sequence: Sequence,
}

impl<'a> Stretch<'a> {
    /// Standardises rows as they will be when they are scored: by a scaler that follows.
    pub(crate) fn new(
        frame: &'a Frame,
        rows: Range<usize>,
        columns: &'a [Column],
        scaler: &mut Scaler,
        weight: f32,
    ) -> Result<Self, DetectorError> {
        let mut sequence = SequenceBuilder::new(columns.len(), rows.len());
        let mut modelled = vec![0.0; columns.len()];
        for at in rows.clone() {
            model(frame.row(at), columns, &mut modelled);
            let values = modelled.iter().enumerate();
            sequence.push(values.map(|(at, value)| scaler.standardise(at, *value)));
            scaler.adapt(&modelled, weight);
        }
        Ok(Self { frame, rows, columns, sequence: sequence.finish()? })
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Time of the first row.
    pub(crate) fn start(&self) -> Option<Timestamp> {
        self.frame.timestamps().get(self.rows.start).copied()
    }

    pub(crate) fn width(&self) -> usize {
        self.columns.len()
    }

    /// Writes row `at` on the modelled scale.
    pub(crate) fn model(&self, at: usize, into: &mut [f32]) {
        model(self.frame.row(self.rows.start + at), self.columns, into);
    }

    /// Writes row `at` standardised, NaN where missing.
    pub(crate) fn standardised(&self, at: usize, into: &mut [f32]) {
        let seen = self.sequence.row(at).iter().zip(self.sequence.observed(at));
        for (into, (value, observed)) in into.iter_mut().zip(seen) {
            *into = if *observed { *value } else { f32::NAN };
        }
    }
}

/// What was to be expected of each row by somebody who had not learned it.
pub(crate) enum Expected {
    Network(HeldOut),
    /// By a network of elsewhere.
    Elsewhere(Arc<Network>),
    /// Each feature stays as it was last seen; zero before the first row.
    LastValue,
}

impl Expected {
    /// Of `rows` of a stretch, row-major.
    fn of(
        &self,
        stretch: usize,
        sequence: &Sequence,
        rows: Range<usize>,
    ) -> Result<Vec<f32>, DetectorError> {
        match self {
            Self::Network(held_out) => {
                let told = held_out.forecast(stretch, sequence, rows.clone())?;
                Ok(nearer_of_both(told, sequence, rows))
            }
            Self::Elsewhere(network) => {
                let told = network.forecast_of(sequence, rows.clone());
                Ok(nearer_of_both(told.map_err(DetectorError::Model)?, sequence, rows))
            }
            Self::LastValue => Ok(last_values(sequence, rows)),
        }
    }
}

/// What came nearer to each value of `rows`: what was `told` of it, or that it stays.
fn nearer_of_both(mut told: Vec<f32>, sequence: &Sequence, rows: Range<usize>) -> Vec<f32> {
    let last = last_values(sequence, rows.clone());
    let values = rows.flat_map(|row| sequence.row(row).iter().zip(sequence.observed(row)));
    for ((told, last), (value, observed)) in told.iter_mut().zip(last).zip(values) {
        *told = nearer(if *observed { *value } else { f32::NAN }, *told, last);
    }
    told
}

/// The row before each of `rows`, zeros before the first: what is missing carries what was last
/// seen.
pub(crate) fn last_values(sequence: &Sequence, rows: Range<usize>) -> Vec<f32> {
    let mut found = Vec::with_capacity(rows.len() * sequence.n_features());
    for row in rows {
        match row.checked_sub(1) {
            Some(before) => found.extend_from_slice(sequence.row(before)),
            None => found.resize(sequence.n_features(), 0.0),
        }
    }
    found
}

/// Stretches of normal operation of one or more servers, all of one width.
pub(crate) struct Normal<'a> {
    pub(crate) stretches: &'a [Stretch<'a>],
    pub(crate) expected: Expected,
    /// First row of a stretch with a full past.
    pub(crate) from: usize,
}

/// One row of normal operation.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'b> {
    pub(crate) stretch: usize,
    /// Row of the stretch.
    pub(crate) row: usize,
    /// On the modelled scale.
    pub(crate) modelled: &'b [f32],
    /// Standardised, NaN where missing.
    pub(crate) values: &'b [f32],
    /// Standardised.
    pub(crate) forecast: &'b [f32],
}

impl Normal<'_> {
    pub(crate) fn width(&self) -> usize {
        self.stretches.first().map_or(0, Stretch::width)
    }

    /// Rows with a full past.
    pub(crate) fn n_full_rows(&self) -> usize {
        self.stretches.iter().map(|stretch| stretch.len().saturating_sub(self.from)).sum()
    }

    /// Shows each row in order, with what was to be expected of it.
    pub(crate) fn each(&self, mut look: impl FnMut(Seen<'_>)) -> Result<(), DetectorError> {
        let (mut modelled, mut values) = (vec![0.0; self.width()], vec![0.0; self.width()]);
        for (at, stretch) in self.stretches.iter().enumerate() {
            for from in (0..stretch.len()).step_by(BLOCK_ROWS) {
                let rows = from..(from + BLOCK_ROWS).min(stretch.len());
                let forecasts = self.expected.of(at, &stretch.sequence, rows.clone())?;
                for (row, forecast) in rows.zip(forecasts.chunks_exact(self.width())) {
                    stretch.model(row, &mut modelled);
                    stretch.standardised(row, &mut values);
                    let (modelled, values) = (modelled.as_slice(), values.as_slice());
                    look(Seen { stretch: at, row, modelled, values, forecast });
                }
            }
        }
        Ok(())
    }

    /// Shows each row on the modelled scale, in order, with its stretch and its place in it.
    pub(crate) fn each_modelled(&self, mut look: impl FnMut(usize, usize, &[f32])) {
        let mut modelled = vec![0.0; self.width()];
        for (at, stretch) in self.stretches.iter().enumerate() {
            for row in 0..stretch.len() {
                stretch.model(row, &mut modelled);
                look(at, row, &modelled);
            }
        }
    }

    /// Shows each row standardised, NaN where missing, in order.
    pub(crate) fn each_standardised(&self, mut look: impl FnMut(&[f32])) {
        let mut values = vec![0.0; self.width()];
        for stretch in self.stretches {
            for row in 0..stretch.len() {
                stretch.standardised(row, &mut values);
                look(&values);
            }
        }
    }
}

/// Fits something to the rows that are `wanted` of each stretch, one stretch after the other, on the
/// modelled scale.
pub(crate) fn fit_chosen<T>(
    stretches: &[Stretch<'_>],
    wanted: impl Fn(usize, usize) -> bool,
    fit: impl FnOnce(Rows<'_>) -> Result<T, oddns_detect::DetectError>,
) -> Result<T, DetectorError> {
    let rows = |(at, stretch): (usize, &Stretch<'_>)| (0..stretch.len()).map(move |row| (at, row));
    let all = stretches.iter().enumerate().flat_map(rows);
    let chosen: Vec<(usize, usize)> = all.filter(|(at, row)| wanted(*at, *row)).collect();
    let width = stretches.first().map_or(1, Stretch::width);
    let make = |at: usize, into: &mut [f32]| {
        let (stretch, row) = chosen[at];
        stretches[stretch].model(row, into);
    };
    Rows::made(chosen.len(), width, &make).and_then(fit).map_err(DetectorError::Member)
}

/// Numbers of each feature, of which a quantile is wanted: evenly spread ones of a long record.
pub(crate) struct Sampled {
    every: usize,
    n: usize,
    features: Vec<Vec<f32>>,
}

/// Numbers that a quantile is taken of: many more than it needs.
const MOST_SAMPLES: usize = 1 << 17;

impl Sampled {
    /// For `n_rows` rows of so many features.
    pub(crate) fn new(width: usize, n_rows: usize) -> Self {
        let every = n_rows.div_ceil(MOST_SAMPLES).max(1);
        Self { every, n: 0, features: vec![Vec::new(); width] }
    }

    pub(crate) fn take(&mut self, row: impl Iterator<Item = f32>) {
        if self.n.is_multiple_of(self.every) {
            self.features.iter_mut().zip(row).for_each(|(seen, value)| seen.push(value));
        }
        self.n += 1;
    }

    pub(crate) fn features(&self) -> &[Vec<f32>] {
        &self.features
    }
}
