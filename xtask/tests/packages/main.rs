//! Packages and images as they come out: what is in them, and what the tools of their world say.

#![expect(clippy::print_stdout, reason = "a skipped test is told")]

mod deb;
mod image;
#[path = "../docs/program.rs"]
mod program;
mod unit;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Whether a program is there; says in one line that `test` is skipped when not.
fn has(test: &str, program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let has = std::env::split_paths(&folders).any(|folder| folder.join(program).is_file());
    if !has {
        println!("skipped {test}: no `{program}` on PATH");
    }
    has
}

/// What it prints; an error with all that it says when it fails.
fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}:\n{text}{errors}", output.status);
    }
    Ok(text)
}

/// Our own automation, with these words.
fn xtask(words: &[&str], binary: &Path, out: &Path) -> Result<String> {
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    xtask.args(words).arg("--binary").arg(binary).arg("--out").arg(out);
    // The time of every file, so that two packages are the same.
    said(xtask.env("SOURCE_DATE_EPOCH", "1795000000").current_dir(program::root()))
}
