//! The remote-write receiver: samples that a Prometheus sends are kept, and judged like scraped ones.
//!
//! A request is read by the server's task, as far as the memory for all requests allows, and put in
//! a short queue. One thread takes them out, decodes, keeps, and answers. When the queue or the
//! memory is full, or what is received cannot be kept, the sender is told to come again.

mod answer;
mod counters;
mod ingest;
mod judging;
mod keep;
mod route;
mod store;

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use oddns_collect::{GatherConfig, Throttle, WriteLimits};
use tokio::sync::{Semaphore, mpsc};

pub(crate) use counters::ReceiveCounters;
use ingest::{Ingest, Job};
pub use judging::{NewReceivedJudge, judges_of};
pub use keep::{Keep, KeepError};
pub(crate) use route::write;
pub use store::StoreKeep;

use crate::event::Event;
use crate::shared::Shared;

/// How a receiver goes about its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverSettings {
    /// What a request may hold.
    pub limits: WriteLimits,
    /// How samples become scrapes again.
    pub gather: GatherConfig,
    /// Requests that may wait to be decoded; at most this many.
    pub max_waiting: usize,
    /// Bytes of all requests that are being read or wait.
    pub max_waiting_bytes: usize,
    /// The longest time that a sender may take to send a request.
    pub body_timeout: Duration,
    /// How long a sender is held up when there is no room, before it is told to come again. Being
    /// held up is all that a sender needs to slow down, and a Prometheus drops what it was told to
    /// bring again by 429, unless its `retry_on_http_429` is set.
    pub patience: Duration,
    /// Series without a sample for so long are forgotten.
    pub forget_after: Duration,
}

impl Default for ReceiverSettings {
    fn default() -> Self {
        Self {
            limits: WriteLimits::default(),
            gather: GatherConfig::default(),
            max_waiting: 64,
            max_waiting_bytes: 64 << 20,
            body_timeout: Duration::from_secs(30),
            patience: Duration::from_secs(5),
            forget_after: Duration::from_secs(2 * 3600),
        }
    }
}

/// The way from requests to the thread that decodes them.
#[derive(Debug)]
pub(crate) struct Receiver {
    settings: ReceiverSettings,
    jobs: mpsc::Sender<Job>,
    /// One permit a KiB that requests may hold.
    memory: Arc<Semaphore>,
    events: mpsc::Sender<Event>,
    throttle: Mutex<Throttle>,
}

/// Whether remote writes are taken.
#[derive(Debug, Clone, Default)]
pub(crate) enum Reception {
    /// Nobody asked for it.
    #[default]
    Disabled,
    Open(Arc<Receiver>),
    /// We are about to end: a sender is to come again, and will find our successor.
    Closed,
}

/// A receiver at work; dropped without [`Receiving::stop`] it goes on.
#[derive(Debug)]
pub struct Receiving {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<(), KeepError>>,
}

/// Starts to receive: from now on `/api/v1/write` of `shared` takes requests. Samples go to `keep`,
/// where there is one; servers that we do not scrape ourselves are judged by what `new_judge` makes,
/// where there is one, and show in `shared` and `events`. Fails without a thread to be had.
pub fn receive(
    settings: ReceiverSettings,
    keep: Option<Box<dyn Keep>>,
    new_judge: Option<NewReceivedJudge>,
    shared: &Arc<Shared>,
    events: mpsc::Sender<Event>,
) -> std::io::Result<Receiving> {
    let (jobs, waiting) = mpsc::channel(settings.max_waiting.max(1));
    let ingest = Ingest::new(&settings, keep, new_judge, shared, events.clone());
    let clock = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let thread = std::thread::Builder::new().name("oddns-receive".to_owned());
    let thread = thread.spawn(move || clock.block_on(ingest.run(waiting)))?;
    let memory = Arc::new(Semaphore::new(settings.max_waiting_bytes.div_ceil(1024)));
    let throttle = Mutex::default();
    let receiver = Receiver { settings, jobs, memory, events, throttle };
    shared.set_reception(Reception::Open(Arc::new(receiver)));
    Ok(Receiving { shared: shared.clone(), thread })
}

impl Receiving {
    /// Takes no more requests, waits for those under way, and brings what is kept to its end. An
    /// error says what of it failed.
    pub fn stop(self) -> Result<(), KeepError> {
        self.shared.set_reception(Reception::Closed);
        match self.thread.join() {
            Ok(kept) => kept,
            Err(_) => Err(KeepError::new("the receiver failed in an unforeseen way".into())),
        }
    }
}
