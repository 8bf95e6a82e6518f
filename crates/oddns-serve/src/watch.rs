//! The watch loop: every scrape of every target is judged, shown and told.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use oddns_collect::{
    Discovery, DiscoveryError, Gone, Job, Pace, RefusedTarget, ScrapeError, ScrapeTarget, Scraped,
    Sink, Sinks, Throttle, scrape_jobs, wall_clock,
};
use oddns_core::{Scrape, SeriesTable, Timestamp};
use oddns_store::ScrapeAppender;
use tokio::sync::mpsc;

use crate::error::ServeError;
use crate::event::Event;
use crate::shared::Shared;
use crate::states::{Kept, StateFolder};
use crate::storage::Stored;
use crate::view::ModelInfo;
use oddns::{Detector, DetectorError, Fleet, IncidentEvent, Pipeline, State, Step};

/// Longest text of an error that is kept.
const MAX_ERROR_CHARS: usize = 500;

/// Turns the scrapes of one server into verdicts. The pipeline does; tests use a simpler one.
pub trait Judge: Send {
    /// Judges the next scrape, whose series are in `series`.
    fn push(&mut self, series: &SeriesTable, scrape: &Scrape) -> Result<Step, DetectorError>;
}

/// A server beside the others of its job.
pub(crate) struct Replica {
    kept: Kept,
    fleet: SharedFleet,
    instance: String,
    events: mpsc::Sender<Event>,
}

impl Replica {
    /// A server of `fleet`. What is kept of it in `states` and cannot be used is told.
    pub(crate) fn new(
        detector: Arc<Detector>,
        instance: &str,
        states: Option<StateFolder>,
        fleet: SharedFleet,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, DetectorError> {
        let (kept, trouble) = Kept::open(detector, instance, states)?;
        if let Some(reason) = trouble {
            let _ = events.try_send(state_lost(instance, reason));
        }
        Ok(Self { kept, fleet, instance: instance.to_owned(), events })
    }
}

impl Judge for Replica {
    fn push(&mut self, series: &SeriesTable, scrape: &Scrape) -> Result<Step, DetectorError> {
        // What a task that panicked left behind are rows like any other.
        let step = {
            let mut fleet = self.fleet.lock().unwrap_or_else(PoisonError::into_inner);
            self.kept.pipeline.push_in(&mut fleet, series, scrape)?
        };
        if let Some(reason) = self.kept.judged(scrape.time) {
            let _ = self.events.try_send(state_lost(&self.instance, reason));
        }
        Ok(step)
    }
}

/// The servers of one job, which their tasks compare with each other.
pub(crate) type SharedFleet = Arc<Mutex<Fleet>>;

/// Makes the judge of a target.
pub type NewJudge =
    Arc<dyn Fn(&ScrapeTarget) -> Result<Box<dyn Judge>, DetectorError> + Send + Sync>;

/// Watches the targets of `jobs` with a [`Pipeline`] each; those of one job are taken for replicas,
/// and compared with each other. `model_id` is what tells the model from others. What is learned of
/// a server since training is kept in `states`, where there is such a folder: every few minutes,
/// and at the end. See [`watch_with`]. Fails also when the model was not trained on the features of
/// this version.
pub async fn watch(
    jobs: Vec<Arc<Job>>,
    detector: Arc<Detector>,
    model_id: String,
    states: Option<StateFolder>,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    Pipeline::new(Arc::clone(&detector), String::new()).map_err(ServeError::Model)?;
    shared.set_model(ModelInfo::of(&detector, model_id));
    let fleets: Mutex<HashMap<String, SharedFleet>> = Mutex::default();
    let telling = events.clone();
    let new_judge: NewJudge = Arc::new(move |target| {
        let mut fleets = fleets.lock().unwrap_or_else(PoisonError::into_inner);
        let fleet = Arc::clone(fleets.entry(target.job.config().name.clone()).or_default());
        let (detector, states) = (Arc::clone(&detector), states.clone());
        let replica = Replica::new(detector, &target.instance, states, fleet, telling.clone())?;
        Ok(Box::new(replica))
    });
    watch_with(jobs, new_judge, shared, events, shutdown).await
}

/// Watches the targets of `jobs` until `shutdown` ends: scrapes each, judges, writes the view and
/// the metrics of `shared`, and sends what happened to `events`.
///
/// A slow reader of `events` loses events, which is counted in `oddns_events_dropped_total`; it
/// does not hold up scraping. What fails on one target does not touch the others, and of what fails
/// for one reason in one job one event a minute is told. Fails only before the first scrape: when
/// no job has a way to a target.
pub async fn watch_with(
    jobs: Vec<Arc<Job>>,
    new_judge: NewJudge,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    if jobs.iter().all(|job| job.config().discoveries.is_empty()) {
        return Err(ServeError::NoTargets);
    }
    // Many targets are spread over the interval; a person who watches one wants to see it now.
    let pace = if has_one_target(&jobs) { Pace::Together(wall_clock()) } else { Pace::Spread };
    let teller = Teller { shared, events, throttle: Arc::default() };
    scrape_jobs(jobs, pace, Watch { new_judge, teller }, shutdown).await;
    Ok(())
}

fn state_lost(instance: &str, reason: String) -> Event {
    Event::StateLost { instance: instance.to_owned(), reason }
}

/// Whether there is, and will be, a single target.
fn has_one_target(jobs: &[Arc<Job>]) -> bool {
    let mut discoveries = jobs.iter().flat_map(|job| &job.config().discoveries);
    let n_written: usize = discoveries.clone().map(|discovery| discovery.written().len()).sum();
    n_written == 1 && !discoveries.any(Discovery::is_dynamic)
}

/// Says what happened: to the page, the metrics and the reader of events.
#[derive(Clone)]
struct Teller {
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    throttle: Arc<Mutex<Throttle>>,
}

impl Teller {
    fn send(&self, event: Event) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(event) {
            self.shared.metrics().event_dropped();
        }
    }

