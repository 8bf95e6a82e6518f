//! The service's own metrics and its scores, for Prometheus.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use oddns_collect::{LeftOut, ScrapeError, Scraped};
use oddns_core::{Scrape, Timestamp};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::alerts::AlertCounters;
use crate::backfill::BackfillBoard;
use crate::budget::Shares;
use crate::config_gauges::ConfigGauges;
use crate::learning::Succession;
use crate::origin::Origin;
use crate::process::Process;
use crate::receive::ReceiveCounters;
use crate::remote_storage::RemoteStorage;
use crate::scoreboard::{LastScrape, Scoreboard};
use crate::server::MAX_CONNECTIONS;
use crate::storage::Storage;
use crate::view::{FeatureInfo, ModelInfo, state_name};
use crate::web::WebSecurity;
use oddns::Step;

/// From a small model on a fast machine to a large one on a slow machine, in seconds.
const SCORE_BUCKETS: [f64; 10] = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 1.0];
/// The media type of OpenMetrics text, in requests and answers.
const OPENMETRICS: &str = "application/openmetrics-text";

pub(crate) type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

/// Own metrics; shared by reference between the scraping loop and the server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    storage: Arc<Storage>,
    succession: Arc<Succession>,
    backfill: Arc<BackfillBoard>,
    scores: Arc<Scoreboard>,
    scrapes_failed: Family<Labels, Counter>,
    left_out: Family<Labels, Counter>,
    discovered: Gauges,
    discovery_failed: Family<Labels, Counter>,
    score_seconds: Histogram,
    windows_scored: Counter,
    events_dropped: Counter,
    connections_dropped: Counter,
    model: Gauges,
    model_trained: Gauges,
    model_base: Gauge<f64, AtomicU64>,
    model_base_rows: Gauge<f64, AtomicU64>,
    connections: Gauge<f64, AtomicU64>,
    receive: ReceiveCounters,
    remote_storage: RemoteStorage,
    alerts: AlertCounters,
    config: ConfigGauges,
}

/// One page of metrics.
#[derive(Debug, PartialEq, Eq)]
pub struct Exposition {
    /// For the `Content-Type` header.
    pub content_type: &'static str,
    /// The text.
    pub text: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Where scrapes are kept.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Who judges, and how learning stands.
    pub(crate) fn succession(&self) -> &Succession {
        &self.succession
    }

    /// How the fetching of history stands.
    pub(crate) fn backfill(&self) -> &BackfillBoard {
        &self.backfill
    }

