//! The bodies of the API's answers, made from the view. Times are Unix seconds; a value that is
//! not known is null.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::Range;

use oddns_core::{Cause, Incident, Timestamp};
use oddns_store::GateFigure;
use serde::{Deserialize, Serialize};

use crate::backfill::{Stage, Standing};
use crate::budget::Shares;
use crate::feedback::{Feedback, Verdict};
use crate::history::{History, UNKNOWN, downsample};
use crate::learning::{FitStatus, Outcome, OwnStatus, Succession};
use crate::origin::Origin;
use crate::view::{FeatureInfo, ModelInfo, Server, Truth, View};
use crate::words::shown_span;
use oddns::State;

/// Most alarm stretches in one answer; the latest are kept.
const MAX_ALARMS: usize = 500;

/// `/api/v1/status`: everything about now.
#[derive(Serialize)]
pub(crate) struct StatusAnswer<'a> {
    title: &'a str,
    live: bool,
    revision: u64,
    /// Whether something can be said of incidents.
    takes_feedback: bool,
    version: &'static str,
    model: Option<ModelAnswer<'a>>,
    /// How many false alerts the fleet may have, where that is configured.
    budget: Option<BudgetAnswer>,
    /// Time of the latest step of all.
    last: Option<f64>,
    counts: Counts,
    /// How many servers were asked for; `instances` has fewer when limited.
    n_instances: usize,
    instances: Vec<InstanceAnswer<'a>>,
}

/// How many servers there are of each kind.
#[derive(Serialize, Default)]
struct Counts {
    odd: usize,
    stuck: usize,
    wait: usize,
    quiet: usize,
}

/// What a server needs, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// It alarms, or did in a recording.
    Odd,
    /// It cannot be judged, or may be odd.
    Stuck,
    /// It will be judged.
    Wait,
    Quiet,
}

/// Which servers are asked for.
#[derive(Debug, Default)]
pub(crate) struct Asked<'a> {
    /// Part of the name.
    pub(crate) search: &'a str,
    pub(crate) kind: Option<Kind>,
    /// The most urgent ones; all, in the order of their names, when `None`.
    pub(crate) limit: Option<usize>,
    /// One that is wanted in any case.
    pub(crate) also: Option<&'a str>,
}

/// `/api/v1/fleet`: every server in few bytes, in the order of their names.
#[derive(Serialize)]
pub(crate) struct FleetAnswer<'a> {
    revision: u64,
    instances: Vec<&'a str>,
    /// A letter each: the first one of its kind.
    kinds: String,
    /// Two places; null without one.
    scores: Vec<Option<f64>>,
}

/// `/api/v1/heatmap`: what added to the score over time.
#[derive(Serialize)]
pub(crate) struct HeatmapAnswer<'a> {
    instance: &'a str,
    times: Vec<f64>,
    scores: Vec<f32>,
    /// The features that added most, the most first.
    features: Vec<HeatRow<'a>>,
}

#[derive(Serialize)]
struct HeatRow<'a> {
    name: &'a str,
    doc: &'a str,
    /// Part of the deviation at each time, 0 to 1.
    shares: Vec<f32>,
}

#[derive(Serialize)]
struct ModelAnswer<'a> {
    id: &'a str,
    schema: &'a str,
    trained_since: Option<f64>,
    trained_until: Option<f64>,
    window: usize,
    n_features: usize,
    kind: &'a str,
    n_rows: usize,
    interval: Option<f32>,
    n_parameters: usize,
    /// False alarms that a server may have in a week, as trained.
    alarms_per_week: f64,
    /// `site`, `base` or `calibrated_base`.
    origin: &'static str,
    /// The same in words.
    origin_words: String,
}

#[derive(Serialize)]
struct BudgetAnswer {
    tickets_per_week: f64,
    pages_per_week: f64,
    /// Servers that it is shared out among.
    n_servers: usize,
    /// How many times as high the alarm line lies as the model was trained for, …
    lift: f32,
    /// … and from which score on an incident is urgent.
    page_score: f32,
}

