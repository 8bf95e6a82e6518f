//! An ONNX graph that is being written, operation by operation.

use prost::Message as _;

use super::message::{
    self, Attribute, AttributeType, Dimension, Node, OperatorSet, Shape, Size, Tensor, TensorType,
    Type, ValueInfo, data_type,
};

/// The operator set whose operations are written.
pub const OPSET: i64 = 17;
/// The file format that belongs to it (ONNX 1.12).
const IR_VERSION: i64 = 8;
/// Who wrote the file.
pub(super) const PRODUCER: &str = "oddns";

/// A setting of an operation.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Setting {
    /// A whole number.
    Int(i64),
    /// Several.
    Ints(Vec<i64>),
    /// A number.
    Float(f32),
    /// A word.
    Text(&'static str),
}

/// What an operation gives, to be read by others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value(pub(super) String);

/// An ONNX graph that is being written. Operations are added in the order they run in; what they are
/// told is not checked.
#[derive(Debug, Default)]
pub struct OnnxBuilder {
    graph: message::Graph,
    n_values: usize,
}

impl OnnxBuilder {
    /// An empty graph of this name, with a sentence on what it computes.
    pub fn new(name: &str, doc: &str) -> Self {
        let graph = message::Graph {
            name: name.to_owned(),
            doc_string: doc.to_owned(),
            ..message::Graph::default()
        };
        Self { graph, n_values: 0 }
    }

    /// A tensor of 32-bit floats that comes from outside; `None` is a size of any number.
    pub fn input(&mut self, name: &str, shape: &[Option<usize>]) -> Value {
        self.graph.input.push(described(name, shape));
        Value(name.to_owned())
    }

    /// Gives `value` to the outside under this name.
    pub fn output(&mut self, name: &str, value: &Value, shape: &[Option<usize>]) {
        self.push("Identity", &[value], &[], vec![name.to_owned()]);
        self.graph.output.push(described(name, shape));
    }

    /// Numbers that stay as they are.
    pub fn floats(&mut self, shape: &[usize], values: &[f32]) -> Value {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(shape, data_type::FLOAT, raw_data)
    }

    /// One number that stays as it is.
    pub fn float(&mut self, value: f32) -> Value {
        self.floats(&[], &[value])
    }

    /// A list of whole numbers that stay as they are.
    pub fn ints(&mut self, values: &[i64]) -> Value {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(&[values.len()], data_type::INT64, raw_data)
    }

    fn constant(&mut self, shape: &[usize], data_type: i32, raw_data: Vec<u8>) -> Value {
        let name = self.name("constant");
        let dims = shape.iter().map(|size| *size as i64).collect();
        let tensor = Tensor { dims, data_type, raw_data, name: name.clone(), ..Tensor::default() };
        self.graph.initializer.push(tensor);
        Value(name)
    }

    /// Adds an operation with one output.
    pub fn add(
        &mut self,
        operation: &str,
        inputs: &[&Value],
        settings: &[(&str, Setting)],
    ) -> Value {
        let name = self.name(operation);
        self.push(operation, inputs, settings, vec![name.clone()]);
        Value(name)
    }

    /// Adds an operation with `n_outputs` outputs.
    pub fn add_several(
        &mut self,
        operation: &str,
        inputs: &[&Value],
        settings: &[(&str, Setting)],
        n_outputs: usize,
    ) -> Vec<Value> {
        let names: Vec<String> = (0..n_outputs).map(|_| self.name(operation)).collect();
        self.push(operation, inputs, settings, names.clone());
        names.into_iter().map(Value).collect()
    }

    fn push(
        &mut self,
        operation: &str,
        inputs: &[&Value],
        settings: &[(&str, Setting)],
        output: Vec<String>,
    ) {
        self.graph.node.push(Node {
            input: inputs.iter().map(|value| value.0.clone()).collect(),
            name: format!("{operation}_of_{}", output.join("_")),
            output,
            op_type: operation.to_owned(),
            attribute: settings.iter().map(|(name, setting)| attribute(name, setting)).collect(),
            domain: String::new(),
        });
    }

    fn name(&mut self, operation: &str) -> String {
        self.n_values += 1;
        format!("{}_{}", operation.to_lowercase(), self.n_values)
    }

    /// The bytes of the file; the same graph gives the same bytes.
    pub fn finish(self) -> Vec<u8> {
        let opset = OperatorSet { domain: String::new(), version: OPSET };
        let model = message::Model {
            ir_version: IR_VERSION,
            producer_name: PRODUCER.to_owned(),
            graph: Some(self.graph),
            opset_import: vec![opset],
        };
        model.encode_to_vec()
    }
}

fn attribute(name: &str, setting: &Setting) -> Attribute {
    let mut attribute = Attribute { name: name.to_owned(), ..Attribute::default() };
    let kind = match setting {
        Setting::Int(value) => {
            attribute.i = *value;
            AttributeType::Int
        }
        Setting::Ints(values) => {
            attribute.ints.clone_from(values);
            AttributeType::Ints
        }
        Setting::Float(value) => {
            attribute.f = *value;
            AttributeType::Float
        }
        Setting::Text(text) => {
            attribute.s = text.as_bytes().to_vec();
            AttributeType::String
        }
    };
    attribute.kind = kind as i32;
    attribute
}

fn described(name: &str, shape: &[Option<usize>]) -> ValueInfo {
    let dimension = |(at, size): (usize, &Option<usize>)| Dimension {
        size: Some(match size {
            Some(size) => Size::Known(*size as i64),
            None if at == 0 => Size::Named("batch".to_owned()),
            None => Size::Named(format!("{name}_size_{at}")),
        }),
    };
    let dim = shape.iter().enumerate().map(dimension).collect();
    let tensor = TensorType { elem_type: data_type::FLOAT, shape: Some(Shape { dim }) };
    ValueInfo {
        name: name.to_owned(),
        kind: Some(Type { tensor: Some(tensor) }),
        doc_string: String::new(),
    }
}
