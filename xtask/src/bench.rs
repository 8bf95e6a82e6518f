//! Measurements against a bar or a peer, one JSON line for each comparison.

mod comparison;
mod coredns;
mod demo;
mod detectors;
mod fleet;
mod ingest;
mod leaderboard;
mod learning;
mod libraries;
mod live;
mod memory;
mod model;
mod page;
mod parse;
mod python;
mod sender;
mod soak;
mod store;
mod worker;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;
use comparison::Comparison;
pub(crate) use detectors::Suite;
pub(crate) use soak::Options as Soak;

struct Bench {
    name: &'static str,
    run: fn(&Workspace) -> Result<Vec<Comparison>>,
}

const BENCHES: &[Bench] = &[
    Bench { name: "demo", run: demo::warm },
    Bench { name: "demo-cold", run: demo::cold },
    Bench { name: "fleet", run: fleet::run },
    Bench { name: "live", run: live::run },
    Bench { name: "memory", run: memory::run },
    Bench { name: "ingest", run: ingest::run },
    Bench { name: "ingest-decode", run: ingest::decode },
    Bench { name: "learning", run: learning::run },
    Bench { name: "learning-quick", run: learning::quick },
    Bench { name: "model", run: model::run },
    Bench { name: "parse", run: parse::run },
    Bench { name: "python", run: python::run },
    Bench { name: "sender", run: sender::run },
    Bench { name: "store", run: store::run },
    Bench { name: "torture", run: store::torture },
];

/// What can be asked for.
pub(crate) fn names() -> Vec<&'static str> {
    let others = [detectors::NAME, leaderboard::NAME, soak::NAME];
    BENCHES.iter().map(|bench| bench.name).chain(others).collect()
}

/// Runs one bench, on `suite` where it is about detectors and as `soak` says where it is long, and
/// prints its comparisons, all of them even when one misses its bar; the leaderboard goes into its
/// page instead.
///
/// # Errors
/// When there is no such bench, it cannot be measured, or a bar is missed.
pub(crate) fn run(name: &str, suite: &Suite, soak: &Soak) -> Result<()> {
    let workspace = Workspace::find()?;
    if name == leaderboard::NAME {
        return leaderboard::run(&workspace, suite);
    }
    let comparisons = if name == detectors::NAME {
        detectors::run(&workspace, suite)?
    } else if name == soak::NAME {
        soak.check()?;
        soak::run(&workspace, soak)?
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
