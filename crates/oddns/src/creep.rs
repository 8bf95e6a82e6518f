//! What grows over days: memory, latency and failures, held against the level that was learned.
//!
//! The scales of a stream follow slow changes within days, and would follow a leak as they follow a
//! season. What is looked at here does not grow with what a server is asked, and its reference is moved
//! by training and by updates alone, neither of which learns what is alarmed.

use oddns_features::CLIP;

use crate::detector::{Detector, DetectorError};
use crate::ledger::{Keep, Ledger};
use crate::settling::HARM_WHEN_UP;

/// What a server holds, beside what harms users: it has no reason to rise for days.
const HELD: [&str; 5] = [
    "resident_memory_bytes",
    "goroutines",
    "open_files_limit_ratio",
    "upstream_latency_mean_seconds",
    "cpu_per_request_seconds",
];
/// A level goes up over so many seconds: a peak of some hours is for others to tell, …
const AWAY_SECONDS: f32 = 86_400.0;
/// … and comes back this many times as fast, so that most of a day has to be up there.
const BACK_TIMES: f32 = 24.0;
/// Who has seen less does not know what a day is like.
const LEARNED_SECONDS: f64 = 2.0 * 86_400.0;
/// The alarm line, in standard deviations of the rows that were learned.
pub(crate) const LINE: f32 = 3.0;
/// An interval that is not known counts as CoreDNS's usual one.
const USUAL_INTERVAL: f32 = 15.0;

/// Whether a feature has no reason to rise for days.
pub(crate) fn creeps(column: &str) -> bool {
    HELD.contains(&column) || HARM_WHEN_UP.contains(&column)
}

/// The levels of one stream.
#[derive(Debug, Clone)]
pub(crate) struct Creep {
    away_rows: f32,
    /// Columns that are looked at.
    columns: Vec<usize>,
    /// Of each of these, in standard deviations of training over its mean; from 0 to [`CLIP`].
    levels: Vec<f32>,
}

impl Creep {
    /// At the end of training.
    pub(crate) fn new(detector: &Detector) -> Self {
        let learned = detector.record.range.map_or(0.0, |(first, last)| last.seconds_since(first));
        let seen = |at: usize| detector.scaler.missing_ratio[at] < 1.0;
        let of = |at: &usize| creeps(&detector.columns[*at].name) && seen(*at);
        let columns: Vec<usize> = match learned >= LEARNED_SECONDS {
            true => (0..detector.columns.len()).filter(of).collect(),
            false => Vec::new(),
        };
        let interval = detector.record.interval_seconds;
        let known = interval.is_finite() && interval > 0.0;
        let interval = if known { interval } else { USUAL_INTERVAL };
        let away_rows = (AWAY_SECONDS / interval).max(BACK_TIMES);
        Self { away_rows, levels: vec![0.0; columns.len()], columns }
    }

    /// Takes a row on the modelled scale in, and gives the score: above 1 something has crept away.
    /// What is missing stays where it was.
    pub(crate) fn push(&mut self, modelled: &[f32], detector: &Detector) -> f32 {
        let learned = &detector.scaler;
        for (level, at) in self.levels.iter_mut().zip(&self.columns) {
            let value = (modelled[*at] - learned.mean[*at]) / learned.scale[*at];
            if value.is_nan() {
                continue;
            }
            let value = value.clamp(0.0, CLIP);
            let faster = if value < *level { BACK_TIMES } else { 1.0 };
            *level += faster * (value - *level) / self.away_rows;
        }
        self.levels.iter().fold(0.0, |most, level| level.max(most)) / LINE
    }

    /// Writes what each feature adds to the score of the last row, where nothing else does.
    pub(crate) fn tell(&self, strengths: &mut [f32]) {
        strengths.fill(0.0);
        for (level, at) in self.levels.iter().zip(&self.columns) {
            strengths[*at] = level / LINE;
        }
    }

    /// Goes on from the levels of another detector's stream, each held against what `own` learned.
    pub(crate) fn inherit(&mut self, before: &Self, (theirs, own): (&Detector, &Detector)) {
        for (level, at) in self.levels.iter_mut().zip(&self.columns) {
            let Some(place) = before.columns.iter().position(|other| other == at) else { continue };
            let (old, new) = (&theirs.scaler, &own.scaler);
            let there = old.mean[*at] + before.levels[place] * old.scale[*at];
            let value = (there - new.mean[*at]) / new.scale[*at];
            // The largest numbers have no difference.
            *level = if value.is_nan() { 0.0 } else { value.clamp(0.0, CLIP) };
        }
    }
}

impl Keep for Creep {
    fn keep(&mut self, ledger: &mut Ledger<'_>) -> Result<(), DetectorError> {
        ledger.numbers(&mut self.levels, |level| (0.0..=CLIP).contains(&level))
    }
}
