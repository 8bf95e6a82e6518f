//! What people said of patterns: one that is normal is taken out of the score, one that was missed
//! is put in.
//!
//! A pattern is what each feature adds to the score of a row, with its sign. The rest of a row, all
//! that its precedent does not explain, is judged as ever: another fault at the same time is one.

use oddns_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::detector::DetectorError;
use crate::feedback::{Feedback, FeedbackVerdict};
use crate::ledger::{Keep, Ledger};
use crate::members::Smoothing;

/// A pattern of the same kind may be so many times as strong as what was seen of it.
const ALLOWANCE: f32 = 1.5;
/// Patterns are alike whose directions have at least this cosine.
const LIKENESS: f32 = 0.6;
/// What was missed must be clearer than that: it raises an alarm by itself.
const MISSED_LIKENESS: f32 = 0.75;
/// A pattern that was missed alarms from this part of its strength on.
const MISSED_PART: f32 = 0.7;
/// Rows over which a pattern that was missed is looked for: one row is mostly noise.
const TRAIL_ROWS: f32 = 6.0;
/// Directions that are remembered of one pattern: how it begins, goes on, and ends.
const MOST_DIRECTIONS: usize = 8;
/// Directions nearer than this are one.
const SAME_DIRECTION: f32 = 0.85;
/// Precedents of a detector; a person does not say more, a program might.
pub(crate) const MOST_PRECEDENTS: usize = 256;
/// The largest number in a file: a row's members say no more than 10 units a feature each.
const LARGEST: f32 = 1e6;

/// One pattern.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Precedent {
    pub(crate) start_millis: i64,
    pub(crate) end_millis: i64,
    pub(crate) instance: Option<String>,
    /// Missed, rather than normal.
    missed: bool,
    /// Unit vectors, signed, one value a feature.
    directions: Vec<Vec<f32>>,
    /// What each feature added at most downwards and upwards; of a missed pattern the mean, both
    /// alike.
    least: Vec<f32>,
    most: Vec<f32>,
}

/// All precedents of a detector.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Precedents(pub(crate) Vec<Precedent>);

impl Precedent {
    /// Of the rows of a stretch, each what every feature adds, signed. `None` when these rows say
    /// nothing.
    pub(crate) fn of(feedback: &Feedback, rows: &[Vec<f32>]) -> Option<Self> {
        let width = rows.first()?.len();
        let missed = feedback.verdict == FeedbackVerdict::Missed;
        let (mut least, mut most) = (vec![0.0_f32; width], vec![0.0_f32; width]);
        let mut directions = Vec::new();
        if missed {
            let n = rows.len() as f32;
            let mean: Vec<f32> =
                (0..width).map(|at| rows.iter().map(|row| row[at]).sum::<f32>() / n).collect();
            directions.push(direction(&mean)?);
            (least, most) = (mean.clone(), mean);
        } else {
            for row in rows {
                for (at, value) in row.iter().enumerate() {
                    least[at] = least[at].min(*value);
                    most[at] = most[at].max(*value);
                }
            }
            // The strongest rows first: they tell the pattern best.
            let mut order: Vec<&Vec<f32>> = rows.iter().collect();
            order.sort_by(|a, b| norm(b).total_cmp(&norm(a)));
            for row in order {
                let Some(new) = direction(row) else { continue };
                let known = directions.iter().any(|other| dot(other, &new) >= SAME_DIRECTION);
                if !known && directions.len() < MOST_DIRECTIONS {
                    directions.push(new);
                }
            }
        }
        let (start_millis, end_millis) = (feedback.start.millis(), feedback.end.millis());
        let instance = feedback.instance.clone();
        let found = Self { start_millis, end_millis, instance, missed, directions, least, most };
        (!found.directions.is_empty()).then_some(found)
    }

    /// What was said.
    pub(crate) fn feedback(&self) -> Feedback {
        let verdict = match self.missed {
            true => FeedbackVerdict::Missed,
            false => FeedbackVerdict::Normal,
        };
        let [start, end] = [self.start_millis, self.end_millis].map(Timestamp::from_millis);
        Feedback { start, end, instance: self.instance.clone(), verdict }
    }

