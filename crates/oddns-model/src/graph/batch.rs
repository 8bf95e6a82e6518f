//! One batch through a network and back.

use multiversion::multiversion;

use super::loss::Loss;
use super::network::Graph;
use super::operation::Packed;
use super::pass::{Shard, Shared, pack};
use super::plan::Plan;
use crate::ModelError;
use crate::training::in_threads;

/// A batch is cut in this many parts whose gradients are added in order, whatever the number of
/// threads, so that the same seed gives the same bits.
const SHARDS: usize = 4;
/// Multiplications that are worth another thread. To start one takes 50 microseconds, in which one
/// core does about as many. Tests of the threads have small networks.
pub(super) const LEAST_WORK: usize = if cfg!(test) { 1 } else { 2_000_000 };

/// Entries whose losses are summed in one go.
const SUMMED: usize = 256;

/// What a network learns from.
pub trait Examples: Sync {
    /// How many examples.
    fn len(&self) -> usize;

    /// True without any.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Refuses a network whose inputs and output have other shapes than the examples.
    fn check(&self, _graph: &Graph) -> Result<(), ModelError> {
        Ok(())
    }

    /// Whether any entry of a target may count less than another; if none does, [`Examples::write`]
    /// has no weights to write.
    fn weighted(&self) -> bool {
        true
    }

    /// Writes example `at`: a sample of each input, the target, and how much each entry of the
    /// target counts, 0 or more. All are row-major; the weights are 1 beforehand. Everything
    /// written must be finite. `weights` is empty where [`Examples::weighted`] says that none are needed.
    fn write(&self, at: usize, inputs: &mut [&mut [f32]], target: &mut [f32], weights: &mut [f32]);
}

/// What a training pass goes with: the network, its weights rearranged, the seed of what is dropped,
/// and threads.
type Pass<'a> = (&'a Graph, &'a [Packed], u64, usize);

/// A plan with room for a batch.
pub(super) struct Batch {
    pub(super) plan: Plan,
    inputs: Vec<usize>,
    output: usize,
    /// Steps that look at the whole batch, in order.
    joints: Vec<usize>,
    parts: Vec<Part>,
    statistics: Vec<Vec<f32>>,
    /// Examples that were read last.
    n_examples: usize,
}

/// A shard with its targets.
struct Part {
    shard: Shard,
    target: Vec<f32>,
    weights: Vec<f32>,
}

impl Batch {
    /// Refuses a network without exactly one output, and one with a size that is not known.
    pub(super) fn new(graph: &Graph) -> Result<Self, ModelError> {
        let [output] = graph.outputs.as_slice() else {
            let (found, allowed) = (graph.outputs.len().to_string(), "1".to_owned());
            return Err(ModelError::Setting { field: "number of outputs", found, allowed });
        };
        let known = |node: &usize| graph.nodes[*node].output.iter().map(|n| n.unwrap_or(0));
        let shapes: Vec<Vec<usize>> =
            graph.inputs.iter().map(|node| known(node).collect()).collect();
        let plan = Plan::new(graph, &shapes)?;
        let (mut joints, output) = (vec![], plan.nodes[*output]);
        for (at, step) in plan.steps.iter().enumerate() {
            if step.operation.as_deref().is_some_and(|operation| operation.joint().is_some()) {
                joints.push(at);
            }
        }
        let part = || Part { shard: Shard::new(&plan), target: vec![], weights: vec![] };
        let parts = (0..SHARDS).map(|_| part()).collect();
        let inputs = graph.inputs.iter().map(|node| plan.nodes[*node]).collect();
        let statistics = vec![vec![]; plan.steps.len()];
        Ok(Self { plan, inputs, output, joints, parts, statistics, n_examples: 0 })
    }

    /// Reads the examples `which`, and returns the sum of their weights.
    fn fill(&mut self, examples: &dyn Examples, which: &[usize], threads: usize) -> f64 {
        self.n_examples = which.len();
        let share = which.len().div_ceil(SHARDS).max(1);
        let (plan, inputs, output) = (&self.plan, &self.inputs, self.output);
        let size = inputs.iter().chain([&output]).map(|step| plan.steps[*step].size).sum();
        let threads = self.worth(size, threads);
        let fill = |(at, part): (usize, &mut Part)| {
            let which = which.get(at * share..).unwrap_or_default();
            let which = &which[..which.len().min(share)];
            part.fill(plan, inputs, output, examples, which, at * share);
        };
        let work = self.parts.iter_mut().enumerate().collect();
        in_threads(work, threads, &|work: Vec<_>| work.into_iter().for_each(fill));
        if examples.weighted() {
            self.parts.iter().map(|part| sum(&part.weights)).sum()
        } else {
            self.parts.iter().map(|part| part.target.len() as f64).sum()
        }
    }

