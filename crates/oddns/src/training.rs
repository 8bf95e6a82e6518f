//! Fitting a detector to normal operation.

use std::ops::ControlFlow;
use std::sync::Arc;

use oddns_core::{Frame, Schema, Timestamp};
use oddns_features::Scaler;
use oddns_model::{Config, Network, Progress, Sequence};

use crate::column::{Column, columns_of};
use crate::detector::{Detector, DetectorError, TrainingRecord};
use crate::held_out::{Course, N_FOLDS, predict_held_out, shortest_block};
use crate::members::{Calibration, Dense, Predicted, StandardRow};
use crate::stream::stretches;

/// Feature groups that are hidden one after the other when the network completes a row.
pub(crate) const N_GROUPS: usize = 4;

/// What may be chosen about training. The defaults are the measured recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOptions {
    /// Passes over the data; `None` for the recipe's 200 optimiser steps.
    pub epochs: Option<usize>,
    /// Stretches in a batch.
    pub batch: usize,
    /// Rows in a stretch: the N of the first-in-first-out stack.
    pub window: usize,
    /// Seed of weights and batches; the same seed and data give the same model.
    pub seed: u64,
    /// Threads to train on; the result does not depend on it.
    pub threads: usize,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self { epochs: None, batch: 20, window: 160, seed: 1, threads: 2 }
    }
}

