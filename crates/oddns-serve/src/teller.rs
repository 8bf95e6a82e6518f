//! Says what happened: to the page, the metrics and the reader of events.

use std::sync::{Arc, Mutex, PoisonError};

use oddns_collect::{Throttle, wall_clock};
use tokio::sync::mpsc;

use crate::event::Event;
use crate::shared::Shared;

/// One for all servers that come in one way, so that they share what may be told.
#[derive(Clone)]
pub(crate) struct Teller {
    pub(crate) shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    throttle: Arc<Mutex<Throttle>>,
}

impl Teller {
    pub(crate) fn new(shared: Arc<Shared>, events: mpsc::Sender<Event>) -> Self {
        Self { shared, events, throttle: Arc::default() }
    }

    /// A slow reader loses events, which is counted.
    pub(crate) fn send(&self, event: Event) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(event) {
            self.shared.metrics().event_dropped();
        }
    }

    /// Whether trouble may be told now: of each cause in a job one a minute.
    pub(crate) fn may_tell(&self, job: &str, cause: &'static str) -> bool {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.allows(job, cause, wall_clock())
    }

    /// Tells what concerns no single server, of each cause once a minute.
    pub(crate) fn warn(&self, cause: &'static str, text: impl FnOnce() -> String) {
        if self.may_tell("", cause) {
            self.send(Event::Warning { time: wall_clock(), text: text() });
        }
    }
}
