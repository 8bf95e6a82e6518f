//! `config.json`: the network as a Keras functional model, and back.
//!
//! One list of layers, [`layers`], says what the model is; writing prints it, reading compares
//! with it.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::{Config, ModelError};

/// The list is this long at most for any network this engine takes; a foreign model of more layers
/// is refused before it is looked at.
const MAX_LAYERS: usize = 64;

/// One Keras layer.
struct Layer {
    name: String,
    class: &'static str,
    /// The settings that decide what it computes.
    settings: Map<String, Value>,
    /// The layers it reads.
    inbound: Vec<String>,
    /// Channels it gives.
    channels: usize,
}

/// Names of the layers that have weights, in the order of the network's layers.
pub(super) fn weighted_names(config: &Config) -> Vec<String> {
    let mut names = vec!["history_conv".to_owned(), "current".to_owned()];
    names.extend((1..config.dilations.len()).map(|at| format!("context_{at}")));
    names.push("bottleneck".to_owned());
    names.extend((1..=config.decoder.len()).map(|at| format!("decoder_{at}")));
    names.push("prediction".to_owned());
    names.extend(config.linear.then(|| "linear".to_owned()));
    names
}

/// All layers in the order Keras sorts them: by distance from the output, then as here.
fn layers(config: &Config) -> Vec<Layer> {
    let (n, channels) = (config.n_features, config.channels);
    let mut layers = vec![
        input("history", n),
        plain("ZeroPadding1D", "shift_pad", json!({"padding": [1, 0]}), &["history"], n),
        plain("Cropping1D", "shift_crop", json!({"cropping": [0, 1]}), &["shift_pad"], n),
        input("visible", 2 * n),
        conv("history_conv", "shift_crop", channels, config.kernel, 1, "linear"),
        conv("current", "visible", channels, 1, 1, "linear"),
        plain("Add", "join", json!({}), &["history_conv", "current"], channels),
        plain("Activation", "join_gelu", json!({"activation": "gelu"}), &["join"], channels),
    ];
    let names = weighted_names(config);
    let n_dilated = config.dilations.len();
    let mut before = "join_gelu".to_owned();
    let n_stacked = n_dilated + config.decoder.len() + 1;
    for (at, name) in names.into_iter().skip(2).take(n_stacked).enumerate() {
        let layer = if at + 1 < n_dilated {
            conv(&name, &before, channels, config.kernel, config.dilations[at], "gelu")
        } else if at + 1 == n_dilated {
            conv(&name, &before, config.bottleneck, config.kernel, config.dilations[at], "gelu")
        } else if let Some(n_out) = config.decoder.get(at - n_dilated) {
            conv(&name, &before, *n_out, 1, 1, "gelu")
        } else {
            conv(&name, &before, n, 1, 1, "linear")
        };
        layers.push(layer);
        before = name;
    }
    if config.linear {
        layers.push(conv("linear", "shift_crop", n, config.kernel, 1, "linear"));
        layers.push(plain("Add", "output", json!({}), &["prediction", "linear"], n));
    }
    layers
}

/// The layer whose tensor is the output of the model.
fn output(config: &Config) -> &'static str {
    if config.linear { "output" } else { "prediction" }
}

fn plain(
    class: &'static str,
    name: &str,
    settings: Value,
    inbound: &[&str],
    channels: usize,
) -> Layer {
    let settings = settings.as_object().cloned().unwrap_or_default();
    let inbound = inbound.iter().map(|name| (*name).to_owned()).collect();
    Layer { name: name.to_owned(), class, settings, inbound, channels }
}

fn input(name: &str, channels: usize) -> Layer {
    let settings = json!({
        "batch_shape": shape(channels), "dtype": "float32", "sparse": false, "ragged": false,
    });
    plain("InputLayer", name, settings, &[], channels)
}

fn conv(
    name: &str,
    from: &str,
    filters: usize,
    kernel: usize,
    dilation: usize,
    activation: &str,
) -> Layer {
    // Causal and valid are the same for one tap.
    let padding = if kernel == 1 { "valid" } else { "causal" };
    let settings = json!({
        "filters": filters, "kernel_size": [kernel], "strides": [1], "padding": padding,
        "data_format": "channels_last", "dilation_rate": [dilation], "groups": 1,
        "activation": activation, "use_bias": true,
    });
    plain("Conv1D", name, settings, &[from], filters)
}

