//! The thread that learns, and looks who is champion.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use oddns::{Detector, DetectorError, FEATURES, Follower, Injection, Middle};
use oddns_collect::wall_clock;
use oddns_core::{Schema, Timestamp};
use oddns_store::{Generation, Promotion, Registry, StoreError};
use tokio::sync::mpsc;

use super::diary::Diary;
use super::lesson::{BY, Class, Learned, Lesson, figures};
use super::own::{Change, Due, OwnModels};
use super::pacer::{Pacer, Stop, worked};
use super::past::{FEWEST_ROWS, MOST_SERVERS, NoPast, Past, Rows};
use super::record::generation_record;
use super::settings::LearningSettings;
use super::status::{Ending, Outcome};
use super::succession::{Named, Succession};
use crate::event::Event;
use crate::origin::Origin;
use crate::shared::Shared;
use crate::view::{ModelInfo, View};
use crate::watch::chain;

/// How often it is looked whether something is to be done, and who is champion.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What did not end is begun anew so long after the start, or after an interval where that is less:
/// who has just come up has other things to do.
const AFTER_START: Duration = Duration::from_secs(60);
/// Whoever ends learning waits so long for a piece of work: it leaves nothing half done.
const PATIENCE: Duration = Duration::from_secs(5);
/// On drift an update comes after this part of the interval.
const SOONER: f64 = 0.25;

/// Where learning takes place.
#[derive(Debug, Clone)]
pub struct LearningSite {
    /// What was chosen.
    pub settings: LearningSettings,
    /// Whether the model that judges at first came with the program: nobody has chosen it, and whoever
    /// is champion of a registry by then goes on.
    pub is_base: bool,
    /// The history that is kept, and learned from.
    pub storage: PathBuf,
    /// The fault suite of the gate.
    pub injections: Vec<Injection>,
}

