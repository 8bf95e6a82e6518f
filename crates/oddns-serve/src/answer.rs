//! The bodies of the API's answers, made from the view. Times are Unix seconds; a value that is
//! not known is null.

use std::ops::Range;

use oddns_core::{Cause, Incident, Timestamp};
use serde::Serialize;

use crate::history::{History, UNKNOWN, downsample};
use crate::view::{FeatureInfo, ModelInfo, Server, Truth, View, state_name};
use oddns::State;

/// Most alarm stretches in one answer; the latest are kept.
const MAX_ALARMS: usize = 500;

/// `/api/v1/status`: everything about now.
#[derive(Serialize)]
pub(crate) struct StatusAnswer<'a> {
    title: &'a str,
    live: bool,
    revision: u64,
    version: &'static str,
    model: Option<ModelAnswer<'a>>,
    instances: Vec<InstanceAnswer<'a>>,
}

#[derive(Serialize)]
struct ModelAnswer<'a> {
    id: &'a str,
    schema: &'a str,
    trained_since: Option<f64>,
    trained_until: Option<f64>,
    window: usize,
    n_features: usize,
}

#[derive(Serialize)]
struct InstanceAnswer<'a> {
    instance: &'a str,
    /// One of `STATE_NAMES`.
    state: &'static str,
    /// The state in words, with its reason.
    words: String,
    /// Why the latest scrape failed.
    trouble: Option<&'a str>,
    /// How much of the first window is full, while warming up.
    seen: Option<usize>,
    needed: Option<usize>,
    since: Option<f64>,
    /// Time of the latest step and of the earliest that is remembered.
    last: Option<f64>,
    first: Option<f64>,
    score: Option<f32>,
    alarm: bool,
    n_steps: usize,
    n_incidents: usize,
    /// The latest incident, whether it goes on or not.
    incident: Option<&'a str>,
}

/// `/api/v1/scores`: the score of one server over time.
#[derive(Serialize)]
pub(crate) struct ScoresAnswer<'a> {
    instance: &'a str,
    /// How many steps there are; `times` has fewer when they were thinned out.
    n_steps: usize,
    times: Vec<f64>,
    scores: Vec<f32>,
    peak: Option<PeakAnswer>,
    alarms: Vec<(f64, f64)>,
    truths: Vec<TruthAnswer<'a>>,
}

#[derive(Serialize)]
struct PeakAnswer {
    time: f64,
    score: f32,
}

#[derive(Serialize)]
struct TruthAnswer<'a> {
    kind: &'a str,
    start: f64,
    end: f64,
    anomalous: bool,
}

/// `/api/v1/features`: what each feature did, observed against expected.
#[derive(Serialize)]
pub(crate) struct FeaturesAnswer<'a> {
    instance: &'a str,
    times: Vec<f64>,
    /// The latest step in range and the one with the highest score.
    last: Option<f64>,
    peak: Option<f64>,
    features: Vec<FeatureAnswer<'a>>,
}

#[derive(Serialize)]
struct FeatureAnswer<'a> {
    name: &'a str,
    unit: &'a str,
    doc: &'a str,
    /// At the latest step.
    observed: f32,
    expected: f32,
    /// At the highest score.
    peak_observed: f32,
    peak_expected: f32,
    /// Part of the deviation at the latest scored step and at the highest score.
    share: f32,
    peak_share: f32,
    observed_values: Vec<f32>,
    expected_values: Vec<f32>,
}

/// `/api/v1/incidents`: latest first.
#[derive(Serialize)]
pub(crate) struct IncidentsAnswer<'a> {
    /// How many there are; `incidents` has fewer when limited.
    total: usize,
    incidents: Vec<IncidentAnswer<'a>>,
}

#[derive(Serialize)]
struct IncidentAnswer<'a> {
    id: &'a str,
    instance: &'a str,
    start: f64,
    end: Option<f64>,
    severity: &'static str,
    peak_score: f32,
    peak: f64,
    cause: CauseAnswer,
    /// What else it may be, likeliest first.
    alternatives: Vec<CauseAnswer>,
    movements: Vec<MovementAnswer<'a>>,
}

