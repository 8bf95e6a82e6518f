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

/// Folds, and networks trained for calibration.
pub(crate) const N_FOLDS: usize = 2;
/// Most blocks that a sequence is cut into; longer records have longer blocks.
const MAX_BLOCKS: usize = 16;
/// Sequences of which each may be a block by itself.
const FEWEST_WHOLE: usize = 16;
/// Rows that are forecast at a time, so that a long record takes no more memory than a short one.
const CHUNK_ROWS: usize = 256;

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

    /// Whether its networks are the parent as it is.
    pub(crate) fn keeps_weights(&self) -> bool {
        self.parent.is_some() && self.options.steps == 0
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
    /// One a fold, of those that learned the others.
    networks: Vec<Network>,
    blocks: Blocks,
    /// How much of the correction to the linear forecast is worth taking, for each feature, 0 to 1:
    /// least squares on the held-out rows. On a short record, or for a feature that only moves in
    /// line with the last rows, the layers have learned noise.
    pub(crate) gain: Vec<f32>,
}

impl HeldOut {
    /// Trains the networks.
    pub(crate) fn train(
        sequences: &[Sequence],
        blocks: Blocks,
        course: &mut Course<'_>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Self, DetectorError> {
        let mut networks = Vec::with_capacity(N_FOLDS);
        for fold in 0..N_FOLDS {
            networks.push(course.train(&kept(sequences, &blocks, fold), progress)?.0);
        }
        let mut held_out = Self { networks, blocks, gain: Vec::new() };
        held_out.gain = held_out.gains(sequences)?;
        Ok(held_out)
    }

    /// Of `rows` of a sequence, each by the network that has not seen it; row-major.
    pub(crate) fn forecast(
        &self,
        at: usize,
        sequence: &Sequence,
        rows: Range<usize>,
    ) -> Result<Vec<f32>, DetectorError> {
        let mut found = Vec::with_capacity(rows.len() * self.gain.len());
        for (fold, rows) in self.blocks.parts(at, rows) {
            let (linear, mut full) = self.both(fold, sequence, rows)?;
            let width = self.gain.len();
            for (row, linear) in full.chunks_mut(width).zip(linear.chunks(width)) {
                for at in 0..width {
                    row[at] = linear[at] + self.gain[at] * (row[at] - linear[at]);
                }
            }
            found.extend(full);
        }
        Ok(found)
    }

    /// What the network of a fold expects, by its linear part and in full.
    fn both(
        &self,
        fold: usize,
        sequence: &Sequence,
        rows: Range<usize>,
    ) -> Result<(Vec<f32>, Vec<f32>), DetectorError> {
        let network = &self.networks[fold];
        let linear = network.linear_forecast_of(sequence, rows.clone());
        let full = network.forecast_of(sequence, rows);
        Ok((linear.map_err(DetectorError::Model)?, full.map_err(DetectorError::Model)?))
    }

    /// The share of each feature's correction that leaves the smallest squared miss.
    fn gains(&self, sequences: &[Sequence]) -> Result<Vec<f32>, DetectorError> {
        let mut worth = Worth::new(sequences.first().map_or(0, Sequence::n_features));
        for (fold, at, rows) in self.blocks.chunks() {
            let (linear, full) = self.both(fold, &sequences[at], rows.clone())?;
            worth.take(&sequences[at], rows, &linear, &full);
        }
        Ok(worth.gains(0.0))
    }
}

/// How much of the correction to a linear forecast is worth taking.
pub(crate) struct Worth {
    /// Of each feature: the correction times what was to be corrected, and its square.
    products: Vec<f64>,
    squares: Vec<f64>,
    n_rows: f64,
}

impl Worth {
    fn new(width: usize) -> Self {
        Self { products: vec![0.0; width], squares: vec![0.0; width], n_rows: 0.0 }
    }

    /// Of the correction that a network gives for rows that it has not learned.
    pub(crate) fn of(network: &Network, sequences: &[Sequence]) -> Result<Self, DetectorError> {
        let mut worth = Self::new(network.config().n_features);
        for sequence in sequences {
            for from in (0..sequence.len()).step_by(CHUNK_ROWS) {
                let rows = from..(from + CHUNK_ROWS).min(sequence.len());
                let linear = network.linear_forecast_of(sequence, rows.clone());
                let full = network.forecast_of(sequence, rows.clone());
                let (linear, full) =
                    (linear.map_err(DetectorError::Model)?, full.map_err(DetectorError::Model)?);
                worth.take(sequence, rows, &linear, &full);
            }
        }
        Ok(worth)
    }

    fn take(&mut self, sequence: &Sequence, rows: Range<usize>, linear: &[f32], full: &[f32]) {
        let width = self.products.len();
        self.n_rows += rows.len() as f64;
        for (row, (linear, full)) in rows.zip(linear.chunks(width).zip(full.chunks(width))) {
            for at in (0..width).filter(|at| sequence.observed(row)[*at]) {
                let correction = f64::from(full[at] - linear[at]);
                self.products[at] += correction * f64::from(sequence.row(row)[at] - linear[at]);
                self.squares[at] += correction * correction;
            }
        }
    }

