//! The bars of the main job: how fast the demo is, how big the binary, how much memory watching
//! takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::comparison::Comparison;
use super::coredns::Coredns;
use super::{libraries, memory};
use crate::process;
use crate::setup;
use crate::workspace::Workspace;

const WARM_SECONDS: f64 = 30.0;
const COLD_SECONDS: f64 = 12.0 * 60.0;
const BINARY_MIB: f64 = 60.0;
const WATCH_MIB: f64 = 60.0;

const RUNS: usize = 5;
// Two scrapes at the default interval of 15 s, so that whatever is kept between them is counted.
const WATCHED: Duration = Duration::from_secs(20);

/// The release binary on a machine that has built it.
pub(super) fn warm(workspace: &Workspace) -> Result<Vec<Comparison>> {
    let server = setup::require_coredns(setup::COREDNS_CURRENT)?;
    let oddns = build(workspace)?;
    let size = fs::metadata(&oddns)?.len() as f64 / f64::from(1 << 20);
    let foreign = libraries::foreign(&oddns)?;
    if !foreign.is_empty() {
        eprintln!("shared libraries that not every system has: {}", foreign.join(", "));
    }
    Ok(vec![
        Comparison::of_runs("warm demo", demo_seconds(workspace, &oddns)?, "s", WARM_SECONDS),
        Comparison::once("binary size", size, "MiB", BINARY_MIB),
        Comparison::once("foreign shared libraries", foreign.len() as f64, "libraries", 0.0),
        Comparison::once(
            "peak rss of watch",
            watch_mib(workspace, &oddns, &server)?,
            "MiB",
            WATCH_MIB,
        ),
    ])
}

/// A fresh clone with an empty cargo home: downloads, compiles, trains. What is not committed is
/// not in it.
pub(super) fn cold(workspace: &Workspace) -> Result<Vec<Comparison>> {
    let scratch = tempfile::tempdir().context("cannot make a scratch folder")?;
    let clone = scratch.path().join("clone");
    let start = Instant::now();
    process::run(Command::new("git").args(["clone", "--quiet"]).arg(&workspace.root).arg(&clone))?;
    let mut cargo = process::cargo();
    cargo.args(["run", "--quiet", "--release", "--", "demo", "--once"]).current_dir(&clone);
    cargo.env("CARGO_HOME", cargo_home(scratch.path())?).env_remove("CARGO_TARGET_DIR");
    process::run(cargo.stdout(Stdio::null()))?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(vec![Comparison::once("cold demo", seconds, "s", COLD_SECONDS)])
}

/// An empty cargo home but for the user's configuration, which may say where registries are.
fn cargo_home(scratch: &Path) -> Result<PathBuf> {
    let home = scratch.join("cargo-home");
    fs::create_dir(&home).context("cannot make an empty cargo home")?;
    let users = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let users = users.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let config = users.map(|users| users.join("config.toml")).filter(|config| config.is_file());
    if let Some(config) = config {
        fs::copy(config, home.join("config.toml")).context("cannot copy cargo's configuration")?;
    }
    Ok(home)
}

/// The release binary.
pub(super) fn build(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = process::cargo();
    cargo.args(["build", "--release", "--package", "oddns-cli"]).current_dir(&workspace.root);
    process::run(&mut cargo)?;
    Ok(workspace.target.join("release/oddns"))
}

/// Wall time of each run; the first, which warms the page cache, is not among them.
fn demo_seconds(workspace: &Workspace, oddns: &Path) -> Result<Vec<f64>> {
    let mut seconds = Vec::new();
    for _ in 0..=RUNS {
        let mut demo = Command::new(oddns);
        demo.args(["demo", "--once", "--output=json"]).current_dir(&workspace.root);
        let start = Instant::now();
        process::run(demo.stdout(Stdio::null()))?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.remove(0);
    Ok(seconds)
}

/// Peak resident memory while a real server is watched.
fn watch_mib(workspace: &Workspace, oddns: &Path, server: &Path) -> Result<f64> {
    let scratch = tempfile::tempdir().context("cannot make a scratch folder")?;
    let model = scratch.path().join("model.keras");
    let mut train = Command::new(oddns);
    // One epoch: the size of a model does not depend on how well it is trained.
    train.args(["train", "--epochs", "1", "--data"]).arg(recording(&workspace.root)?);
    process::run(train.arg("--out").arg(&model).stdout(Stdio::null()))?;

    let coredns = Coredns::start(server, scratch.path())?;
    let mut watch = Command::new(oddns);
    watch.args(["watch", "--target", &coredns.metrics_url(), "--model"]).arg(&model);
    watch.args(["--web.listen-address", "127.0.0.1:0"]).current_dir(scratch.path());
    let watch = watch.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let mut watch = Running(watch.context("cannot start `oddns watch`")?);
    std::thread::sleep(WATCHED);
    if let Some(status) = watch.0.try_wait()? {
        bail!("`oddns watch` ended too early, with {status}");
    }
    memory::peak_mib(watch.0.id())
}

/// The bundled recording: the data set that lies in a crate.
fn recording(root: &Path) -> Result<PathBuf> {
    for krate in fs::read_dir(root.join("crates"))? {
        let Ok(data) = fs::read_dir(krate?.path().join("data")) else { continue };
        for folder in data {
            let folder = folder?.path();
            if folder.join("dataset.json").is_file() {
                return Ok(folder);
            }
        }
    }
    bail!("no folder `crates/*/data/*` holds a `dataset.json`, so there is nothing to train on")
}

/// A child that ends with us, whatever happens in between.
#[derive(Debug)]
pub(super) struct Running(pub(super) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when the child is gone already, which is what we want.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recording_is_found_by_its_description() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("crates/oddns-cli/data/demo");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(root.path().join("crates/oddns-core/src")).unwrap();
        assert!(recording(root.path()).unwrap_err().to_string().contains("dataset.json"));
        fs::write(folder.join("dataset.json"), "{}").unwrap();
        assert_eq!(recording(root.path()).unwrap(), folder);
    }

    #[test]
    fn a_running_child_ends_with_its_guard() {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let entry = PathBuf::from(format!("/proc/{}", child.id()));
        assert!(entry.exists());
        drop(Running(child));
        assert!(!entry.exists());
    }
}
