//! The thread that fetches history, and sees to what follows from it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use oddns::{Detector, DetectorError};
use oddns_collect::{
    HistoryError, HistoryPart, HistoryQuery, PrometheusHistory, Waiting, format_duration,
    wall_clock,
};
use oddns_core::{Frame, Timestamp};
use oddns_store::{HistoryStore, StoreError};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::board::{BackfillBoard, CAUSES, Stage, lasting};
use super::fetched::{Fetched, Place, own};
use super::note::Note;
use super::settings::BackfillSettings;
use super::settling::{calibrate, streams};
use crate::event::Event;
use crate::learning::{Ending, LearningOnce, NoPast, Pacer, Past, Rows, Stop, Succession};
use crate::shared::Shared;
use crate::view::View;
use crate::watch::chain;

/// Wait before the second try; it doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(1800);
/// Whoever ends it waits so long for a piece of work; nothing is left half done.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether it is to end, and how others stand.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Targets are found, and a calibrated model is taken over, within this time, or do without.
const TAKE_OVER: Duration = Duration::from_secs(30);
/// Rows of a server that it is calibrated by: beyond them little is learned.
const ROWS: f64 = 8192.0;
/// A server of a large fleet has as many rows at least; others begin with their first rows.
const FEWEST_ROWS: usize = 1000;

/// Where history comes from, and what becomes of it.
pub struct BackfillSite {
    /// What was chosen.
    pub settings: BackfillSettings,
    /// The history that the watch keeps, and its folder. Without one, what is fetched is held in
    /// memory as features, and dropped when servers are calibrated.
    pub kept: Option<(Arc<HistoryStore>, PathBuf)>,
    /// After this time history is removed from the folder, so that older one is not fetched.
    pub kept_for: Option<Duration>,
    /// Time between the scrapes of the watch.
    pub interval: Duration,
    /// The model that came with the program, where no other was named.
    pub base: Option<Arc<Detector>>,
    /// How the site's own model is trained.
    pub training: BackfillTraining,
    /// Part of one processor that all of it takes, above 0 and at most 1.
    pub cpu_share: f64,
}

/// What trains the site's own model.
#[derive(Debug)]
pub enum BackfillTraining {
    /// Learning, which updates the model while the service runs, does so at once.
    GoesOn,
    /// One update from what is held in memory, without a history to go on from.
    Once(LearningOnce),
    /// Nothing, and why.
    Not(&'static str),
}

/// Fetching that goes on until it is done or stopped.
#[derive(Debug)]
pub struct Backfill {
    stop: Arc<Stop>,
    thread: JoinHandle<()>,
}

impl Backfill {
    /// Begins to fetch, and gives what stops it; `None` when this process has done so before. What
    /// fails is told to `events` once for each cause and tried again, ever less often.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn begin(
        mut site: BackfillSite,
        shared: &Arc<Shared>,
        events: &mpsc::Sender<Event>,
    ) -> io::Result<Option<Self>> {
        let longest = site.settings.look_back(site.kept.is_some());
        let look_back = site.kept_for.filter(|kept| *kept < longest).unwrap_or(longest);
        site.settings.look_back = Some(look_back);
        let question = site.settings.question(site.kept.is_some(), site.interval);
        let board = shared.metrics().backfill();
        if board.standing().answered.as_ref() == Some(&question) {
            return Ok(None);
        }
        board.note(|standing| standing.server = site.settings.server.to_string());
        let stop = Arc::<Stop>::default();
        let clerk = Clerk {
            site,
            question,
            fetched: None,
            shared: Arc::clone(shared),
            events: events.downgrade(),
            stop: Arc::clone(&stop),
            told: None,
        };
        let thread = thread::Builder::new().name("oddns-backfill".to_owned());
        Ok(Some(Self { stop, thread: thread.spawn(move || clerk.run())? }))
    }

    /// Ends it, and waits for some seconds. What was fetched into a folder is there the next time.
    pub fn stop(self) {
        self.stop.tell();
        let begun = Instant::now();
        while !self.thread.is_finished() && begun.elapsed() < PATIENCE {
            thread::sleep(LOOK_EVERY / 10);
        }
    }
}

