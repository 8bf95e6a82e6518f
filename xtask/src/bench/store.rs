//! The history store: its bytes beside Prometheus's, how fast it reads and takes, and whether it
//! keeps what it has synced when it is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use super::comparison::{Against, Comparison};
use crate::process;
use crate::setup;
use crate::workspace::Workspace;

const BYTES_A_SAMPLE: f64 = 1.0;
/// Prometheus's blocks have at least so many times our bytes.
const SMALLER_THAN_PROMETHEUS: f64 = 2.0;
const INSTANCE_DAY_MS: f64 = 100.0;
const SERIES_DAY_MS: f64 = 2.0;
/// 10,000 servers of 300 series, scraped every 15 s.
const INSTANCES: u32 = 10_000;
const SAMPLES_A_SECOND: f64 = 200_000.0;
const APPEND_SECONDS: u32 = 20;
const PEAK_MIB: f64 = 1024.0;
const KILLS: u32 = 200;

/// The data set to measure bytes on; the bundled recording when it is not set.
const DATA: &str = "ODDNS_BENCH_DATA";

/// All comparisons.
pub(super) fn run(workspace: &Workspace) -> Result<Vec<Comparison>> {
    setup::require_prometheus()?;
    let measure = example(workspace, "measure")?;
    let data = match std::env::var_os(DATA) {
        Some(data) => PathBuf::from(data),
        None => workspace.root.join("crates/oddns-cli/data/coredns-normal"),
    };
    let mut comparisons = size(&measure, &data)?;
    comparisons.extend(read(&measure)?);
    comparisons.extend(append(&measure)?);
    Ok(comparisons)
}

/// Kills a writer at random instants and counts what is missing.
pub(super) fn torture(workspace: &Workspace) -> Result<Vec<Comparison>> {
    let torture = example(workspace, "torture")?;
    let found = json(Command::new(torture).arg(KILLS.to_string()))?;
    let synced = number(&found, "synced")?;
    let compared = ["missing", "twice"].into_iter().map(|what| {
        let case = format!("{what} of {synced} synced samples after {KILLS} kills");
        Ok(Comparison::once(&case, number(&found, what)?, "samples", 0.0))
    });
    compared.collect()
}

fn example(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let mut cargo = process::cargo();
    cargo.args(["build", "--release", "--package", "oddns-store", "--example", name]);
    process::run(cargo.current_dir(&workspace.root))?;
    Ok(workspace.target.join("release/examples").join(name))
}

fn size(measure: &Path, data: &Path) -> Result<Vec<Comparison>> {
    let folder = tempfile::tempdir().context("cannot make a scratch folder")?;
    let found = json(Command::new(measure).arg("size").arg(data).arg(folder.path()))?;
    let samples = number(&found, "samples")?;
    let ours = number(&found, "bytes")? / samples;
    let blocks = folder.path().join("blocks");
    let mut promtool = Command::new("promtool");
    promtool.args(["tsdb", "create-blocks-from", "openmetrics"]);
    promtool.arg(folder.path().join("samples.om")).arg(&blocks).stdout(Stdio::null());
    process::run(&mut promtool)?;
    let theirs = bytes(&blocks)? as f64 / samples;
    let against = Against::Peer {
        name: "Prometheus".to_owned(),
        theirs,
        ratio: theirs / ours,
        least: Some(SMALLER_THAN_PROMETHEUS),
    };
    let name = data.file_name().unwrap_or_default().to_string_lossy();
    let case = format!("bytes a sample of `{name}`");
    let beside = Comparison { against, ..Comparison::once(&case, ours, "bytes", 0.0) };
    Ok(vec![Comparison::once(&case, ours, "bytes", BYTES_A_SAMPLE), beside])
}

/// Bytes of all files below `folder`.
fn bytes(folder: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        total += if about.is_dir() { bytes(&entry.path())? } else { about.len() };
    }
    Ok(total)
}

fn read(measure: &Path) -> Result<Vec<Comparison>> {
    let folder = tempfile::tempdir().context("cannot make a scratch folder")?;
    let found = json(Command::new(measure).arg("read").arg(folder.path()))?;
    // What else the machine does makes runs longer, never shorter: so the quickest one as well.
    let of_runs = |case: &str, key: &str, bar| -> Result<[Comparison; 2]> {
        let runs = found[key].as_array().context("no list of runs")?;
        let runs: Vec<f64> = runs.iter().filter_map(Value::as_f64).collect();
        let quickest = runs.iter().copied().fold(f64::INFINITY, f64::min);
        let case_of_one = format!("{case}, quickest of {}", runs.len());
        let quickest = Comparison::once(&case_of_one, quickest, "ms", bar);
        Ok([Comparison::of_runs(case, runs, "ms", bar), quickest])
    };
    let instance = "a day of 300 series of one of 20 servers";
    let instance = of_runs(instance, "instance_day_ms", INSTANCE_DAY_MS)?;
    let series = of_runs("a day of one of 6,000 series", "series_day_ms", SERIES_DAY_MS)?;
    let of_processor = |what: &str, key: &str, bar| {
        let case = format!("processor time for {what}");
        Ok::<_, anyhow::Error>(Comparison::once(&case, number(&found, key)?, "ms", bar))
    };
    let processor = [
        of_processor("a server's day", "instance_day_cpu_ms", INSTANCE_DAY_MS)?,
        of_processor("a series' day", "series_day_cpu_ms", SERIES_DAY_MS)?,
    ];
    Ok(instance.into_iter().chain(series).chain(processor).collect())
}

fn append(measure: &Path) -> Result<Vec<Comparison>> {
    let mut command = Command::new(measure);
    command.args(["append", &INSTANCES.to_string(), &APPEND_SECONDS.to_string()]);
    let found = json(&mut command)?;
    let samples = number(&found, "samples")?;
    let cores = number(&found, "cpu_seconds")? / samples * SAMPLES_A_SECOND;
    let appending = number(&found, "append_cpu_seconds")? / samples * SAMPLES_A_SECOND;
    Ok(vec![
        Comparison::once(
            "cores for 200,000 samples/s, until they are Parquet",
            cores,
            "cores",
            1.0,
        ),
        Comparison::once("cores for 200,000 samples/s, into the log", appending, "cores", 1.0),
        Comparison::once("peak rss with 3 M series", number(&found, "peak_mib")?, "MiB", PEAK_MIB),
    ])
}

fn json(command: &mut Command) -> Result<Value> {
    let text = process::output(command)?;
    serde_json::from_str(&text).with_context(|| format!("no JSON: `{text}`"))
}

fn number(found: &Value, key: &str) -> Result<f64> {
    found[key].as_f64().with_context(|| format!("no number `{key}` in {found}"))
}
