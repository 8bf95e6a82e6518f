//! What in an ONNX graph belongs together: weights, and activations that are several operations.

use std::collections::{HashMap, HashSet};

use super::message::{Graph, Node};
use super::node::{Weight, refused};
use crate::ModelError;
use crate::graph::Activation;

/// Operations that read their first input channels first.
const CHANNELS_FIRST: [&str; 7] = [
    "Conv",
    "ConvTranspose",
    "MaxPool",
    "AveragePool",
    "GlobalMaxPool",
    "GlobalAveragePool",
    "BatchNormalization",
];
/// Operations that change no order, behind which one that tells it may stand.
const TRANSPARENT: [&str; 9] =
    ["Relu", "LeakyRelu", "Elu", "Sigmoid", "Tanh", "Softplus", "Dropout", "Identity", "Gelu"];

/// Who reads what, and what is known beforehand.
pub(super) struct Patterns<'a> {
    nodes: &'a [Node],
    constants: HashMap<&'a str, Weight>,
    /// Places of the operations that read a value.
    readers: HashMap<&'a str, Vec<usize>>,
    /// By the place of its last operation: what goes in, and which activation it is.
    activations: HashMap<usize, (&'a str, Activation)>,
    /// Operations that are part of another.
    inside: HashSet<usize>,
}

