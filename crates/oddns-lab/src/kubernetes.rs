//! A small Kubernetes API, enough for the `kubernetes` plugin: what it lists and watches.
//!
//! Namespaces, services and their endpoints over HTTP on loopback, as JSON. Endpoints change by
//! themselves at a rate, and the API can be told to be late, to fail, or to say nothing.

mod answering;
mod objects;
mod state;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

pub(crate) use self::objects::Service;
use self::state::State;
use crate::LabError;
use crate::cluster;

/// How often it is decided what changes.
const TICK: Duration = Duration::from_millis(50);
/// More changes a second are a mistake: a large cluster has a few dozen.
const MAX_CHANGES_PER_SECOND: f64 = 10_000.0;
/// Most that an event is held back.
const MAX_DELAY: Duration = Duration::from_secs(600);

/// How the API treats those who ask. The default answers all at once, and nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ApiBehaviour {
    /// Services whose endpoints change each second, at the mean; 0 to 10,000, NaN counts as 0.
    pub changes_per_second: f64,
    /// Time from a change to its event; at most ten minutes count.
    pub delay: Duration,
    /// Requests are taken and not answered, and watches say nothing; what was held back comes later.
    pub silent: bool,
    /// Requests are answered with 500, and watches end.
    pub failing: bool,
}

/// What the API was asked and told since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ApiCounts {
    /// Requests that were understood.
    pub requests: u64,
    /// Requests answered with an error.
    pub errors: u64,
    /// Events sent to watches, counted once for each watch.
    pub events: u64,
}

/// A running API. Dropping it closes its socket and its connections.
#[derive(Debug)]
pub struct KubernetesApi {
    address: SocketAddr,
    state: Arc<State>,
    tasks: [JoinHandle<()>; 2],
}

impl KubernetesApi {
    /// Serves the services that the lab's clients ask for, on a free port of loopback. Must be
    /// called within a tokio runtime.
    ///
    /// Fails when no port is free.
    pub async fn start(seed: u64) -> Result<Self, LabError> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let failed = |source| LabError::Bind { address: any, source };
        let listener = TcpListener::bind(any).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let state = Arc::new(State::new(cluster::services()));
        let tasks = [
            tokio::spawn(answering::serve(listener, Arc::clone(&state))),
            tokio::spawn(change(Arc::clone(&state), seed)),
        ];
        Ok(Self { address, state, tasks })
    }

    /// Where it listens, for the line `endpoint` of a Corefile.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the behaviour from now on.
    pub fn set(&self, behaviour: ApiBehaviour) {
        self.state.set(behaviour);
    }

    /// What it was asked so far.
    pub fn counts(&self) -> ApiCounts {
        self.state.counts()
    }

    /// Gives a service, which is made if it is not there, these endpoints: addresses of pods.
    pub fn put_service(&self, namespace: &str, name: &str, endpoints: Vec<Ipv4Addr>) {
        self.state.put(namespace, name, endpoints);
    }

    /// Takes a service away. No effect when it is not there.
    pub fn remove_service(&self, namespace: &str, name: &str) {
        self.state.remove(namespace, name);
    }
}

impl Drop for KubernetesApi {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Changes endpoints at the rate of the behaviour until aborted.
async fn change(state: Arc<State>, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut due = 0.0;
    loop {
        ticks.tick().await;
        let rate = state.behaviour().changes_per_second;
        let rate = if rate.is_nan() { 0.0 } else { rate.clamp(0.0, MAX_CHANGES_PER_SECOND) };
        // Drawn evenly up to twice the mean, so that the rate is right and the moment by chance.
        due += rate * TICK.as_secs_f64() * rng.random_range(0.0..2.0);
        while due >= 1.0 {
            due -= 1.0;
            state.replace_a_pod(rng.random());
        }
    }
}