impl Drop for Backfill {
    /// Ends it without waiting.
    fn drop(&mut self) {
        self.stop.tell();
    }
}

/// Why it is not done.
#[derive(Debug)]
enum Undone {
    /// It was told to end.
    Ended,
    /// It may work later.
    Failed { cause: &'static str, text: String },
    /// It will not work as it is configured.
    Refused(String),
}

impl Undone {
    fn of(cause: &'static str, error: &dyn std::error::Error) -> Self {
        Self::Failed { cause, text: chain(error) }
    }
}

impl From<HistoryError> for Undone {
    fn from(error: HistoryError) -> Self {
        Self::of(CAUSES[0], &error)
    }
}

impl From<StoreError> for Undone {
    fn from(error: StoreError) -> Self {
        Self::of(CAUSES[1], &error)
    }
}

impl From<DetectorError> for Undone {
    fn from(error: DetectorError) -> Self {
        match error {
            DetectorError::Ended => Self::Ended,
            error => Self::of(CAUSES[2], &error),
        }
    }
}

/// What the thread holds.
struct Clerk {
    site: BackfillSite,
    question: String,
    /// What was fetched by an attempt before.
    fetched: Option<Fetched>,
    shared: Arc<Shared>,
    /// Whoever listens ends when the watch does, not when this thread has noticed.
    events: mpsc::WeakSender<Event>,
    stop: Arc<Stop>,
    /// What was last told to fail.
    told: Option<String>,
}

impl Clerk {
    fn run(mut self) {
        let pacer = Pacer::of(self.site.cpu_share, Arc::clone(&self.stop));
        let mut wait = FIRST_WAIT;
        loop {
            let before = self.done();
            // The watch goes on, whatever is wrong here.
            let attempt = catch_unwind(AssertUnwindSafe(|| self.attempt(&pacer)));
            match attempt.unwrap_or_else(|_| Err(unforeseen())) {
                Ok(()) | Err(Undone::Ended) => return,
                Err(Undone::Refused(reason)) => return self.refuse(reason),
                Err(Undone::Failed { cause, text }) => {
                    wait = if self.done() > before { FIRST_WAIT } else { wait };
                    self.fail(cause, text, wait);
                    if self.stop.within(wait) {
                        return;
                    }
                    wait = (2 * wait).min(LONGEST_WAIT);
                }
            }
        }
    }

    fn board(&self) -> &BackfillBoard {
        self.shared.metrics().backfill()
    }

    fn succession(&self) -> &Succession {
        self.shared.succession()
    }

    /// Up to where history is fetched.
    fn done(&self) -> Option<Timestamp> {
        self.fetched.as_ref().map(|fetched| fetched.note.done())
    }

    fn attempt(&mut self, pacer: &Pacer) -> Result<(), Undone> {
        let mut fetched = match self.fetched.take() {
            Some(fetched) => fetched,
            None => self.begun()?,
        };
        let result = self.see_to(&mut fetched, pacer);
        self.fetched = Some(fetched);
        result
    }

    fn see_to(&self, fetched: &mut Fetched, pacer: &Pacer) -> Result<(), Undone> {
        self.show(fetched);
        if fetched.note.learned {
            self.succession().learn_also(&fetched.note.servers);
            return self.finish(fetched, "it was fetched before".to_owned());
        }
        if !fetched.note.fetched {
            self.fetch(fetched, pacer)?;
        }
        self.succession().learn_also(&fetched.note.servers);
        let past = self.past(fetched, pacer)?;
        let mut reason = self.settle(&past, pacer)?;
        if reason.is_empty() {
            reason = self.train(past, pacer)?;
        }
        fetched.note.learned = true;
        self.finish(fetched, reason)
    }

