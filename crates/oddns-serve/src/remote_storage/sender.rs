//! Sends what waits for one destination, in order, one request at a time.

use std::sync::Arc;
use std::time::Duration;

use oddns_collect::{
    LabelMap, PostError, Poster, RelabelRule, Secret, SecretSource, Throttle, WriteRequest,
    relabel, wall_clock,
};
use oddns_core::Labels;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::ledger::{Entry, Point};
use super::queue::Queue;
use super::{QueueSettings, RemoteWriteConfig};
use crate::event::Event;
use crate::shared::Shared;
use crate::watch::chain;

/// What version 1.0 of the protocol asks for.
const HEADERS: [(&str, &str); 2] =
    [("content-encoding", "snappy"), ("x-prometheus-remote-write-version", "0.1.0")];
/// A destination that asks for more time than this is asked again all the same.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The way to one destination.
pub(super) struct Sender {
    queue: Arc<Queue>,
    settings: QueueSettings,
    poster: Poster,
    timeout: Duration,
    relabel_rules: Vec<RelabelRule>,
    external_labels: LabelMap,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    throttle: Throttle,
}

impl Sender {
    pub(super) fn new(
        config: &RemoteWriteConfig,
        external_labels: &Labels,
        queue: Arc<Queue>,
        shared: Arc<Shared>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let own = HEADERS.map(|(name, value)| (name.to_owned(), Secret::new(value)));
        let headers = config.headers.iter().cloned().chain(own).collect();
        let poster = Poster::new(SecretSource::Inline(config.url.clone()), config.http.clone());
        let external = external_labels.iter();
        Self {
            queue,
            settings: config.queue.clone(),
            poster: poster.with_headers(headers),
            timeout: config.timeout,
            relabel_rules: config.relabel_rules.clone(),
            external_labels: external.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            shared,
            events,
            throttle: Throttle::default(),
        }
    }

    /// Sends until it is stopped; then what waits is sent as long as that works at once.
    pub(super) async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            let is_end = self.wait(&mut stopped).await;
            let batch = self.queue.begin(self.settings.max_samples_per_send);
            if batch.is_empty() {
                if is_end {
                    return;
                }
            } else if self.deliver(&batch, &mut stopped).await {
                self.queue.done();
            } else {
                return;
            }
        }
    }

    /// Waits until a request is full, or something has waited for long enough; true when this is the
    /// end.
    async fn wait(&self, stopped: &mut watch::Receiver<bool>) -> bool {
        let due = async {
            self.queue.filled(1).await;
            tokio::select! {
                () = self.queue.filled(self.settings.max_samples_per_send) => {}
                () = sleep(self.settings.batch_send_deadline) => {}
            }
        };
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => true,
            () = due => false,
        }
    }

    /// Sends a batch until it is taken, or refused for good. False when it is not and this is the end.
    async fn deliver(&mut self, batch: &[Arc<Entry>], stopped: &mut watch::Receiver<bool>) -> bool {
        let request = self.request(batch);
        // It is bounded by the settings, which are far below what snappy takes.
        let Ok(body) = request.body() else { return true };
        let (counters, n_samples) = (self.queue.counters.clone(), request.n_samples() as u64);
        if n_samples == 0 {
            return true;
        }
        let mut pause = self.settings.min_backoff;
        loop {
            let is_end = *stopped.borrow();
            let sent = self.poster.post("application/x-protobuf", body.clone(), self.timeout).await;
            self.tell_dropped();
            let Err(error) = sent else {
                counters.sent.inc_by(n_samples);
                return true;
            };
            let name = &self.queue.name;
            self.tell(
                "send",
                format!("scores do not reach remote storage {name}: {}", chain(&error)),
            );
            let Some(asked) = retry(&error) else {
                counters.failed.inc_by(n_samples);
                return true;
            };
            counters.retried.inc_by(n_samples);
            if is_end {
                return false;
            }
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => {}
                () = sleep(asked.unwrap_or(pause)) => {}
            }
            pause = pause.saturating_mul(2).min(self.settings.max_backoff);
        }
    }

    fn request(&self, batch: &[Arc<Entry>]) -> WriteRequest {
        let mut request = WriteRequest::default();
        for entry in batch {
            for point in &entry.points {
                let mut labels = self.labels(entry, point);
                if relabel(&mut labels, &self.relabel_rules) {
                    request.push(&labels, entry.time.millis(), point.value);
                }
            }
        }
        request
    }

    fn labels(&self, entry: &Entry, point: &Point) -> LabelMap {
        let mut labels = self.external_labels.clone();
        labels.insert("__name__".to_owned(), point.metric.to_owned());
        labels.insert("instance".to_owned(), entry.instance.to_string());
        let feature = point.feature.iter().map(|name| ("feature".to_owned(), name.to_string()));
        labels.extend(feature);
        labels
    }

    fn tell_dropped(&mut self) {
        let n_samples = self.queue.n_untold();
        let text = lost(n_samples, &self.queue.name, "more waited than `capacity`");
        if n_samples > 0 && self.tell("drop", text) {
            self.queue.told(n_samples);
        }
    }

    /// False when this was told less than a minute ago.
    fn tell(&mut self, cause: &'static str, text: String) -> bool {
        let may = self.throttle.allows("", cause, wall_clock());
        if may {
            tell(&self.shared, &self.events, text);
        }
        may
    }
}

/// That samples did not reach a destination, and will not.
pub(super) fn lost(n_samples: usize, name: &str, why: &str) -> String {
    format!("{n_samples} samples for remote storage {name} are lost: {why}")
}

/// Warns, if somebody listens.
pub(super) fn tell(shared: &Shared, events: &mpsc::Sender<Event>, text: String) {
    let event = Event::Warning { time: wall_clock(), text };
    if let Err(mpsc::error::TrySendError::Full(_)) = events.try_send(event) {
        shared.metrics().event_dropped();
    }
}

/// Whether to send the same again, as the protocol has it, and after which time where that is asked for:
/// an answer other than 5xx and 429 is for good.
fn retry(error: &PostError) -> Option<Option<Duration>> {
    match error {
        PostError::Refused { status: 429 | 500..=599, retry_after, .. } => {
            Some(retry_after.map(|wait| wait.min(MAX_RETRY_AFTER)))
        }
        PostError::Refused { .. } => None,
        _ => Some(None),
    }
}