    /// All metrics registered, none with a value yet but the constant ones.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let r = &mut registry;
        register_constants(r);
        let storage = collected::<Storage>(r);
        let succession = collected::<Succession>(r);
        let backfill = collected::<BackfillBoard>(r);
        let scores = collected::<Scoreboard>(r);
        Self {
            storage,
            succession,
            backfill,
            scores,
            scrapes_failed: add(r, "oddns_target_scrapes_failed", "Failed scrapes, by reason"),
            left_out: add(
                r,
                "oddns_target_samples_left_out",
                "Samples of a scrape that were left out, by reason",
            ),
            discovered: add(r, "oddns_discovered_targets", "Targets of the job, as relabelled"),
            discovery_failed: add(r, "oddns_discovery_failures", "Lists and targets refused"),
            score_seconds: add_as(
                r,
                "oddns_score_duration_seconds",
                "Time from a finished scrape to its score",
                Histogram::new(SCORE_BUCKETS),
            ),
            windows_scored: add(r, "oddns_windows_scored", "Windows scored since the start"),
            events_dropped: add(
                r,
                "oddns_events_dropped",
                "Events lost because their reader was slow",
            ),
            connections_dropped: add(
                r,
                "oddns_http_connections_dropped",
                "Silent connections to the page and the API that had to go, since there were too many",
            ),
            model: add(r, "oddns_model_info", "The model in use; always 1"),
            model_trained: add(
                r,
                "oddns_model_trained_timestamp_seconds",
                "Time of the latest data that the model in use was trained on",
            ),
            model_base: add(
                r,
                "oddns_model_base",
                "Whether the base model judges, as this site has no model of its own yet",
            ),
            model_base_rows: add(
                r,
                "oddns_model_base_calibration_rows",
                "Rows of this site that the base model is calibrated by; none is scored with 0",
            ),
            connections: connections(r),
            receive: ReceiveCounters::new(r),
            remote_storage: RemoteStorage::new(r),
            alerts: AlertCounters::new(r),
            config: ConfigGauges::new(r),
            registry,
        }
    }

    /// Names the model in use, instead of the one before.
    pub fn set_model(&self, model: &ModelInfo) {
        self.model.clear();
        self.model_trained.clear();
        let labels = vec![("id", model.id.clone()), ("schema", model.schema.clone())];
        self.model.get_or_create(&labels).set(1.0);
        if let Some((_, time)) = model.trained_on {
            self.model_trained.get_or_create(&Labels::new()).set(time.unix_seconds());
        }
    }

    /// Shows where the model in use comes from.
    pub(crate) fn set_origin(&self, origin: Origin) {
        self.model_base.set(f64::from(u8::from(origin.is_base())));
        let n_rows = match origin {
            Origin::Calibrated { n_rows } => n_rows,
            _ => 0,
        };
        self.model_base_rows.set(n_rows as f64);
    }

    /// Shows a server as waiting for its first scrape.
    pub fn watch(&self, instance: &str) {
        self.set_state(instance, state_name(None));
    }

    /// Counts one scrape.
    pub fn scraped(&self, target: &str, scraped: &Scraped) {
        let Scraped { scrape, error, n_scraped, left_out, .. } = scraped;
        for (reason, n, _) in left_out.by_reason() {
            self.left_out.get_or_create(&failure(target, reason)).inc_by(n as u64);
        }
        let (up, seconds, n_samples) = (scrape.up, scrape.duration_seconds, *n_scraped);
        self.scores.scraped(target, LastScrape { up, seconds, n_samples });
        if let Some(error) = error {
            self.scrapes_failed.get_or_create(&failure(target, error.kind())).inc();
        }
    }

    /// Counts one scrape that somebody else made; `failure` is one of few words, such as `down`.
    pub(crate) fn received(&self, target: &str, scrape: &Scrape, why: Option<&'static str>) {
        let (up, seconds, n_samples) = (scrape.up, scrape.duration_seconds, scrape.samples.len());
        self.scores.scraped(target, LastScrape { up, seconds, n_samples });
        if let Some(reason) = why {
            self.scrapes_failed.get_or_create(&failure(target, reason)).inc();
        }
    }

    /// Shows how many targets a job has.
    pub fn discovered(&self, job: &str, n_targets: usize) {
        self.discovered.get_or_create(&vec![("job", job.to_owned())]).set(n_targets as f64);
    }

    /// Counts a discovery that failed; `reason` is one of few words, such as `http`.
    pub fn discovery_failed(&self, job: &str, reason: &'static str) {
        let labels = vec![("job", job.to_owned()), ("reason", reason.to_owned())];
        self.discovery_failed.get_or_create(&labels).inc();
    }

    /// Removes every series of a server that went away.
    pub fn forget(&self, instance: &str) {
        for reason in LeftOut::REASONS {
            self.left_out.remove(&failure(instance, reason));
        }
        for reason in ScrapeError::KINDS {
            self.scrapes_failed.remove(&failure(instance, reason));
        }
        self.scores.forget(instance);
        self.remote_storage.fell_silent(instance);
    }

    /// Exports one step; `took` is the time from the finished scrape to the verdict. Without a
    /// score the instance's score series are removed: a stale score would look like a live one.
    pub fn stepped(&self, instance: &str, step: &Step, features: &[FeatureInfo], took: Duration) {
        self.set_state(instance, state_name(Some(&step.state)));
        self.scores.scored(instance, step.score.as_ref(), features);
        self.remote_storage.take(instance, step.time, || self.scores.points(instance));
        if step.score.is_some() {
            self.windows_scored.inc();
            self.score_seconds.observe(took.as_secs_f64());
        }
    }

    /// Shows how long it takes until the first score, while that can be told.
    pub(crate) fn set_eta(&self, instance: &str, seconds: Option<f64>) {
        self.scores.set_eta(instance, seconds);
    }

    /// Shows the alert budget, and where the alarm line lies for it.
    pub(crate) fn set_budget(&self, shares: Option<Shares>) {
        self.config.set_budget(shares);
    }

    /// What is given to others by remote write.
    pub(crate) fn remote_storage(&self) -> &RemoteStorage {
        &self.remote_storage
    }

    /// What was received by remote write.
    pub(crate) fn receive(&self) -> &ReceiveCounters {
        &self.receive
    }

    /// Notes that the configuration was read, `now` when it was good.
    pub fn config_read(&self, now: Option<Timestamp>) {
        self.config.read(now);
    }

    /// Shows from now on whether the rules of our own server are good.
    pub(crate) fn watch_web_config(&self, security: Arc<WebSecurity>) {
        self.config.watch_web(security);
    }

    /// What was sent to others.
    pub(crate) fn alerts(&self) -> &AlertCounters {
        &self.alerts
    }

    /// Counts a connection as long as what is given lives.
    pub(crate) fn connection(&self) -> Connection {
        self.connections.inc();
        Connection(self.connections.clone())
    }

    /// Counts a silent connection that had to go, since there were too many.
    pub(crate) fn connection_dropped(&self) {
        self.connections_dropped.inc();
    }

    /// Counts an event that nobody took.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    /// The page of metrics in the format that `accept`, the request's `Accept` header, asks for:
    /// OpenMetrics when it is named, else the classic text format.
    pub fn expose(&self, accept: &str) -> Exposition {
        self.config.look();
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            // Writing to a string does not fail; an empty page is still a valid one.
            text = "# EOF\n".to_owned();
        }
        if accept.contains(OPENMETRICS) {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            return Exposition { content_type, text };
        }
        let content_type = "text/plain; version=0.0.4; charset=utf-8";
        Exposition { content_type, text: classic(&text) }
    }

    /// Shows the state of an instance by its name, one of `STATE_NAMES`.
    pub(crate) fn set_state(&self, instance: &str, state: &'static str) {
        self.scores.set_state(instance, state);
    }
}

