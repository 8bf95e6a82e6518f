//! `oddns model`.

use std::path::Path;

use anyhow::Context;
use oddns::{Detector, Drift};
use oddns_collect::wall_clock;
use oddns_core::Timestamp;
use oddns_store::{Generation, Promotion, Registry, StoreError};
use serde_json::{Value, json};

use crate::args::{
    ModelAdd, ModelCommand, ModelDiff, ModelList, ModelPromote, ModelRollback, ModelShow, Output,
    RegistryArgs,
};
use crate::exit::BadInput;
use crate::{generations, model_file, output};

/// Features that a comparison shows people.
const SHOWN: usize = 15;
/// Of a server that had a model of its own.
const SHARED_AGAIN: &str = "the shared model judges the server again";

pub(crate) fn run(command: &ModelCommand) -> anyhow::Result<()> {
    match command {
        ModelCommand::Add(args) => add(args),
        ModelCommand::List(args) => list(args),
        ModelCommand::Show(args) => show(args),
        ModelCommand::Diff(args) => diff(args),
        ModelCommand::Promote(args) => promote(args),
        ModelCommand::Rollback(args) => rollback(args),
    }
}

/// The registry that is asked for: the shared one, or that of a server.
fn registry(at: &RegistryArgs) -> Result<Registry, StoreError> {
    let shared = Registry::existing(&at.registry)?;
    match &at.instance {
        Some(instance) => shared.existing_own(instance),
        None => Ok(shared),
    }
}

/// Prints one or the other.
fn print(at: &RegistryArgs, json: Value, lines: Vec<String>) {
    match at.output.output {
        Output::Json => output::json(&json),
        Output::Text => lines.into_iter().for_each(output::line),
    }
}

fn add(args: &ModelAdd) -> anyhow::Result<()> {
    let detector = model_file::read(&args.model)?;
    let bytes = model_file::read_bytes(&args.model)?;
    let shared = Registry::open(&args.at.registry)?;
    let registry = match &args.at.instance {
        Some(instance) => shared.open_own(instance)?,
        None => shared,
    };
    let by = format!("oddns model add, {}", generations::person());
    let generation = registry.add(&bytes, &generations::record(&bytes, &detector, by.clone()))?;
    let is_champion = registry.champion()?.is_none();
    if is_champion {
        let (at, reason) = (wall_clock(), "the first".to_owned());
        registry.promote(Promotion { generation, at, by, reason })?;
    }
    let tail = if is_champion { ", the champion" } else { "" };
    let lines = vec![format!("kept `{}` as generation {generation}{tail}", args.model.display())];
    print(&args.at, json!({ "generation": generation, "champion": is_champion }), lines);
    Ok(())
}

fn list(args: &ModelList) -> anyhow::Result<()> {
    let registry = registry(&args.at)?;
    let generations = registry.list()?;
    let json = generations.iter().map(generations::generation_json).collect();
    let mut lines: Vec<String> = generations.iter().map(line).collect();
    for instance in registry.own_instances()? {
        lines.push(own_line(&registry, &instance)?);
    }
    print(&args.at, json, lines);
    Ok(())
}

/// What a server has for itself.
fn own_line(registry: &Registry, instance: &str) -> Result<String, StoreError> {
    let own = registry.existing_own(instance)?;
    let n = own.list()?.len();
    let judged_by = match own.champion()? {
        Some(champion) => format!("judged by its own generation {}", champion.number),
        None => "judged by the shared model".to_owned(),
    };
    Ok(format!("  server `{instance}`: {judged_by}; {n} kept, see `--instance {instance}`"))
}

fn line(generation: &Generation) -> String {
    let Generation { number, record, is_champion } = generation;
    let mark = if *is_champion { "*" } else { " " };
    let gate = match record.passed {
        None => "not tried",
        Some(true) => "passed",
        Some(false) => "refused",
    };
    let parent = record.parent.map_or("-".to_owned(), |parent| parent.to_string());
    let made = Timestamp::from_millis(record.made_millis);
    let rows = record.n_rows;
    format!(
        "{mark} {number:>5}  {made}  parent {parent:>5}  {rows:>7} rows  {gate:<9}  {}",
        record.by
    )
}

