//! An ONNX graph as a network of stock layers.
//!
//! ONNX has channels first where Keras has them last. A value is kept channels last, with a note on
//! how ONNX sees it, so that turning it costs nothing; where a vector is made of a grid or a grid of a
//! vector, the weights beside it are put in order instead.

use std::collections::{HashMap, HashSet};

use prost::Message as _;

use super::builder::PRODUCER;
use super::message::{self, Node};
use super::node::{Operation, refused};
use super::pattern::Patterns;
use crate::ModelError;
use crate::graph::{Activation, Convolution, Dimensions, Graph, GraphBuilder, Layer, NodeId};

/// Most bytes of a file, as of the entries of a `.keras` file.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// The output of the graph of a detector that oddns exports.
const SCORE: &str = "score";
/// Most operations of a file: an activation may be five of them.
const MAX_OPERATIONS: usize = 4096;

/// Reads an ONNX file: a graph of the operations that stock layers are made of, whose weights lie in
/// the file. Inputs that convolutions read channels first become rows first, channels last. Any bytes
/// are fine as input; what is not supported is an error that names the operation.
pub fn decode_onnx(bytes: &[u8]) -> Result<Graph, ModelError> {
    if bytes.len() > MAX_BYTES {
        let (size, limit) = (bytes.len() as u64, MAX_BYTES as u64);
        return Err(ModelError::TooLarge { entry: "the ONNX file".to_owned(), size, limit });
    }
    let model = message::Model::decode(bytes)
        .map_err(|source| ModelError::Onnx { source: Box::new(source) })?;
    let is_own = model.producer_name == PRODUCER;
    let file = model.graph.unwrap_or_default();
    if is_own && file.output.iter().any(|output| output.name == SCORE) {
        return Err(ModelError::OnnxDetector);
    }
    if file.node.is_empty() || file.node.len() > MAX_OPERATIONS {
        let n = file.node.len();
        return Err(refused(
            "graph",
            "Model",
            format!("it has {n} operations, 1 to {MAX_OPERATIONS} are read"),
        ));
    }
    Reader::new(&file)?.read()
}

/// A value on its way.
#[derive(Debug, Clone)]
struct Place {
    id: NodeId,
    /// Whether ONNX has its channels first; ours are last.
    in_front: bool,
    /// For a vector made of a grid with channels first: channels and positions of that grid.
    grid: Option<(usize, usize)>,
    /// The dense layer it comes from, with nothing but activations between.
    dense: Option<String>,
}

struct Reader<'a> {
    file: &'a message::Graph,
    patterns: Patterns<'a>,
    builder: GraphBuilder,
    places: HashMap<&'a str, Place>,
    /// By name of the layer, in Keras's order.
    weights: HashMap<String, Vec<f32>>,
    names: HashSet<String>,
}

impl<'a> Reader<'a> {
    fn new(file: &'a message::Graph) -> Result<Self, ModelError> {
        Ok(Self {
            file,
            patterns: Patterns::find(file)?,
            builder: GraphBuilder::new("onnx"),
            places: HashMap::new(),
            weights: HashMap::new(),
            names: HashSet::new(),
        })
    }