#[derive(Serialize)]
struct CauseAnswer {
    name: &'static str,
    summary: &'static str,
    confidence: f32,
    next_steps: &'static [&'static str],
}

#[derive(Serialize)]
struct MovementAnswer<'a> {
    feature: &'a str,
    unit: &'a str,
    doc: &'a str,
    expected: f32,
    observed: f32,
    deviation: f32,
    share: f32,
}

pub(crate) fn status(view: &View) -> StatusAnswer<'_> {
    StatusAnswer {
        title: view.title(),
        live: view.live(),
        revision: view.revision(),
        version: env!("CARGO_PKG_VERSION"),
        model: view.model().map(model),
        instances: view.servers().map(|(name, server)| instance(view, name, server)).collect(),
    }
}

fn model(model: &ModelInfo) -> ModelAnswer<'_> {
    ModelAnswer {
        id: &model.id,
        schema: &model.schema,
        trained_since: model.trained_on.map(|(since, _)| since.unix_seconds()),
        trained_until: model.trained_on.map(|(_, until)| until.unix_seconds()),
        window: model.window,
        n_features: model.features.len(),
    }
}

fn instance<'a>(view: &'a View, name: &'a str, server: &'a Server) -> InstanceAnswer<'a> {
    let history = &server.history;
    let last = history.last();
    let (seen, needed) = match server.state {
        Some(State::WarmingUp { seen, needed }) => (Some(seen), Some(needed)),
        _ => (None, None),
    };
    let mut incidents = view.incidents().filter(|incident| incident.instance == name).peekable();
    InstanceAnswer {
        instance: name,
        state: state_name(server.state.as_ref()),
        words: words(view, server),
        trouble: server.trouble.as_deref(),
        seen,
        needed,
        since: server.since.map(Timestamp::unix_seconds),
        last: last.map(|step| step.time.unix_seconds()),
        first: (!history.is_empty()).then(|| history.step(0).time.unix_seconds()),
        score: last.map(|step| step.score).filter(|score| !score.is_nan()),
        alarm: last.is_some_and(|step| step.alarm),
        n_steps: history.len(),
        incident: incidents.peek().map(|incident| incident.id.as_str()),
        n_incidents: incidents.count(),
    }
}

fn words(view: &View, server: &Server) -> String {
    match (&server.state, &server.trouble) {
        (None | Some(State::NoData), Some(trouble)) => format!("no data: {trouble}"),
        (Some(state), _) => state.to_string(),
        (None, None) if view.model().is_none() => "waiting for a model".to_owned(),
        (None, None) => "waiting for the first scrape".to_owned(),
    }
}

pub(crate) fn scores<'a>(
    view: &'a View,
    instance: &'a str,
    history: &History,
    range: Range<usize>,
    points: usize,
) -> ScoresAnswer<'a> {
    let picked = downsample(range.clone(), points, |at| history.step(at).score);
    let seconds = |(from, to): (Timestamp, Timestamp)| (from.unix_seconds(), to.unix_seconds());
    ScoresAnswer {
        instance,
        n_steps: range.len(),
        times: times(history, &picked),
        scores: picked.iter().map(|at| history.step(*at).score).collect(),
        peak: history
            .peak(range.clone())
            .map(|at| history.step(at))
            .map(|step| PeakAnswer { time: step.time.unix_seconds(), score: step.score }),
        alarms: history.alarms(range, MAX_ALARMS).into_iter().map(seconds).collect(),
        truths: view.truths(instance).map(truth).collect(),
    }
}

fn truth(truth: &Truth) -> TruthAnswer<'_> {
    TruthAnswer {
        kind: &truth.kind,
        start: truth.start.unix_seconds(),
        end: truth.end.unix_seconds(),
        anomalous: truth.anomalous,
    }
}