#[derive(Serialize)]
struct InstanceAnswer<'a> {
    instance: &'a str,
    kind: Kind,
    /// One of `STATE_NAMES`.
    state: &'static str,
    /// The state in words, with its reason.
    words: String,
    /// Seconds until the first score, while that can be told.
    eta: Option<f64>,
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

/// `/api/v1/model`: who judges, and how learning stands.
#[derive(Serialize)]
pub(crate) struct LearningAnswer {
    id: Option<String>,
    /// `site`, `base` or `calibrated_base`.
    origin: &'static str,
    /// The same in words.
    origin_words: String,
    /// Of the registry; null where there is none.
    generation: Option<u64>,
    made: Option<f64>,
    trained_since: Option<f64>,
    trained_until: Option<f64>,
    n_rows: usize,
    promotion: Option<PromotionAnswer>,
    /// Whether the model is updated by itself.
    learns: bool,
    /// Since when an update is under way, and when the next one is due.
    active_since: Option<f64>,
    next: Option<f64>,
    last: Option<OutcomeAnswer>,
    /// The history of a Prometheus; null where none is named.
    backfill: Option<BackfillAnswer>,
    /// Servers with a model of their own, and those that the shared one fits worst.
    fits: Vec<FitAnswer>,
    /// How far each feature has moved over all servers, what moved most first.
    drift: Vec<DriftAnswer>,
}

#[derive(Serialize)]
struct PromotionAnswer {
    at: f64,
    by: String,
    reason: String,
}

#[derive(Serialize)]
struct BackfillAnswer {
    /// `fetching`, `waiting`, `calibrating`, `training`, `done` or `refused`.
    stage: &'static str,
    /// All of it in words.
    words: String,
    /// Why it waits, was refused, or ended as it did; empty where there is nothing to say.
    reason: String,
    server: String,
    /// Part of the time that is fetched.
    progress: f64,
    eta_seconds: Option<f64>,
    since: Option<f64>,
    until: Option<f64>,
    n_servers: usize,
    n_targets: usize,
    n_left_out: usize,
    n_samples: u64,
    n_rows: usize,
}

