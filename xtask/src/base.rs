//! Makes the base models that the program brings along, out of simulated servers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::process;
use crate::workspace::Workspace;

/// Where they lie in the repository.
const FOLDER: &str = "crates/oddns-cli/data/base";

/// A base model, and what it learns from.
struct Base {
    name: &'static str,
    /// A scenario that comes with the program, and how much of it.
    scenario: &'static str,
    length: &'static str,
}

const BASES: [Base; 2] = [
    Base { name: "every-1s", scenario: "recorded", length: "50m" },
    Base { name: "every-15s", scenario: "cluster", length: "2d" },
];

/// How to make the base models.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The program; built for release when left out.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Makes all of them anew, the same bytes each time.
///
/// # Errors
/// When the program cannot be built, or simulates or learns nothing; the files of before stay then.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::find()?;
    let oddns = match &options.binary {
        Some(binary) => std::path::absolute(binary)?,
        None => build(&workspace)?,
    };
    let folder = workspace.root.join(FOLDER);
    for base in &BASES {
        let scratch = tempfile::tempdir().context("cannot make a scratch folder")?;
        base.make(&oddns, scratch.path())?;
        let made = scratch.path().join("base.keras.gz");
        let place = folder.join(format!("{}.keras.gz", base.name));
        let n_bytes = fs::copy(&made, &place)
            .with_context(|| format!("cannot write `{}`", place.display()))?;
        println!("{}: {} KiB", place.display(), n_bytes / 1024);
    }
    Ok(())
}

/// The program needs base models to be built: those of before are in it, and not used here.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = process::cargo();
    cargo.args(["build", "--release", "--package", "oddns-cli"]).current_dir(&workspace.root);
    process::run(&mut cargo)?;
    Ok(workspace.target.join("release/oddns"))
}

impl Base {
    fn make(&self, oddns: &Path, folder: &Path) -> Result<()> {
        let oddns = || {
            let mut oddns = Command::new(oddns);
            oddns.current_dir(folder).stdout(Stdio::null());
            oddns
        };
        let simulate =
            ["simulate", "--scenario", self.scenario, "--for", self.length, "--out", "simulated"];
        process::run(oddns().args(simulate))?;
        process::run(oddns().args(["train", "--data", "simulated", "--out", "base.keras"]))?;
        // Without the time, so that the same model has the same bytes.
        process::run(Command::new("gzip").args(["-9", "-n", "base.keras"]).current_dir(folder))
    }
}
