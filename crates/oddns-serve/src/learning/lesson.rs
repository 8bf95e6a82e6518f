//! One update, from the history to the registry.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use oddns::{
    Detector, DetectorError, Feedback, Follower, Gate, GateMargins, History, Injection, Middle,
    Progress, Trial, UpdateOptions, Updated, compare_own, compare_with,
};
use oddns_core::{Frame, Timestamp};
use oddns_store::{KEPT_GENERATIONS, Promotion, Registry, StoreError};

use super::past::{NoPast, Rows};
use super::record::{challenger_record, gate_figures, generation_record, update_notes};
use super::settings::LearningSettings;
use super::status::Ending;
use crate::watch::chain;

/// How often, and after which time, a registry that somebody else changes is tried again.
const LOCKED_TRIES: u32 = 10;
const LOCKED_WAIT: Duration = Duration::from_millis(500);
/// Who makes generations here.
pub(super) const BY: &str = "oddns watch";

/// What an update is made of.
pub(super) struct Lesson<'a> {
    pub(super) settings: &'a LearningSettings,
    /// Where models are kept; without one the update ends with the process.
    pub(super) registry: Option<&'a Registry>,
    /// The model to go on from, and its generation in the registry; `None` where it is the shared one, and
    /// the server has none yet.
    pub(super) champion: (Option<u64>, &'a Arc<Detector>),
    /// Whose history it is.
    pub(super) class: Class<'a>,
    pub(super) feedback: Vec<Feedback>,
    pub(super) injections: &'a [Injection],
    pub(super) now: Timestamp,
    /// Called between pieces of work.
    pub(super) rest: &'a dyn Fn() -> ControlFlow<()>,
}