    /// Goes on from what an earlier process has fetched into the folder.
    fn begun(&self) -> Result<Fetched, Undone> {
        let now = wall_clock();
        let look_back = self.site.settings.look_back(self.site.kept.is_some());
        let since = back(now, look_back);
        let fresh = || Note::new(self.question.clone(), since, now);
        let (place, note) = match &self.site.kept {
            None => (Place::Held(BTreeMap::new()), fresh()),
            Some((store, root)) => {
                let place = Place::Kept { store: Arc::clone(store), root: root.clone() };
                let note = match Note::read(root, &self.question) {
                    Some(note) => note,
                    None => {
                        let mut note = fresh();
                        note.own_millis = own(root)?;
                        note.write(root)?;
                        note
                    }
                };
                (place, note)
            }
        };
        Ok(Fetched::new(place, note, self.site.interval))
    }

    fn fetch(&self, fetched: &mut Fetched, pacer: &Pacer) -> Result<(), Undone> {
        self.enter(Stage::Fetching, String::new());
        self.notice();
        let (since, until) = fetched.note.range();
        let query = HistoryQuery {
            series: self.site.settings.series.clone(),
            since: fetched.note.done(),
            until,
            step: None,
        };
        if query.since < until {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Undone::of(CAUSES[0], &error))?;
            let result = runtime.block_on(self.ask(&query, fetched, pacer));
            // A look-up of a name may hang in a thread of its own.
            runtime.shutdown_background();
            match result {
                // What is asked for the second time may have come to its end.
                Err(Asked::History(error)) if query.since > since && is_nothing(&error) => {}
                Err(Asked::History(error)) => return Err(error.into()),
                Err(Asked::Undone(undone)) => return Err(undone),
                Ok(()) => {}
            }
        }
        self.tell_misfits(fetched)?;
        fetched.note.fetched = true;
        if let Place::Kept { store, root } = &fetched.place {
            store.flush()?;
            fetched.note.write(root)?;
        }
        Ok(())
    }

    async fn ask(
        &self,
        query: &HistoryQuery,
        fetched: &mut Fetched,
        pacer: &Pacer,
    ) -> Result<(), Asked> {
        let settings = &self.site.settings;
        let mut history = PrometheusHistory::new(settings.server.clone(), settings.reader())?;
        let waiting = history.waiting();
        tokio::select! {
            () = self.ended() => Err(Asked::Undone(Undone::Ended)),
            never = self.show_waiting(&waiting) => match never {},
            result = history.fetch(query, |part| self.take(part, fetched, pacer)) => result,
        }
    }

    fn take(&self, part: HistoryPart, fetched: &mut Fetched, pacer: &Pacer) -> Result<(), Asked> {
        for warning in &part.warnings {
            if fetched.warnings.insert(warning.clone()) {
                let server = &self.site.settings.server;
                self.warn(format!(
                    "samples of the past may be missing: {server} warns `{warning}`"
                ));
            }
        }
        let taken = fetched.take(part, self.succession(), &|| pacer.rest());
        self.show(fetched);
        match taken {
            Ok(true) if pacer.rest().is_continue() => Ok(()),
            Ok(_) => Err(Asked::Undone(Undone::Ended)),
            Err(error) => Err(Asked::Undone(error.into())),
        }
    }

    async fn ended(&self) {
        while !self.stop.within(Duration::ZERO) {
            sleep(LOOK_EVERY).await;
        }
    }

    /// What keeps the reader from going on, as long as it does.
    async fn show_waiting(&self, waiting: &Waiting) -> Infallible {
        loop {
            sleep(LOOK_EVERY).await;
            let reason = waiting.reason().unwrap_or_default();
            self.board().note(|standing| standing.reason = reason);
        }
    }

    /// Servers whose scrapes are not as far apart as those of the watch.
    fn tell_misfits(&self, fetched: &Fetched) -> Result<(), Undone> {
        let Some((instance, misfit)) = fetched.misfits.first_key_value() else { return Ok(()) };
        let theirs = lasting_exactly(misfit.seconds);
        let (ours, n) = (format_duration(self.site.interval), fetched.misfits.len());
        let text = format!(
            "a model fits one interval, and this Prometheus scraped `{instance}`{} every {theirs} where \
             the watch scrapes every {ours}: set `scrape_interval` to {theirs}, or leave history out",
            if n > 1 { format!(" and {} more servers", n - 1) } else { String::new() }
        );
        if fetched.note.servers.is_empty() {
            return Err(Undone::Refused(text));
        }
        self.warn(format!("history of some servers is left out: {text}"));
        Ok(())
    }

