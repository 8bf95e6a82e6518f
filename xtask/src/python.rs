//! The Python package: its tests, and the wheel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::setup::{self, Cache, Group};
use crate::workspace::Workspace;

/// The crate, from the root.
const PACKAGE: &str = "crates/oddns-py";
/// Most bytes of a wheel.
const MOST_BYTES: u64 = 20 << 20;

/// Runs pytest on the package, built as all tests are. Laid out instead of packed into a wheel, so
/// that nothing has to be compiled a second time.
///
/// # Errors
/// When it cannot be built, or a test fails.
pub(crate) fn test(cache: &Cache) -> Result<()> {
    let package = lay_out(&Workspace::find()?, Profile::Debug)?;
    pytest(cache, &setup::python_program(cache, "python"), Some(&package))
}

/// Builds the release wheel into `target/wheels`, installs it into a new environment beside NumPy
/// alone, runs the tests that need no more, and prints its size.
///
/// # Errors
/// When any of that fails, or the wheel is too large.
pub(crate) fn wheel() -> Result<()> {
    let cache = setup::run(&[Group::Python])?;
    let wheel = build(&cache)?;
    let bytes = fs::metadata(&wheel)?.len();
    let (name, size) = (wheel.display(), bytes as f64 / f64::from(1 << 20));
    println!("{name}: {size:.1} MiB");
    if bytes > MOST_BYTES {
        bail!("the wheel has {bytes} bytes, more than {MOST_BYTES}");
    }
    let clean = tempfile::tempdir()?;
    let folder = clean.path().join("clean");
    process::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let python = folder.join("bin/python");
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pytest"]);
    process::run(pip.arg(&wheel))?;
    pytest(&cache, &python, None)
}

/// Builds the release wheel.
pub(crate) fn build(cache: &Cache) -> Result<PathBuf> {
    let workspace = Workspace::find()?;
    let out = workspace.target.join("wheels");
    if out.is_dir() {
        fs::remove_dir_all(&out)?;
    }
    let mut maturin = Command::new(setup::python_program(cache, "maturin"));
    maturin.args(["build", "--release", "--out"]).arg(&out).arg("--interpreter");
    maturin.arg(setup::python_program(cache, "python"));
    process::run(maturin.current_dir(workspace.root.join(PACKAGE)))?;
    let wheel = fs::read_dir(&out)?.next().context("maturin built no wheel")??;
    Ok(wheel.path())
}

/// How the package is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As tests are: with the whole workspace, whose features they were built with.
    Debug,
    /// As the wheel is.
    Release,
}

impl Profile {
    fn folder(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Debug => &["build", "--workspace", "--lib"],
            Self::Release => &["build", "--release", "--package", "oddns-py"],
        }
    }
}

/// The package as it would be installed, in a folder for `PYTHONPATH`.
///
/// # Errors
/// When it cannot be built or copied.
pub(crate) fn lay_out(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    let mut cargo = process::cargo();
    cargo.args(profile.arguments());
    process::run(cargo.current_dir(&workspace.root))?;
    let folder = workspace.target.join("python").join(profile.folder());
    if folder.is_dir() {
        fs::remove_dir_all(&folder)?;
    }
    let package = folder.join("oddns");
    fs::create_dir_all(&package)?;
    for entry in fs::read_dir(workspace.root.join(PACKAGE).join("python/oddns"))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), package.join(entry.file_name()))?;
        }
    }
    let library = workspace.target.join(profile.folder()).join("lib_oddns.so");
    fs::copy(&library, package.join("_oddns.abi3.so"))
        .with_context(|| format!("cannot copy `{}`", library.display()))?;
    Ok(folder)
}

fn pytest(cache: &Cache, python: &Path, package: Option<&Path>) -> Result<()> {
    let workspace = Workspace::find()?;
    let mut pytest = Command::new(python);
    pytest.args(["-m", "pytest", "--quiet", "-p", "no:cacheprovider"]);
    pytest.env("ODDNS_PEERS", cache.root()).env("PYTHONDONTWRITEBYTECODE", "1");
    pytest.env_remove("PYTHONPATH");
    // For tests that need the command; it is there after `cargo test`.
    pytest.env("ODDNS_COMMAND", workspace.target.join("debug/oddns"));
    if let Some(package) = package {
        pytest.env("PYTHONPATH", package);
    }
    process::run(pytest.current_dir(workspace.root.join(PACKAGE)))
}
