//! What every server last did, as metrics. One small row a server: with ten thousand servers, a
//! series in a map of series each would take as much memory as judging them.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oddns_core::{Score, Timestamp};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use crate::remote_storage::Point;
use crate::view::{FeatureInfo, STATE_NAMES};

/// Most features of a server whose contribution is exported: the ones that matter, not the model's
/// whole width, since each is a series.
pub(crate) const TOP_FEATURES: usize = 5;
/// A score from here on, half of the way to the alarm line, makes people ask why.
const OF_INTEREST: f32 = 0.5;
/// Most servers of which observed and expected values are exported: where all are odd at once, some
/// tell as much as all.
pub(crate) const MAX_EXPLAINED: usize = 200;

/// The rows of all servers.
#[derive(Debug, Default)]
pub(crate) struct Scoreboard {
    board: Mutex<Board>,
}

#[derive(Debug, Default)]
struct Board {
    rows: BTreeMap<Arc<str>, Row>,
    /// How many rows are explained.
    n_explained: usize,
    /// Names of features, each once: there are few, in the rows of many servers.
    names: HashSet<Arc<str>>,
}

/// One server.
#[derive(Debug, Clone, Default)]
struct Row {
    state: Option<&'static str>,
    eta_seconds: Option<f64>,
    scrape: Option<LastScrape>,
    score: Option<LastScore>,
    /// Stays when there is no score any more.
    scored: Option<Timestamp>,
    top: Vec<Top>,
    /// Whether it is told what was observed and expected; of [`MAX_EXPLAINED`] rows at most.
    is_explained: bool,
}

/// A feature that adds much to a score.
#[derive(Debug, Clone)]
struct Top {
    feature: Arc<str>,
    share: f32,
    /// In the feature's unit.
    observed: f32,
    /// In the feature's unit.
    expected: f32,
}

/// What is told of the last scrape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastScrape {
    pub(crate) up: bool,
    pub(crate) seconds: f64,
    pub(crate) n_samples: usize,
}

#[derive(Debug, Clone, Copy)]
struct LastScore {
    score: f32,
    alarm: bool,
}

/// A metric with at most one value a server.
struct Column {
    name: &'static str,
    help: &'static str,
    /// The label with the server's name.
    label: &'static str,
    value: fn(&Row) -> Option<f64>,
}

/// A metric with a value for each of the strongest features of a server.
struct Aspect {
    name: &'static str,
    help: &'static str,
    /// Whether it is there for explained servers only.
    explains: bool,
    value: fn(&Top) -> f32,
}

#[rustfmt::skip]
const ASPECTS: &[Aspect] = &[
    Aspect { name: "oddns_feature_contribution_ratio", explains: false, value: |top| top.share, help: "Part of the deviation that a feature adds; only the strongest of each instance" },
    Aspect { name: "oddns_feature_observed", explains: true, value: |top| top.observed, help: "Observed value of one of the strongest features, in its unit, while the score is 0.5 or more" },
    Aspect { name: "oddns_feature_expected", explains: true, value: |top| top.expected, help: "Usual value of one of the strongest features, in its unit, while the score is 0.5 or more" },
];

/// Columns that remote storage is given as well; the others are about oddns itself.
const SENT: [&str; 2] = ["oddns_anomaly_score", "oddns_anomaly_active"];

impl Aspect {
    /// Its value for every feature of a row that has one.
    fn of<'a>(&self, row: &'a Row) -> impl Iterator<Item = (&'a Arc<str>, f64)> + use<'a> {
        let (value, is_shown) = (self.value, row.is_explained || !self.explains);
        let shown = row.top.iter().filter(move |top| is_shown && !value(top).is_nan());
        shown.map(move |top| (&top.feature, f64::from(value(top))))
    }
}

const fn column(
    name: &'static str,
    label: &'static str,
    help: &'static str,
    value: fn(&Row) -> Option<f64>,
) -> Column {
    Column { name, help, label, value }
}

