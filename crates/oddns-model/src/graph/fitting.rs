//! Training of a network.

use std::ops::{ControlFlow, Range};

use super::batch::{Batch, Examples};
use super::descent::{Descent, Optimiser, Schedule};
use super::loss::Loss;
use super::network::Graph;
use super::pass::pack;
use super::tensor::Tensor;
use crate::config::within;
use crate::random::Random;
use crate::{ModelError, Progress};

/// Examples that are looked at together when the loss on held-out data is taken.
const VALIDATION_BATCH: usize = 64;

/// How to train a network.
#[derive(Debug, Clone, PartialEq)]
pub struct FitOptions {
    /// What is made small.
    pub loss: Loss,
    /// How weights follow their gradients.
    pub optimiser: Optimiser,
    /// Largest learning rate, above 0, at most 10.
    pub learning_rate: f32,
    /// The learning rate over the steps.
    pub schedule: Schedule,
    /// Steps, 0 to 1 000 000; with 0 nothing is learned. Every example is used once before any is used again.
    pub steps: usize,
    /// Examples in a step, 1 to 65 536.
    pub batch: usize,
    /// Decides the order of examples and what is dropped.
    pub seed: u64,
    /// Threads, 1 to 64; more than 4 bring nothing. Does not change the result.
    pub threads: usize,
    /// When to end before the last step; needs examples held out.
    pub stopping: Option<Stopping>,
}

impl Default for FitOptions {
    /// As Keras: mean squared error, Adam at 0.001, 32 examples in a step; 1000 steps on two
    /// threads, all of them.
    fn default() -> Self {
        Self {
            loss: Loss::MeanSquared,
            optimiser: Optimiser::Adam,
            learning_rate: 1e-3,
            schedule: Schedule::Constant,
            steps: 1000,
            batch: 32,
            seed: 1,
            threads: 2,
            stopping: None,
        }
    }
}

/// Ends training when the loss on held-out examples no longer falls; the best weights are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stopping {
    /// Steps between two looks, at least 1.
    pub every: usize,
    /// Looks without a better loss before it ends, at least 1.
    pub patience: usize,
    /// How much lower a loss must be to be better, 0 or more.
    pub least_gain: f32,
}

/// How a network was trained.
#[derive(Debug, Clone, PartialEq)]
pub struct FitRecord {
    /// Steps done.
    pub steps: usize,
    /// Mean loss over the last tenth of the steps done; NaN without any.
    pub final_loss: f32,
    /// Loss of the weights that were kept on the held-out examples; `None` without any.
    pub validation_loss: Option<f32>,
    /// The step whose weights were kept, from 1; 0 without any.
    pub kept_step: usize,
}

/// Examples in memory that all count alike.
#[derive(Debug, Clone)]
pub struct Table {
    /// One for each input of the network, samples first.
    inputs: Vec<Tensor>,
    /// As many samples; without one, the first input.
    target: Option<Tensor>,
}

impl Table {
    /// One tensor for each input and the targets; without targets the first input is to be given back,
    /// and is kept once. Refuses unequal numbers of samples.
    pub fn new(inputs: Vec<Tensor>, target: Option<Tensor>) -> Result<Self, ModelError> {
        let expected = target.as_ref().or(inputs.first()).map_or(0, Tensor::samples);
        match inputs.iter().map(Tensor::samples).find(|samples| *samples != expected) {
            Some(found) => {
                let (found, allowed) = (found.to_string(), format!("{expected} as of the targets"));
                Err(ModelError::Setting { field: "number of samples", found, allowed })
            }
            None => Ok(Self { inputs, target }),
        }
    }

    fn target(&self) -> Option<&Tensor> {
        self.target.as_ref().or(self.inputs.first())
    }
}

impl Examples for Table {
    fn len(&self) -> usize {
        self.target().map_or(0, Tensor::samples)
    }

    fn check(&self, graph: &Graph) -> Result<(), ModelError> {
        let (expected, found) = (graph.inputs.len(), self.inputs.len());
        if expected != found {
            return Err(ModelError::InputCount { expected, found });
        }
        for (node, input) in graph.inputs.iter().zip(&self.inputs) {
            graph.check_samples(*node, "the input", input.shape())?;
        }
        let mut outputs = graph.outputs.iter();
        let target = self.target().map(Tensor::shape).unwrap_or_default();
        outputs.try_for_each(|node| graph.check_samples(*node, "the target", target))
    }