/// Why nothing can be learned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearningError {
    /// The folder of models.
    #[error("the folder of models cannot be used")]
    Registry(#[source] StoreError),
    /// The model that was named.
    #[error("the model cannot be kept as a generation")]
    Model(#[source] DetectorError),
    /// There is no thread for it.
    #[error("there is no thread for learning")]
    Thread(#[source] io::Error),
}

/// Learning that goes on until it is stopped.
#[derive(Debug)]
pub struct Learning {
    stop: Arc<Stop>,
    thread: JoinHandle<()>,
}

impl Learning {
    /// Begins to learn, and gives the champion that judges: what came of `configured`, the model that
    /// the user named, in the registry. Another one than last time is the champion, as its user
    /// wants it.
    ///
    /// # Errors
    /// When the registry cannot be used. A champion in it that is damaged, or of other features, is
    /// passed over for the one before it, and at last for `configured`.
    pub fn begin(
        site: LearningSite,
        configured: &Arc<Detector>,
        shared: &Arc<Shared>,
        events: &mpsc::Sender<Event>,
    ) -> Result<(Self, Arc<Detector>), LearningError> {
        let root = site.settings.registry_of(&site.storage);
        let registry = Registry::open(&root).map_err(LearningError::Registry)?;
        let now = wall_clock();
        let mut diary = Diary::read(&root).unwrap_or_else(|| Diary::new(now));
        let (number, champion) = enrolled(&registry, &mut diary, configured, site.is_base, now)?;
        diary.write(&root).map_err(LearningError::Registry)?;
        let own = OwnModels::open(registry.clone(), site.settings.own_models, now);
        let stop = Arc::<Stop>::default();
        let mut teacher = Teacher {
            site,
            root,
            registry,
            diary,
            champion: (number, Arc::clone(&champion)),
            own,
            ready: None,
            refused: None,
            shared: Arc::clone(shared),
            events: events.downgrade(),
            stop: Arc::clone(&stop),
            started: Instant::now(),
        };
        shared.judge_all_alike();
        teacher.look_at_own();
        teacher.show();
        let thread = thread::Builder::new().name("oddns-learning".to_owned());
        let thread = thread.spawn(move || teacher.run()).map_err(LearningError::Thread)?;
        Ok((Self { stop, thread }, champion))
    }

    /// Ends it, and waits for some seconds: an update under way is given up, and begun anew later.
    pub fn stop(self) {
        self.stop.tell();
        let begun = Instant::now();
        while !self.thread.is_finished() && begun.elapsed() < PATIENCE {
            thread::sleep(LOOK_EVERY / 100);
        }
    }
}

impl Drop for Learning {
    /// Ends it without waiting.
    fn drop(&mut self) {
        self.stop.tell();
    }
}

/// The champion that goes on from `configured`.
fn enrolled(
    registry: &Registry,
    diary: &mut Diary,
    configured: &Arc<Detector>,
    is_base: bool,
    now: Timestamp,
) -> Result<(u64, Arc<Detector>), LearningError> {
    let bytes = configured.encode().map_err(LearningError::Model)?;
    let record = generation_record(&bytes, configured, BY.to_owned(), now);
    let sha256 = record.sha256.clone();
    if (is_base || diary.configured_sha256 == sha256)
        && let Some(found) = whole_champion(registry, now)
    {
        return Ok(found);
    }
    let generation = registry.add(&bytes, &record).map_err(LearningError::Registry)?;
    let (at, by) = (now, BY.to_owned());
    let reason = match is_base {
        true => "the model that came with the program".to_owned(),
        false => "the model that the configuration names".to_owned(),
    };
    registry.promote(Promotion { generation, at, by, reason }).map_err(LearningError::Registry)?;
    diary.configured_sha256 = sha256;
    Ok((generation, Arc::clone(configured)))
}

/// The champion, or the one before it where its file is not what it was.
fn whole_champion(registry: &Registry, now: Timestamp) -> Option<(u64, Arc<Detector>)> {
    let number = registry.champion().ok()??.number;
    if let Ok(champion) = load(registry, number) {
        return Some((number, champion));
    }
    let number = registry.rollback(now, BY).ok()?;
    Some((number, load(registry, number).ok()?))
}

/// A generation that can judge what this version sees.
pub(super) fn load(registry: &Registry, number: u64) -> Result<Arc<Detector>, String> {
    let bytes = registry.load(number).map_err(|error| chain(&error))?;
    let detector = Detector::decode(&bytes).map_err(|error| chain(&error))?;
    let names = FEATURES.iter().map(|feature| feature.name.to_owned()).collect();
    detector.check_schema(&Schema::new(names)).map_err(|error| chain(&error))?;
    Ok(Arc::new(detector))
}

/// What the thread holds.
struct Teacher {
    site: LearningSite,
    root: PathBuf,
    registry: Registry,
    diary: Diary,
    champion: (u64, Arc<Detector>),
    own: OwnModels,
    /// A generation, and streams of it that have judged the history of their servers.
    ready: Option<(u64, Vec<(String, Follower)>)>,
    /// A champion in the registry that cannot judge, which was told.
    refused: Option<u64>,
    shared: Arc<Shared>,
    /// Whoever listens ends when the watch does, not when this thread has noticed.
    events: mpsc::WeakSender<Event>,
    stop: Arc<Stop>,
    started: Instant,
}

impl Teacher {
    fn run(&mut self) {
        let pacer = Pacer::of(self.site.settings.cpu_share, Arc::clone(&self.stop));
        while !self.stop.within(LOOK_EVERY) {
            self.look();
            self.look_at_own();
            let now = wall_clock();
            if self.is_due(now) {
                self.attempt(now, &pacer);
            } else if let Some(due) = self.own_due(now) {
                self.attempt_own(&due, now, &pacer);
            }
        }
        self.succession().note(|status| {
            (status.enabled, status.active_since, status.next) = (false, None, None);
        });
    }

    fn succession(&self) -> &Succession {
        self.shared.succession()
    }

    fn tell(&self, event: Event) {
        let Some(events) = self.events.upgrade() else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = events.try_send(event) {
            self.shared.metrics().event_dropped();
        }
    }

    /// Lets the champion of the registry judge, whoever made it that.
    fn look(&mut self) {
        // What cannot be read now is looked at again soon.
        let Ok(Some(Generation { number, .. })) = self.registry.champion() else { return };
        if number == self.champion.0 || self.refused == Some(number) {
            return;
        }
        let time = wall_clock();
        let enrolled = self.succession().enrolled(number);
        let is_judging = enrolled.is_some();
        match enrolled.map_or_else(|| load(&self.registry, number), Ok) {
            Ok(loaded) => {
                let champion = self.prepare(number).unwrap_or(loaded);
                (self.champion, self.refused) = ((number, champion), None);
                if !is_judging {
                    self.succession().take_over(Arc::clone(&self.champion.1));
                }
                self.show();
                let text = format!("generation {number} of the model judges from now on");
                self.tell(Event::Notice { time, text });
            }
            Err(why) => {
                self.refused = Some(number);
                let text = format!("generation {number} cannot take over: {why}");
                self.tell(Event::Warning { time, text });
            }
        }
    }

    /// Hands the streams of a generation that was made here to the servers, and gives its detector: the one
    /// that is in the file. `None` of one that has none.
    fn prepare(&mut self, number: u64) -> Option<Arc<Detector>> {
        let (_, streams) = self.ready.take_if(|(made, _)| *made == number)?;
        let detector = streams.first().map(|(_, stream)| Arc::clone(stream.detector()))?;
        self.succession().prepare(streams);
        Some(detector)
    }

    /// Shows who judges and what came last.
    fn show(&mut self) {
        let (number, champion) = &self.champion;
        let id = self.id(champion);
        self.shared.set_model(ModelInfo::of(champion, id));
        let record = self.registry.generation(*number).ok().map(|found| found.record);
        let promotions = self.registry.history().unwrap_or_default();
        let promotion = promotions.into_iter().rfind(|promotion| promotion.generation == *number);
        let last = self.diary.last().map(|last| self.with_record(last));
        let (next, fits) = (self.next(), self.own.status());
        self.succession().note(|status| {
            status.enabled = true;
            status.generation = Some(*number);
            status.made = record.as_ref().map(|r| Timestamp::from_millis(r.made_millis));
            status.n_rows = record.as_ref().map_or(0, |record| record.n_rows);
            status.promotion = promotion;
            status.fits = fits;
            status.last = status.last.take().or(last);
            status.next = Some(next);
        });
    }

    /// As `oddns` names models elsewhere: by a hash of the file.
    fn id(&self, champion: &Detector) -> String {
        let bytes = champion.encode().unwrap_or_default();
        format!("{:016x}", oddns_core::stable_hash(bytes))
    }

    /// An update of before a restart, with what its generation says of it.
    fn with_record(&self, last: Outcome) -> Outcome {
        let generation = last.generation.and_then(|number| self.registry.generation(number).ok());
        match generation.map(|generation| generation.record) {
            Some(record) => Outcome { gate: record.gate, notes: record.notes, ..last },
            None => last,
        }
    }

    fn next(&self) -> Timestamp {
        let millis = i64::try_from(self.site.settings.interval.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.diary.since().millis().saturating_add(millis))
    }

    fn is_due(&mut self, now: Timestamp) -> bool {
        if self.succession().take_wanted() {
            return true;
        }
        let interval = self.site.settings.interval;
        if self.diary.is_unfinished() {
            return self.started.elapsed() >= AFTER_START.min(interval);
        }
        let waited = self.diary.seconds_since(now);
        let interval = interval.as_secs_f64();
        waited >= interval || (waited >= SOONER * interval && self.has_drifted())
    }

    fn has_drifted(&self) -> bool {
        let limit = self.site.settings.drift as f32;
        self.succession().drift().iter().any(|moved| moved.abs() >= limit)
    }

    /// One update, with everything that is told and written of it.
    fn attempt(&mut self, now: Timestamp, pacer: &Pacer) {
        self.diary.begin(now);
        self.write_diary();
        self.succession().note(|status| status.active_since = Some(now));
        let (start, worked_before) = (Instant::now(), worked());
        let learned = self.learn(now, pacer);
        // The diary says that it is unfinished.
        let Some(mut learned) = learned else { return };
        self.ready =
            learned.generation.map(|number| (number, std::mem::take(&mut learned.streams)));
        let middles = std::mem::take(&mut learned.middles);
        let outcome = outcome(learned, start, worked_before);
        self.diary.end(&outcome);
        self.write_diary();
        self.tell(told(&outcome));
        self.measured(&middles);
        let (next, fits) = (self.next(), self.own.status());
        self.succession().note(|status| {
            status.end(outcome);
            (status.next, status.fits) = (Some(next), fits);
        });
        self.look();
    }

    /// Takes in how well the champion of before fits each server.
    fn measured(&mut self, middles: &[Middle]) {
        let (followed, now) = (self.followed(), wall_clock());
        for text in self.own.take(middles, &followed, now) {
            self.tell(Event::Notice { time: now, text });
        }
    }

    fn followed(&self) -> Vec<String> {
        self.succession().named().into_iter().map(|(instance, _)| instance).collect()
    }

    /// Lets the champions of single servers judge, whoever made them that.
    fn look_at_own(&mut self) {
        let changes = self.own.look();
        if changes.is_empty() {
            return;
        }
        let time = wall_clock();
        for Change { instance, judge, stream, text } in changes {
            if let Some(stream) = stream {
                self.succession().prepare_one(&instance, stream);
            }
            self.succession().judge_alone(&instance, judge);
            self.tell(Event::Notice { time, text });
        }
        let fits = self.own.status();
        self.succession().note(|status| status.fits = fits);
    }

    /// The lesson of one server that is due; none while the model is of elsewhere.
    fn own_due(&mut self, now: Timestamp) -> Option<Due> {
        if self.shared.read(View::origin) == Origin::Elsewhere {
            return None;
        }
        let interval = self.site.settings.interval;
        let unfinished = self.started.elapsed() >= AFTER_START.min(interval);
        let followed = self.followed();
        self.own.due(&followed, now, interval.as_secs_f64(), unfinished)
    }

    /// One lesson of one server, as [`Teacher::attempt`] is one of all.
    fn attempt_own(&mut self, due: &Due, now: Timestamp, pacer: &Pacer) {
        let instance = due.instance.as_str();
        self.note_own(instance, |diary| diary.begin(now));
        self.succession().note(|status| status.active_since = Some(now));
        let (start, worked_before) = (Instant::now(), worked());
        let learned = self.learn_own(due, now, pacer);
        self.succession().note(|status| status.active_since = None);
        let Some(mut learned) = learned else { return };
        if let (Some(number), Some((_, stream))) = (learned.generation, learned.streams.pop()) {
            self.own.prepare(instance, number, stream);
        }
        let outcome = outcome(learned, start, worked_before);
        self.note_own(instance, |diary| diary.end(&outcome));
        self.tell(told_of(Some(instance), &outcome));
        self.succession().note(|status| status.count(&outcome));
        self.look_at_own();
    }

    fn note_own(&mut self, instance: &str, note: impl FnOnce(&mut Diary)) {
        let Some((diary, registry)) = self.own.diary(instance) else { return };
        note(diary);
        if let Err(error) = diary.write(registry.root()) {
            let text =
                format!("what is learned of `{instance}` cannot be noted: {}", chain(&error));
            self.tell(Event::Warning { time: wall_clock(), text });
        }
    }

    /// `None` when it was told to end.
    fn learn_own(&self, due: &Due, now: Timestamp, pacer: &Pacer) -> Option<Learned> {
        let rest = || pacer.rest();
        let instance = due.instance.as_str();
        let (number, champion) = match &due.champion {
            Some((number, champion)) => (Some(*number), champion),
            None => (None, &self.champion.1),
        };
        let servers = beside(self.succession().named(), instance);
        let all = self.shared.feedback().all();
        let lesson = Lesson {
            settings: &self.site.settings,
            registry: Some(&due.registry),
            champion: (number, champion),
            class: Class::One { instance },
            feedback: all.into_iter().filter(|said| said.is_about(instance)).collect(),
            injections: &self.site.injections,
            now,
            rest: &rest,
        };
        let past = self.past(servers, champion, now);
        unharmed(&lesson, || past.read(&rest))
    }

    fn past(&self, servers: Vec<Named>, model: &Detector, now: Timestamp) -> Past<'_> {
        Past {
            root: &self.site.storage,
            servers,
            until: now,
            look_back_seconds: self.site.settings.look_back.as_secs_f64(),
            interval_seconds: f64::from(model.record().interval_seconds),
            turn: now.millis(),
            fewest_rows: FEWEST_ROWS,
        }
    }

    /// `None` when it was told to end.
    fn learn(&self, now: Timestamp, pacer: &Pacer) -> Option<Learned> {
        let rest = || pacer.rest();
        let (number, champion) = &self.champion;
        let apart = |instance: &str| self.own.has(instance);
        let lesson = Lesson {
            settings: &self.site.settings,
            registry: Some(&self.registry),
            champion: (Some(*number), champion),
            class: Class::Fleet { apart: &apart },
            feedback: self.shared.feedback().all(),
            injections: &self.site.injections,
            now,
            rest: &rest,
        };
        let past = self.past(self.succession().taught_by(), champion, now);
        unharmed(&lesson, || past.read(&rest))
    }

    /// A full disk costs what is remembered over a restart, no more.
    fn write_diary(&self) {
        if let Err(error) = self.diary.write(&self.root) {
            let text = format!("what is learned cannot be noted: {}", chain(&error));
            self.tell(Event::Warning { time: wall_clock(), text });
        }
    }
}

/// The watch goes on, whatever is wrong with an update.
pub(super) fn unharmed(
    lesson: &Lesson<'_>,
    read: impl FnOnce() -> Result<Rows, NoPast>,
) -> Option<Learned> {
    let failed = || {
        let reason = "oddns failed in an unforeseen way: this is a mistake in it".to_owned();
        Some(Learned::of(Ending::Failed, reason))
    };
    catch_unwind(AssertUnwindSafe(|| lesson.learn(read))).unwrap_or_else(|_| failed())
}

/// What came of an update that began then.
pub(super) fn outcome(learned: Learned, start: Instant, worked_before: Duration) -> Outcome {
    let Learned { ending, reason, generation, gate, notes, .. } = learned;
    Outcome {
        ended: wall_clock(),
        ending,
        reason,
        generation,
        gate: figures(gate.as_ref()),
        notes,
        seconds: start.elapsed().as_secs_f64(),
        cpu_seconds: worked().saturating_sub(worked_before).as_secs_f64(),
    }
}

/// A server, and as many others of its job as it is compared with: each has its part of the rows.
fn beside(servers: Vec<Named>, instance: &str) -> Vec<Named> {
    let job = servers.iter().find(|(name, _)| name == instance).map(|(_, job)| job.clone());
    let (one, others): (Vec<_>, Vec<_>) =
        servers.into_iter().partition(|(name, _)| name == instance);
    let others = others.into_iter().filter(|(_, of)| Some(of) == job.as_ref());
    one.into_iter().chain(others.take(MOST_SERVERS - 1)).collect()
}

pub(super) fn told(outcome: &Outcome) -> Event {
    told_of(None, outcome)
}

/// What came of an update of all servers, or of one.
fn told_of(instance: Option<&str>, outcome: &Outcome) -> Event {
    let of = instance.map(|instance| format!(" of `{instance}`")).unwrap_or_default();
    let Outcome { ended: time, ending, reason, seconds, generation, .. } = outcome;
    let time = *time;
    let what = match generation {
        Some(number) => format!("generation {number} after {seconds:.0} s"),
        None if matches!(ending, Ending::Promoted | Ending::Refused) => {
            format!("a new model after {seconds:.0} s")
        }
        None => format!("no new model after {seconds:.0} s"),
    };
    let text = match ending {
        Ending::Promoted => format!("learning{of}: {what}, {reason}"),
        Ending::Refused => format!("learning{of}: {what} does not take over: {reason}"),
        Ending::Nothing => format!("learning{of}: {what}: {reason}"),
        Ending::Failed => {
            return Event::Warning { time, text: format!("learning{of} failed: {reason}") };
        }
    };
    Event::Notice { time, text }
}
