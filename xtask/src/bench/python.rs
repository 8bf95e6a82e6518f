//! The Python package beside the command, PyOD's autoencoder and one in Keras, on the same data.

mod page;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use super::comparison::{Comparison, Round};
use super::demo;
use super::worker::Worker;
use crate::process;
use crate::python;
use crate::setup::{self, Group, ModelPeers};
use crate::workspace::Workspace;

/// Rounds of a case; the first, which warms caches and lets peers compile, is not among them.
const ROUNDS: usize = 3;
/// Cores that each side may use.
const THREADS: &str = "2";
/// The least that ours has to be faster than a peer.
const LEAST: f64 = 5.0;
/// From Python it may take so much longer than the command: its time over ours is at least this.
const LEAST_OF_COMMAND: f64 = 0.95;
/// The most that importing the package may take, NumPy included.
const IMPORT_MS: f64 = 150.0;
const IMPORTS: usize = 7;

/// Every file that a worker needs.
const FILES: [(&str, &str); 10] = [
    ("make_dense.py", include_str!("python/make_dense.py")),
    ("imports.py", include_str!("python/imports.py")),
    ("worker.py", include_str!("python/worker.py")),
    ("make_data.py", include_str!("python/make_data.py")),
    ("whole.py", include_str!("python/whole.py")),
    (DETECTOR.file, DETECTOR.text),
    (DENSE.file, DENSE.text),
    (NETWORK.file, NETWORK.text),
    (PYOD.file, PYOD.text),
    (KERAS.file, KERAS.text),
];

/// Something that is fitted on rows and scores rows.
#[derive(Debug, Clone, Copy)]
struct Program {
    name: &'static str,
    file: &'static str,
    text: &'static str,
    is_ours: bool,
    /// The least that it has to be faster than its peer: where both do the same work, which the
    /// default detector does not. It trains three networks of windows and calibrates the members.
    least: Option<f64>,
}

const DETECTOR: Program = Program {
    name: "oddns, the default detector",
    file: "oddns_detector.py",
    text: include_str!("python/oddns_detector.py"),
    is_ours: true,
    least: None,
};
const NETWORK: Program = Program {
    name: "oddns, the network alone",
    file: "oddns_network.py",
    text: include_str!("python/oddns_network.py"),
    is_ours: true,
    least: Some(LEAST),
};
const DENSE: Program = Program {
    name: "oddns, the network of PyOD",
    file: "oddns_dense.py",
    text: include_str!("python/oddns_dense.py"),
    is_ours: true,
    least: Some(LEAST),
};
const PYOD: Program = Program {
    name: "PyOD AutoEncoder",
    file: "pyod_autoencoder.py",
    text: include_str!("python/pyod_autoencoder.py"),
    is_ours: false,
    least: None,
};
const KERAS: Program = Program {
    name: "Keras autoencoder",
    file: "keras_autoencoder.py",
    text: include_str!("python/keras_autoencoder.py"),
    is_ours: false,
    least: None,
};

/// What runs by turns: ours, then the peer that it is held against.
const SETS: [&[Program]; 2] = [&[DETECTOR, DENSE, PYOD], &[NETWORK, KERAS]];

/// What was measured of one program.
#[derive(Debug, Default)]
struct Figures {
    fit_seconds: Vec<f64>,
    score_seconds: Vec<f64>,
    /// Of the scores: average precision, area under the curve.
    found: Vec<f64>,
    peak_mib: f64,
}

/// Everything that runs beside each other.
struct Stage {
    peers: ModelPeers,
    ours: PathBuf,
    package: PathBuf,
    recordings: PathBuf,
    folder: tempfile::TempDir,
}

/// All cases, and with `ODDNS_UPDATE_DOCS` the page that tells them.
pub(super) fn run(workspace: &Workspace) -> Result<Vec<Comparison>> {
    let stage = Stage::set(workspace)?;
    let mut comparisons = vec![stage.imports()?, stage.beside_the_command(workspace)?];
    let mut all: Vec<(Program, Figures)> = vec![];
    for programs in SETS {
        let figures = stage.side_by_side(programs)?;
        let mut found: Vec<(Program, Figures)> = programs.iter().copied().zip(figures).collect();
        if let Some((peer, theirs)) = found.last() {
            for (ours, own) in found.iter().filter(|(program, _)| program.is_ours) {
                comparisons.extend(compared(*ours, own, *peer, theirs));
            }
        }
        all.append(&mut found);
    }
    if std::env::var_os("ODDNS_UPDATE_DOCS").is_some() {
        page::write(workspace, &all, &comparisons)?;
    }
    Ok(comparisons)
}

impl Stage {
    fn set(workspace: &Workspace) -> Result<Self> {
        let cache = setup::run(&[Group::Python])?;
        let stage = Self {
            peers: setup::require_model_peers()?,
            ours: setup::python_program(&cache, "python"),
            package: python::lay_out(workspace, python::Profile::Release)?,
            recordings: workspace.root.join("crates/oddns-cli/data"),
            folder: tempfile::tempdir().context("cannot make a scratch folder")?,
        };
        for (file, text) in FILES {
            std::fs::write(stage.folder.path().join(file), text)
                .context("cannot write a script")?;
        }
        let mut make = stage.script(&DETECTOR, "make_data.py");
        process::run(make.arg(&stage.recordings).arg(stage.folder.path()))?;
        process::run(stage.script(&KERAS, "make_dense.py").arg(stage.folder.path()))?;
        Ok(stage)
    }

