//! What a network gives for samples.

use std::ops::Range;

use multiversion::multiversion;

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
/// Floats that the samples computed together take over all steps: they stay in a core's own cache.
const BLOCK_VALUES: usize = 1 << 16;

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
        let sizes: Vec<usize> = wanted.iter().map(|node| self.plan.size_of(*node)).collect();
        let outputs = self.each(inputs, &sizes, threads, &|shard, outputs| {
            for (output, node) in outputs.iter_mut().zip(wanted) {
                output.copy_from_slice(&shard.values[self.plan.nodes[*node]]);
            }
        })?;
        let shape = |node: &usize| [&[samples], self.shape(*node)].concat();
        let tensors = wanted.iter().map(shape).zip(outputs);
        Ok(tensors.map(|(shape, output)| Tensor::computed(shape, output)).collect())
    }

    /// How far the network is from giving each sample back: the mean squared error over its values.
    /// As [`Predictor::run_samples`]; refuses a network that has not one input and one output of the
    /// same shape.
    pub fn reconstruction_errors(
        &self,
        samples: &[&[f32]],
        threads: usize,
    ) -> Result<Vec<f32>, ModelError> {
        within("threads", threads, 1, 64)?;
        let ([input], [output]) = (self.graph.inputs.as_slice(), self.graph.outputs.as_slice())
        else {
            let counts = format!(
                "{} inputs and {} outputs",
                self.graph.inputs.len(),
                self.graph.outputs.len()
            );
            let allowed = "one of each".to_owned();
            return Err(ModelError::Setting { field: "network", found: counts, allowed });
        };
        if self.shape(*input) != self.shape(*output) {
            let found = format!("an output of {:?}", self.shape(*output));
            let allowed = format!("one of {:?}, as the input", self.shape(*input));
            return Err(ModelError::Setting { field: "network", found, allowed });
        }
        let inputs = [samples.to_vec()];
        self.check_samples(&inputs, samples.len())?;
        let (seen, made) = (self.plan.nodes[*input], self.plan.nodes[*output]);
        let size = self.plan.size_of(*input).max(1);
        let errors = self.each(&inputs, &[1], threads, &|shard, errors| {
            let pairs = shard.values[seen].chunks(size).zip(shard.values[made].chunks(size));
            for (error, (seen, made)) in errors.iter_mut().flat_map(|one| one.iter_mut()).zip(pairs)
            {
                *error = mean_squared(seen, made);
            }
        })?;
        Ok(errors.into_iter().next().unwrap_or_default())
    }

    /// Computes all samples, in threads, and returns what `show` writes of every block of them: as
    /// many buffers as `sizes`, which says how long each is for a sample.
    fn each(
        &self,
        inputs: &[Vec<&[f32]>],
        sizes: &[usize],
        threads: usize,
        show: &Show<'_>,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let samples = inputs.first().map_or(0, Vec::len);
        let mut outputs: Vec<Vec<f32>> =
            sizes.iter().map(|size| vec![0.0; samples * size]).collect();
        let threads = if self.work().saturating_mul(samples) < LEAST_WORK { 1 } else { threads };
        let mut parts = parts(&mut outputs, sizes, samples, samples.div_ceil(threads));
        in_threads(parts.iter_mut().collect(), threads, &|parts: Vec<&mut Part<'_>>| {
            for part in parts {
                part.refused = self.run_part(inputs, sizes, part, show).err();
            }
        });
        match parts.into_iter().find_map(|part| part.refused) {
            Some(error) => Err(error),
            None => Ok(outputs),
        }
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
    fn block(&self) -> usize {
        (BLOCK_VALUES / self.plan.size().max(1)).clamp(1, MAX_BLOCK)
    }

    /// Passes the samples of a part through the network, block by block.
    fn run_part<'a>(
        &self,
        inputs: &[Vec<&[f32]>],
        sizes: &[usize],
        part: &mut Part<'a>,
        show: &Show<'_>,
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
            let cut = |(output, size): (&mut &'a mut [f32], &usize)| cut(output, n * size);
            let mut here: Vec<_> = part.outputs.iter_mut().zip(sizes).map(cut).collect();
            show(&shard, &mut here);
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

/// Writes what is wanted of a block of samples.
type Show<'a> = dyn Fn(&Shard, &mut [&mut [f32]]) + Sync + 'a;

/// Samples that one thread computes, and where their outputs go.
struct Part<'a> {
    samples: Range<usize>,
    outputs: Vec<&'a mut [f32]>,
    /// Why it was not computed.
    refused: Option<ModelError>,
}

