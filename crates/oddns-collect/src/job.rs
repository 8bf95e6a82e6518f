//! One entry of `scrape_configs`: how its targets are found and scraped.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::discovery::Discovery;
use crate::exposition::Limits;
use crate::http::{Auth, HttpClient, HttpConfig};
use crate::relabel::{LabelMap, RelabelRule};
use crate::scrape_target::{ScrapeTarget, ScrapeTargetError};
use crate::secret::{Secret, SecretSource};
use crate::target::Target;

/// Where CoreDNS's `prometheus` plugin serves its metrics.
const METRICS_PATH: &str = "/metrics";

/// How the targets of one job are found and scraped.
#[derive(Debug, Clone, PartialEq)]
pub struct JobConfig {
    /// `job_name`; targets of one job are taken for replicas of one service.
    pub name: String,
    /// Time between scrapes.
    pub interval: Duration,
    /// For a whole scrape, from the name look-up to the last byte; at most `interval`.
    pub timeout: Duration,
    /// Path of the metrics; it may carry a query.
    pub metrics_path: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Parameters of the request with their values.
    pub params: Vec<(String, Vec<String>)>,
    /// Whether a label of the server wins over a target's label of the same name. It matters to
    /// `metric_relabel_rules` only, since a target's labels are not added to its series.
    pub honor_labels: bool,
    /// Whether to believe a time that a sample carries: one that is more than 5 minutes behind or
    /// 10 minutes ahead of the scrape is left out, as Prometheus would not see it either. A sample
    /// that is taken has the time of its scrape in any case.
    pub honor_timestamps: bool,
    /// The formats to ask for, the most wanted first; empty for the default ones.
    pub protocols: Vec<Protocol>,
    /// What an answer may hold.
    pub limits: ScrapeLimits,
    /// How to speak to the targets.
    pub http: HttpConfig,
    /// Rules over what was discovered.
    pub relabel_rules: Vec<RelabelRule>,
    /// Rules over the series of an answer.
    pub metric_relabel_rules: Vec<RelabelRule>,
    /// Where targets come from.
    pub discoveries: Vec<Discovery>,
}

/// What an answer may hold. More fails the whole scrape. Zero leaves it to the bounds that every
/// scrape has: 64 MiB, and [`Limits::default`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScrapeLimits {
    /// Bytes after decompression.
    pub body_size: usize,
    /// Samples after relabelling.
    pub samples: usize,
    /// Labels of a series after relabelling, its name and the target's labels included.
    pub labels: usize,
    /// Bytes of a label name.
    pub label_name_length: usize,
    /// Bytes of a label value; the metric's name is one.
    pub label_value_length: usize,
    /// Targets of the job after relabelling. With more, no target of the job is scraped.
    pub targets: usize,
}

impl ScrapeLimits {
    /// Bytes of an answer that are read.
    pub(crate) fn max_body_bytes(&self) -> usize {
        if self.body_size == 0 { 64 << 20 } else { self.body_size }
    }

    /// Bounds of the parser, wide enough that the limits of the job are what is met first.
    pub(crate) fn parser(&self) -> Limits {
        let bounds = Limits::default();
        Limits {
            // A series that is dropped by relabelling does not count, but has to be read.
            max_samples: bounds.max_samples.max(self.samples.saturating_mul(2)),
            max_labels: bounds.max_labels.max(self.labels),
            max_name_bytes: bounds.max_name_bytes.max(self.label_name_length),
            max_value_bytes: bounds.max_value_bytes.max(self.label_value_length),
        }
    }

    /// Whether anything is asked of the labels of a series.
    pub(crate) fn concern_labels(&self) -> bool {
        self.labels > 0 || self.label_name_length > 0 || self.label_value_length > 0
    }
}

/// A format of metrics to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Protobuf, the only one that carries native histograms.
    Protobuf,
    /// OpenMetrics 1.0.0.
    OpenMetrics1,
    /// OpenMetrics 0.0.1, which servers before 2022 know.
    OpenMetrics0,
    /// Plain text with quoted names.
    Text1,
    /// Plain text as ever.
    Text0,
}

/// Every protocol with its name in `scrape_protocols`, and what it is in an `Accept` header.
const PROTOCOLS: &[(&str, &str, Protocol)] = &[
    (
        "PrometheusProto",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
        Protocol::Protobuf,
    ),
    ("OpenMetricsText1.0.0", "application/openmetrics-text;version=1.0.0", Protocol::OpenMetrics1),
    ("OpenMetricsText0.0.1", "application/openmetrics-text;version=0.0.1", Protocol::OpenMetrics0),
    ("PrometheusText1.0.0", "text/plain;version=1.0.0", Protocol::Text1),
    ("PrometheusText0.0.4", "text/plain;version=0.0.4", Protocol::Text0),
];

/// Plain text first: there `le` and `quantile` are spelled as CoreDNS always spelled them, while
/// OpenMetrics writes `1.0` for `1`, which would make other series of them.
const WANTED: &[Protocol] = &[Protocol::Text0, Protocol::OpenMetrics1, Protocol::OpenMetrics0];

