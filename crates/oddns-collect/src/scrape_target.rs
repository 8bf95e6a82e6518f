//! From the labels of a discovered target to what is scraped.

use std::sync::Arc;
use std::time::Duration;

use oddns_core::Labels;
use reqwest::Url;

use crate::duration::{ParseDurationError, format_duration, parse_duration};
use crate::job::Job;
use crate::relabel::{LabelMap, relabel};
use crate::target::{ParseTargetError, Target};

/// The shortest scrape interval.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// Before the name of a parameter of the request.
const PARAM: &str = "__param_";

/// One server of a job, ready to be scraped; cheap to clone.
#[derive(Debug, Clone)]
pub struct ScrapeTarget {
    /// The job it belongs to.
    pub job: Arc<Job>,
    /// Where its metrics are.
    pub target: Target,
    /// The label `instance`, its name everywhere.
    pub instance: String,
    /// Its labels, `job` and `instance` among them, without those that begin with `__`.
    pub labels: Labels,
    /// Time between scrapes.
    pub interval: Duration,
    /// For a whole scrape; at most `interval`.
    pub timeout: Duration,
}

/// Why a discovered target cannot be scraped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScrapeTargetError {
    /// No `__address__`.
    #[error("it has no address: discovery and relabelling left `__address__` empty")]
    NoAddress,
    /// An address with a scheme, a path or the like.
    #[error("`{0}` is no host:port: leave scheme and path to `scheme` and `metrics_path`")]
    Address(String),
    /// The parts make no URL.
    #[error("its address, scheme and path make no URL")]
    Url(#[source] ParseTargetError),
    /// `__scrape_interval__` or `__scrape_timeout__`.
    #[error("`{label}` is no time to scrape by")]
    Time {
        /// Which label.
        label: &'static str,
        /// Why.
        source: ParseDurationError,
    },
    /// Scrapes without a pause between them, which labels that others write may ask for.
    #[error("its scrape interval `{0}` is too short: {least} is the least", least = format_duration(MIN_INTERVAL))]
    TooOften(String),
    /// A zero, or a timeout above the interval.
    #[error("its scrape timeout {timeout} must be above 0 and at most its interval {interval}")]
    Timeout {
        /// As written.
        timeout: String,
        /// As written.
        interval: String,
    },
}

impl ScrapeTarget {
    /// Fills in what the job says, applies its rules, and checks what came of it, in the order that
    /// Prometheus does. `None` for a target that the rules drop.
    pub fn from_labels(
        job: &Arc<Job>,
        discovered: &LabelMap,
    ) -> Result<Option<Self>, ScrapeTargetError> {
        let mut labels = populated(job, discovered);
        if !relabel(&mut labels, &job.config().relabel_rules) {
            return Ok(None);
        }
        let address = taken(&mut labels, "__address__");
        if address.is_empty() {
            return Err(ScrapeTargetError::NoAddress);
        }
        if address.contains(['/', '?', '#', '@', '\\']) || address.contains(char::is_whitespace) {
            return Err(ScrapeTargetError::Address(address.chars().take(120).collect()));
        }
        let (interval, timeout) = times(&mut labels)?;
        let target = url(job, &mut labels, &address)?;
        if labels.get("instance").is_none_or(String::is_empty) {
            labels.insert("instance".to_owned(), address);
        }
        let instance = labels.get("instance").cloned().unwrap_or_default();
        labels.retain(|name, value| !name.starts_with("__") && !value.is_empty());
        let labels = Labels::new(labels.into_iter().collect());
        let job = Arc::clone(job);
        Ok(Some(Self { job, target, instance, labels, interval, timeout }))
    }

    /// What tells it from every other target: its job, its labels and its address.
    pub fn identity(&self) -> String {
        format!("{}\n{}\n{}", self.job.config().name, self.labels, self.target.url())
    }
}

/// The discovered labels with those of the job for what they lack.
fn populated(job: &Job, discovered: &LabelMap) -> LabelMap {
    let config = job.config();
    let mut labels = discovered.clone();
    let mut default = |name: &str, value: &str| {
        if labels.get(name).is_none_or(String::is_empty) {
            labels.insert(name.to_owned(), value.to_owned());
        }
    };
    default("job", &config.name);
    default("__scrape_interval__", &format_duration(config.interval));
    default("__scrape_timeout__", &format_duration(config.timeout));
    default("__metrics_path__", &config.metrics_path);
    default("__scheme__", &config.scheme);
    for (name, values) in &config.params {
        if let Some(first) = values.first() {
            default(&format!("{PARAM}{name}"), first);
        }
    }
    labels
}

fn taken(labels: &mut LabelMap, name: &str) -> String {
    labels.remove(name).unwrap_or_default()
}

