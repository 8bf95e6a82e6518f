//! How the fetching of history and what follows from it stands, for people and metrics.

use std::sync::{Mutex, MutexGuard, PoisonError};

use oddns_core::Timestamp;

use crate::words::shown_span;

/// From so many seconds on a time is told in days.
const TOLD_IN_DAYS: f64 = 2.0 * 86_400.0;

/// Causes of failures that are counted apart.
pub(crate) const CAUSES: [&str; 3] = ["prometheus", "storage", "model"];

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Stage {
    /// No Prometheus is named.
    #[default]
    Off,
    /// History is being fetched.
    Fetching,
    /// It failed, and is tried again later.
    Waiting,
    /// Servers are calibrated by their own past.
    Calibrating,
    /// The site's own model is trained.
    Training,
    /// All is done.
    Done,
    /// It cannot be done, however often it is tried.
    Refused,
}

impl Stage {
    pub(crate) const ALL: [Self; 7] = [
        Self::Off,
        Self::Fetching,
        Self::Waiting,
        Self::Calibrating,
        Self::Training,
        Self::Done,
        Self::Refused,
    ];

    /// The word in metrics and answers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Fetching => "fetching",
            Self::Waiting => "waiting",
            Self::Calibrating => "calibrating",
            Self::Training => "training",
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// How it stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Standing {
    pub(crate) stage: Stage,
    /// Whom we ask, without credentials.
    pub(crate) server: String,
    /// The question that was answered in this process, so that a reload does not ask it again.
    pub(crate) answered: Option<String>,
    /// From when to when history is fetched.
    pub(crate) range: Option<(Timestamp, Timestamp)>,
    /// Up to here all is there.
    pub(crate) fetched_until: Option<Timestamp>,
    /// When this stage began, and how far it had come then.
    pub(crate) since: Option<(Timestamp, f64)>,
    /// Why it waits, was refused, or ended as it did; empty where there is nothing to say.
    pub(crate) reason: String,
    /// When it is tried again.
    pub(crate) next: Option<Timestamp>,
    /// Servers with a past, and those of them that are watched.
    pub(crate) n_servers: usize,
    pub(crate) n_targets: usize,
    /// Servers whose past is left out.
    pub(crate) n_left_out: usize,
    /// Samples that were fetched since the start.
    pub(crate) n_samples: u64,
    /// Rows that servers were calibrated by.
    pub(crate) n_rows: usize,
    /// Failures since the start, by cause in the order of [`CAUSES`].
    pub(crate) n_failed: [u64; 3],
}

impl Standing {
    /// Part of the time that is fetched, 0 to 1; 1 afterwards, and 0 before it is known.
    pub(crate) fn progress(&self) -> f64 {
        if matches!(self.stage, Stage::Calibrating | Stage::Training | Stage::Done) {
            return 1.0;
        }
        let Some((since, until)) = self.range else { return 0.0 };
        let done = self.fetched_until.map_or(0.0, |done| done.seconds_since(since));
        (done / until.seconds_since(since).max(1.0)).clamp(0.0, 1.0)
    }

    /// Seconds until all is fetched, as fast as up to `now`; `None` while that cannot be told.
    pub(crate) fn eta_seconds(&self, now: Timestamp) -> Option<f64> {
        let (since, from) = self.since.filter(|_| self.stage == Stage::Fetching)?;
        let made = self.progress() - from;
        let eta = now.seconds_since(since).max(0.0) * (1.0 - self.progress()) / made;
        (made > 0.0 && eta.is_finite()).then_some(eta)
    }

    /// All of it in one line.
    pub(crate) fn words(&self, now: Timestamp) -> String {
        let server = &self.server;
        match self.stage {
            Stage::Off => "no Prometheus is named for history".to_owned(),
            Stage::Fetching => format!(
                "history is fetched from {server}: {}{}{}",
                self.spans(),
                self.eta_seconds(now)
                    .map(|eta| format!(", {} to go", lasting(eta)))
                    .unwrap_or_default(),
                self.because(),
            ),
            Stage::Waiting => {
                let next = self.next.map(|next| lasting(next.seconds_since(now).max(1.0)));
                let next = next.map(|next| format!("; tried again in {next}")).unwrap_or_default();
                format!("history of {server} waits{}{next}", self.because())
            }
            Stage::Calibrating => {
                format!("each server is calibrated by its own past: {} servers", self.n_servers)
            }
            Stage::Training => {
                format!(
                    "the site's own model is trained by the history of {server}{}",
                    self.because()
                )
            }
            Stage::Done => format!(
                "history of {server} is in use: {} rows of {} servers, {} of them watched{}",
                self.n_rows,
                self.n_servers,
                self.n_targets,
                self.because(),
            ),
            Stage::Refused => format!("history of {server} is not used{}", self.because()),
        }
    }

    fn spans(&self) -> String {
        let Some((since, until)) = self.range else { return "asking what there is".to_owned() };
        let done = self.fetched_until.map_or(0.0, |done| done.seconds_since(since));
        let (done, all) = (lasting(done.max(0.0)), lasting(until.seconds_since(since)));
        format!("{done} of {all}")
    }

    fn because(&self) -> String {
        if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) }
    }
}

/// A time as a person says it.
pub(super) fn lasting(seconds: f64) -> String {
    if seconds < TOLD_IN_DAYS {
        return shown_span(seconds);
    }
    let days = format!("{:.1}", seconds / 86_400.0);
    format!("{} d", days.trim_end_matches(".0"))
}

/// Where it is shown.
#[derive(Debug, Default)]
pub(crate) struct BackfillBoard {
    standing: Mutex<Standing>,
}

impl BackfillBoard {
    /// How it stands.
    pub(crate) fn standing(&self) -> Standing {
        self.lock().clone()
    }

    /// Notes how it stands.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Standing)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1000 * seconds)
    }

    #[test]
    fn progress_and_time_left_are_told_in_words() {
        let day = 86_400;
        let mut standing = Standing {
            stage: Stage::Fetching,
            server: "http://prom:9090/".to_owned(),
            since: Some((at(20 * day), 0.0)),
            ..Standing::default()
        };
        let words = "history is fetched from http://prom:9090/: asking what there is";
        assert_eq!(standing.words(at(20 * day)), words);
        assert_eq!(standing.eta_seconds(at(20 * day)), None);
        standing.range = Some((at(6 * day), at(20 * day)));
        standing.fetched_until = Some(at(13 * day));
        assert_eq!(standing.progress(), 0.5);
        assert_eq!(standing.eta_seconds(at(20 * day + 120)), Some(120.0));
        let words = standing.words(at(20 * day + 120));
        assert_eq!(words, "history is fetched from http://prom:9090/: 7 d of 14 d, 2 min to go");
        standing.stage = Stage::Waiting;
        standing.reason = "nothing listens there".to_owned();
        standing.next = Some(at(20 * day + 130));
        let words = standing.words(at(20 * day + 120));
        assert_eq!(
            words,
            "history of http://prom:9090/ waits: nothing listens there; tried again in 10 s"
        );
        assert_eq!(standing.eta_seconds(at(20 * day + 120)), None);
        standing.stage = Stage::Done;
        assert_eq!(standing.progress(), 1.0);
    }
}
