//! The page that tells what the bench found.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::super::comparison::{Against, Comparison};
use super::{Figures, Program};
use crate::workspace::Workspace;

const PATH: &str = "docs/compare-python-libraries.md";
/// Between these lines of the page stands what is written here.
const BEGIN: &str = "<!-- figures of `cargo xtask bench python` -->";
const END: &str = "<!-- end of figures -->";

/// Writes the figures into the page.
pub(super) fn write(
    workspace: &Workspace,
    programs: &[(Program, Figures)],
    comparisons: &[Comparison],
) -> Result<()> {
    let path = workspace.root.join(PATH);
    let page = fs::read_to_string(&path).with_context(|| format!("cannot read `{PATH}`"))?;
    let figures = format!("{}\n{}", table(programs), ratios(comparisons));
    let page = replaced(&page, &figures).with_context(|| format!("`{PATH}` has no place"))?;
    fs::write(&path, page).with_context(|| format!("cannot write `{PATH}`"))
}

fn replaced(page: &str, figures: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{figures}\n{END}{after}"))
}

/// A row for each program.
fn table(programs: &[(Program, Figures)]) -> String {
    let mut table = String::from(
        "| | lines | train, s | score, s | peak memory, MiB | average precision | area under the curve |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (program, figures) in programs {
        let (lines, found) = (lines(program.text), &figures.found);
        let [fit, score] = [&figures.fit_seconds, &figures.score_seconds].map(|s| middle(s));
        // Writing to a text does not fail.
        let _ = writeln!(
            table,
            "| {} | {lines} | {fit:.2} | {score:.3} | {:.0} | {:.2} | {:.2} |",
            program.name, figures.peak_mib, found[0], found[1]
        );
    }
    table
}

/// A row for each time that is held against another.
fn ratios(comparisons: &[Comparison]) -> String {
    let mut table = String::from("| what | against | times faster |\n| --- | --- | --- |\n");
    for comparison in comparisons.iter().filter(|comparison| comparison.unit == "s") {
        if let Against::Peer { name, ratio, .. } = &comparison.against {
            let _ = writeln!(table, "| {} | {name} | {ratio:.1} |", comparison.case);
        }
    }
    table
}

/// Lines with code on them.
fn lines(program: &str) -> usize {
    let is_code = |line: &&str| !line.trim().is_empty() && !line.starts_with("\"\"\"");
    program.lines().filter(is_code).count()
}

fn middle(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_go_between_their_marks_and_lines_of_code_are_counted() {
        let page = format!("# a\n{BEGIN}\nold\n{END}\nb\n");
        let found = replaced(&page, "new\n").unwrap();
        assert_eq!(found, format!("# a\n{BEGIN}\n\nnew\n\n{END}\nb\n"));
        assert_eq!(replaced(&found, "new\n").unwrap(), found);
        assert_eq!(replaced("nothing", "new"), None);
        assert_eq!(lines("\"\"\"About.\"\"\"\n\nimport a\n\n\ndef b():\n    pass\n"), 3);
    }
}