#[derive(Serialize)]
struct OutcomeAnswer {
    ended: f64,
    /// `promoted`, `refused`, `nothing` or `failed`.
    result: &'static str,
    reason: String,
    generation: Option<u64>,
    seconds: f64,
    cpu_seconds: f64,
    gate: Vec<GateFigure>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct FitAnswer {
    instance: String,
    /// How far the middle of its scores by the shared model lies from the fleet's, as a part.
    misfit: Option<f32>,
    own: Option<OwnAnswer>,
}

#[derive(Serialize)]
struct OwnAnswer {
    generation: u64,
    since: f64,
    by: String,
    reason: String,
}

#[derive(Serialize)]
struct DriftAnswer {
    feature: String,
    /// In standard deviations, signed.
    moved: f32,
}

/// Who judges, at the time `now`.
pub(crate) fn learning(
    view: &View,
    succession: &Succession,
    backfill: &Standing,
    now: Timestamp,
) -> LearningAnswer {
    let (status, model) = (succession.status(), view.model());
    let named = view.features().iter().zip(succession.drift());
    let moved = named.filter(|(_, moved)| moved.is_finite());
    let mut drift: Vec<DriftAnswer> = moved
        .map(|(feature, moved)| DriftAnswer { feature: feature.name.clone(), moved })
        .collect();
    drift.sort_by(|a, b| b.moved.abs().total_cmp(&a.moved.abs()));
    let trained = model.and_then(|model| model.trained_on);
    LearningAnswer {
        id: model.map(|model| model.id.clone()),
        origin: view.origin().name(),
        origin_words: view.origin().to_string(),
        generation: status.generation,
        made: status.made.map(Timestamp::unix_seconds),
        trained_since: trained.map(|range| range.0.unix_seconds()),
        trained_until: trained.map(|range| range.1.unix_seconds()),
        n_rows: status.n_rows,
        promotion: status.promotion.map(|promotion| PromotionAnswer {
            at: promotion.at.unix_seconds(),
            by: promotion.by,
            reason: promotion.reason,
        }),
        learns: status.enabled,
        active_since: status.active_since.map(Timestamp::unix_seconds),
        next: status.next.map(Timestamp::unix_seconds),
        last: status.last.map(OutcomeAnswer::of),
        backfill: BackfillAnswer::of(backfill, now),
        fits: status.fits.into_iter().map(FitAnswer::of).collect(),
        drift,
    }
}

impl BackfillAnswer {
    fn of(standing: &Standing, now: Timestamp) -> Option<Self> {
        let range =
            standing.range.map(|(since, until)| (since.unix_seconds(), until.unix_seconds()));
        (standing.stage != Stage::Off).then(|| Self {
            stage: standing.stage.name(),
            words: standing.words(now),
            reason: standing.reason.clone(),
            server: standing.server.clone(),
            progress: standing.progress(),
            eta_seconds: standing.eta_seconds(now),
            since: range.map(|range| range.0),
            until: range.map(|range| range.1),
            n_servers: standing.n_servers,
            n_targets: standing.n_targets,
            n_left_out: standing.n_left_out,
            n_samples: standing.n_samples,
            n_rows: standing.n_rows,
        })
    }
}

impl FitAnswer {
    fn of(fit: FitStatus) -> Self {
        let own = |OwnStatus { generation, since, by, reason }| {
            let since = since.unix_seconds();
            OwnAnswer { generation, since, by, reason }
        };
        Self {
            instance: fit.instance,
            misfit: fit.misfit.filter(|misfit| misfit.is_finite()),
            own: fit.own.map(own),
        }
    }
}

impl OutcomeAnswer {
    fn of(outcome: Outcome) -> Self {
        Self {
            ended: outcome.ended.unix_seconds(),
            result: outcome.ending.name(),
            reason: outcome.reason,
            generation: outcome.generation,
            seconds: outcome.seconds,
            cpu_seconds: outcome.cpu_seconds,
            gate: outcome.gate,
            notes: outcome.notes,
        }
    }
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

/// What is known of incidents beside themselves.
pub(crate) struct About<'a> {
    /// The group of each, and how many servers are in it.
    pub(crate) places: HashMap<String, (String, usize)>,
    pub(crate) feedback: &'a Feedback,
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
    /// What makes it one trouble with others: the same for all of them, and their servers' number.
    group: Option<String>,
    n_servers: usize,
    /// What somebody said of it.
    feedback: Option<Verdict>,
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

pub(crate) fn status<'a>(
    view: &'a View,
    takes_feedback: bool,
    shares: Option<Shares>,
    asked: &Asked<'_>,
) -> StatusAnswer<'a> {
    let past = Pasts::of(view);
    let mut counts = Counts::default();
    let mut wanted = Vec::new();
    for (name, server) in view.servers() {
        let kind = past.kind(view, name, server);
        counts.add(kind);
        if asked.wants(name, kind) {
            wanted.push((kind, name, server));
        }
    }
    let n_instances = wanted.len();
    if let Some(limit) = asked.limit {
        wanted.sort_by(|a, b| {
            (a.0, urgency(b.2), a.1)
                .partial_cmp(&(b.0, urgency(a.2), b.1))
                .unwrap_or(Ordering::Equal)
        });
        wanted.truncate(limit);
    }
    let also = asked.also.filter(|also| wanted.iter().all(|(_, name, _)| name != also));
    if let Some((name, server)) = also.and_then(|also| view.named(also)) {
        wanted.push((past.kind(view, name, server), name, server));
    }
    let last = view.servers().filter_map(|(_, server)| server.history.last()).map(|step| step.time);
    StatusAnswer {
        title: view.title(),
        live: view.live(),
        revision: view.revision(),
        takes_feedback,
        version: env!("CARGO_PKG_VERSION"),
        model: view.model().map(|known| model(known, view.origin())),
        budget: shares.map(|Shares { budget, n_servers, lifts }| BudgetAnswer {
            tickets_per_week: budget.tickets_per_week,
            pages_per_week: budget.pages_per_week,
            n_servers,
            lift: lifts.tickets,
            page_score: lifts.pages,
        }),
        last: last.max().map(Timestamp::unix_seconds),
        counts,
        n_instances,
        instances: wanted
            .into_iter()
            .map(|(kind, name, server)| instance(view, &past, kind, name, server))
            .collect(),
    }
}

