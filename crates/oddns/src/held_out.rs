//! Predictions of rows by networks that have not seen them.
//!
//! A network predicts what it was trained on better than what comes later, the more so the shorter
//! the record. Calibrated on its own training rows, it would alarm on the first quiet minute. So
//! the record is cut into blocks, and each block is predicted by a network that was trained on
//! every other one (two-fold cross-validation in blocks, which keeps the rhythm of a day in both
//! halves).

use std::ops::{ControlFlow, Range};

use oddns_model::{Config, Network, Progress, Sequence, TrainOptions, TrainRecord, retrain, train};

use crate::detector::DetectorError;
use crate::training::predict;

/// Folds, and networks trained for calibration.
pub(crate) const N_FOLDS: usize = 2;
/// Most blocks that a sequence is cut into; longer records have longer blocks.
const MAX_BLOCKS: usize = 16;

/// Rows that a fold needs in a row: half as much again as decide a prediction.
pub(crate) fn shortest_block(receptive_field: usize) -> usize {
    receptive_field + receptive_field / 2
}

/// The trainings that a detector takes: one a fold, and its own.
pub(crate) struct Course<'a> {
    parent: Option<&'a Network>,
    config: Config,
    options: TrainOptions,
    n_over: usize,
}

impl<'a> Course<'a> {
    /// From the weights of `parent`, or new ones for so many features.
    pub(crate) fn new(parent: Option<&'a Network>, width: usize, options: TrainOptions) -> Self {
        let config = parent.map_or_else(|| Config::recipe(width), |p| p.config().clone());
        Self { parent, config, options, n_over: 0 }
    }

    /// Rows that decide a prediction.
    pub(crate) fn receptive_field(&self) -> usize {
        self.config.receptive_field()
    }

    /// Trains one network on `sequences`; `progress` sees the whole course.
    pub(crate) fn train(
        &mut self,
        sequences: &[Sequence],
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(Network, TrainRecord), DetectorError> {
        let n_over = self.n_over;
        let mut show = |p: Progress| {
            let (step, steps) = (n_over * p.steps + p.step, (N_FOLDS + 1) * p.steps);
            progress(Progress { step, steps, ..p })
        };
        self.n_over += 1;
        let trained = match self.parent {
            Some(network) => retrain(network.clone(), sequences, &self.options, &mut show),
            None => train(self.config.clone(), sequences, &self.options, &mut show),
        };
        trained.map_err(DetectorError::Model)
    }
}

/// What networks expect of rows that they were not trained on.
pub(crate) struct HeldOut {
    /// Forecasts of each sequence, row-major.
    pub(crate) forecasts: Vec<Vec<f32>>,
    /// How much of the correction to the linear forecast is worth taking, for each feature, 0 to 1:
    /// least squares on the held-out rows. On a short record, or for a feature that only moves in
    /// line with the last rows, the layers have learned noise.
    pub(crate) gain: Vec<f32>,
}

/// Forecasts every row of `sequences` by a network that was not trained on it.
pub(crate) fn predict_held_out(
    sequences: &[Sequence],
    blocks: &Blocks,
    course: &mut Course<'_>,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<HeldOut, DetectorError> {
    let zeros = || sequences.iter().map(|s| vec![0.0; s.len() * s.n_features()]).collect();
    let (mut linear, mut full): (Vec<Vec<f32>>, Vec<Vec<f32>>) = (zeros(), zeros());
    for fold in 0..N_FOLDS {
        let (network, _) = course.train(&kept(sequences, blocks, fold)?, progress)?;
        for (at, sequence) in sequences.iter().enumerate() {
            let by_lines = network.linear_forecast(sequence).map_err(DetectorError::Model)?;
            let forecast = predict(&network, sequence)?;
            for block in blocks.0.iter().filter(|b| b.sequence == at && b.fold == fold) {
                let width = sequence.n_features();
                let values = block.rows.start * width..block.rows.end * width;
                linear[at][values.clone()].copy_from_slice(&by_lines[values.clone()]);
                full[at][values.clone()].copy_from_slice(&forecast[values]);
            }
        }
    }
    let gain = gains(sequences, &linear, &full);
    for (linear, full) in linear.iter().zip(&mut full) {
        for (row, linear) in full.chunks_mut(gain.len()).zip(linear.chunks(gain.len())) {
            for at in 0..gain.len() {
                row[at] = linear[at] + gain[at] * (row[at] - linear[at]);
            }
        }
    }
    Ok(HeldOut { forecasts: full, gain })
}

/// The share of each feature's correction that leaves the smallest squared miss.
fn gains(sequences: &[Sequence], linear: &[Vec<f32>], full: &[Vec<f32>]) -> Vec<f32> {
    let width = sequences.first().map_or(0, Sequence::n_features);
    let (mut products, mut squares) = (vec![0.0_f64; width], vec![0.0_f64; width]);
    for ((sequence, linear), full) in sequences.iter().zip(linear).zip(full) {
        for (row, (linear, full)) in linear.chunks(width).zip(full.chunks(width)).enumerate() {
            for at in (0..width).filter(|at| sequence.observed(row)[*at]) {
                let correction = f64::from(full[at] - linear[at]);
                products[at] += correction * f64::from(sequence.row(row)[at] - linear[at]);
                squares[at] += correction * correction;
            }
        }
    }
    let gain = |(product, square): (&f64, &f64)| {
        if *square > 0.0 { (product / square).clamp(0.0, 1.0) as f32 } else { 0.0 }
    };
    products.iter().zip(&squares).map(gain).collect()
}

/// A part of a sequence that is held out together.
#[derive(Debug, Clone, PartialEq)]
struct Block {
    sequence: usize,
    fold: usize,
    rows: Range<usize>,
}

/// The blocks that sequences are cut into, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Blocks(Vec<Block>);

impl Blocks {
    /// Cuts sequences into blocks, in turns in one fold and the other. There is at least one block
    /// a fold when the sequences together have as many rows.
    pub(crate) fn new(sequences: &[Sequence], receptive_field: usize) -> Self {
        let shortest = shortest_block(receptive_field);
        Self::cut(sequences, |rows| (rows / shortest).clamp(1, MAX_BLOCKS))
    }

