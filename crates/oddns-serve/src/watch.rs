//! The scraping loop: one task a target, on a regular grid of instants.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use oddns_collect::{ScrapeConfig, ScrapeError, Scraper, next_scrape, target_offset};
use oddns_core::{Scrape, SeriesTable, Timestamp};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::config::WatchTarget;
use crate::error::ServeError;
use crate::event::Event;
use crate::shared::Shared;
use crate::states::{Kept, StateFolder};
use crate::view::ModelInfo;
use oddns::{Detector, DetectorError, Fleet, State, Step};

/// A server that shows ever new series would fill the memory; above this many the table, and with
/// it the warm-up, starts anew. CoreDNS has some hundred series, a large one some thousand.
const MAX_SERIES: usize = 100_000;
/// Longest text of a scrape error that is kept.
const MAX_ERROR_CHARS: usize = 500;

/// Turns the scrapes of one server into verdicts. The pipeline does; tests use a simpler one.
pub trait Judge: Send {
    /// Judges the next scrape, whose series are in `series`.
    fn push(&mut self, series: &SeriesTable, scrape: &Scrape) -> Result<Step, DetectorError>;
}

/// A server beside the others of its job.
struct Replica {
    kept: Kept,
    fleet: SharedFleet,
    instance: String,
    events: mpsc::Sender<Event>,
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
type SharedFleet = Arc<Mutex<Fleet>>;

/// Makes the judge of a server, given its name.
pub type NewJudge = Arc<dyn Fn(&str) -> Result<Box<dyn Judge>, DetectorError> + Send + Sync>;

/// Watches `targets` with a [`oddns::Pipeline`] each; those of one job are taken for replicas, and compared
/// with each other. `model_id` is what tells the model from others. What is learned of a server since
/// training is kept in `states`, where there is such a folder: every few minutes, and at the end. See
/// [`watch_with`]. Fails also when the model was not trained on the features of this version.
pub async fn watch(
    targets: Vec<WatchTarget>,
    detector: Arc<Detector>,
    model_id: String,
    states: Option<StateFolder>,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    shared.set_model(ModelInfo::of(&detector, model_id));
    let fleets = fleets(&targets);
    let telling = events.clone();
    let new_judge: NewJudge = Arc::new(move |instance| {
        let (kept, trouble) = Kept::open(Arc::clone(&detector), instance, states.clone())?;
        if let Some(reason) = trouble {
            let _ = telling.try_send(state_lost(instance, reason));
        }
        let fleet = fleets.get(instance).cloned().unwrap_or_default();
        Ok(Box::new(Replica {
            kept,
            fleet,
            instance: instance.to_owned(),
            events: telling.clone(),
        }))
    });
    watch_with(targets, new_judge, shared, events, shutdown).await
}

/// Watches `targets` until `shutdown` ends: scrapes each, judges, writes the view and the metrics
/// of `shared`, and sends what happened to `events`.
///
/// A slow reader of `events` loses events, which is counted in `oddns_events_dropped_total`; it
/// does not hold up scraping. What fails on one target does not touch the others. Fails only
/// before the first scrape: without targets, or with two of one name.
pub async fn watch_with(
    targets: Vec<WatchTarget>,
    new_judge: NewJudge,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    shared.watch(distinct_names(&targets)?);
    let is_only = targets.len() == 1;
    let mut tasks = JoinSet::new();
    let mut names = HashMap::new();
    for target in targets {
        let name = target.target.instance();
        let watched =
            Watched::new(target, is_only, new_judge.clone(), shared.clone(), events.clone())
                .map_err(ServeError::Model)?;
        names.insert(tasks.spawn(watched.run()).id(), name);
    }
    let all_ended = async {
        while let Some(ended) = tasks.join_next_with_id().await {
            if let Err(panic) = ended {
                let name = names.get(&panic.id()).map_or("", String::as_str);
                let trouble = "oddns failed on this target and gave it up: restart oddns";
                shared.change(|view| view.set_trouble(name, Some(trouble.to_owned())));
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = all_ended => {}
        () = shutdown => {}
    }
    tasks.shutdown().await;
    Ok(())
}

fn state_lost(instance: &str, reason: String) -> Event {
    Event::StateLost { instance: instance.to_owned(), reason }
}

/// The fleet of each target, by its name.
fn fleets(targets: &[WatchTarget]) -> HashMap<String, SharedFleet> {
    let mut of_job: HashMap<&str, SharedFleet> = HashMap::new();
    let mut of_target = HashMap::new();
    for target in targets {
        let fleet = of_job.entry(&target.job).or_default();
        of_target.insert(target.target.instance(), Arc::clone(fleet));
    }
    of_target
}

fn distinct_names(targets: &[WatchTarget]) -> Result<Vec<String>, ServeError> {
    let names: Vec<String> = targets.iter().map(|target| target.target.instance()).collect();
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        _ if names.is_empty() => Err(ServeError::NoTargets),
        Some(twice) => Err(ServeError::TwiceTheSame { instance: twice.clone() }),
        None => Ok(names),
    }
}

/// One target with all that its task needs.
struct Watched {
    target: WatchTarget,
    instance: String,
    /// How long after the start the first scrape comes.
    delay: Duration,
    new_judge: NewJudge,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    judge: Box<dyn Judge>,
    series: SeriesTable,
    state: Option<State>,
    /// Kind of the error that was last reported, while scrapes fail.
    failure: Option<&'static str>,
}

impl Watched {
    fn new(
        target: WatchTarget,
        is_only: bool,
        new_judge: NewJudge,
        shared: Arc<Shared>,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, DetectorError> {
        let instance = target.target.instance();
        // Many targets are spread over the interval; a person who watches one wants to see it now.
        let spread = || target_offset(&instance, target.interval);
        Ok(Self {
            delay: if is_only { Duration::ZERO } else { spread() },
            judge: new_judge(&instance)?,
            series: SeriesTable::default(),
            state: None,
            failure: None,
            target,
            instance,
            new_judge,
            shared,
            events,
        })
    }

    async fn run(mut self) {
        let config = ScrapeConfig { timeout: self.target.timeout, ..ScrapeConfig::default() };
        let mut scraper = match Scraper::new(self.target.target.clone(), config) {
            Ok(scraper) => scraper,
            Err(error) => return self.report_failure(wall_clock(), error.kind(), &error),
        };
        sleep(self.delay).await;
        let mut due = wall_clock();
        let phase = phase(due, self.target.interval);
        loop {
            let scraped = scraper.scrape(wall_clock(), &mut self.series).await;
            self.take(&scraped.scrape, scraped.error.as_ref());
            let now = wall_clock();
            due =
                next_scrape(not_twice(now, due, self.target.interval), self.target.interval, phase);
            sleep(Duration::from_millis((due.millis() - now.millis()).max(0) as u64)).await;
        }
    }

    fn take(&mut self, scrape: &Scrape, error: Option<&ScrapeError>) {
        let failure = error.map(ScrapeError::kind);
        self.shared.metrics().scraped(&self.instance, scrape.duration_seconds, failure);
        match error {
            Some(error) => self.report_failure(scrape.time, error.kind(), error),
            None => self.report_recovery(scrape.time),
        }
        let start = Instant::now();
        match self.judge.push(&self.series, scrape) {
            Ok(step) => self.show(step, start.elapsed()),
            Err(error) => self.report_failure(scrape.time, "judging", &error),
        }
        self.forget_if_too_many_series();
    }

    fn show(&mut self, step: Step, took: Duration) {
        self.shared.change(|view| view.push(&self.instance, &step));
        self.shared.read(|view| {
            self.shared.metrics().stepped(&self.instance, &step, view.features(), took);
        });
        self.tell(step);
    }

    fn report_failure(&mut self, time: Timestamp, kind: &'static str, error: &dyn Error) {
        let text = chain(error);
        self.shared.change(|view| view.set_trouble(&self.instance, Some(text.clone())));
        if self.failure != Some(kind) {
            self.failure = Some(kind);
            self.send(Event::ScrapeFailed { instance: self.instance.clone(), time, error: text });
        }
    }

    fn report_recovery(&mut self, time: Timestamp) {
        if self.failure.take().is_some() {
            self.shared.change(|view| view.set_trouble(&self.instance, None));
            self.send(Event::ScrapeRecovered { instance: self.instance.clone(), time });
        }
    }

    fn tell(&mut self, step: Step) {
        let Step { time, state, score, incident, .. } = step;
        if self.state.as_ref() != Some(&state) {
            self.state = Some(state.clone());
            self.send(Event::State { instance: self.instance.clone(), time, state });
        }
        if let Some(score) = score {
            self.send(Event::Score { instance: self.instance.clone(), score });
        }
        if let Some(incident) = incident {
            self.send(Event::Incident(incident));
        }
    }

    fn send(&self, event: Event) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(event) {
            self.shared.metrics().event_dropped();
        }
    }

    fn forget_if_too_many_series(&mut self) {
        if self.series.len() <= MAX_SERIES {
            return;
        }
        // Cannot fail: it worked at the start, with the same model.
        if let Ok(judge) = (self.new_judge)(&self.instance) {
            self.series = SeriesTable::default();
            self.judge = judge;
        }
    }
}

/// Where in the interval `time` lies.
fn phase(time: Timestamp, interval: Duration) -> Duration {
    let interval = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
    Duration::from_millis(time.millis().rem_euclid(interval) as u64)
}

/// The instant to look for the next scrape from: `now`, but when the timer woke us a little early
/// the one that we just served, which would else be served twice.
fn not_twice(now: Timestamp, served: Timestamp, interval: Duration) -> Timestamp {
    let early = served.millis().saturating_sub(now.millis());
    let is_jitter = early > 0 && (early as u128) < interval.as_millis() / 2;
    if is_jitter { served } else { now }
}

/// The system's time: the only place that reads it. Before 1970 it is 1970.
fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// An error with all its causes in one line without control characters.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.chars().filter(|c| !c.is_control()).take(MAX_ERROR_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn an_early_timer_does_not_scrape_twice() {
        let interval = Duration::from_secs(15);
        let next = |now, served| {
            next_scrape(not_twice(at(now), at(served), interval), interval, Duration::ZERO).millis()
        };
        assert_eq!(next(14_999, 15_000), 30_000);
        assert_eq!(next(15_001, 15_000), 30_000);
        // The clock was set back by a minute: the grid goes on from the new time.
        assert_eq!(next(15_001, 75_000), 30_000);
    }

    fn target(job: &str, url: &str) -> WatchTarget {
        WatchTarget {
            job: job.into(),
            target: url.parse().unwrap(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_fleet_is_a_job() {
        let targets = [target("dns", "a:1"), target("nodelocal", "b:1"), target("dns", "c:1")];
        let fleets = fleets(&targets);
        assert!(Arc::ptr_eq(&fleets["a:1"], &fleets["c:1"]));
        assert!(!Arc::ptr_eq(&fleets["a:1"], &fleets["b:1"]));
    }

    #[test]
    fn names_must_be_distinct() {
        assert!(matches!(distinct_names(&[]), Err(ServeError::NoTargets)));
        let twice = [target("j", "a:1"), target("j", "http://a:1/other")];
        assert!(matches!(distinct_names(&twice), Err(ServeError::TwiceTheSame { .. })));
    }
}
