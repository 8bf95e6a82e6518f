//! What is under version control, read from the working tree.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A tracked file that exists in the working tree.
#[derive(Debug)]
pub(crate) struct Tracked {
    /// Relative to the root, with `/` between folders.
    pub(crate) path: String,
    /// In bytes.
    pub(crate) size: u64,
}

/// The root folder of the repository.
pub(crate) fn root() -> PathBuf {
    // Asked at run time: checkouts that share a build folder also share this program.
    let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    Path::new(&manifest).join("..")
}

/// Every tracked file, in the order of git.
pub(crate) fn tracked() -> Result<Vec<Tracked>> {
    let mut git = Command::new("git");
    let output = git.args(["ls-files", "-z"]).current_dir(root()).output();
    let output = output.context("cannot run `git ls-files`")?;
    if !output.status.success() {
        bail!("`git ls-files` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let paths = String::from_utf8(output.stdout).context("a path is not UTF-8")?;
    let paths = paths.split_terminator('\0');
    // A file that was deleted but not yet committed is still tracked.
    let existing = paths.filter_map(|path| Some((path, fs::metadata(root().join(path)).ok()?)));
    Ok(existing.map(|(path, meta)| Tracked { path: path.into(), size: meta.len() }).collect())
}

/// Path and text of every tracked file that ends with `suffix` and is text.
pub(crate) fn texts(suffix: &str) -> Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    for Tracked { path, .. } in tracked()? {
        if path.ends_with(suffix)
            && let Ok(text) = fs::read_to_string(root().join(&path))
        {
            texts.push((path, text));
        }
    }
    Ok(texts)
}

/// Fails with one violation on each line.
pub(crate) fn assert_none(violations: impl IntoIterator<Item = String>) {
    let violations: Vec<String> = violations.into_iter().collect();
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}
