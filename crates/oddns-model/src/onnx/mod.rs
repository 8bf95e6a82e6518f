//! ONNX files: networks out, and in.

mod builder;
mod forecast;
mod message;
mod node;
mod pattern;
mod read;
mod write;

pub use builder::{OPSET, OnnxBuilder, Setting, Value};
pub use read::decode_onnx;

use crate::graph::Graph;

/// The bytes of an ONNX file (opset 17) with a network: its inputs and outputs by the names of
/// their layers, samples first, channels last as in Keras.
pub fn encode_onnx(graph: &Graph) -> Vec<u8> {
    let mut builder = OnnxBuilder::new(graph.name(), "A network of stock Keras layers.");
    let shape = |at: usize| {
        let sizes = graph.nodes()[at].output().iter().copied();
        [None].into_iter().chain(sizes).collect::<Vec<_>>()
    };
    let inputs: Vec<Value> = graph
        .inputs()
        .iter()
        .map(|at| builder.input(graph.nodes()[*at].name(), &shape(*at)))
        .collect();
    let values = builder.add_graph(graph, &inputs);
    for at in graph.outputs() {
        // An input may be an output as well, and no name can stand for both.
        let name = graph.nodes()[*at].name();
        let taken = graph.inputs().contains(at);
        let name = if taken { format!("{name}_output") } else { name.to_owned() };
        builder.output(&name, &values[*at], &shape(*at));
    }
    builder.finish()
}
