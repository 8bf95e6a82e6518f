//! How many queries a second the lab's clients ask from one core.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::comparison::Comparison;
use super::demo::Running;
use crate::process;
use crate::workspace::Workspace;

/// What the issue asks of one core.
const LEAST: f64 = 5000.0;
/// Lookups of two questions each that are asked for a second: more than the bar.
const LOOKUPS: &str = "4000";
const SECONDS: &str = "5";
const RUNS: usize = 3;

/// One thread that asks, another process that answers.
pub(super) fn run(workspace: &Workspace) -> Result<Vec<Comparison>> {
    let mut cargo = process::cargo();
    cargo.args(["build", "--release", "--package", "oddns-lab", "--example", "sender"]);
    process::run(cargo.current_dir(&workspace.root))?;
    let program = workspace.target.join("release/examples/sender");
    let (mut rates, mut capacities) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let [sent, answered, took, busy] = measure(&program)?;
        rates.push(answered / took);
        capacities.push(sent / busy);
    }
    let rate = |case: &str, runs| Comparison::of_rates(case, runs, "queries/s", LEAST);
    Ok(vec![
        rate("queries answered to one thread", rates),
        rate("queries sent in a second of the processor", capacities),
    ])
}

/// Questions sent, answers, seconds, seconds of the processor.
fn measure(program: &Path) -> Result<[f64; 4]> {
    let mut answering = answering(program)?;
    let output = answering.0.stdout.take().context("`sender answer` has no output")?;
    let mut address = String::new();
    BufReader::new(output).read_line(&mut address)?;
    let mut sender = Command::new(program);
    figures(&process::output(sender.args(["send", address.trim(), LOOKUPS, SECONDS]))?)
}

fn answering(program: &Path) -> Result<Running> {
    let child: Result<Child, _> =
        Command::new(program).arg("answer").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    Ok(Running(child.with_context(|| format!("cannot start `{}`", program.display()))?))
}

fn figures(answer: &str) -> Result<[f64; 4]> {
    let numbers: Result<Vec<f64>, _> = answer.split_whitespace().map(str::parse).collect();
    let numbers = numbers.with_context(|| format!("`sender` answered `{answer}`"))?;
    match numbers[..] {
        [sent, answered, took, busy] if busy > 0.0 => Ok([sent, answered, took, busy]),
        _ => bail!("`sender` answered `{answer}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_four_figures() {
        assert_eq!(figures("10 9 2 0.5\n").unwrap(), [10.0, 9.0, 2.0, 0.5]);
        for wrong in ["10 9 2", "10 9 2 0", "x"] {
            assert!(figures(wrong).is_err(), "{wrong}");
        }
    }
}
