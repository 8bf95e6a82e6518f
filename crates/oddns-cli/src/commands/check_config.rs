//! `oddns check-config`.

use anyhow::Context;
use oddns_serve::{Config, check_config};
use serde_json::json;

use crate::args::{CheckConfig, Output};
use crate::exit::BadInput;
use crate::output;

pub(crate) fn run(args: &CheckConfig) -> anyhow::Result<()> {
    let config = read(&args.file)?;
    let file = args.file.display();
    if args.output.output == Output::Json {
        output::json(
            &json!({ "file": file.to_string(), "valid": true, "targets": config.targets.len() }),
        );
    } else {
        output::line(format!("`{file}` is valid: {} target(s)", config.targets.len()));
    }
    Ok(())
}

/// Reads and checks a configuration file.
pub(crate) fn read(path: &std::path::Path) -> anyhow::Result<Config> {
    let file = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| BadInput(format!("cannot read `{file}`: {error}")))?;
    check_config(&text).with_context(|| format!("`{file}`"))
}
