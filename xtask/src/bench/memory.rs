//! Resident memory of another process, as Linux counts it; and what training on a long history takes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::comparison::Comparison;
use super::demo::{self, Running};
use crate::process;
use crate::workspace::Workspace;

const POLL: Duration = Duration::from_millis(50);
const TRAIN_MIB: f64 = 1024.0;

/// Data to train on: what `made_history` takes.
struct Case {
    name: &'static str,
    what: &'static str,
    n_rows: usize,
    width: usize,
}

const CASES: [Case; 2] = [
    Case { name: "train, a frame of 1 M × 64", what: "frame", n_rows: 1_000_000, width: 64 },
    // Two weeks, with as many series as a large server has.
    Case { name: "train, 14 days of 300 series", what: "folder", n_rows: 80_640, width: 300 },
];

/// Peak resident memory of `oddns train` at its defaults.
pub(super) fn run(workspace: &Workspace) -> Result<Vec<Comparison>> {
    let mut cargo = process::cargo();
    cargo.args(["build", "--release", "--package", "oddns-store", "--example", "made_history"]);
    process::run(cargo.current_dir(&workspace.root))?;
    let maker = workspace.target.join("release/examples/made_history");
    let oddns = demo::build(workspace)?;
    let mut comparisons = vec![];
    for case in &CASES {
        let scratch = tempfile::tempdir().context("cannot make a scratch folder")?;
        let data = scratch.path().join("data");
        let mut make = Command::new(&maker);
        make.arg(case.what).arg(data.with_extension("parquet"));
        process::run(make.args([case.n_rows.to_string(), case.width.to_string()]))?;
        let mib = train_mib(&oddns, &data.with_extension("parquet"), scratch.path())?;
        comparisons.push(Comparison::once(case.name, mib, "MiB", TRAIN_MIB));
    }
    Ok(comparisons)
}

fn train_mib(oddns: &Path, data: &Path, scratch: &Path) -> Result<f64> {
    let mut train = Command::new(oddns);
    train.arg("train").arg("--data").arg(data).arg("--out").arg(scratch.join("model.keras"));
    let train = train.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let mut train = Running(train.context("cannot start `oddns train`")?);
    let mut most: f64 = 0.0;
    loop {
        // Of a process that has ended nothing is known any more.
        most = peak_mib(train.0.id()).map_or(most, |mib| most.max(mib));
        match train.0.try_wait()? {
            None => std::thread::sleep(POLL),
            Some(status) if status.success() => return Ok(most),
            Some(status) => bail!("`oddns train` ended with {status}"),
        }
    }
}

/// The highest resident memory of process `id` so far, in MiB.
///
/// # Errors
/// When there is no such process.
pub(super) fn peak_mib(id: u32) -> Result<f64> {
    mib(id, "VmHWM")
}

/// The resident memory of process `id` now, in MiB.
///
/// # Errors
/// When there is no such process.
pub(super) fn resident_mib(id: u32) -> Result<f64> {
    mib(id, "VmRSS")
}

fn mib(id: u32, field: &str) -> Result<f64> {
    let path = format!("/proc/{id}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
    let kib = kib(&status, field).with_context(|| format!("no `{field}` in `{path}`"))?;
    Ok(kib / 1024.0)
}

fn kib(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_read_by_its_whole_name() {
        let status = "VmHWMx:\t 1 kB\nVmHWM:\t   61440 kB\nVmRSS:\t   2048 kB\n";
        assert_eq!(kib(status, "VmHWM"), Some(61_440.0));
        assert_eq!(kib(status, "VmPeak"), None);
        assert_eq!(kib("VmHWM:\t many kB\n", "VmHWM"), None);
    }

    #[test]
    fn this_process_takes_between_one_and_a_thousand_mib() {
        let mib = peak_mib(std::process::id()).unwrap();
        assert!((1.0..1000.0).contains(&mib), "{mib}");
    }
}
