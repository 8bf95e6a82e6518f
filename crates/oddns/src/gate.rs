//! Champion and challenger: a new detector takes over only when it is not worse, by margins that are
//! stated, on the site's own data.

use std::ops::ControlFlow;
use std::sync::Arc;

use oddns_core::{Frame, Timestamp};
use oddns_features::Transform;

use crate::detector::{Detector, DetectorError};
use crate::feedback::{Feedback, FeedbackVerdict};
use crate::follower::Follower;
use crate::headroom::FIRST_PART;
use crate::misfit::{BETTER_BY, WeakFaults};
use crate::pulse::{Pulse, beat};
use crate::quiet::{History, MOST_ROWS_SEEN};
use crate::update::Stay;

/// An injected fault is there for so many rows, …
const INJECTED_ROWS: usize = 16;
/// … and before it so many are quiet, beside those that a detector has to see first.
const QUIET_ROWS: usize = 24;
/// Strengths of injected faults, in standard deviations of the champion's normal operation.
const STRENGTHS: [f32; 3] = [3.0, 6.0, 12.0];
/// Places that a fault of a strength is put into.
const N_PLACES: usize = 2;
/// Faults that are injected at most, each at every strength.
const MOST_INJECTIONS: usize = 128;
/// An alarm still counts for an incident that ended so many seconds ago.
const LATE_SECONDS: f64 = 120.0;
const WEEK_SECONDS: f64 = 7.0 * 86_400.0;

/// A fault, by which features it moves which way.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    /// Its name.
    pub name: String,
    /// Columns, and 1 for up, −1 for down, or a part of it; unknown columns are left out.
    pub moves: Vec<(String, f32)>,
}

/// How much worse a challenger may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GateMargins {
    /// False alarms a week and server, beside the alarm budget of the champion.
    pub alarms_per_week: f64,
    /// Part of the incidents that people called right or missed.
    pub incidents: f64,
    /// Part of the injected faults.
    pub injected: f64,
}

impl Default for GateMargins {
    /// Nothing beside the alarm budget, no incident, three injected faults in a hundred.
    fn default() -> Self {
        Self { alarms_per_week: 0.0, incidents: 0.0, injected: 0.03 }
    }
}

/// What both are tried on.
#[derive(Debug, Clone, Copy)]
pub struct Trial<'a> {
    /// The site's data.
    pub history: &'a [History<'a>],
    /// Quiet stretches that the challenger did not learn: [`crate::Updated::held_out`].
    pub held_out: &'a [Stay],
    /// What people said.
    pub feedback: &'a [Feedback],
    /// The fault suite.
    pub injections: &'a [Injection],
    /// How much worse the challenger may be.
    pub margins: GateMargins,
}

/// One figure of both.
#[derive(Debug, Clone, PartialEq)]
pub struct GateCheck {
    /// What is compared: `false_alarms_per_week`, `incidents_found`, `normal_alarmed`,
    /// `injected_found`, or `weak_found` of [`compare_own`].
    pub name: &'static str,
    /// The champion's figure.
    pub champion: f64,
    /// The challenger's.
    pub challenger: f64,
    /// The worst figure that passes.
    pub limit: f64,
    /// What it was measured on: server weeks, or incidents.
    pub n: f64,
    /// Whether the challenger may take over by this figure. True where nothing could be measured.
    pub passed: bool,
}

/// What came of a trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// Every figure.
    pub checks: Vec<GateCheck>,
    /// Whether all passed.
    pub passed: bool,
}

/// How a check is told to people.
struct CheckWords {
    name: &'static str,
    /// What the figure is.
    figure: &'static str,
    /// What is wrong when it fails.
    failed: &'static str,
    /// Whether more is better; then it is a share.
    is_share_found: bool,
}

#[rustfmt::skip]
const WORDS: &[CheckWords] = &[
    CheckWords { name: "false_alarms_per_week", is_share_found: false, figure: "false alarms a week and server", failed: "it has too many false alarms" },
    CheckWords { name: "incidents_found", is_share_found: true, figure: "known incidents found", failed: "it finds fewer of the incidents that people know" },
    CheckWords { name: "normal_alarmed", is_share_found: false, figure: "alarms at what people called normal", failed: "it alarms more often at what people called normal" },
    CheckWords { name: "injected_found", is_share_found: true, figure: "injected faults found", failed: "it finds fewer injected faults" },
    CheckWords { name: "weak_found", is_share_found: true, figure: "weak faults of this server found", failed: "it finds hardly more weak faults of this server" },
];

