//! Fitting a detector to normal operation.

use std::ops::ControlFlow;
use std::sync::Arc;

use oddns_core::{Frame, Schema, Timestamp};
use oddns_detect::baseline::Baseline;
use oddns_features::Scaler;
use oddns_model::{
    Config, Model, ModelError, Network, Progress, Reconstruction, Sequence, TrainRecord,
};

use crate::calibration::{Budget, Pace};
use crate::column::{Column, columns_of};
use crate::detector::{Detector, DetectorError, TrainingRecord, tracked};
use crate::forecaster::Forecaster;
use crate::held_out::{Blocks, Course, HeldOut, N_FOLDS, shortest_block};
use crate::kept::{self, Kept};
use crate::kind::DetectorKind;
use crate::members::{Calibration, SUSTAINED_ROWS, StandardRow};
use crate::method::Method;
use crate::normal::{Expected, Normal, Stretch};
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
    /// Whether the budget is kept even where it asks for less risk than the tail of a record can
    /// tell, as one alarm a week does at less than a minute between rows: the tail is then taken for
    /// exponential as far out as needed. Fewer faults that are weak reach such a line.
    pub strict_budget: bool,
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
            strict_budget: false,
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
        fit(Assignment { columns, parent: None, update: None }, frames, options, progress)
    }

    /// Learns what normal looks like with a network of one's own: one that was built with a
    /// [`ReconstructionConfig`](crate::network::ReconstructionConfig), or read from a file. It goes
    /// on from its weights; 0 epochs leave them as they are, and learn scales and calibration alone. The rows that it reads are standardised: mean 0,
    /// deviation 1, cut at ±10. The kind follows from the network, whatever the options say.
    pub fn fit_network(
        network: &Model,
        frames: &[&Frame],
        options: &TrainOptions,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Self, DetectorError> {
        check_columns(frames)?;
        let columns = columns_of(frames);
        if columns.len() != network.n_features() {
            let (expected, found) = (network.n_features(), columns.len());
            return Err(DetectorError::Model(ModelError::Width { expected, found }));
        }
        let options =
            TrainOptions { detector: DetectorKind::of_network(network), ..options.clone() };
        let parent = match network.clone() {
            Model::Reconstruction(network) => Forecaster::Reconstruction(Arc::new(network)),
            Model::Masked(network) => Forecaster::Network(Arc::new(network)),
            _ => return Err(DetectorError::NoWindow { kind: options.detector }),
        };
        let assignment = Assignment { columns, parent: Some(&parent), update: None };
        fit(assignment, frames, &options, progress)
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
        let (columns, parent) = (self.columns.to_vec(), Some(self.method.forecaster()));
        fit(Assignment { columns, parent, update: None }, frames, &options, progress)
    }
}

/// What to fit, and from where.
pub(crate) struct Assignment<'a> {
    pub(crate) columns: Vec<Column>,
    pub(crate) parent: Option<&'a Forecaster>,
    /// Of an update: optimiser steps in place of what the options say, and how many of the frames are old
    /// ones, which come first.
    pub(crate) update: Option<Going>,
}

/// How an update goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Going {
    pub(crate) steps: usize,
    pub(crate) n_old: usize,
}

pub(crate) fn fit(
    Assignment { columns, parent, update }: Assignment<'_>,
    frames: &[&Frame],
    options: &TrainOptions,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Detector, DetectorError> {
    let looks_back = parent.map_or(0, Forecaster::warm_up_rows);
    let (interval_seconds, needed) = (interval(frames), needed_rows(columns.len(), looks_back));
    let found = stretches_of(frames, interval_seconds);
    let longest = found.iter().map(|(_, rows)| rows.len()).max().unwrap_or(0);
    if longest < needed {
        return Err(DetectorError::TooShort { found: longest, needed });
    }
    let budget =
        Budget { alarms_per_week: options.alarms_per_week, is_strict: options.strict_budget };
    let pace = Pace::new(interval_seconds, budget);
    let mut scaler = fit_scaler(frames, &columns)?;
    let weight = pace.scale_weight();
    let long = found.into_iter().filter(|(_, rows)| rows.len() >= needed);
    let stretches = long
        .map(|(frame, rows)| Stretch::new(frame, rows, &columns, &mut scaler, weight))
        .collect::<Result<Vec<_>, _>>()?;
    let n_rows = stretches.iter().map(Stretch::len).sum();
    let (schema, tracked) = (schema_of(&columns), tracked(&columns, interval_seconds));
    let lesson =
        Lesson { stretches: &stretches, columns: &columns, scaler: &scaler, pace, options, update };
    let (method, trained) = lesson.learn(parent, progress)?;
    let windows = kept::windows(frames, interval_seconds, needed);
    let kept = Kept::first(windows, &scaler, &columns);
    Ok(Detector {
        kept: Arc::new(kept),
        precedents: Arc::default(),
        tracked,
        schema,
        columns: columns.into(),
        scaler,
        kind: options.detector,
        method,
        record: TrainingRecord {
            range: range(frames),
            n_rows,
            interval_seconds,
            alarms_per_week: options.alarms_per_week,
            strict_budget: options.strict_budget,
            n_steps: trained.as_ref().map_or(0, |trained| trained.steps),
            seed: options.seed,
            loss: trained.as_ref().map_or(f32::NAN, |trained| trained.final_loss),
            n_parameters: trained.as_ref().map_or(0, |trained| trained.n_parameters),
        },
    })
}

/// All that a method learns from.
struct Lesson<'a> {
    stretches: &'a [Stretch<'a>],
    columns: &'a [Column],
    scaler: &'a Scaler,
    pace: Pace,
    options: &'a TrainOptions,
    update: Option<Going>,
}

