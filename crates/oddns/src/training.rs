//! Fitting a detector to normal operation.

use std::borrow::Borrow;
use std::ops::ControlFlow;
use std::sync::Arc;

use oddns_core::{Frame, Schema, Timestamp};
use oddns_detect::baseline::Baseline;
use oddns_features::Scaler;
use oddns_model::{Config, Network, Progress, Reconstruction, Sequence, TrainRecord};

use crate::calibration::{Pace, Stretch};
use crate::column::{Column, columns_of};
use crate::detector::{Detector, DetectorError, TrainingRecord, tracked};
use crate::forecaster::{Forecaster, last_values};
use crate::held_out::{Blocks, Course, N_FOLDS, predict_held_out, shortest_block};
use crate::kind::DetectorKind;
use crate::members::{Calibration, SUSTAINED_ROWS, StandardRow};
use crate::method::Method;
use crate::reconstructed::{self, Reconstructed};
use crate::rival::Rival;
use crate::stream::stretches;

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
    /// False alarms that a server may have in a week: the alarm budget, above 0. The line is drawn
    /// for it, within what the tail of a record can tell (a risk of 3·10⁻⁵ to 10⁻³ a row).
    pub alarms_per_week: f64,
    /// What to train; of the options above, a detector without a network heeds seed and
    /// alarms alone.
    pub detector: DetectorKind,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            epochs: None,
            batch: 20,
            window: 160,
            seed: 1,
            threads: 2,
            alarms_per_week: 1.0,
            detector: DetectorKind::default(),
        }
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
    /// are learned from these frames alone, and a detector without weights is fitted anew. The kind
    /// stays, whatever the options say.
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
        let options = TrainOptions { detector: self.kind, ..options.clone() };
        let parent = Some(self.method.forecaster());
        fit(self.columns.to_vec(), parent, frames, &options, progress)
    }
}

fn fit(
    columns: Vec<Column>,
    parent: Option<&Forecaster>,
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
    let pace = Pace::new(interval_seconds, options.alarms_per_week);
    let mut scaler = fit_scaler(&modelled, &columns)?;
    let stretches = standardised(modelled, &mut scaler, pace, columns.len(), needed);
    let n_rows = stretches.iter().map(|stretch| stretch.rows.len()).sum();
    let mut lesson = Lesson { stretches, columns: &columns, scaler: &scaler, pace, options };
    let (method, trained) = lesson.learn(parent, progress)?;
    Ok(Detector {
        tracked: tracked(&columns),
        schema: Schema::new(columns.iter().map(|column| column.name.clone()).collect()),
        columns: columns.into(),
        scaler,
        kind: options.detector,
        method,
        record: TrainingRecord {
            range: range(frames),
            n_rows,
            interval_seconds,
            alarms_per_week: options.alarms_per_week,
            n_steps: trained.as_ref().map_or(0, |trained| trained.steps),
            seed: options.seed,
            loss: trained.as_ref().map_or(f32::NAN, |trained| trained.final_loss),
            n_parameters: trained.as_ref().map_or(0, |trained| trained.n_parameters),
        },
    })
}

/// All that a method learns from.
struct Lesson<'a> {
    stretches: Vec<Stretch>,
    columns: &'a [Column],
    scaler: &'a Scaler,
    pace: Pace,
    options: &'a TrainOptions,
}

/// What was learned, and how a network was trained for it.
type Learned = (Method, Option<TrainRecord>);

