//! `oddns watch`.

mod arrival;
mod backfill;
mod learning;
mod reloads;
mod setup;
mod told;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use oddns::{Detector, IncidentEvent};
use oddns_collect::{Discovery, format_duration, wall_clock};
use oddns_serve::{
    Alerting, Arrival, Backfill, Event, Keep, Learning, ModelInfo, ReceiverSettings, Receiving,
    RemoteWriting, Shared, Site, StateFolder, StoreKeep, View, WebError, WebSecurity,
};
use oddns_store::{HistoryStore, StoreSettings, WriterLock};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::args::{Output, Retention, Watch};
use crate::commands::collect::tell_damaged;
use crate::exit::{BadInput, BadUse};
use crate::output;
use reloads::{Next, Reloads};
use setup::Setup;
pub(crate) use setup::check_distinct;

/// Events that may wait for a slow terminal.
const EVENT_QUEUE: usize = 1024;
/// Threads of the runtime: scraping and serving wait most of the time.
const N_THREADS: usize = 2;

/// What holds as long as the process does.
struct World<'a> {
    args: &'a Watch,
    site_url: String,
    shared: Arc<Shared>,
    states: StateFolder,
    storage: Option<Arc<HistoryStore>>,
    events: mpsc::Sender<Event>,
}

pub(crate) fn run(args: &Watch) -> anyhow::Result<()> {
    if let (None, Some(name)) = (&args.storage_path, args.retention.first_given()) {
        let reason = format!(
            "`{name}` says how long `--storage.path` is kept: name a folder with it, or leave it out"
        );
        return Err(BadUse(reason).into());
    }
    let setup = Setup::read(args)?;
    let states = match &args.state {
        Some(folder) => StateFolder::open(folder)?,
        None => StateFolder::in_memory(),
    };
    // Two that write it would tell everybody of an incident twice.
    let lock = |folder: &std::path::PathBuf| WriterLock::take(folder, folder);
    let _lock = args.state.as_ref().map(lock).transpose()?;
    let storage = args.storage_path.as_deref().map(|folder| open(folder, &args.retention));
    let storage = storage.transpose()?.map(Arc::new);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(N_THREADS)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    runtime.block_on(serve(args, setup, states, storage))
}

/// Listens, or says what is in the way.
pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen at {address}: choose another place with `--web.listen-address`")
    })
}

async fn serve(
    args: &Watch,
    setup: Setup,
    states: StateFolder,
    storage: Option<Arc<HistoryStore>>,
) -> anyhow::Result<()> {
    let security = args.web_config_file.as_deref().map(web_security).transpose()?;
    check_audience(args, setup.listen_address, security.as_ref())?;
    let listener = bind(setup.listen_address).await?;
    let address = listener.local_addr().context("cannot tell the page's address")?;
    let scheme = if security.as_ref().is_some_and(WebSecurity::has_tls) { "https" } else { "http" };
    let shared = Shared::new(View::new("oddns", true));
    // A signal that comes as soon as the page is announced must not find nobody listening.
    let reloads = Reloads::new(args, &shared);
    announce(args, &setup, scheme, address);
    if let Some(store) = &storage {
        shared.metrics().storage().keep_in(Arc::clone(store));
    }
    let (stop, stopped) = watch::channel(false);
    let security = security.map(Arc::new);
    let page = oddns_serve::run_secured(listener, shared.clone(), security, ended(stopped));
    let page = tokio::spawn(page);
    let (events, received) = mpsc::channel(EVENT_QUEUE);
    let telling = tokio::spawn(told::tell(received, args.output.output, setup.model.clone()));
    for why in shared.keep_incidents(&states, wall_clock()) {
        let text = format!("what was kept of before cannot be used: {why}");
        let _ = events.try_send(Event::Warning { time: wall_clock(), text });
    }
    let site_url = args.external_url.clone().unwrap_or_else(|| url_of(scheme, address));
    let site_url = site_url.trim_end_matches('/').to_owned();
    let world = World { args, site_url, shared, states, storage: storage.clone(), events };
    let watched = live(&world, setup, reloads).await;
    // When watching failed by itself, the page ends too.
    let _ = stop.send(true);
    drop(world);
    let _ = tokio::join!(page, telling);
    watched?;
    if let Some(store) = storage {
        let flushed = tokio::task::spawn_blocking(move || store.flush());
        flushed.await.context("cannot end storing")??;
    }
    Ok(())
}