/// Whose history a lesson is about.
pub(super) enum Class<'a> {
    /// That of all servers but those which have a model of their own: these are measured, not learned.
    Fleet { apart: &'a dyn Fn(&str) -> bool },
    /// That of one server; the others are read so that it can be compared with them.
    One { instance: &'a str },
}

impl Class<'_> {
    fn learns(&self, instance: &str) -> bool {
        match self {
            Self::Fleet { apart } => !apart(instance),
            Self::One { instance: one } => *one == instance,
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Learned {
    pub(super) ending: Ending,
    pub(super) reason: String,
    pub(super) generation: Option<u64>,
    pub(super) gate: Option<Gate>,
    pub(super) notes: Vec<String>,
    /// Of a promoted generation the streams of the servers that it learned from, by their names: each has
    /// judged the history of its server.
    pub(super) streams: Vec<(String, Follower)>,
    /// The middle of what the champion of before says of each server.
    pub(super) middles: Vec<Middle>,
}

/// Why nothing came of it.
#[derive(Debug)]
pub(super) enum Unlearned {
    /// It was told to end, and has to be begun anew.
    Ended,
    Store(StoreError),
    Detector(DetectorError),
}

impl From<DetectorError> for Unlearned {
    fn from(error: DetectorError) -> Self {
        Self::Detector(error)
    }
}

impl From<StoreError> for Unlearned {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<NoPast> for Unlearned {
    fn from(why: NoPast) -> Self {
        match why {
            NoPast::Ended => Self::Ended,
            NoPast::Unreadable(error) => Self::Store(error),
        }
    }
}

impl Learned {
    pub(super) fn of(ending: Ending, reason: String) -> Self {
        Self {
            ending,
            reason,
            generation: None,
            gate: None,
            notes: Vec::new(),
            streams: Vec::new(),
            middles: Vec::new(),
        }
    }
}

impl Lesson<'_> {
    /// What came of it with what servers did, which `read` has; `None` when it was told to end. Until the
    /// last step, which is one, the champion is the one of before.
    pub(super) fn learn(&self, read: impl FnOnce() -> Result<Rows, NoPast>) -> Option<Learned> {
        match self.run(read) {
            Ok(learned) => Some(learned),
            // Whatever error it became on its way.
            Err(_) if (self.rest)().is_break() => None,
            Err(Unlearned::Ended) => None,
            Err(Unlearned::Detector(error @ DetectorError::NothingQuiet { .. })) => {
                Some(Learned::of(Ending::Nothing, chain(&error)))
            }
            Err(Unlearned::Detector(error)) => Some(Learned::of(Ending::Failed, chain(&error))),
            Err(Unlearned::Store(error)) => Some(Learned::of(Ending::Failed, chain(&error))),
        }
    }

    fn run(&self, read: impl FnOnce() -> Result<Rows, NoPast>) -> Result<Learned, Unlearned> {
        let frames = read()?;
        let (frames, apart): (Vec<_>, Vec<_>) =
            frames.into_iter().partition(|(instance, _)| self.class.learns(instance));
        let n_rows: usize = frames.iter().map(|(_, frame)| frame.len()).sum();
        if n_rows < self.settings.min_rows {
            let needed = self.settings.min_rows;
            let reason = format!("{n_rows} rows are there, `min_rows` asks for {needed}");
            return Ok(Learned::of(Ending::Nothing, reason));
        }
        let each = frames.iter();
        let history: Vec<History<'_>> =
            each.map(|(instance, frame)| History { instance, frame }).collect();
        let (updated, gate) = self.study(&history)?;
        let streams = if gate.passed { self.streams(&updated, &history)? } else { Vec::new() };
        let mut middles = updated.middles.clone();
        if let Class::Fleet { .. } = self.class {
            middles.extend(self.middles(&apart)?);
        }
        Ok(Learned { streams, middles, ..self.keep(updated, gate)? })
    }

    /// Of servers that are not learned from.
    fn middles(&self, apart: &[(String, Frame)]) -> Result<Vec<Middle>, DetectorError> {
        let (_, champion) = self.champion;
        let mut found = Vec::new();
        for (instance, frame) in apart {
            let pulse = &mut |_: Option<Progress>| (self.rest)();
            let score = champion.middle(&History { instance, frame }, pulse)?;
            found.extend(score.map(|score| Middle { instance: instance.clone(), score }));
        }
        Ok(found)
    }

    /// What judges each server after the promotion, as if it had done so all along.
    fn streams(
        &self,
        updated: &Updated,
        history: &[History<'_>],
    ) -> Result<Vec<(String, Follower)>, DetectorError> {
        let detector = Arc::new(updated.detector.clone());
        let stream = |history: &History<'_>| {
            let pulse = &mut |_: Option<Progress>| (self.rest)();
            let follower = Follower::after(Arc::clone(&detector), history, pulse)?;
            Ok((history.instance.to_owned(), follower))
        };
        history.iter().map(stream).collect()
    }

    fn study(&self, history: &[History<'_>]) -> Result<(Updated, Gate), DetectorError> {
        let (_, champion) = self.champion;
        let options = UpdateOptions {
            threads: 1,
            settles_seconds: self.settings.settles_after.as_secs_f64(),
            ..UpdateOptions::default()
        };
        let pulse = &mut |_: Option<Progress>| (self.rest)();
        let is_first = self.champion.0.is_none() && matches!(self.class, Class::One { .. });
        let updated = match history {
            [one] if is_first => champion.update_alone(one, &self.feedback, &options, pulse)?,
            _ => champion.update_with(history, &self.feedback, &options, pulse)?,
        };
        let trial = Trial {
            history,
            held_out: &updated.held_out,
            feedback: &self.feedback,
            injections: self.injections,
            margins: GateMargins::default(),
        };
        let challenger = Arc::new(updated.detector.clone());
        let gate = match is_first {
            true => compare_own(champion, &challenger, &trial, pulse)?,
            false => compare_with(champion, &challenger, &trial, pulse)?,
        };
        Ok((updated, gate))
    }

    fn keep(&self, updated: Updated, gate: Gate) -> Result<Learned, Unlearned> {
        let notes = update_notes(&updated);
        let Some(registry) = self.registry else {
            let ending = if gate.passed { Ending::Promoted } else { Ending::Refused };
            let learned = Learned::of(ending, gate.words());
            return Ok(Learned { gate: Some(gate), notes, ..learned });
        };
        let (parent, _) = self.champion;
        let bytes = updated.detector.encode()?;
        let record = generation_record(&bytes, &updated.detector, BY.to_owned(), self.now);
        let record = challenger_record(record, parent, &updated, &gate);
        let generation = unlocked(|| registry.add(&bytes, &record))?;
        let (ending, reason) = self.decide(registry, generation, &gate)?;
        unlocked(|| registry.prune(KEPT_GENERATIONS))?;
        let learned = Learned::of(ending, reason);
        Ok(Learned { generation: Some(generation), gate: Some(gate), notes, ..learned })
    }

    fn decide(
        &self,
        registry: &Registry,
        generation: u64,
        gate: &Gate,
    ) -> Result<(Ending, String), StoreError> {
        if !gate.passed {
            return Ok((Ending::Refused, gate.words()));
        }
        let (parent, _) = self.champion;
        let champion = registry.champion()?.map(|champion| champion.number);
        if champion != parent {
            let reason = "somebody has made another generation the champion meanwhile".to_owned();
            return Ok((Ending::Refused, reason));
        }
        let (at, reason) = (self.now, gate.words());
        let by = BY.to_owned();
        let promotion = Promotion { generation, at, by, reason: reason.clone() };
        unlocked(|| registry.promote(promotion.clone()))?;
        Ok((Ending::Promoted, reason))
    }
}

/// Somebody with `oddns model` may hold the registry for a moment.
fn unlocked<T>(mut work: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    for _ in 0..LOCKED_TRIES {
        match work() {
            Err(StoreError::Locked { .. }) => std::thread::sleep(LOCKED_WAIT),
            done => return done,
        }
    }
    work()
}

/// The figures of a trial, none where there was none.
pub(super) fn figures(gate: Option<&Gate>) -> Vec<oddns_store::GateFigure> {
    gate.map(gate_figures).unwrap_or_default()
}
