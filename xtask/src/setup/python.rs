//! Python environments, each pinned by a requirements file of this crate.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Cache, ensure};
use crate::process;

/// One virtual environment of the cache.
#[derive(Debug)]
pub(super) struct Venv {
    /// Its folder in the cache.
    name: &'static str,
    /// Lines `package==version`, all packages it needs included.
    requirements: &'static str,
    /// Further options of pip.
    options: &'static [&'static str],
}

/// The real Keras, to read and predict with the models we write.
pub(super) const KERAS: Venv = Venv {
    name: "keras-3",
    requirements: include_str!("../../requirements-keras.txt"),
    options: &[],
};

/// Libraries to time beside our network. PyTorch asks for gigabytes of GPU libraries that are left
/// out; everything else that is needed stands in the requirements.
pub(super) const MODEL_PEERS: Venv = Venv {
    name: "model-peers",
    requirements: include_str!("../../requirements-model-peers.txt"),
    options: &["--no-deps"],
};

/// What the Python package is tested with, and what builds its wheel.
pub(super) const PYTHON: Venv = Venv {
    name: "python",
    requirements: include_str!("../../requirements-python.txt"),
    options: &[],
};

/// DuckDB and Arrow, to read the Parquet files that we write.
pub(super) const PARQUET_PEERS: Venv = Venv {
    name: "parquet-peers",
    requirements: include_str!("../../requirements-parquet-peers.txt"),
    options: &[],
};

/// axe-core, which looks for what keeps people out of a page. Of its package only that file is used, and
/// nothing that the rest of it needs.
pub(super) const AXE: Venv = Venv {
    name: "axe",
    requirements: include_str!("../../requirements-axe.txt"),
    options: &["--no-deps"],
};

/// schemathesis, which asks our API all sorts of questions that its description allows, and some that
/// it does not.
pub(super) const SCHEMATHESIS: Venv = Venv {
    name: "schemathesis",
    requirements: include_str!("../../requirements-schemathesis.txt"),
    options: &[],
};

/// typos and taplo: compiled programs that PyPI carries for every platform, so that nobody has to
/// build them.
pub(super) const LINT: Venv =
    Venv { name: "lint", requirements: include_str!("../../requirements-lint.txt"), options: &[] };

/// Where a program lies of the environment for the Python package.
pub(crate) fn program(cache: &Cache, name: &str) -> PathBuf {
    PYTHON.program(cache, name)
}

/// A copy of the requirements inside the environment, written last: what it says is installed.
const STAMP: &str = "requirements.txt";

impl Venv {
    /// Where a program of the environment lies.
    pub(super) fn program(&self, cache: &Cache, program: &str) -> PathBuf {
        cache.entry(self.name).join("bin").join(program)
    }

    /// Why the environment has to be made, or nothing when it is as the requirements say.
    fn missing(&self, folder: &Path) -> Option<String> {
        if !folder.join("bin/python").is_file() {
            return Some(format!("`{}` is not there", folder.display()));
        }
        let stamp = fs::read_to_string(folder.join(STAMP));
        let differs = !stamp.is_ok_and(|installed| installed == self.requirements);
        differs.then(|| format!("`{}` has other versions than are pinned", folder.display()))
    }
}

pub(super) fn install(cache: &Cache, venv: &Venv) -> Result<()> {
    let folder = cache.entry(venv.name);
    let reason = venv.missing(&folder);
    ensure(&format!("Python environment `{}`", venv.name), reason, || {
        check_python()?;
        // In place and not by renaming: an environment's programs hold its own path.
        process::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        let pinned = tempfile::Builder::new().suffix(".txt").tempfile()?;
        fs::write(pinned.path(), venv.requirements)?;
        let mut pip = Command::new(venv.program(cache, "python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        pip.args(venv.options);
        // A package without a wheel for this platform is a plain message, not a failed build.
        process::run(pip.args(["--only-binary=:all:", "--requirement"]).arg(pinned.path()))?;
        fs::write(folder.join(STAMP), venv.requirements).context("cannot finish the environment")
    })
}

fn check_python() -> Result<()> {
    let version = "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))";
    if process::run(Command::new("python3").args(["-c", version])).is_err() {
        bail!("`python3` is not on `PATH`, older than 3.11, or without venv: install Python 3.11");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(folder: &Path, requirements: &str) {
        fs::create_dir_all(folder.join("bin")).unwrap();
        fs::write(folder.join("bin/python"), "").unwrap();
        fs::write(folder.join(STAMP), requirements).unwrap();
    }

    #[test]
    fn an_environment_is_made_again_when_a_pin_changes() {
        let folder = tempfile::tempdir().unwrap();
        let old = Venv { name: "x", requirements: "keras==3.0.0\n", options: &[] };
        let new = Venv { name: "x", requirements: "keras==3.1.0\n", options: &[] };
        fake(folder.path(), old.requirements);
        assert_eq!(old.missing(folder.path()), None);
        assert!(new.missing(folder.path()).unwrap().contains("other versions"));
    }

    #[test]
    fn an_unfinished_environment_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let venv = Venv { name: "x", requirements: "keras==3.0.0\n", options: &[] };
        assert!(venv.missing(folder.path()).unwrap().contains("is not there"));
        fake(folder.path(), venv.requirements);
        fs::remove_file(folder.path().join(STAMP)).unwrap();
        assert!(venv.missing(folder.path()).is_some());
    }

    #[test]
    fn every_requirement_is_pinned_exactly() {
        let all = [KERAS, MODEL_PEERS, PYTHON, PARQUET_PEERS, AXE, SCHEMATHESIS, LINT]
            .map(|venv| venv.requirements);
        for line in all.iter().flat_map(|requirements| requirements.lines()) {
            let (name, version) = line.split_once("==").unwrap_or_default();
            assert!(!name.is_empty() && !version.is_empty(), "`{line}` is no `package==version`");
        }
    }
}
