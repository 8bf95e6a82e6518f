//! The program that the pages are about.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The root folder of the repository.
pub(crate) fn root() -> PathBuf {
    // Asked at run time: checkouts that share a build folder also share this program.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR");
    let manifest = manifest.unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    Path::new(&manifest).join("..")
}

/// Builds `oddns`, which is nearly always built already, and says where it is. Outputs for pages come
/// from a `release` build, because they tell how long things take.
pub(crate) fn oddns(release: bool) -> Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--package=oddns-cli", "--bin=oddns", "--message-format=json"]);
    if release {
        cargo.arg("--release");
    }
    let output = cargo.current_dir(root()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("`cargo build --package=oddns-cli` failed");
    }
    let messages = String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut executables =
        messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    executables.next_back().context("cargo named no executable")
}
