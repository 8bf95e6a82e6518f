//! The exposition parser beside the crate `prometheus-parse` and Prometheus's own, by turns on the
//! same scrapes of a real CoreDNS. Times are those of the processor, so that figures are per core.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::comparison::{Comparison, Round};
use super::worker::Worker;
use crate::process;
use crate::setup;
use crate::workspace::Workspace;

/// Rounds of a case; the first, which warms caches, is not among them.
const ROUNDS: usize = 7;

/// Names a folder with further recordings, `*.prom.gz`, each of scrapes behind header lines.
const CAPTURES: &str = "ODDNS_CAPTURES";

const UNIT: &str = "million lines a second";

/// What ours does, and what a peer does beside it.
struct Case {
    name: &'static str,
    /// For `stopwatch`, an example program of `oddns-collect`.
    ours: &'static str,
    against: Against,
}

enum Against {
    /// Million lines a second that ours has to read.
    Bar(f64),
    /// For `stopwatch` too, and how many times faster ours has to be.
    Crate(&'static str, f64),
    /// For `textparse`, the program around Prometheus's parser.
    Go(&'static str, Option<f64>),
}

const CASES: &[Case] = &[
    Case { name: "borrowed lines", ours: "lines", against: Against::Bar(7.0) },
    Case { name: "the next scrape of a server", ours: "repeated", against: Against::Bar(15.0) },
    Case {
        name: "borrowed lines",
        ours: "lines",
        against: Against::Crate("prometheus-parse", 20.0),
    },
    Case { name: "borrowed lines", ours: "lines", against: Against::Go("labels", Some(2.0)) },
    Case {
        name: "the first scrape of a server",
        ours: "table",
        against: Against::Go("labels", None),
    },
    Case {
        name: "the next scrape of a server",
        ours: "repeated",
        against: Against::Go("series", Some(2.0)),
    },
];

/// All cases on each recording.
pub(super) fn run(workspace: &Workspace) -> Result<Vec<Comparison>> {
    let textparse = setup::require_textparse()?;
    let mut cargo = process::cargo();
    cargo.args(["build", "--release", "--package", "oddns-collect", "--example", "stopwatch"]);
    process::run(cargo.current_dir(&workspace.root))?;
    let stopwatch = workspace.target.join("release/examples/stopwatch");
    let mut comparisons = vec![];
    for recording in recordings(workspace)? {
        let mut stage = Stage::set(&stopwatch, &textparse, &recording)?;
        for case in CASES {
            comparisons.push(stage.compare(case)?);
        }
    }
    Ok(comparisons)
}

/// The bundled one, and those of the folder that the user names.
fn recordings(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let data = "crates/oddns-collect/tests/data/coredns-1.15.0.prom.gz";
    let mut recordings = vec![workspace.root.join(data)];
    let Some(folder) = env::var_os(CAPTURES) else { return Ok(recordings) };
    let folder = PathBuf::from(folder);
    let files = fs::read_dir(&folder)
        .with_context(|| format!("cannot read the folder `{}`", folder.display()))?;
    for file in files {
        let path = file?.path();
        if path.extension() == Some(OsStr::new("gz")) {
            recordings.push(path);
        }
    }
    recordings[1..].sort();
    Ok(recordings)
}

/// Both sides with the scrapes of one recording.
struct Stage {
    recording: String,
    ours: Worker,
    go: Worker,
    // Where the scrapes lie that the Go program has read.
    _folder: tempfile::TempDir,
}

impl Stage {
    fn set(stopwatch: &Path, textparse: &Path, recording: &Path) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a scratch folder")?;
        let ours = Worker::start(Command::new(stopwatch).arg(folder.path()).arg(recording))?;
        let go = Worker::start(Command::new(textparse).arg("time").arg(folder.path()))?;
        let recording = recording.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { recording, ours, go, _folder: folder })
    }

    fn compare(&mut self, case: &Case) -> Result<Comparison> {
        let mut rounds = vec![];
        for _ in 0..=ROUNDS {
            let ours = speed(&mut self.ours, case.ours)?;
            let theirs = match case.against {
                Against::Bar(_) => f64::NAN,
                Against::Crate(name, _) => speed(&mut self.ours, name)?,
                Against::Go(what, _) => speed(&mut self.go, what)?,
            };
            rounds.push(Round { ours, theirs, roof: None });
        }
        let name = format!("{}, {}", case.name, self.recording);
        let rounds = &rounds[1..];
        Ok(match case.against {
            Against::Bar(least) => {
                let runs = rounds.iter().map(|round| round.ours).collect();
                Comparison::of_rates(&name, runs, UNIT, least)
            }
            Against::Crate(peer, least) => {
                Comparison::of_rate_rounds(&name, peer, rounds, UNIT, Some(least))
            }
            Against::Go(_, least) => {
                Comparison::of_rate_rounds(&name, "Prometheus", rounds, UNIT, least)
            }
        })
    }
}

/// Million lines in a second of processor time.
fn speed(worker: &mut Worker, what: &str) -> Result<f64> {
    match worker.ask(what)?[..] {
        [seconds, n_lines] if seconds > 0.0 => Ok(n_lines / seconds * 1e-6),
        _ => bail!("no time was measured for `{what}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_a_case_is_known_to_the_program_that_hears_it() {
        let stopwatch = include_str!("../../../crates/oddns-collect/examples/stopwatch.rs");
        let textparse = include_str!("../../textparse/main.go");
        for case in CASES {
            assert!(stopwatch.contains(&format!("\"{}\" =>", case.ours)), "{}", case.ours);
            match case.against {
                Against::Bar(_) => {}
                Against::Crate(name, _) => assert!(stopwatch.contains(&format!("\"{name}\" =>"))),
                Against::Go(what, _) => assert!(textparse.contains(&format!("`{what}`"))),
            }
        }
    }
}
