//! From alarms to incidents: one for each stretch of trouble on a server.

use std::sync::Arc;

use oddns_core::{Cause, Contribution, Incident, Movement, Severity, Timestamp, stable_hash};

use crate::cause::{Diagnosis, Diagnostics, SCRAPES_FLAP};
use crate::evidence::Evidence;

/// Quiet steps after which an incident is over. Shorter pauses belong to it: a fault that flaps is
/// one page, not five.
const QUIET_STEPS: u32 = 15;
/// So many intervals without an alarm end it too, when fewer rows came in them: what is missing is no
/// trouble that goes on. Half a step more than steps take, as rows are not exactly on time.
const QUIET_INTERVALS: f64 = 15.5;
/// Weight of the newest quiet value in the level that movements are told against.
const BASELINE_WEIGHT: f32 = 1.0 / 32.0;
/// So many instants after an alarm tell of its cause as well: only a server that is back says that it
/// has been restarted.
const AFTERMATH_STEPS: u32 = 5;
/// Movements told to an operator.
const MAX_MOVEMENTS: usize = 8;
/// Another cause is news when it is likelier than all others together.
const SURE_ENOUGH: f32 = 0.5;
/// A score below this part of the highest before has fallen, …
const FELL_BELOW: f32 = 0.7;
/// … and one above the lowest after that by this factor rises again.
const ROSE_ABOVE: f32 = 1.4;
/// A second rise is looked at for so many instants before it counts as part of the first, …
const FLARE_STEPS: u32 = 20;
/// … and for so many before it may be something else.
const FLARE_KNOWN_STEPS: u32 = 3;
/// A peak this far above the alarm line needs a person now.
const CRITICAL_SCORE: f32 = 2.0;

/// One scored instant of a server.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// The instant.
    pub time: Timestamp,
    /// 1 is the alarm line.
    pub score: f32,
    /// Whether the alarm holds.
    pub alarm: bool,
    /// Values in the features' units; NaN when missing.
    pub row: &'a [f32],
    /// Signed deviations from normal operation, in standard deviations.
    pub deviation: &'a [f32],
    /// Where the score comes from.
    pub contributions: &'a [Contribution],
}

/// Something to tell about an incident.
#[derive(Debug, Clone, PartialEq)]
pub enum IncidentEvent {
    /// It began.
    Opened(Incident),
    /// It goes on, and its cause, severity or movements became clearer.
    Updated(Incident),
    /// It is over.
    Closed(Incident),
}

impl IncidentEvent {
    /// The incident as it stands.
    pub fn incident(&self) -> &Incident {
        match self {
            Self::Opened(incident) | Self::Updated(incident) | Self::Closed(incident) => incident,
        }
    }
}

/// What is known of the features of a row. Servers with the same features share one.
#[derive(Debug)]
pub struct Tracked {
    features: Vec<String>,
    /// Of the features, and of [`SCRAPES_FLAP`] behind them.
    diagnostics: Diagnostics,
    /// Which feature says that a scrape failed.
    scrape_failed: Option<usize>,
    /// Time after which an incident is over; none for an interval that is not known.
    quiet_seconds: f64,
}

impl Tracked {
    /// For rows of these features, in their order, that come every `interval_seconds`, which may be
    /// NaN.
    pub fn new(features: Vec<String>, interval_seconds: f64) -> Self {
        let scrape_failed = features.iter().position(|feature| feature == "scrape_failed");
        let diagnosed: Vec<&str> =
            features.iter().map(String::as_str).chain([SCRAPES_FLAP]).collect();
        let diagnostics = Diagnostics::new(&diagnosed);
        let quiet_seconds = QUIET_INTERVALS * interval_seconds;
        Self { features, diagnostics, scrape_failed, quiet_seconds }
    }
}

/// Follows one server.
#[derive(Debug, Clone)]
pub struct IncidentTracker {
    instance: String,
    about: Arc<Tracked>,
    baseline: Vec<Level>,
    /// First instant of the run of scores above the alarm line that goes on, without an incident.
    above_since: Option<Timestamp>,
    open: Option<Open>,
}

/// Trailing quiet mean of one feature.
#[derive(Debug, Clone, Copy)]
struct Level {
    value: f32,
    deviation: f32,
}

