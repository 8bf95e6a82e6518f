//! Telling others: every Alertmanager and every webhook has a task of its own, so that one that hangs
//! delays no other. What is to be told is read from the desk, so nothing can pile up.

mod alert;
mod counters;
mod courier;
mod found;
mod outbox;
mod webhook;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use oddns::IncidentEvent;
use oddns_collect::{HttpConfig, Poster, Secret, SecretSource, wall_clock};
use oddns_core::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::event::Event;
use crate::shared::Shared;
use alert::Alert;
pub use alert::Site;
pub(crate) use counters::AlertCounters;
use courier::{Courier, Delivery};
pub use found::AlertmanagerDiscovery;
use found::Found;
use outbox::{LIFETIME_MILLIS, Outbox, current};
use webhook::Webhook;

/// Alerts in one request.
const MAX_BATCH: usize = 64;
/// A task looks so often whether something is to be told again.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Incidents are written at once, so that a process that is killed has told nothing that its successor
/// does not know of; and then so often at most.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// What is under way when we end has this long.
const GRACE: Duration = Duration::from_secs(5);

/// Whom to tell of incidents.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AlertingConfig {
    /// Every one of them is told everything.
    pub alertmanagers: Vec<AlertmanagerConfig>,
    /// Those that are looked for while the service runs are told everything too, once they are found.
    pub discoveries: Vec<AlertmanagerDiscovery>,
    /// Every one of them is told when an incident begins, worsens or is over.
    pub webhooks: Vec<WebhookConfig>,
}

/// An Alertmanager.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertmanagerConfig {
    /// Address of its API, such as `http://alertmanager:9093/api/v2/alerts`; without credentials.
    pub url: String,
    /// Longest time for one request.
    pub timeout: Duration,
    /// How to speak to it.
    pub http: HttpConfig,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookConfig {
    /// As it is called in metrics and events.
    pub name: String,
    /// Its address, which often is a secret.
    pub url: SecretSource,
    /// What is sent.
    pub format: WebhookFormat,
    /// Whether it is told that something is over.
    pub send_resolved: bool,
    /// Time before the first message, in which other servers may join and the cause become clear.
    pub group_wait: Duration,
    /// Longest time for one request.
    pub timeout: Duration,
    /// How to speak to it.
    pub http: HttpConfig,
}

/// What a webhook is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WebhookFormat {
    /// `{"text": …}`, which Slack, Mattermost, Rocket.Chat and others show.
    #[default]
    Slack,
    /// The payload of Alertmanager's webhooks, version 4.
    Alertmanager,
}

/// Tasks that tell of incidents and keep them.
#[must_use = "nothing is told any more once it is dropped"]
pub struct Alerting {
    shared: Arc<Shared>,
    destinations: Vec<String>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl fmt::Debug for Alerting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerting").field("destinations", &self.destinations).finish_non_exhaustive()
    }
}

impl Alerting {
    /// Begins to tell whom `config` names of the incidents of `shared`, and to keep these in the
    /// folder of states, where there is one. Needs a runtime of tokio. What cannot be sent is tried
    /// again, counted in `oddns_notifications_errors_total`, and told to `events` once a minute.
    pub fn start(
        config: &AlertingConfig,
        site: &Site,
        shared: &Arc<Shared>,
        events: &mpsc::Sender<Event>,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(keep(Arc::clone(shared), events.clone(), stopped.clone()));
        let mut destinations = Vec::new();
        let courier = |name: &str, url: &SecretSource, http: &HttpConfig, limit: Duration| {
            let poster = Poster::new(url.clone(), http.clone());
            Courier::new(name.to_owned(), poster, limit, Arc::clone(shared), events.clone())
        };
        for config in &config.alertmanagers {
            let url = SecretSource::Inline(Secret::new(config.url.clone()));
            let courier = courier(&config.url, &url, &config.http, config.timeout);
            destinations.push(config.url.clone());
            let alertmanager =
                Alertmanager { courier, outbox: Outbox::default(), site: site.clone() };
            tasks.spawn(alertmanager.run(stopped.clone()));
        }
        if !config.discoveries.is_empty() {
            let at_once = destinations.iter().cloned().collect();
            let found = Found::new(config.discoveries.clone(), at_once, site, shared, events);
            tasks.spawn(found.run(stopped.clone()));
        }
        for config in &config.webhooks {
            let courier = courier(&config.name, &config.url, &config.http, config.timeout);
            destinations.push(config.name.clone());
            let webhook = Webhook::new(courier, config, site.clone());
            tasks.spawn(run_webhook(webhook, stopped.clone()));
        }
        shared.metrics().alerts().show_only(&destinations);
        Self { shared: Arc::clone(shared), destinations, stop, tasks }
    }

