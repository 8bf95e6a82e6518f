//! What was received, in numbers.

use std::sync::atomic::AtomicU64;

use oddns_collect::{Refusal, WriteCounts, WriteVersion};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::metrics::{Labels, add};

/// Metrics of the receiver; all stand at 0 without one.
#[derive(Debug)]
pub(crate) struct ReceiveCounters {
    requests: Family<Labels, Counter>,
    bytes: Counter,
    samples: Counter,
    refused: Family<Labels, Counter>,
    exemplars: Counter,
    metadata: Counter,
    not_kept: Counter,
    scrapes: Counter,
    left_aside: Family<Labels, Counter>,
    series: Gauge<f64, AtomicU64>,
    waiting: Gauge<f64, AtomicU64>,
    most_waiting: Gauge<f64, AtomicU64>,
}

impl ReceiveCounters {
    pub(crate) fn new(r: &mut Registry) -> Self {
        let refused: Family<Labels, Counter> = add(
            r,
            "oddns_remote_write_samples_refused",
            "Received samples that were not taken, by reason",
        );
        for refusal in Refusal::ALL {
            drop(refused.get_or_create(&vec![("reason", refusal.name().to_owned())]));
        }
        Self {
            requests: add(r, "oddns_remote_write_requests", "Remote-write requests, by answer"),
            bytes: add(r, "oddns_remote_write_received_bytes", "Bytes of requests as they came"),
            samples: add(r, "oddns_remote_write_samples", "Received samples that were taken"),
            refused,
            exemplars: add(r, "oddns_remote_write_exemplars_skipped", "Exemplars, not kept"),
            metadata: add(r, "oddns_remote_write_metadata_skipped", "Metadata, not kept"),
            not_kept: add(
                r,
                "oddns_remote_write_samples_not_kept",
                "Samples that were taken and not kept: the history has too many series",
            ),
            scrapes: add(r, "oddns_remote_write_scrapes", "Scrapes put together and judged"),
            left_aside: add(
                r,
                "oddns_remote_write_samples_not_judged",
                "Samples of CoreDNS servers that were kept and not judged, by reason",
            ),
            series: add(r, "oddns_remote_write_series", "Series known by remote write"),
            waiting: add(
                r,
                "oddns_remote_write_waiting_bytes",
                "Bytes of requests that are read or wait to be decoded",
            ),
            most_waiting: add(
                r,
                "oddns_remote_write_max_waiting_bytes",
                "Bytes that may wait; beyond them senders are told to slow down",
            ),
        }
    }

    /// Counts one request and what it held.
    pub(super) fn answered(
        &self,
        version: Option<WriteVersion>,
        code: u16,
        n_bytes: usize,
        counts: Option<&WriteCounts>,
    ) {
        let version = match version {
            Some(WriteVersion::V1) => "1.0",
            Some(WriteVersion::V2) => "2.0",
            None => "unknown",
        };
        let labels = vec![("version", version.to_owned()), ("code", code.to_string())];
        self.requests.get_or_create(&labels).inc();
        self.bytes.inc_by(n_bytes as u64);
        let Some(counts) = counts else { return };
        self.samples.inc_by(counts.taken);
        self.exemplars.inc_by(counts.exemplars);
        self.metadata.inc_by(counts.metadata);
        for refusal in Refusal::ALL.into_iter().filter(|refusal| counts.refused(*refusal) > 0) {
            let labels = vec![("reason", refusal.name().to_owned())];
            self.refused.get_or_create(&labels).inc_by(counts.refused(refusal));
        }
    }

    pub(super) fn not_kept(&self, n: u64) {
        self.not_kept.inc_by(n);
    }

    pub(super) fn judged(&self) {
        self.scrapes.inc();
    }

    pub(super) fn left_aside(&self, reason: &str, n: u64) {
        if n > 0 {
            self.left_aside.get_or_create(&vec![("reason", reason.to_owned())]).inc_by(n);
        }
    }

    /// Shows how many bytes wait, of how many that may.
    pub(super) fn set_waiting(&self, n_bytes: usize, most: usize) {
        self.waiting.set(n_bytes as f64);
        self.most_waiting.set(most as f64);
    }

    pub(super) fn set_series(&self, n: usize) {
        self.series.set(n as f64);
    }
}
