//! `oddns lab`.

mod binaries;
mod play;

use oddns_lab::{LabConfig, phases};
use oddns_sim::{FAULTS, Fault, Sign};
use oddns_store::StoreError;
use serde_json::{Value, json};

pub(crate) use self::binaries::Binaries;
pub(crate) use self::play::{Play, described, runtime};
use crate::args::{LabCommand, LabEffects, LabRun, Output, OutputArgs};
use crate::commands::simulate;
use crate::{effects, output};

pub(crate) fn run(command: &LabCommand) -> anyhow::Result<()> {
    match command {
        LabCommand::Faults(args) => faults(args),
        LabCommand::Run(args) => play(args),
        LabCommand::Effects(args) => measure(args),
    }
}

fn faults(args: &OutputArgs) -> anyhow::Result<()> {
    if args.output == Output::Json {
        output::json(&Value::Array(FAULTS.iter().map(as_json).collect()));
        return Ok(());
    }
    output::line(format!(
        "{:<22} {:<13} {:<8} {:<4} {}",
        "fault", "family", "", "lab", "what is done"
    ));
    for fault in FAULTS {
        let sort = match (fault.anomalous, fault.visible) {
            (false, _) => "benign",
            (true, true) => "visible",
            (true, false) => "hidden",
        };
        let lab = if in_lab(fault) { "yes" } else { "" };
        let family = fault.family.to_string();
        let what = strength(fault);
        output::line(format!(
            "{:<22} {family:<13} {sort:<8} {lab:<4} {}{what}",
            fault.name, fault.doc
        ));
    }
    Ok(())
}

/// How strong it can be, in a bracket; empty for what has no strength.
fn strength(fault: &Fault) -> String {
    let oddns_sim::Strength { what, low, usual, high } = fault.strength;
    if what.is_empty() {
        return String::new();
    }
    format!(" ({what}: {low} to {high}, usually {usual})")
}

fn in_lab(fault: &Fault) -> bool {
    oddns_lab::fault(fault.name).is_ok()
}

fn as_json(fault: &Fault) -> Value {
    let features: serde_json::Map<String, Value> = fault
        .features
        .iter()
        .map(|(feature, sign)| {
            ((*feature).to_owned(), json!(if *sign == Sign::Up { 1 } else { -1 }))
        })
        .collect();
    json!({
        "name": fault.name,
        "doc": fault.doc,
        "family": fault.family.to_string(),
        "anomalous": fault.anomalous,
        "visible": fault.visible,
        "lab": in_lab(fault),
        "incidents": fault.incidents.split_whitespace().collect::<Vec<_>>(),
        "strength": {
            "what": fault.strength.what,
            "low": fault.strength.low,
            "usual": fault.strength.usual,
            "high": fault.strength.high,
        },
        "features": features,
    })
}

fn play(args: &LabRun) -> anyhow::Result<()> {
    let mut scenario = simulate::scenario(&args.scenario)?;
    scenario.coredns = args.coredns.release.unwrap_or(scenario.coredns);
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    if let Some(corefile) = args.corefile {
        scenario = scenario.with_corefile(corefile);
    }
    simulate::tell_remarks(&args.scenario, &scenario);
    if args.out.join("dataset.json").exists() {
        return Err(StoreError::Exists { path: args.out.clone() }.into());
    }
    let Binaries { usual, other } = Binaries::find(&args.coredns, scenario.coredns)?;
    let mut config = LabConfig::from_scenario(usual, &scenario)?;
    config.other_coredns = other;
    config.pods = simulate::pods(&args.pods, &scenario)?;
    let phases = phases(&scenario, &config)?;
    let by = "oddns lab run";
    let play = Play { out: &args.out, scenario: &scenario, config, phases, by };
    let labels = runtime()?.block_on(play.run())?;
    if args.output.output == Output::Json {
        let out = args.out.display().to_string();
        output::json(&json!({ "out": out, "labels": labels.len() }));
    } else {
        let n = labels.len();
        output::line(format!(
            "played {n} faults and changes, recorded in `{}`",
            args.out.display()
        ));
    }
    Ok(())
}

fn measure(args: &LabEffects) -> anyhow::Result<()> {
    let effects = effects::measure(&args.data)?;
    match args.output.output {
        Output::Json => output::json(&effects.to_json()),
        Output::Text => effects.print(),
    }
    Ok(())
}
