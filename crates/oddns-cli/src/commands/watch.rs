//! `oddns watch`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use oddns::{Detector, FEATURES, IncidentEvent, State};
use oddns_collect::{Discovery, Job, JobConfig, format_duration};
use oddns_core::{Schema, Score};
use oddns_serve::{
    DEFAULT_LISTEN_ADDRESS, DEFAULT_SCRAPE_INTERVAL, DEFAULT_SCRAPE_TIMEOUT, Event, Keep,
    ModelInfo, ReceiverSettings, Receiving, ServeError, Shared, StateFolder, StoreKeep, View,
};
use oddns_store::{HistoryStore, StoreSettings, incident_json};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::args::{Output, Retention, Watch};
use crate::commands::check_config;
use crate::exit::BadUse;
use crate::{model_file, output};

/// Events that may wait for a slow terminal.
const EVENT_QUEUE: usize = 1024;
/// Threads of the runtime: scraping and serving wait most of the time.
const N_THREADS: usize = 2;

/// What to do, from the configuration file and the command line.
struct Plan {
    jobs: Vec<Arc<Job>>,
    listen_address: SocketAddr,
    model: Arc<Detector>,
    states: Option<StateFolder>,
    receives: bool,
    /// Where to keep what is scraped and received.
    storage: Option<Arc<HistoryStore>>,
}

pub(crate) fn run(args: &Watch) -> anyhow::Result<()> {
    let plan = plan(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(N_THREADS)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    runtime.block_on(serve(plan, args.output.output))
}

fn plan(args: &Watch) -> anyhow::Result<Plan> {
    let config = args.config_file.as_deref().map(check_config::read).transpose()?;
    let written = config.as_ref().and_then(|config| config.model.clone());
    let path = args.model.clone().or(written).ok_or_else(no_model)?;
    let model = model_file::read(&path)?;
    check_features(&path, &model)?;
    check_distinct(args.targets.iter())?;
    let jobs = match &config {
        Some(config) => config.jobs.clone(),
        None => jobs(args, &model),
    };
    let has_targets = jobs.iter().any(|job| !job.discoveries.is_empty());
    if !has_targets && !args.enable_remote_write_receiver {
        return Err(BadUse(ServeError::NoTargets.to_string()).into());
    }
    let jobs = jobs.into_iter().map(Job::new).collect();
    let written = config.map_or(DEFAULT_LISTEN_ADDRESS, |config| config.listen_address);
    let listen_address = args.listen_address.unwrap_or(written);
    let states = args.state.as_deref().map(StateFolder::open).transpose()?;
    let receives = args.enable_remote_write_receiver;
    let storage = args.storage_path.as_deref().map(|folder| open(folder, &args.retention));
    let storage = storage.transpose()?.map(Arc::new);
    Ok(Plan { jobs, listen_address, model, states, receives, storage })
}

/// Refuses a model of other features before anything is said to be watched.
fn check_features(path: &Path, model: &Detector) -> anyhow::Result<()> {
    let names = FEATURES.iter().map(|feature| feature.name.to_owned()).collect();
    model.check_schema(&Schema::new(names)).with_context(|| format!("`{}`", path.display()))
}

/// Refuses a target given twice: the scrapes of both would mix under one name.
pub(crate) fn check_distinct<'a>(
    targets: impl Iterator<Item = &'a oddns_collect::Target>,
) -> Result<(), BadUse> {
    let mut seen = HashSet::new();
    for target in targets {
        let instance = target.instance();
        if !seen.insert(instance.clone()) {
            let message =
                format!("target `{instance}` is given twice: give each host and port once");
            return Err(BadUse(message));
        }
    }
    Ok(())
}

fn no_model() -> BadUse {
    BadUse(
        "no model: name one with `--model`; to make one, record normal operation with `oddns collect` \
         and learn it with `oddns train`"
            .to_owned(),
    )
}

/// Targets of the command line, scraped as often as the model's data was. They are one job to the
/// judge: it goes by the name.
fn jobs(args: &Watch, model: &Detector) -> Vec<JobConfig> {
    let learned = f64::from(model.record().interval_seconds);
    let learned = Duration::try_from_secs_f64((learned * 1000.0).round() / 1000.0);
    let learned = learned.ok().filter(|interval| !interval.is_zero());
    let interval = args.every.or(learned).unwrap_or(DEFAULT_SCRAPE_INTERVAL);
    let job = |target| JobConfig {
        interval,
        timeout: DEFAULT_SCRAPE_TIMEOUT.min(interval),
        ..JobConfig::of_target("command-line", target)
    };
    args.targets.iter().map(job).collect()
}