    /// Mean loss of the examples `which`; nothing is learned.
    pub(super) fn loss(
        &mut self,
        graph: &Graph,
        packed: &[Packed],
        examples: &dyn Examples,
        which: &[usize],
        loss: Loss,
        threads: usize,
    ) -> (f64, f64) {
        let weight = self.fill(examples, which, threads);
        let n_steps = self.plan.steps.len();
        let shared = Shared {
            plan: &self.plan,
            parameters: &graph.parameters,
            packed,
            training: None,
            statistics: &[],
        };
        let threads = self.worth(self.plan.work(0..n_steps), threads);
        run(&mut self.parts, threads, |part| part.shard.forward(&shared, 0..n_steps));
        let sum = |part: &Part| part.loss(self.output, loss);
        (self.parts.iter().map(sum).sum(), weight)
    }

    /// Mean loss of the examples `which`. The gradient is left in [`Batch::gradient`], and the
    /// running statistics among the parameters are brought up to date.
    pub(super) fn learn(
        &mut self,
        graph: &mut Graph,
        examples: &dyn Examples,
        which: &[usize],
        loss: Loss,
        seed: u64,
        threads: usize,
    ) -> f64 {
        let weight = self.fill(examples, which, threads);
        let packed = pack(&self.plan, &graph.parameters, true);
        let per_entry = if weight > 0.0 { (1.0 / weight) as f32 } else { 0.0 };
        let pass = (&*graph, packed.as_slice(), seed, threads);
        let from = self.forward_to_last_joint(pass);
        self.turn(pass, from, loss, per_entry);
        self.backward_from_last_joint(pass);
        self.remember(graph);
        let (first, rest) = self.parts.split_at_mut(1);
        for part in rest {
            first[0].shard.loss += part.shard.loss;
            let sums = first[0].shard.gradient.iter_mut().zip(&part.shard.gradient);
            sums.for_each(|(sum, gradient)| *sum += gradient);
        }
        first[0].shard.loss / weight.max(1e-30)
    }

    /// Loss by parameter, of the last [`Batch::learn`].
    pub(super) fn gradient(&self) -> &[f32] {
        self.parts.first().map(|part| part.shard.gradient.as_slice()).unwrap_or_default()
    }

    /// Forward through the steps before the last that looks at the whole batch, which is returned;
    /// 0 without any.
    fn forward_to_last_joint(&mut self, pass: Pass<'_>) -> usize {
        let mut from = 0;
        for joint in self.joints.clone() {
            let work = self.plan.work(from..joint);
            self.take(pass, work, |part, shared| part.shard.forward(shared, from..joint));
            self.statistics[joint] = self.joint_statistics(joint, false);
            from = joint;
        }
        from
    }

    /// Forward from step `from` to the loss, and back to the step after the last that looks at the
    /// whole batch: in one go, as every start of a thread costs.
    fn turn(&mut self, pass: Pass<'_>, from: usize, loss: Loss, per_entry: f32) {
        let (end, output) = (self.plan.steps.len(), self.output);
        let to = self.joints.last().map_or(0, |joint| joint + 1);
        let n_parameters = pass.0.parameters.len();
        // The way back is about twice as long.
        let work = self.plan.work(from..end).saturating_mul(3);
        self.take(pass, work, |part, shared| {
            part.shard.forward(shared, from..end);
            part.shard.clear(shared.plan, n_parameters);
            part.start_backward(output, loss, per_entry);
            part.shard.backward(shared, to..end);
        });
    }

    fn backward_from_last_joint(&mut self, pass: Pass<'_>) {
        for (at, joint) in self.joints.clone().into_iter().enumerate().rev() {
            let more = self.joint_statistics(joint, true);
            self.statistics[joint].extend(more);
            let to = at.checked_sub(1).map_or(0, |before| self.joints[before] + 1);
            let work = self.plan.work(to..joint + 1).saturating_mul(2);
            self.take(pass, work, |part, shared| part.shard.backward(shared, to..joint + 1));
        }
    }

    /// The threads that so much work a sample is worth: one where starting others takes longer.
    fn worth(&self, work: usize, threads: usize) -> usize {
        if work.saturating_mul(self.n_examples) < LEAST_WORK { 1 } else { threads }
    }

