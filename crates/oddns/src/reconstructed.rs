//! The score of the plain autoencoder: how badly a window comes out of it, and how unusual its
//! latent vector is.

use std::ops::ControlFlow;

use oddns_detect::{AlarmLine, quantile};
use oddns_model::{Progress, Reconstruction, ReconstructionConfig, ReconstructionScores, Sequence};

use crate::calibration::{Pace, UNIT_QUANTILE};
use crate::detector::DetectorError;
use crate::held_out::{Blocks, N_FOLDS, kept};
use crate::kind::DetectorKind;
use crate::members::Verdict;
use crate::training::TrainOptions;

/// Rows that are reconstructed together: the recipe was measured at so many.
pub(crate) const WINDOW: usize = 16;
/// What is said about a window beside its residuals: error, and latent distance.
pub(crate) const N_SCORES: usize = 2;
/// What is told of a row beside its residuals: those, and which cluster the window is nearest to.
pub(crate) const N_TOLD: usize = N_SCORES + 1;
/// In place of the cluster where a network has none.
const NO_CLUSTER: f32 = -1.0;
/// Smallest unit of either: a table that hardly moves is reconstructed exactly.
const UNIT_FLOOR: f32 = 0.05;
/// Either says no more than this, in its unit.
pub(crate) const MOST_UNITS: f32 = 1e6;

/// What makes 1 the alarm line of a reconstruction. Also what a stream leaves behind in it.
#[derive(Debug, Clone)]
pub(crate) struct Reconstructed {
    /// High quantiles of root mean squared error and latent distance of windows that were not
    /// learned, above zero.
    pub(crate) unit: [f32; N_SCORES],
    pub(crate) line: AlarmLine,
    /// Weight with which a row moves the scales, 0 to 1.
    pub(crate) scale_weight: f32,
}

impl Reconstructed {
    pub(crate) fn new(unit: [f32; N_SCORES], line: AlarmLine, scale_weight: f32) -> Self {
        Self { unit, line, scale_weight }
    }

    /// From what networks say of windows that they did not learn.
    pub(crate) fn calibrate(held_out: &[[f32; N_SCORES]], pace: Pace) -> Self {
        let unit = std::array::from_fn(|at| {
            let values: Vec<f32> = held_out.iter().map(|scores| scores[at]).collect();
            quantile(&values, UNIT_QUANTILE).max(UNIT_FLOOR)
        });
        let strengths: Vec<f32> = held_out.iter().map(|scores| strength(scores, &unit)).collect();
        Self::new(unit, pace.line(&strengths), pace.scale_weight())
    }

    /// Judges a row by its outlook: the residual of each feature, and what is said about its window.
    pub(crate) fn judge(&mut self, outlook: &[f32]) -> Verdict {
        let Some((residuals, [error, distance, _])) = outlook.split_last_chunk::<N_TOLD>() else {
            return Verdict { score: 0.0, fresh: true, strengths: Vec::new() };
        };
        let scores = &[*error, *distance];
        let strength = strength(scores, &self.unit);
        let score = strength / self.line.level();
        self.line.push(strength);
        let strengths = residuals.iter().map(|residual| residual.abs()).collect();
        Verdict { score, fresh: true, strengths }
    }

    /// The score of a window as the line lies now, which does not follow.
    pub(crate) fn frozen(&self, scores: &[f32; N_SCORES]) -> f32 {
        strength(scores, &self.unit) / self.line.level()
    }
}

/// Root mean square of both scores in their units.
fn strength(scores: &[f32; N_SCORES], unit: &[f32; N_SCORES]) -> f32 {
    let square = |at: usize| (scores[at] / unit[at]).min(MOST_UNITS).powi(2);
    ((square(0) + square(1)) / N_SCORES as f32).sqrt()
}

/// Root mean squared error of a window, and its latent distance; 0 for a network without clusters.
pub(crate) fn of_window(scores: &ReconstructionScores, at: usize) -> [f32; N_SCORES] {
    let value = |values: &[f32]| values.get(at).copied().unwrap_or_default();
    [value(&scores.window_errors).sqrt(), value(&scores.latent_distances)]
}