/// Listens, or says what is in the way.
pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen at {address}: choose another place with `--web.listen-address`")
    })
}

/// Ends with the first interrupt or request to terminate from now on, polled or not: a signal that
/// comes as soon as the page is there must not find nobody listening.
pub(crate) fn interrupted() -> impl Future<Output = ()> + Send {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

async fn serve(plan: Plan, output: Output) -> anyhow::Result<()> {
    let listener = bind(plan.listen_address).await?;
    let address = listener.local_addr().context("cannot tell the page's address")?;
    announce(output, &plan, address);
    let shared = Shared::new(View::new("oddns", true));
    if let Some(store) = &plan.storage {
        shared.metrics().storage().keep_in(Arc::clone(store));
    }
    let storage = plan.storage.clone();
    let (stop, stopped) = watch::channel(false);
    let ended = |mut stopped: watch::Receiver<bool>| async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let page = tokio::spawn(oddns_serve::run(listener, shared.clone(), ended(stopped.clone())));
    let (events, received) = mpsc::channel(EVENT_QUEUE);
    let telling = tokio::spawn(tell(received, output, plan.model.clone()));
    let stop_watching = stop.clone();
    tokio::spawn(async move {
        interrupted().await;
        let _ = stop_watching.send(true);
    });
    let id = model_file::id(&plan.model)?;
    shared.set_model(ModelInfo::of(&plan.model, id.clone()));
    let receiving = plan.receives.then(|| receive(&plan, &shared, events.clone())).transpose()?;
    let watching = async {
        let Plan { jobs, model, states, .. } = plan;
        if jobs.iter().all(|job| job.config().discoveries.is_empty()) {
            // All servers are known by what is received.
            drop(events);
            ended(stopped).await;
            return Ok(());
        }
        oddns_serve::watch(jobs, model, id, states, shared, events, ended(stopped)).await
    };
    let watching = watching.await;
    // When watching failed by itself, the page ends too.
    let _ = stop.send(true);
    let stopped = receiving.map(|receiving| tokio::task::spawn_blocking(|| receiving.stop()));
    let _ = tokio::join!(page, telling);
    watching?;
    if let Some(stopped) = stopped {
        stopped.await.context("cannot end receiving")??;
    }
    if let Some(store) = storage {
        tokio::task::spawn_blocking(move || store.flush())
            .await
            .context("cannot end storing")??;
    }
    Ok(())
}

/// Begins to take remote writes.
fn receive(
    plan: &Plan,
    shared: &Arc<Shared>,
    events: mpsc::Sender<Event>,
) -> anyhow::Result<Receiving> {
    let keep = |store: &Arc<HistoryStore>| -> Box<dyn Keep> {
        Box::new(StoreKeep::new(Arc::clone(store)))
    };
    let keep = plan.storage.as_ref().map(keep);
    let (model, states) = (plan.model.clone(), plan.states.clone());
    let judges = oddns_serve::judges_of(model, states, events.clone());
    oddns_serve::receive(ReceiverSettings::default(), keep, Some(judges), shared, events)
        .context("cannot start a thread for what is received")
}

fn open(folder: &Path, retention: &Retention) -> anyhow::Result<HistoryStore> {
    let settings = StoreSettings {
        retention_time: retention.time,
        retention_bytes: retention.bytes,
        ..StoreSettings::default()
    };
    let store = HistoryStore::open(folder, settings)?;
    let recovery = store.recovery();
    if !recovery.was_closed {
        output::line(format!(
            "`{}` was not closed: {} samples of its log are kept, what came after the last sync is lost",
            folder.display(),
            recovery.samples
        ));
    }
    Ok(store)
}

fn announce(output: Output, plan: &Plan, address: SocketAddr) {
    if output == Output::Json {
        return output::json(&json!({ "event": "listening", "address": address.to_string() }));
    }
    for job in &plan.jobs {
        // What cannot be scraped is told when it is tried.
        for target in job.static_targets().unwrap_or_default() {
            let every = format_duration(target.interval);
            output::line(format!("watching {} every {every}", target.target));
        }
        if job.config().discoveries.iter().any(Discovery::is_dynamic) {
            let every = format_duration(job.config().interval);
            let name = &job.config().name;
            output::line(format!("watching what is found for job `{name}` every {every}"));
        }
    }
    if plan.receives {
        output::line(format!("remote write: http://{address}/api/v1/write"));
    }
    output::line(format!("page and metrics: http://{address}/"));
}

/// Prints events until there will be no more.
async fn tell(mut events: mpsc::Receiver<Event>, output: Output, model: Arc<Detector>) {
    while let Some(event) = events.recv().await {
        match output {
            Output::Text => print(&event, &model),
            Output::Json => print_json(&event, &model),
        }
    }
}

fn print(event: &Event, model: &Detector) {
    match event {
        Event::State { instance, time, state } => {
            output::line(format!("{} {instance} {state}", time.clock()));
        }
        Event::Score { instance, score } => output::line(score_line(instance, score, model)),
        Event::Incident(event) => {
            let what = match event {
                IncidentEvent::Opened(_) => "INCIDENT begins",
                IncidentEvent::Updated(_) => "INCIDENT, known better",
                IncidentEvent::Closed(_) => "INCIDENT over",
            };
            output::line(what);
            for group in output::groups(std::iter::once(event.incident())) {
                group.print(model);
            }
        }
        Event::ScrapeFailed { instance, time, error } => {
            output::line(format!("{} {instance} scrape failed: {error}", time.clock()));
        }
        Event::ScrapeRecovered { instance, time } => {
            output::line(format!("{} {instance} answers again", time.clock()));
        }
        Event::StorageFailed { error } => {
            output::line(format!("scrapes cannot be kept: {error}"));
        }
        Event::StorageRecovered => output::line("scrapes are kept again"),
        Event::StateLost { instance, reason } => {
            output::line(format!("{instance} goes on from the model alone: {reason}"));
        }
        Event::DiscoveryFailed { job, time, error } => {
            output::line(format!("{} job `{job}`: {error}", time.clock()));
        }
        Event::TargetGone { instance, time } => {
            output::line(format!("{} {instance} is gone", time.clock()));
        }
        Event::Warning { time, text } => {
            output::line(format!("{} warning: {text}", time.clock()));
        }
        _ => {}
    }
}

fn score_line(instance: &str, score: &Score, model: &Detector) -> String {
    let odd = if score.alarm || score.score > 1.0 {
        let top = output::top_features(score, model.columns(), 3).join(", ");
        format!("  {}{top}", if score.alarm { "ALARM " } else { "" })
    } else {
        String::new()
    };
    format!("{} {instance} score {:.2}{odd}", score.time.clock(), score.score)
}

fn print_json(event: &Event, model: &Detector) {
    output::json(&match event {
        Event::State { instance, time, state } => json!({
            "event": "state", "instance": instance, "timestamp": time.to_string(),
            "state": state.name(), "detail": state.to_string(),
            "seen": match state { State::WarmingUp { seen, .. } => Some(seen), _ => None },
        }),
        Event::Score { instance, score } => json!({
            "event": "score", "instance": instance, "timestamp": score.time.to_string(),
            "score": score.score, "alarm": score.alarm,
            "top_features": output::top_features(score, model.columns(), 5),
        }),
        Event::Incident(event) => json!({
            "event": match event {
                IncidentEvent::Opened(_) => "incident_opened",
                IncidentEvent::Updated(_) => "incident_updated",
                IncidentEvent::Closed(_) => "incident_closed",
            },
            "incident": incident_json(event.incident()),
        }),
        Event::ScrapeFailed { instance, time, error } => json!({
            "event": "scrape_failed", "instance": instance, "timestamp": time.to_string(),
            "error": error,
        }),
        Event::StorageFailed { error } => json!({ "event": "storage_failed", "error": error }),
        Event::StorageRecovered => json!({ "event": "storage_recovered" }),
        Event::StateLost { instance, reason } => json!({
            "event": "state_lost", "instance": instance, "error": reason,
        }),
        Event::ScrapeRecovered { instance, time } => json!({
            "event": "scrape_recovered", "instance": instance, "timestamp": time.to_string(),
        }),
        Event::DiscoveryFailed { job, time, error } => json!({
            "event": "discovery_failed", "job": job, "timestamp": time.to_string(), "error": error,
        }),
        Event::TargetGone { instance, time } => json!({
            "event": "target_gone", "instance": instance, "timestamp": time.to_string(),
        }),
        Event::Warning { time, text } => json!({
            "event": "warning", "timestamp": time.to_string(), "text": text,
        }),
        _ => return,
    });
}