impl Detector {
    /// Learns what normal looks like from frames of the same columns, one a server. `progress` is
    /// called at every step and may end the training, which is then an error: there are no half
    /// models.
    pub fn fit(
        frames: &[&Frame],
        options: &TrainOptions,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Self, DetectorError> {
        check_columns(frames)?;
        let columns = columns_of(frames);
        fit(columns, None, frames, options, progress)
    }

    /// Goes on from this detector's weights with frames of the same columns. Scales and calibration
    /// are learned from these frames alone.
    pub fn refit(
        &self,
        frames: &[&Frame],
        options: &TrainOptions,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Self, DetectorError> {
        check_columns(frames)?;
        for frame in frames {
            self.check_schema(&Schema::new(frame.columns().to_vec()))?;
        }
        fit(self.columns.to_vec(), Some(&self.network), frames, options, progress)
    }
}

fn fit(
    columns: Vec<Column>,
    parent: Option<&Network>,
    frames: &[&Frame],
    options: &TrainOptions,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Detector, DetectorError> {
    let (interval_seconds, needed) = (interval(frames), needed_rows(columns.len()));
    let modelled = stretches_of(frames, &columns, interval_seconds);
    let longest = modelled.iter().map(|values| values.len() / columns.len()).max().unwrap_or(0);
    if longest < needed {
        return Err(DetectorError::TooShort { found: longest, needed });
    }
    let scaler = fit_scaler(&modelled, &columns)?;
    let (rows, sequences) = standardised(&modelled, &scaler, columns.len(), needed)?;
    let mut course = Course::new(parent, columns.len(), network_options(options, &sequences));
    let held_out = predict_held_out(&sequences, &mut course, progress)?;
    let (network, trained) = course.train(&sequences, progress)?;
    let predicted: Vec<Predicted> = rows
        .into_iter()
        .zip(held_out)
        .map(|(rows, dense)| Predicted { from: network.receptive_field(), rows, dense })
        .collect();
    Ok(Detector {
        schema: Schema::new(columns.iter().map(|column| column.name.clone()).collect()),
        columns: columns.into(),
        scaler,
        calibration: Calibration::fit(&predicted),
        record: TrainingRecord {
            range: range(frames),
            n_rows: sequences.iter().map(Sequence::len).sum(),
            interval_seconds,
            n_steps: trained.steps,
            seed: options.seed,
            loss: trained.final_loss,
            n_parameters: trained.n_parameters,
        },
        network: Arc::new(network),
    })
}

fn check_columns(frames: &[&Frame]) -> Result<(), DetectorError> {
    let Some(first) = frames.first().filter(|frame| frame.width() > 0) else {
        return Err(DetectorError::Empty);
    };
    match frames.iter().position(|frame| frame.columns() != first.columns()) {
        Some(at) => Err(DetectorError::Columns { at }),
        None => Ok(()),
    }
}

/// Rows in a row without which there is nothing to learn.
fn needed_rows(width: usize) -> usize {
    let receptive_field = Config::recipe(width).receptive_field();
    // Each fold of the calibration needs a block to train on.
    N_FOLDS * shortest_block(receptive_field)
}

/// The values of each stretch without a long pause on the modelled scale, row by row.
fn stretches_of(frames: &[&Frame], columns: &[Column], interval_seconds: f32) -> Vec<Vec<f32>> {
    let rows = |frame: &Frame, stretch: std::ops::Range<usize>| {
        stretch.flat_map(|at| modelled_row(frame.row(at), columns)).collect()
    };
    frames
        .iter()
        .flat_map(|frame| {
            let found = stretches(frame, f64::from(interval_seconds));
            found.into_iter().map(|stretch| rows(frame, stretch))
        })
        .collect()
}

/// Standardised rows and what the network reads of them, of each stretch that is long enough.
fn standardised(
    modelled: &[Vec<f32>],
    scaler: &Scaler,
    width: usize,
    needed: usize,
) -> Result<(Vec<Vec<StandardRow>>, Vec<Sequence>), DetectorError> {
    let rows: Vec<Vec<StandardRow>> = modelled
        .iter()
        .filter(|values| values.len() >= needed * width)
        .map(|values| values.chunks_exact(width).map(|row| StandardRow::new(scaler, row)).collect())
        .collect();
    let sequences = rows.iter().map(|rows| sequence(rows)).collect::<Result<Vec<_>, _>>()?;
    Ok((rows, sequences))
}

/// One row on the modelled scale.
pub(crate) fn modelled_row(row: &[f32], columns: &[Column]) -> Vec<f32> {
    row.iter().zip(columns).map(|(value, column)| column.transform.apply(*value)).collect()
}

fn fit_scaler(modelled: &[Vec<f32>], columns: &[Column]) -> Result<Scaler, DetectorError> {
    if columns.is_empty() || modelled.iter().flatten().all(|value| value.is_nan()) {
        return Err(DetectorError::Empty);
    }
    let resolution: Vec<f32> = columns.iter().map(|column| column.resolution).collect();
    let rows = modelled.iter().flat_map(|frame| frame.chunks_exact(columns.len()));
    Ok(Scaler::fit(rows, &resolution))
}

/// What the network reads: a missing value carries the last known one, marked as not seen.
pub(crate) fn sequence(rows: &[StandardRow]) -> Result<Sequence, DetectorError> {
    let width = rows.first().map_or(1, |row| row.values.len());
    let mut last = vec![0.0; width];
    let mut values = Vec::with_capacity(rows.len() * width);
    let mut observed = Vec::with_capacity(rows.len() * width);
    for row in rows {
        for (at, value) in row.values.iter().enumerate() {
            if !value.is_nan() {
                last[at] = *value;
            }
            values.push(last[at]);
            observed.push(!value.is_nan());
        }
    }
    Sequence::new(width, values, observed).map_err(DetectorError::Model)
}

fn network_options(options: &TrainOptions, sequences: &[Sequence]) -> oddns_model::TrainOptions {
    let rows: usize = sequences.iter().map(Sequence::len).sum();
    let defaults = oddns_model::TrainOptions::default();
    let steps_per_epoch = rows.div_ceil(options.batch.saturating_mul(options.window).max(1));
    // Absurd numbers are refused by the model, which knows the limits.
    let steps =
        options.epochs.map_or(defaults.steps, |epochs| epochs.saturating_mul(steps_per_epoch));
    oddns_model::TrainOptions {
        steps,
        batch: options.batch,
        length: options.window,
        seed: options.seed,
        threads: options.threads,
        ..defaults
    }
}

/// The network's view of a whole stretch, densely.
pub(crate) fn predict(network: &Network, sequence: &Sequence) -> Result<Dense, DetectorError> {
    Ok(Dense {
        width: sequence.n_features(),
        forecast: network.forecast(sequence).map_err(DetectorError::Model)?,
        completion: network.complete(sequence, N_GROUPS).map_err(DetectorError::Model)?,
    })
}

fn range(frames: &[&Frame]) -> Option<(Timestamp, Timestamp)> {
    let first = frames.iter().filter_map(|f| f.timestamps().first()).min()?;
    let last = frames.iter().filter_map(|f| f.timestamps().last()).max()?;
    Some((*first, *last))
}

fn interval(frames: &[&Frame]) -> f32 {
    let mut steps: Vec<f32> = frames
        .iter()
        .flat_map(|frame| frame.timestamps().windows(2))
        .map(|pair| pair[1].seconds_since(pair[0]) as f32)
        .collect();
    steps.sort_by(f32::total_cmp);
    steps.get(steps.len() / 2).copied().unwrap_or(f32::NAN)
}
