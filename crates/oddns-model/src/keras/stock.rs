//! `config.json` of a general network: stock layers to JSON.
//!
//! Only the settings that decide what a layer computes are written; Keras fills in the rest.

use serde_json::{Map, Value, json};

use crate::graph::{Activation, Convolution, Dimensions, Graph, Layer, Node, Padding};

/// The text of `config.json`.
pub(super) fn describe(graph: &Graph) -> Value {
    let layers: Vec<_> = graph.nodes.iter().map(|node| describe_node(graph, node)).collect();
    json!({
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {
            "name": graph.name,
            "trainable": true,
            "layers": layers,
            "input_layers": references(graph, &graph.inputs),
            "output_layers": references(graph, &graph.outputs),
        },
        "registered_name": "Functional",
        "build_config": {"input_shape": null},
        "compile_config": {},
    })
}

/// One node alone, several as a list.
fn references(graph: &Graph, places: &[usize]) -> Value {
    let names = places.iter().map(|at| json!([graph.nodes[*at].name, 0, 0]));
    let names: Vec<Value> = names.collect();
    match names.as_slice() {
        [one] => one.clone(),
        many => json!(many),
    }
}

fn with_batch(shape: &Dimensions) -> Value {
    let sizes = shape.iter().map(|size| json!(size));
    [Value::Null].into_iter().chain(sizes).collect()
}

fn describe_node(graph: &Graph, node: &Node) -> Value {
    let mut settings = settings(&node.layer);
    settings.insert("name".into(), json!(node.name));
    if node.layer != Layer::Activation(Activation::GeluTanh) && !is_input(node) {
        settings.insert("trainable".into(), json!(node.trainable));
        settings.insert("dtype".into(), json!("float32"));
    }
    let inputs: Vec<&Node> = node.inputs.iter().map(|at| &graph.nodes[*at]).collect();
    let mut described = json!({
        "module": module(&node.layer),
        "class_name": node.layer.class(),
        "config": settings,
        "registered_name": registered_name(&node.layer),
        "name": node.name,
        "inbound_nodes": inbound(&inputs, &node.layer),
    });
    if !node.weights.is_empty() {
        let shapes: Vec<_> = inputs.iter().map(|input| with_batch(&input.output)).collect();
        described["build_config"] = json!({"input_shape": shapes.first()});
    }
    described
}

fn is_input(node: &Node) -> bool {
    matches!(node.layer, Layer::Input { .. })
}

fn module(layer: &Layer) -> &'static str {
    match layer {
        Layer::Activation(Activation::GeluTanh) => "keras.src.ops.nn",
        _ => "keras.layers",
    }
}

fn registered_name(layer: &Layer) -> Value {
    match layer {
        Layer::Activation(Activation::GeluTanh) => json!("Gelu"),
        _ => Value::Null,
    }
}

fn inbound(inputs: &[&Node], layer: &Layer) -> Value {
    let tensor = |node: &&Node| {
        json!({"class_name": "__keras_tensor__", "config": {
            "shape": with_batch(&node.output),
            "dtype": "float32",
            "keras_history": [node.name, 0, 0],
        }})
    };
    let tensors: Vec<_> = inputs.iter().map(tensor).collect();
    match layer {
        Layer::Input { .. } => json!([]),
        Layer::Add | Layer::Concatenate { .. } => json!([{"args": [tensors], "kwargs": {}}]),
        _ => json!([{"args": tensors, "kwargs": {}}]),
    }
}

