//! Model files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use oddns::network::{Model, ModelError};
use oddns::{Detector, DetectorError};
use oddns_store::{StoreError, write_atomically};

use crate::exit::{BadInput, BadUse};

/// Most bytes of a model file; ours have about 200 KiB.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// What training can go on from.
pub(crate) enum Parent {
    /// A detector of ours.
    Detector(Arc<Detector>),
    /// A network that nobody has calibrated.
    Network(Box<Model>),
}

/// Reads a model.
pub(crate) fn read(path: &Path) -> anyhow::Result<Arc<Detector>> {
    let bytes = read_bytes(path)?;
    let detector = Detector::decode(&bytes).with_context(|| format!("`{}`", path.display()))?;
    Ok(Arc::new(detector))
}

/// Reads a model, or a network without what oddns adds to it.
pub(crate) fn read_parent(path: &Path) -> anyhow::Result<Parent> {
    let bytes = read_bytes(path)?;
    match Detector::decode(&bytes) {
        Ok(detector) => Ok(Parent::Detector(Arc::new(detector))),
        Err(DetectorError::NotOurs) => match Model::decode(&bytes) {
            Ok((network, _)) => Ok(Parent::Network(Box::new(network))),
            Err(error) => Err(refused(path, error).into()),
        },
        Err(error) => Err(anyhow::Error::new(error).context(format!("`{}`", path.display()))),
    }
}

/// A network that somebody else's program made, and that cannot be read.
pub(crate) fn refused(path: &Path, error: ModelError) -> BadInput {
    BadInput(format!("`{}`: {:#}", path.display(), anyhow::Error::new(error)))
}

/// The bytes of what may be a model.
pub(crate) fn read_bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let about = std::fs::metadata(path)
        .map_err(|error| BadInput(format!("cannot read the model `{shown}`: {error}")))?;
    if about.len() > MAX_BYTES {
        return Err(
            BadInput(format!("`{shown}` has {} bytes: that is no model", about.len())).into()
        );
    }
    let bytes = std::fs::read(path)
        .map_err(|error| BadInput(format!("cannot read the model `{shown}`: {error}")))?;
    Ok(bytes)
}

/// Writes a model whole or not at all; gives its size in bytes.
pub(crate) fn write(path: &Path, detector: &Detector) -> anyhow::Result<usize> {
    let bytes = detector.encode()?;
    write_atomically(path, &bytes)?;
    Ok(bytes.len())
}

/// What tells a model from others of the same schema: a hash of its file.
pub(crate) fn id(detector: &Detector) -> anyhow::Result<String> {
    Ok(format!("{:016x}", oddns_core::stable_hash(detector.encode()?)))
}

/// As [`check_writable`], and refuses one of the files that are read: nothing destroys its input.
pub(crate) fn check_output<'a>(
    path: &Path,
    inputs: impl IntoIterator<Item = &'a PathBuf>,
) -> anyhow::Result<()> {
    check_writable(path)?;
    let Ok(whole) = path.canonicalize() else { return Ok(()) };
    // A device such as `/dev/stdout` may be both.
    let is_same = |input: &&PathBuf| input.canonicalize().is_ok_and(|input| input == whole);
    if whole.is_file() && inputs.into_iter().any(|input| is_same(&input)) {
        let path = path.display();
        return Err(BadUse(format!("`{path}` is read: name another file for `--out`")).into());
    }
    Ok(())
}

/// Refuses an output path that cannot be written, before the long work.
pub(crate) fn check_writable(path: &Path) -> anyhow::Result<()> {
    if path.as_os_str() == "-" {
        return Err(StoreError::Dash.into());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder
        && !folder.is_dir()
    {
        let (path, folder) = (path.display(), folder.display());
        anyhow::bail!("cannot write `{path}`: the folder `{folder}` does not exist, make it first");
    }
    if path.is_dir() {
        anyhow::bail!("cannot write `{}`: it is a folder, name a file", path.display());
    }
    Ok(())
}
