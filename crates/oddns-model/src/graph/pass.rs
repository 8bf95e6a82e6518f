//! A pass of some samples through a plan, forward and backward.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;

use super::operation::{Call, Packed, Scratch};
use super::plan::{Plan, Step};

/// A part of a batch with all that is known of it.
pub(super) struct Shard {
    pub(super) samples: usize,
    /// Where it begins in the batch.
    pub(super) first: usize,
    /// The output of every step.
    pub(super) values: Vec<Vec<f32>>,
    /// The loss by the output of every step.
    pub(super) slopes: Vec<Vec<f32>>,
    /// The loss by every parameter.
    pub(super) gradient: Vec<f32>,
    pub(super) loss: f64,
    /// Of every step.
    scratch: Vec<RefCell<Scratch>>,
}

/// What all shards share in a pass.
pub(super) struct Shared<'a> {
    pub(super) plan: &'a Plan,
    pub(super) parameters: &'a [f32],
    pub(super) packed: &'a [Packed],
    pub(super) training: Option<u64>,
    /// For steps that need the whole batch.
    pub(super) statistics: &'a [Vec<f32>],
}

/// The weights of every step, rearranged; for the way back too where `training` goes that way.
pub(super) fn pack(plan: &Plan, parameters: &[f32], training: bool) -> Vec<Packed> {
    let pack = |step: &Step| {
        let operation = step.operation.as_deref()?;
        let backward = training && step.inputs.iter().any(|input| plan.steps[*input].learns);
        Some(operation.pack(&parameters[step.weights.clone()], backward))
    };
    plan.steps.iter().map(|step| pack(step).unwrap_or_default()).collect()
}

impl Shard {
    pub(super) fn new(plan: &Plan) -> Self {
        let empty = vec![Vec::new(); plan.steps.len()];
        let (values, slopes) = (empty.clone(), empty);
        let scratch = plan.steps.iter().map(|_| RefCell::default()).collect();
        Self { samples: 0, first: 0, values, slopes, gradient: vec![], loss: 0.0, scratch }
    }

    /// Makes room for `samples` samples, the first of which is `first` of its batch.
    pub(super) fn resize(&mut self, plan: &Plan, samples: usize, first: usize) {
        (self.samples, self.first) = (samples, first);
        for (values, step) in self.values.iter_mut().zip(&plan.steps) {
            values.resize(samples * step.size, 0.0);
        }
    }

    /// Forgets slopes and gradients of the last pass.
    pub(super) fn clear(&mut self, plan: &Plan, n_parameters: usize) {
        self.loss = 0.0;
        self.gradient.clear();
        self.gradient.resize(n_parameters, 0.0);
        for (slopes, step) in self.slopes.iter_mut().zip(&plan.steps) {
            slopes.clear();
            if step.learns {
                slopes.resize(self.samples * step.size, 0.0);
            }
        }
    }

    /// Computes the outputs of `steps`; those before must be there.
    pub(super) fn forward(&mut self, shared: &Shared<'_>, steps: Range<usize>) {
        for at in steps {
            let Some(operation) = shared.plan.steps[at].operation.as_deref() else { continue };
            let mut output = std::mem::take(&mut self.values[at]);
            self.call(shared, at, |call| operation.forward(call, &mut output));
            self.values[at] = output;
        }
    }

    /// Adds to the slopes of what `steps` read, the last step first, and to the gradient.
    pub(super) fn backward(&mut self, shared: &Shared<'_>, steps: Range<usize>) {
        for at in steps.rev() {
            let step = &shared.plan.steps[at];
            let Some(operation) = step.operation.as_deref().filter(|_| step.learns) else {
                continue;
            };
            let slope = std::mem::take(&mut self.slopes[at]);
            for (which, input) in step.inputs.iter().enumerate() {
                if shared.plan.steps[*input].learns {
                    let mut into = std::mem::take(&mut self.slopes[*input]);
                    let output = &self.values[at];
                    self.call(shared, at, |call| {
                        operation.add_input_slope(call, output, &slope, which, &mut into);
                    });
                    self.slopes[*input] = into;
                }
            }
            if !step.weights.is_empty() {
                let mut gradient = std::mem::take(&mut self.gradient);
                let part = &mut gradient[step.weights.clone()];
                self.call(shared, at, |call| operation.add_gradient(call, &slope, part));
                self.gradient = gradient;
            }
            self.slopes[at] = slope;
        }
    }

    fn call(&self, shared: &Shared<'_>, at: usize, run: impl FnOnce(&Call<'_>)) {
        let step = &shared.plan.steps[at];
        let inputs: Vec<&[f32]> =
            step.inputs.iter().map(|input| self.values[*input].as_slice()).collect();
        let statistics = shared.statistics.get(at).map(Vec::as_slice).unwrap_or_default();
        run(&Call {
            samples: self.samples,
            first: self.first,
            weights: &shared.parameters[step.weights.clone()],
            packed: &shared.packed[at],
            inputs: &inputs,
            training: shared.training,
            statistics: Cow::Borrowed(statistics),
            scratch: &self.scratch[at],
        });
    }
}
