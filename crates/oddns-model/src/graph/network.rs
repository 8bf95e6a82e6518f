//! A network of Keras layers, each reading what others gave.

use std::collections::HashSet;
use std::ops::Range;

use super::layer::{Dimensions, Layer, WeightKind, shown};
use crate::ModelError;
use crate::random::Random;

/// Most layers of a network.
pub(crate) const MAX_NODES: usize = 512;
/// Most weights, so that they fit the size limit of a `.keras` entry.
const MAX_PARAMETERS: usize = 16_000_000;
/// Most letters of a name.
const MAX_NAME: usize = 200;

/// A layer in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub(crate) name: String,
    pub(crate) layer: Layer,
    pub(crate) inputs: Vec<usize>,
    pub(crate) output: Dimensions,
    pub(crate) trainable: bool,
    pub(crate) weights: Vec<Weight>,
}

/// Where a weight lies among the parameters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Weight {
    pub(crate) shape: Vec<usize>,
    pub(crate) kind: WeightKind,
    pub(crate) range: Range<usize>,
}

impl Node {
    /// Its name, unlike any other's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it does.
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// The places of the nodes it reads, all before its own.
    pub fn inputs(&self) -> &[usize] {
        &self.inputs
    }

    /// The shape of what it gives, without the batch.
    pub fn output(&self) -> &[Option<usize>] {
        &self.output
    }

    /// All its parameters, in Keras's order.
    pub(crate) fn range(&self) -> Range<usize> {
        match (self.weights.first(), self.weights.last()) {
            (Some(first), Some(last)) => first.range.start..last.range.end,
            _ => 0..0,
        }
    }
}

/// A feed-forward network of stock Keras layers with its weights.
///
/// [`GraphBuilder`] makes one; [`crate::decode_graph`] reads one that Keras saved. Predictions do
/// not depend on how many samples are computed together, on threads, or on the instruction set.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    pub(crate) name: String,
    /// In Keras's order: by distance from the output, so that each stands after what it reads.
    pub(crate) nodes: Vec<Node>,
    pub(crate) inputs: Vec<usize>,
    pub(crate) outputs: Vec<usize>,
    /// All finite.
    pub(crate) parameters: Vec<f32>,
}

impl Graph {
    /// The name of the model.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The layers, each after those it reads.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Places of the inputs, in the order that data is given in.
    pub fn inputs(&self) -> &[usize] {
        &self.inputs
    }

    /// Places of the outputs.
    pub fn outputs(&self) -> &[usize] {
        &self.outputs
    }

    /// How many weights, running statistics included.
    pub fn n_parameters(&self) -> usize {
        self.parameters.len()
    }

    /// The place of the layer called `name`.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// The weights of node `at` in Keras's order: shape and values of each. Empty for layers
    /// without any and for a node that is not there.
    pub fn weights(&self, at: usize) -> Vec<(&[usize], &[f32])> {
        let weights = self.nodes.get(at).map(|node| node.weights.as_slice()).unwrap_or_default();
        let values = |weight: &Weight| &self.parameters[weight.range.clone()];
        weights.iter().map(|weight| (weight.shape.as_slice(), values(weight))).collect()
    }

    /// Random weights as Keras begins with: kernels uniform within ±√(6 / (fan in + fan out))
    /// (Glorot), the rest zeros or ones. The same seed gives the same weights.
    pub fn initialise(&mut self, seed: u64) {
        let mut random = Random::new(seed);
        for weight in self.nodes.iter().flat_map(|node| &node.weights) {
            let values = &mut self.parameters[weight.range.clone()];
            match weight.kind {
                WeightKind::Kernel { fan_in, fan_out } => {
                    let limit = (6.0 / (fan_in as f32 + fan_out as f32)).sqrt();
                    values.fill_with(|| limit * (2.0 * random.unit() - 1.0));
                }
                WeightKind::Zeros | WeightKind::RunningMean => values.fill(0.0),
                WeightKind::Ones | WeightKind::RunningVariance => values.fill(1.0),
            }
        }
    }
}

/// The place of a layer in a network that is being built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeId(usize);

