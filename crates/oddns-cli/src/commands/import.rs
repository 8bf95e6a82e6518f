//! `oddns import`.

use oddns::network::graph::{Graph, Node};
use oddns::network::{decode_graph, decode_onnx, encode_plain};
use oddns_store::write_atomically;
use serde_json::{Value, json};

use crate::args::{Import, Output};
use crate::{model_file, output};

pub(crate) fn run(args: &Import) -> anyhow::Result<()> {
    model_file::check_writable(&args.out)?;
    let graph = read(args)?;
    write_atomically(&args.out, &encode_plain(&graph)?)?;
    let layers: Vec<Value> =
        graph.nodes().iter().enumerate().map(|(at, node)| layer(&graph, at, node)).collect();
    if args.output.output == Output::Json {
        output::json(&json!({
            "network": args.out.display().to_string(),
            "parameters": graph.n_parameters(),
            "layers": layers,
        }));
        return Ok(());
    }
    for layer in &layers {
        let word = |key: &str| layer[key].as_str().unwrap_or_default();
        output::line(format!("  {:<24} {:<24} {}", word("name"), word("class"), layer["shape"]));
    }
    let n = layers.len();
    output::line(format!(
        "{n} layers, {} weights; wrote `{}`",
        graph.n_parameters(),
        args.out.display()
    ));
    Ok(())
}

/// A zip is a `.keras` file, anything else ONNX.
fn read(args: &Import) -> anyhow::Result<Graph> {
    let bytes = model_file::read_bytes(&args.file)?;
    let graph = match bytes.starts_with(b"PK") {
        true => decode_graph(&bytes).map(|(graph, _)| graph),
        false => decode_onnx(&bytes),
    };
    graph.map_err(|error| model_file::refused(&args.file, error).into())
}

fn layer(graph: &Graph, at: usize, node: &Node) -> Value {
    let n_weights: usize = graph.weights(at).iter().map(|(_, values)| values.len()).sum();
    json!({
        "name": node.name(),
        "class": node.layer().class(),
        "shape": node.output(),
        "weights": n_weights,
    })
}