impl GateCheck {
    fn words(&self) -> Option<&'static CheckWords> {
        WORDS.iter().find(|words| words.name == self.name)
    }

    fn shown(&self, value: f64) -> String {
        match self.words() {
            Some(words) if words.is_share_found => format!("{:.1} %", 100.0 * value),
            _ => format!("{value:.2}"),
        }
    }

    /// Both figures, and what had to be.
    fn told(&self) -> String {
        let of = |value| self.shown(value);
        let (challenger, champion, limit) =
            (of(self.challenger), of(self.champion), of(self.limit));
        let bound = match self.words() {
            Some(words) if words.is_share_found => "at least",
            _ => "at most",
        };
        format!("{challenger}, the champion's {champion}, {bound} {limit} is asked for")
    }
}

impl Gate {
    /// Why the challenger does not take over, in words; `None` when it does.
    pub fn reason(&self) -> Option<String> {
        let failed = self.checks.iter().filter(|check| !check.passed);
        let told: Vec<String> = failed
            .map(|check| {
                let what = check.words().map(|words| format!("{}: ", words.failed));
                format!("{}`{}` is {}", what.unwrap_or_default(), check.name, check.told())
            })
            .collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// What came of it in words, for people: the reason of a challenger that does not take over, and of
    /// one that does every figure that could be measured.
    pub fn words(&self) -> String {
        if let Some(reason) = self.reason() {
            return reason;
        }
        let measured = self.checks.iter().filter(|check| check.n > 0.0);
        let told: Vec<String> = measured
            .map(|check| {
                let figure = check.words().map_or(check.name, |words| words.figure);
                format!("{figure} {}", check.told())
            })
            .collect();
        match told.is_empty() {
            true => "passed the gate, where nothing could be measured".to_owned(),
            false => format!("passed the gate: {}", told.join("; ")),
        }
    }
}

/// Tries a challenger against its champion.
///
/// # Errors
/// Histories of another schema than either detector's.
pub fn compare(
    champion: &Arc<Detector>,
    challenger: &Arc<Detector>,
    trial: &Trial<'_>,
) -> Result<Gate, DetectorError> {
    compare_with(champion, challenger, trial, &mut |_| ControlFlow::Continue(()))
}

/// The same as [`compare`], in small pieces with a call of `pulse` after each.
///
/// # Errors
/// As [`compare`], and [`DetectorError::Ended`] when `pulse` breaks off.
pub fn compare_with(
    champion: &Arc<Detector>,
    challenger: &Arc<Detector>,
    trial: &Trial<'_>,
    pulse: &mut Pulse<'_>,
) -> Result<Gate, DetectorError> {
    let injected = injected(champion, trial);
    let mut found = |detector: &Arc<Detector>| Found::of(detector, trial, &injected, pulse);
    let (old, new) = (found(champion)?, found(challenger)?);
    let checks = vec![
        false_alarms(champion, trial, &old, &new),
        incidents(trial, &old, &new),
        normals(&old, &new),
        injections(trial, &old, &new),
    ];
    let passed = checks.iter().all(|check| check.passed);
    Ok(Gate { checks, passed })
}

/// Tries a server's own model against the shared one: as [`compare_with`], and it has to be better. Of
/// every fault at three standard deviations of that server it must find a tenth of all more than the
/// shared one, which is told as `weak_found`. Streams of both have judged the history before.
///
/// # Errors
/// As [`compare_with`].
pub fn compare_own(
    shared: &Arc<Detector>,
    own: &Arc<Detector>,
    trial: &Trial<'_>,
    pulse: &mut Pulse<'_>,
) -> Result<Gate, DetectorError> {
    let Gate { mut checks, .. } = compare_with(shared, own, trial, pulse)?;
    let (mut old, mut new) = (Share::default(), Share::default());
    for history in trial.history {
        let (held_out, scales) = (trial.held_out, &own.scaler.scale);
        let faults = WeakFaults::new(history, held_out, trial.injections, scales);
        old.add(faults.found(shared, pulse)?);
        new.add(faults.found(own, pulse)?);
    }
    let (champion, challenger) = (old.ratio(), new.ratio());
    let limit = champion + BETTER_BY;
    let (passed, n) = (challenger >= limit, new.of as f64);
    checks.push(GateCheck { name: "weak_found", champion, challenger, limit, n, passed });
    let passed = checks.iter().all(|check| check.passed);
    Ok(Gate { checks, passed })
}

/// What one of them found.
#[derive(Debug, Default)]
struct Found {
    n_false: usize,
    server_seconds: f64,
    incidents: Share,
    normals: Share,
    injected: Share,
}

/// So many of so many.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    n: usize,
    of: usize,
}

impl Share {
    fn count(&mut self, yes: bool) {
        self.of += 1;
        self.n += usize::from(yes);
    }