impl Lesson<'_> {
    fn learn(
        &mut self,
        parent: Option<&Forecaster>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Learned, DetectorError> {
        let sequences =
            self.stretches.iter().map(|s| sequence(&s.rows)).collect::<Result<Vec<_>, _>>()?;
        match self.options.detector {
            DetectorKind::Masked => {
                let parent = match parent {
                    Some(Forecaster::Network(network)) => Some(network.as_ref()),
                    _ => None,
                };
                self.masked(&sequences, parent, progress)
            }
            DetectorKind::Reconstruction | DetectorKind::Reconstruction2d => {
                let parent = match parent {
                    Some(Forecaster::Reconstruction(network)) => Some(network.as_ref()),
                    _ => None,
                };
                self.reconstruction(&sequences, parent, progress)
            }
            DetectorKind::MaskedWithoutNetwork => self.without_network(&sequences),
            DetectorKind::Baseline(baseline) => self.rival(&sequences, baseline),
        }
    }

    fn masked(
        &mut self,
        sequences: &[Sequence],
        parent: Option<&Network>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Learned, DetectorError> {
        let width = sequences.first().map_or(1, Sequence::n_features);
        let mut course = Course::new(parent, width, network_options(self.options, sequences));
        let blocks = Blocks::new(sequences, course.receptive_field());
        let held_out = predict_held_out(sequences, &blocks, &mut course, progress)?;
        let from = course.receptive_field();
        let (mut network, trained) = course.train(sequences, progress)?;
        network.dampen(&held_out.gain).map_err(DetectorError::Model)?;
        let calibration = self.calibrate(held_out.forecasts, from, &blocks)?;
        let forecaster = Forecaster::Network(Arc::new(network));
        Ok((Method::Members { forecaster, calibration }, Some(trained)))
    }

    fn without_network(&mut self, sequences: &[Sequence]) -> Result<Learned, DetectorError> {
        let forecaster = Forecaster::LastValue;
        let from = forecaster.warm_up_rows();
        let forecasts = sequences.iter().map(last_values).collect();
        let calibration = self.calibrate(forecasts, from, &Blocks::new(sequences, from))?;
        Ok((Method::Members { forecaster, calibration }, None))
    }

    fn reconstruction(
        &self,
        sequences: &[Sequence],
        parent: Option<&Reconstruction>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Learned, DetectorError> {
        let (kind, options) = (self.options.detector, self.options);
        let course = reconstructed::Course { kind, parent, options };
        let (network, record, held_out) = course.run(sequences, progress)?;
        let forecaster = Forecaster::Reconstruction(Arc::new(network));
        let reconstructed = Reconstructed::calibrate(&held_out, self.pace);
        Ok((Method::Reconstruction { forecaster, reconstructed }, Some(record)))
    }

    /// From what was to be expected of each stretch by somebody who had not learned it.
    fn calibrate(
        &mut self,
        forecasts: Vec<Vec<f32>>,
        from: usize,
        blocks: &Blocks,
    ) -> Result<Arc<Calibration>, DetectorError> {
        for (stretch, forecast) in self.stretches.iter_mut().zip(forecasts) {
            (stretch.from, stretch.forecast) = (from, forecast);
        }
        let Self { stretches, columns, scaler, pace, .. } = self;
        Ok(Arc::new(Calibration::fit(stretches, blocks, scaler, columns, *pace)?))
    }

    fn rival(
        &self,
        sequences: &[Sequence],
        baseline: &'static Baseline,
    ) -> Result<Learned, DetectorError> {
        let blocks = match baseline.steps {
            true => Blocks::halves(sequences),
            false => Blocks::new(sequences, SUSTAINED_ROWS),
        };
        let seed = self.options.seed;
        let rival = Rival::fit(baseline, &self.stretches, &blocks, self.pace, seed)?;
        Ok((Method::Rival(Box::new(rival)), None))
    }
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

/// Each stretch that is long enough, standardised as it will be when it is scored: by a scaler that
/// follows, and ends where the record ends. Not predicted yet.
fn standardised(
    modelled: Vec<Vec<f32>>,
    scaler: &mut Scaler,
    pace: Pace,
    width: usize,
    needed: usize,
) -> Vec<Stretch> {
    let weight = pace.scale_weight();
    let mut stretches = Vec::new();
    for modelled in modelled.into_iter().filter(|values| values.len() >= needed * width) {
        let mut rows = Vec::with_capacity(modelled.len() / width);
        for row in modelled.chunks_exact(width) {
            rows.push(StandardRow::new(scaler, row));
            scaler.adapt(row, weight);
        }
        stretches.push(Stretch { modelled, rows, forecast: Vec::new(), from: 0 });
    }
    stretches
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
pub(crate) fn sequence(rows: &[impl Borrow<StandardRow>]) -> Result<Sequence, DetectorError> {
    let width = rows.first().map_or(1, |row| row.borrow().values.len());
    let mut last = vec![0.0; width];
    let mut values = Vec::with_capacity(rows.len() * width);
    let mut observed = Vec::with_capacity(rows.len() * width);
    for row in rows {
        for (at, value) in row.borrow().values.iter().enumerate() {
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

/// What the network expects of each row of a stretch, row-major.
pub(crate) fn predict(network: &Network, sequence: &Sequence) -> Result<Vec<f32>, DetectorError> {
    network.forecast(sequence).map_err(DetectorError::Model)
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