/// Of each row the residuals and what is said about the window, row-major.
pub(crate) fn outlooks(scores: &ReconstructionScores, width: usize) -> Vec<f32> {
    let n_rows = scores.window_errors.len();
    let mut found = Vec::with_capacity(scores.residuals.len() + N_TOLD * n_rows);
    for (at, residuals) in scores.residuals.chunks_exact(width).enumerate() {
        found.extend_from_slice(residuals);
        found.extend(of_window(scores, at));
        found.push(scores.clusters.get(at).map_or(NO_CLUSTER, |cluster| *cluster as f32));
    }
    found
}

/// The cluster of normal operation that a window is nearest to, by the outlook of its last row.
pub(crate) fn cluster(outlook: &[f32]) -> Option<usize> {
    outlook.last().filter(|cluster| **cluster >= 0.0).map(|cluster| *cluster as usize)
}

/// The trainings that a reconstruction takes: one a fold, and its own.
pub(crate) struct Course<'a> {
    pub(crate) kind: DetectorKind,
    pub(crate) parent: Option<&'a Reconstruction>,
    pub(crate) options: &'a TrainOptions,
    /// Optimiser steps in place of what the options say.
    pub(crate) steps: Option<usize>,
}

impl Course<'_> {
    /// The network that learned everything, with how it was trained, and what is said of windows of
    /// each half by a network that learned the other.
    pub(crate) fn run(
        &self,
        sequences: &[Sequence],
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(Reconstruction, oddns_model::TrainRecord, Vec<[f32; N_SCORES]>), DetectorError>
    {
        let blocks = Blocks::halves(sequences);
        let mut held_out = Vec::new();
        for fold in 0..N_FOLDS {
            let (network, _) = self.train(&kept(sequences, &blocks, fold), fold, progress)?;
            for (at, sequence) in sequences.iter().enumerate() {
                let scores = self.score(&network, sequence)?;
                let full = network.window()..sequence.len();
                let rows = full.filter(|row| blocks.fold(at, *row) == fold);
                held_out.extend(rows.map(|row| of_window(&scores, row)));
            }
        }
        let (network, record) = self.train(sequences, N_FOLDS, progress)?;
        Ok((network, record, held_out))
    }

    fn score(
        &self,
        network: &Reconstruction,
        sequence: &Sequence,
    ) -> Result<ReconstructionScores, DetectorError> {
        network.score(sequence, self.options.threads.clamp(1, 64)).map_err(DetectorError::Model)
    }

    /// Trains one network, the `n_over`-th of all.
    fn train(
        &self,
        sequences: &[Sequence],
        n_over: usize,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(Reconstruction, oddns_model::TrainRecord), DetectorError> {
        let width = sequences.first().map_or(1, Sequence::n_features);
        let config = match self.kind {
            DetectorKind::Reconstruction2d => ReconstructionConfig::two_dimensional(width, WINDOW),
            _ => ReconstructionConfig::one_dimensional(width, WINDOW),
        };
        let seed = self.options.seed;
        let mut network = match self.parent {
            Some(parent) => parent.clone(),
            None => Reconstruction::new(&config, seed).map_err(DetectorError::Model)?,
        };
        let mut options = Reconstruction::recipe();
        (options.seed, options.threads) = (seed, self.options.threads);
        if let Some(epochs) = self.options.epochs {
            let rows: usize = sequences.iter().map(Sequence::len).sum();
            options.steps = epochs.saturating_mul(rows.div_ceil(self.options.batch.max(1)));
        }
        options.steps = self.steps.unwrap_or(options.steps);
        let mut show = |p: Progress| {
            let (step, steps) = (n_over * p.steps + p.step, (N_FOLDS + 1) * p.steps);
            progress(Progress { step, steps, ..p })
        };
        let mut record = oddns_model::TrainRecord {
            steps: 0,
            final_loss: f32::NAN,
            validation_loss: None,
            seed,
            n_parameters: network.graph().n_parameters(),
        };
        if options.steps == 0 {
            let clusters = network.learn_clusters(sequences, seed);
            let settled = clusters.and_then(|clusters| network.with_clusters(clusters));
            return Ok((settled.map_err(DetectorError::Model)?, record));
        }
        let fitted = network.fit(sequences, &options, &mut show).map_err(DetectorError::Model)?;
        record.steps = fitted.steps;
        record.final_loss = fitted.final_loss;
        record.validation_loss = fitted.validation_loss;
        Ok((network, record))
    }
}