    /// The features of servers with a past.
    fn past(&self, fetched: &mut Fetched, pacer: &Pacer) -> Result<Rows, Undone> {
        self.enter(Stage::Calibrating, String::new());
        self.await_targets();
        let Place::Kept { root, .. } = &fetched.place else { return Ok(fetched.frames()) };
        let job = |name: &String| self.succession().job_of(name).unwrap_or_default();
        let servers = fetched.note.servers.iter().map(|name| (name.clone(), job(name))).collect();
        let interval_seconds = self.site.interval.as_secs_f64();
        let past = Past {
            root,
            servers,
            until: wall_clock(),
            look_back_seconds: ROWS * interval_seconds,
            interval_seconds,
            turn: 0,
            fewest_rows: FEWEST_ROWS,
        };
        past.read(&|| pacer.rest()).map_err(|why| match why {
            NoPast::Ended => Undone::Ended,
            NoPast::Unreadable(error) => error.into(),
        })
    }

    /// Targets that are looked for are there after a moment.
    fn await_targets(&self) {
        let begun = Instant::now();
        while self.succession().n_followed() == 0 && begun.elapsed() < TAKE_OVER {
            if self.stop.within(LOOK_EVERY) {
                return;
            }
        }
    }

    /// Lets every server go on from its own past. Says why that cannot be.
    fn settle(&self, past: &[(String, Frame)], pacer: &Pacer) -> Result<String, Undone> {
        let rest = || pacer.rest();
        let n_rows = past.iter().map(|(_, frame)| frame.len()).sum();
        self.board().note(|standing| standing.n_rows = n_rows);
        let is_target = |name: &str| self.succession().job_of(name).is_some();
        let base = self.site.base.as_ref().filter(|_| self.shared.read(View::origin).is_base());
        match base {
            Some(base) => {
                let Some(model) = calibrate(base, past, &rest)? else {
                    return Ok("it has too few scrapes in a row".to_owned());
                };
                let model = Arc::new(model);
                let streams = streams(&model, past, is_target, &rest)?;
                self.succession().offer(Arc::clone(&model), streams);
                self.await_take_over(&model)?;
            }
            None => {
                let Some(champion) = self.succession().champion() else {
                    return Ok("no model judges".to_owned());
                };
                let streams = streams(&champion, past, is_target, &rest)?;
                self.succession().renew(&champion, streams);
            }
        }
        Ok(String::new())
    }

    /// Whoever calibrates by the first rows takes the model that was calibrated by the past. What learns
    /// from that past has to wait until it judges: to the one of before most of it may be odd.
    fn await_take_over(&self, model: &Arc<Detector>) -> Result<(), Undone> {
        let judges =
            || self.succession().champion().is_some_and(|champion| Arc::ptr_eq(&champion, model));
        let is_base = || self.shared.read(View::origin).is_base();
        let begun = Instant::now();
        while !judges() && is_base() && begun.elapsed() < TAKE_OVER {
            if self.stop.within(LOOK_EVERY) {
                return Err(Undone::Ended);
            }
        }
        Ok(())
    }

    /// Lets the model be updated now, and waits for what becomes of that. Says why there is none, or for how
    /// long there is one.
    fn train(&self, past: Rows, pacer: &Pacer) -> Result<String, Undone> {
        if let BackfillTraining::Not(why) = self.site.training {
            return Ok(format!("no model of the site's own: {why}"));
        }
        self.enter(Stage::Training, String::new());
        self.notice();
        if let BackfillTraining::Once(once) = &self.site.training {
            let learned = once.learn(past, &self.shared, &|| pacer.rest());
            let (told, words) = learned.ok_or(Undone::Ended)?;
            self.tell(told);
            return Ok(words);
        }
        drop(past);
        self.await_update()
    }

