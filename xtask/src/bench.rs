//! Measurements against a bar or a peer, one JSON line for each comparison.

mod comparison;
mod coredns;
mod demo;
mod detectors;
mod ingest;
mod libraries;
mod live;
mod memory;
mod model;
mod parse;
mod store;
mod worker;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;
use comparison::Comparison;
pub(crate) use detectors::Suite;

struct Bench {
    name: &'static str,
    run: fn(&Workspace) -> Result<Vec<Comparison>>,
}

const BENCHES: &[Bench] = &[
    Bench { name: "demo", run: demo::warm },
    Bench { name: "demo-cold", run: demo::cold },
    Bench { name: "live", run: live::run },
    Bench { name: "memory", run: memory::run },
    Bench { name: "ingest", run: ingest::run },
    Bench { name: "ingest-decode", run: ingest::decode },
    Bench { name: "model", run: model::run },
    Bench { name: "parse", run: parse::run },
    Bench { name: "store", run: store::run },
    Bench { name: "torture", run: store::torture },
];

/// What can be asked for.
pub(crate) fn names() -> Vec<&'static str> {
    BENCHES.iter().map(|bench| bench.name).chain([detectors::NAME]).collect()
}

/// Runs one bench, on `suite` where it is about detectors, and prints its comparisons, all of them even when one misses its bar.
///
/// # Errors
/// When there is no such bench, it cannot be measured, or a bar is missed.
pub(crate) fn run(name: &str, suite: &Suite) -> Result<()> {
    let workspace = Workspace::find()?;
    let comparisons = if name == detectors::NAME {
        detectors::run(&workspace, suite)?
    } else {
        let bench = BENCHES.iter().find(|bench| bench.name == name);
        let bench = bench.with_context(|| format!("there is no bench `{name}`"))?;
        (bench.run)(&workspace)?
    };
    for comparison in &comparisons {
        println!("{}", comparison.to_json(name));
    }
    let missed = comparisons.iter().filter(|comparison| !comparison.holds());
    let missed: Vec<&str> = missed.map(|comparison| comparison.case.as_str()).collect();
    if !missed.is_empty() {
        bail!("bar missed: {}", missed.join(", "));
    }
    Ok(())
}