/// A connection that is served.
#[derive(Debug)]
pub(crate) struct Connection(Gauge<f64, AtomicU64>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn failure(target: &str, reason: &str) -> Labels {
    vec![("target", target.to_owned()), ("reason", reason.to_owned())]
}

fn connections(registry: &mut Registry) -> Gauge<f64, AtomicU64> {
    let most: Gauge<f64, AtomicU64> =
        add(registry, "oddns_http_max_connections", "Connections that are served at a time");
    most.set(MAX_CONNECTIONS as f64);
    let help = "Connections that are served; with oddns_http_max_connections of them silent ones \
                have to go";
    add(registry, "oddns_http_connections", help)
}

/// What tells its metrics when they are asked for.
fn collected<C: Collector + Default + 'static>(registry: &mut Registry) -> Arc<C> {
    let collector = Arc::new(C::default());
    registry.register_collector(Box::new(Arc::clone(&collector)));
    collector
}

fn register_constants(registry: &mut Registry) {
    registry.register_collector(Box::new(Process));
    let build: Gauges = add(registry, "oddns_build_info", "The version of oddns; always 1");
    let version = env!("CARGO_PKG_VERSION").to_owned();
    build.get_or_create(&vec![("version", version)]).set(1.0);
    let threshold: Gauge<f64, AtomicU64> =
        add(registry, "oddns_anomaly_threshold", "The alarm line of oddns_anomaly_score");
    threshold.set(1.0);
}

