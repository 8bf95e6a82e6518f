//! `oddns simulate`.

use std::path::Path;
use std::time::{Duration, Instant};

use oddns_core::{Scrape, SeriesTable};
use oddns_lab::{LabError, PlayedPods, Pods};
use oddns_sim::{Label, Scenario, Simulation, Span, built_in, empty_scrape};
use oddns_store::{
    Dataset, HistoryStore, LabelledInterval, ScrapeAppender, StoreError, StoreSettings, Unfinished,
    write_labels,
};
use serde_json::json;

use crate::args::{Output, PodLog, Simulate};
use crate::commands::lab::described;
use crate::exit::{BadInput, Exit, Interrupted};
use crate::{output, progress, signals};

/// Scrapes of each server between two flushes: a day of them at 15 seconds.
const FLUSH_EVERY: u64 = 5760;

/// What was made.
#[derive(Debug, Default)]
pub(crate) struct Made {
    n_scrapes: u64,
    n_samples: u64,
    n_labels: usize,
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
    tell_remarks(&args.scenario, &scenario);
    if let Some(played) = pods(&args.pods, &scenario)? {
        scenario.traffic.load = Some(played.pods.load(played.speed)?);
    }
    let (start, n_servers) = (Instant::now(), scenario.servers);
    let simulation = Simulation::new(scenario);
    let made = write(&args.out, simulation)?;
    print(args, &made, n_servers, start.elapsed().as_secs_f64());
    Ok(())
}

/// Refuses what the simulator cannot do.
pub(crate) fn check_simulated(scenario: &Scenario) -> anyhow::Result<()> {
    if !scenario.corefile.is_simulated() {
        let reason = format!(
            "Corefile `{}` is not simulated: play the scenario with `oddns lab run`, or take another",
            scenario.corefile
        );
        return Err(BadInput(reason).into());
    }
    Ok(scenario.check()?)
}

/// Tells what of a scenario nobody will see.
pub(crate) fn tell_remarks(name: &str, scenario: &Scenario) {
    for remark in scenario.remarks() {
        output::warning(format!("`{name}` {remark}"));
    }
}

/// The scenario that a command names: a file if there is one of that name, else one that comes with
/// the program.
pub(crate) fn scenario(name: &str) -> anyhow::Result<Scenario> {
    let path = Path::new(name);
    // A folder may have the name of a scenario by chance.
    if !path.is_file() {
        let known = built_in(name).map_err(|unknown| BadInput(unknown.to_string()))?;
        return Ok(known?);
    }
    let text =
        std::fs::read(path).map_err(|source| StoreError::Read { path: path.to_owned(), source })?;
    let text = String::from_utf8(text)
        .map_err(|_| BadInput(format!("`{name}` is not a text: a scenario is a YAML file")))?;
    let says_something = |line: &str| !line.trim().is_empty() && !line.trim().starts_with('#');
    if !text.lines().any(says_something) {
        let reason = format!("`{name}` is empty: a scenario begins with `version: 1`");
        return Err(BadInput(reason).into());
    }
    Scenario::parse(&text).map_err(|error| BadInput(format!("{name}: {error}")).into())
}

/// The pods that a command names. What was cut off is told, and when the log is over before the
/// scenario is.
pub(crate) fn pods(args: &PodLog, scenario: &Scenario) -> anyhow::Result<Option<PlayedPods>> {
    let Some(path) = &args.log else { return Ok(None) };
    let shown = path.display();
    let pods = Pods::read(path).map_err(|error| match error {
        LabError::Pods { .. } => BadInput(format!("`{shown}`: {error}")).into(),
        other => anyhow::Error::from(other),
    })?;
    let (start, end) = pods.span();
    if let Some(line) = pods.cut() {
        output::warning(format!("`{shown}` is cut off in line {line}: it is used until {end}"));
    }
    let seconds = pods.load(args.speed)?.seconds();
    if seconds < scenario.length.as_seconds() {
        output::warning(format!(
            "`{shown}` lasts {}, from {start} to {end}, and the scenario {}: then its pods begin anew",
            Span::seconds(seconds),
            scenario.length,
        ));
    }
    Ok(Some(PlayedPods { pods, speed: args.speed }))
}

/// Writes all scrapes of a simulation into a new data set, with its labels. Until all is there it
/// says that it is unfinished; after a signal what is there is kept.
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
    let labels = labels(&simulation);
    signals::listen()?;
    let store = HistoryStore::create(out, &dataset(&simulation), settings)?;
    write_labels(&out.join("labels.csv"), &labels)?;
    let bar = progress::bar(simulation.n_scrapes(), "simulating");
    let mut made = Made { n_labels: labels.len(), ..Made::default() };
    let (mut scrape, mut failed) = (empty_scrape(), None);
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
        if let Some(exit) = signals::seen() {
            store.finish()?;
            return Err(cut_short(out, &labels, exit)?.into());
        }
        if n_steps % FLUSH_EVERY == 0 {
            store.flush()?;
        }
    }
    bar.finish_and_clear();
    store.finish()?;
    if let Some(about) = Dataset::read(out)? {
        Dataset { unfinished: None, ..about }.write(out)?;
    }
    Ok(made)
}

/// Says in a data set that a signal ended its making, and leaves out the labels of later; what is to be
/// told.
fn cut_short(
    out: &Path,
    labels: &[LabelledInterval],
    exit: Exit,
) -> Result<Interrupted, StoreError> {
    let mut about = Dataset::read(out)?.unwrap_or_default();
    about.end("interrupted");
    about.write(out)?;
    let until = about.end.unwrap_or_default();
    let began = labels.iter().filter(|label| label.start < until);
    let cut = began.map(|label| LabelledInterval { end: label.end.min(until), ..label.clone() });
    write_labels(&out.join("labels.csv"), &cut.collect::<Vec<_>>())?;
    let unfinished = about.unfinished.map(|it| it.to_string()).unwrap_or_default();
    let message =
        format!("`{}` {unfinished}; what was simulated is kept, with its labels", out.display());
    Ok(Interrupted { exit, message })
}

fn dataset(simulation: &Simulation) -> Dataset {
    let scenario = simulation.scenario();
    let mut other = serde_json::Map::new();
    other.insert("scenario".to_owned(), json!(scenario.name));
    other.insert("simulated".to_owned(), json!(true));
    Dataset {
        name: scenario.name.clone(),
        description: Some(described(scenario, "Made by `oddns simulate`.")),
        start: Some(scenario.start),
        normal_from: Some(scenario.start),
        normal_until: Some(simulation.normal_until()),
        coredns_version: Some(scenario.coredns.to_string()),
        corefile: Some(scenario.corefile.to_string()),
        seed: Some(scenario.seed),
        scrape_interval_seconds: Some(scenario.every.as_seconds()),
        instances: (0..scenario.servers).map(|place| simulation.instance(place)).collect(),
        licence: Some("CC-BY-4.0".to_owned()),
        unfinished: Some(Unfinished::begun(scenario.length.as_seconds())),
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

fn print(args: &Simulate, made: &Made, n_servers: usize, seconds: f64) {
    let n_labels = made.n_labels;
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