/// Any batch, any number of rows.
fn shape(channels: usize) -> Value {
    json!([null, null, channels])
}

/// The text of `config.json`.
pub(super) fn describe(config: &Config) -> Value {
    let layers = layers(config);
    let channels: HashMap<_, _> = layers.iter().map(|l| (l.name.as_str(), l.channels)).collect();
    let described: Vec<_> = layers.iter().map(|layer| describe_layer(layer, &channels)).collect();
    json!({
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {
            "name": "oddns",
            "trainable": true,
            "layers": described,
            "input_layers": [["history", 0, 0], ["visible", 0, 0]],
            "output_layers": [output(config), 0, 0],
        },
        "registered_name": "Functional",
        "build_config": {"input_shape": null},
        "compile_config": {},
    })
}

fn describe_layer(layer: &Layer, channels: &HashMap<&str, usize>) -> Value {
    let mut settings = layer.settings.clone();
    settings.insert("name".into(), json!(layer.name));
    let tensor = |name: &String| {
        json!({"class_name": "__keras_tensor__", "config": {
            "shape": shape(channels[name.as_str()]),
            "dtype": "float32",
            "keras_history": [name, 0, 0],
        }})
    };
    let mut described = json!({
        "module": "keras.layers",
        "class_name": layer.class,
        "registered_name": null,
        "name": layer.name,
        "inbound_nodes": [],
    });
    let shapes: Vec<_> = layer.inbound.iter().map(|name| shape(channels[name.as_str()])).collect();
    let tensors: Vec<_> = layer.inbound.iter().map(tensor).collect();
    match tensors.as_slice() {
        [] => {}
        [one] => {
            described["inbound_nodes"] = json!([{"args": [one], "kwargs": {}}]);
            described["build_config"] = json!({"input_shape": shapes[0]});
        }
        many => {
            described["inbound_nodes"] = json!([{"args": [many], "kwargs": {}}]);
            described["build_config"] = json!({"input_shape": shapes});
        }
    }
    described["config"] = Value::Object(settings);
    described
}

/// The shape of the network in `config.json`, and for each layer with weights how many of the same
/// class stand before it in the file: Keras numbers their weights so.
pub(super) fn recognise(text: &str) -> Result<(Config, Vec<usize>), ModelError> {
    let model: Value = serde_json::from_str(text)
        .map_err(|source| ModelError::Text { entry: "config.json", source: source.into() })?;
    let found = model["config"]["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if model["class_name"] != "Functional" || found.is_empty() || found.len() > MAX_LAYERS {
        let name = model["config"]["name"].as_str().unwrap_or("model");
        let problem = format!("a model with {} layers cannot be run", found.len());
        return Err(refused(name, &model, problem));
    }
    refuse_foreign_classes(found)?;
    let by_name: HashMap<&str, &Value> =
        found.iter().filter_map(|layer| Some((layer["name"].as_str()?, layer))).collect();
    let config = read_config(&by_name)?;
    config.check()?;
    compare(&config, found, &by_name)?;
    check_output(&config, &model)?;
    Ok((config.clone(), numbering(&config, found)))
}

fn refused(name: &str, layer: &Value, problem: String) -> ModelError {
    let class = layer["class_name"].as_str().unwrap_or("unknown").to_owned();
    ModelError::Architecture { layer: name.to_owned(), class, problem }
}

fn refuse_foreign_classes(found: &[Value]) -> Result<(), ModelError> {
    const OURS: [&str; 6] =
        ["InputLayer", "ZeroPadding1D", "Cropping1D", "Conv1D", "Add", "Activation"];
    for layer in found {
        if !OURS.iter().any(|class| layer["class_name"] == *class) {
            let name = layer["name"].as_str().unwrap_or("without a name");
            return Err(refused(name, layer, "this class of layer cannot be run".into()));
        }
    }
    Ok(())
}

