//! `oddns check-config`.

use std::path::Path;

use anyhow::Context;
use oddns_serve::{Config, check_config};
use serde_json::json;

use crate::args::{CheckConfig, Output};
use crate::exit::BadInput;
use crate::output;

pub(crate) fn run(args: &CheckConfig) -> anyhow::Result<()> {
    let config = read(&args.file)?;
    let file = args.file.display();
    let warnings = config.check_files().with_context(|| format!("`{file}`"))?;
    let (n_targets, n_discoveries) = (config.n_targets(), config.n_discoveries());
    if args.output.output == Output::Json {
        output::json(&json!({
            "file": file.to_string(), "valid": true,
            "targets": n_targets, "discoveries": n_discoveries,
            "warnings": warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }));
        return Ok(());
    }
    for warning in warnings {
        warn(format!("`{file}`: {warning}"));
    }
    let more = match n_discoveries {
        0 => String::new(),
        n => format!(", and {n} way(s) to find more"),
    };
    output::line(format!("`{file}` is valid: {n_targets} target(s){more}"));
    Ok(())
}

#[expect(clippy::print_stderr, reason = "not part of the answer")]
fn warn(text: String) {
    eprintln!("warning: {text}");
}

/// Reads and checks a configuration file, but not the files that it names.
pub(crate) fn read(path: &Path) -> anyhow::Result<Config> {
    let file = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| BadInput(format!("cannot read `{file}`: {error}")))?;
    check_config(&text, path.parent().unwrap_or(Path::new(""))).with_context(|| format!("`{file}`"))
}