impl Protocol {
    /// The protocol that `scrape_protocols` calls `name`; `None` for an unknown one.
    pub fn named(name: &str) -> Option<Self> {
        PROTOCOLS.iter().find(|(known, ..)| *known == name).map(|(.., protocol)| *protocol)
    }

    /// Every name that [`Protocol::named`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PROTOCOLS.iter().map(|(name, ..)| *name)
    }
}

/// The `Accept` header for `protocols`, in the form that Prometheus gives it.
pub(crate) fn accept(protocols: &[Protocol]) -> String {
    let wanted = if protocols.is_empty() { WANTED } else { protocols };
    let mut weight = wanted.len() + 2;
    let mut text = String::new();
    for protocol in wanted {
        weight -= 1;
        let media =
            PROTOCOLS.iter().find(|(.., known)| known == protocol).map_or("", |(_, m, _)| m);
        text.push_str(&format!("{media};q=0.{weight},"));
    }
    text + "*/*;q=0.1"
}

impl JobConfig {
    /// A job without targets that scrapes every 15 seconds, all else as Prometheus has it.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(10),
            metrics_path: METRICS_PATH.to_owned(),
            scheme: "http".to_owned(),
            params: Vec::new(),
            honor_labels: false,
            honor_timestamps: true,
            protocols: Vec::new(),
            limits: ScrapeLimits::default(),
            http: HttpConfig::default(),
            relabel_rules: Vec::new(),
            metric_relabel_rules: Vec::new(),
            discoveries: Vec::new(),
        }
    }

    /// A job of the one server at `target`, whose URL may hold credentials and a query.
    pub fn of_target(name: impl Into<String>, target: &Target) -> Self {
        let url = target.url();
        let labels = LabelMap::from([("__address__".to_owned(), target.instance())]);
        let user = Secret::new(decoded(url.username()));
        let auth = (!url.username().is_empty() || url.password().is_some()).then(|| Auth::Basic {
            username: SecretSource::Inline(user),
            password: url.password().map(|text| SecretSource::Inline(Secret::new(decoded(text)))),
        });
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        Self {
            scheme: url.scheme().to_owned(),
            metrics_path: format!("{}{query}", url.path()),
            http: HttpConfig { auth, ..HttpConfig::default() },
            discoveries: vec![Discovery::targets(vec![labels])],
            ..Self::new(name)
        }
    }
}

/// A part of a URL without its percent signs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A job that runs: its configuration, and the connections that its targets share.
#[derive(Debug)]
pub struct Job {
    config: JobConfig,
    plain: OnceLock<Arc<HttpClient>>,
    tls: OnceLock<Arc<HttpClient>>,
}

impl Job {
    /// Makes nothing yet but room.
    pub fn new(config: JobConfig) -> Arc<Self> {
        Arc::new(Self { config, plain: OnceLock::new(), tls: OnceLock::new() })
    }

    /// How its targets are found and scraped.
    pub fn config(&self) -> &JobConfig {
        &self.config
    }

    /// The targets that stand in the configuration, after relabelling; of the same ones one. Fails
    /// on the first that cannot be scraped.
    pub fn static_targets(self: &Arc<Self>) -> Result<Vec<ScrapeTarget>, ScrapeTargetError> {
        let (mut targets, mut seen) = (Vec::new(), HashSet::new());
        for labels in self.config.discoveries.iter().flat_map(Discovery::written) {
            let target = ScrapeTarget::from_labels(self, labels)?;
            targets.extend(target.filter(|target| seen.insert(target.identity())));
        }
        Ok(targets)
    }

    /// The client for a target, shared among all where it can be.
    pub(crate) fn client(&self, target: &Target) -> Arc<HttpClient> {
        let http = &self.config.http;
        if target.is_https() && http.tls.server_name.is_some() {
            let host = target.url().host_str().unwrap_or_default();
            return Arc::new(HttpClient::pinned(http.clone(), host));
        }
        let is_https = target.is_https();
        let shared = if is_https { &self.tls } else { &self.plain };
        Arc::clone(shared.get_or_init(|| Arc::new(HttpClient::new(http.clone(), is_https))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_header_has_falling_weights() {
        assert_eq!(
            accept(&[]),
            "text/plain;version=0.0.4;q=0.4,application/openmetrics-text;version=1.0.0;q=0.3,\
             application/openmetrics-text;version=0.0.1;q=0.2,*/*;q=0.1"
        );
        let names: Vec<&str> = Protocol::names().collect();
        let all: Vec<Protocol> = names.iter().map(|name| Protocol::named(name).unwrap()).collect();
        assert!(accept(&all).starts_with("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,"));
        assert_eq!(Protocol::named("PrometheusText"), None);
    }

    #[test]
    fn a_url_becomes_a_job() {
        let target: Target = "https://us%65r:p%3Aw@h:9/m?x=1".parse().unwrap();
        let job = JobConfig::of_target("j", &target);
        assert_eq!((job.scheme.as_str(), job.metrics_path.as_str()), ("https", "/m?x=1"));
        let Some(Auth::Basic { username, password: Some(password) }) = job.http.auth else {
            panic!("no credentials");
        };
        assert_eq!(username.read().unwrap().expose(), "user");
        assert_eq!(password.read().unwrap().expose(), "p:w");
    }
}
