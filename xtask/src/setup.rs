//! Installs what lint and tests need, once per machine.
//!
//! Setup is safe to run at any time: what is in place is left alone, what is missing is installed
//! with a line that says why and how long it took, and two setups at once wait for each other. The
//! lines go to stderr, because the stdout of a bench is for scripts.

mod alertmanager;
mod apt;
mod cache;
mod charts;
mod coredns;
mod model_peers;
mod prometheus;
mod python;
mod sender;
mod textparse;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::ValueEnum;

pub(crate) use cache::Cache;
pub(crate) use coredns::{CURRENT as COREDNS_CURRENT, require as require_coredns};
pub(crate) use model_peers::{ModelPeers, require as require_model_peers};
pub(crate) use python::program as python_program;
pub(crate) use textparse::require as require_textparse;
pub(crate) use tools::{LintTools, require_cargo_fuzz};

/// What is installed together because one task needs all of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Group {
    /// Real servers and libraries to test against: CoreDNS, Prometheus, Keras, DuckDB, Chromium.
    Peers,
    /// Python libraries that the package `oddns` is tested with, and maturin.
    Python,
    /// A current Prometheus, for tests that use it where it is there; takes ten minutes to build.
    CurrentPrometheus,
    /// The releases of CoreDNS that no test needs, for the lab: ten minutes to build.
    Releases,
    /// The tools of `cargo xtask lint`.
    Lint,
}

impl Group {
    pub(crate) const ALL: [Self; 3] = [Self::Peers, Self::Python, Self::Lint];
}

/// Installs what `groups` lack and returns the cache they lie in.
///
/// # Errors
/// When something is missing that setup may not or cannot install; the message says what to do.
pub(crate) fn run(groups: &[Group]) -> Result<Cache> {
    let cache = Cache::open()?;
    let _lock = cache.lock()?;
    let start = Instant::now();
    for group in groups {
        match group {
            Group::Peers => peers(&cache)?,
            Group::Python => python::install(&cache, &python::PYTHON)?,
            Group::CurrentPrometheus => prometheus::install(&cache)?,
            Group::Releases => releases(&cache)?,
            Group::Lint => lint(&cache)?,
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("setup: all in place in `{}` ({seconds:.1} s)", cache.root().display());
    Ok(cache)
}

// Ordered so that whatever may stop for a missing program stops before minutes are spent.
fn peers(cache: &Cache) -> Result<()> {
    coredns::check_go(cache, &coredns::VERSIONS)?;
    apt::install(apt::PEERS)?;
    sender::install(cache)?;
    alertmanager::install(cache)?;
    charts::install(cache)?;
    python::install(cache, &python::KERAS)?;
    python::install(cache, &python::PARQUET_PEERS)?;
    python::install(cache, &python::AXE)?;
    python::install(cache, &python::SCHEMATHESIS)?;
    for version in coredns::VERSIONS {
        coredns::install(cache, version)?;
    }
    textparse::install(cache)
}

/// Every release that a scenario of the lab may name.
fn releases(cache: &Cache) -> Result<()> {
    coredns::check_go(cache, &coredns::RELEASES)?;
    coredns::RELEASES.into_iter().try_for_each(|version| coredns::install(cache, version))
}

fn lint(cache: &Cache) -> Result<()> {
    apt::install(apt::LINT)?;
    python::install(cache, &python::LINT)?;
    tools::install(cache)
}

/// Runs `install` when `reason` says why it is needed; announces both ends.
fn ensure(name: &str, reason: Option<String>, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let Some(reason) = reason else {
        eprintln!("setup: {name}: in place");
        return Ok(());
    };
    eprintln!("setup: {name}: installing, {reason}");
    let start = Instant::now();
    install().with_context(|| format!("cannot set up {name}"))?;
    eprintln!("setup: {name}: done in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Installs Prometheus with its `promtool` where they are missing.
///
/// # Errors
/// As [`run`].
pub(crate) fn require_prometheus() -> Result<()> {
    apt::install(apt::PROMETHEUS)
}

/// Why `path` has to be made, or nothing when it is there.
fn missing(path: &Path) -> Option<String> {
    (!path.is_file()).then(|| format!("`{}` is not there", path.display()))
}

/// Lets `build` fill a scratch folder, then renames it to `target`, so that an interrupted build
/// leaves nothing that looks finished.
fn publish(target: &Path, build: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let scratch = scratch(target);
    remove(&scratch)?;
    fs::create_dir_all(&scratch)
        .with_context(|| format!("cannot create folder `{}`", scratch.display()))?;
    build(&scratch)?;
    remove(target)?;
    fs::rename(&scratch, target).with_context(|| format!("cannot rename `{}`", scratch.display()))
}

fn scratch(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.partial"))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove folder `{}`", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn what_is_in_place_is_not_installed_again() {
        ensure("thing", None, || bail!("was installed")).unwrap();
    }

    #[test]
    fn a_failed_install_names_the_thing() {
        let error = ensure("thing", Some("it is not there".into()), || bail!("no disk"));
        assert_eq!(format!("{:#}", error.unwrap_err()), "cannot set up thing: no disk");
    }

    #[test]
    fn an_interrupted_build_leaves_nothing_and_the_next_one_replaces_it() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("server-1.0");
        let binary = target.join("server");

        let interrupted = publish(&target, |scratch| {
            fs::write(scratch.join("server"), "half")?;
            bail!("interrupted")
        });
        assert!(interrupted.is_err());
        assert!(missing(&binary).is_some());

        publish(&target, |scratch| Ok(fs::write(scratch.join("server"), "whole")?)).unwrap();
        assert_eq!(missing(&binary), None);
        assert_eq!(fs::read_to_string(&binary).unwrap(), "whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "scratch folder is gone");
    }

    #[test]
    fn publishing_replaces_a_folder_that_lacks_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("server-1.0");
        fs::create_dir(&target).unwrap();
        publish(&target, |scratch| Ok(fs::write(scratch.join("server"), "")?)).unwrap();
        assert!(target.join("server").is_file());
    }
}
