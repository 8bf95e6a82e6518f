//! What a network gives for samples.

use std::ops::Range;

use super::batch::LEAST_WORK;
use super::network::Graph;
use super::operation::Packed;
use super::pass::{Shard, Shared, pack};
use super::plan::Plan;
use super::tensor::{Tensor, first_not_finite};
use crate::ModelError;
use crate::config::within;
use crate::training::in_threads;

/// Most samples computed together.
const MAX_BLOCK: usize = 64;
/// Floats that the samples computed together may take over all steps.
const BLOCK_VALUES: usize = 1 << 22;

/// A network ready to predict samples of one shape, many times.
///
/// A sample's result has the same bits whether it is computed alone or among others.
pub struct Predictor<'a> {
    graph: &'a Graph,
    plan: Plan,
    packed: Vec<Packed>,
}

impl Graph {
    /// Prepares predictions for samples of these shapes, one for each input, without the batch.
    /// Refuses shapes that do not fit the network.
    pub fn predictor(&self, inputs: &[Vec<usize>]) -> Result<Predictor<'_>, ModelError> {
        let plan = Plan::new(self, inputs)?;
        let packed = pack(&plan, &self.parameters, false);
        Ok(Predictor { graph: self, plan, packed })
    }

    /// The outputs for one tensor for each input, all of as many samples, computed in at most
    /// `threads` threads, 1 to 64, which do not change them.
    pub fn predict(&self, inputs: &[Tensor], threads: usize) -> Result<Vec<Tensor>, ModelError> {
        let shapes: Vec<_> = inputs.iter().map(|input| input.shape()[1..].to_vec()).collect();
        self.predictor(&shapes)?.run(inputs, &self.outputs, threads)
    }
}

