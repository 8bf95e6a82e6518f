//! `oddns check-config`.

use std::path::Path;

use anyhow::Context;
use oddns_serve::{Config, ConfigError, review_config, with_environment};
use serde_json::{Value, json};

use crate::args::{CheckConfig, Output};
use crate::exit::{self, BadInput};
use crate::output;

pub(crate) fn run(args: &CheckConfig) -> anyhow::Result<()> {
    let checked = review(&args.file)?;
    let checked = checked.and_then(|config| Ok((config.check_files()?, config)));
    let is_json = args.output.output == Output::Json;
    match checked {
        Ok((warnings, config)) if is_json => tell_json(&args.file, &warnings, &config),
        Ok((warnings, config)) => tell(&args.file, &warnings, &config),
        Err(mistakes) => {
            if is_json {
                let file = args.file.display().to_string();
                let errors: Vec<Value> = mistakes.iter().map(as_json).collect();
                output::json(&json!({ "file": file, "valid": false, "errors": errors }));
            }
            return refuse(&args.file, mistakes);
        }
    }
    Ok(())
}

fn tell(path: &Path, warnings: &[ConfigError], config: &Config) {
    let file = path.display();
    for unused in config.unused() {
        say("note", path, unused);
    }
    for warning in config.warnings().iter().chain(warnings) {
        say("warning", path, warning);
    }
    let more = match config.n_discoveries() {
        0 => String::new(),
        n => format!(", and {n} way(s) to find more"),
    };
    output::line(format!("`{file}` is valid: {} target(s){more}", config.n_targets()));
}

fn tell_json(path: &Path, warnings: &[ConfigError], config: &Config) {
    let texts = |found: &[ConfigError]| found.iter().map(ToString::to_string).collect::<Vec<_>>();
    let warnings = [texts(config.warnings()), texts(warnings)].concat();
    output::json(&json!({
        "file": path.display().to_string(), "valid": true,
        "targets": config.n_targets(), "discoveries": config.n_discoveries(),
        "warnings": warnings, "unused": texts(config.unused()),
    }));
}

fn as_json(mistake: &ConfigError) -> Value {
    json!({ "line": mistake.line, "column": mistake.column, "message": mistake.message })
}

/// Tells every mistake; the last one ends the program.
fn refuse<T>(path: &Path, mut mistakes: Vec<ConfigError>) -> anyhow::Result<T> {
    let last = mistakes.pop().context("a configuration is refused without a reason")?;
    for mistake in &mistakes {
        exit::tell_mistake(&format!("`{}`: {mistake}", path.display()));
    }
    Err(last).with_context(|| format!("`{}`", path.display()))
}

#[expect(clippy::print_stderr, reason = "not part of the answer")]
fn say(what: &str, path: &Path, found: &ConfigError) {
    eprintln!("{what}: `{}`: {found}", path.display());
}

fn review(path: &Path) -> anyhow::Result<Result<Config, Vec<ConfigError>>> {
    let file = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| BadInput(format!("cannot read `{file}`: {error}")))?;
    let whole = with_environment(&text, |name| std::env::var(name).ok());
    let folder = path.parent().unwrap_or(Path::new(""));
    Ok(whole.and_then(|text| review_config(&text, folder)))
}

/// Reads and checks a configuration file, but not the files that it names.
pub(crate) fn read(path: &Path) -> anyhow::Result<Config> {
    review(path)?.or_else(|mistakes| refuse(path, mistakes))
}
