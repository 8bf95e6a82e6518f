//! `config.json` of a model that Keras saved: JSON to stock layers.
//!
//! Nothing of it is executed: a class is looked up in a list, and what is not in it is refused.

use std::collections::HashMap;

use serde_json::Value;

use super::settings::Settings;
use crate::ModelError;
use crate::graph::{
    Activation, Convolution, Dimensions, Graph, GraphBuilder, Layer, MAX_NODES, NodeId, Padding,
    Pool,
};

/// A layer of the file, before it has its place.
struct Described<'a> {
    name: &'a str,
    class: &'a str,
    config: &'a Value,
    /// Names of the layers it reads.
    inputs: Vec<&'a str>,
    /// Whether it is an operation rather than a layer; Keras does not count those.
    is_operation: bool,
}

/// What a file says: the network without its weights, and for each node how many of its class
/// stand before it in the file, by which Keras numbers weights.
pub(super) struct Read {
    pub(super) graph: Graph,
    pub(super) n_before: Vec<usize>,
}

fn refused(layer: &str, class: &str, problem: impl Into<String>) -> ModelError {
    ModelError::Unsupported { layer: layer.into(), class: class.into(), problem: problem.into() }
}

/// Reads the text of `config.json`.
pub(super) fn read(text: &str) -> Result<Read, ModelError> {
    let model: Value = serde_json::from_str(text)
        .map_err(|source| ModelError::Text { entry: "config.json", source: source.into() })?;
    let class = model["class_name"].as_str().unwrap_or("unknown");
    let name = model["config"]["name"].as_str().unwrap_or("model");
    let layers = model["config"]["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if layers.is_empty() || layers.len() > MAX_NODES {
        let problem = format!("it has {} layers, 1 to {MAX_NODES} are read", layers.len());
        return Err(refused(name, class, problem));
    }
    let foreign = |registered: &str| registered.contains('>') && !registered.starts_with("keras");
    if model["registered_name"].as_str().is_some_and(foreign) {
        return Err(refused(name, class, "it is a model with code of its own"));
    }
    match class {
        "Sequential" => sequential(name, &model, layers),
        "Functional" => functional(name, &model["config"], layers),
        _ => Err(refused(name, class, "this class of model is not supported")),
    }
}

fn described(layer: &Value) -> Result<Described<'_>, ModelError> {
    let class = layer["class_name"].as_str().unwrap_or("unknown");
    let name = layer["config"]["name"].as_str().or(layer["name"].as_str()).unwrap_or("unnamed");
    let module = layer["module"].as_str().unwrap_or("keras.layers");
    if class == "Functional" || class == "Sequential" || class == "Model" {
        return Err(refused(name, class, "a model within a model is not supported, save it flat"));
    }
    if module != "keras" && !module.starts_with("keras.") {
        return Err(refused(name, class, format!("its code is in `{module}`, which is not Keras")));
    }
    let is_operation = module.starts_with("keras.src.ops") || module.starts_with("keras.ops");
    Ok(Described { name, class, config: &layer["config"], inputs: vec![], is_operation })
}

/// A chain; the input may be given by the first layer or by the shape it was built with.
fn sequential(name: &str, model: &Value, layers: &[Value]) -> Result<Read, ModelError> {
    let mut all = layers.iter().map(described).collect::<Result<Vec<_>, _>>()?;
    for at in 1..all.len() {
        all[at].inputs = vec![all[at - 1].name];
    }
    let mut builder = GraphBuilder::new(name);
    if all[0].class != "InputLayer" {
        let built = [&model["build_config"]["input_shape"], &model["config"]["build_input_shape"]];
        let shape = built.into_iter().find_map(batch_shape);
        let shape =
            shape.ok_or_else(|| refused(name, "Sequential", "its input shape is not given"))?;
        builder.add("input_of_first_layer", Layer::Input { shape }, &[])?;
        all[0].inputs = vec!["input_of_first_layer"];
    }
    let outputs = all.last().map(|layer| vec![layer.name]).unwrap_or_default();
    assemble(builder, &all, None, &outputs)
}

fn functional(name: &str, config: &Value, layers: &[Value]) -> Result<Read, ModelError> {
    let mut all = vec![];
    for layer in layers {
        let mut found = described(layer)?;
        found.inputs = inbound(layer).map_err(|p| refused(found.name, found.class, p))?;
        all.push(found);
    }
    let (mut inputs, mut outputs) = (vec![], vec![]);
    collect_references(&config["input_layers"], &mut inputs, 0);
    collect_references(&config["output_layers"], &mut outputs, 0);
    assemble(GraphBuilder::new(name), &all, Some(&inputs), &outputs)
}