/// What was learned, and how a network was trained for it.
type Learned = (Method, Option<TrainRecord>);

impl Lesson<'_> {
    fn learn(
        &self,
        parent: Option<&Forecaster>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Learned, DetectorError> {
        let sequences: Vec<Sequence> = self.stretches.iter().map(|s| s.sequence.clone()).collect();
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
        &self,
        sequences: &[Sequence],
        parent: Option<&Network>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Learned, DetectorError> {
        let width = sequences.first().map_or(1, Sequence::n_features);
        let mut options = network_options(self.options, sequences);
        options.steps = self.steps().unwrap_or(options.steps);
        let mut course = Course::new(parent, width, options);
        let blocks = self.blocks(sequences, course.receptive_field());
        let mut held_out = HeldOut::train(sequences, blocks.clone(), &mut course, progress)?;
        if course.keeps_weights() {
            held_out.gain.fill(1.0);
        }
        let from = course.receptive_field();
        let (mut network, trained) = course.train(sequences, progress)?;
        network.dampen(&held_out.gain).map_err(DetectorError::Model)?;
        let calibration = self.calibrate(Expected::Network(held_out), from, &blocks)?;
        let forecaster = Forecaster::Network(Arc::new(network));
        Ok((Method::Members { forecaster, calibration }, Some(trained)))
    }

    fn without_network(&self, sequences: &[Sequence]) -> Result<Learned, DetectorError> {
        let forecaster = Forecaster::LastValue;
        let from = forecaster.warm_up_rows();
        let blocks = self.blocks(sequences, from);
        let calibration = self.calibrate(Expected::LastValue, from, &blocks)?;
        Ok((Method::Members { forecaster, calibration }, None))
    }

    fn reconstruction(
        &self,
        sequences: &[Sequence],
        parent: Option<&Reconstruction>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Learned, DetectorError> {
        let (kind, options, steps) = (self.options.detector, self.options, self.steps());
        let course = reconstructed::Course { kind, parent, options, steps };
        let (network, record, held_out) = course.run(sequences, progress)?;
        let forecaster = Forecaster::Reconstruction(Arc::new(network));
        let reconstructed = Reconstructed::calibrate(&held_out, self.pace);
        Ok((Method::Reconstruction { forecaster, reconstructed }, Some(record)))
    }

    /// An update learns windows, all others learn what was recorded in a row.
    fn blocks(&self, sequences: &[Sequence], receptive_field: usize) -> Blocks {
        match self.update {
            Some(going) => Blocks::whole(sequences, receptive_field, &self.later(going.n_old)),
            None => Blocks::new(sequences, receptive_field),
        }
    }

    fn steps(&self) -> Option<usize> {
        self.update.map(|going| going.steps)
    }

    /// Which stretches of an update count as later ones: the newer half of the new, and each second one
    /// of the old, and of all where there are no two times.
    fn later(&self, n_old: usize) -> Vec<bool> {
        let starts: Vec<Option<Timestamp>> = self.stretches.iter().map(Stretch::start).collect();
        let mut new = starts.get(n_old..).unwrap_or_default().to_vec();
        new.sort_unstable();
        let middle = new.get(new.len() / 2).copied().flatten();
        let is_later = |at: usize| at >= n_old && starts[at] >= middle;
        let n_later = (n_old..starts.len()).filter(|at| is_later(*at)).count();
        let in_turns = 4 * n_later < new.len() || 4 * n_later > 3 * new.len();
        let by_turn = |at: usize| at % N_FOLDS == 1;
        let later = |at| if at < n_old || in_turns { by_turn(at) } else { is_later(at) };
        (0..starts.len()).map(later).collect()
    }

    fn calibrate(
        &self,
        expected: Expected,
        from: usize,
        blocks: &Blocks,
    ) -> Result<Arc<Calibration>, DetectorError> {
        let Self { stretches, columns, scaler, pace, .. } = *self;
        let normal = Normal { stretches, expected, from };
        Ok(Arc::new(Calibration::fit(&normal, blocks, scaler, columns, pace, None)?))
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
        let rival = Rival::fit(baseline, self.stretches, &blocks, self.pace, seed)?;
        Ok((Method::Rival(Box::new(rival)), None))
    }
}

pub(crate) fn check_columns(frames: &[&Frame]) -> Result<(), DetectorError> {
    let Some(first) = frames.first().filter(|frame| frame.width() > 0) else {
        return Err(DetectorError::Empty);
    };
    match frames.iter().position(|frame| frame.columns() != first.columns()) {
        Some(at) => Err(DetectorError::Columns { at }),
        None => Ok(()),
    }
}

/// Rows of a window that a detector of this kind can learn by itself.
pub(crate) fn kept_rows(detector: &Detector) -> usize {
    needed_rows(detector.columns.len(), detector.method.forecaster().warm_up_rows())
}

/// Rows in a row without which there is nothing to learn, for a network that looks back so far.
pub(crate) fn needed_rows(width: usize, looks_back: usize) -> usize {
    let receptive_field = Config::recipe(width).receptive_field().max(looks_back);
    // Each fold of the calibration needs a block to train on.
    N_FOLDS * shortest_block(receptive_field)
}

/// The rows of each frame that have no long pause between them.
pub(crate) fn stretches_of<'a>(
    frames: &[&'a Frame],
    interval_seconds: f32,
) -> Vec<(&'a Frame, std::ops::Range<usize>)> {
    let of_frame = |frame: &&'a Frame| {
        let (frame, found) = (*frame, stretches(frame, f64::from(interval_seconds)));
        found.into_iter().map(move |rows| (frame, rows))
    };
    frames.iter().flat_map(of_frame).collect()
}

fn schema_of(columns: &[Column]) -> Schema {
    Schema::new(columns.iter().map(|column| column.name.clone()).collect())
}

/// One row on the modelled scale.
pub(crate) fn modelled_row(row: &[f32], columns: &[Column]) -> Vec<f32> {
    let mut modelled = vec![0.0; columns.len()];
    model(row, columns, &mut modelled);
    modelled
}

/// Writes one row on the modelled scale.
pub(crate) fn model(row: &[f32], columns: &[Column], into: &mut [f32]) {
    for ((into, value), column) in into.iter_mut().zip(row).zip(columns) {
        *into = column.transform.apply(*value);
    }
}

pub(crate) fn fit_scaler(frames: &[&Frame], columns: &[Column]) -> Result<Scaler, DetectorError> {
    let rows = || frames.iter().flat_map(|frame| frame.rows()).map(|(_, row)| row);
    if columns.is_empty() || rows().flatten().all(|value| value.is_nan()) {
        return Err(DetectorError::Empty);
    }
    let resolution: Vec<f32> = columns.iter().map(|column| column.resolution).collect();
    let each = |look: &mut dyn FnMut(&[f32])| {
        let mut modelled = vec![0.0; columns.len()];
        for row in rows() {
            model(row, columns, &mut modelled);
            look(&modelled);
        }
    };
    Ok(Scaler::fit_each(each, &resolution))
}

/// Standardised rows on their way to a sequence.
pub(crate) struct SequenceBuilder {
    last: Vec<f32>,
    values: Vec<f32>,
    observed: Vec<bool>,
}

impl SequenceBuilder {
    pub(crate) fn new(width: usize, n_rows: usize) -> Self {
        let (values, observed) =
            (Vec::with_capacity(n_rows * width), Vec::with_capacity(n_rows * width));
        Self { last: vec![0.0; width], values, observed }
    }

    /// Adds a row, NaN where missing: a missing value carries the last known one, marked as not
    /// seen.
    pub(crate) fn push(&mut self, row: impl Iterator<Item = f32>) {
        for (last, value) in self.last.iter_mut().zip(row) {
            if !value.is_nan() {
                *last = value;
            }
            self.values.push(*last);
            self.observed.push(!value.is_nan());
        }
    }

    pub(crate) fn finish(self) -> Result<Sequence, DetectorError> {
        Sequence::new(self.last.len(), self.values, self.observed).map_err(DetectorError::Model)
    }
}

/// What the network reads.
pub(crate) fn sequence(rows: &[&StandardRow]) -> Result<Sequence, DetectorError> {
    let width = rows.first().map_or(1, |row| row.values.len());
    let mut sequence = SequenceBuilder::new(width, rows.len());
    rows.iter().for_each(|row| sequence.push(row.values.iter().copied()));
    sequence.finish()
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

pub(crate) fn range(frames: &[&Frame]) -> Option<(Timestamp, Timestamp)> {
    let first = frames.iter().filter_map(|f| f.timestamps().first()).min()?;
    let last = frames.iter().filter_map(|f| f.timestamps().last()).max()?;
    Some((*first, *last))
}

pub(crate) fn interval(frames: &[&Frame]) -> f32 {
    let mut steps: Vec<f32> = frames
        .iter()
        .flat_map(|frame| frame.timestamps().windows(2))
        .map(|pair| pair[1].seconds_since(pair[0]) as f32)
        .collect();
    steps.sort_by(f32::total_cmp);
    steps.get(steps.len() / 2).copied().unwrap_or(f32::NAN)
}
