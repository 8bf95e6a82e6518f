//! Own metrics of what is sent.

use std::collections::HashSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::metrics::{Labels, add, add_as};

/// From a neighbour to the longest timeout that people set, in seconds.
const LATENCY_BUCKETS: [f64; 8] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0];

/// What became of alerts, by destination: the address of an Alertmanager, the name of a webhook.
#[derive(Debug)]
pub(crate) struct AlertCounters {
    sent: Family<Labels, Counter>,
    errors: Family<Labels, Counter>,
    dropped: Family<Labels, Counter>,
    pending: Family<Labels, Gauge<f64, AtomicU64>>,
    latency: Family<Labels, Histogram, fn() -> Histogram>,
    known: Mutex<HashSet<String>>,
}

fn latency() -> Histogram {
    Histogram::new(LATENCY_BUCKETS)
}

impl AlertCounters {
    pub(crate) fn new(r: &mut Registry) -> Self {
        let latencies = Family::new_with_constructor(latency as fn() -> Histogram);
        Self {
            sent: add(r, "oddns_notifications_sent", "Alerts that the destination took"),
            errors: add(
                r,
                "oddns_notifications_errors",
                "Attempts to send that failed and are made again",
            ),
            dropped: add(
                r,
                "oddns_notifications_dropped",
                "Alerts given up: refused for good, or over before the destination was there",
            ),
            pending: add(
                r,
                "oddns_notifications_pending",
                "Alerts that the destination has not taken yet",
            ),
            latency: add_as(
                r,
                "oddns_notifications_latency_seconds",
                "Time until the destination took what was sent",
                latencies,
            ),
            known: Mutex::default(),
        }
    }

    /// Shows these destinations, and no others any more.
    pub(crate) fn show_only(&self, destinations: &[String]) {
        let now: HashSet<String> = destinations.iter().cloned().collect();
        let before =
            std::mem::take(&mut *self.known.lock().unwrap_or_else(PoisonError::into_inner));
        before.difference(&now).for_each(|gone| self.forget(gone));
        now.difference(&before).for_each(|new| self.meet(new));
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Shows one more.
    pub(crate) fn appears(&self, destination: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.insert(destination.to_owned()) {
            self.meet(destination);
        }
    }

    /// Shows this one no more.
    pub(crate) fn vanishes(&self, destination: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(destination);
        self.forget(destination);
    }

    fn meet(&self, destination: &str) {
        let labels = of(destination);
        for counters in [&self.sent, &self.errors, &self.dropped] {
            counters.get_or_create(&labels).inc_by(0);
        }
        self.pending.get_or_create(&labels).set(0.0);
    }

    fn forget(&self, destination: &str) {
        let labels = of(destination);
        self.sent.remove(&labels);
        self.errors.remove(&labels);
        self.dropped.remove(&labels);
        self.pending.remove(&labels);
        self.latency.remove(&labels);
    }

    pub(crate) fn sent(&self, destination: &str, n: usize, seconds: f64) {
        self.sent.get_or_create(&of(destination)).inc_by(n as u64);
        self.latency.get_or_create(&of(destination)).observe(seconds);
    }

    pub(crate) fn failed(&self, destination: &str) {
        self.errors.get_or_create(&of(destination)).inc();
    }

    pub(crate) fn dropped(&self, destination: &str, n: usize) {
        self.dropped.get_or_create(&of(destination)).inc_by(n as u64);
    }

    pub(crate) fn pending(&self, destination: &str, n: usize) {
        self.pending.get_or_create(&of(destination)).set(n as f64);
    }
}

fn of(destination: &str) -> Labels {
    vec![("destination", destination.to_owned())]
}
