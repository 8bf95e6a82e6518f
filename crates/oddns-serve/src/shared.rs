//! What the scraping loop writes and the server reads.

use std::sync::{Arc, PoisonError, RwLock};

use oddns_core::{Incident, Timestamp};

use crate::metrics::Metrics;
use crate::receive::Reception;
use crate::view::{ModelInfo, View};

/// The view and the metrics of one process.
#[derive(Debug)]
pub struct Shared {
    view: RwLock<View>,
    metrics: Metrics,
    reception: RwLock<Reception>,
}

impl Shared {
    /// Shows `view` and fresh metrics.
    pub fn new(view: View) -> Arc<Self> {
        let metrics = Metrics::new();
        view.model().into_iter().for_each(|model| metrics.set_model(model));
        view.servers().for_each(|(instance, _)| metrics.watch(instance));
        Arc::new(Self { view: RwLock::new(view), metrics, reception: RwLock::default() })
    }

    /// Reads the view; writers wait, so `read` must be short and must not call back.
    pub fn read<T>(&self, read: impl FnOnce(&View) -> T) -> T {
        // A panic elsewhere leaves the view whole: its methods do not stop half-way.
        read(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the view; readers wait, so `change` must be short and must not call back.
    pub fn change<T>(&self, change: impl FnOnce(&mut View) -> T) -> T {
        change(&mut self.view.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Names the model in the view and in the metrics.
    pub fn set_model(&self, model: ModelInfo) {
        self.metrics.set_model(&model);
        self.change(|view| view.set_model(model));
    }

    /// Names the servers to come in the view and in the metrics.
    pub fn watch(&self, instances: Vec<String>) {
        instances.iter().for_each(|instance| self.metrics.watch(instance));
        self.change(|view| view.watch(instances));
    }

    /// Takes a server that went away out of view and metrics. Gives its incidents that were open,
    /// closed at `time`.
    pub fn forget(&self, instance: &str, time: Timestamp) -> Vec<Incident> {
        self.metrics.forget(instance);
        self.change(|view| view.forget(instance, time))
    }

    /// What takes remote writes, if something does.
    pub(crate) fn reception(&self) -> Reception {
        self.reception.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_reception(&self, reception: Reception) {
        *self.reception.write().unwrap_or_else(PoisonError::into_inner) = reception;
    }

    /// Own metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}
