//! Giving scores to remote storage, such as a Prometheus: every score with what explains it goes into a
//! bounded queue for each destination, which a task of its own sends. Queues outlive a reload.

mod counters;
mod ledger;
mod queue;
mod sender;

use std::sync::Arc;
use std::time::Duration;

use oddns_collect::{HttpConfig, RelabelRule, Secret};
use oddns_core::Labels;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::event::Event;
use crate::shared::Shared;
pub(crate) use ledger::{Point, RemoteStorage};
use sender::Sender;

/// What waits when we end has this long to be sent.
const GRACE: Duration = Duration::from_secs(5);

/// Somebody who takes remote writes, version 1.0 of the protocol.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteWriteConfig {
    /// As it is called in metrics and events; no other one has it.
    pub name: String,
    /// Its address, which may hold credentials.
    pub url: Secret,
    /// Longest time for one request.
    pub timeout: Duration,
    /// Headers of each request, whose values may be secrets.
    pub headers: Vec<(String, Secret)>,
    /// How to speak to it.
    pub http: HttpConfig,
    /// What becomes of the labels of each sample.
    pub relabel_rules: Vec<RelabelRule>,
    /// How much waits, and how it is sent.
    pub queue: QueueSettings,
}

/// How much waits for a destination, and how it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSettings {
    /// Samples that wait at most; then the oldest are dropped.
    pub capacity: usize,
    /// Samples in one request; those of one score stay together.
    pub max_samples_per_send: usize,
    /// Time for which a sample waits for others at most.
    pub batch_send_deadline: Duration,
    /// Wait after a first failure; it doubles with each further one …
    pub min_backoff: Duration,
    /// … up to this.
    pub max_backoff: Duration,
}

impl Default for QueueSettings {
    /// Prometheus's, but for a capacity that holds an hour of 60 servers: it has a log to fall back on.
    fn default() -> Self {
        Self {
            capacity: 100_000,
            max_samples_per_send: 2000,
            batch_send_deadline: Duration::from_secs(5),
            min_backoff: Duration::from_millis(30),
            max_backoff: Duration::from_secs(5),
        }
    }
}

/// Tasks that send scores to remote storage.
#[derive(Debug)]
#[must_use = "nothing is sent any more once it is dropped"]
pub struct RemoteWriting {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl RemoteWriting {
    /// Begins to send the scores of `shared` to each of `configs`, with `external_labels` where a sample
    /// has no such label itself. What waits for a destination of the same name since before is sent, and
    /// what waits for one that is no more goes to a new one at the same place of `configs`, if there is
    /// one. Needs a runtime of tokio. Failures and samples that are dropped are counted, and told to
    /// `events` once a minute.
    pub fn start(
        configs: &[RemoteWriteConfig],
        external_labels: &Labels,
        shared: &Arc<Shared>,
        events: &mpsc::Sender<Event>,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let (queues, lost) = shared.metrics().remote_storage().open(configs);
        for (name, n_samples) in lost.into_iter().filter(|(_, n_samples)| *n_samples > 0) {
            let why = "the configuration names it no more";
            sender::tell(shared, events, sender::lost(n_samples, &name, why));
        }
        for (config, queue) in configs.iter().zip(queues) {
            let (shared, events) = (Arc::clone(shared), events.clone());
            let sender = Sender::new(config, external_labels, queue, shared, events);
            tasks.spawn(sender.run(stopped.clone()));
        }
        Self { stop, tasks }
    }

    /// Sends what waits, as far as that goes at once, and ends; within some seconds. The rest goes on
    /// to wait.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(GRACE, ended).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}
