//! The program without shared libraries: one file for images and packages of any distribution.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::process;
use crate::workspace::Workspace;

/// The C library is part of the program too. That of GNU resolves names without help from 2.34 on.
const FLAGS: &str = "-C target-feature=+crt-static";

/// Builds `oddns` for release, into a folder of its own: other builds keep theirs.
///
/// # Errors
/// When cargo fails.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf> {
    let host = host()?;
    let folder = workspace.target.join("static");
    let mut cargo = process::cargo();
    cargo.args(["build", "--release", "--locked", "--package", "oddns-cli", "--target", &host]);
    // Named as a target, so that the flags are for the program and not for macros of the build.
    cargo.arg("--target-dir").arg(&folder).env("RUSTFLAGS", FLAGS);
    process::run(cargo.current_dir(&workspace.root))?;
    Ok(folder.join(host).join("release/oddns"))
}

/// The triple that the compiler builds for by itself.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let told = process::output(std::process::Command::new(rustc).arg("-vV"))?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}