/// A network that is being built, layer by layer; shapes are checked with each.
///
/// ```
/// use oddns_model::graph::{Activation, Convolution, GraphBuilder, Layer};
///
/// let mut builder = GraphBuilder::new("small");
/// let input = builder.add("window", Layer::Input { shape: vec![Some(20), Some(3)] }, &[])?;
/// let convolution = Convolution { activation: Activation::Gelu, ..Convolution::new(8, &[5]) };
/// let hidden = builder.add("hidden", Layer::Convolution(convolution), &[input])?;
/// let output = builder.add("flat", Layer::Flatten, &[hidden])?;
/// let graph = builder.finish(&[input], &[output], 1)?;
/// assert_eq!(graph.nodes()[2].output(), [Some(16 * 8)]);
/// # Ok::<(), oddns_model::ModelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct GraphBuilder {
    name: String,
    nodes: Vec<Node>,
    n_parameters: usize,
}

impl GraphBuilder {
    /// A network without layers.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), nodes: vec![], n_parameters: 0 }
    }

    /// Adds a layer that reads `inputs`. Refuses a name that is taken, empty or has a slash, more
    /// than 512 layers, sizes out of range, and inputs that the layer cannot read.
    pub fn add(
        &mut self,
        name: &str,
        layer: Layer,
        inputs: &[NodeId],
    ) -> Result<NodeId, ModelError> {
        let refuse = |problem: String| ModelError::Layer {
            layer: name.to_owned(),
            class: layer.class(),
            problem,
        };
        let taken = self.nodes.iter().any(|node| node.name == name);
        if taken || name.is_empty() || name.len() > MAX_NAME || name.contains('/') {
            return Err(refuse("its name is taken, empty, long or has a slash".into()));
        }
        if self.nodes.len() >= MAX_NODES {
            return Err(refuse(format!("a network has at most {MAX_NODES} layers")));
        }
        let inputs: Vec<usize> = inputs.iter().map(|id| id.0).collect();
        if inputs.iter().any(|at| *at >= self.nodes.len()) {
            return Err(refuse("it reads a layer of another network".into()));
        }
        let shapes: Vec<_> = inputs.iter().map(|at| &self.nodes[*at].output).collect();
        let output = layer.output(&shapes).map_err(refuse)?;
        let weights = self.place(&layer, &shapes).map_err(refuse)?;
        self.n_parameters = weights.last().map_or(self.n_parameters, |last| last.range.end);
        let node = Node { name: name.to_owned(), layer, inputs, output, trainable: true, weights };
        self.nodes.push(node);
        Ok(NodeId(self.nodes.len() - 1))
    }

    fn place(&self, layer: &Layer, inputs: &[&Dimensions]) -> Result<Vec<Weight>, String> {
        let mut from = self.n_parameters;
        let mut weights = vec![];
        for weight in layer.weights(inputs) {
            let size = weight.shape.iter().try_fold(1_usize, |size, n| size.checked_mul(*n));
            let to = size.and_then(|size| size.checked_add(from));
            let to = to.filter(|to| *to <= MAX_PARAMETERS).ok_or_else(|| {
                format!("a network has at most {MAX_PARAMETERS} weights, with this there are more")
            })?;
            weights.push(Weight { shape: weight.shape, kind: weight.kind, range: from..to });
            from = to;
        }
        Ok(weights)
    }

    /// The shape of what a layer gives, without the batch; empty for a layer of another network.
    pub fn shape(&self, id: NodeId) -> &[Option<usize>] {
        self.nodes.get(id.0).map(|node| node.output.as_slice()).unwrap_or_default()
    }

    /// The layer added first.
    pub(crate) fn first(&self) -> Option<NodeId> {
        (!self.nodes.is_empty()).then_some(NodeId(0))
    }

    /// The layer added last.
    pub(crate) fn last(&self) -> Option<NodeId> {
        self.nodes.len().checked_sub(1).map(NodeId)
    }

    /// Keeps the weights of a layer as they are in training.
    pub fn freeze(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(id.0) {
            node.trainable = false;
        }
    }

    /// The finished network with random weights, see [`Graph::initialise`]. Layers that no output
    /// needs are left out, as in Keras. Refuses no outputs, inputs that are none, and an input
    /// that nothing reads.
    pub fn finish(
        self,
        inputs: &[NodeId],
        outputs: &[NodeId],
        seed: u64,
    ) -> Result<Graph, ModelError> {
        let mut graph = self.assemble(inputs, outputs)?;
        graph.initialise(seed);
        Ok(graph)
    }

    /// As [`GraphBuilder::finish`], with all weights zero.
    pub(crate) fn assemble(
        self,
        inputs: &[NodeId],
        outputs: &[NodeId],
    ) -> Result<Graph, ModelError> {
        let outputs: Vec<usize> = outputs.iter().map(|id| id.0).collect();
        let inputs: Vec<usize> = inputs.iter().map(|id| id.0).collect();
        let refuse = |problem: String| ModelError::Layer {
            layer: self.name.clone(),
            class: "Functional".into(),
            problem,
        };
        if outputs.is_empty() || outputs.iter().any(|at| *at >= self.nodes.len()) {
            return Err(refuse("it has no output".into()));
        }
        let order = keras_order(&self.nodes, &outputs);
        let reached = |at: &&usize| matches!(self.nodes[**at].layer, Layer::Input { .. });
        let read: HashSet<usize> = order.iter().filter(reached).copied().collect();
        let given: HashSet<usize> = inputs.iter().copied().collect();
        if read != given || given.len() != inputs.len() {
            return Err(refuse("its inputs are not those that its outputs need".into()));
        }
        Ok(reorder(self.name, &self.nodes, &order, &inputs, &outputs))
    }
}

