//! The watch loop: every scrape of every target is judged, shown and told.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use oddns_collect::{
    Discovery, DiscoveryError, Gone, Job, Pace, RefusedTarget, ScrapeTarget, Scraped, Sink, Sinks,
    scrape_jobs, wall_clock,
};
use oddns_core::{Scrape, SeriesTable};
use oddns_store::ScrapeAppender;
use tokio::sync::mpsc;

use crate::budget::lift;
use crate::error::ServeError;
use crate::event::Event;
use crate::judged::Judged;
use crate::origin::Origin;
use crate::shared::Shared;
use crate::states::{Kept, StateFolder};
use crate::storage::Stored;
use crate::teller::Teller;
use crate::view::{ModelInfo, View};
use oddns::{Detector, DetectorError, Fleet, IncidentEvent, Pipeline, State, Step};

/// Longest text of an error that is kept.
const MAX_ERROR_CHARS: usize = 500;
/// A new champion sees the latest rows, so many times those that it has to see: averages that reach
/// further back are then as they would be.
const SEEN_WARM_UPS: usize = 4;
/// Scrapes from one time to the next that a server tells how far its features have wandered.
const TOLD_EVERY: u32 = 20;

/// Turns the scrapes of one server into verdicts. The pipeline does; tests use a simpler one.
pub trait Judge: Send {
    /// Judges the next scrape, whose series are in `series`.
    fn push(&mut self, series: &SeriesTable, scrape: &Scrape) -> Result<Step, DetectorError>;
}

/// What all servers that are judged have in common.
#[derive(Clone)]
pub(crate) struct Around {
    pub(crate) states: Option<StateFolder>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: mpsc::Sender<Event>,
}

/// A server beside the others of its job.
pub(crate) struct Replica {
    kept: Kept,
    fleet: SharedFleet,
    instance: String,
    around: Around,
    /// The turn of the champion that judges.
    turn: u64,
    /// Scrapes until it is told how far features have wandered.
    until_told: u32,
    /// The budget that its line was lifted for, and the detector that drew it.
    lifted_for: Option<(u64, Weak<Detector>)>,
    /// An incident that began while a model judged that knew nothing of the site: nobody was told.
    untold: Option<String>,
}

impl Replica {
    /// A server of `fleet`, judged by the champion, or by `detector` while there is none.
    /// What is kept of it and cannot be used is told.
    pub(crate) fn new(
        detector: Arc<Detector>,
        instance: &str,
        fleet: SharedFleet,
        around: Around,
    ) -> Result<Self, DetectorError> {
        let (turn, detector) =
            around.shared.succession().after(instance, 0).unwrap_or((0, detector));
        let (kept, trouble) = Kept::open(detector, instance, around.states.clone())?;
        if let Some(reason) = trouble {
            let _ = around.events.try_send(state_lost(instance, reason));
        }
        let instance = instance.to_owned();
        Ok(Self {
            kept,
            fleet,
            instance,
            around,
            turn,
            until_told: 0,
            lifted_for: None,
            untold: None,
        })
    }

    /// Goes on with the champion, if that has changed since the last scrape. It has judged the history of
    /// this server, or sees the latest rows first, so that it need not warm up.
    fn follow_champion(&mut self) {
        let shared = &self.around.shared;
        let Some((turn, champion)) = shared.succession().after(&self.instance, self.turn) else {
            return;
        };
        (self.turn, self.until_told) = (turn, 0);
        let n_rows = SEEN_WARM_UPS * champion.warm_up_rows();
        let recent = shared.read(|view| view.recent(&self.instance, n_rows));
        let taken = match shared.succession().prepared(&self.instance, &champion) {
            Some(stream) => self.kept.hand_over(stream, &recent),
            // The turn was another server's.
            None if Arc::ptr_eq(&champion, self.kept.pipeline.detector()) => Ok(()),
            None => self.kept.succeed(champion, &recent),
        };
        // Fails for another schema only, which no champion has: the one of before goes on then.
        if let Err(error) = taken {
            let _ = self.around.events.try_send(state_lost(&self.instance, chain(&error)));
        }
    }

    fn tell_drift(&mut self) {
        match self.until_told.checked_sub(1) {
            Some(left) => self.until_told = left,
            None => {
                self.until_told = TOLD_EVERY;
                let wandered = self.kept.pipeline.wandered();
                self.around.shared.succession().wandered(&self.instance, wandered);
            }
        }
    }

    /// A step without what a model says that knows nothing of the site: it goes on warming up.
    fn untold(&mut self, step: Step) -> Step {
        if let Some(IncidentEvent::Opened(incident)) = &step.incident {
            self.untold = Some(incident.id.clone());
        }
        let seen = self.kept.pipeline.detector().warm_up_rows() + 1;
        let state = match step.state {
            State::Scoring => State::WarmingUp { seen, needed: seen + 1 },
            state => state,
        };
        Step { state, score: None, expected: Vec::new(), incident: None, ..step }
    }

