//! `model.weights.h5`: the weights as Keras stores them.
//!
//! Keras ignores layer names here: weights lie at `layers/<class in snake case>_<running
//! number>/vars/<i>`, the first without a number, counted in the order of `config.json`.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use hdf5_pure::{AttrValue, File as Hdf5, FileBuilder};

use super::graph::weighted_names;
use crate::convolution::Convolution;
use crate::error::Shape;
use crate::graph::{Graph, Node};
use crate::plane::stride;
use crate::{Config, ModelError, Network};

fn group(number: usize) -> String {
    if number == 0 { "conv1d".to_owned() } else { format!("conv1d_{number}") }
}

fn kernel_shape(layer: &Convolution) -> [u64; 3] {
    [layer.kernel as u64, layer.n_in as u64, layer.n_out as u64]
}

/// The bytes of the HDF5 file.
pub(super) fn write(network: &Network) -> Result<Vec<u8>, ModelError> {
    let mut builder = FileBuilder::new();
    let mut layers = builder.create_group("layers");
    let names = weighted_names(network.config());
    for (number, (layer, name)) in network.layers.all().zip(names).enumerate() {
        let mut conv = layers.create_group(&group(number));
        let mut vars = conv.create_group("vars");
        vars.set_attr("name", AttrValue::String(name));
        vars.create_dataset("0")
            .with_f32_data(&without_padding(layer, layer.weights(&network.parameters)))
            .with_shape(&kernel_shape(layer));
        vars.create_dataset("1")
            .with_f32_data(&without_padding(layer, layer.bias(&network.parameters)))
            .with_shape(&[layer.n_out as u64]);
        conv.add_group(vars.finish());
        layers.add_group(conv.finish());
    }
    builder.add_group(layers.finish());
    builder
        .finish()
        .map_err(|source| ModelError::Weights { path: "/".into(), source: source.into() })
}

fn without_padding(layer: &Convolution, padded: &[f32]) -> Vec<f32> {
    padded.chunks(stride(layer.n_out)).flat_map(|row| row[..layer.n_out].iter().copied()).collect()
}

/// The network with the weights of an HDF5 file; `n_before` numbers the layers.
pub(super) fn read(
    config: Config,
    n_before: &[usize],
    bytes: Vec<u8>,
) -> Result<Network, ModelError> {
    let mut network = Network::zeros(config)?;
    guarded(|| fill(&mut network, n_before, bytes)).map(|()| network)
}

/// The HDF5 reader is a young library and the bytes may be anything; a panic in it must not take a
/// service down. Nothing is shared with `fill` but a network that is dropped then.
fn guarded(fill: impl FnOnce() -> Result<(), ModelError>) -> Result<(), ModelError> {
    catch_unwind(AssertUnwindSafe(fill)).unwrap_or_else(|_| {
        let source = "the reader gave up".into();
        Err(ModelError::Weights { path: "/".into(), source })
    })
}

/// What Keras calls the layers of a node's class among the weights.
fn class_group(node: &Node) -> Option<&'static str> {
    match node.layer.class().as_str() {
        "Conv1D" => Some("conv1d"),
        "Conv2D" => Some("conv2d"),
        "Conv1DTranspose" => Some("conv1d_transpose"),
        "Conv2DTranspose" => Some("conv2d_transpose"),
        "Dense" => Some("dense"),
        "BatchNormalization" => Some("batch_normalization"),
        "LayerNormalization" => Some("layer_normalization"),
        _ => None,
    }
}

fn numbered(class: &str, number: usize) -> String {
    if number == 0 { class.to_owned() } else { format!("{class}_{number}") }
}

/// The bytes of the HDF5 file of a general network.
pub(super) fn write_graph(graph: &Graph) -> Result<Vec<u8>, ModelError> {
    let mut builder = FileBuilder::new();
    let mut layers = builder.create_group("layers");
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for node in &graph.nodes {
        let Some(class) = class_group(node) else { continue };
        let count = counts.entry(class).or_default();
        let mut layer = layers.create_group(&numbered(class, *count));
        *count += 1;
        let mut vars = layer.create_group("vars");
        vars.set_attr("name", AttrValue::String(node.name.clone()));
        for (at, weight) in node.weights.iter().enumerate() {
            let shape: Vec<u64> = weight.shape.iter().map(|size| *size as u64).collect();
            vars.create_dataset(&at.to_string())
                .with_f32_data(&graph.parameters[weight.range.clone()])
                .with_shape(&shape);
        }
        layer.add_group(vars.finish());
        layers.add_group(layer.finish());
    }
    builder.add_group(layers.finish());
    builder
        .finish()
        .map_err(|source| ModelError::Weights { path: "/".into(), source: source.into() })
}

/// `graph` with the weights of an HDF5 file; `n_before` numbers its nodes by class.
pub(super) fn read_graph(
    mut graph: Graph,
    n_before: &[usize],
    bytes: Vec<u8>,
) -> Result<Graph, ModelError> {
    guarded(|| fill_graph(&mut graph, n_before, bytes)).map(|()| graph)
}

fn fill_graph(graph: &mut Graph, n_before: &[usize], bytes: Vec<u8>) -> Result<(), ModelError> {
    let file = Hdf5::from_bytes(bytes)
        .map_err(|source| ModelError::Weights { path: "/".into(), source: source.into() })?;
    for (node, number) in graph.nodes.iter().zip(n_before) {
        let Some(class) = class_group(node) else { continue };
        for (at, weight) in node.weights.iter().enumerate() {
            let path = format!("layers/{}/vars/{at}", numbered(class, *number));
            let shape: Vec<u64> = weight.shape.iter().map(|size| *size as u64).collect();
            let values = data_set(&file, path, &shape)?;
            graph.parameters[weight.range.clone()].copy_from_slice(&values);
        }
    }
    Ok(())
}

fn fill(network: &mut Network, n_before: &[usize], bytes: Vec<u8>) -> Result<(), ModelError> {
    let file = Hdf5::from_bytes(bytes)
        .map_err(|source| ModelError::Weights { path: "/".into(), source: source.into() })?;
    for (layer, number) in network.layers.all().zip(n_before) {
        let path = format!("layers/{}/vars", group(*number));
        let weights = data_set(&file, format!("{path}/0"), &kernel_shape(layer))?;
        let bias = data_set(&file, format!("{path}/1"), &[layer.n_out as u64])?;
        let rows = weights.chunks(layer.n_out).chain([bias.as_slice()]);
        let padded = network.parameters[layer.offset..].chunks_mut(stride(layer.n_out));
        for (row, padded) in rows.zip(padded) {
            padded[..layer.n_out].copy_from_slice(row);
        }
    }
    Ok(())
}

/// Reads a data set whose shape is known: checked first, so that a wrong one is not allocated.
fn data_set(file: &Hdf5, path: String, expected: &[u64]) -> Result<Vec<f32>, ModelError> {
    let read = |e: hdf5_pure::Error| ModelError::Weights { path: path.clone(), source: e.into() };
    let data_set = file.dataset(&path).map_err(read)?;
    let found = data_set.shape().map_err(read)?;
    let values = if found == expected { data_set.read_f32().map_err(read)? } else { vec![] };
    if values.len() as u64 != expected.iter().product::<u64>() {
        let expected = Shape(expected.to_vec());
        return Err(ModelError::WeightShape { path, expected, found: Shape(found) });
    }
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(ModelError::NotFiniteWeight { path, value: *value }),
        None => Ok(values),
    }
}