/// Keras numbers weights by the order of layers, and orders them by distance from the outputs,
/// those of one distance as a search from the outputs finds them (`map_graph` of Keras).
fn keras_order(nodes: &[Node], outputs: &[usize]) -> Vec<usize> {
    let mut found = vec![None; nodes.len()];
    let mut n_found = 0;
    let mut stack: Vec<usize> = outputs.iter().rev().copied().collect();
    while let Some(at) = stack.pop() {
        if found[at].is_none() {
            found[at] = Some(n_found);
            n_found += 1;
            stack.extend(nodes[at].inputs.iter().rev());
        }
    }
    let mut depth = vec![0_usize; nodes.len()];
    for at in (0..nodes.len()).rev().filter(|at| found[*at].is_some()) {
        for input in &nodes[at].inputs {
            depth[*input] = depth[*input].max(depth[at] + 1);
        }
    }
    let mut order: Vec<usize> = (0..nodes.len()).filter(|at| found[*at].is_some()).collect();
    order.sort_by_key(|at| (usize::MAX - depth[*at], found[*at]));
    order
}

/// The nodes in `order`, with their places and the ranges of their weights renumbered.
fn reorder(
    name: String,
    nodes: &[Node],
    order: &[usize],
    inputs: &[usize],
    outputs: &[usize],
) -> Graph {
    let mut place = vec![0; nodes.len()];
    for (to, from) in order.iter().enumerate() {
        place[*from] = to;
    }
    let mut n_parameters = 0;
    let mut ordered = vec![];
    for from in order {
        let mut node = nodes[*from].clone();
        node.inputs.iter_mut().for_each(|at| *at = place[*at]);
        for weight in &mut node.weights {
            let size = weight.range.len();
            weight.range = n_parameters..n_parameters + size;
            n_parameters += size;
        }
        ordered.push(node);
    }
    let placed = |at: &[usize]| at.iter().map(|at| place[*at]).collect();
    Graph {
        name,
        nodes: ordered,
        inputs: placed(inputs),
        outputs: placed(outputs),
        parameters: vec![0.0; n_parameters],
    }
}

impl Graph {
    /// The shapes of all nodes when the inputs have samples of these shapes.
    pub(crate) fn shapes(&self, inputs: &[Vec<usize>]) -> Result<Vec<Vec<usize>>, ModelError> {
        let mut shapes: Vec<Vec<usize>> = vec![];
        let mut values = 0_usize;
        for (at, node) in self.nodes.iter().enumerate() {
            let found = match self.inputs.iter().position(|input| *input == at) {
                Some(input) => inputs.get(input).cloned().unwrap_or_default(),
                None => self.shape_of(node, &shapes)?,
            };
            self.check_shape(node, &found)?;
            values += found.iter().product::<usize>();
            shapes.push(found);
        }
        let limit = 1 << 25;
        if values > limit {
            return Err(ModelError::TooManyValues { values, limit });
        }
        Ok(shapes)
    }