/// The higher the score, the sooner it is told; without one a server is told last.
fn urgency(server: &Server) -> f32 {
    server.history.last().map_or(f32::NEG_INFINITY, |step| match step.score {
        score if score.is_nan() => f32::NEG_INFINITY,
        score => score,
    })
}

impl Asked<'_> {
    fn wants(&self, name: &str, kind: Kind) -> bool {
        self.kind.is_none_or(|wanted| wanted == kind) && name.contains(self.search)
    }
}

impl Counts {
    fn add(&mut self, kind: Kind) {
        *match kind {
            Kind::Odd => &mut self.odd,
            Kind::Stuck => &mut self.stuck,
            Kind::Wait => &mut self.wait,
            Kind::Quiet => &mut self.quiet,
        } += 1;
    }
}

impl Kind {
    fn letter(self) -> char {
        match self {
            Self::Odd => 'o',
            Self::Stuck => 's',
            Self::Wait => 'w',
            Self::Quiet => 'q',
        }
    }
}

/// The incidents of every server, gathered once: looking for those of each would take as often as there
/// are servers.
struct Pasts<'a>(HashMap<&'a str, Past<'a>>);

#[derive(Default)]
struct Past<'a> {
    n_incidents: usize,
    latest: Option<&'a str>,
    is_open: bool,
}

impl<'a> Pasts<'a> {
    fn of(view: &'a View) -> Self {
        let mut all: HashMap<&str, Past<'_>> = HashMap::new();
        for incident in view.incidents() {
            let past = all.entry(&incident.instance).or_default();
            past.n_incidents += 1;
            past.latest.get_or_insert(&incident.id);
            past.is_open |= incident.end.is_none();
        }
        Self(all)
    }

    fn kind(&self, view: &View, name: &str, server: &Server) -> Kind {
        let past = self.0.get(name);
        let is_odd = match view.live() {
            true => past.is_some_and(|past| past.is_open),
            false => past.is_some(),
        };
        let last = server.history.last();
        match server.state_name() {
            "waiting" | "warming_up" => Kind::Wait,
            "scoring" if is_odd || (view.live() && last.is_some_and(|step| step.alarm)) => {
                Kind::Odd
            }
            "scoring" if !view.live() => Kind::Quiet,
            "scoring"
                if server.trouble.is_none()
                    && last.is_none_or(|step| step.score <= 1.0 || step.score.is_nan()) =>
            {
                Kind::Quiet
            }
            _ => Kind::Stuck,
        }
    }
}

pub(crate) fn fleet(view: &View) -> FleetAnswer<'_> {
    let past = Pasts::of(view);
    let kind = |(name, server): (&str, &Server)| past.kind(view, name, server).letter();
    let score = |(_, server): (&str, &Server)| {
        let score = server.history.last().map(|step| f64::from(step.score));
        score.filter(|score| score.is_finite()).map(|score| (score * 100.0).round() / 100.0)
    };
    FleetAnswer {
        revision: view.revision(),
        instances: view.servers().map(|(name, _)| name).collect(),
        kinds: view.servers().map(kind).collect(),
        scores: view.servers().map(score).collect(),
    }
}

/// The `most` features that added most to the scores in `range`, in at most `points` steps: of each
/// stretch the one with the highest score.
pub(crate) fn heatmap<'a>(
    view: &'a View,
    instance: &'a str,
    history: &History,
    range: Range<usize>,
    points: usize,
    most: usize,
) -> HeatmapAnswer<'a> {
    let range = readable(history, range);
    let picked = downsample(range, points, |at| history.step(at).score);
    let mut weights = vec![0.0_f32; view.features().len()];
    for at in &picked {
        let score = history.step(*at).score;
        let shares = history.shares(*at).iter().filter(|_| score.is_finite());
        for (feature, share) in shares {
            if let Some(weight) = weights.get_mut(usize::from(*feature)) {
                *weight += share * score;
            }
        }
    }
    let mut order: Vec<usize> = (0..weights.len()).filter(|at| weights[*at] > 0.0).collect();
    order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
    order.truncate(most);
    let row = |feature: &usize| HeatRow {
        name: &view.features()[*feature].name,
        doc: &view.features()[*feature].doc,
        shares: picked.iter().map(|at| history.reading(*at, *feature).share).collect(),
    };
    HeatmapAnswer {
        instance,
        times: times(history, &picked),
        scores: picked.iter().map(|at| history.step(*at).score).collect(),
        features: order.iter().map(row).collect(),
    }
}

