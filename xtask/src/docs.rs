//! Pages that are written from the tables of the code.
//!
//! The table's own crate prints the page as an example, because this crate names none of ours.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::workspace::Workspace;

struct Page {
    path: &'static str,
    package: &'static str,
    example: &'static str,
}

const PAGES: &[Page] = &[
    Page { path: "docs/features.md", package: "oddns-features", example: "features_page" },
    Page { path: "docs/causes.md", package: "oddns-detect", example: "causes_page" },
];

/// Writes the pages, or with `check` only says which of them are not what would be written.
///
/// # Errors
/// When a page cannot be made or written, or `check` finds an old one.
pub(crate) fn run(check: bool) -> Result<()> {
    let workspace = Workspace::find()?;
    let mut old = Vec::new();
    for page in PAGES {
        let text = page.print(&workspace)?;
        let path = workspace.root.join(page.path);
        if fs::read_to_string(&path).is_ok_and(|found| found == text) {
            continue;
        }
        old.push(page.path);
        if !check {
            fs::write(&path, text).with_context(|| format!("cannot write `{}`", page.path))?;
            println!("wrote `{}`", page.path);
        }
    }
    if check && !old.is_empty() {
        bail!("not up to date, run `cargo xtask docs`: {}", old.join(", "));
    }
    Ok(())
}

impl Page {
    fn print(&self, workspace: &Workspace) -> Result<String> {
        let mut cargo = process::cargo();
        cargo.args(["run", "--quiet", "--package", self.package, "--example", self.example]);
        process::output(cargo.current_dir(&workspace.root))
    }
}