fn settings(layer: &Layer) -> Map<String, Value> {
    let settings = match layer {
        Layer::Input { shape } => json!({
            "batch_shape": with_batch(shape), "dtype": "float32", "sparse": false, "ragged": false,
        }),
        Layer::Convolution(convolution) => convolve(convolution),
        Layer::Dense { units, bias, activation } => json!({
            "units": units, "use_bias": bias, "activation": activate(*activation),
        }),
        Layer::Activation(Activation::LeakyRelu { slope }) => json!({"negative_slope": slope}),
        Layer::Activation(Activation::Elu { alpha }) => json!({"alpha": alpha}),
        Layer::Activation(Activation::GeluTanh) => json!({"approximate": true}),
        Layer::Activation(activation) => json!({"activation": activate(*activation)}),
        Layer::BatchNormalization { momentum, epsilon, center, scale } => json!({
            "axis": -1, "momentum": momentum, "epsilon": epsilon, "center": center, "scale": scale,
        }),
        Layer::LayerNormalization { epsilon, center, scale } => json!({
            "axis": -1, "epsilon": epsilon, "center": center, "scale": scale,
        }),
        Layer::Dropout { rate } => json!({"rate": rate, "seed": null, "noise_shape": null}),
        Layer::Pooling { size, strides, padding: at_ends, .. } => json!({
            "pool_size": size, "strides": strides, "padding": padding(*at_ends),
            "data_format": "channels_last",
        }),
        Layer::GlobalPooling { keep, .. } => {
            json!({"data_format": "channels_last", "keepdims": keep})
        }
        Layer::UpSampling { size } => match size.as_slice() {
            [size] => json!({"size": size}),
            sizes => json!({
                "size": sizes, "data_format": "channels_last", "interpolation": "nearest",
            }),
        },
        Layer::ZeroPadding { amounts } => json!({"padding": pairs(amounts)}),
        Layer::Cropping { amounts } => json!({"cropping": pairs(amounts)}),
        Layer::Concatenate { axis } => json!({"axis": axis + 1}),
        Layer::Reshape { shape } => {
            let size = |size: &Option<usize>| size.map_or(json!(-1), |size| json!(size));
            json!({"target_shape": shape.iter().map(size).collect::<Vec<_>>()})
        }
        Layer::RepeatVector { times } => json!({"n": times}),
        Layer::Add | Layer::Flatten => json!({}),
    };
    settings.as_object().cloned().unwrap_or_default()
}

/// One axis is a pair, two are a list of pairs.
fn pairs(amounts: &[(usize, usize)]) -> Value {
    match amounts {
        [one] => json!(one),
        many => json!(many),
    }
}

fn convolve(layer: &Convolution) -> Value {
    let mut settings = json!({
        "filters": layer.filters, "kernel_size": layer.kernel, "strides": layer.strides,
        "padding": padding(layer.padding), "data_format": "channels_last",
        "dilation_rate": layer.dilation, "activation": activate(layer.activation),
        "use_bias": layer.bias,
    });
    if layer.transposed {
        settings["output_padding"] = Value::Null;
    } else {
        settings["groups"] = json!(1);
    }
    settings
}

fn padding(padding: Padding) -> &'static str {
    match padding {
        Padding::Valid => "valid",
        Padding::Same => "same",
        Padding::Causal => "causal",
    }
}

/// The activation of a layer: a name, or a layer of its own where the name means other numbers.
fn activate(activation: Activation) -> Value {
    let layer = |class: &str, config: Value| {
        json!({
            "module": "keras.layers", "class_name": class, "config": config,
            "registered_name": null,
        })
    };
    match activation {
        Activation::Linear => json!("linear"),
        Activation::Relu => json!("relu"),
        Activation::LeakyRelu { slope: 0.2 } => json!("leaky_relu"),
        Activation::LeakyRelu { slope } => layer("LeakyReLU", json!({"negative_slope": slope})),
        Activation::Elu { alpha: 1.0 } => json!("elu"),
        Activation::Elu { alpha } => layer("ELU", json!({"alpha": alpha})),
        Activation::Gelu | Activation::GeluTanh => json!("gelu"),
        Activation::Sigmoid => json!("sigmoid"),
        Activation::Tanh => json!("tanh"),
        Activation::Softplus => json!("softplus"),
        Activation::Silu => json!("silu"),
        Activation::Softmax => json!("softmax"),
    }
}
