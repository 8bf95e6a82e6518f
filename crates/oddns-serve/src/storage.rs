//! Where scrapes are kept, if they are.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use oddns_core::{Scrape, SeriesTable};
use oddns_store::{HistoryStore, ScrapeAppender, StoreError, StoreStatistics};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// A metric of the store.
struct StorageMetric {
    name: &'static str,
    help: &'static str,
    is_counter: bool,
    value: fn(&StoreStatistics) -> u64,
}

const fn counter(
    name: &'static str,
    help: &'static str,
    value: fn(&StoreStatistics) -> u64,
) -> StorageMetric {
    StorageMetric { name, help, is_counter: true, value }
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    value: fn(&StoreStatistics) -> u64,
) -> StorageMetric {
    StorageMetric { name, help, is_counter: false, value }
}

const METRICS: &[StorageMetric] = &[
    gauge("oddns_storage_series", "Series kept", |s| s.series as u64),
    counter("oddns_storage_samples", "Samples kept", |s| s.samples),
    counter("oddns_storage_duplicates", "Samples left out: there was one at that time", |s| {
        s.duplicates + s.repeated
    }),
    counter("oddns_storage_out_of_order", "Samples kept although older than others", |s| {
        s.out_of_order
    }),
    counter("oddns_storage_too_far_ahead", "Samples refused for their time", |s| s.too_far_ahead),
    counter("oddns_storage_unwritten", "Samples refused because the disk did", |s| s.unwritten),
    gauge("oddns_storage_refusing", "Whether nothing is kept at present", |s| {
        u64::from(s.refusing.is_some())
    }),
    gauge("oddns_storage_log_bytes", "Bytes of the log", |s| s.log_bytes),
    counter("oddns_storage_syncs_failed", "Times the log could not be synced", |s| s.failed_syncs),
    counter("oddns_storage_compactions_failed", "Times the log did not become Parquet", |s| {
        s.failed_compactions
    }),
    counter("oddns_storage_expired_files", "Files removed by retention", |s| s.expired_files),
];

/// The history that scrapes go to, if there is one.
#[derive(Debug, Default)]
pub struct Storage {
    store: OnceLock<Arc<HistoryStore>>,
    is_refused: AtomicBool,
}

/// What changed with a scrape that was to be kept.
#[derive(Debug)]
pub(crate) enum Stored {
    /// Nothing.
    AsBefore,
    /// From now on scrapes are lost.
    Refused(StoreError),
    /// Scrapes are kept again.
    Again,
}

impl Storage {
    /// Keeps all scrapes to come in `store`; a second store is not taken.
    pub fn keep_in(&self, store: Arc<HistoryStore>) {
        let _ = self.store.set(store);
    }

    /// Keeps a scrape, if there is a store.
    pub(crate) fn keep(
        &self,
        appender: &mut ScrapeAppender,
        series: &SeriesTable,
        scrape: &Scrape,
    ) -> Stored {
        let Some(store) = self.store.get() else { return Stored::AsBefore };
        let kept = appender.append(store, series, scrape);
        let was_refused = self.is_refused.swap(kept.is_err(), Ordering::Relaxed);
        match kept {
            Err(error) if !was_refused => Stored::Refused(error),
            Ok(_) if was_refused => Stored::Again,
            _ => Stored::AsBefore,
        }
    }
}

impl Collector for Storage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(store) = self.store.get() else { return Ok(()) };
        let statistics = store.statistics();
        for metric in METRICS {
            let value = (metric.value)(&statistics);
            if metric.is_counter {
                encode(&mut encoder, metric, &ConstCounter::new(value))?;
            } else {
                encode(&mut encoder, metric, &ConstGauge::new(value as f64))?;
            }
        }
        Ok(())
    }
}

fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    metric: &StorageMetric,
    value: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    let StorageMetric { name, help, .. } = metric;
    value.encode(encoder.encode_descriptor(name, help, None, value.metric_type())?)
}

#[cfg(test)]
mod tests {
    use oddns_core::Timestamp;
    use oddns_store::StoreSettings;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn scrapes_are_kept_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Arc::new(Storage::default());
        let mut registry = Registry::default();
        registry.register_collector(Box::new(storage.clone()));
        let store = HistoryStore::open(folder.path(), StoreSettings::default()).unwrap();
        storage.keep_in(Arc::new(store));
        let scrape = Scrape {
            time: Timestamp::from_millis(1_795_331_512_000),
            up: true,
            duration_seconds: 0.1,
            samples: Vec::new(),
        };
        let mut appender = ScrapeAppender::new("a");
        let kept = storage.keep(&mut appender, &SeriesTable::default(), &scrape);
        assert!(matches!(kept, Stored::AsBefore));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("\noddns_storage_samples_total 2\n"), "{text}");
        assert!(text.contains("\noddns_storage_refusing 0"), "{text}");
    }
}
