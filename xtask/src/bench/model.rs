//! The network beside PyTorch, Keras and onnxruntime: the same weights, the same data, by turns.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::comparison::{Comparison, Round};
use super::worker::Worker;
use crate::process;
use crate::setup::{self, ModelPeers};
use crate::workspace::Workspace;

/// Rounds of a case; the first, which warms caches and lets peers compile, is not among them.
const ROUNDS: usize = 7;
/// What both sides do, in their words.
struct Case {
    name: &'static str,
    n_features: usize,
    /// For `stopwatch`, an example program of `oddns-model`.
    ours: &'static str,
    peer: &'static str,
    /// For `peer.py`.
    theirs: &'static str,
    /// `ms` or `us`.
    unit: &'static str,
    /// How many times faster ours has to be.
    least: Option<f64>,
}

/// All cases of one peer stand together, so that no other peer's threads are about.
const CASES: &[Case] = &[
    case("masked, train, a step of 20 × 160", "train", "PyTorch", "train", "ms", Some(2.0)),
    case("masked, dense history, a row", "dense", "PyTorch", "dense", "us", None),
    case("1-D, train, a step of 64", "fit-line", "PyTorch", "fit_line", "ms", Some(2.0)),
    case("1-D, score, a row", "score-line", "PyTorch", "score_line", "us", None),
    case("2-D, train, a step of 64", "fit-image", "PyTorch", "fit_image", "ms", Some(2.0)),
    case("2-D, score, a row", "score-image", "PyTorch", "score_image", "us", None),
    case("masked, train, a step of 20 × 160", "train", "Keras", "train", "ms", Some(2.0)),
    case("masked, dense history, a row", "dense", "Keras", "dense", "us", None),
    case("1-D, train, a step of 64", "fit-line", "Keras", "fit_line", "ms", Some(2.0)),
    case("1-D, score, a row", "score-line", "Keras", "score_line", "us", None),
    case("2-D, train, a step of 64", "fit-image", "Keras", "fit_image", "ms", Some(2.0)),
    case("2-D, score, a row", "score-image", "Keras", "score_image", "us", None),
    case("masked, one window", "window", "onnxruntime", "window", "us", Some(2.5)),
    case("masked, one window of 64", "window", "onnxruntime", "batch", "us", Some(2.5)),
    case(
        "masked, dense history, a row by windows of 64",
        "dense",
        "onnxruntime",
        "batch",
        "us",
        Some(30.0),
    ),
    case(
        "masked, dense history, a row by a dense graph",
        "dense",
        "onnxruntime",
        "dense",
        "us",
        None,
    ),
    case("masked, live step, forecast", "live", "onnxruntime", "window", "us", None),
    case(
        "1-D, score, a row by windows of 64",
        "score-line",
        "onnxruntime",
        "score_line",
        "us",
        Some(2.5),
    ),
    case(
        "2-D, score, a row by windows of 64",
        "score-image",
        "onnxruntime",
        "score_image",
        "us",
        Some(2.5),
    ),
];

const fn case(
    name: &'static str,
    ours: &'static str,
    peer: &'static str,
    theirs: &'static str,
    unit: &'static str,
    least: Option<f64>,
) -> Case {
    Case { name, n_features: 38, ours, peer, theirs, unit, least }
}

/// Everything that runs beside each other.
struct Stage {
    peers: ModelPeers,
    stopwatch: PathBuf,
    folder: tempfile::TempDir,
    script: PathBuf,
}

/// All cases, on one thread and on two. Ours scores on one thread always.
pub(super) fn run(workspace: &Workspace) -> Result<Vec<Comparison>> {
    let stage = Stage::set(workspace)?;
    let mut comparisons = vec![];
    for cases in CASES.chunk_by(|a, b| (a.peer, a.n_features) == (b.peer, b.n_features)) {
        for threads in [1, 2] {
            comparisons.extend(stage.compare(cases, threads)?);
        }
    }
    Ok(comparisons)
}

impl Stage {
    fn set(workspace: &Workspace) -> Result<Self> {
        let peers = setup::require_model_peers()?;
        let mut cargo = process::cargo();
        cargo.args(["build", "--release", "--package", "oddns-model", "--example", "stopwatch"]);
        process::run(cargo.current_dir(&workspace.root))?;
        let stopwatch = workspace.target.join("release/examples/stopwatch");
        let folder = tempfile::tempdir().context("cannot make a scratch folder")?;
        let script = folder.path().join("peer.py");
        std::fs::write(&script, include_str!("model/peer.py")).context("cannot write a script")?;
        Ok(Self { peers, stopwatch, folder, script })
    }

    fn stopwatch(&self, n_features: usize) -> Result<Worker> {
        let mut command = Command::new(&self.stopwatch);
        Worker::start(command.arg(self.folder.path()).arg(n_features.to_string()))
    }

    fn peer(&self, name: &str, threads: usize, n_features: usize) -> Result<Worker> {
        let mut command = self.peers.python();
        command.arg(&self.script).arg(name).arg(threads.to_string());
        Worker::start(command.arg(self.folder.path()).arg(n_features.to_string()))
    }

    /// Runs `cases`, which share peer and width, by turns: the roof, ours, theirs, again.
    fn compare(&self, cases: &[Case], threads: usize) -> Result<Vec<Comparison>> {
        let Some(first) = cases.first() else { return Ok(vec![]) };
        let mut ours = self.stopwatch(first.n_features)?;
        let mut theirs = self.peer(first.peer, threads, first.n_features)?;
        let mut roof = self.peer("GEMM", 1, first.n_features)?;
        let mut comparisons = vec![];
        for case in cases {
            let mut rounds = vec![];
            for _ in 0..=ROUNDS {
                rounds.push(round(case, threads, &mut roof, &mut ours, &mut theirs)?);
            }
            let name = format!("{}, {threads} thread{}", case.name, plural(threads));
            let rounds = &rounds[1..];
            comparisons
                .push(Comparison::of_rounds(&name, case.peer, rounds, case.unit, case.least));
        }
        Ok(comparisons)
    }
}

fn plural(threads: usize) -> &'static str {
    if threads == 1 { "" } else { "s" }
}

fn round(
    case: &Case,
    threads: usize,
    roof: &mut Worker,
    ours: &mut Worker,
    theirs: &mut Worker,
) -> Result<Round> {
    let scale = if case.unit == "ms" { 1e3 } else { 1e6 };
    let seconds_per_operation = roof.ask("roof")?[0];
    let measured = ours.ask(&format!("{} {threads}", case.ours))?;
    let theirs = theirs.ask(case.theirs)?[0];
    let (seconds, operations) = (measured[0], measured[1]);
    let trains = case.ours == "train" || case.ours.starts_with("fit");
    let cores = if trains { threads } else { 1 };
    let share = operations * seconds_per_operation / seconds / cores as f64;
    let roof = (operations > 0.0).then_some(share);
    Ok(Round { ours: seconds * scale, theirs: theirs * scale, roof })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_a_case_is_known_to_the_program_that_hears_it() {
        let stopwatch = include_str!("../../../crates/oddns-model/examples/stopwatch.rs");
        let peer = include_str!("model/peer.py");
        for case in CASES {
            assert!(stopwatch.contains(&format!("\"{}\" =>", case.ours)), "{}", case.ours);
            assert!(peer.contains(&format!("def {}(self)", case.theirs)), "{}", case.theirs);
            assert!(peer.contains(&format!("\"{}\": ", case.peer)), "{}", case.peer);
        }
    }
}