    /// Whether a failure may be told now: of each cause one a minute.
    fn may_tell(&self, job: &Job, cause: &'static str) -> bool {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.allows(&job.config().name, cause, wall_clock())
    }
}

/// What becomes of targets as they come and go.
struct Watch {
    new_judge: NewJudge,
    teller: Teller,
}

impl Sinks for Watch {
    fn open(&mut self, target: &ScrapeTarget) -> Option<Box<dyn Sink>> {
        self.teller.shared.watch(vec![target.instance.clone()]);
        match (self.new_judge)(target) {
            Ok(judge) => Some(Box::new(Watched {
                target: target.clone(),
                new_judge: Arc::clone(&self.new_judge),
                teller: self.teller.clone(),
                judge,
                appender: ScrapeAppender::new(&target.instance),
                state: None,
                failure: None,
            })),
            Err(error) => {
                let text = Some(chain(&error));
                self.teller.shared.change(|view| view.set_trouble(&target.instance, text));
                None
            }
        }
    }

    fn close(&mut self, target: &ScrapeTarget, why: Gone) {
        let (shared, instance) = (&self.teller.shared, &target.instance);
        if why == Gone::Panicked {
            let trouble = "oddns failed on this target and gave it up: restart oddns".to_owned();
            return shared.change(|view| view.set_trouble(instance, Some(trouble)));
        }
        let time = wall_clock();
        for incident in shared.forget(instance, time) {
            self.teller.send(Event::Incident(IncidentEvent::Closed(incident)));
        }
        self.teller.send(Event::TargetGone { instance: instance.clone(), time });
    }

    fn discovered(&mut self, job: &Job, n_targets: usize) {
        self.teller.shared.metrics().discovered(&job.config().name, n_targets);
    }

    fn discovery_failed(&mut self, job: &Job, error: &DiscoveryError) {
        self.teller.shared.metrics().discovery_failed(&job.config().name, error.kind());
        self.tell_trouble(job, error.kind(), chain(error));
    }

