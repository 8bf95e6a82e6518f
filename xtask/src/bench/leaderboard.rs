//! Detectors and published alerting rules side by side on recordings, as a page of the documentation.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{Suite, demo};
use crate::process;
use crate::setup;
use crate::workspace::Workspace;

pub(super) const NAME: &str = "leaderboard";

const SCRIPT: &str = include_str!("leaderboard/leaderboard.py");
const RULES: &str = include_str!("leaderboard/rules.json");
const PAGE: &str = "docs/leaderboard.md";
/// Behind this line the page is made anew.
const MARK: &str = "<!-- figures of `cargo xtask bench leaderboard` -->\n";

/// Judges everything on the recordings of `suite`, and writes the tables into the page.
pub(super) fn run(workspace: &Workspace, suite: &Suite) -> Result<()> {
    if suite.data.is_empty() {
        bail!("nothing to judge on: name recordings with `--data`, each with labels.csv");
    }
    setup::require_prometheus()?;
    let (peers, oddns) = (setup::require_model_peers()?, demo::build(workspace)?);
    let folder = tempfile::tempdir().context("cannot make a scratch folder")?;
    let (script, rules) = (folder.path().join("leaderboard.py"), folder.path().join("rules.json"));
    fs::write(&script, SCRIPT)?;
    fs::write(&rules, RULES)?;
    let mut python = peers.python();
    python.arg(&script).arg(oddns).arg(&rules);
    let tables = process::output(python.args(&suite.data))?;
    write(&workspace.root.join(PAGE), &tables)
}

fn write(page: &Path, tables: &str) -> Result<()> {
    let text =
        fs::read_to_string(page).with_context(|| format!("cannot read `{}`", page.display()))?;
    let Some((above, _)) = text.split_once(MARK) else {
        bail!("`{}` has no line `{}`", page.display(), MARK.trim());
    };
    fs::write(page, format!("{above}{MARK}\n{tables}"))
        .with_context(|| format!("cannot write `{}`", page.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_behind_the_mark_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("page.md");
        fs::write(&page, "above\n").unwrap();
        assert!(write(&page, "new\n").unwrap_err().to_string().contains("has no line"));
        fs::write(&page, format!("above\n{MARK}\nold\n")).unwrap();
        write(&page, "new\n").unwrap();
        assert_eq!(fs::read_to_string(&page).unwrap(), format!("above\n{MARK}\nnew\n"));
    }

    #[test]
    fn the_rules_are_json() {
        let rules: serde_json::Value = serde_json::from_str(RULES).unwrap();
        assert_eq!(rules["coredns-mixin"].as_array().unwrap().len(), 9);
    }
}