/// Features of one server; `only` leaves all but one out, whose times are then exact. With several
/// each part of the range has one time, though the extremes of features lie at different steps.
pub(crate) fn features<'a>(
    view: &'a View,
    instance: &'a str,
    history: &History,
    range: Range<usize>,
    points: usize,
    only: Option<usize>,
) -> FeaturesAnswer<'a> {
    let peak = history.peak(range.clone());
    let last = range.clone().next_back();
    let picked = match only {
        Some(column) => extremes(history, range.clone(), column, points),
        None => downsample(range.clone(), points, |_| 0.0),
    };
    let columns = view.features().iter().enumerate();
    let wanted = columns.filter(|(column, _)| only.is_none_or(|only| only == *column));
    FeaturesAnswer {
        instance,
        times: times(history, &picked),
        last: last.map(|at| history.step(at).time.unix_seconds()),
        peak: peak.map(|at| history.step(at).time.unix_seconds()),
        features: wanted
            .map(|(column, info)| feature(history, range.clone(), points, column, info))
            .collect(),
    }
}

fn feature<'a>(
    history: &History,
    range: Range<usize>,
    points: usize,
    column: usize,
    info: &'a FeatureInfo,
) -> FeatureAnswer<'a> {
    let picked = extremes(history, range.clone(), column, points);
    let reading = |at: Option<usize>| at.map_or(UNKNOWN, |at| history.reading(at, column));
    let last = reading(range.clone().next_back());
    let peak = reading(history.peak(range.clone()));
    FeatureAnswer {
        name: &info.name,
        unit: &info.unit,
        doc: &info.doc,
        observed: last.observed,
        expected: last.expected,
        peak_observed: peak.observed,
        peak_expected: peak.expected,
        share: reading(history.last_scored(range)).share,
        peak_share: peak.share,
        observed_values: picked.iter().map(|at| history.reading(*at, column).observed).collect(),
        expected_values: picked.iter().map(|at| history.reading(*at, column).expected).collect(),
    }
}

/// Thins a feature out so that what is farthest from its mean stays.
fn extremes(history: &History, range: Range<usize>, column: usize, points: usize) -> Vec<usize> {
    let observed = |at: usize| history.reading(at, column).observed;
    let (mut sum, mut count) = (0.0_f64, 0_u32);
    for value in range.clone().map(observed).filter(|value| value.is_finite()) {
        sum += f64::from(value);
        count += 1;
    }
    let mean = (sum / f64::from(count.max(1))) as f32;
    downsample(range, points, |at| (observed(at) - mean).abs())
}

pub(crate) fn incidents<'a>(
    view: &'a View,
    instance: Option<&str>,
    limit: usize,
) -> IncidentsAnswer<'a> {
    let wanted = |incident: &&Incident| instance.is_none_or(|name| incident.instance == name);
    IncidentsAnswer {
        total: view.incidents().filter(wanted).count(),
        incidents: view.incidents().filter(wanted).take(limit).map(|i| incident(view, i)).collect(),
    }
}

fn incident<'a>(view: &'a View, incident: &'a Incident) -> IncidentAnswer<'a> {
    IncidentAnswer {
        id: &incident.id,
        instance: &incident.instance,
        start: incident.start.unix_seconds(),
        end: incident.end.map(Timestamp::unix_seconds),
        severity: incident.severity.as_str(),
        peak_score: incident.peak_score,
        peak: incident.peak.unix_seconds(),
        cause: CauseAnswer::of(&incident.cause),
        alternatives: incident.alternatives.iter().map(CauseAnswer::of).collect(),
        movements: incident.movements.iter().map(|m| movement(view, m)).collect(),
    }
}

impl CauseAnswer {
    fn of(cause: &Cause) -> Self {
        let Cause { name, summary, confidence, next_steps } = *cause;
        Self { name, summary, confidence, next_steps }
    }
}

fn movement<'a>(view: &'a View, movement: &'a oddns_core::Movement) -> MovementAnswer<'a> {
    let info = view.features().iter().find(|info| info.name == movement.feature);
    MovementAnswer {
        feature: &movement.feature,
        unit: info.map_or("", |info| &info.unit),
        doc: info.map_or("", |info| &info.doc),
        expected: movement.expected,
        observed: movement.observed,
        deviation: movement.deviation,
        share: movement.share,
    }
}

fn times(history: &History, picked: &[usize]) -> Vec<f64> {
    picked.iter().map(|at| history.step(*at).time.unix_seconds()).collect()
}