    fn weighted(&self) -> bool {
        false
    }

    fn write(&self, at: usize, inputs: &mut [&mut [f32]], target: &mut [f32], _: &mut [f32]) {
        for (to, from) in inputs.iter_mut().zip(&self.inputs) {
            to.iter_mut().zip(from.sample(at)).for_each(|(to, from)| *to = *from);
        }
        let from = self.target().map(|from| from.sample(at)).unwrap_or_default();
        target.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }
}

impl Graph {
    /// Trains on `examples`; `held_out` is only looked at. `progress` hears of every step and may
    /// end training, which is an error, as is a loss that is no number, and examples of another shape
    /// than inputs and output: the network then has the weights it had before. Only networks with one output and known sizes can be trained.
    pub fn fit(
        &mut self,
        examples: &dyn Examples,
        held_out: Option<&dyn Examples>,
        options: &FitOptions,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<FitRecord, ModelError> {
        check(examples, held_out, options)?;
        examples.check(self)?;
        held_out.map_or(Ok(()), |held_out| held_out.check(self))?;
        let before = self.parameters.clone();
        let record = Fitting::new(self, examples, held_out, options)?.run(self, progress);
        if record.is_err() {
            self.parameters = before;
        }
        record
    }

    /// The parameters that training changes.
    fn trained(&self) -> Vec<Range<usize>> {
        let nodes = self.nodes.iter().filter(|node| node.trainable);
        let weights = nodes.flat_map(|node| &node.weights).filter(|weight| weight.kind.trained());
        weights.map(|weight| weight.range.clone()).collect()
    }

    /// Mean loss on `examples`; `None` when no entry counts.
    pub fn evaluate(
        &self,
        examples: &dyn Examples,
        loss: Loss,
        threads: usize,
    ) -> Result<Option<f32>, ModelError> {
        within("threads", threads, 1, 64)?;
        examples.check(self)?;
        Ok(held_out_loss(&mut Batch::new(self)?, self, examples, loss, threads))
    }
}

fn check(
    examples: &dyn Examples,
    held_out: Option<&dyn Examples>,
    options: &FitOptions,
) -> Result<(), ModelError> {
    within("steps", options.steps, 0, 1_000_000)?;
    within("batch", options.batch, 1, 65_536)?;
    within("threads", options.threads, 1, 64)?;
    if !(options.learning_rate > 0.0 && options.learning_rate <= 10.0) {
        let (found, allowed) = (options.learning_rate.to_string(), "above 0, at most 10".into());
        return Err(ModelError::Setting { field: "learning_rate", found, allowed });
    }
    if let Some(stopping) = options.stopping {
        within("stopping.every", stopping.every, 1, 1_000_000)?;
        within("stopping.patience", stopping.patience, 1, 1_000_000)?;
    }
    if options.stopping.is_some() && held_out.is_none_or(Examples::is_empty) {
        let (found, allowed) = ("set".into(), "none without held-out examples".into());
        return Err(ModelError::Setting { field: "stopping", found, allowed });
    }
    if examples.is_empty() { Err(ModelError::NothingObserved) } else { Ok(()) }
}

fn held_out_loss(
    batch: &mut Batch,
    graph: &Graph,
    examples: &dyn Examples,
    loss: Loss,
    threads: usize,
) -> Option<f32> {
    let packed = pack(&batch.plan, &graph.parameters, false);
    let (mut sum, mut weight) = (0.0, 0.0);
    let all: Vec<usize> = (0..examples.len()).collect();
    for which in all.chunks(VALIDATION_BATCH) {
        let (part, part_weight) = batch.loss(graph, &packed, examples, which, loss, threads);
        sum += part;
        weight += part_weight;
    }
    (weight > 0.0).then(|| (sum / weight) as f32)
}

/// The state of training.
struct Fitting<'a> {
    examples: &'a dyn Examples,
    held_out: Option<&'a dyn Examples>,
    options: &'a FitOptions,
    batch: Batch,
    descent: Descent,
    trained: Vec<Range<usize>>,
    random: Random,
    /// Examples still to come before all are shuffled again.
    ahead: Vec<usize>,
    /// Loss, step and weights of the best look.
    best: Option<(f32, usize, Vec<f32>)>,
    /// Looks since.
    without_gain: usize,
}