const fn flag(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

#[rustfmt::skip]
const COLUMNS: &[Column] = &[
    column("oddns_up", "target", "Whether the last scrape of the target worked", |row| Some(flag(row.scrape?.up))),
    column("oddns_target_scrape_duration_seconds", "target", "How long the last scrape of the target took", |row| Some(row.scrape?.seconds)),
    column("oddns_target_scrape_samples", "target", "Samples in the last answer of the target, before relabelling", |row| Some(row.scrape?.n_samples as f64)),
    column("oddns_anomaly_score", "instance", "How odd the instance is; above 1 is anomalous, higher is more so", |row| Some(f64::from(row.score?.score))),
    column("oddns_anomaly_active", "instance", "1 while the alarm of the instance holds", |row| Some(flag(row.score?.alarm))),
    column("oddns_state_eta_seconds", "instance", "Time until the first score of the instance, while it warms up", |row| row.eta_seconds),
    column("oddns_last_score_timestamp_seconds", "instance", "Time of the last score", |row| Some(row.scored?.unix_seconds())),
];

impl Scoreboard {
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, instance: &str, change: impl FnOnce(&mut Row)) {
        let mut board = self.lock();
        match board.rows.get_mut(instance) {
            Some(row) => change(row),
            None => change(board.rows.entry(instance.into()).or_default()),
        }
    }

    /// Shows the state of a server by its name, one of [`STATE_NAMES`].
    pub(crate) fn set_state(&self, instance: &str, state: &'static str) {
        self.change(instance, |row| row.state = Some(state));
    }

    /// Shows how long it takes until the first score, while that can be told.
    pub(crate) fn set_eta(&self, instance: &str, seconds: Option<f64>) {
        self.change(instance, |row| row.eta_seconds = seconds);
    }

    /// Shows what a scrape gave.
    pub(crate) fn scraped(&self, instance: &str, scrape: LastScrape) {
        self.change(instance, |row| row.scrape = Some(scrape));
    }

    /// Shows a score with the features that add most to it, or that there is none.
    pub(crate) fn scored(&self, instance: &str, score: Option<&Score>, features: &[FeatureInfo]) {
        let mut board = self.lock();
        let top = score.map(|score| board.strongest(score, features)).unwrap_or_default();
        let is_odd = score.is_some_and(|score| score.alarm || score.score >= OF_INTEREST);
        let n_explained = board.n_explained;
        let row = board.rows.entry(instance.into()).or_default();
        let n_others = n_explained - usize::from(row.is_explained);
        // Who is explained stays so: the series of many odd servers must not come and go.
        row.is_explained = is_odd && n_others < MAX_EXPLAINED;
        let n_explained = n_others + usize::from(row.is_explained);
        row.score = score.map(|score| LastScore { score: score.score, alarm: score.alarm });
        row.scored = score.map(|score| score.time).or(row.scored);
        row.top = top;
        board.n_explained = n_explained;
    }

    /// What remote storage is given of a server: its score, and why it is as it is; nothing while there
    /// is no score.
    pub(crate) fn points(&self, instance: &str) -> Vec<Point> {
        let board = self.lock();
        let Some(row) = board.rows.get(instance) else { return Vec::new() };
        let columns = COLUMNS.iter().filter(|column| SENT.contains(&column.name));
        let columns = columns.filter_map(|column| {
            Some(Point { metric: column.name, feature: None, value: (column.value)(row)? })
        });
        let aspects = ASPECTS.iter().flat_map(|aspect| {
            let point = |(feature, value)| Point {
                metric: aspect.name,
                feature: Some(Arc::clone(feature)),
                value,
            };
            aspect.of(row).map(point)
        });
        columns.chain(aspects).collect()
    }

    /// Removes a server that went away.
    pub(crate) fn forget(&self, instance: &str) {
        let mut board = self.lock();
        let gone = board.rows.remove(instance);
        board.n_explained -= usize::from(gone.is_some_and(|row| row.is_explained));
    }

    /// The rows as they are: what is encoded must not hold up what is scored.
    fn rows(&self) -> Vec<(Arc<str>, Row)> {
        let board = self.lock();
        board.rows.iter().map(|(name, row)| (Arc::clone(name), row.clone())).collect()
    }
}

impl Board {
    /// The strongest contributions that have a name and a share above nothing.
    fn strongest(&mut self, score: &Score, features: &[FeatureInfo]) -> Vec<Top> {
        let mut top = Vec::with_capacity(TOP_FEATURES);
        for contribution in score.contributions.iter().filter(|c| c.share > 0.0) {
            let Some(feature) = features.get(contribution.feature) else { continue };
            top.push(Top {
                feature: self.name(&feature.name),
                share: contribution.share,
                observed: contribution.observed,
                expected: contribution.expected,
            });
            if top.len() == TOP_FEATURES {
                break;
            }
        }
        top
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name));
        name
    }
}

impl Collector for Scoreboard {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let rows = self.rows();
        for Column { name, help, label, value } in COLUMNS {
            let values = rows.iter().filter_map(|(server, row)| Some((server, value(row)?)));
            let values = values.map(|(server, value)| ([(*label, &**server)], value));
            family(&mut encoder, name, help, values)?;
        }
        let states = rows.iter().filter_map(|(server, row)| Some((server, row.state?)));
        let states = states.flat_map(|(server, state)| {
            let labels = |name| [("instance", &**server), ("state", name)];
            STATE_NAMES.iter().map(move |name| (labels(*name), flag(*name == state)))
        });
        let help = "1 for the state that the instance is in, 0 for others";
        family(&mut encoder, "oddns_state", help, states)?;
        for aspect in ASPECTS {
            let values = rows.iter().flat_map(|(server, row)| {
                let labels = |feature| [("instance", &**server), ("feature", feature)];
                aspect.of(row).map(move |(feature, value)| (labels(&**feature), value))
            });
            family(&mut encoder, aspect.name, aspect.help, values)?;
        }
        Ok(())
    }
}

/// A metric with its series, unless there are none.
fn family<'a, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: impl Iterator<Item = ([(&'a str, &'a str); N], f64)>,
) -> Result<(), fmt::Error> {
    let mut series = series.peekable();
    if series.peek().is_none() {
        return Ok(());
    }
    let kind = ConstGauge::new(0.0).metric_type();
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in series {
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