fn times(labels: &mut LabelMap) -> Result<(Duration, Duration), ScrapeTargetError> {
    let mut time = |label: &'static str| {
        let text = taken(labels, label);
        let parsed = parse_duration(&text);
        parsed.map(|d| (d, text)).map_err(|source| ScrapeTargetError::Time { label, source })
    };
    let (interval, interval_text) = time("__scrape_interval__")?;
    let (timeout, timeout_text) = time("__scrape_timeout__")?;
    if interval < MIN_INTERVAL {
        return Err(ScrapeTargetError::TooOften(interval_text));
    }
    if timeout.is_zero() || timeout > interval {
        return Err(ScrapeTargetError::Timeout { timeout: timeout_text, interval: interval_text });
    }
    Ok((interval, timeout))
}

fn url(job: &Job, labels: &mut LabelMap, address: &str) -> Result<Target, ScrapeTargetError> {
    let scheme = taken(labels, "__scheme__");
    let path = taken(labels, "__metrics_path__");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let text = format!("{scheme}://{address}{slash}{path}");
    let mut url = Url::parse(&text)
        .map_err(|error| ScrapeTargetError::Url(ParseTargetError::Address(error.to_string())))?;
    let params = params(job, labels);
    if !params.is_empty() {
        url.query_pairs_mut().extend_pairs(params);
    }
    url.as_str().parse().map_err(ScrapeTargetError::Url)
}

/// The parameters of the job, of each the first value as relabelling left it, and those that
/// relabelling added.
fn params(job: &Job, labels: &LabelMap) -> Vec<(String, String)> {
    let config = &job.config().params;
    let set = |name: &str| labels.get(&format!("{PARAM}{name}")).filter(|value| !value.is_empty());
    let mut pairs = Vec::new();
    for (name, values) in config {
        for (at, value) in values.iter().enumerate() {
            let value = set(name).filter(|_| at == 0).unwrap_or(value);
            pairs.push((name.clone(), value.clone()));
        }
    }
    for (label, value) in labels {
        let Some(name) = label.strip_prefix(PARAM) else { continue };
        let is_known = config.iter().any(|(known, values)| known == name && !values.is_empty());
        if !is_known && !value.is_empty() {
            pairs.push((name.to_owned(), value.clone()));
        }
    }
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::JobConfig;
    use crate::relabel::{RelabelRule, RuleText};

    fn labels(pairs: &[(&str, &str)]) -> LabelMap {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn job(change: impl FnOnce(&mut JobConfig)) -> Arc<Job> {
        let mut config = JobConfig::new("dns");
        change(&mut config);
        Job::new(config)
    }

    fn set(target: &str, value: &str) -> RelabelRule {
        let text = RuleText {
            target_label: Some(target.into()),
            replacement: Some(value.into()),
            ..RuleText::default()
        };
        RelabelRule::new(text).unwrap()
    }

    #[test]
    fn what_is_left_out_comes_from_the_job() {
        let job = job(|config| config.params = vec![("m".into(), vec!["a b".into(), "c".into()])]);
        let found = labels(&[("__address__", "10.0.0.1:9153"), ("__meta_x", "y"), ("zone", "eu")]);
        let target = ScrapeTarget::from_labels(&job, &found).unwrap().unwrap();
        assert_eq!(target.target.url().as_str(), "http://10.0.0.1:9153/metrics?m=a+b&m=c");
        let shown = r#"{instance="10.0.0.1:9153",job="dns",zone="eu"}"#;
        assert_eq!(target.labels.to_string(), shown);
        assert_eq!((target.interval.as_secs(), target.timeout.as_secs()), (15, 10));
    }

    #[test]
    fn rules_decide_over_everything() {
        let job = job(|config| {
            config.relabel_rules = vec![
                set("__scheme__", "https"),
                set("__metrics_path__", "m"),
                set("__param_target", "x"),
                set("instance", "one"),
                set("__scrape_interval__", "1m"),
                set("job", "other"),
                set("__tmp", "1"),
            ];
        });
        let target = ScrapeTarget::from_labels(&job, &labels(&[("__address__", "[fd00::a]:53")]));
        let target = target.unwrap().unwrap();
        assert_eq!(target.target.url().as_str(), "https://[fd00::a]:53/m?target=x");
        assert_eq!((target.instance.as_str(), target.interval.as_secs()), ("one", 60));
        assert_eq!(target.labels.to_string(), r#"{instance="one",job="other"}"#);
    }

    #[test]
    fn what_cannot_be_scraped_is_told() {
        for (pairs, expected) in [
            (&[("a", "b")][..], "it has no address"),
            (&[("__address__", "http://a:1/m")], "`http://a:1/m` is no host:port"),
            (
                &[("__address__", "a:1"), ("__scheme__", "file")],
                "its address, scheme and path make no URL",
            ),
            (
                &[("__address__", "a:1"), ("__scrape_timeout__", "20s")],
                "its scrape timeout 20s must be above 0",
            ),
            (
                &[("__address__", "a:1"), ("__scrape_interval__", "1ms")],
                "its scrape interval `1ms` is too short: 10ms is the least",
            ),
            (
                &[("__address__", "a:1"), ("__scrape_interval__", "x")],
                "`__scrape_interval__` is no time",
            ),
        ] {
            let error = ScrapeTarget::from_labels(&job(|_| {}), &labels(pairs)).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }
}