/// What the layers say about the network's shape; [`compare`] checks the rest.
fn read_config(by_name: &HashMap<&str, &Value>) -> Result<Config, ModelError> {
    let number = |name: &str, pointer: &str| read_number(by_name, name, pointer);
    let mut dilations = Vec::new();
    while by_name.contains_key(format!("context_{}", dilations.len() + 1).as_str()) {
        let name = format!("context_{}", dilations.len() + 1);
        dilations.push(number(&name, "/config/dilation_rate/0")?);
    }
    dilations.push(number("bottleneck", "/config/dilation_rate/0")?);
    let mut decoder = Vec::new();
    while by_name.contains_key(format!("decoder_{}", decoder.len() + 1).as_str()) {
        let name = format!("decoder_{}", decoder.len() + 1);
        decoder.push(number(&name, "/config/filters")?);
    }
    Ok(Config {
        n_features: number("history", "/config/batch_shape/2")?,
        channels: number("history_conv", "/config/filters")?,
        kernel: number("history_conv", "/config/kernel_size/0")?,
        dilations,
        bottleneck: number("bottleneck", "/config/filters")?,
        decoder,
        linear: by_name.contains_key("linear"),
    })
}

fn read_number(
    by_name: &HashMap<&str, &Value>,
    name: &str,
    pointer: &str,
) -> Result<usize, ModelError> {
    let layer = by_name.get(name).ok_or_else(|| missing(name))?;
    let value = layer.pointer(pointer).and_then(Value::as_u64);
    value
        .and_then(|value| usize::try_from(value).ok())
        .ok_or_else(|| refused(name, layer, format!("`{pointer}` is no whole number")))
}

fn missing(name: &str) -> ModelError {
    refused(name, &Value::Null, "there is no such layer".into())
}

/// Refuses a graph that differs from what [`layers`] describes.
fn compare(
    config: &Config,
    found: &[Value],
    by_name: &HashMap<&str, &Value>,
) -> Result<(), ModelError> {
    let expected = layers(config);
    for layer in &expected {
        let found = by_name.get(layer.name.as_str()).ok_or_else(|| missing(&layer.name))?;
        if found["class_name"] != layer.class {
            return Err(refused(&layer.name, found, format!("expected a `{}`", layer.class)));
        }
        for (key, value) in &layer.settings {
            let has = &found["config"][key];
            if has != value {
                return Err(refused(&layer.name, found, format!("`{key}` is {has}, not {value}")));
            }
        }
        if inbound(found) != layer.inbound {
            let problem = format!("it must read `{}`", layer.inbound.join("` and `"));
            return Err(refused(&layer.name, found, problem));
        }
    }
    let known = |layer: &&Value| expected.iter().any(|e| layer["name"] == *e.name);
    match found.iter().find(|layer| !known(layer)) {
        Some(layer) => {
            let name = layer["name"].as_str().unwrap_or("without a name");
            Err(refused(name, layer, "this layer is not expected".into()))
        }
        None => Ok(()),
    }
}

/// Refuses a model that gives what another layer computes. Keras writes the one output as
/// `[name, 0, 0]`, or as a list with that.
fn check_output(config: &Config, model: &Value) -> Result<(), ModelError> {
    let outputs = &model["config"]["output_layers"];
    let found = outputs[0].as_str().or_else(|| outputs[0][0].as_str()).unwrap_or("none");
    let expected = output(config);
    if found == expected {
        return Ok(());
    }
    let problem = format!("the output is `{found}`, not `{expected}`");
    Err(refused(model["config"]["name"].as_str().unwrap_or("model"), model, problem))
}

/// The layers that `layer` reads: one tensor, or a list of them, in its only call.
fn inbound(layer: &Value) -> Vec<String> {
    let name = |tensor: &Value| tensor["config"]["keras_history"][0].as_str().map(str::to_owned);
    let argument = &layer["inbound_nodes"][0]["args"][0];
    match argument {
        Value::Array(tensors) => tensors.iter().filter_map(name).collect(),
        one => name(one).into_iter().collect(),
    }
}

/// For each layer with weights, how many `Conv1D` stand before it.
fn numbering(config: &Config, found: &[Value]) -> Vec<usize> {
    let convs: Vec<_> = found.iter().filter(|layer| layer["class_name"] == "Conv1D").collect();
    let place = |name: &String| convs.iter().position(|layer| layer["name"] == **name);
    weighted_names(config).iter().filter_map(place).collect()
}
