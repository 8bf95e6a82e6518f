//! Own metrics of what is given to remote storage.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::metrics::{Labels, add};

/// Of all destinations. Named as Prometheus names its own; `oddns_remote_write_*` is what is received.
#[derive(Debug)]
pub(super) struct AllCounters {
    sent: Family<Labels, Counter>,
    failed: Family<Labels, Counter>,
    retried: Family<Labels, Counter>,
    dropped: Family<Labels, Counter>,
    pending: Family<Labels, Gauge<f64, AtomicU64>>,
}

/// Of one destination.
#[derive(Debug, Clone)]
pub(super) struct Counters {
    pub(super) sent: Counter,
    pub(super) failed: Counter,
    pub(super) retried: Counter,
    pub(super) dropped: Counter,
    pub(super) pending: Gauge<f64, AtomicU64>,
}

impl AllCounters {
    pub(super) fn new(r: &mut Registry) -> Self {
        Self {
            sent: add(r, "oddns_remote_storage_samples", "Samples that remote storage took"),
            failed: add(
                r,
                "oddns_remote_storage_samples_failed",
                "Samples that remote storage refused for good",
            ),
            retried: add(
                r,
                "oddns_remote_storage_samples_retried",
                "Samples of attempts that failed and are made again",
            ),
            dropped: add(
                r,
                "oddns_remote_storage_samples_dropped",
                "Samples that were given up as too many waited, or at the end",
            ),
            pending: add(
                r,
                "oddns_remote_storage_samples_pending",
                "Samples that wait for remote storage",
            ),
        }
    }

    /// Those of a destination, which show from now on.
    pub(super) fn of(&self, name: &str) -> Counters {
        let labels = labels(name);
        Counters {
            sent: self.sent.get_or_create(&labels).clone(),
            failed: self.failed.get_or_create(&labels).clone(),
            retried: self.retried.get_or_create(&labels).clone(),
            dropped: self.dropped.get_or_create(&labels).clone(),
            pending: self.pending.get_or_create(&labels).clone(),
        }
    }

    /// Shows a destination no more.
    pub(super) fn forget(&self, name: &str) {
        let labels = labels(name);
        for counters in [&self.sent, &self.failed, &self.retried, &self.dropped] {
            counters.remove(&labels);
        }
        self.pending.remove(&labels);
    }
}

fn labels(name: &str) -> Labels {
    vec![("remote", name.to_owned())]
}
