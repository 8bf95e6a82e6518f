//! Carries bodies to one destination, counts what becomes of them, and waits longer after each
//! failure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use oddns_collect::{Poster, Throttle, wall_clock};
use tokio::sync::mpsc;

use crate::event::Event;
use crate::shared::Shared;
use crate::watch::chain;

/// Wait after the first failure; it doubles with each further one …
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The way to one destination.
#[derive(Debug)]
pub(super) struct Courier {
    /// As it is called in metrics and events.
    pub name: String,
    pub shared: Arc<Shared>,
    poster: Poster,
    timeout: Duration,
    events: mpsc::Sender<Event>,
    throttle: Throttle,
    n_failed: u32,
}

/// What became of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The destination took it.
    Taken,
    /// It never will.
    Refused,
    /// Perhaps later.
    Failed,
}

impl Courier {
    pub(super) fn new(
        name: String,
        poster: Poster,
        timeout: Duration,
        shared: Arc<Shared>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let throttle = Throttle::default();
        Self { name, shared, poster, timeout, events, throttle, n_failed: 0 }
    }

    /// Sends a body of `n` alerts.
    pub(super) async fn send(&mut self, body: Vec<u8>, n: usize) -> Delivery {
        let start = Instant::now();
        let sent = self.poster.post("application/json", body, self.timeout).await;
        let counters = self.shared.metrics().alerts();
        match sent {
            Ok(()) => {
                counters.sent(&self.name, n, start.elapsed().as_secs_f64());
                self.n_failed = 0;
                Delivery::Taken
            }
            Err(error) => {
                let may_pass = error.may_pass();
                if may_pass {
                    counters.failed(&self.name);
                    self.n_failed = self.n_failed.saturating_add(1);
                } else {
                    counters.dropped(&self.name, n);
                }
                self.tell(&chain(&error));
                if may_pass { Delivery::Failed } else { Delivery::Refused }
            }
        }
    }

    /// How long to wait before the next attempt.
    pub(super) fn wait(&self) -> Duration {
        let doubled = 1_u32.checked_shl(self.n_failed.saturating_sub(1)).unwrap_or(u32::MAX);
        FIRST_WAIT.saturating_mul(doubled).min(LONGEST_WAIT)
    }

    /// Whether the last attempt failed.
    pub(super) fn is_failing(&self) -> bool {
        self.n_failed > 0
    }

    fn tell(&mut self, why: &str) {
        let now = wall_clock();
        if !self.throttle.allows("", "send", now) {
            return;
        }
        let text = format!("alerts do not reach {}: {why}", self.name);
        let event = Event::Warning { time: now, text };
        if let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(event) {
            self.shared.metrics().event_dropped();
        }
    }
}