/// Reads the rules of our own server.
fn web_security(path: &Path) -> anyhow::Result<WebSecurity> {
    WebSecurity::open(path).map_err(|error| match error {
        WebError::Config { .. } => error.into(),
        error => BadInput(format!("`{}`: {}", path.display(), told_whole(&error))).into(),
    })
}

/// An error with its causes.
fn told_whole(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

/// Asks for a word where everybody could see everything.
fn check_audience(
    args: &Watch,
    address: SocketAddr,
    security: Option<&WebSecurity>,
) -> Result<(), BadUse> {
    let asks_who = security.is_some_and(WebSecurity::asks_who);
    if address.ip().is_loopback() || asks_who || args.allow_anonymous {
        return Ok(());
    }
    Err(BadUse(format!(
        "whoever reaches {address} would see and change everything: name users or client certificates \
         by `--web.config.file`, listen at 127.0.0.1, or say `--web.allow-anonymous`"
    )))
}

async fn ended(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Watches as configured, one configuration after the other, until the end.
async fn live(world: &World<'_>, mut setup: Setup, mut reloads: Reloads) -> anyhow::Result<()> {
    world.shared.metrics().config_read(Some(wall_clock()));
    loop {
        let mut era = Era::begin(world, &setup)?;
        let next = loop {
            let next = tokio::select! {
                next = reloads.next() => next,
                watched = &mut era.watching => {
                    watched.context("watching ended in an unforeseen way")??;
                    Next::End
                }
            };
            match next {
                Next::End => break None,
                Next::Settled => forget_unfollowed(world),
                Next::Reload(order) => {
                    let read = tokio::task::block_in_place(|| Setup::read(world.args));
                    if let Some(setup) = reloads.judge(world, &setup, read, order) {
                        break Some(setup);
                    }
                }
            }
        };
        era.end().await?;
        match next {
            None => {
                tell_unsent(world);
                return Ok(());
            }
            Some(new) => {
                world.shared.begin_anew(wall_clock());
                setup = new;
            }
        }
    }
}

/// Servers that the new configuration does not name are gone.
fn forget_unfollowed(world: &World<'_>) {
    let time = wall_clock();
    let (gone, closed) = world.shared.forget_unfollowed(time);
    for incident in closed {
        let _ = world.events.try_send(Event::Incident(IncidentEvent::Closed(incident)));
    }
    for instance in gone {
        let _ = world.events.try_send(Event::TargetGone { instance, time });
    }
}

/// Scores that nobody has taken end with us.
fn tell_unsent(world: &World<'_>) {
    let n_samples = world.shared.give_up_unsent();
    if n_samples > 0 {
        let text = format!("{n_samples} samples did not reach remote storage, and are lost");
        let _ = world.events.try_send(Event::Warning { time: wall_clock(), text });
    }
}

/// The time for which one configuration holds.
struct Era {
    stop: watch::Sender<bool>,
    watching: JoinHandle<anyhow::Result<()>>,
    receiving: Option<Receiving>,
    alerting: Alerting,
    remote_writing: RemoteWriting,
    learning: Option<Learning>,
    arrival: Option<Arrival>,
    backfill: Option<Backfill>,
}

impl Era {
    fn begin(world: &World<'_>, setup: &Setup) -> anyhow::Result<Self> {
        let World { shared, events, .. } = world;
        let (learning, model) = learning::begin(world, setup)?;
        let learns = learning.is_some();
        let (arrival, model) = arrival::begin(world, setup, model, learns)?;
        shared.set_champion(&model.0);
        shared.set_model(ModelInfo::of(&model.0, model.1.clone()));
        shared.set_budget(setup.alert_budget, &model.0);
        let receiving =
            setup.receiver.as_ref().map(|settings| receive(settings, world, Arc::clone(&model.0)));
        let receiving = receiving.transpose()?;
        let external_labels = setup.external_labels.clone();
        let site = Site { external_url: world.site_url.clone(), external_labels };
        let alerting = Alerting::start(&setup.alerting, &site, shared, events);
        let labels = &setup.external_labels;
        let remote_writing = RemoteWriting::start(&setup.remote_write, labels, shared, events);
        let (stop, stopped) = watch::channel(false);
        let (jobs, states) = (setup.jobs.clone(), Some(world.states.clone()));
        let (shared, events) = (shared.clone(), events.clone());
        let watching = tokio::spawn(async move {
            if jobs.iter().all(|job| job.config().discoveries.is_empty()) {
                // All servers are known by what is received.
                drop(events);
                ended(stopped).await;
                return Ok(());
            }
            let (model, id) = model;
            let end = ended(stopped);
            Ok(oddns_serve::watch(jobs, model, id, states, shared, events, end).await?)
        });
        let backfill = backfill::begin(world, setup, learns);
        Ok(Self {
            stop,
            watching,
            receiving,
            alerting,
            remote_writing,
            learning,
            arrival,
            backfill,
        })
    }

    async fn end(self) -> anyhow::Result<()> {
        let _ = self.stop.send(true);
        let stop_receiving =
            |receiving: Receiving| tokio::task::spawn_blocking(|| receiving.stop());
        let receiving = self.receiving.map(stop_receiving);
        let stop_learning = |learning: Learning| tokio::task::spawn_blocking(|| learning.stop());
        let learning = self.learning.map(stop_learning);
        let stop_backfill = |backfill: Backfill| tokio::task::spawn_blocking(|| backfill.stop());
        let backfill = self.backfill.map(stop_backfill);
        if !self.watching.is_finished() {
            self.watching.await.context("watching ended in an unforeseen way")??;
        }
        if let Some(arrival) = self.arrival {
            arrival.stop().await;
        }
        // What was received before is judged first: others want to hear of it.
        let received = match receiving {
            Some(stopped) => Some(stopped.await),
            None => None,
        };
        tokio::join!(self.alerting.stop(), self.remote_writing.stop());
        received.transpose().context("cannot end receiving")?.transpose()?;
        if let Some(stopped) = learning {
            stopped.await.context("cannot end learning")?;
        }
        if let Some(stopped) = backfill {
            stopped.await.context("cannot end the fetching of history")?;
        }
        Ok(())
    }
}

/// Begins to take remote writes.
fn receive(
    settings: &ReceiverSettings,
    world: &World<'_>,
    model: Arc<Detector>,
) -> anyhow::Result<Receiving> {
    let keep = |store: &Arc<HistoryStore>| -> Box<dyn Keep> {
        Box::new(StoreKeep::new(Arc::clone(store)))
    };
    let keep = world.storage.as_ref().map(keep);
    let (states, events) = (Some(world.states.clone()), world.events.clone());
    let judges = oddns_serve::judges_of(model, states, &world.shared, events.clone());
    oddns_serve::receive(settings.clone(), keep, Some(judges), &world.shared, events)
        .context("cannot start a thread for what is received")
}

fn open(folder: &Path, retention: &Retention) -> anyhow::Result<HistoryStore> {
    let settings = StoreSettings {
        retention_time: retention.time,
        retention_bytes: retention.bytes,
        ..StoreSettings::default()
    };
    tell_damaged(folder)?;
    let store = HistoryStore::open(folder, settings)?;
    let recovery = store.recovery();
    if !recovery.was_closed {
        output::warning(format!(
            "`{}` was not closed: {} samples of its log are kept, what came after the last sync is lost",
            folder.display(),
            recovery.samples
        ));
    }
    for damage in recovery.damage.iter().filter(|damage| !damage.is_torn_end) {
        output::line(damage.to_string());
    }
    if recovery.unknown_samples > 0 {
        let n = recovery.unknown_samples;
        output::line(format!("{n} more samples are lost: damage has taken their series' names"));
    }
    Ok(store)
}

/// Where others find the page, as far as we know.
fn url_of(scheme: &str, address: SocketAddr) -> String {
    if !address.ip().is_unspecified() {
        return format!("{scheme}://{address}");
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "localhost" } else { host.trim() };
    format!("{scheme}://{host}:{}", address.port())
}

fn announce(args: &Watch, setup: &Setup, scheme: &str, address: SocketAddr) {
    if args.output.output == Output::Json {
        return output::json(&json!({ "event": "listening", "address": address.to_string() }));
    }
    for job in &setup.jobs {
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
    for alertmanager in &setup.alerting.alertmanagers {
        output::line(format!("alerts go to {}", alertmanager.url));
    }
    if !setup.alerting.discoveries.is_empty() {
        output::line("alerts go to the Alertmanagers that are found");
    }
    for webhook in &setup.alerting.webhooks {
        output::line(format!("alerts go to webhook {}", webhook.name));
    }
    for remote in &setup.remote_write {
        output::line(format!("scores go to {}", remote.name));
    }
    if setup.receiver.is_some() {
        output::line(format!("remote write: {scheme}://{address}/api/v1/write"));
    }
    if setup.is_base {
        output::line("no model is named: the base model judges, calibrated by the first scrapes");
    }
    output::line(format!("page and metrics: {scheme}://{address}/"));
}
