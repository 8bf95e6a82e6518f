//! `oddns simulate`.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use oddns_core::{Scrape, SeriesTable};
use oddns_lab::{PlayedPods, Pods};
use oddns_sim::{Label, Scenario, Simulation, built_in, empty_scrape};
use oddns_store::{
    Dataset, HistoryStore, LabelledInterval, ScrapeAppender, StoreSettings, write_labels,
};
use serde_json::json;

use crate::args::{Output, PodLog, Simulate};
use crate::exit::BadInput;
use crate::{output, progress};

/// Scrapes of each server between two flushes: a day of them at 15 seconds.
const FLUSH_EVERY: u64 = 5760;

/// What was made.
#[derive(Debug, Default)]
pub(crate) struct Made {
    n_scrapes: u64,
    n_samples: u64,
}

pub(crate) fn run(args: &Simulate) -> anyhow::Result<()> {
    let mut scenario = scenario(&args.scenario)?;
    scenario.length = args.length.unwrap_or(scenario.length);
    scenario.every = args.every.unwrap_or(scenario.every);
    scenario.servers = args.servers.map_or(scenario.servers, usize::from);
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    scenario.coredns = args.coredns.unwrap_or(scenario.coredns);
    if let Some(corefile) = args.corefile {
        scenario = scenario.with_corefile(corefile);
    }
    check_simulated(&scenario)?;
    if let Some(played) = pods(&args.pods)? {
        scenario.traffic.load = Some(played.pods.load(played.speed)?);
    }
    let (start, n_servers) = (Instant::now(), scenario.servers);
    let simulation = Simulation::new(scenario);
    let labels = labels(&simulation);
    let made = write(&args.out, simulation)?;
    write_labels(&args.out.join("labels.csv"), &labels)?;
    print(args, &made, n_servers, labels.len(), start.elapsed().as_secs_f64());
    Ok(())
}

fn check_simulated(scenario: &Scenario) -> Result<(), BadInput> {
    if scenario.corefile.is_simulated() {
        return Ok(());
    }
    Err(BadInput(format!(
        "Corefile `{}` is not simulated: play the scenario with `oddns lab run`, or take another",
        scenario.corefile
    )))
}

/// The scenario that a command names: a file if there is one of that name, else one that comes with
/// the program.
pub(crate) fn scenario(name: &str) -> anyhow::Result<Scenario> {
    let path = Path::new(name);
    // A folder may have the name of a scenario by chance.
    if !path.is_file() {
        return match built_in(name) {
            Ok(scenario) => Ok(scenario?),
            Err(nearest) => Err(BadInput(format!(
                "there is no file `{name}` and no scenario of that name: did you mean `{nearest}`?"
            ))
            .into()),
        };
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{name}`"))?;
    Scenario::parse(&text).map_err(|error| BadInput(format!("{name}: {error}")).into())
}

/// The pods that a command names; what was cut off is told.
pub(crate) fn pods(args: &PodLog) -> anyhow::Result<Option<PlayedPods>> {
    let Some(path) = &args.log else { return Ok(None) };
    let pods = Pods::read(path).with_context(|| format!("`{}`", path.display()))?;
    if let Some(line) = pods.cut() {
        let (_, end) = pods.span();
        output::warning(format!(
            "`{}` is cut off in line {line}: its pods are used until {end}",
            path.display()
        ));
    }
    Ok(Some(PlayedPods { pods, speed: args.speed }))
}

/// Writes all scrapes of a simulation into a new data set.
pub(crate) fn write(out: &Path, mut simulation: Simulation) -> anyhow::Result<Made> {
    let n_servers = simulation.scenario().servers;
    let instances: Vec<String> = (0..n_servers).map(|place| simulation.instance(place)).collect();
    let mut appenders: Vec<_> = instances.iter().map(|i| ScrapeAppender::new(i)).collect();
    // Parts end where a day ends, not where the clock says, so that a seed makes the same bytes.
    let settings = StoreSettings {
        segment_age: Duration::MAX,
        segment_bytes: StoreSettings::default().max_log_bytes,
        max_ahead: None,
        ..StoreSettings::default()
    };
    let store = HistoryStore::create(out, &dataset(out, &simulation), settings)?;
    let bar = progress::bar(simulation.n_scrapes(), "simulating");
    let (mut made, mut scrape, mut failed) = (Made::default(), empty_scrape(), None);
    let mut n_steps = 0;
    loop {
        let take = |place: usize, table: &SeriesTable, scrape: &Scrape| {
            made.n_scrapes += 1;
            made.n_samples += scrape.samples.len() as u64;
            if let Err(error) = appenders[place].append(&store, table, scrape) {
                failed.get_or_insert(error);
            }
        };
        let more = simulation.advance(&mut scrape, take);
        if let Some(error) = failed.take() {
            return Err(error.into());
        }
        if !more {
            break;
        }
        n_steps += 1;
        bar.inc(1);
        if n_steps % FLUSH_EVERY == 0 {
            store.flush()?;
        }
    }
    bar.finish_and_clear();
    store.finish()?;
    Ok(made)
}

fn dataset(out: &Path, simulation: &Simulation) -> Dataset {
    let scenario = simulation.scenario();
    let name = out.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned());
    let mut other = serde_json::Map::new();
    other.insert("scenario".to_owned(), json!(scenario.name));
    other.insert("simulated".to_owned(), json!(true));
    Dataset {
        name,
        description: Some(format!("{} Made by `oddns simulate`.", scenario.description)),
        start: Some(scenario.start),
        normal_from: Some(scenario.start),
        normal_until: Some(simulation.normal_until()),
        coredns_version: Some(scenario.coredns.to_string()),
        corefile: Some(scenario.corefile.to_string()),
        seed: Some(scenario.seed),
        scrape_interval_seconds: Some(scenario.every.as_seconds()),
        instances: (0..scenario.servers).map(|place| simulation.instance(place)).collect(),
        licence: Some("CC-BY-4.0".to_owned()),
        other,
        ..Dataset::default()
    }
}

/// What is done to the servers, as `labels.csv` has it.
pub(crate) fn labels(simulation: &Simulation) -> Vec<LabelledInterval> {
    let interval = |label: Label| LabelledInterval {
        kind: label.kind.to_owned(),
        start: label.start,
        end: label.end,
        instance: label.server.map(|place| simulation.instance(place)),
        anomalous: label.anomalous,
    };
    simulation.labels().into_iter().map(interval).collect()
}

fn print(args: &Simulate, made: &Made, n_servers: usize, n_labels: usize, seconds: f64) {
    if args.output.output == Output::Json {
        return output::json(&json!({
            "out": args.out.display().to_string(),
            "servers": n_servers,
            "scrapes": made.n_scrapes,
            "samples": made.n_samples,
            "labels": n_labels,
            "seconds": seconds,
        }));
    }
    output::line(format!(
        "simulated {n_servers} servers, {} scrapes, {} samples and {n_labels} labels, in `{}`",
        made.n_scrapes,
        made.n_samples,
        args.out.display()
    ));
}