    fn refused(&mut self, job: &Job, error: &RefusedTarget) {
        self.teller.shared.metrics().discovery_failed(&job.config().name, "refused");
        self.tell_trouble(job, "refused", chain(error));
    }
}

impl Watch {
    fn tell_trouble(&self, job: &Job, cause: &'static str, error: String) {
        if self.teller.may_tell(job, cause) {
            let job = job.config().name.clone();
            self.teller.send(Event::DiscoveryFailed { job, time: wall_clock(), error });
        }
    }
}

/// One target with all that judging it needs.
struct Watched {
    target: ScrapeTarget,
    new_judge: NewJudge,
    teller: Teller,
    judge: Box<dyn Judge>,
    appender: ScrapeAppender,
    state: Option<State>,
    /// Kind of the error that was last told, while scrapes fail.
    failure: Option<&'static str>,
}

impl Sink for Watched {
    fn take(&mut self, series: &SeriesTable, scraped: &Scraped) {
        let scrape = &scraped.scrape;
        let failure = scraped.error.as_ref().map(ScrapeError::kind);
        self.teller.shared.metrics().scraped(&self.target.instance, scraped);
        match (&scraped.error, failure) {
            (Some(error), Some(kind)) => self.report_failure(scrape.time, kind, error),
            _ => self.report_recovery(scrape.time),
        }
        self.keep(series, scrape);
        let start = Instant::now();
        match self.judge.push(series, scrape) {
            Ok(step) => self.show(step, start.elapsed()),
            Err(error) => self.report_failure(scrape.time, "judging", &error),
        }
    }

    fn forget_series(&mut self) {
        self.appender = ScrapeAppender::new(&self.target.instance);
        // Cannot fail: it worked at the start, with the same model.
        if let Ok(judge) = (self.new_judge)(&self.target) {
            self.judge = judge;
        }
    }
}

impl Watched {
    fn keep(&mut self, series: &SeriesTable, scrape: &Scrape) {
        let storage = self.teller.shared.metrics().storage();
        match storage.keep(&mut self.appender, series, scrape) {
            Stored::AsBefore => {}
            Stored::Refused(error) => {
                self.teller.send(Event::StorageFailed { error: chain(&error) });
            }
            Stored::Again => self.teller.send(Event::StorageRecovered),
        }
    }

    fn show(&mut self, step: Step, took: Duration) {
        let (shared, instance) = (&self.teller.shared, &self.target.instance);
        shared.change(|view| view.push(instance, &step));
        shared.read(|view| shared.metrics().stepped(instance, &step, view.features(), took));
        self.tell(step);
    }

    fn report_failure(&mut self, time: Timestamp, kind: &'static str, error: &dyn Error) {
        let text = chain(error);
        let instance = self.target.instance.clone();
        self.teller.shared.change(|view| view.set_trouble(&instance, Some(text.clone())));
        if self.failure != Some(kind) && self.teller.may_tell(&self.target.job, kind) {
            self.failure = Some(kind);
            self.teller.send(Event::ScrapeFailed { instance, time, error: text });
        }
    }

    fn report_recovery(&mut self, time: Timestamp) {
        let instance = self.target.instance.clone();
        self.teller.shared.change(|view| view.set_trouble(&instance, None));
        if self.failure.take().is_some() {
            self.teller.send(Event::ScrapeRecovered { instance, time });
        }
    }

    fn tell(&mut self, step: Step) {
        let Step { time, state, score, incident, .. } = step;
        let instance = self.target.instance.clone();
        if self.state.as_ref() != Some(&state) {
            self.state = Some(state.clone());
            self.teller.send(Event::State { instance: instance.clone(), time, state });
        }
        if let Some(score) = score {
            self.teller.send(Event::Score { instance, score });
        }
        if let Some(incident) = incident {
            self.teller.send(Event::Incident(incident));
        }
    }
}

/// An error with all its causes in one line without control characters.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.chars().filter(|c| !c.is_control()).take(MAX_ERROR_CHARS).collect()
}