    /// A script of the folder, run by the Python of a program.
    fn script(&self, of: &Program, file: &str) -> Command {
        let mut python = if of.is_ours { Command::new(&self.ours) } else { self.peers.python() };
        python.arg(self.folder.path().join(file));
        python.env("PYTHONPATH", &self.package).env("PYTHONDONTWRITEBYTECODE", "1");
        python.env("KERAS_BACKEND", "tensorflow").env("TF_CPP_MIN_LOG_LEVEL", "3");
        for threads in ["OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"] {
            python.env(threads, THREADS);
        }
        python
    }

    fn worker(&self, program: &Program) -> Result<Worker> {
        let module = program.file.trim_end_matches(".py");
        Worker::start(self.script(program, "worker.py").arg(module).arg(self.folder.path()))
    }

    /// Each time by an interpreter of its own.
    fn imports(&self) -> Result<Comparison> {
        let mut python = Worker::start(&mut self.script(&DETECTOR, "imports.py"))?;
        let runs: Result<Vec<f64>> = (0..IMPORTS).map(|_| Ok(python.ask("go")?[0] * 1e3)).collect();
        Ok(Comparison::of_runs("import oddns", runs?, "ms", IMPORT_MS))
    }

    /// Training and scoring from files, from Python and by the command.
    fn beside_the_command(&self, workspace: &Workspace) -> Result<Comparison> {
        let oddns = demo::build(workspace)?;
        let mut whole = self.script(&DETECTOR, "whole.py");
        let mut python = Worker::start(whole.arg(&self.recordings).arg(self.folder.path()))?;
        let mut rounds = vec![];
        for _ in 0..=ROUNDS {
            let ours = python.ask("go")?[0];
            rounds.push(Round { ours, theirs: self.command_seconds(&oddns)?, roof: None });
        }
        let (case, least) = ("train and score a recording, from Python", Some(LEAST_OF_COMMAND));
        Ok(Comparison::of_rounds(case, "the command oddns", &rounds[1..], "s", least))
    }

    fn command_seconds(&self, oddns: &Path) -> Result<f64> {
        let [model, scores] = ["theirs.keras", "scores.csv"].map(|f| self.folder.path().join(f));
        let mut train = Command::new(oddns);
        train
            .args(["train", "--output=json", "--data"])
            .arg(self.recordings.join("coredns-normal"));
        let mut score = Command::new(oddns);
        score
            .args(["score", "--output=json", "--data"])
            .arg(self.recordings.join("coredns-faults"));
        let start = Instant::now();
        process::output(train.arg("--out").arg(&model))?;
        process::output(score.arg("--model").arg(&model).arg("--out").arg(&scores))?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// All by turns, so that what else the machine does meets all of them.
    fn side_by_side(&self, programs: &[Program]) -> Result<Vec<Figures>> {
        let workers: Result<Vec<Worker>> = programs.iter().map(|one| self.worker(one)).collect();
        let mut workers = workers?;
        let mut figures: Vec<Figures> = programs.iter().map(|_| Figures::default()).collect();
        for round in 0..=ROUNDS {
            for (worker, figures) in workers.iter_mut().zip(&mut figures) {
                let (fit, score) = (worker.ask("fit")?[0], worker.ask("score")?[0]);
                if round > 0 {
                    figures.fit_seconds.push(fit);
                    figures.score_seconds.push(score);
                }
            }
        }
        for (worker, figures) in workers.iter_mut().zip(&mut figures) {
            figures.found = worker.ask("found")?;
            figures.peak_mib = worker.ask("memory")?[0];
        }
        Ok(figures)
    }
}

/// Times, memory, and what the scores are worth.
fn compared(ours: Program, own: &Figures, theirs: Program, other: &Figures) -> Vec<Comparison> {
    let rounds = |own: &[f64], other: &[f64]| -> Vec<Round> {
        let pairs = own.iter().zip(other);
        pairs.map(|(ours, theirs)| Round { ours: *ours, theirs: *theirs, roof: None }).collect()
    };
    let case = |what: &str| format!("{}, {what}", ours.name);
    let times = [
        ("train", &own.fit_seconds, &other.fit_seconds),
        ("score", &own.score_seconds, &other.score_seconds),
    ];
    let mut found: Vec<Comparison> = times
        .map(|(what, own, other)| {
            Comparison::of_rounds(&case(what), theirs.name, &rounds(own, other), "s", ours.least)
        })
        .into();
    let peaks = rounds(&[own.peak_mib], &[other.peak_mib]);
    found.push(Comparison::of_rounds(&case("peak memory"), theirs.name, &peaks, "MiB", None));
    for (at, what) in ["average precision", "area under the curve"].into_iter().enumerate() {
        let worth = rounds(&own.found[at..=at], &other.found[at..=at]);
        found.push(Comparison::of_rate_rounds(&case(what), theirs.name, &worth, "1", None));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_five_times_as_fast_and_nothing_else_has_one() {
        let figures = |seconds: f64| Figures {
            fit_seconds: vec![seconds; 3],
            score_seconds: vec![seconds; 3],
            found: vec![0.5, 0.9],
            peak_mib: 100.0,
        };
        let found = compared(DENSE, &figures(1.0), PYOD, &figures(4.0));
        assert_eq!(found.len(), 5);
        assert_eq!(found.iter().map(Comparison::holds).filter(|holds| !holds).count(), 2);
        let fast = compared(DENSE, &figures(1.0), PYOD, &figures(5.0));
        let without_bar = compared(DETECTOR, &figures(1.0), PYOD, &figures(1.0));
        assert!(fast.iter().chain(&without_bar).all(Comparison::holds));
    }

    #[test]
    fn every_program_has_what_a_worker_asks_for() {
        for program in SETS.concat() {
            assert!(program.text.contains("\ndef fit(rows):\n"), "{}", program.file);
            assert!(program.text.contains("\ndef score("), "{}", program.file);
            assert!(FILES.iter().any(|(file, _)| *file == program.file));
        }
    }
}