/// What is gathered while an incident lasts.
#[derive(Debug, Clone)]
struct Open {
    incident: Incident,
    /// The cause that was last told.
    told: &'static str,
    last_alarm: Timestamp,
    quiet: u32,
    /// Not told yet: it took the place of another.
    untold: bool,
    /// Highest score since the last flare began, and the lowest after that.
    crest: f32,
    trough: f32,
    /// A second rise, which may turn out to be something else.
    flare: Option<Box<Flare>>,
    /// Sum of the weights of all instants: their scores, so that the height of an incident tells
    /// more about it than its tail.
    weight: f32,
    /// Weighted sums of deviations and shares, one a feature.
    deviation: Vec<f32>,
    share: Vec<f32>,
    seen: Vec<Seen>,
    evidence: Evidence,
}

/// The scores of an incident had fallen, and rise again.
#[derive(Debug, Clone)]
struct Flare {
    /// The incident as it was before.
    before: Incident,
    /// What it would be as an incident of its own.
    own: Open,
    n: u32,
}

/// Values of one feature during an incident, weighted by how far out they were.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    sum: f32,
    present: f32,
    missing: f32,
}

impl Seen {
    fn add(&mut self, value: f32, weight: f32) {
        if value.is_nan() {
            self.missing += weight;
        } else {
            self.sum += weight * value;
            self.present += weight;
        }
    }

    /// NaN when the feature was missing for the larger part.
    fn value(self) -> f32 {
        if self.missing >= self.present { f32::NAN } else { self.sum / self.present }
    }
}

impl IncidentTracker {
    /// For a server and the features of its rows, which come nobody knows how often.
    pub fn new(instance: String, features: Vec<String>) -> Self {
        Self::of(instance, Arc::new(Tracked::new(features, f64::NAN)))
    }

    /// The same for a server beside others.
    pub fn of(instance: String, about: Arc<Tracked>) -> Self {
        let unknown = Level { value: f32::NAN, deviation: 0.0 };
        let baseline = vec![unknown; about.features.len()];
        Self { instance, about, baseline, above_since: None, open: None }
    }

    /// What is usual, which movements are told against: of each feature its value, in its unit, and
    /// its deviation, one after the other; NaN for a value that was never seen.
    pub fn usual(&self) -> Vec<f32> {
        self.baseline.iter().flat_map(|level| [level.value, level.deviation]).collect()
    }

    /// Goes on from what [`IncidentTracker::usual`] said; what is missing stays as it is.
    pub fn set_usual(&mut self, usual: &[f32]) {
        for (level, kept) in self.baseline.iter_mut().zip(usual.chunks_exact(2)) {
            *level = Level { value: kept[0], deviation: kept[1] };
        }
    }

    /// The incident that goes on, if any.
    pub fn current(&self) -> Option<&Incident> {
        self.open.as_ref().map(|open| &open.incident)
    }

    /// Takes the next instant.
    pub fn push(&mut self, seen: Observation<'_>) -> Option<IncidentEvent> {
        self.above_since =
            if seen.score > 1.0 { self.above_since.or(Some(seen.time)) } else { None };
        match (self.open.take(), seen.alarm) {
            (None, false) => {
                self.learn(seen);
                None
            }
            (None, true) => {
                let mut open = self.open(seen);
                self.gather(&mut open, seen);
                open.told = open.incident.cause.name;
                let event = IncidentEvent::Opened(open.incident.clone());
                self.open = Some(open);
                Some(event)
            }
            (Some(open), true) => self.go_on(open, seen),
            (Some(open), false) => self.quiet(open, seen),
        }
    }

    fn go_on(&mut self, mut open: Open, seen: Observation<'_>) -> Option<IncidentEvent> {
        let (severity, untold) = (open.incident.severity, open.untold);
        self.flare(&mut open, seen);
        self.gather(&mut open, seen);
        if let Some(flare) = open.flare.take_if(|flare| flare.is_another()) {
            let Flare { before, own, .. } = *flare;
            self.open = Some(Open { untold: true, ..own });
            return Some(IncidentEvent::Closed(before));
        }
        open.untold = false;
        let changed = open.tells_more(severity);
        let told = open.incident.clone();
        self.open = Some(open);
        match (untold, changed) {
            (true, _) => Some(IncidentEvent::Opened(told)),
            (false, true) => Some(IncidentEvent::Updated(told)),
            (false, false) => None,
        }
    }

