//! What a network gives for samples.

use super::network::Graph;
use super::operation::Packed;
use super::pass::{Shard, Shared, pack};
use super::plan::Plan;
use super::tensor::Tensor;
use crate::ModelError;

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

    /// The outputs for one tensor for each input, all of as many samples.
    pub fn predict(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ModelError> {
        let shapes: Vec<_> = inputs.iter().map(|input| input.shape()[1..].to_vec()).collect();
        self.predictor(&shapes)?.run(inputs, &self.outputs)
    }
}

impl Predictor<'_> {
    /// The shape of what node `node` gives for a sample; empty for a node that is not there.
    pub fn shape(&self, node: usize) -> &[usize] {
        self.plan.shapes.get(node).map(Vec::as_slice).unwrap_or_default()
    }

    /// What the nodes `wanted` give for one tensor for each input. Refuses another number of
    /// inputs, other shapes, unequal numbers of samples, and nodes that are not there.
    pub fn run(&self, inputs: &[Tensor], wanted: &[usize]) -> Result<Vec<Tensor>, ModelError> {
        let samples = inputs.first().map_or(0, Tensor::samples);
        self.check(inputs, samples)?;
        if let Some(node) = wanted.iter().find(|node| **node >= self.plan.nodes.len()) {
            let (found, allowed) = (node.to_string(), format!("below {}", self.plan.nodes.len()));
            return Err(ModelError::Setting { field: "wanted", found, allowed });
        }
        let sizes: Vec<usize> =
            wanted.iter().map(|node| self.plan.shapes[*node].iter().product()).collect();
        let mut outputs: Vec<Vec<f32>> =
            sizes.iter().map(|size| Vec::with_capacity(samples * size)).collect();
        let values: Vec<&[f32]> = inputs.iter().map(Tensor::values).collect();
        self.each_block(&values, samples, &mut |shard| {
            for (output, node) in outputs.iter_mut().zip(wanted) {
                output.extend_from_slice(&shard.values[self.plan.nodes[*node]]);
            }
        });
        let shape = |node: &usize| [&[samples], self.shape(*node)].concat();
        let tensors = outputs.into_iter().zip(wanted);
        Ok(tensors.map(|(output, node)| Tensor::computed(shape(node), output)).collect())
    }

    fn check(&self, inputs: &[Tensor], samples: usize) -> Result<(), ModelError> {
        let expected = self.graph.inputs.len();
        if inputs.len() != expected {
            return Err(ModelError::InputCount { expected, found: inputs.len() });
        }
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

    /// Samples computed together.
    pub(crate) fn block(&self) -> usize {
        (BLOCK_VALUES / self.plan.size().max(1)).clamp(1, MAX_BLOCK)
    }

    /// Passes blocks of samples through the network and shows each.
    fn each_block(&self, inputs: &[&[f32]], samples: usize, show: &mut dyn FnMut(&Shard)) {
        let mut shard = Shard::new(&self.plan);
        for first in (0..samples).step_by(self.block()) {
            let n = self.block().min(samples - first);
            shard.resize(&self.plan, n, first);
            for (node, values) in self.graph.inputs.iter().zip(inputs) {
                let step = self.plan.nodes[*node];
                let size = self.plan.steps[step].size;
                shard.values[step].copy_from_slice(&values[first * size..(first + n) * size]);
            }
            self.forward(&mut shard);
            show(&shard);
        }
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