    /// Cuts each sequence into halves, for what learns from how rows follow each other: few blocks
    /// have few ends, at which nothing follows.
    pub(crate) fn halves(sequences: &[Sequence]) -> Self {
        Self::cut(sequences, |_| N_FOLDS)
    }

    fn cut(sequences: &[Sequence], n_blocks: impl Fn(usize) -> usize) -> Self {
        let mut found = Vec::new();
        for (sequence, rows) in sequences.iter().map(Sequence::len).enumerate() {
            let n = n_blocks(rows);
            for block in 0..n {
                let rows = block * rows / n..(block + 1) * rows / n;
                found.push(Block { sequence, fold: found.len() % N_FOLDS, rows });
            }
        }
        Self(found)
    }

    /// The fold in which `row` of `sequence` is held out.
    pub(crate) fn fold(&self, sequence: usize, row: usize) -> usize {
        let end_of = |block: &Block| (block.sequence, block.rows.end);
        let at = self.0.partition_point(|block| end_of(block) <= (sequence, row));
        self.0.get(at).map_or(0, |block| block.fold)
    }
}

/// The blocks that are not of `fold`, as sequences of their own.
pub(crate) fn kept(
    sequences: &[Sequence],
    blocks: &Blocks,
    fold: usize,
) -> Result<Vec<Sequence>, DetectorError> {
    let others = blocks.0.iter().filter(|block| block.fold != fold);
    others.map(|block| part(&sequences[block.sequence], block.rows.clone())).collect()
}

fn part(sequence: &Sequence, rows: Range<usize>) -> Result<Sequence, DetectorError> {
    let values = rows.clone().flat_map(|row| sequence.row(row)).copied().collect();
    let observed = rows.flat_map(|row| sequence.observed(row)).copied().collect();
    Sequence::new(sequence.n_features(), values, observed).map_err(DetectorError::Model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_every_row_once_and_both_folds_train() {
        let rows = |n: usize| Sequence::new(1, vec![0.0; n], vec![true; n]).unwrap();
        for lengths in [vec![96], vec![48, 48], vec![50, 1000, 3617]] {
            let sequences: Vec<Sequence> = lengths.iter().map(|n| rows(*n)).collect();
            let blocks = Blocks::new(&sequences, 32);
            let covered: usize = blocks.0.iter().map(|block| block.rows.len()).sum();
            assert_eq!(covered, lengths.iter().sum::<usize>());
            for block in &blocks.0 {
                let fold = |row| blocks.fold(block.sequence, row);
                assert!(block.rows.clone().all(|row| fold(row) == block.fold));
            }
            for fold in 0..N_FOLDS {
                let kept = kept(&sequences, &blocks, fold).unwrap();
                assert!(
                    !kept.is_empty() && kept.iter().all(|part| part.len() >= 48),
                    "{lengths:?}"
                );
            }
        }
    }
}
