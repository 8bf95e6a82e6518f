//! What going on learning is worth, on a simulated year and on incidents that last.

use anyhow::{Context, Result};
use serde_json::Value;

use super::comparison::{Against, Comparison};
use crate::process;
use crate::workspace::Workspace;

const CASES: [&str; 5] = ["update", "beside", "feedback", "poison", "year"];

/// A whole year.
pub(super) fn run(workspace: &Workspace) -> Result<Vec<Comparison>> {
    all(workspace, &[])
}

/// Sixteen weeks, and fewer faults.
pub(super) fn quick(workspace: &Workspace) -> Result<Vec<Comparison>> {
    all(workspace, &["quick"])
}

fn all(workspace: &Workspace, more: &[&str]) -> Result<Vec<Comparison>> {
    let mut cargo = process::cargo();
    cargo.args(["build", "--release", "--package", "oddns-cli", "--example", "learning"]);
    process::run(cargo.current_dir(&workspace.root))?;
    let program = workspace.target.join("release/examples/learning");
    let mut found = vec![];
    for case in CASES {
        let mut command = std::process::Command::new(&program);
        let answer = process::output(command.arg(case).args(more))?;
        for line in answer.lines() {
            found.push(compared(line).with_context(|| format!("`learning` answered `{line}`"))?);
        }
    }
    Ok(found)
}

/// One line of the program.
fn compared(line: &str) -> Result<Comparison> {
    let line: Value = serde_json::from_str(line)?;
    let number = |name: &str| line[name].as_f64();
    let unit = match line["unit"].as_str().context("no unit")? {
        "s" => "s",
        "alarms" => "alarms",
        "recall" => "recall",
        "VUS-PR" => "VUS-PR",
        "part" => "part",
        "us" => "us",
        _ => "",
    };
    let against = match (number("bar"), number("floor")) {
        (Some(bar), _) => Against::Bar(bar),
        (_, Some(floor)) => Against::Floor(floor),
        _ => Against::Bar(f64::INFINITY),
    };
    let case = line["case"].as_str().context("no case")?.to_owned();
    let ours = number("ours").context("no figure")?;
    Ok(Comparison { case, ours, unit, spread: None, against, roof: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_figure_with_its_bar() {
        let line =
            |more: &str| compared(&format!("{{\"case\":\"x\",\"unit\":\"s\",\"ours\":2{more}}}"));
        assert!(line("").unwrap().holds());
        assert!(!line(",\"bar\":1").unwrap().holds() && !line(",\"floor\":3").unwrap().holds());
        assert!(compared("{}").is_err());
    }
}