    fn read(mut self) -> Result<Graph, ModelError> {
        let mut inputs = Vec::new();
        for value in &self.file.input {
            // Old files list their weights among the inputs.
            if !self.patterns.is_constant(&value.name) {
                inputs.push(self.input(value)?);
            }
        }
        for (at, node) in self.file.node.iter().enumerate() {
            if !self.patterns.is_inside(at) {
                self.operation(at, node)?;
            }
        }
        let mut outputs = Vec::new();
        for value in &self.file.output {
            outputs.push(self.place(&value.name, "graph", "Model")?.id);
        }
        let mut graph = self.builder.assemble(&inputs, &outputs)?;
        for at in 0..graph.nodes.len() {
            let node = &graph.nodes[at];
            let (range, name) = (node.range(), node.name.clone());
            if let Some(values) = self.weights.get(&name) {
                if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                    return Err(ModelError::NotFiniteWeight { path: name, value: *value });
                }
                if values.len() != range.len() {
                    return Err(refused(&name, "Graph", "its weights do not fit"));
                }
                graph.parameters[range].copy_from_slice(values);
            }
        }
        Ok(graph)
    }

    fn input(&mut self, value: &'a message::ValueInfo) -> Result<NodeId, ModelError> {
        let tensor = value.kind.as_ref().and_then(|kind| kind.tensor.as_ref());
        let shape = tensor.and_then(|tensor| tensor.shape.as_ref()).map(|shape| &shape.dim);
        let size = |dimension: &message::Dimension| match dimension.size {
            Some(message::Size::Known(size)) => usize::try_from(size).ok().filter(|n| *n > 0),
            _ => None,
        };
        let mut shape: Dimensions =
            shape.map(|dims| dims.iter().skip(1).map(size).collect()).unwrap_or_default();
        let in_front = shape.len() > 1 && self.patterns.reads_channels_first(&value.name);
        if in_front {
            shape.rotate_left(1);
        }
        let name = self.fresh(&value.name);
        let id = self.builder.add(&name, Layer::Input { shape }, &[])?;
        self.places.insert(&value.name, Place { id, in_front, grid: None, dense: None });
        Ok(id)
    }

    /// A name that no layer has, and that Keras takes.
    fn fresh(&mut self, wanted: &str) -> String {
        let plain: String =
            wanted.chars().take(80).map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
        let stem = if plain.is_empty() { "layer".to_owned() } else { plain };
        let mut name = stem.clone();
        let mut n = 1;
        while !self.names.insert(name.clone()) {
            n += 1;
            name = format!("{stem}_{n}");
        }
        name
    }

    fn place(&self, value: &str, name: &str, class: &str) -> Result<Place, ModelError> {
        let missing = || refused(name, class, format!("it reads `{value}`, which is not there"));
        self.places.get(value).cloned().ok_or_else(missing)
    }

    /// Of an input of an operation.
    fn place_of(&self, node: &Node, input: usize) -> Result<Place, ModelError> {
        let value = node.input.get(input).ok_or_else(|| {
            refused(&node.name, &node.op_type, "an input that it needs is missing")
        })?;
        self.place(value, &node.name, &node.op_type)
    }

    fn operation(&mut self, at: usize, node: &'a Node) -> Result<(), ModelError> {
        let of = Operation { node, patterns: &self.patterns };
        if !node.domain.is_empty() && node.domain != "ai.onnx" {
            return Err(of.refused(format!("it is of the domain `{}`", node.domain)));
        }
        if node.op_type == "Constant" {
            return Ok(());
        }
        let [output, ..] = node.output.as_slice() else {
            return Err(of.refused("it has no output"));
        };
        if let Some((input, activation)) = self.patterns.activation_at(at) {
            let place = self.place(input, &node.name, &node.op_type)?;
            return self.put(output, Layer::Activation(activation), place);
        }
        let first = node.input.first().map(String::as_str).unwrap_or_default();
        match node.op_type.as_str() {
            "MatMul" | "Gemm" => self.dense(at, node, output),
            "Add" | "Sum" | "Mul" | "Sub" | "Div" => self.arithmetic(node, output),
            "Concat" => self.concatenation(node, output),
            "Conv" | "ConvTranspose" => self.convolution(node, output),
            "BatchNormalization" | "LayerNormalization" => self.normalisation(node, output),
            "Identity" | "Dropout" | "Cast" => {
                let place = self.place(first, &node.name, &node.op_type)?;
                self.places.insert(output, place);
                Ok(())
            }
            "Transpose" => self.transposition(node, output),
            "Flatten" | "Reshape" | "Squeeze" => self.reshaping(node, output),
            _ => {
                let place = self.place(first, &node.name, &node.op_type)?;
                let shape = self.builder.shape(place.id).to_vec();
                let layer = of.layer(&shape, place.in_front)?;
                self.put(output, layer, place)
            }
        }
    }

    /// Adds a layer that keeps the order of what it reads.
    fn put(&mut self, output: &'a str, layer: Layer, from: Place) -> Result<(), ModelError> {
        let name = self.fresh(output);
        let is_activation = matches!(layer, Layer::Activation(_));
        let id = self.builder.add(&name, layer, &[from.id])?;
        let dense = from.dense.filter(|_| is_activation && self.patterns.is_read_once(output));
        self.places.insert(output, Place { id, dense, ..from });
        Ok(())
    }

    fn dense(&mut self, at: usize, node: &'a Node, output: &'a str) -> Result<(), ModelError> {
        let of = Operation { node, patterns: &self.patterns };
        let matrix = of.weight(1)?;
        let transposed = of.int("transB", 0) == 1;
        if of.int("transA", 0) != 0 || of.float("alpha", 1.0) != 1.0 || of.float("beta", 1.0) != 1.0
        {
            return Err(of.refused("it is no plain product"));
        }
        let [a, b] = matrix.shape[..] else { return Err(of.refused("its weight is no matrix")) };
        let [n, units] = if transposed { [b, a] } else { [a, b] };
        let entry = |row: usize, column: usize| match transposed {
            true => matrix.values[column * n + row],
            false => matrix.values[row * units + column],
        };
        let place = self.place_of(node, 0)?;
        if place.in_front {
            return Err(
                of.refused("it reads a grid with channels first: turn or flatten it before")
            );
        }
        // Row of ONNX's matrix for each row of ours.
        let rows: Vec<usize> = match place.grid {
            Some((channels, positions)) if channels * positions == n => {
                (0..n).map(|row| (row % channels) * positions + row / channels).collect()
            }
            _ => (0..n).collect(),
        };
        let mut values: Vec<f32> = rows
            .iter()
            .flat_map(|row| (0..units).map(move |c| (*row, c)))
            .map(|(r, c)| entry(r, c))
            .collect();
        let own_bias = of.optional_weight(2).map(|bias| bias.values.clone());
        let added = if own_bias.is_none() { self.patterns.bias_of(at, units) } else { None };
        let (bias, output) = added.map_or((own_bias, output), |(bias, sum)| (Some(bias), sum));
        let has_bias = bias.is_some();
        values.extend(bias.into_iter().flatten());
        let layer = Layer::Dense { units, bias: has_bias, activation: Activation::Linear };
        let name = self.fresh(output);
        let id = self.builder.add(&name, layer, &[place.id])?;
        self.weights.insert(name.clone(), values);
        let dense = self.patterns.is_read_once(output).then_some(name);
        self.places.insert(output, Place { id, in_front: false, grid: None, dense });
        Ok(())
    }

    /// Sums of values; a constant for each channel becomes a normalisation that is not trained.
    fn arithmetic(&mut self, node: &'a Node, output: &'a str) -> Result<(), ModelError> {
        let of = Operation { node, patterns: &self.patterns };
        let constant = node.input.iter().position(|input| self.patterns.is_constant(input));
        let Some(constant) = constant else {
            if !matches!(node.op_type.as_str(), "Add" | "Sum") {
                return Err(of.refused("it joins two values: only sums are supported"));
            }
            return self.joined(node, output, Layer::Add);
        };
        let [_, _] = node.input.as_slice() else { return Err(of.refused("it has not two inputs")) };
        if constant == 0 && matches!(node.op_type.as_str(), "Sub" | "Div") {
            return Err(of.refused("it has a value below the line or behind the minus"));
        }
        let place = self.place_of(node, 1 - constant)?;
        let shape = self.builder.shape(place.id).to_vec();
        let channels = shape.last().copied().flatten().unwrap_or(1);
        let given = of.weight(constant)?;
        let per_channel = given.for_channels(channels, shape.len(), place.in_front);
        let given =
            per_channel.ok_or_else(|| of.refused("its constant is not one for each channel"))?;
        let (scale, shift): (Vec<f32>, Vec<f32>) = match node.op_type.as_str() {
            "Add" | "Sum" => (vec![1.0; channels], given),
            "Sub" => (vec![1.0; channels], given.iter().map(|value| -value).collect()),
            "Mul" => (given, vec![0.0; channels]),
            _ => (given.iter().map(|value| 1.0 / value).collect(), vec![0.0; channels]),
        };
        self.put_affine(output, place, scale, shift)
    }

    fn put_affine(
        &mut self,
        output: &'a str,
        place: Place,
        scale: Vec<f32>,
        shift: Vec<f32>,
    ) -> Result<(), ModelError> {
        /// Far below what an `f32` adds to 1.
        const EPSILON: f64 = 1e-12;
        let n = scale.len();
        let layer = Layer::BatchNormalization {
            momentum: 0.99,
            epsilon: EPSILON,
            center: true,
            scale: true,
        };
        let name = self.fresh(output);
        let id = self.builder.add(&name, layer, &[place.id])?;
        self.builder.freeze(id);
        self.weights.insert(name, [scale, shift, vec![0.0; n], vec![1.0; n]].concat());
        self.places.insert(output, Place { id, dense: None, ..place });
        Ok(())
    }

    fn joined(&mut self, node: &'a Node, output: &'a str, layer: Layer) -> Result<(), ModelError> {
        let of = Operation { node, patterns: &self.patterns };
        let mut places = Vec::new();
        for input in &node.input {
            places.push(self.place(input, &node.name, &node.op_type)?);
        }
        let Some(first) = places.first().cloned() else {
            return Err(of.refused("it reads nothing"));
        };
        if places.iter().any(|place| (place.in_front, place.grid) != (first.in_front, first.grid)) {
            return Err(of.refused("it joins values with channels first and last"));
        }
        let ids: Vec<NodeId> = places.iter().map(|place| place.id).collect();
        let name = self.fresh(output);
        let id = self.builder.add(&name, layer, &ids)?;
        self.places.insert(output, Place { id, dense: None, ..first });
        Ok(())
    }

    fn concatenation(&mut self, node: &'a Node, output: &'a str) -> Result<(), ModelError> {
        let of = Operation { node, patterns: &self.patterns };
        let first = node.input.first().map(String::as_str).unwrap_or_default();
        let place = self.place(first, &node.name, &node.op_type)?;
        let rank = self.builder.shape(place.id).len() as i64 + 1;
        let axis = of.int("axis", 1);
        let axis = if axis < 0 { axis + rank } else { axis };
        let axis = match (place.in_front, axis) {
            (true, 1) => rank - 1,
            (true, axis) => axis - 1,
            (false, axis) => axis,
        };
        let axis = usize::try_from(axis - 1).map_err(|_| of.refused("it joins samples"))?;
        if place.grid.is_some() {
            return Err(of.refused("it joins vectors that were grids with channels first"));
        }
        self.joined(node, output, Layer::Concatenate { axis })
    }

    fn convolution(&mut self, node: &'a Node, output: &'a str) -> Result<(), ModelError> {
        let of = Operation { node, patterns: &self.patterns };
        let kernel = of.weight(1)?;
        let place = self.place_of(node, 0)?;
        let shape = self.builder.shape(place.id).to_vec();
        let axes = shape.len().saturating_sub(1);
        if !place.in_front || kernel.shape.len() != axes + 2 || !(1..=2).contains(&axes) {
            return Err(of.refused("it reads no grid of one or two axes with channels first"));
        }
        if of.int("group", 1) != 1 {
            return Err(of.refused("groups are not supported"));
        }
        let transposed = node.op_type == "ConvTranspose";
        let bias = of.optional_weight(2);
        let mut values = kernel.channels_last();
        values.extend(bias.iter().flat_map(|bias| &bias.values));
        let convolution = Convolution {
            filters: kernel.shape[usize::from(transposed)],
            strides: of.sizes("strides", axes)?,
            dilation: of.sizes("dilations", axes)?,
            bias: bias.is_some(),
            transposed,
            ..Convolution::new(1, &kernel.shape[2..])
        };
        let (before, padding, after) = of.borders(&convolution, &shape)?;
        let place = self.padded(output, place, before)?;
        let name = self.fresh(output);
        let layer = Layer::Convolution(Convolution { padding, ..convolution });
        let id = self.builder.add(&name, layer, &[place.id])?;
        self.weights.insert(name, values);
        let mut place = Place { id, in_front: true, grid: None, dense: None };
        if let Some(amounts) = after {
            let name = self.fresh(output);
            place.id = self.builder.add(&name, Layer::Cropping { amounts }, &[id])?;
        }
        self.places.insert(output, place);
        Ok(())
    }

    /// Zeros around a value, where a convolution wants more than Keras's words say.
    fn padded(
        &mut self,
        output: &str,
        place: Place,
        amounts: Option<Vec<(usize, usize)>>,
    ) -> Result<Place, ModelError> {
        let Some(amounts) = amounts else { return Ok(place) };
        let name = self.fresh(output);
        let id = self.builder.add(&name, Layer::ZeroPadding { amounts }, &[place.id])?;
        Ok(Place { id, ..place })
    }

    fn normalisation(&mut self, node: &'a Node, output: &'a str) -> Result<(), ModelError> {
        let of = Operation { node, patterns: &self.patterns };
        let place = self.place_of(node, 0)?;
        let shape = self.builder.shape(place.id).to_vec();
        let over_channels = node.op_type == "BatchNormalization";
        let fits = if over_channels { shape.len() == 1 || place.in_front } else { !place.in_front };
        if !fits || place.grid.is_some() {
            return Err(of.refused("it does not normalise channels"));
        }
        let epsilon = f64::from(of.float("epsilon", 1e-5));
        let n_weights = if over_channels { 4 } else { 2 };
        let mut values = Vec::new();
        for at in 1..=n_weights {
            match of.optional_weight(at) {
                Some(weight) => values.extend(&weight.values),
                None if at == 2 => values.extend(vec![0.0; values.len()]),
                None => return Err(of.refused("its weights are not in the file")),
            }
        }
        let layer = match over_channels {
            true => Layer::BatchNormalization {
                // ONNX has the share that is kept, as Keras has.
                momentum: f64::from(of.float("momentum", 0.9)),
                epsilon,
                center: true,
                scale: true,
            },
            false
                if matches!(of.int("axis", -1), -1) || of.int("axis", -1) == shape.len() as i64 =>
            {
                Layer::LayerNormalization { epsilon, center: true, scale: true }
            }
            false => return Err(of.refused("it normalises more than the last axis")),
        };
        let name = self.fresh(output);
        let id = self.builder.add(&name, layer, &[place.id])?;
        self.weights.insert(name, values);
        self.places.insert(output, Place { id, dense: None, ..place });
        Ok(())
    }

    fn transposition(&mut self, node: &'a Node, output: &'a str) -> Result<(), ModelError> {
        let of = Operation { node, patterns: &self.patterns };
        let place = self.place_of(node, 0)?;
        let rank = self.builder.shape(place.id).len() as i64 + 1;
        let order = of.ints("perm").unwrap_or_else(|| (0..rank).rev().collect());
        let to_front: Vec<i64> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
        let to_back: Vec<i64> = [0].into_iter().chain(2..rank).chain([1]).collect();
        let same: Vec<i64> = (0..rank).collect();
        let in_front = if order == same {
            place.in_front
        } else if !place.in_front && order == to_front {
            true
        } else if place.in_front && order == to_back {
            false
        } else {
            return Err(of.refused("it does more than to move channels to the front and back"));
        };
        self.places.insert(output, Place { in_front, ..place });
        Ok(())
    }

    fn reshaping(&mut self, node: &'a Node, output: &'a str) -> Result<(), ModelError> {
        let of = Operation { node, patterns: &self.patterns };
        let place = self.place_of(node, 0)?;
        let shape = self.builder.shape(place.id).to_vec();
        let target = of.target(&shape, place.in_front)?;
        let channels = shape.last().copied().flatten().unwrap_or(1);
        let total: usize = shape.iter().flatten().product();
        let positions = total / channels.max(1);
        if target.len() == 1 {
            // A vector of a grid: with channels first, the next matrix is put in order.
            let scrambled = place.in_front && channels > 1 && positions > 1;
            let grid = scrambled.then_some((channels, positions)).or(place.grid);
            let flat = Place { in_front: false, grid, ..place };
            if shape.len() > 1 {
                return self.put(output, Layer::Flatten, flat);
            }
            self.places.insert(output, flat);
            return Ok(());
        }
        if place.in_front || place.grid.is_some() {
            return Err(of.refused("it takes a grid with channels first apart: turn it before"));
        }
        if !self.patterns.reads_channels_first(output) {
            return self.put(output, Layer::Reshape { shape: target }, place);
        }
        self.grid_of_vector(node, output, place, target)
    }

    /// A vector as a grid with channels first: the dense layer before gives it channels last.
    fn grid_of_vector(
        &mut self,
        node: &'a Node,
        output: &'a str,
        place: Place,
        mut target: Dimensions,
    ) -> Result<(), ModelError> {
        let of = Operation { node, patterns: &self.patterns };
        let total = self.builder.shape(place.id).iter().copied().product::<Option<usize>>();
        let channels = target.first().copied().flatten();
        let (Some(n), Some(channels)) = (total, channels) else {
            return Err(of.refused("its sizes are not known"));
        };
        let positions = n / channels.max(1);
        target.rotate_left(1);
        if channels > 1 && positions > 1 {
            let weights = place.dense.as_ref().and_then(|name| self.weights.get_mut(name));
            let weights = weights.ok_or_else(|| {
                refused(&node.name, &node.op_type, "it makes a grid of a vector of no dense layer")
            })?;
            for row in weights.chunks_mut(n) {
                let before = row.to_vec();
                for (at, value) in row.iter_mut().enumerate() {
                    *value = before[(at % channels) * positions + at / channels];
                }
            }
        }
        let name = self.fresh(output);
        let id = self.builder.add(&name, Layer::Reshape { shape: target }, &[place.id])?;
        self.places.insert(output, Place { id, in_front: true, grid: None, dense: None });
        Ok(())
    }
}