    /// A step as it is to be told: what went on before anything was told begins now.
    fn known(&mut self, step: Step) -> Step {
        let untold = self.untold.take();
        let Some(id) = untold else { return step };
        let incident = match step.incident {
            Some(event) if event.incident().id == id => match event {
                IncidentEvent::Closed(_) => None,
                event => Some(IncidentEvent::Opened(event.incident().clone())),
            },
            event => {
                self.untold = Some(id).filter(|_| event.is_none());
                event
            }
        };
        Step { incident, ..step }
    }

    /// Lifts the line to what the budget leaves for this server, when that is another than before.
    fn lift(&mut self) {
        let each = self.around.shared.budget().each();
        let detector = self.kept.pipeline.detector();
        let is_lifted = self.lifted_for.as_ref().is_some_and(|(bits, of)| {
            *bits == each.to_bits() && Weak::as_ptr(of) == Arc::as_ptr(detector)
        });
        if !is_lifted {
            self.lifted_for = Some((each.to_bits(), Arc::downgrade(detector)));
            let lift = lift(detector, each);
            self.kept.pipeline.set_lift(lift);
        }
    }
}

impl Judge for Replica {
    fn push(&mut self, series: &SeriesTable, scrape: &Scrape) -> Result<Step, DetectorError> {
        self.follow_champion();
        self.lift();
        // What a task that panicked left behind are rows like any other.
        let step = {
            let mut fleet = self.fleet.lock().unwrap_or_else(PoisonError::into_inner);
            self.kept.pipeline.push_in(&mut fleet, series, scrape)?
        };
        if let Some(reason) = self.kept.judged(scrape.time) {
            let _ = self.around.events.try_send(state_lost(&self.instance, reason));
        }
        self.tell_drift();
        let is_strange = self.around.shared.read(View::origin) == Origin::Elsewhere;
        Ok(if is_strange { self.untold(step) } else { self.known(step) })
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
/// and at the end. When `shared` has another champion, it judges from the next scrapes on. See [`watch_with`]. Fails also when the model was not trained on the features of
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
    let around = Around { states, shared: Arc::clone(&shared), events: events.clone() };
    let new_judge: NewJudge = Arc::new(move |target| {
        let mut fleets = fleets.lock().unwrap_or_else(PoisonError::into_inner);
        let fleet = Arc::clone(fleets.entry(target.job.config().name.clone()).or_default());
        around.shared.succession().follow(&target.instance, &target.job.config().name);
        let detector = Arc::clone(&detector);
        Ok(Box::new(Replica::new(detector, &target.instance, fleet, around.clone())?))
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
    let teller = Teller::new(shared, events);
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

/// What becomes of targets as they come and go.
struct Watch {
    new_judge: NewJudge,
    teller: Teller,
}

impl Sinks for Watch {
    fn open(&mut self, target: &ScrapeTarget) -> Option<Box<dyn Sink>> {
        self.teller.shared.watch(vec![target.instance.clone()]);
        match (self.new_judge)(target) {
            Ok(judge) => {
                let name = (target.job.config().name.clone(), target.instance.clone());
                Some(Box::new(Watched {
                    target: target.clone(),
                    new_judge: Arc::clone(&self.new_judge),
                    teller: self.teller.clone(),
                    judged: Judged::new(name, judge, self.teller.clone()),
                    appender: ScrapeAppender::new(&target.instance),
                }))
            }
            Err(error) => {
                self.teller.shared.set_unfit(&target.instance, chain(&error));
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
        if self.teller.may_tell(&job.config().name, cause) {
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
    judged: Judged,
    appender: ScrapeAppender,
}

impl Sink for Watched {
    fn take(&mut self, series: &SeriesTable, scraped: &Scraped) {
        self.teller.shared.metrics().scraped(&self.target.instance, scraped);
        self.tell_left_out(scraped);
        self.keep(series, &scraped.scrape);
        let failure = scraped.error.as_ref().map(|error| (error.kind(), error as &dyn Error));
        self.judged.take(series, &scraped.scrape, failure);
    }

    fn forget_series(&mut self) {
        self.appender = ScrapeAppender::new(&self.target.instance);
        // Cannot fail: it worked at the start, with the same model.
        if let Ok(judge) = (self.new_judge)(&self.target) {
            self.judged.begin_anew(judge);
        }
    }
}

impl Watched {
    /// Of each cause in a job one a minute.
    fn tell_left_out(&self, scraped: &Scraped) {
        for (reason, n, what) in scraped.left_out.by_reason() {
            if self.teller.may_tell(&self.target.job.config().name, reason) {
                let text = format!("{}: {n} samples {what} are left out", self.target.instance);
                self.teller.send(Event::Warning { time: scraped.scrape.time, text });
            }
        }
    }

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
