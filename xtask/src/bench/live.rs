//! What a live stream costs: time of a step with all members and the explanation, and memory.

use anyhow::{Context, Result, bail};

use super::comparison::Comparison;
use crate::process;
use crate::workspace::Workspace;

/// A table such as those of public data sets, and CoreDNS.
const WIDTHS: [usize; 2] = [38, 107];
const STEPS: usize = 120_000;
const STEP_MICROSECONDS: f64 = 15.0;
/// Of the slowest step in a thousand: nothing that a row sets off may hold up those behind it.
const SLOW_STEP_MICROSECONDS: f64 = 100.0;
const STREAM_KIB: f64 = 64.0;

/// The default detector at work.
pub(super) fn run(workspace: &Workspace) -> Result<Vec<Comparison>> {
    let mut cargo = process::cargo();
    cargo.args(["build", "--release", "--package", "oddns", "--example", "live_step"]);
    process::run(cargo.current_dir(&workspace.root))?;
    let program = workspace.target.join("release/examples/live_step");
    let mut comparisons = vec![];
    for n_features in WIDTHS {
        let mut command = std::process::Command::new(&program);
        command.args([n_features.to_string(), STEPS.to_string()]);
        comparisons.extend(compared(n_features, &process::output(&mut command)?)?);
    }
    Ok(comparisons)
}

/// `answer` is what `live_step` prints.
fn compared(n_features: usize, answer: &str) -> Result<Vec<Comparison>> {
    let numbers: Result<Vec<f64>, _> = answer.split_whitespace().map(str::parse).collect();
    let numbers = numbers.with_context(|| format!("`live_step` answered `{answer}`"))?;
    let [median, high, higher, most, state, stream] = numbers[..] else {
        bail!("`live_step` answered `{answer}`");
    };
    let once = |what: &str, ours: f64, unit, bar| {
        Comparison::once(&format!("{what}, {n_features} features"), ours, unit, bar)
    };
    Ok(vec![
        once("live step, median", median, "us", STEP_MICROSECONDS),
        once("live step, 99 %", high, "us", SLOW_STEP_MICROSECONDS),
        once("live step, 99.9 %", higher, "us", SLOW_STEP_MICROSECONDS),
        // Whatever else the machine does is in it.
        once("live step, most", most, "us", f64::INFINITY),
        once("saved state", state / 1024.0, "KiB", STREAM_KIB),
        once("memory of a stream", stream / 1024.0, "KiB", STREAM_KIB),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_six_figures() {
        let found = compared(38, "1.5 2 3 400 2048 4096\n").unwrap();
        let line = found[5].to_json("live");
        assert_eq!((found.len(), &line["ours"]), (6, &serde_json::json!(4.0)));
        assert!(compared(38, "1 2").is_err() && compared(38, "x").is_err());
    }
}