    /// Follows the scores of an incident: a second rise is gathered by itself for a while, to see
    /// whether it is the same. A fault may begin before the scores have forgotten the last one.
    fn flare(&self, open: &mut Open, seen: Observation<'_>) {
        if let Some(flare) = &mut open.flare {
            flare.n += 1;
            self.gather(&mut flare.own, seen);
            if flare.n >= FLARE_STEPS {
                open.flare = None;
                (open.crest, open.trough) = (seen.score, seen.score);
            }
            return;
        }
        let fell = open.trough < FELL_BELOW * open.crest;
        // Below a half of the alarm line, scores rise and fall by themselves.
        if fell && seen.score > ROSE_ABOVE * open.trough.max(0.5) {
            let before = closed(open.clone());
            let own = self.open_at(seen.time, seen);
            let mut flare = Flare { before, own, n: 1 };
            self.gather(&mut flare.own, seen);
            open.flare = Some(Box::new(flare));
        } else if seen.score >= open.crest {
            (open.crest, open.trough) = (seen.score, seen.score);
        }
        open.trough = open.trough.min(seen.score);
    }

    /// Ends the incident that goes on, when nothing more will come.
    pub fn finish(&mut self) -> Option<Incident> {
        self.open.take().map(closed)
    }

    fn quiet(&mut self, mut open: Open, seen: Observation<'_>) -> Option<IncidentEvent> {
        open.quiet += 1;
        open.trough = open.trough.min(seen.score);
        // Never true of an interval that is not known.
        let long_quiet = seen.time.seconds_since(open.last_alarm) >= self.about.quiet_seconds;
        if open.quiet >= QUIET_STEPS || long_quiet {
            self.learn(seen);
            return Some(IncidentEvent::Closed(closed(open)));
        }
        let severity = open.incident.severity;
        if open.quiet <= AFTERMATH_STEPS {
            self.witness(&mut open, seen);
            self.tell(&mut open);
        }
        let changed = open.tells_more(severity);
        let told = changed.then(|| open.incident.clone());
        self.open = Some(open);
        told.map(IncidentEvent::Updated)
    }

    /// Moves the quiet level, unless the instant is above the alarm line and only waits for the
    /// alarm to be raised: what comes before an incident must not be taken for what was expected.
    fn learn(&mut self, seen: Observation<'_>) {
        if seen.score > 1.0 {
            return;
        }
        for (at, level) in self.baseline.iter_mut().enumerate() {
            if seen.row[at].is_nan() {
                continue;
            }
            if level.value.is_nan() {
                *level = Level { value: seen.row[at], deviation: seen.deviation[at] };
            }
            // In double precision: the difference of the two largest single ones is no number.
            let step = f64::from(seen.row[at]) - f64::from(level.value);
            level.value += (f64::from(BASELINE_WEIGHT) * step) as f32;
            level.deviation += BASELINE_WEIGHT * (seen.deviation[at] - level.deviation);
        }
    }

    fn open(&self, seen: Observation<'_>) -> Open {
        self.open_at(self.above_since.unwrap_or(seen.time), seen)
    }

    fn open_at(&self, start: Timestamp, seen: Observation<'_>) -> Open {
        let width = self.about.features.len();
        let Diagnosis { cause, alternatives } =
            self.about.diagnostics.diagnose(&vec![0.0; self.about.features.len() + 1]);
        let incident = Incident {
            id: incident_id(&self.instance, start),
            instance: self.instance.clone(),
            start,
            end: None,
            severity: Severity::Warning,
            peak_score: seen.score,
            peak: seen.time,
            movements: Vec::new(),
            cause,
            alternatives,
        };
        Open {
            told: incident.cause.name,
            incident,
            last_alarm: seen.time,
            quiet: 0,
            untold: false,
            crest: seen.score,
            trough: seen.score,
            flare: None,
            weight: 0.0,
            deviation: vec![0.0; width],
            share: vec![0.0; width],
            seen: vec![Seen::default(); width],
            evidence: Evidence::new(width),
        }
    }

    /// Adds an alarmed instant and tells the incident anew.
    fn gather(&self, open: &mut Open, seen: Observation<'_>) {
        open.quiet = 0;
        open.last_alarm = seen.time;
        let weight = self.witness(open, seen);
        open.weight += weight;
        for (at, level) in self.baseline.iter().enumerate() {
            let deviation = seen.deviation[at] - level.deviation;
            open.deviation[at] += weight * deviation;
            open.seen[at].add(seen.row[at], weight * (deviation.abs() + f32::EPSILON));
        }
        for contribution in seen.contributions {
            open.share[contribution.feature] += weight * contribution.share;
        }
        if seen.score > open.incident.peak_score {
            open.incident.peak_score = seen.score;
            open.incident.peak = seen.time;
        }
        self.tell(open);
    }