    fn add(&mut self, (n, of): (usize, usize)) {
        self.n += n;
        self.of += of;
    }

    /// 0 of none.
    fn ratio(self) -> f64 {
        self.n as f64 / self.of.max(1) as f64
    }
}

impl Found {
    fn of(
        detector: &Arc<Detector>,
        trial: &Trial<'_>,
        injected: &[Injected],
        pulse: &mut Pulse<'_>,
    ) -> Result<Self, DetectorError> {
        let mut found = Self::default();
        let each = MOST_ROWS_SEEN / trial.history.len().max(1);
        for history in trial.history {
            let alarms = alarms(detector, history, each, pulse)?;
            found.take_quiet(history, trial, &alarms);
            found.take_feedback(history, trial, &alarms);
        }
        for one in injected {
            found.injected.count(one.is_found(detector)?);
            beat(pulse, 0)?;
        }
        Ok(found)
    }

    /// Counts alarms that begin in quiet stretches.
    fn take_quiet(
        &mut self,
        history: &History<'_>,
        trial: &Trial<'_>,
        alarms: &[(Timestamp, bool)],
    ) {
        // At first a stream gets to know its server, as none does that takes over.
        let Some((known, _)) = alarms.get(alarms.len() / FIRST_PART) else { return };
        let own = trial.held_out.iter().filter(|stay| stay.instance == history.instance);
        let from_known = own.map(|stay| (stay.start.max(*known), stay.end));
        let stays: Vec<_> = from_known.filter(|(start, end)| start < end).collect();
        self.server_seconds +=
            stays.iter().map(|(start, end)| end.seconds_since(*start)).sum::<f64>();
        let begins = alarms.windows(2).filter(|pair| pair[1].1 && !pair[0].1);
        let within = |time| stays.iter().any(|(start, end)| (*start..=*end).contains(&time));
        self.n_false += begins.filter(|pair| within(pair[1].0)).count();
    }

    fn take_feedback(
        &mut self,
        history: &History<'_>,
        trial: &Trial<'_>,
        alarms: &[(Timestamp, bool)],
    ) {
        for said in trial.feedback.iter().filter(|said| said.is_about(history.instance)) {
            let late = |time: Timestamp| time.seconds_since(said.end) <= LATE_SECONDS;
            let mut within =
                alarms.iter().filter(|(time, _)| said.start <= *time && late(*time)).peekable();
            if within.peek().is_none() {
                continue;
            }
            let alarmed = within.any(|(_, alarm)| *alarm);
            match said.verdict {
                FeedbackVerdict::Normal => self.normals.count(alarmed),
                FeedbackVerdict::Right | FeedbackVerdict::Missed => self.incidents.count(alarmed),
            }
        }
    }
}

/// Whether each of the newest rows is alarmed.
fn alarms(
    detector: &Arc<Detector>,
    history: &History<'_>,
    n_rows: usize,
    pulse: &mut Pulse<'_>,
) -> Result<Vec<(Timestamp, bool)>, DetectorError> {
    let mut follower = Follower::new(Arc::clone(detector), history.instance.to_owned());
    let frame = history.frame;
    (frame.len().saturating_sub(n_rows)..frame.len())
        .map(|row| {
            beat(pulse, row)?;
            let time = frame.timestamps()[row];
            Ok((time, follower.push(time, frame.row(row))?.score.alarm))
        })
        .collect()
}

fn false_alarms(champion: &Detector, trial: &Trial<'_>, old: &Found, new: &Found) -> GateCheck {
    let weeks = old.server_seconds / WEEK_SECONDS;
    let a_week = |n: usize| if weeks > 0.0 { n as f64 / weeks } else { 0.0 };
    let budget = champion.record.alarms_per_week + trial.margins.alarms_per_week;
    // On a few hours one alarm is chance.
    let least = if weeks > 0.0 { 1.0 / weeks } else { 0.0 };
    let limit = a_week(old.n_false) + budget.max(least);
    let (champion, challenger) = (a_week(old.n_false), a_week(new.n_false));
    let passed = challenger <= limit;
    GateCheck { name: "false_alarms_per_week", champion, challenger, limit, n: weeks, passed }
}

fn incidents(trial: &Trial<'_>, old: &Found, new: &Found) -> GateCheck {
    least("incidents_found", old.incidents, new.incidents, trial.margins.incidents)
}

fn injections(trial: &Trial<'_>, old: &Found, new: &Found) -> GateCheck {
    least("injected_found", old.injected, new.injected, trial.margins.injected)
}