    /// Whether it is of this feedback.
    pub(crate) fn is_of(&self, feedback: &Feedback) -> bool {
        self.feedback() == *feedback
    }

    fn likeness(&self, row: &[f32], norm: f32) -> f32 {
        let cosine = |direction: &Vec<f32>| dot(direction, row) / norm;
        self.directions.iter().map(cosine).fold(0.0, f32::max)
    }

    /// The square of what is left of a row when what was called normal is taken out.
    fn rest(&self, row: &[f32]) -> f32 {
        let rest = |((value, least), most): ((&f32, &f32), &f32)| {
            (value - value.clamp(ALLOWANCE * least, ALLOWANCE * most)).powi(2)
        };
        row.iter().zip(&self.least).zip(&self.most).map(rest).sum()
    }

    /// How far a trail of rows goes the way of what was missed: 1 is an alarm.
    fn raised(&self, trail: &[f32]) -> f32 {
        let norm = norm(trail);
        if norm <= 0.0 || self.likeness(trail, norm) < MISSED_LIKENESS {
            return 0.0;
        }
        let along = self.directions.first().map_or(0.0, |direction| dot(direction, trail));
        along / (MISSED_PART * self::norm(&self.most)).max(f32::MIN_POSITIVE)
    }

    fn is_good(&self, width: usize) -> bool {
        let good = |values: &Vec<f32>| {
            values.len() == width && values.iter().all(|value| value.abs() <= LARGEST)
        };
        let ordered = self.missed || self.least.iter().zip(&self.most).all(|(a, b)| a <= b);
        !self.directions.is_empty()
            && self.directions.len() <= MOST_DIRECTIONS
            && ordered
            && self.directions.iter().chain([&self.least, &self.most]).all(good)
    }
}

impl Precedents {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that are of one of these.
    pub(crate) fn of(&self, feedback: &[Feedback]) -> Self {
        let wanted = |precedent: &&Precedent| feedback.iter().any(|said| precedent.is_of(said));
        Self(self.0.iter().filter(wanted).cloned().collect())
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, DetectorError> {
        serde_json::to_vec(self)
            .map_err(|error| DetectorError::Manifest { reason: error.to_string() })
    }

    /// What [`Precedents::encode`] wrote, for so many columns. Any bytes are fine as input.
    pub(crate) fn decode(bytes: &[u8], width: usize) -> Result<Self, DetectorError> {
        let damaged = |reason: String| DetectorError::Manifest { reason };
        let found: Self =
            serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        let good = found.0.iter().all(|precedent| precedent.is_good(width));
        if good && found.0.len() <= MOST_PRECEDENTS {
            return Ok(found);
        }
        Err(damaged("a precedent out of feedback is out of range".to_owned()))
    }
}

/// What a stream remembers to weigh its next row by precedents.
#[derive(Debug, Clone, Default)]
pub(crate) struct Weighing {
    whole: Smoothing,
    rest: Smoothing,
    /// What the last rows added, signed, averaged with exponential weights.
    trail: Vec<f32>,
}

impl Weighing {
    /// By these precedents, for rows of so many features. Without any there is nothing to remember.
    pub(crate) fn of(precedents: &Precedents, width: usize) -> Self {
        Self::new(if precedents.is_empty() { 0 } else { width })
    }

    fn new(width: usize) -> Self {
        Self { trail: vec![0.0; width], ..Self::default() }
    }

    /// The score of a row in the light of precedents; `row` is what each feature adds, signed.
    /// Without precedents the score stays, to the bit.
    pub(crate) fn weigh(&mut self, score: f32, row: &[f32], precedents: &Precedents) -> f32 {
        if precedents.is_empty() {
            return score;
        }
        let whole = row.iter().map(|value| value * value).sum::<f32>();
        let size = whole.sqrt();
        let (mut rest, mut raised) = (whole, 0.0_f32);
        for (trail, value) in self.trail.iter_mut().zip(row) {
            *trail += (value - *trail) / TRAIL_ROWS;
        }
        for precedent in &precedents.0 {
            if precedent.missed {
                raised = raised.max(precedent.raised(&self.trail));
            } else if size > 0.0 && precedent.likeness(row, size) >= LIKENESS {
                rest = rest.min(precedent.rest(row));
            }
        }
        // Scores are means of some rows, and so must be what is taken out of them.
        let (whole, rest) = (self.whole.push(whole), self.rest.push(rest));
        let left = if whole > 0.0 { score * (rest / whole).min(1.0) } else { score };
        left.max(raised)
    }

