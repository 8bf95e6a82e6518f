//! Remote write: how fast it is decoded, and what a large fleet costs.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::comparison::{Comparison, Round};
use crate::process;
use crate::workspace::Workspace;

/// Rounds of a comparison.
const ROUNDS: usize = 5;
/// Microseconds a series at 4 million series a second.
const MOST_MICROSECONDS: f64 = 0.25;
/// The sustained run: 200,000 samples a second of 3 million series.
const SERVERS: &str = "10000";
/// How long it takes; `ODDNS_BENCH_SECONDS` says otherwise.
const SECONDS: &str = "180";

/// All of it.
pub(super) fn run(workspace: &Workspace) -> Result<Vec<Comparison>> {
    let mut comparisons = decode(workspace)?;
    comparisons.extend(sustained(workspace)?);
    Ok(comparisons)
}

/// Decoding alone, the known series found, beside messages made by `prost`.
pub(super) fn decode(workspace: &Workspace) -> Result<Vec<Comparison>> {
    build(workspace, "oddns-collect", "remote_write")?;
    let program = workspace.target.join("release/examples/remote_write");
    let mut comparisons = Vec::new();
    for version in ["1.0", "2.0"] {
        let case = format!("decode remote write {version}, a series");
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let microseconds = |decoder| figure(Command::new(&program).args([version, decoder]));
            let (ours, theirs) = (microseconds("ours")?, microseconds("prost")?);
            rounds.push(Round { ours, theirs, roof: None });
        }
        let ours = rounds.iter().map(|round| round.ours).collect();
        comparisons.push(Comparison::of_runs(&case, ours, "us", MOST_MICROSECONDS));
        comparisons.push(Comparison::of_rounds(&case, "prost", &rounds, "us", None));
    }
    Ok(comparisons)
}

/// What 10,000 servers of 300 series each, sent on every 15 s, cost in CPU and memory, and what is
/// lost of it.
fn sustained(workspace: &Workspace) -> Result<Vec<Comparison>> {
    build(workspace, "oddns-serve", "ingest")?;
    let program = workspace.target.join("release/examples/ingest");
    let folder = tempfile::tempdir().context("cannot make a scratch folder")?;
    let seconds = std::env::var("ODDNS_BENCH_SECONDS").unwrap_or_else(|_| SECONDS.to_owned());
    let [sent, took, taken, cpu, memory] = flood(&program, folder.path(), &seconds)?;
    let case = |what: &str| format!("200,000 samples/s of 3 million series, {what}");
    Ok(vec![
        Comparison::once(&case("cores"), cpu / took, "cores", 1.0),
        Comparison::once(&case("memory"), memory, "MiB", 1024.0),
        Comparison::once(&case("samples lost"), sent - taken, "samples", 0.0),
        Comparison::once(&case("behind real time"), took / seconds.parse::<f64>()?, "times", 1.05),
    ])
}

/// Samples sent, seconds that took, samples taken, CPU seconds and MiB of the receiver.
fn flood(program: &Path, folder: &Path, seconds: &str) -> Result<[f64; 5]> {
    let mut receiver = Command::new(program);
    receiver.arg("receive").arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut receiver = receiver.spawn().context("cannot start the receiver")?;
    let mut output = BufReader::new(receiver.stdout.take().context("it has no output")?);
    let mut address = String::new();
    output.read_line(&mut address).context("the receiver names no address")?;
    let sent = numbers(Command::new(program).args(["send", address.trim(), SERVERS, seconds]))?;
    // The end of its input ends it.
    drop(receiver.stdin.take());
    let mut text = String::new();
    output.read_to_string(&mut text).context("the receiver says nothing")?;
    receiver.wait().context("the receiver did not end")?;
    let received: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    ensure!(sent.len() == 2 && received.len() == 3, "unexpected figures: `{text}`");
    Ok([sent[0], sent[1], received[0], received[1], received[2]])
}

fn build(workspace: &Workspace, package: &str, example: &str) -> Result<()> {
    let mut cargo = process::cargo();
    cargo.args(["build", "--release", "--package", package, "--example", example]);
    process::run(cargo.current_dir(&workspace.root))
}

fn figure(command: &mut Command) -> Result<f64> {
    numbers(command)?.first().copied().context("it printed no figure")
}

fn numbers(command: &mut Command) -> Result<Vec<f64>> {
    let output = command.stderr(Stdio::inherit()).output().context("cannot run a bench program")?;
    ensure!(output.status.success(), "a bench program failed: {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().filter_map(|word| word.parse().ok()).collect())
}
