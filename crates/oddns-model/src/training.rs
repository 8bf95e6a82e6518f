//! The one training loop.

use std::ops::ControlFlow;

use crate::config::within;
use crate::gradient::{Gradient, Reversed, huber};
use crate::masking::{Example, Sampler};
use crate::optimiser::{Optimiser, one_cycle};
use crate::random::Random;
use crate::{Config, ModelError, Network, Sequence};

/// A batch is cut in this many parts whose gradients are added in order, whatever the number of
/// threads, so that the same seed gives the same bits.
const SHARDS: usize = 4;
/// One row in so many is held out at the end of each sequence.
const HOLD_OUT_PART: usize = 10;
/// Feature groups of the validation's completion pass.
const VALIDATION_GROUPS: usize = 4;

/// How to train.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOptions {
    /// Optimiser steps, 0 to 1 000 000. With 0 a new network is its linear part alone, and one that is
    /// there stays as it is.
    pub steps: usize,
    /// Windows in a step, 1 to 4096.
    pub batch: usize,
    /// Rows in a window, from the receptive field to 65 536; a shorter sequence is taken whole.
    pub length: usize,
    /// Peak of the one-cycle learning rate, above 0, at most 1.
    pub learning_rate: f32,
    /// Decides first weights, windows and masks.
    pub seed: u64,
    /// Threads, 1 to 64; more than 4 bring nothing. Does not change the result.
    pub threads: usize,
}

impl Default for TrainOptions {
    /// The measured recipe: 200 steps of 20 × 160 at 2e-3, on two threads.
    fn default() -> Self {
        Self { steps: 200, batch: 20, length: 160, learning_rate: 2e-3, seed: 1, threads: 2 }
    }
}

/// Where training stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps done, from 1.
    pub step: usize,
    /// Steps asked for.
    pub steps: usize,
    /// Mean loss of this step: of a masked network the Huber loss of the hidden entries.
    pub loss: f32,
}

/// How a network was trained.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainRecord {
    /// Optimiser steps.
    pub steps: usize,
    /// Mean Huber loss over the last tenth of the steps; NaN without any.
    pub final_loss: f32,
    /// Mean Huber loss, half of forecasts and half of completions, over the last tenth of each
    /// sequence, which was not learned from. `None` when no sequence was ten receptive fields long.
    pub validation_loss: Option<f32>,
    /// The seed.
    pub seed: u64,
    /// Weights and biases.
    pub n_parameters: usize,
}