    /// Of each feature the share that leaves the smallest squared miss, 0 to 1, where so many rows
    /// more found the whole of it worth taking.
    pub(crate) fn gains(&self, n_more: f64) -> Vec<f32> {
        let more = 1.0 + n_more / self.n_rows.max(1.0);
        let gain = |(product, square): (&f64, &f64)| {
            let (product, square) = (product + (more - 1.0) * square, more * square);
            if square > 0.0 { (product / square).clamp(0.0, 1.0) as f32 } else { 0.0 }
        };
        self.products.iter().zip(&self.squares).map(gain).collect()
    }
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
pub(crate) struct Blocks {
    blocks: Vec<Block>,
    /// Whether sequences are left whole.
    are_whole: bool,
}

impl Blocks {
    /// Cuts sequences into blocks, in turns in one fold and the other. There is at least one block
    /// a fold when the sequences together have as many rows.
    pub(crate) fn new(sequences: &[Sequence], receptive_field: usize) -> Self {
        let shortest = shortest_block(receptive_field);
        Self::cut(sequences, |rows| (rows / shortest).clamp(1, MAX_BLOCKS))
    }

    /// Leaves sequences whole: for many short ones, whose parts would be mostly beginnings. `later` says
    /// which are in the second fold, as many as there are: windows of one time in turns in both would
    /// tell nothing of how far normal moves in a week.
    pub(crate) fn whole(sequences: &[Sequence], receptive_field: usize, later: &[bool]) -> Self {
        if sequences.len() < FEWEST_WHOLE {
            return Self::new(sequences, receptive_field);
        }
        let mut whole = Self { are_whole: true, ..Self::cut(sequences, |_| 1) };
        for (block, later) in whole.blocks.iter_mut().zip(later) {
            block.fold = usize::from(*later);
        }
        whole
    }

    /// How many rows of a sequence of so many lie in the first half, of which the second tells how far
    /// normal moves: all or none where sequences are whole.
    pub(crate) fn first_half(&self, sequence: usize, n_rows: usize) -> usize {
        match (self.are_whole, self.fold(sequence, 0)) {
            (false, _) => n_rows / 2,
            (true, 0) => n_rows,
            (true, _) => 0,
        }
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
        Self { blocks: found, are_whole: false }
    }

    /// The fold in which `row` of `sequence` is held out.
    pub(crate) fn fold(&self, sequence: usize, row: usize) -> usize {
        let end_of = |block: &Block| (block.sequence, block.rows.end);
        let at = self.blocks.partition_point(|block| end_of(block) <= (sequence, row));
        self.blocks.get(at).map_or(0, |block| block.fold)
    }

    /// `rows` of a sequence, cut where the fold changes, each part with its fold.
    fn parts(
        &self,
        sequence: usize,
        rows: Range<usize>,
    ) -> impl Iterator<Item = (usize, Range<usize>)> {
        let own = self.blocks.iter().filter(move |block| block.sequence == sequence);
        own.filter_map(move |block| {
            let part = block.rows.start.max(rows.start)..block.rows.end.min(rows.end);
            (part.start < part.end).then_some((block.fold, part))
        })
    }

    /// All rows, a few at a time: their fold, their sequence, and which they are.
    fn chunks(&self) -> impl Iterator<Item = (usize, usize, Range<usize>)> {
        self.blocks.iter().flat_map(|block| {
            let (fold, sequence, end) = (block.fold, block.sequence, block.rows.end);
            let starts = block.rows.clone().step_by(CHUNK_ROWS);
            starts.map(move |from| (fold, sequence, from..(from + CHUNK_ROWS).min(end)))
        })
    }
}

/// The blocks that are not of `fold`, as sequences of their own.
pub(crate) fn kept(sequences: &[Sequence], blocks: &Blocks, fold: usize) -> Vec<Sequence> {
    let others = blocks.blocks.iter().filter(|block| block.fold != fold);
    others.map(|block| sequences[block.sequence].part(block.rows.clone())).collect()
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
            let covered: usize = blocks.blocks.iter().map(|block| block.rows.len()).sum();
            assert_eq!(covered, lengths.iter().sum::<usize>());
            for block in &blocks.blocks {
                let fold = |row| blocks.fold(block.sequence, row);
                assert!(block.rows.clone().all(|row| fold(row) == block.fold));
            }
            for fold in 0..N_FOLDS {
                let kept = kept(&sequences, &blocks, fold);
                assert!(
                    !kept.is_empty() && kept.iter().all(|part| part.len() >= 48),
                    "{lengths:?}"
                );
            }
        }
    }
}
