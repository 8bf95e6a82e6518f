//! What the scraping loop writes and the server reads.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use oddns::{Detector, Step};
use oddns_core::{Incident, Timestamp};
use tokio::sync::mpsc;

use crate::budget::{AlertBudget, FleetBudget};
use crate::desk::Desk;
use crate::feedback::Feedback;
use crate::learning::{Succession, learned_from};
use crate::lifecycle::{Lifecycle, OrderTaken};
use crate::metrics::Metrics;
use crate::origin::Origin;
use crate::receive::Reception;
use crate::states::StateFolder;
use crate::view::{ModelInfo, Server, View};

/// The view and the metrics of one process.
#[derive(Debug)]
pub struct Shared {
    view: RwLock<View>,
    metrics: Metrics,
    reception: RwLock<Reception>,
    desk: Desk,
    lifecycle: Lifecycle,
    feedback: Feedback,
    budget: FleetBudget,
}

impl Shared {
    /// Shows `view` and fresh metrics.
    pub fn new(view: View) -> Arc<Self> {
        let metrics = Metrics::new();
        view.model().into_iter().for_each(|model| metrics.set_model(model));
        view.servers().for_each(|(instance, _)| metrics.watch(instance));
        Arc::new(Self {
            view: RwLock::new(view),
            metrics,
            reception: RwLock::default(),
            desk: Desk::default(),
            lifecycle: Lifecycle::default(),
            feedback: Feedback::default(),
            budget: FleetBudget::default(),
        })
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

    /// Says where the model that judges comes from; until one that is none of the site's is calibrated,
    /// nothing is told of what it says.
    pub fn set_origin(&self, origin: Origin) {
        if self.read(View::origin) != origin {
            self.change(|view| view.set_origin(origin));
        }
        self.metrics.set_origin(origin);
    }

    /// Lets a detector judge from now on; the streams of servers go on with it between two scrapes.
    pub fn set_champion(&self, detector: &Arc<Detector>) {
        self.succession().take_over(Arc::clone(detector));
    }

    /// The site's own model that a backfill without a history has learned from the model with this name,
    /// in this process or, where states are kept, in an earlier one; `None` where there is none.
    pub fn learned_from(&self, model_id: &str, states: &StateFolder) -> Option<Arc<Detector>> {
        learned_from(model_id, self, states)
    }

    /// Lets the one model judge all servers: nobody looks after models of single ones.
    pub fn judge_all_alike(&self) {
        self.succession().judge_all_alike();
    }

    /// Names the servers to come in the view and in the metrics.
    pub fn watch(&self, instances: Vec<String>) {
        instances.iter().for_each(|instance| self.metrics.watch(instance));
        let n_servers = self.change(|view| {
            view.watch(instances);
            view.n_servers()
        });
        self.share_budget(n_servers);
    }

    /// Lets the fleet have so many false alerts, whatever the model was trained for; `None` leaves each
    /// server as many as that.
    pub fn set_budget(&self, budget: Option<AlertBudget>, model: &Arc<Detector>) {
        self.budget.set(budget, model);
        self.show_budget();
    }

    /// How many false alerts the fleet may have.
    pub(crate) fn budget(&self) -> &FleetBudget {
        &self.budget
    }

    fn share_budget(&self, n_servers: usize) {
        if self.budget.set_servers(n_servers) {
            self.show_budget();
        }
    }

    fn show_budget(&self) {
        let shares = self.budget.shares();
        self.desk.set_page_line(shares.map_or(0.0, |shares| shares.lifts.pages));
        self.metrics.set_budget(shares);
    }

    /// Says that the model cannot judge a server, and why.
    pub(crate) fn set_unfit(&self, instance: &str, why: String) {
        self.metrics.set_state(instance, "schema_mismatch");
        self.change(|view| view.set_unfit(instance, why));
    }

    /// Takes a server that went away out of view and metrics. Gives its incidents that were open,
    /// closed at `time`.
    pub fn forget(&self, instance: &str, time: Timestamp) -> Vec<Incident> {
        self.metrics.forget(instance);
        self.succession().forget(instance);
        let closed = self.desk.forget(instance, time);
        let n_servers = self.change(|view| {
            view.forget(instance, time);
            view.n_servers()
        });
        self.share_budget(n_servers);
        closed
    }

    /// Shows a step of a server of `job`; `took` is the time from the finished scrape to the verdict.
    /// Gives the step as it is to be told: an incident that went on before a restart has its old name.
    pub fn take(&self, job: &str, instance: &str, mut step: Step, took: Duration) -> Step {
        step.incident = self.desk.take(job, instance, &step);
        self.change(|view| view.push(instance, &step));
        let eta = self.read(|view| {
            self.metrics.stepped(instance, &step, view.features(), took);
            view.server(instance).and_then(Server::eta_seconds)
        });
        self.metrics.set_eta(instance, eta);
        step
    }

    /// Goes on with the incidents that are kept in `states`, and with what people said of them, and
    /// keeps both there from now on. Gives why something of that cannot be used, if so.
    pub fn keep_incidents(&self, states: &StateFolder, now: Timestamp) -> Vec<String> {
        let Some(path) = states.path() else { return Vec::new() };
        let (incidents, trouble) = self.desk.open(path, now);
        self.change(|view| incidents.iter().for_each(|incident| view.remember(incident)));
        trouble.into_iter().chain(self.feedback.open(path)).collect()
    }

    /// Who judges, and how learning stands.
    pub(crate) fn succession(&self) -> &Succession {
        self.metrics.succession()
    }

    /// What people say of incidents.
    pub(crate) fn feedback(&self) -> &Feedback {
        &self.feedback
    }

    /// Lets time pass: what is silent gets stale, and incidents may end by that, which are given.
    pub(crate) fn tick(&self, now: Timestamp) -> Vec<Incident> {
        for instance in self.change(|view| view.mark_stale(now)) {
            self.metrics.set_state(&instance, "stale");
            self.metrics.set_eta(&instance, None);
            self.metrics.remote_storage().fell_silent(&instance);
        }
        let closed = self.desk.tick(now);
        if !closed.is_empty() {
            self.change(|view| closed.iter().for_each(|incident| view.remember(incident)));
        }
        closed
    }

    /// Servers are about to be followed anew, by another configuration: incidents go on, and what
    /// nobody follows by the next [`Shared::forget_unfollowed`] is forgotten.
    pub fn begin_anew(&self, now: Timestamp) {
        self.desk.begin_anew(now);
        self.change(View::begin_anew);
    }

    /// Forgets the servers that nobody follows since [`Shared::begin_anew`]. Gives their names, and
    /// their incidents that were open, closed at `now`.
    pub fn forget_unfollowed(&self, now: Timestamp) -> (Vec<String>, Vec<Incident>) {
        let gone = self.read(View::unfollowed);
        let closed = gone.iter().flat_map(|instance| self.forget(instance, now)).collect();
        (gone, closed)
    }

    /// Gives up what waits for remote storage, at the end; how many samples that are.
    pub fn give_up_unsent(&self) -> usize {
        self.metrics.remote_storage().give_up()
    }

    /// Takes orders over HTTP from now on; they come out of what is given.
    pub fn enable_lifecycle(&self) -> mpsc::Receiver<OrderTaken> {
        self.lifecycle.enable()
    }

    pub(crate) fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// Where incidents come to.
    pub(crate) fn desk(&self) -> &Desk {
        &self.desk
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