    /// Lets learning update the model now, and waits for its end.
    fn await_update(&self) -> Result<String, Undone> {
        let n_ended = || self.succession().status().n_ended.iter().sum::<u64>();
        let before = n_ended();
        self.succession().want_update();
        while n_ended() == before {
            if self.stop.within(LOOK_EVERY) {
                return Err(Undone::Ended);
            }
        }
        let last = self.succession().status().last;
        let Some(last) = last.filter(|last| last.ending != Ending::Promoted) else {
            return Ok(String::new());
        };
        Ok(format!("no model of the site's own yet: {}", last.reason))
    }

    fn finish(&self, fetched: &Fetched, mut reason: String) -> Result<(), Undone> {
        if let Some(warning) = fetched.warnings.first() {
            let and = if reason.is_empty() { "" } else { "; " };
            reason.push_str(&format!("{and}samples may be missing: `{warning}`"));
        }
        if let Place::Kept { root, .. } = &fetched.place {
            fetched.note.write(root)?;
        }
        self.show(fetched);
        self.enter(Stage::Done, reason);
        let question = self.question.clone();
        self.board().note(|standing| standing.answered = Some(question));
        self.notice();
        Ok(())
    }

    fn refuse(&self, reason: String) {
        let question = self.question.clone();
        self.enter(Stage::Refused, reason);
        self.board().note(|standing| standing.answered = Some(question));
        self.warn(self.board().standing().words(wall_clock()));
    }

    fn fail(&mut self, cause: &'static str, text: String, wait: Duration) {
        self.enter(Stage::Waiting, text.clone());
        let next = back(wall_clock(), Duration::ZERO).millis() + wait.as_millis() as i64;
        self.board().note(|standing| {
            standing.next = Some(Timestamp::from_millis(next));
            let at = CAUSES.iter().position(|known| *known == cause);
            if let Some(n) = at.and_then(|at| standing.n_failed.get_mut(at)) {
                *n += 1;
            }
        });
        if self.told.as_ref() != Some(&text) {
            self.told = Some(text.clone());
            self.warn(format!("history cannot be had: {text}; it is tried again"));
        }
    }

    /// Shows how far it is.
    fn show(&self, fetched: &Fetched) {
        let note = &fetched.note;
        let is_target = |name: &&String| self.succession().job_of(name).is_some();
        let n_targets = note.servers.iter().filter(is_target).count();
        self.board().note(|standing| {
            standing.range = Some(note.range());
            standing.fetched_until = Some(note.done());
            standing.n_servers = note.servers.len();
            standing.n_targets = n_targets;
            standing.n_left_out = fetched.misfits.len() + fetched.n_refused;
            standing.n_samples = fetched.n_samples;
        });
    }

    fn enter(&self, stage: Stage, reason: String) {
        let now = wall_clock();
        self.board().note(|standing| {
            (standing.stage, standing.reason, standing.next) = (stage, reason, None);
            standing.since = Some((now, standing.progress()));
        });
    }

    /// Tells how it stands.
    fn notice(&self) {
        let (time, standing) = (wall_clock(), self.board().standing());
        self.tell(Event::Notice { time, text: standing.words(time) });
    }

    fn warn(&self, text: String) {
        self.tell(Event::Warning { time: wall_clock(), text });
    }

    fn tell(&self, event: Event) {
        let Some(events) = self.events.upgrade() else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = events.try_send(event) {
            self.shared.metrics().event_dropped();
        }
    }
}

/// Why asking ended.
enum Asked {
    History(HistoryError),
    Undone(Undone),
}

impl From<HistoryError> for Asked {
    fn from(error: HistoryError) -> Self {
        Self::History(error)
    }
}

fn is_nothing(error: &HistoryError) -> bool {
    matches!(error, HistoryError::NothingFound { .. } | HistoryError::Range { .. })
}

fn unforeseen() -> Undone {
    let reason = "oddns failed in an unforeseen way: this is a mistake in it";
    Undone::Refused(reason.to_owned())
}

fn back(time: Timestamp, by: Duration) -> Timestamp {
    let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(time.millis().saturating_sub(millis))
}

/// Seconds as they are written in a configuration.
fn lasting_exactly(seconds: f64) -> String {
    let rounded = Duration::try_from_secs_f64((seconds * 10.0).round() / 10.0);
    rounded.map_or_else(|_| lasting(seconds), format_duration)
}