fn show(args: &ModelShow) -> anyhow::Result<()> {
    let registry = registry(&args.at)?;
    let generation = match args.generation {
        Some(number) => registry.generation(number)?,
        None => champion(&registry, &args.at.registry)?,
    };
    let mut lines = vec![line(&generation)];
    let record = &generation.record;
    if let Some((from, until)) = record.range_millis {
        let [from, until] = [from, until].map(Timestamp::from_millis);
        lines.push(format!("learned from {from} to {until}, seed {}", record.seed));
    }
    lines.push(format!("SHA-256 {}", record.sha256));
    lines.extend(record.notes.iter().cloned());
    lines.extend(record.gate.iter().map(generations::figure_line));
    lines.extend(record.reason.iter().map(|reason| format!("refused: {reason}")));
    for Promotion { at, by, reason, generation: of } in registry.history()? {
        if of == generation.number {
            lines.push(format!("champion since {at}: {reason} ({by})"));
        }
    }
    print(&args.at, generations::generation_json(&generation), lines);
    Ok(())
}

fn champion(registry: &Registry, root: &Path) -> anyhow::Result<Generation> {
    let none = || BadInput(format!("`{}` has no champion yet", root.display()));
    Ok(registry.champion()?.ok_or_else(none)?)
}

fn diff(args: &ModelDiff) -> anyhow::Result<()> {
    let registry = registry(&args.at)?;
    let to = match args.to {
        Some(to) => to,
        None => champion(&registry, &args.at.registry)?.number,
    };
    let detector = |number: u64| {
        let bytes = registry.load(number)?;
        Detector::decode(&bytes).with_context(|| format!("generation {number}"))
    };
    let drift = detector(args.from)?.drift(&detector(to)?)?;
    let json = json!({
        "from": args.from,
        "to": to,
        "features": drift.iter().map(drift_json).collect::<Vec<_>>(),
    });
    print(&args.at, json, drift.iter().take(SHOWN).map(drift_line).collect());
    Ok(())
}

fn drift_json(drift: &Drift) -> Value {
    json!({
        "feature": drift.feature,
        "before": output::number(drift.before),
        "after": output::number(drift.after),
        "moved": output::number(drift.moved),
        "spread": output::number(drift.spread),
    })
}

fn drift_line(drift: &Drift) -> String {
    let Drift { feature, before, after, moved, spread } = drift;
    format!(
        "{feature:<34} {before:>12.4} -> {after:>12.4}  moved {moved:>+6.2} sd  spread x{spread:.2}"
    )
}

fn promote(args: &ModelPromote) -> anyhow::Result<()> {
    let registry = registry(&args.at)?;
    let (generation, at, by) = (args.generation, wall_clock(), generations::person());
    if generation == 0 && args.at.instance.is_some() {
        registry.dismiss(at, &by, &args.reason)?;
        print(&args.at, json!({ "champion": null }), vec![SHARED_AGAIN.to_owned()]);
        return Ok(());
    }
    registry.promote(Promotion { generation, at, by, reason: args.reason.clone() })?;
    let lines = vec![format!("generation {generation} is the champion")];
    print(&args.at, json!({ "champion": generation }), lines);
    Ok(())
}

fn rollback(args: &ModelRollback) -> anyhow::Result<()> {
    let registry = registry(&args.at)?;
    let generation = registry.rollback(wall_clock(), &generations::person())?;
    let (champion, line) = match generation {
        0 => (Value::Null, SHARED_AGAIN.to_owned()),
        _ => (generation.into(), format!("generation {generation} is the champion again")),
    };
    print(&args.at, json!({ "champion": champion }), vec![line]);
    Ok(())
}