impl Predictor<'_> {
    /// The shape of what node `node` gives for a sample; empty for a node that is not there.
    pub fn shape(&self, node: usize) -> &[usize] {
        self.plan.shapes.get(node).map(Vec::as_slice).unwrap_or_default()
    }

    /// What the nodes `wanted` give for one tensor for each input, in at most `threads` threads, 1 to
    /// 64. Refuses another number of inputs, other shapes, unequal numbers of samples, and nodes that
    /// are not there.
    pub fn run(
        &self,
        inputs: &[Tensor],
        wanted: &[usize],
        threads: usize,
    ) -> Result<Vec<Tensor>, ModelError> {
        let samples = inputs.first().map_or(0, Tensor::samples);
        self.check(inputs, samples)?;
        let inputs: Vec<Vec<&[f32]>> =
            inputs.iter().map(|input| (0..samples).map(|at| input.sample(at)).collect()).collect();
        self.run_samples(&inputs, wanted, threads)
    }

    /// As [`Predictor::run`], for samples wherever they lie, row-major: of each input one slice a
    /// sample. Refuses NaN and infinities too.
    pub fn run_samples(
        &self,
        inputs: &[Vec<&[f32]>],
        wanted: &[usize],
        threads: usize,
    ) -> Result<Vec<Tensor>, ModelError> {
        within("threads", threads, 1, 64)?;
        let samples = inputs.first().map_or(0, Vec::len);
        self.check_samples(inputs, samples)?;
        if let Some(node) = wanted.iter().find(|node| **node >= self.plan.nodes.len()) {
            let (found, allowed) = (node.to_string(), format!("below {}", self.plan.nodes.len()));
            return Err(ModelError::Setting { field: "wanted", found, allowed });
        }
        let shapes: Vec<Vec<usize>> =
            wanted.iter().map(|node| [&[samples], self.shape(*node)].concat()).collect();
        let mut outputs: Vec<Vec<f32>> =
            shapes.iter().map(|shape| vec![0.0; shape.iter().product()]).collect();
        let threads = if self.work().saturating_mul(samples) < LEAST_WORK { 1 } else { threads };
        let mut parts = parts(&mut outputs, samples, samples.div_ceil(threads));
        in_threads(parts.iter_mut().collect(), threads, &|parts: Vec<&mut Part<'_>>| {
            for part in parts {
                part.refused = self.run_part(inputs, wanted, part).err();
            }
        });
        if let Some(error) = parts.into_iter().find_map(|part| part.refused) {
            return Err(error);
        }
        let tensors = shapes.into_iter().zip(outputs);
        Ok(tensors.map(|(shape, output)| Tensor::computed(shape, output)).collect())
    }

    /// Multiplications of a sample, roughly.
    pub fn work(&self) -> usize {
        self.plan.work(0..self.plan.steps.len())
    }

    /// Refuses other shapes; of too few or too many inputs, those that there are.
    fn check(&self, inputs: &[Tensor], samples: usize) -> Result<(), ModelError> {
        for (node, input) in self.graph.inputs.iter().zip(inputs) {
            let expected = [&[samples], self.shape(*node)].concat();
            if input.shape() != expected {
                let shown = |shape: &[usize]| {
                    super::layer::shown(&shape.iter().map(|n| Some(*n)).collect::<Vec<_>>())
                };
                return Err(ModelError::InputShape {
                    input: self.graph.nodes[*node].name.clone(),
                    expected: shown(&expected),
                    found: shown(input.shape()),
                });
            }
        }
        Ok(())
    }

    fn check_samples(&self, inputs: &[Vec<&[f32]>], samples: usize) -> Result<(), ModelError> {
        let expected = self.graph.inputs.len();
        if inputs.len() != expected {
            return Err(ModelError::InputCount { expected, found: inputs.len() });
        }
        for (node, input) in self.graph.inputs.iter().zip(inputs) {
            let size: usize = self.shape(*node).iter().product();
            let odd = input.iter().find(|sample| sample.len() != size);
            let found = odd.map(|sample| format!("a sample of {} values", sample.len()));
            let fewer = || format!("{} samples", input.len());
            if let Some(found) = found.or_else(|| (input.len() != samples).then(fewer)) {
                return Err(ModelError::InputShape {
                    input: self.graph.nodes[*node].name.clone(),
                    expected: format!("{samples} samples of {size} values"),
                    found,
                });
            }
        }
        Ok(())
    }

    /// Samples computed together.
    pub(crate) fn block(&self) -> usize {
        (BLOCK_VALUES / self.plan.size().max(1)).clamp(1, MAX_BLOCK)
    }

    /// Passes the samples of a part through the network, block by block.
    fn run_part(
        &self,
        inputs: &[Vec<&[f32]>],
        wanted: &[usize],
        part: &mut Part<'_>,
    ) -> Result<(), ModelError> {
        let mut shard = Shard::new(&self.plan);
        let end = part.samples.end;
        for first in part.samples.clone().step_by(self.block()) {
            let n = self.block().min(end - first);
            shard.resize(&self.plan, n, first);
            for (node, samples) in self.graph.inputs.iter().zip(inputs) {
                let step = self.plan.nodes[*node];
                let places = shard.values[step].chunks_mut(self.plan.steps[step].size.max(1));
                for (at, to) in (first..first + n).zip(places) {
                    to.copy_from_slice(samples[at]);
                    if let Some(value) = first_not_finite(to).map(|odd| to[odd]) {
                        return Err(ModelError::NotFiniteInput { sample: at, value });
                    }
                }
            }
            self.forward(&mut shard);
            for (output, node) in part.outputs.iter_mut().zip(wanted) {
                let found = &shard.values[self.plan.nodes[*node]];
                let (here, later) = std::mem::take(output).split_at_mut(found.len());
                here.copy_from_slice(found);
                *output = later;
            }
        }
        Ok(())
    }

    fn forward(&self, shard: &mut Shard) {
        let shared = Shared {
            plan: &self.plan,
            parameters: &self.graph.parameters,
            packed: &self.packed,
            training: None,
            statistics: &[],
        };
        shard.forward(&shared, 0..self.plan.steps.len());
    }
}

/// Samples that one thread computes, and where their outputs go.
struct Part<'a> {
    samples: Range<usize>,
    outputs: Vec<&'a mut [f32]>,
    /// Why it was not computed.
    refused: Option<ModelError>,
}

/// Cuts the outputs of `samples` samples into parts of `share`.
fn parts(outputs: &mut [Vec<f32>], samples: usize, share: usize) -> Vec<Part<'_>> {
    let sizes: Vec<usize> = outputs.iter().map(|output| output.len() / samples.max(1)).collect();
    let mut rest: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    let mut parts = Vec::new();
    for first in (0..samples).step_by(share.max(1)) {
        let end = samples.min(first + share);
        let mut outputs = Vec::new();
        for (rest, size) in rest.iter_mut().zip(&sizes) {
            let (here, later) = std::mem::take(rest).split_at_mut((end - first) * size);
            *rest = later;
            outputs.push(here);
        }
        parts.push(Part { samples: first..end, outputs, refused: None });
    }
    parts
}
