//! What every step of a plan can do.

use std::borrow::Cow;
use std::cell::RefCell;

/// Weights rearranged for the kernels.
#[derive(Debug, Default)]
pub(super) struct Packed {
    pub(super) forward: Vec<f32>,
    /// For the slope by input; empty when nobody wants it.
    pub(super) backward: Vec<f32>,
}

/// One use of a step on some samples of a batch. Buffers are row-major, the sample first.
pub(super) struct Call<'a> {
    pub(super) samples: usize,
    /// Where these samples stand in the batch.
    pub(super) first: usize,
    /// The step's part of the parameters.
    pub(super) weights: &'a [f32],
    pub(super) packed: &'a Packed,
    pub(super) inputs: &'a [&'a [f32]],
    /// While training, what random choices of this pass depend on.
    pub(super) training: Option<u64>,
    /// What the step learned of the whole batch, see [`Joint`].
    pub(super) statistics: Cow<'a, [f32]>,
    pub(super) scratch: &'a RefCell<Scratch>,
}

/// Room that a step keeps from call to call, as making it anew at each takes longer than much of what
/// it is for.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// What it reads on the way forward, with a border.
    pub(super) read: Vec<f32>,
    /// What it reads on the way back, with a border.
    pub(super) slope: Vec<f32>,
}

/// A step: forward, and the slopes of the loss backward. Slopes are added to what is there, as a
/// value may be read by several steps.
pub(super) trait Operation: Send + Sync {
    /// Rearranges the weights, once for many calls; `backward` for the slope by input too.
    fn pack(&self, _weights: &[f32], _backward: bool) -> Packed {
        Packed::default()
    }

    /// Writes the output of each sample.
    fn forward(&self, call: &Call<'_>, output: &mut [f32]);

    /// Adds the slope by input `which`, from the slope by output.
    fn add_input_slope(
        &self,
        call: &Call<'_>,
        output: &[f32],
        slope: &[f32],
        which: usize,
        into: &mut [f32],
    );

    /// Adds the slope by the weights.
    fn add_gradient(&self, _call: &Call<'_>, _slope: &[f32], _gradient: &mut [f32]) {}

    /// The part that needs the whole batch, if there is one.
    fn joint(&self) -> Option<&dyn Joint> {
        None
    }
}

/// A step that in training looks at all samples of a batch before it computes one.
pub(super) trait Joint {
    /// From the inputs of the parts of the batch, in order.
    fn statistics(&self, inputs: &[&[f32]]) -> Vec<f32>;

    /// From the inputs, the slopes by output and [`Joint::statistics`]: what the slopes by input
    /// need; it is appended to the statistics.
    fn slope_statistics(&self, inputs: &[&[f32]], slopes: &[&[f32]], known: &[f32]) -> Vec<f32>;

    /// Brings the running statistics among the weights up to date.
    fn remember(&self, statistics: &[f32], weights: &mut [f32]);
}
