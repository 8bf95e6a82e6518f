//! Where the workspace and its build output lie.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process;

/// The two folders every task works in; both absolute.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Holds the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Holds `debug/` and `release/`; outside the root when `CARGO_TARGET_DIR` says so.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Asks cargo, starting from the current folder.
    ///
    /// # Errors
    /// When cargo fails, which it does outside of a workspace.
    pub(crate) fn find() -> Result<Self> {
        let mut metadata = process::cargo();
        metadata.args(["metadata", "--no-deps", "--format-version=1", "--offline"]);
        let metadata: Value = serde_json::from_str(&process::output(&mut metadata)?)
            .context("`cargo metadata` printed something else than JSON")?;
        let folder = |key: &str| {
            let path = metadata[key].as_str();
            path.map(PathBuf::from).with_context(|| format!("`cargo metadata` has no `{key}`"))
        };
        Ok(Self { root: folder("workspace_root")?, target: folder("target_directory")? })
    }
}