impl<'a> Fitting<'a> {
    fn new(
        graph: &Graph,
        examples: &'a dyn Examples,
        held_out: Option<&'a dyn Examples>,
        options: &'a FitOptions,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            examples,
            held_out,
            options,
            batch: Batch::new(graph)?,
            descent: Descent::new(options.optimiser, graph.parameters.len()),
            trained: graph.trained(),
            // Another stream than the one that made the first weights.
            random: Random::new(options.seed ^ 0x9e37_79b9_7f4a_7c15),
            ahead: vec![],
            best: None,
            without_gain: 0,
        })
    }

    fn run(
        mut self,
        graph: &mut Graph,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<FitRecord, ModelError> {
        let steps = self.options.steps;
        let mut losses = Vec::new();
        for step in 1..=steps {
            let loss = self.step(graph, step);
            if !loss.is_finite() {
                return Err(ModelError::Diverged { step, steps });
            }
            losses.push(loss);
            if progress(Progress { step, steps, loss }).is_break() {
                return Err(ModelError::Cancelled { step, steps });
            }
            if self.look(graph, step).is_break() {
                break;
            }
        }
        if graph.parameters.iter().any(|parameter| !parameter.is_finite()) {
            return Err(ModelError::Diverged { step: losses.len(), steps });
        }
        Ok(self.finish(graph, &losses))
    }

    fn step(&mut self, graph: &mut Graph, step: usize) -> f32 {
        let options = self.options;
        let which: Vec<usize> = (0..options.batch).map(|_| self.next()).collect();
        let seed = options.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ step as u64;
        let loss =
            self.batch.learn(graph, self.examples, &which, options.loss, seed, options.threads);
        let rate = options.schedule.rate(options.learning_rate, step - 1, options.steps);
        self.descent.step(&mut graph.parameters, self.batch.gradient(), &self.trained, rate);
        loss as f32
    }

    /// The next example; when all were seen, they are shuffled anew (Fisher and Yates).
    fn next(&mut self) -> usize {
        if self.ahead.is_empty() {
            self.ahead = (0..self.examples.len()).collect();
            for at in (1..self.ahead.len()).rev() {
                self.ahead.swap(at, self.random.below(at + 1));
            }
        }
        self.ahead.pop().unwrap_or_default()
    }

    /// Looks at the held-out examples when it is time to.
    fn look(&mut self, graph: &Graph, step: usize) -> ControlFlow<()> {
        let (Some(stopping), Some(held_out)) = (self.options.stopping, self.held_out) else {
            return ControlFlow::Continue(());
        };
        if !step.is_multiple_of(stopping.every) && step < self.options.steps {
            return ControlFlow::Continue(());
        }
        let (loss, threads) = (self.options.loss, self.options.threads);
        let found = held_out_loss(&mut self.batch, graph, held_out, loss, threads);
        let found = found.unwrap_or(f32::INFINITY);
        if self.best.as_ref().is_none_or(|best| found < best.0 - stopping.least_gain) {
            self.best = Some((found, step, graph.parameters.clone()));
            self.without_gain = 0;
            return ControlFlow::Continue(());
        }
        self.without_gain += 1;
        if self.without_gain >= stopping.patience {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn finish(mut self, graph: &mut Graph, losses: &[f32]) -> FitRecord {
        let last = &losses[losses.len() - losses.len().div_ceil(10)..];
        let mut kept_step = losses.len();
        if let Some((_, step, parameters)) = self.best.take() {
            (graph.parameters, kept_step) = (parameters, step);
        }
        let (loss, threads) = (self.options.loss, self.options.threads);
        let held_out = self.held_out;
        let validation_loss = held_out
            .and_then(|held_out| held_out_loss(&mut self.batch, graph, held_out, loss, threads));
        let final_loss = last.iter().sum::<f32>() / last.len() as f32;
        FitRecord { steps: losses.len(), final_loss, validation_loss, kept_step }
    }
}
