//! PyTorch, Keras on TensorFlow, and onnxruntime, to time beside our network.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::python::MODEL_PEERS;
use super::{Cache, ensure, missing, publish, python};
use crate::process;

/// Makes stand-ins for GPU libraries, see there.
const STAND_INS: &str = include_str!("gpu_stand_ins.py");

/// A Python that imports all of them.
#[derive(Debug)]
pub(crate) struct ModelPeers {
    python: PathBuf,
    libraries: OsString,
}

impl ModelPeers {
    /// The interpreter, ready for its arguments.
    pub(crate) fn python(&self) -> Command {
        let mut command = Command::new(&self.python);
        command.env("LD_LIBRARY_PATH", &self.libraries);
        command
    }
}

/// Installs them when they are not there; about 3 GB, so that only a bench does it.
pub(crate) fn require() -> Result<ModelPeers> {
    let cache = Cache::open()?;
    let _lock = cache.lock()?;
    python::install(&cache, &MODEL_PEERS)?;
    let python = MODEL_PEERS.program(&cache, "python");
    let stand_ins = cache.entry("gpu-stand-ins");
    let packages = packages(&python)?;
    let done = stand_ins.join("done");
    ensure("stand-ins for GPU libraries", missing(&done), || {
        publish(&stand_ins, |scratch| {
            let script = scratch.join("make.py");
            fs::write(&script, STAND_INS)?;
            let torch = packages.join("torch/lib");
            process::run(Command::new(&python).arg(script).arg(torch).arg(scratch))?;
            fs::write(scratch.join("done"), "").context("cannot finish the stand-ins")
        })
    })?;
    let runtime = packages.join("nvidia/cu13/lib");
    Ok(ModelPeers { python, libraries: std::env::join_paths([runtime, stand_ins])? })
}

fn packages(python: &Path) -> Result<PathBuf> {
    let script = "import sysconfig; print(sysconfig.get_path('platlib'))";
    Ok(process::output(Command::new(python).args(["-c", script]))?.trim().into())
}