/// Trains a new network on sequences of normal operation. Its linear part is the ridge regression
/// of the rows to learn from, solved before the first step; the steps learn what that one misses,
/// beginning at no correction. `progress` hears of every step and may
/// end training, which is an error: there is no half model. Errors: settings out of range,
/// sequences of another width or shorter than [`Config::receptive_field`], nothing observed, and a
/// loss that is no number.
pub fn train(
    config: Config,
    sequences: &[Sequence],
    options: &TrainOptions,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<(Network, TrainRecord), ModelError> {
    let mut network = Network::new(config, options.seed)?;
    network.forget_correction();
    learn(network, true, sequences, options, progress)
}

/// Goes on training a network, as [`train`] does with a new one: its linear part is solved again on
/// these sequences, the rest goes on from where it is; with 0 steps nothing changes. The given network is not touched
/// when this fails, as the caller still has what it was decoded or cloned from.
pub fn retrain(
    network: Network,
    sequences: &[Sequence],
    options: &TrainOptions,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<(Network, TrainRecord), ModelError> {
    learn(network, options.steps > 0, sequences, options, progress)
}

/// Trains a network whose linear part is solved on these sequences, or stays.
fn learn(
    mut network: Network,
    is_solved: bool,
    sequences: &[Sequence],
    options: &TrainOptions,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<(Network, TrainRecord), ModelError> {
    check(&network, sequences, options)?;
    let n_held_out = sequences.iter().map(|s| n_held_out(&network, s)).collect::<Vec<_>>();
    let n_rows = sequences.iter().zip(&n_held_out).map(|(s, held_out)| s.len() - held_out);
    let n_rows = n_rows.collect::<Vec<_>>();
    if is_solved {
        network.solve_linear(sequences, &n_rows);
    }
    let sampler = Sampler::new(sequences, n_rows, options.length);
    let losses = optimise(&mut network, &sampler, options, progress)?;
    let last = &losses[losses.len() - losses.len().div_ceil(10)..];
    let record = TrainRecord {
        steps: options.steps,
        final_loss: last.iter().sum::<f32>() / last.len() as f32,
        validation_loss: validate(&network, sequences, &n_held_out)?,
        seed: options.seed,
        n_parameters: network.n_parameters(),
    };
    Ok((network, record))
}

fn check(
    network: &Network,
    sequences: &[Sequence],
    options: &TrainOptions,
) -> Result<(), ModelError> {
    let needed = network.receptive_field();
    within("steps", options.steps, 0, 1_000_000)?;
    within("batch", options.batch, 1, 4096)?;
    within("length", options.length, needed, 65_536)?;
    within("threads", options.threads, 1, 64)?;
    if !(options.learning_rate > 0.0 && options.learning_rate <= 1.0) {
        let (found, allowed) = (options.learning_rate.to_string(), "above 0, at most 1".to_owned());
        return Err(ModelError::Setting { field: "learning_rate", found, allowed });
    }
    for (at, sequence) in sequences.iter().enumerate() {
        network.check_width(sequence)?;
        if sequence.len() < needed {
            return Err(ModelError::TooShort { sequence: at, rows: sequence.len(), needed });
        }
    }
    let observed = |s: &Sequence| (0..s.len()).any(|row| s.observed(row).contains(&true));
    if sequences.iter().any(observed) { Ok(()) } else { Err(ModelError::NothingObserved) }
}

/// How many rows at the end of `sequence` are kept from training.
fn n_held_out(network: &Network, sequence: &Sequence) -> usize {
    let long_enough = sequence.len() >= HOLD_OUT_PART * network.receptive_field();
    if long_enough { sequence.len() / HOLD_OUT_PART } else { 0 }
}

/// Runs all steps; the loss of each.
fn optimise(
    network: &mut Network,
    sampler: &Sampler<'_>,
    options: &TrainOptions,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Vec<f32>, ModelError> {
    // Another stream than the one that made the first weights.
    let mut random = Random::new(options.seed ^ 0x9e37_79b9_7f4a_7c15);
    let mut optimiser = Optimiser::new(network);
    let mut shards: Vec<_> = (0..SHARDS).map(|_| Gradient::zeros(network)).collect();
    let mut losses = Vec::with_capacity(options.steps);
    let steps = options.steps;
    for step in 1..=steps {
        let batch = sampler.draw(&mut random, options.batch);
        add_batch(network, &batch, options.threads, &mut shards);
        let loss = shards[0].loss as f32;
        if !loss.is_finite() {
            return Err(ModelError::Diverged { step, steps });
        }
        let rate = one_cycle(options.learning_rate, step - 1, steps);
        optimiser.step(network, &shards[0].by_parameter, rate);
        losses.push(loss);
        if progress(Progress { step, steps, loss }).is_break() {
            return Err(ModelError::Cancelled { step, steps });
        }
    }
    let broken = network.parameters.iter().any(|parameter| !parameter.is_finite());
    if broken { Err(ModelError::Diverged { step: steps, steps }) } else { Ok(losses) }
}

/// Leaves mean loss and gradient of `batch` in the first shard.
fn add_batch(network: &Network, batch: &[Example<'_>], threads: usize, shards: &mut [Gradient]) {
    let n_targets: usize = batch.iter().map(Example::n_targets).sum();
    let weight = 1.0 / n_targets.max(1) as f32;
    let reversed = network.reversed();
    let parts: Vec<_> = batch.chunks(batch.len().div_ceil(SHARDS)).collect();
    let work: Vec<_> = shards.iter_mut().enumerate().collect();
    let run = |work: Vec<(usize, &mut Gradient)>| {
        for (at, shard) in work {
            let part = parts.get(at).copied().unwrap_or_default();
            add_part(network, &reversed, part, weight, shard);
        }
    };
    in_threads(work, threads, &run);
    if let Some((sum, rest)) = shards.split_first_mut() {
        rest.iter().for_each(|shard| sum.add(shard));
    }
}

fn add_part(
    network: &Network,
    reversed: &Reversed,
    part: &[Example<'_>],
    weight: f32,
    shard: &mut Gradient,
) {
    shard.clear();
    for example in part {
        network.add_example(reversed, example, weight, shard);
    }
}

/// Deals `work` out to `threads`, this one included, and waits for all.
pub(crate) fn in_threads<T: Send>(
    mut work: Vec<T>,
    threads: usize,
    run: &(impl Fn(Vec<T>) + Sync),
) {
    let share = work.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        while work.len() > share {
            let part = work.split_off(work.len() - share);
            scope.spawn(|| run(part));
        }
        run(work);
    });
}

/// The loss on the rows held out, `None` without any.
fn validate(
    network: &Network,
    sequences: &[Sequence],
    n_held_out: &[usize],
) -> Result<Option<f32>, ModelError> {
    let (mut loss, mut n) = (0.0, 0_usize);
    for (sequence, n_rows) in sequences.iter().zip(n_held_out) {
        let rows = sequence.len() - n_rows..sequence.len();
        for n_groups in [1, VALIDATION_GROUPS] {
            let predicted = network.predict(sequence, rows.clone(), n_groups)?;
            let predicted = predicted.chunks(sequence.n_features());
            for (row, predicted) in rows.clone().zip(predicted) {
                let truth = sequence.row(row).iter().zip(sequence.observed(row));
                for ((value, _), predicted) in
                    truth.zip(predicted).filter(|((_, observed), _)| **observed)
                {
                    loss += f64::from(huber(predicted - value).0);
                    n += 1;
                }
            }
        }
    }
    Ok((n > 0).then(|| (loss / n as f64) as f32))
}
