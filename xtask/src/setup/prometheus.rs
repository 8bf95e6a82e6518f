//! A current Prometheus from its Go module, without its web pages and without most of its service
//! discovery.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Cache, ensure, missing, publish};
use crate::process;

const MODULE: &str = "github.com/prometheus/prometheus";
/// Prometheus 3.16.
const VERSION: &str = "v0.316.0";

pub(super) fn install(cache: &Cache) -> Result<()> {
    let folder = cache.entry("prometheus-3");
    let reason = missing(&folder.join("prometheus")).map(|reason| reason + ", takes ten minutes");
    ensure("Prometheus 3", reason, || {
        let module = download(cache)?;
        publish(&folder, |scratch| {
            // `go install` refuses a module with replacements, and its workspace file names
            // modules that are not in it. So a copy is built.
            let source = scratch.join("source");
            process::run(Command::new("cp").arg("-r").arg(&module).arg(&source))?;
            process::run(Command::new("chmod").args(["-R", "u+w"]).arg(&source))?;
            process::run(Command::new("rm").arg("-f").arg(source.join("go.work")))?;
            let mut go = Command::new("go");
            go.args(["build", "-buildvcs=false", "-tags=remove_all_sd", "-o"]);
            go.arg(scratch.join("prometheus")).arg("./cmd/prometheus").env("GOFLAGS", "");
            go.env("CGO_ENABLED", "0").env_remove("GOOS").env_remove("GOARCH");
            process::run(go.current_dir(&source))?;
            std::fs::remove_dir_all(&source).context("cannot remove the copied module")
        })
    })
}

/// Where the module lies in Go's own cache.
fn download(cache: &Cache) -> Result<PathBuf> {
    let mut go = Command::new("go");
    go.args(["mod", "download", "-json", &format!("{MODULE}@{VERSION}")]);
    let output = go.current_dir(cache.root()).output().context("cannot run `go`")?;
    let answer: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("`go mod download` gave no JSON")?;
    let folder = answer["Dir"].as_str().context("`go mod download` names no folder")?;
    Ok(folder.into())
}
