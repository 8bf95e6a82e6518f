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
use crate::members::Dense;
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

/// Predicts every row of `sequences` by a network that was not trained on it. Together they have
/// at least one block a fold.
pub(crate) fn predict_held_out(
    sequences: &[Sequence],
    course: &mut Course<'_>,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Vec<Dense>, DetectorError> {
    let blocks = blocks(sequences, course.config.receptive_field());
    let mut held_out: Vec<Dense> = Vec::new();
    for fold in 0..N_FOLDS {
        let (network, _) = course.train(&kept(sequences, &blocks, fold)?, progress)?;
        for (at, sequence) in sequences.iter().enumerate() {
            let predicted = predict(&network, sequence)?;
            if fold == 0 {
                held_out.push(predicted);
                continue;
            }
            for block in blocks.iter().filter(|block| block.sequence == at && block.fold == fold) {
                held_out[at].take_rows(block.rows.clone(), &predicted);
            }
        }
    }
    Ok(held_out)
}

/// A part of a sequence that is held out together.
#[derive(Debug, Clone, PartialEq)]
struct Block {
    sequence: usize,
    fold: usize,
    rows: Range<usize>,
}

/// Cuts sequences into blocks, in turns in one fold and the other.
fn blocks(sequences: &[Sequence], receptive_field: usize) -> Vec<Block> {
    let mut found = Vec::new();
    for (sequence, rows) in sequences.iter().map(Sequence::len).enumerate() {
        let n = (rows / shortest_block(receptive_field)).clamp(1, MAX_BLOCKS);
        for block in 0..n {
            let rows = block * rows / n..(block + 1) * rows / n;
            found.push(Block { sequence, fold: found.len() % N_FOLDS, rows });
        }
    }
    found
}

/// The blocks that are not of `fold`, as sequences of their own.
fn kept(
    sequences: &[Sequence],
    blocks: &[Block],
    fold: usize,
) -> Result<Vec<Sequence>, DetectorError> {
    let others = blocks.iter().filter(|block| block.fold != fold);
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
            let blocks = blocks(&sequences, 32);
            let covered: usize = blocks.iter().map(|block| block.rows.len()).sum();
            assert_eq!(covered, lengths.iter().sum::<usize>());
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