    /// Sends what is not sent yet, keeps what is not kept yet, and ends; within some seconds.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(GRACE, ended).await.is_err() {
            self.tasks.shutdown().await;
        }
        // What was told last is not written yet.
        save(&self.shared).await;
    }
}

/// Tells one Alertmanager.
#[derive(Debug)]
struct Alertmanager {
    courier: Courier,
    outbox: Outbox,
    site: Site,
}

impl Alertmanager {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut news = self.courier.shared.desk().subscribe();
        loop {
            news.mark_unchanged();
            self.round(wall_clock()).await;
            if !wait(&self.courier, &mut news, &mut stopped).await {
                break;
            }
        }
        self.round(wall_clock()).await;
    }

    async fn round(&mut self, now: Timestamp) {
        let alerts = self.alerts(now);
        let counters = self.courier.shared.metrics().alerts();
        counters.dropped(&self.courier.name, self.outbox.forget_all_but(&alerts));
        let due = self.outbox.due(&alerts, now);
        let mut n_pending = due.len();
        let until = Timestamp::from_millis(now.millis().saturating_add(LIFETIME_MILLIS));
        for batch in due.chunks(MAX_BATCH) {
            let counters = self.courier.shared.metrics().alerts();
            counters.pending(&self.courier.name, n_pending);
            let body: Vec<_> = batch.iter().map(|alert| alert.json(until)).collect();
            // Cannot fail: all keys are text.
            let body = serde_json::to_vec(&body).unwrap_or_default();
            if self.courier.send(body, batch.len()).await == Delivery::Failed {
                return;
            }
            batch.iter().for_each(|alert| self.outbox.done(alert, now));
            n_pending -= batch.len();
        }
        self.courier.shared.metrics().alerts().pending(&self.courier.name, 0);
    }

    fn alerts(&self, now: Timestamp) -> Vec<Alert> {
        self.courier.shared.desk().groups(|groups| {
            let recent = groups.filter(|group| group.is_recent(now));
            let all = recent.flat_map(|group| Alert::all_of(group, &self.site));
            current(all, now)
        })
    }
}

async fn run_webhook(mut webhook: Webhook, mut stopped: watch::Receiver<bool>) {
    let mut news = webhook.courier.shared.desk().subscribe();
    loop {
        news.mark_unchanged();
        webhook.round(wall_clock()).await;
        if !wait(&webhook.courier, &mut news, &mut stopped).await {
            break;
        }
    }
    webhook.round(wall_clock()).await;
}

/// Waits until there may be something to send; false when this is the end.
async fn wait(
    courier: &Courier,
    news: &mut watch::Receiver<u64>,
    stopped: &mut watch::Receiver<bool>,
) -> bool {
    let pause = if courier.is_failing() { courier.wait() } else { LOOK_EVERY };
    tokio::select! {
        biased;
        _ = stopped.wait_for(|stopped| *stopped) => false,
        // News do not make a destination that fails come back sooner.
        _ = news.changed(), if !courier.is_failing() => true,
        () = sleep(pause) => true,
    }
}

/// Lets time pass for the incidents, and writes them down.
async fn keep(
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut news = shared.desk().subscribe();
    let (mut was_lost, mut just_saved) = (false, false);
    loop {
        news.mark_unchanged();
        for incident in shared.tick(wall_clock()) {
            send(&shared, &events, Event::Incident(IncidentEvent::Closed(incident)));
        }
        let lost = save(&shared).await;
        if let Some(why) = lost.as_ref().filter(|_| !was_lost) {
            let text = format!("incidents cannot be kept: {why}");
            send(&shared, &events, Event::Warning { time: wall_clock(), text });
        }
        was_lost = lost.is_some();
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            _ = news.changed(), if !just_saved => just_saved = true,
            () = sleep(SAVE_EVERY) => just_saved = false,
        }
    }
    save(&shared).await;
}

/// A slow reader loses events, which is counted.
fn send(shared: &Shared, events: &mpsc::Sender<Event>, event: Event) {
    if let Err(mpsc::error::TrySendError::Full(_)) = events.try_send(event) {
        shared.metrics().event_dropped();
    }
}

/// Writes the incidents, if there are news of them. Gives why that fails.
async fn save(shared: &Shared) -> Option<String> {
    let (file, bytes) = shared.desk().unsaved()?;
    let write = move || oddns_store::write_atomically(&file, &bytes);
    let written = match tokio::task::spawn_blocking(write).await {
        Ok(written) => written.map_err(|error| crate::watch::chain(&error)),
        Err(gone) => Err(gone.to_string()),
    };
    let lost = written.err();
    if lost.is_some() {
        shared.desk().not_saved();
    }
    lost
}
