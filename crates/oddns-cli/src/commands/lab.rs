//! `oddns lab`.

use std::time::Duration;

use anyhow::Context;
use oddns_lab::{Lab, LabConfig, Phase, phases};
use oddns_sim::{FAULTS, Fault, Scenario, Sign};
use oddns_store::{Dataset, LabelledInterval, write_labels};
use serde_json::{Value, json};

use crate::args::{Collect, LabCommand, LabRun, Output, OutputArgs, Retention};
use crate::commands::{collect, simulate};
use crate::output;

pub(crate) fn run(command: &LabCommand) -> anyhow::Result<()> {
    match command {
        LabCommand::Faults(args) => faults(args),
        LabCommand::Run(args) => play(args),
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
    let scenario = simulate::scenario(&args.scenario)?;
    let (config, phases) =
        (LabConfig::from_scenario(&args.coredns, &scenario)?, phases(&scenario)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the lab")?;
    let labels = runtime.block_on(record(args, config, &phases, &scenario))?;
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

/// Records while the scenario is played. What was recorded until a server died is kept.
async fn record(
    args: &LabRun,
    config: LabConfig,
    phases: &[Phase],
    scenario: &Scenario,
) -> anyhow::Result<Vec<LabelledInterval>> {
    let mut lab = Lab::start(config).await?;
    let targets =
        lab.metrics_urls().iter().map(|url| url.parse()).collect::<Result<Vec<_>, _>>()?;
    let collected = Collect {
        targets,
        config_file: None,
        prometheus: None,
        max_requests_per_second: f64::INFINITY,
        bearer_token_file: None,
        username: None,
        password_file: None,
        since: None,
        until: None,
        jobs: Vec::new(),
        selector: None,
        out: args.out.clone(),
        retention: Retention::default(),
        length: Some(Duration::from_secs_f64(scenario.length.as_seconds())),
        every: Some(Duration::from_secs_f64(scenario.every.as_seconds())),
        output: OutputArgs { output: Output::Text },
    };
    let (played, recorded) = tokio::join!(lab.play(phases), collect::record(&collected));
    recorded?;
    let labels: Vec<LabelledInterval> = lab.labels().iter().map(label).collect();
    write_labels(&args.out.join("labels.csv"), &labels)?;
    describe(args, &lab, scenario, &labels)?;
    played?;
    Ok(labels)
}

fn label(label: &oddns_lab::LabelInterval) -> LabelledInterval {
    LabelledInterval {
        kind: label.kind.clone(),
        start: label.start,
        end: label.end,
        instance: Some(label.instance.clone()).filter(|instance| instance != "*"),
        anomalous: label.anomalous,
    }
}

fn describe(
    args: &LabRun,
    lab: &Lab,
    scenario: &Scenario,
    labels: &[LabelledInterval],
) -> anyhow::Result<()> {
    let Some(mut dataset) = Dataset::read(&args.out)? else { return Ok(()) };
    dataset.description = Some(format!("{} Played by `oddns lab run`.", scenario.description));
    dataset.seed = Some(scenario.seed);
    dataset.normal_from = dataset.start;
    dataset.normal_until = labels.iter().map(|label| label.start).min().or(dataset.end);
    dataset.coredns_version = lab.servers().first().map(|server| server.version().to_owned());
    dataset.corefile = lab.servers().first().map(oddns_lab::CoreDns::corefile);
    dataset.write(&args.out)?;
    Ok(())
}