pub(crate) fn add<M: Metric + Clone + Default>(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> M {
    add_as(registry, name, help, M::default())
}

pub(crate) fn add_as<M: Metric + Clone>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    metric: M,
) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// OpenMetrics text as classic text: there a counter is described under its full name, and the
/// end is not marked.
fn classic(openmetrics: &str) -> String {
    let counters: Vec<&str> = openmetrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines().filter(|line| *line != "# EOF") {
        match described(line).filter(|(_, name, _)| counters.contains(name)) {
            Some((kind, name, rest)) => text.push_str(&format!("# {kind} {name}_total {rest}")),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// `HELP` or `TYPE`, the name and the rest of a comment line.
fn described(line: &str) -> Option<(&str, &str, &str)> {
    let (kind, rest) = line.strip_prefix("# ")?.split_once(' ')?;
    let (name, rest) = rest.split_once(' ')?;
    matches!(kind, "HELP" | "TYPE").then_some((kind, name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoreboard::{MAX_EXPLAINED, TOP_FEATURES};
    use oddns::State;
    use oddns_core::{Contribution, Score};

    fn features() -> Vec<FeatureInfo> {
        (0..9).map(|n| FeatureInfo { name: format!("f{n}"), ..FeatureInfo::default() }).collect()
    }

    fn step(first: usize) -> Step {
        let time = Timestamp::from_millis(5_000);
        let contributions = (first..9)
            .map(|feature| Contribution {
                feature,
                share: 0.1,
                observed: 1.0,
                expected: 0.0,
                deviation: 1.0,
            })
            .collect();
        let score = Score { time, score: 1.5, alarm: true, contributions };
        Step {
            time,
            row: vec![],
            expected: vec![],
            state: State::Scoring,
            score: Some(score),
            incident: None,
        }
    }

    fn lines_of(metrics: &Metrics, name: &str) -> usize {
        metrics.expose("").text.lines().filter(|line| line.starts_with(name)).count()
    }

    #[test]
    fn only_the_strongest_features_are_series() {
        let metrics = Metrics::new();
        for first in 0..4 {
            metrics.stepped("a:1", &step(first), &features(), Duration::from_micros(50));
        }
        assert_eq!(lines_of(&metrics, "oddns_feature_contribution_ratio{"), TOP_FEATURES);
        assert_eq!(lines_of(&metrics, "oddns_anomaly_score{"), 1);
        assert!(metrics.expose("").text.contains("oddns_windows_scored_total 4"));
    }

    #[test]
    fn what_was_observed_is_told_of_odd_servers_and_not_of_too_many() {
        let metrics = Metrics::new();
        let quiet = |score: f32| {
            let Step { score: Some(odd), .. } = step(0) else { unreachable!("it has a score") };
            Step { score: Some(Score { score, alarm: false, ..odd }), ..step(0) }
        };
        let stepped = |instance: &str, step: &Step| {
            metrics.stepped(instance, step, &features(), Duration::ZERO);
        };
        stepped("a:1", &quiet(0.4));
        assert_eq!(lines_of(&metrics, "oddns_feature_expected{"), 0);
        stepped("a:1", &quiet(0.6));
        assert_eq!(lines_of(&metrics, "oddns_feature_expected{"), TOP_FEATURES);
        let observed = r#"oddns_feature_observed{instance="a:1",feature="f0"} 1"#;
        assert!(metrics.expose("").text.contains(observed));
        for n in 0..MAX_EXPLAINED + 50 {
            stepped(&format!("s{n}:1"), &step(0));
        }
        let most = MAX_EXPLAINED * TOP_FEATURES;
        assert_eq!(lines_of(&metrics, "oddns_feature_observed{"), most);
        // A place that one leaves is another's.
        metrics.forget("a:1");
        stepped("s0:1", &quiet(0.1));
        assert_eq!(lines_of(&metrics, "oddns_feature_observed{"), most - 2 * TOP_FEATURES);
        for n in MAX_EXPLAINED + 47..MAX_EXPLAINED + 50 {
            stepped(&format!("s{n}:1"), &step(0));
        }
        assert_eq!(lines_of(&metrics, "oddns_feature_observed{"), most);
    }

    #[test]
    fn without_a_score_no_stale_one_is_shown() {
        let metrics = Metrics::new();
        metrics.stepped("a:1", &step(0), &features(), Duration::ZERO);
        let gone = Step { score: None, state: State::NotCoredns, ..step(0) };
        metrics.stepped("a:1", &gone, &features(), Duration::ZERO);
        assert_eq!(lines_of(&metrics, "oddns_anomaly_score{"), 0);
        assert_eq!(lines_of(&metrics, "oddns_feature_contribution_ratio{"), 0);
        let state = r#"oddns_state{instance="a:1",state="not_coredns"} 1"#;
        assert!(metrics.expose("").text.contains(state));
    }

    #[test]
    fn label_values_cannot_break_out() {
        let metrics = Metrics::new();
        let scrape = Scrape {
            time: Timestamp::from_millis(0),
            up: false,
            duration_seconds: 0.1,
            samples: vec![],
        };
        let scraped =
            Scraped { scrape, error: None, n_scraped: 0, left_out: LeftOut::default(), n_bytes: 0 };
        let evil = "a\"} 1\nevil 1 \\";
        metrics.scraped(evil, &scraped);
        let text = metrics.expose("").text;
        assert!(text.contains(r#"oddns_up{target="a\"} 1\nevil 1 \\"} 0"#), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("evil")));
        metrics.stepped(evil, &step(0), &features(), Duration::ZERO);
        metrics.forget(evil);
        assert!(!metrics.expose("").text.contains("evil"));
    }

    #[test]
    fn format_follows_the_accept_header() {
        let metrics = Metrics::new();
        let open = metrics.expose("application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
        assert!(open.content_type.starts_with(OPENMETRICS));
        assert!(open.text.ends_with("# EOF\n"));
        assert!(open.text.contains("# TYPE oddns_windows_scored counter"));
        let plain = metrics.expose("text/plain");
        assert!(plain.content_type.starts_with("text/plain; version=0.0.4"));
        assert!(plain.text.contains("# TYPE oddns_windows_scored_total counter"));
        assert!(!plain.text.contains("# EOF"));
    }
}