/// Names in a nest of `[name, node, tensor]`.
fn collect_references<'a>(value: &'a Value, names: &mut Vec<&'a str>, depth: usize) {
    if depth > 4 || names.len() > MAX_NODES {
        return;
    }
    match value {
        Value::Array(parts) => match parts.first().and_then(Value::as_str) {
            Some(name) => names.push(name),
            None => parts.iter().for_each(|part| collect_references(part, names, depth + 1)),
        },
        Value::Object(parts) => {
            parts.values().for_each(|part| collect_references(part, names, depth + 1));
        }
        _ => {}
    }
}

/// The layers read by the only call of a layer.
fn inbound(layer: &Value) -> Result<Vec<&str>, String> {
    let calls = layer["inbound_nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let call = match calls {
        [] => return Ok(vec![]),
        [call] => call,
        _ => return Err("a layer that is used more than once is not supported".into()),
    };
    let mut names = vec![];
    for argument in call["args"].as_array().map(Vec::as_slice).unwrap_or_default() {
        match argument {
            Value::Null => {}
            Value::Array(tensors) => {
                for tensor in tensors {
                    names.push(source(tensor)?);
                }
            }
            tensor => names.push(source(tensor)?),
        }
    }
    for (key, value) in call["kwargs"].as_object().into_iter().flatten() {
        if !matches!(value, Value::Null | Value::Bool(false)) {
            return Err(format!("it is called with `{key}`"));
        }
    }
    Ok(names)
}

fn source(tensor: &Value) -> Result<&str, String> {
    let history = &tensor["config"]["keras_history"];
    let name = history[0].as_str().ok_or("it reads something that is no output of a layer")?;
    if history[1] != 0 || history[2] != 0 {
        return Err("a layer that is used more than once is not supported".into());
    }
    Ok(name)
}

/// Adds layers as what they read is there, in whatever order the file has them.
fn assemble(
    mut builder: GraphBuilder,
    all: &[Described<'_>],
    inputs: Option<&[&str]>,
    outputs: &[&str],
) -> Result<Read, ModelError> {
    let mut places: HashMap<&str, NodeId> = HashMap::new();
    if let Some(first) = builder.last() {
        places.insert("input_of_first_layer", first);
    }
    let mut waiting: Vec<&Described<'_>> = all.iter().collect();
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut later = vec![];
        for layer in waiting {
            let from: Option<Vec<NodeId>> =
                layer.inputs.iter().map(|name| places.get(name).copied()).collect();
            match from {
                Some(from) => {
                    places.insert(layer.name, add(&mut builder, layer, &from)?);
                }
                None => later.push(layer),
            }
        }
        if later.len() == before {
            return Err(refused(
                later[0].name,
                later[0].class,
                "it reads a layer that is not there",
            ));
        }
        waiting = later;
    }
    finish(builder, all, &places, inputs, outputs)
}

fn add(
    builder: &mut GraphBuilder,
    described: &Described<'_>,
    from: &[NodeId],
) -> Result<NodeId, ModelError> {
    let axes = from.first().map_or(0, |id| builder.shape(*id).len());
    let layer = layer(described, axes)
        .map_err(|problem| refused(described.name, described.class, problem))?;
    let id = builder.add(described.name, layer, from)?;
    if described.config["trainable"] == false {
        builder.freeze(id);
    }
    Ok(id)
}

