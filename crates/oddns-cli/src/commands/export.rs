//! `oddns export`.

use std::path::Path;

use anyhow::Context;
use oddns::network::{decode_graph, encode_safetensors};
use oddns_store::write_atomically;
use serde_json::json;

use crate::args::{Export, Output};
use crate::exit::BadInput;
use crate::{model_file, output};

pub(crate) fn run(args: &Export) -> anyhow::Result<()> {
    for path in args.onnx.iter().chain(&args.safetensors) {
        model_file::check_writable(path)?;
    }
    let detector = model_file::read(&args.model)?;
    let shown = || format!("`{}`", args.model.display());
    let mut written = Vec::new();
    if let Some(path) = &args.onnx {
        written.push(write(path, &detector.encode_onnx().with_context(shown)?)?);
    }
    if let Some(path) = &args.safetensors {
        if !detector.kind().has_network() {
            let reason = format!("{}: `{}` has no network to export", shown(), detector.kind());
            return Err(BadInput(reason).into());
        }
        let (graph, _) = decode_graph(&detector.encode()?).with_context(shown)?;
        written.push(write(path, &encode_safetensors(&graph))?);
    }
    match args.output.output {
        Output::Json => output::json(&json!({"written": written})),
        Output::Text => written.iter().for_each(|path| output::line(format!("wrote `{path}`"))),
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<String> {
    write_atomically(path, bytes)?;
    Ok(path.display().to_string())
}