/// Cuts the outputs of `samples` samples into parts of `share`.
fn parts<'a>(
    outputs: &'a mut [Vec<f32>],
    sizes: &[usize],
    samples: usize,
    share: usize,
) -> Vec<Part<'a>> {
    let mut rest: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    let mut parts = Vec::new();
    for first in (0..samples).step_by(share.max(1)) {
        let end = samples.min(first + share);
        let cut = |(rest, size): (&mut &'a mut [f32], &usize)| cut(rest, (end - first) * size);
        let outputs = rest.iter_mut().zip(sizes).map(cut).collect();
        parts.push(Part { samples: first..end, outputs, refused: None });
    }
    parts
}

/// Takes the first `length` values off.
fn cut<'a>(rest: &mut &'a mut [f32], length: usize) -> &'a mut [f32] {
    let (here, later) = std::mem::take(rest).split_at_mut(length);
    *rest = later;
    here
}

/// Of as many values each; 0 of none. Sums side by side, as one alone waits for itself.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2"))]
fn mean_squared(seen: &[f32], made: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 16];
    for (seen, made) in seen.chunks(16).zip(made.chunks(16)) {
        for (sum, (seen, made)) in sums.iter_mut().zip(seen.iter().zip(made)) {
            *sum += (seen - made) * (seen - made);
        }
    }
    let sum: f64 = sums.iter().map(|sum| f64::from(*sum)).sum();
    (sum / seen.len().max(1) as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::{Reconstruction, ReconstructionConfig};

    const SHAPE: [usize; 2] = [12, 3];

    fn autoencoder() -> Graph {
        let config = ReconstructionConfig::one_dimensional(SHAPE[1], SHAPE[0]);
        Reconstruction::new(&config, 3).unwrap().graph().clone()
    }

    fn samples(n: usize) -> Tensor {
        let mut random = Random::new(7);
        let values = (0..n * 36).map(|_| 4.0 * random.unit() - 2.0).collect();
        Tensor::new(vec![n, SHAPE[0], SHAPE[1]], values).unwrap()
    }

    #[test]
    fn neither_threads_nor_company_change_a_bit() {
        let (graph, all) = (autoencoder(), samples(200));
        let alone = graph.predict(std::slice::from_ref(&all), 1).unwrap();
        for threads in [2, 3, 64] {
            assert_eq!(graph.predict(std::slice::from_ref(&all), threads).unwrap(), alone);
        }
        let one = Tensor::new(vec![1, SHAPE[0], SHAPE[1]], all.sample(130).to_vec()).unwrap();
        let found = graph.predict(&[one], 2).unwrap();
        assert_eq!(found[0].values(), alone[0].sample(130));
        assert_eq!(graph.predict(&[samples(0)], 2).unwrap()[0].shape(), [0, 12, 3]);
    }

    #[test]
    fn an_error_is_the_mean_square_of_what_is_not_given_back() {
        let (graph, all) = (autoencoder(), samples(70));
        let made = graph.predict(std::slice::from_ref(&all), 1).unwrap();
        let predictor = graph.predictor(&[SHAPE.to_vec()]).unwrap();
        let slices: Vec<&[f32]> = (0..70).map(|at| all.sample(at)).collect();
        let errors = predictor.reconstruction_errors(&slices, 2).unwrap();
        for (at, error) in errors.iter().enumerate() {
            let pairs = all.sample(at).iter().zip(made[0].sample(at));
            let squares = pairs.map(|(seen, made)| f64::from(seen - made).powi(2));
            let expected = squares.sum::<f64>() / 36.0;
            assert!((f64::from(*error) - expected).abs() < 1e-5 * expected, "{at}: {error}");
        }
        assert!(predictor.reconstruction_errors(&[], 2).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_number_or_no_sample_is_refused() {
        let graph = autoencoder();
        let predictor = graph.predictor(&[SHAPE.to_vec()]).unwrap();
        let (zeros, mut odd) = (vec![0.0; 36], vec![0.0; 36]);
        odd[20] = f32::NAN;
        let refused = |samples: &[&[f32]]| predictor.reconstruction_errors(samples, 1).unwrap_err();
        assert!(matches!(refused(&[&zeros, &odd]), ModelError::NotFiniteInput { sample: 1, .. }));
        assert!(matches!(refused(&[&zeros, &zeros[1..]]), ModelError::InputShape { .. }));
        let wanted = graph.outputs();
        let unequal = [vec![zeros.as_slice()], vec![]];
        assert!(matches!(
            predictor.run_samples(&unequal, wanted, 1).unwrap_err(),
            ModelError::InputCount { expected: 1, found: 2 }
        ));
        for threads in [0, 65] {
            assert!(predictor.reconstruction_errors(&[], threads).is_err());
        }
    }
}