    /// Leaves out what was judged without a full past.
    pub(crate) fn forget(&mut self) {
        *self = Self::new(self.trail.len());
    }
}

impl Keep for Weighing {
    fn keep(&mut self, ledger: &mut Ledger<'_>) -> Result<(), DetectorError> {
        self.whole.keep(ledger)?;
        self.rest.keep(ledger)?;
        ledger.numbers(&mut self.trail, f32::is_finite)
    }
}

/// What each feature adds, with the sign of its deviation.
pub(crate) fn signed(strengths: &[f32], deviation: &[f32]) -> Vec<f32> {
    let sign = |(strength, deviation): (&f32, &f32)| {
        if *deviation < 0.0 { -strength } else { *strength }
    };
    strengths.iter().zip(deviation).map(sign).collect()
}

fn direction(row: &[f32]) -> Option<Vec<f32>> {
    let norm = norm(row);
    (norm > 0.0 && norm.is_finite()).then(|| row.iter().map(|value| value / norm).collect())
}

fn norm(row: &[f32]) -> f32 {
    dot(row, row).sqrt()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(verdict: FeedbackVerdict) -> Feedback {
        let at = Timestamp::from_millis;
        Feedback { start: at(0), end: at(1000), instance: None, verdict }
    }

    fn score(precedents: &Precedents, row: &[f32]) -> f32 {
        let mut weighing = Weighing::new(row.len());
        (0..12).map(|_| weighing.weigh(3.0, row, precedents)).last().unwrap()
    }

    #[test]
    fn what_is_normal_is_taken_out_and_the_rest_is_judged() {
        let rows = vec![vec![5.0, -2.0, 0.1], vec![4.0, -2.5, 0.0]];
        let precedents =
            Precedents(vec![Precedent::of(&said(FeedbackVerdict::Normal), &rows).unwrap()]);
        assert!(score(&precedents, &[4.5, -2.2, 0.1]) < 0.1, "its like");
        assert!(score(&precedents, &[4.5, 2.2, 0.1]) > 1.0, "the other way");
        assert!(score(&precedents, &[0.0, 0.0, 5.0]) > 2.9, "another");
        assert!(score(&precedents, &[4.5, -2.2, 5.0]) > 1.0, "another at the same time");
        assert!(score(&precedents, &[40.0, -20.0, 0.0]) > 2.0, "much stronger");
        assert_eq!(score(&Precedents::default(), &[4.5, -2.2, 0.1]), 3.0);
    }

    #[test]
    fn what_was_missed_is_raised() {
        let rows = vec![vec![0.5, 0.3, 0.0], vec![0.6, 0.2, 0.1]];
        let precedents =
            Precedents(vec![Precedent::of(&said(FeedbackVerdict::Missed), &rows).unwrap()]);
        let score = |row: &[f32]| {
            let mut weighing = Weighing::new(3);
            (0..30).map(|_| weighing.weigh(0.5, row, &precedents)).last().unwrap()
        };
        assert!(score(&[0.5, 0.3, 0.0]) > 1.0);
        assert_eq!(score(&[0.0, 0.1, 0.6]), 0.5);
    }

    #[test]
    fn saved_is_loaded_and_damage_is_refused() {
        let rows = vec![vec![5.0, -2.0]];
        let precedents =
            Precedents(vec![Precedent::of(&said(FeedbackVerdict::Normal), &rows).unwrap()]);
        let bytes = precedents.encode().unwrap();
        assert_eq!(Precedents::decode(&bytes, 2).unwrap(), precedents);
        assert!(Precedents::decode(&bytes, 3).is_err());
        let huge = String::from_utf8(bytes).unwrap().replace("5.0", "5e30");
        assert!(Precedents::decode(huge.as_bytes(), 2).is_err());
        assert!(Precedents::decode(b"[{}]", 2).is_err());
        assert_eq!(Precedent::of(&said(FeedbackVerdict::Normal), &[vec![0.0]]), None);
    }
}