fn finish(
    builder: GraphBuilder,
    all: &[Described<'_>],
    places: &HashMap<&str, NodeId>,
    inputs: Option<&[&str]>,
    outputs: &[&str],
) -> Result<Read, ModelError> {
    let find = |names: &[&str]| {
        let place = |name: &&str| {
            places.get(name).copied().ok_or_else(|| refused(name, "unknown", "it is not there"))
        };
        names.iter().map(place).collect::<Result<Vec<_>, _>>()
    };
    let inputs = match inputs {
        Some(names) => find(names)?,
        None => builder.first().into_iter().collect(),
    };
    let graph = builder.assemble(&inputs, &find(outputs)?)?;
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    for layer in all.iter().filter(|layer| !layer.is_operation) {
        let count = counts.entry(layer.class).or_default();
        numbers.insert(layer.name, *count);
        *count += 1;
    }
    let number = |name: &str| numbers.get(name).copied().unwrap_or_default();
    let n_before = graph.nodes.iter().map(|node| number(&node.name)).collect();
    Ok(Read { graph, n_before })
}

/// A shape without its batch.
fn batch_shape(value: &Value) -> Option<Dimensions> {
    let sizes = value.as_array().filter(|sizes| sizes.len() > 1)?;
    let size = |size: &Value| match size {
        Value::Null => Some(None),
        size => size.as_u64().and_then(|size| usize::try_from(size).ok()).map(Some),
    };
    sizes[1..].iter().map(size).collect()
}

/// The layer of a class with its settings, which reads `axes` axes after the batch.
fn layer(described: &Described<'_>, axes: usize) -> Result<Layer, String> {
    let settings = Settings(described.config);
    settings.check_common()?;
    if described.is_operation {
        return operation(described.class, &settings);
    }
    match described.class {
        "InputLayer" => input(&settings),
        "Conv1D" => convolution(&settings, 1, false),
        "Conv2D" => convolution(&settings, 2, false),
        "Conv1DTranspose" => convolution(&settings, 1, true),
        "Conv2DTranspose" => convolution(&settings, 2, true),
        "Dense" => Ok(Layer::Dense {
            units: settings.number("units")?,
            bias: settings.flag("use_bias", true),
            activation: activation(&settings.0["activation"], 0)?,
        }),
        "BatchNormalization" => {
            settings.only("renorm", &[Value::Bool(false)])?;
            settings.last_axis(axes)?;
            Ok(Layer::BatchNormalization {
                momentum: settings.real("momentum", 0.99)?,
                epsilon: settings.real("epsilon", 1e-3)?,
                center: settings.flag("center", true),
                scale: settings.flag("scale", true),
            })
        }
        "LayerNormalization" => {
            settings.only("rms_scaling", &[Value::Bool(false)])?;
            settings.last_axis(axes)?;
            Ok(Layer::LayerNormalization {
                epsilon: settings.real("epsilon", 1e-3)?,
                center: settings.flag("center", true),
                scale: settings.flag("scale", true),
            })
        }
        "Dropout" => {
            settings.only("noise_shape", &[])?;
            Ok(Layer::Dropout { rate: settings.real("rate", 0.0)? })
        }
        class => match activation_layer(class, &settings, axes)? {
            Some(activation) => Ok(Layer::Activation(activation)),
            None => rearrangement(class, &settings, axes),
        },
    }
}

fn operation(class: &str, settings: &Settings<'_>) -> Result<Layer, String> {
    match class {
        "Add" => Ok(Layer::Add),
        "Gelu" if settings.flag("approximate", true) => Ok(Layer::Activation(Activation::GeluTanh)),
        "Gelu" => Ok(Layer::Activation(Activation::Gelu)),
        _ => Err("of the operations only `add` and `gelu` are supported".into()),
    }
}

fn input(settings: &Settings<'_>) -> Result<Layer, String> {
    settings.only("sparse", &[Value::Bool(false)])?;
    settings.only("ragged", &[Value::Bool(false)])?;
    let given = [&settings.0["batch_shape"], &settings.0["batch_input_shape"]];
    let shape = given.into_iter().find_map(batch_shape).ok_or("its `batch_shape` is no shape")?;
    Ok(Layer::Input { shape })
}

fn convolution(settings: &Settings<'_>, axes: usize, transposed: bool) -> Result<Layer, String> {
    settings.only("groups", &[Value::from(1)])?;
    settings.only("output_padding", &[])?;
    Ok(Layer::Convolution(Convolution {
        filters: settings.number("filters")?,
        kernel: settings.numbers("kernel_size", axes)?,
        strides: settings.numbers("strides", axes)?,
        dilation: settings.numbers("dilation_rate", axes)?,
        padding: padding(settings)?,
        bias: settings.flag("use_bias", true),
        activation: activation(&settings.0["activation"], 0)?,
        transposed,
    }))
}

fn padding(settings: &Settings<'_>) -> Result<Padding, String> {
    match settings.0["padding"].as_str() {
        None | Some("valid") => Ok(Padding::Valid),
        Some("same") => Ok(Padding::Same),
        Some("causal") => Ok(Padding::Causal),
        Some(other) => Err(format!("`padding` is \"{other}\"")),
    }
}

/// The activation that `value` names; a layer may stand for it.
fn activation(value: &Value, depth: usize) -> Result<Activation, String> {
    match value {
        Value::Null => Ok(Activation::Linear),
        Value::String(name) => named(name),
        Value::Object(_) if depth == 0 && value["module"] == "keras.layers" => {
            let class = value["class_name"].as_str().unwrap_or_default();
            let found = activation_layer(class, &Settings(&value["config"]), 0)?;
            found.ok_or_else(|| format!("its activation `{class}` is not supported"))
        }
        Value::Object(_) => Err(format!(
            "its activation is `{}`, which is no name of Keras",
            value["config"].as_str().or(value["class_name"].as_str()).unwrap_or("unknown"),
        )),
        other => Err(format!("its activation is `{other}`")),
    }
}

fn named(name: &str) -> Result<Activation, String> {
    Ok(match name {
        "linear" => Activation::Linear,
        "relu" => Activation::Relu,
        "leaky_relu" => Activation::LeakyRelu { slope: 0.2 },
        "elu" => Activation::Elu { alpha: 1.0 },
        "gelu" => Activation::Gelu,
        "sigmoid" => Activation::Sigmoid,
        "tanh" => Activation::Tanh,
        "softplus" => Activation::Softplus,
        "silu" | "swish" => Activation::Silu,
        "softmax" => Activation::Softmax,
        _ => return Err(format!("its activation `{name}` is not supported")),
    })
}

/// A layer that is nothing but an activation; `None` for other classes.
fn activation_layer(
    class: &str,
    settings: &Settings<'_>,
    axes: usize,
) -> Result<Option<Activation>, String> {
    Ok(Some(match class {
        "Activation" => activation(&settings.0["activation"], 0)?,
        "ReLU" => {
            settings.only("max_value", &[])?;
            settings.only("threshold", &[Value::from(0.0), Value::from(0)])?;
            match settings.real("negative_slope", 0.0)? {
                0.0 => Activation::Relu,
                slope => Activation::LeakyRelu { slope },
            }
        }
        "LeakyReLU" => Activation::LeakyRelu { slope: settings.real("negative_slope", 0.3)? },
        "ELU" => Activation::Elu { alpha: settings.real("alpha", 1.0)? },
        "Softmax" => {
            settings.last_axis(axes)?;
            Activation::Softmax
        }
        _ => return Ok(None),
    }))
}

fn rearrangement(class: &str, settings: &Settings<'_>, axes: usize) -> Result<Layer, String> {
    let (name, n) = match class.strip_suffix("1D") {
        Some(name) => (name, 1),
        None => class.strip_suffix("2D").map_or((class, 0), |name| (name, 2)),
    };
    match name {
        "MaxPooling" if n > 0 => pooling(settings, Pool::Max, n),
        "AveragePooling" if n > 0 => pooling(settings, Pool::Average, n),
        "GlobalMaxPooling" if n > 0 => Ok(global(settings, Pool::Max, n)),
        "GlobalAveragePooling" if n > 0 => Ok(global(settings, Pool::Average, n)),
        "UpSampling" if n > 0 => {
            settings.only("interpolation", &[Value::from("nearest")])?;
            Ok(Layer::UpSampling { size: settings.numbers("size", n)? })
        }
        "ZeroPadding" if n > 0 => Ok(Layer::ZeroPadding { amounts: settings.pairs("padding", n)? }),
        "Cropping" if n > 0 => Ok(Layer::Cropping { amounts: settings.pairs("cropping", n)? }),
        "Concatenate" => Ok(Layer::Concatenate { axis: settings.axis(axes)? }),
        "Add" => Ok(Layer::Add),
        "Flatten" => Ok(Layer::Flatten),
        "Reshape" => Ok(Layer::Reshape { shape: settings.target_shape()? }),
        "RepeatVector" => Ok(Layer::RepeatVector { times: settings.number("n")? }),
        "Lambda" => Err("it holds code, and nothing of a file is executed".into()),
        _ => Err("this class of layer is not supported".into()),
    }
}

fn pooling(settings: &Settings<'_>, kind: Pool, axes: usize) -> Result<Layer, String> {
    let size = settings.numbers("pool_size", axes)?;
    let strides = match &settings.0["strides"] {
        Value::Null => size.clone(),
        _ => settings.numbers("strides", axes)?,
    };
    Ok(Layer::Pooling { kind, size, strides, padding: padding(settings)? })
}

fn global(settings: &Settings<'_>, kind: Pool, axes: usize) -> Layer {
    Layer::GlobalPooling { kind, axes, keep: settings.flag("keepdims", false) }
}