/// The part of `range` of which readings are remembered.
fn readable(history: &History, range: Range<usize>) -> Range<usize> {
    let known = history.with_readings();
    range.start.max(known.start).min(range.end)..range.end
}

fn model(model: &ModelInfo, origin: Origin) -> ModelAnswer<'_> {
    ModelAnswer {
        id: &model.id,
        schema: &model.schema,
        trained_since: model.trained_on.map(|(since, _)| since.unix_seconds()),
        trained_until: model.trained_on.map(|(_, until)| until.unix_seconds()),
        window: model.window,
        n_features: model.features.len(),
        kind: &model.kind,
        n_rows: model.n_rows,
        interval: Some(model.interval_seconds).filter(|interval| interval.is_finite()),
        n_parameters: model.n_parameters,
        alarms_per_week: model.alarms_per_week,
        origin: origin.name(),
        origin_words: origin.to_string(),
    }
}

fn instance<'a>(
    view: &'a View,
    past: &Pasts<'a>,
    kind: Kind,
    name: &'a str,
    server: &'a Server,
) -> InstanceAnswer<'a> {
    let history = &server.history;
    let last = history.last();
    let (seen, needed) = match server.state {
        Some(State::WarmingUp { seen, needed }) => (Some(seen), Some(needed)),
        _ => (None, None),
    };
    let past = past.0.get(name);
    InstanceAnswer {
        instance: name,
        kind,
        state: server.state_name(),
        words: words(view, server),
        eta: server.eta_seconds(),
        trouble: server.trouble.as_deref(),
        seen,
        needed,
        since: server.since.map(Timestamp::unix_seconds),
        last: last.map(|step| step.time.unix_seconds()),
        first: (!history.is_empty()).then(|| history.step(0).time.unix_seconds()),
        score: last.map(|step| step.score).filter(|score| !score.is_nan()),
        alarm: last.is_some_and(|step| step.alarm),
        n_steps: history.len(),
        incident: past.and_then(|past| past.latest),
        n_incidents: past.map_or(0, |past| past.n_incidents),
    }
}

fn words(view: &View, server: &Server) -> String {
    if server.unfit {
        let why = server.trouble.as_deref().unwrap_or("its features are others");
        return format!("the model cannot judge it: {why}");
    }
    if server.stale {
        let trouble = server.trouble.as_deref().unwrap_or("nothing came for long");
        return format!("stale: {trouble}; what is shown is of before");
    }
    match (&server.state, &server.trouble) {
        (Some(state @ State::WarmingUp { .. }), _) => match server.eta_seconds() {
            Some(seconds) => format!("{state}, first score in about {}", shown_span(seconds)),
            None => state.to_string(),
        },
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
    let range = readable(history, range);
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
    wanted: impl Fn(&&Incident) -> bool,
    limit: usize,
    about: &About<'_>,
) -> IncidentsAnswer<'a> {
    IncidentsAnswer {
        total: view.incidents().filter(&wanted).count(),
        incidents: view
            .incidents()
            .filter(&wanted)
            .take(limit)
            .map(|i| incident(view, i, about))
            .collect(),
    }
}

fn incident<'a>(view: &'a View, incident: &'a Incident, about: &About<'_>) -> IncidentAnswer<'a> {
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
        group: about.places.get(&incident.id).map(|(group, _)| group.clone()),
        n_servers: about.places.get(&incident.id).map_or(1, |(_, n)| *n),
        feedback: about.feedback.of(&incident.instance, incident.start),
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