    /// Lets every part take some steps of a training pass, `work` multiplications a sample.
    fn take(
        &mut self,
        (graph, packed, seed, threads): Pass<'_>,
        work: usize,
        take: impl Fn(&mut Part, &Shared<'_>) + Sync,
    ) {
        let threads = self.worth(work, threads);
        let shared = Shared {
            plan: &self.plan,
            parameters: &graph.parameters,
            packed,
            training: Some(seed),
            statistics: &self.statistics,
        };
        run(&mut self.parts, threads, |part| take(part, &shared));
    }

    /// What step `at` wants to know of the whole batch, on the way forward or backward.
    fn joint_statistics(&self, at: usize, backward: bool) -> Vec<f32> {
        let step = &self.plan.steps[at];
        let Some(joint) = step.operation.as_deref().and_then(|operation| operation.joint()) else {
            return vec![];
        };
        let inputs: Vec<&[f32]> =
            self.parts.iter().map(|part| part.shard.values[step.inputs[0]].as_slice()).collect();
        if backward {
            let slopes: Vec<&[f32]> =
                self.parts.iter().map(|part| part.shard.slopes[at].as_slice()).collect();
            joint.slope_statistics(&inputs, &slopes, &self.statistics[at])
        } else {
            joint.statistics(&inputs)
        }
    }

    fn remember(&self, graph: &mut Graph) {
        for at in &self.joints {
            let step = &self.plan.steps[*at];
            if let Some(joint) = step.operation.as_deref().and_then(|operation| operation.joint()) {
                let weights = &mut graph.parameters[step.weights.clone()];
                joint.remember(&self.statistics[*at], weights);
            }
        }
    }
}

/// Does `work` for every part, in threads.
fn run(parts: &mut [Part], threads: usize, work: impl Fn(&mut Part) + Sync) {
    in_threads(parts.iter_mut().collect(), threads, &|parts: Vec<&mut Part>| {
        parts.into_iter().for_each(&work);
    });
}

impl Part {
    fn fill(
        &mut self,
        plan: &Plan,
        inputs: &[usize],
        output: usize,
        examples: &dyn Examples,
        which: &[usize],
        first: usize,
    ) {
        self.shard.resize(plan, which.len(), first);
        let size = plan.steps[output].size;
        self.target.clear();
        self.target.resize(which.len() * size, 0.0);
        self.weights.clear();
        let weighted = if examples.weighted() { which.len() * size } else { 0 };
        self.weights.resize(weighted, 1.0);
        let mut values: Vec<_> =
            inputs.iter().map(|input| std::mem::take(&mut self.shard.values[*input])).collect();
        let places = self.target.chunks_mut(size);
        let mut weights = self.weights.chunks_mut(size);
        for ((sample, at), target) in which.iter().enumerate().zip(places) {
            let sample = |(values, input): (_, &usize)| {
                let (values, size): (&mut Vec<f32>, usize) = (values, plan.steps[*input].size);
                &mut values[sample * size..][..size]
            };
            let mut parts: Vec<&mut [f32]> = values.iter_mut().zip(inputs).map(sample).collect();
            examples.write(*at, &mut parts, target, weights.next().unwrap_or_default());
        }
        for (values, input) in values.into_iter().zip(inputs) {
            self.shard.values[*input] = values;
        }
    }

    fn loss(&self, output: usize, loss: Loss) -> f64 {
        weighted_loss(loss, &self.shard.values[output], &self.target, &self.weights)
    }

    /// Loss and slope of the output.
    fn start_backward(&mut self, output: usize, loss: Loss, per_entry: f32) {
        self.shard.loss = self.loss(output, loss);
        let (found, slopes) = (&self.shard.values[output], &mut self.shard.slopes[output]);
        for (slope, (found, target)) in slopes.iter_mut().zip(found.iter().zip(&self.target)) {
            *slope = loss.of(found - target).1 * per_entry;
        }
        for (slope, weight) in slopes.iter_mut().zip(&self.weights) {
            *slope *= weight;
        }
    }
}

/// Sum of the loss of every entry times its weight, 1 where there are no weights; entries without
/// weight count for nothing, even where the network gave no number.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2"))]
fn weighted_loss(loss: Loss, found: &[f32], target: &[f32], weights: &[f32]) -> f64 {
    macro_rules! weighted {
        ($loss:expr) => {{
            let (mut losses, mut whole) = ([0.0; SUMMED], 0.0);
            let mut weights = weights.chunks(SUMMED);
            for (found, target) in found.chunks(SUMMED).zip(target.chunks(SUMMED)) {
                for (to, (found, target)) in losses.iter_mut().zip(found.iter().zip(target)) {
                    *to = $loss.of(found - target).0;
                }
                for (loss, weight) in losses.iter_mut().zip(weights.next().unwrap_or_default()) {
                    *loss = if *weight > 0.0 { *loss * weight } else { 0.0 };
                }
                whole += sum(&losses[..found.len()]);
            }
            whole
        }};
    }
    // The kind of loss outside of the loops: inside it would be asked for each entry.
    match loss {
        Loss::MeanSquared => weighted!(Loss::MeanSquared),
        other => weighted!(other),
    }
}

/// In as many chains as the processor adds side by side: one alone waits for itself.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2"))]
fn sum(values: &[f32]) -> f64 {
    let mut sums = [0.0; 16];
    let (whole, rest) = values.as_chunks::<16>();
    for values in whole {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += f64::from(*value);
        }
    }
    sums.iter_mut().zip(rest).for_each(|(sum, value)| *sum += f64::from(*value));
    sums.iter().sum()
}