    fn shape_of(&self, node: &Node, shapes: &[Vec<usize>]) -> Result<Vec<usize>, ModelError> {
        let known = |at: &usize| shapes[*at].iter().map(|n| Some(*n)).collect::<Dimensions>();
        let inputs: Vec<Dimensions> = node.inputs.iter().map(known).collect();
        let refuse = |problem: String| ModelError::Layer {
            layer: node.name.clone(),
            class: node.layer.class(),
            problem,
        };
        let output = node.layer.output(&inputs.iter().collect::<Vec<_>>()).map_err(refuse)?;
        let known: Option<Vec<usize>> = output.iter().copied().collect();
        known.ok_or_else(|| refuse(format!("the size of {} is not known", shown(&output))))
    }

    /// Refuses samples of another shape than the output of a node; `what` they are is told.
    pub(super) fn check_samples(
        &self,
        at: usize,
        what: &'static str,
        found: &[usize],
    ) -> Result<(), ModelError> {
        let node = &self.nodes[at];
        let sample = found.get(1..).unwrap_or_default();
        let fits = node.output.iter().zip(sample).all(|(own, n)| own.is_none_or(|own| own == *n));
        if fits && node.output.len() == sample.len() {
            return Ok(());
        }
        let dimensions = |sizes: &[usize]| sizes.iter().map(|n| Some(*n)).collect::<Dimensions>();
        let expected = [&[None], node.output.as_slice()].concat();
        let (expected, found) = (shown(&expected), shown(&dimensions(found)));
        Err(ModelError::SampleShape { what, layer: node.name.clone(), expected, found })
    }

    /// Refuses a shape other than the one the node was built for.
    fn check_shape(&self, node: &Node, found: &[usize]) -> Result<(), ModelError> {
        let fits = |(expected, found): (&Option<usize>, &usize)| {
            expected.is_none_or(|expected| expected == *found) && *found > 0
        };
        let same = node.output.len() == found.len();
        if same && node.output.iter().zip(found).all(fits) {
            return Ok(());
        }
        let found: Dimensions = found.iter().map(|n| Some(*n)).collect();
        Err(ModelError::InputShape {
            input: node.name.clone(),
            expected: shown(&node.output),
            found: shown(&found),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(builder: &mut GraphBuilder, name: &str) -> NodeId {
        builder.add(name, Layer::Input { shape: vec![Some(4)] }, &[]).unwrap()
    }

    #[test]
    fn order_is_by_distance_from_the_output() {
        let mut builder = GraphBuilder::new("skips");
        let (a, b) = (input(&mut builder, "a"), input(&mut builder, "b"));
        let flat = builder.add("unused", Layer::Flatten, &[a]).unwrap();
        let long = builder.add("long", Layer::Flatten, &[b]).unwrap();
        let sum = builder.add("sum", Layer::Add, &[a, long]).unwrap();
        let graph = builder.clone().finish(&[a, b], &[sum], 1).unwrap();
        let names: Vec<_> = graph.nodes().iter().map(Node::name).collect();
        assert_eq!(names, ["b", "a", "long", "sum"]);
        assert_eq!((graph.inputs(), graph.outputs()), ([1, 0].as_slice(), [3].as_slice()));
        assert!(builder.clone().finish(&[a], &[sum], 1).is_err(), "b is missing");
        assert!(builder.clone().finish(&[a, b], &[flat], 1).is_err(), "b is not read");
        assert!(builder.finish(&[a, b], &[], 1).is_err());
    }

    #[test]
    fn names_are_unique_and_weights_limited() {
        let mut builder = GraphBuilder::new("x");
        let a = input(&mut builder, "a");
        assert!(builder.add("a", Layer::Flatten, &[a]).unwrap_err().to_string().contains("`a`"));
        let dense =
            Layer::Dense { units: 1 << 20, bias: true, activation: super::super::Activation::Relu };
        let wide = builder.add("wide", dense.clone(), &[a]).unwrap();
        let error = builder.add("wider", dense, &[wide]).unwrap_err().to_string();
        assert!(error.contains("at most 16000000 weights"), "{error}");
        let elsewhere = NodeId(17);
        assert!(builder.add("b", Layer::Flatten, &[elsewhere]).is_err());
    }
}