    /// Adds what an instant says of the cause, and says how much it counts: by its score.
    fn witness(&self, open: &mut Open, seen: Observation<'_>) -> f32 {
        let weight = seen.score.max(f32::MIN_POSITIVE);
        let failed = self.about.scrape_failed.is_some_and(|at| seen.row[at] > 0.0);
        open.evidence.begin(weight, !failed);
        for (at, level) in self.baseline.iter().enumerate() {
            if !seen.row[at].is_nan() {
                open.evidence.add(at, seen.deviation[at] - level.deviation, weight);
            }
        }
        weight
    }

    fn tell(&self, open: &mut Open) {
        let n = open.weight;
        let flap = open.evidence.flapping();
        let means: Vec<f32> = open.evidence.means().chain([flap]).collect();
        let Diagnosis { cause, alternatives } = self.about.diagnostics.diagnose(&means);
        (open.incident.cause, open.incident.alternatives) = (cause, alternatives);
        let peak = open.incident.peak_score;
        if peak >= CRITICAL_SCORE {
            open.incident.severity = Severity::Critical;
        }
        let mut order: Vec<usize> =
            (0..self.about.features.len()).filter(|at| open.share[*at] > 0.0).collect();
        order.sort_by(|a, b| open.share[*b].total_cmp(&open.share[*a]).then(a.cmp(b)));
        open.incident.movements = order
            .into_iter()
            .take(MAX_MOVEMENTS)
            .map(|at| Movement {
                feature: self.about.features[at].clone(),
                expected: self.baseline[at].value,
                observed: open.seen[at].value(),
                deviation: open.deviation[at] / n,
                share: open.share[at] / n,
            })
            .collect();
    }
}

fn closed(open: Open) -> Incident {
    Incident { end: Some(open.last_alarm), ..open.incident }
}

impl Open {
    /// A repeated page is worth it only when it says something new, and says it for sure enough:
    /// between two causes others may be the likeliest for an instant.
    fn tells_more(&mut self, severity: Severity) -> bool {
        let Cause { name, confidence, .. } = self.incident.cause;
        let another = name != self.told && confidence >= SURE_ENOUGH;
        if another {
            self.told = name;
        }
        another || severity != self.incident.severity
    }
}

impl Flare {
    /// Whether it is surely something else than what was before.
    fn is_another(&self) -> bool {
        let (old, new) = (&self.before.cause, &self.own.incident.cause);
        self.n >= FLARE_KNOWN_STEPS
            && old.name != new.name
            && new.confidence >= SURE_ENOUGH
            && new.name != "unknown"
    }
}

/// The same for the same instance and start, over restarts and machines.
fn incident_id(instance: &str, start: Timestamp) -> String {
    let bytes = instance.bytes().chain([0]).chain(start.millis().to_be_bytes());
    format!("{:016x}", stable_hash(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether an alarm ends an incident that is followed by a quiet row so many seconds later.
    fn is_over_after(seconds: i64, interval_seconds: f64) -> bool {
        let about = Tracked::new(vec!["a".to_owned()], interval_seconds);
        let mut tracker = IncidentTracker::of("dns".to_owned(), Arc::new(about));
        let mut push = |seconds: i64, score: f32| {
            let (row, deviation) = ([score], [score]);
            let share = Contribution {
                feature: 0,
                share: 1.0,
                observed: score,
                expected: 0.0,
                deviation: score,
            };
            tracker.push(Observation {
                time: Timestamp::from_millis(1000 * seconds),
                score,
                alarm: score > 1.0,
                row: &row,
                deviation: &deviation,
                contributions: &[share],
            })
        };
        push(0, 0.1);
        push(15, 5.0);
        matches!(push(15 + seconds, 0.1), Some(IncidentEvent::Closed(_)))
    }

    #[test]
    fn a_pause_without_rows_ends_an_incident() {
        assert!(!is_over_after(15, 15.0) && !is_over_after(225, 15.0));
        assert!(is_over_after(3600, 15.0));
        assert!(!is_over_after(3600, f64::NAN) && !is_over_after(3600, 3600.0));
    }
}
