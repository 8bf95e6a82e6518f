//! The service's own metrics and its scores, for Prometheus.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oddns_collect::{ScrapeError, Scraped};
use oddns_core::{Score, Scrape};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::receive::ReceiveCounters;
use crate::storage::Storage;
use crate::view::{FeatureInfo, ModelInfo, STATE_NAMES, state_name};
use oddns::{State, Step};

/// Most features of a server whose contribution is exported: the ones that matter, not the model's
/// whole width, since each is a series.
const TOP_FEATURES: usize = 5;
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
    up: Gauges,
    scrape_seconds: Gauges,
    scrapes_failed: Family<Labels, Counter>,
    scrape_samples: Gauges,
    untimely: Family<Labels, Counter>,
    discovered: Gauges,
    discovery_failed: Family<Labels, Counter>,
    score: Gauges,
    active: Gauges,
    contribution: Gauges,
    state: Gauges,
    last_score: Gauges,
    score_seconds: Histogram,
    windows_scored: Counter,
    events_dropped: Counter,
    model: Gauges,
    model_trained: Gauges,
    resident: Gauge<f64, AtomicU64>,
    receive: ReceiveCounters,
    /// Which features of a server have a contribution series, to remove those that left the top.
    exported: Mutex<HashMap<String, Vec<String>>>,
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

    /// All metrics registered, none with a value yet but the constant ones.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let r = &mut registry;
        register_constants(r);
        let storage = Arc::new(Storage::default());
        r.register_collector(Box::new(Arc::clone(&storage)));
        Self {
            storage,
            up: add(r, "oddns_up", "Whether the last scrape of the target worked"),
            scrape_seconds: add(
                r,
                "oddns_target_scrape_duration_seconds",
                "How long the last scrape of the target took",
            ),
            scrapes_failed: add(r, "oddns_target_scrapes_failed", "Failed scrapes, by reason"),
            scrape_samples: add(
                r,
                "oddns_target_scrape_samples",
                "Samples in the last answer of the target, before relabelling",
            ),
            untimely: add(
                r,
                "oddns_target_samples_untimely",
                "Samples left out for a timestamp of their own far from the scrape's",
            ),
            discovered: add(
                r,
                "oddns_discovered_targets",
                "Targets of the job, as discovered and relabelled",
            ),
            discovery_failed: add(
                r,
                "oddns_discovery_failures",
                "Lists of targets that could not be read, and targets that cannot be scraped",
            ),
            score: add(
                r,
                "oddns_anomaly_score",
                "How odd the instance is; above 1 is anomalous, higher is more so",
            ),
            active: add(r, "oddns_anomaly_active", "1 while the alarm of the instance holds"),
            contribution: add(
                r,
                "oddns_feature_contribution_ratio",
                "Part of the deviation that a feature adds; only the strongest of each instance",
            ),
            state: add(r, "oddns_state", "1 for the state that the instance is in, 0 for others"),
            last_score: add(r, "oddns_last_score_timestamp_seconds", "Time of the last score"),
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
                "Events lost because their reader was too slow",
            ),
            model: add(r, "oddns_model_info", "The model in use; always 1"),
            model_trained: add(
                r,
                "oddns_model_trained_timestamp_seconds",
                "Time of the latest data that the model in use was trained on",
            ),
            resident: add(r, "process_resident_memory_bytes", "Resident memory size"),
            receive: ReceiveCounters::new(r),
            registry,
            exported: Mutex::default(),
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

    /// Shows a server as waiting for its first scrape.
    pub fn watch(&self, instance: &str) {
        self.set_state(instance, None);
    }

    /// Counts one scrape.
    pub fn scraped(&self, target: &str, scraped: &Scraped) {
        let labels = vec![("target", target.to_owned())];
        let Scraped { scrape, error, n_scraped, n_untimely, .. } = scraped;
        if *n_untimely > 0 {
            self.untimely.get_or_create(&labels).inc_by(*n_untimely as u64);
        }
        self.up.get_or_create(&labels).set(if scrape.up { 1.0 } else { 0.0 });
        self.scrape_seconds.get_or_create(&labels).set(scrape.duration_seconds);
        self.scrape_samples.get_or_create(&labels).set(*n_scraped as f64);
        if let Some(error) = error {
            self.scrapes_failed.get_or_create(&failure(target, error.kind())).inc();
        }
    }

    /// Counts one scrape that somebody else made; `failure` is one of few words, such as `down`.
    pub(crate) fn received(&self, target: &str, scrape: &Scrape, why: Option<&'static str>) {
        let labels = vec![("target", target.to_owned())];
        self.up.get_or_create(&labels).set(if scrape.up { 1.0 } else { 0.0 });
        self.scrape_seconds.get_or_create(&labels).set(scrape.duration_seconds);
        self.scrape_samples.get_or_create(&labels).set(scrape.samples.len() as f64);
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
        let target = vec![("target", instance.to_owned())];
        for gauges in [&self.up, &self.scrape_seconds, &self.scrape_samples] {
            gauges.remove(&target);
        }
        self.untimely.remove(&target);
        for reason in ScrapeError::KINDS {
            self.scrapes_failed.remove(&failure(instance, reason));
        }
        let labels = vec![("instance", instance.to_owned())];
        for gauges in [&self.score, &self.active, &self.last_score] {
            gauges.remove(&labels);
        }
        for name in STATE_NAMES {
            self.state.remove(&state_labels(instance, name));
        }
        self.set_contributions(instance, &[]);
        self.exported.lock().unwrap_or_else(PoisonError::into_inner).remove(instance);
    }

    /// Exports one step; `took` is the time from the finished scrape to the verdict. Without a
    /// score the instance's score series are removed: a stale score would look like a live one.
    pub fn stepped(&self, instance: &str, step: &Step, features: &[FeatureInfo], took: Duration) {
        self.set_state(instance, Some(&step.state));
        let labels = vec![("instance", instance.to_owned())];
        let Some(score) = &step.score else {
            self.score.remove(&labels);
            self.active.remove(&labels);
            self.set_contributions(instance, &[]);
            return;
        };
        self.windows_scored.inc();
        self.score_seconds.observe(took.as_secs_f64());
        self.score.get_or_create(&labels).set(f64::from(score.score));
        self.active.get_or_create(&labels).set(f64::from(u8::from(score.alarm)));
        self.last_score.get_or_create(&labels).set(step.time.unix_seconds());
        self.set_contributions(instance, &strongest(score, features));
    }

    /// What was received by remote write.
    pub(crate) fn receive(&self) -> &ReceiveCounters {
        &self.receive
    }

    /// Counts an event that nobody took.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    /// The page of metrics in the format that `accept`, the request's `Accept` header, asks for:
    /// OpenMetrics when it is named, else the classic text format.
    pub fn expose(&self, accept: &str) -> Exposition {
        if let Some(bytes) = resident_bytes() {
            self.resident.set(bytes);
        }
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

    fn set_state(&self, instance: &str, state: Option<&State>) {
        for name in STATE_NAMES {
            let labels = state_labels(instance, name);
            let holds = *name == state_name(state);
            self.state.get_or_create(&labels).set(f64::from(u8::from(holds)));
        }
    }

    fn set_contributions(&self, instance: &str, top: &[(&str, f32)]) {
        let labels = |feature: &str| {
            vec![("instance", instance.to_owned()), ("feature", feature.to_owned())]
        };
        let now: Vec<String> = top.iter().map(|(feature, _)| (*feature).to_owned()).collect();
        let mut exported = self.exported.lock().unwrap_or_else(PoisonError::into_inner);
        let before = exported.insert(instance.to_owned(), now).unwrap_or_default();
        for feature in before.iter().filter(|old| top.iter().all(|(name, _)| name != old)) {
            self.contribution.remove(&labels(feature));
        }
        for (feature, share) in top {
            self.contribution.get_or_create(&labels(feature)).set(f64::from(*share));
        }
    }
}

fn failure(target: &str, reason: &str) -> Labels {
    vec![("target", target.to_owned()), ("reason", reason.to_owned())]
}

fn state_labels(instance: &str, state: &str) -> Labels {
    vec![("instance", instance.to_owned()), ("state", state.to_owned())]
}

fn register_constants(registry: &mut Registry) {
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

fn add_as<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// The strongest contributions that have a name and a share above nothing.
fn strongest<'a>(score: &Score, features: &'a [FeatureInfo]) -> Vec<(&'a str, f32)> {
    let named = score.contributions.iter().filter(|c| c.share > 0.0).filter_map(|c| {
        let feature = features.get(c.feature)?;
        Some((feature.name.as_str(), c.share))
    });
    named.take(TOP_FEATURES).collect()
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

/// Resident memory of this process; `None` where the system does not tell.
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oddns_core::{Contribution, Scrape, Timestamp};

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
        let scraped = Scraped { scrape, error: None, n_scraped: 0, n_untimely: 0, n_bytes: 0 };
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