fn least(name: &'static str, old: Share, new: Share, margin: f64) -> GateCheck {
    let (champion, challenger) = (old.ratio(), new.ratio());
    let limit = (champion - margin).max(0.0);
    let passed = challenger >= limit;
    GateCheck { name, champion, challenger, limit, n: old.of as f64, passed }
}

/// What people called normal must not alarm more often than it does.
fn normals(old: &Found, new: &Found) -> GateCheck {
    let (champion, challenger) = (old.normals.ratio(), new.normals.ratio());
    let passed = challenger <= champion;
    let n = old.normals.of as f64;
    GateCheck { name: "normal_alarmed", champion, challenger, limit: champion, n, passed }
}

/// A stretch of quiet rows with a fault at its end.
struct Injected {
    frame: Frame,
    /// First row of the fault.
    from: usize,
}

impl Injected {
    fn is_found(&self, detector: &Arc<Detector>) -> Result<bool, DetectorError> {
        let mut follower = Follower::new(Arc::clone(detector), String::new());
        let mut found = false;
        for (at, (time, row)) in self.frame.rows().enumerate() {
            let alarm = follower.push(time, row)?.score.alarm;
            // What was alarmed before finds nothing.
            if alarm && at < self.from {
                return Ok(false);
            }
            found |= alarm;
        }
        Ok(found)
    }
}

/// Each fault at each strength, in quiet rows that the challenger did not learn, one place after
/// the other.
fn injected(champion: &Detector, trial: &Trial<'_>) -> Vec<Injected> {
    let n_rows = champion.warm_up_rows() + QUIET_ROWS + INJECTED_ROWS;
    let places = places(trial, n_rows);
    let mut found = Vec::new();
    if places.is_empty() {
        return found;
    }
    let known = |injection: &&Injection| {
        let is_column =
            |(name, _): &(String, f32)| champion.columns.iter().any(|c| c.name == *name);
        injection.moves.iter().any(is_column)
    };
    let injections = trial.injections.iter().filter(known).take(MOST_INJECTIONS);
    for (at, injection) in injections.enumerate() {
        for (turn, strength) in
            STRENGTHS.iter().cycle().take(N_PLACES * STRENGTHS.len()).enumerate()
        {
            // A step that shares no factor with most numbers of places.
            let place = (at * N_PLACES * STRENGTHS.len() + turn) * 7 % places.len();
            let (frame, from) = places[place];
            found.push(inject(champion, injection, *strength, frame, from, n_rows));
        }
    }
    found
}

/// Where a stretch of quiet rows begins.
fn places<'a>(trial: &Trial<'a>, n_rows: usize) -> Vec<(&'a Frame, usize)> {
    let mut found = Vec::new();
    for stay in trial.held_out {
        let Some(history) = trial.history.iter().find(|h| h.instance == stay.instance) else {
            continue;
        };
        let times = history.frame.timestamps();
        let from = times.partition_point(|time| *time < stay.start);
        let until = times.partition_point(|time| *time <= stay.end);
        let starts = (from..until).step_by(n_rows).filter(|start| start + n_rows <= until);
        found.extend(starts.map(|start| (history.frame, start)));
    }
    found
}

fn inject(
    champion: &Detector,
    injection: &Injection,
    strength: f32,
    frame: &Frame,
    start: usize,
    n_rows: usize,
) -> Injected {
    let from = n_rows - INJECTED_ROWS;
    let mut made = Frame::new(frame.columns().to_vec());
    for at in 0..n_rows {
        let mut row = frame.row(start + at).to_vec();
        if at >= from {
            injection.shift(champion, strength, &mut row);
        }
        // Rows of a frame are in order and of its width.
        let _ = made.push(frame.timestamps()[start + at], &row);
    }
    Injected { frame: made, from }
}

impl Injection {
    /// Moves a row in the features' units.
    fn shift(&self, champion: &Detector, strength: f32, row: &mut [f32]) {
        self.shift_by(champion, &champion.scaler.scale, strength, row);
    }

    /// The same by standard deviations of `scales`, one a column.
    pub(crate) fn shift_by(
        &self,
        champion: &Detector,
        scales: &[f32],
        strength: f32,
        row: &mut [f32],
    ) {
        for (name, part) in &self.moves {
            let Some(at) = champion.columns.iter().position(|column| column.name == *name) else {
                continue;
            };
            let (column, scale) = (&champion.columns[at], scales[at]);
            let moved = column.transform.apply(row[at]) + part * strength * scale;
            let value = column.transform.invert(moved);
            // No rate and no share is negative, and neither is what has a logarithm.
            let least = match (row[at] >= 0.0, column.transform) {
                (true, _) | (_, Transform::Log { .. }) => 0.0,
                _ => f32::MIN,
            };
            row[at] = value.max(least);
        }
    }
}