impl<'a> Patterns<'a> {
    pub(super) fn find(file: &'a Graph) -> Result<Self, ModelError> {
        let mut constants = HashMap::new();
        for tensor in &file.initializer {
            if let Some(weight) = Weight::read(tensor)? {
                constants.insert(tensor.name.as_str(), weight);
            }
        }
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, node) in file.node.iter().enumerate() {
            node.input.iter().for_each(|input| readers.entry(input).or_default().push(at));
            if node.op_type == "Constant" {
                let value = node.attribute.iter().find_map(|attribute| attribute.t.as_ref());
                let weight = value.map(Weight::read).transpose()?.flatten();
                let (Some(weight), Some(name)) = (weight, node.output.first()) else {
                    return Err(refused(&node.name, "Constant", "it is no tensor of numbers"));
                };
                constants.insert(name, weight);
            }
        }
        let mut found = Self {
            nodes: &file.node,
            constants,
            readers,
            activations: HashMap::new(),
            inside: HashSet::new(),
        };
        for at in 0..file.node.len() {
            found.note_activation(at);
        }
        Ok(found)
    }

    pub(super) fn is_constant(&self, value: &str) -> bool {
        self.constants.contains_key(value)
    }

    pub(super) fn constant(&self, value: &str) -> Option<&Weight> {
        self.constants.get(value)
    }

    pub(super) fn is_inside(&self, at: usize) -> bool {
        self.inside.contains(&at)
    }

    /// The activation that ends with operation `at`, and what goes into it.
    pub(super) fn activation_at(&self, at: usize) -> Option<(&'a str, Activation)> {
        self.activations.get(&at).copied()
    }

    pub(super) fn is_read_once(&self, value: &str) -> bool {
        self.readers.get(value).is_some_and(|readers| readers.len() == 1)
    }

    /// Whether an operation that wants channels first reads a value, behind activations at most.
    pub(super) fn reads_channels_first(&self, value: &str) -> bool {
        let mut waiting = vec![value];
        let mut seen = HashSet::new();
        while let Some(value) = waiting.pop() {
            if !seen.insert(value) {
                continue;
            }
            for at in self.readers.get(value).into_iter().flatten() {
                let node = &self.nodes[*at];
                let operation = node.op_type.as_str();
                let reads_first = node.input.first().is_some_and(|first| first == value);
                if CHANNELS_FIRST.contains(&operation) && reads_first {
                    return true;
                }
                if TRANSPARENT.contains(&operation) {
                    waiting.extend(node.output.iter().map(String::as_str));
                }
            }
        }
        false
    }

    /// The constant for each of `units` that alone is added to what operation `at` gives, and the
    /// sum's name.
    pub(super) fn bias_of(&mut self, at: usize, units: usize) -> Option<(Vec<f32>, &'a str)> {
        let nodes = self.nodes;
        let (sum_at, sum) = self.only_reader(nodes[at].output.first()?)?;
        if sum.op_type != "Add" {
            return None;
        }
        let other = sum.input.iter().find(|input| Some(*input) != nodes[at].output.first())?;
        let bias = self.constants.get(other.as_str())?;
        let is_vector = bias.shape.iter().rev().skip(1).all(|size| *size == 1);
        if !is_vector || bias.values.len() != units {
            return None;
        }
        let values = bias.values.clone();
        self.inside.insert(sum_at);
        Some((values, sum.output.first()?))
    }

    fn only_reader(&self, value: &str) -> Option<(usize, &'a Node)> {
        match self.readers.get(value).map(Vec::as_slice) {
            Some([at]) => Some((*at, &self.nodes[*at])),
            _ => None,
        }
    }

    /// Looks whether operation `at` is the heart of an activation.
    fn note_activation(&mut self, at: usize) {
        let found = match self.nodes[at].op_type.as_str() {
            "Erf" => self.gelu(at),
            "Sigmoid" => self.silu(at),
            "Tanh" => self.gelu_by_tanh(at),
            _ => None,
        };
        if let Some((input, activation, inside, last)) = found {
            self.inside.extend(inside);
            self.activations.insert(last, (input, activation));
        }
    }

    /// x · sigmoid(x).
    fn silu(&self, at: usize) -> Option<Found<'a>> {
        let node = &self.nodes[at];
        let (x, share) = (node.input.first()?, node.output.first()?);
        let (last, product) = self.only_reader(share)?;
        let is_silu = product.op_type == "Mul" && product.input.contains(x);
        is_silu.then(|| (x.as_str(), Activation::Silu, vec![at], last))
    }

    /// x · (erf(x / √2) + 1) · ½, in any order of the factors.
    fn gelu(&self, at: usize) -> Option<Found<'a>> {
        let scaled = self.nodes[at].input.first()?;
        let before = self.writer(scaled)?;
        let x = self.scaled_by(before, std::f32::consts::FRAC_1_SQRT_2)?;
        self.half_of_one_more(at, x, Activation::Gelu, vec![before, at])
    }

    /// x · (tanh((x + 0.044715 x³) · √(2/π)) + 1) · ½, as it is written here.
    fn gelu_by_tanh(&self, at: usize) -> Option<Found<'a>> {
        let scaled = self.writer(self.nodes[at].input.first()?)?;
        let sum = self.writer(self.scaled_by(scaled, 0.797_884_6)?)?;
        let [x, bent] = self.nodes[sum].input.as_slice() else { return None };
        let bent = self.writer(bent)?;
        let cube = self.writer(self.scaled_by(bent, 0.044_715)?)?;
        let square = self.nodes[cube].input.iter().find(|input| *input != x)?;
        let square = self.writer(square)?;
        let of_x = |at: usize| self.nodes[at].op_type == "Mul" && self.nodes[at].input.contains(x);
        if self.nodes[sum].op_type != "Add" || !of_x(cube) || !of_x(square) {
            return None;
        }
        let inside = vec![square, cube, bent, sum, scaled, at];
        self.half_of_one_more(at, x, Activation::GeluTanh, inside)
    }

    /// What follows after the share of a GELU, operation `at`.
    fn half_of_one_more(
        &self,
        at: usize,
        x: &'a str,
        activation: Activation,
        mut inside: Vec<usize>,
    ) -> Option<Found<'a>> {
        let (plus, sum) = self.only_reader(self.nodes[at].output.first()?)?;
        if sum.op_type != "Add" || !sum.input.iter().any(|input| self.is_number(input, 1.0)) {
            return None;
        }
        inside.push(plus);
        let (first, product) = self.only_reader(sum.output.first()?)?;
        let other = product.input.iter().find(|input| Some(*input) != sum.output.first())?;
        if product.op_type != "Mul" {
            return None;
        }
        if other == x {
            let (last, half) = self.only_reader(product.output.first()?)?;
            let is_half =
                half.op_type == "Mul" && half.input.iter().any(|i| self.is_number(i, 0.5));
            inside.push(first);
            return is_half.then_some((x, activation, inside, last));
        }
        let half = self.writer(other)?;
        if self.scaled_by(half, 0.5)? != x {
            return None;
        }
        inside.push(half);
        Some((x, activation, inside, first))
    }

    /// What operation `at` multiplies with `factor`, or divides by one over it.
    fn scaled_by(&self, at: usize, factor: f32) -> Option<&'a str> {
        let node = &self.nodes[at];
        let wanted = match node.op_type.as_str() {
            "Mul" => factor,
            "Div" => 1.0 / factor,
            _ => return None,
        };
        let constant = node.input.iter().position(|input| self.is_number(input, wanted))?;
        let of_divisor = node.op_type == "Div" && constant == 0;
        (!of_divisor).then(|| node.input.get(1 - constant.min(1)).map(String::as_str))?
    }

    fn is_number(&self, value: &str, wanted: f32) -> bool {
        let constant = self.constants.get(value);
        constant.is_some_and(|c| match c.values.as_slice() {
            [number] => (number - wanted).abs() < 1e-5 * wanted.abs(),
            _ => false,
        })
    }

    fn writer(&self, value: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.output.iter().any(|output| output == value))
    }
}

/// What goes in, which activation it is, the operations inside of it, and the last.
type Found<'a> = (&'a str, Activation, Vec<usize>, usize);
