//! One entry of `scrape_configs`.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use oddns_collect::{
    Discovery, Job, JobConfig, LabelMap, MAX_TARGETS, Protocol, ScrapeLimits, ScrapeTarget,
    format_duration, parse_duration,
};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::discovery::{WrittenDnsSd, WrittenFileSd, WrittenHttpSd, WrittenStatic};
use super::files::Files;
use super::http::with_http;
use super::kubernetes::WrittenKubernetesSd;
use super::mistake::{ConfigError, wrong};
use super::relabel::{WrittenRule, rules};

/// How often a target is scraped when nothing is said.
pub const DEFAULT_SCRAPE_INTERVAL: Duration = Duration::from_secs(15);
/// How long a scrape may take when nothing is said; never longer than the interval.
pub const DEFAULT_SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bounds of a scrape interval: below, scraping is the load; above, a window takes days to fill.
const INTERVAL_BOUNDS: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(3600));

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenGlobal {
    scrape_interval: Option<Spanned<String>>,
    scrape_timeout: Option<Spanned<String>>,
    scrape_protocols: Option<Vec<Spanned<String>>>,
    body_size_limit: Option<Spanned<String>>,
    sample_limit: Option<usize>,
    label_limit: Option<usize>,
    label_name_length_limit: Option<usize>,
    label_value_length_limit: Option<usize>,
    target_limit: Option<usize>,
    pub(super) external_labels: Option<LabelMap>,
}

with_http! {
    struct WrittenJob {
        job_name: Spanned<String>,
        scrape_interval: Option<Spanned<String>>,
        scrape_timeout: Option<Spanned<String>>,
        metrics_path: Option<Spanned<String>>,
        scheme: Option<Spanned<String>>,
        params: Option<BTreeMap<String, Vec<String>>>,
        honor_labels: Option<bool>,
        honor_timestamps: Option<bool>,
        enable_compression: Option<bool>,
        scrape_protocols: Option<Vec<Spanned<String>>>,
        body_size_limit: Option<Spanned<String>>,
        sample_limit: Option<usize>,
        label_limit: Option<usize>,
        label_name_length_limit: Option<usize>,
        label_value_length_limit: Option<usize>,
        target_limit: Option<usize>,
        static_configs: Option<Vec<WrittenStatic>>,
        file_sd_configs: Option<Vec<WrittenFileSd>>,
        http_sd_configs: Option<Vec<WrittenHttpSd>>,
        dns_sd_configs: Option<Vec<WrittenDnsSd>>,
        kubernetes_sd_configs: Option<Vec<Spanned<WrittenKubernetesSd>>>,
        relabel_configs: Option<Vec<Spanned<WrittenRule>>>,
        metric_relabel_configs: Option<Vec<Spanned<WrittenRule>>>,
    }
}

/// When to scrape.
#[derive(Clone, Copy)]
struct Timing {
    interval: Duration,
    timeout: Duration,
}

/// What holds for a job that says nothing else.
pub(super) struct Inherited {
    timing: Timing,
    protocols: Vec<Protocol>,
    limits: ScrapeLimits,
}

impl Inherited {
    pub(super) fn of(global: &WrittenGlobal) -> Result<Self, ConfigError> {
        let limits = ScrapeLimits {
            body_size: global.body_size_limit.as_ref().map_or(Ok(0), bytes)?,
            samples: global.sample_limit.unwrap_or_default(),
            labels: global.label_limit.unwrap_or_default(),
            label_name_length: global.label_name_length_limit.unwrap_or_default(),
            label_value_length: global.label_value_length_limit.unwrap_or_default(),
            targets: global.target_limit.unwrap_or_default(),
        };
        let protocols = protocols(global.scrape_protocols.as_deref().unwrap_or_default())?;
        Ok(Self { timing: global_timing(global)?, protocols, limits })
    }
}

/// What has come before in a configuration.
#[derive(Default)]
pub(super) struct Seen {
    jobs: HashSet<String>,
    /// By what tells them apart.
    targets: HashSet<String>,
    /// The job of each name.
    instances: HashMap<String, String>,
    warnings: Vec<ConfigError>,
}

impl Seen {
    /// How many targets there are, and which will not be scraped.
    pub(super) fn end(self) -> (usize, Vec<ConfigError>) {
        (self.instances.len(), self.warnings)
    }

    /// Notes a target. Of the same one in the same job there is one, as in Prometheus; of two with
    /// one name the first one.
    fn target(&mut self, target: &ScrapeTarget, written: &Spanned<String>) {
        if !self.targets.insert(target.identity()) {
            return;
        }
        let job = &target.job.config().name;
        match self.instances.entry(target.instance.clone()) {
            Entry::Vacant(place) => {
                place.insert(job.clone());
            }
            Entry::Occupied(first) => self.warnings.push(wrong(
                written,
                format!(
                    "target `{}` of job `{job}` has the instance `{}`, as a target of job `{}` has: \
                     it is not scraped; give it another `instance` by `relabel_configs`",
                    written.value,
                    target.instance,
                    first.get()
                ),
            )),
        }
    }
}

impl WrittenJob {
    pub(super) fn resolve(
        mut self,
        inherited: &Inherited,
        files: &mut Files,
        seen: &mut Seen,
    ) -> Result<JobConfig, ConfigError> {
        if self.job_name.value.is_empty() {
            return Err(wrong(&self.job_name, "`job_name` is empty: give the job a name"));
        }
        if !seen.jobs.insert(self.job_name.value.clone()) {
            let message = format!("job `{}` is there twice: rename one", self.job_name.value);
            return Err(wrong(&self.job_name, message));
        }
        let Timing { interval, timeout } = self.timing(inherited.timing)?;
        let scheme = scheme(self.scheme.as_ref())?.to_owned();
        let metrics_path = self.metrics_path.as_ref().map(metrics_path).transpose()?;
        let mut http = self.take_http().resolve(files)?;
        http.enable_compression = self.enable_compression.unwrap_or(true);
        let mut config = JobConfig::new(self.job_name.value.clone());
        config.metrics_path = metrics_path.unwrap_or(config.metrics_path);
        let config = JobConfig {
            interval,
            timeout,
            scheme,
            params: self.params.take().unwrap_or_default().into_iter().collect(),
            honor_labels: self.honor_labels.unwrap_or_default(),
            honor_timestamps: self.honor_timestamps.unwrap_or(true),
            protocols: match &self.scrape_protocols {
                Some(written) => protocols(written)?,
                None => inherited.protocols.clone(),
            },
            limits: self.limits(inherited.limits)?,
            http,
            relabel_rules: rules(self.relabel_configs.take())?,
            metric_relabel_rules: rules(self.metric_relabel_configs.take())?,
            ..config
        };
        self.discoveries(config, files, seen)
    }

    /// Interval and timeout of a job: its own, else the global ones, else the defaults. A timeout
    /// that was not written for the job is cut to its interval, as in Prometheus.
    fn timing(&self, global: Timing) -> Result<Timing, ConfigError> {
        let interval = self.scrape_interval.as_ref().map(scrape_interval).transpose()?;
        let interval = interval.unwrap_or(global.interval);
        let timeout = match &self.scrape_timeout {
            Some(written) => scrape_timeout(written, interval)?,
            None => global.timeout.min(interval),
        };
        Ok(Timing { interval, timeout })
    }

    fn limits(&self, global: ScrapeLimits) -> Result<ScrapeLimits, ConfigError> {
        Ok(ScrapeLimits {
            body_size: self.body_size_limit.as_ref().map_or(Ok(global.body_size), bytes)?,
            samples: self.sample_limit.unwrap_or(global.samples),
            labels: self.label_limit.unwrap_or(global.labels),
            label_name_length: self.label_name_length_limit.unwrap_or(global.label_name_length),
            label_value_length: self.label_value_length_limit.unwrap_or(global.label_value_length),
            targets: self.target_limit.unwrap_or(global.targets),
        })
    }

    fn discoveries(
        self,
        config: JobConfig,
        files: &mut Files,
        seen: &mut Seen,
    ) -> Result<JobConfig, ConfigError> {
        let mut discoveries = Vec::new();
        let groups = self.static_configs.unwrap_or_default();
        let targets: Vec<_> = groups.iter().flat_map(WrittenStatic::resolve).collect();
        check_targets(&config, &targets, seen)?;
        if !targets.is_empty() {
            let labels = targets.into_iter().map(|(labels, _)| labels).collect();
            discoveries.push(Discovery::targets(labels));
        }
        for written in self.file_sd_configs.unwrap_or_default() {
            discoveries.push(written.resolve(files)?);
        }
        for written in self.http_sd_configs.unwrap_or_default() {
            discoveries.push(written.resolve(files)?);
        }
        for written in self.dns_sd_configs.unwrap_or_default() {
            discoveries.push(written.resolve()?);
        }
        for written in self.kubernetes_sd_configs.unwrap_or_default() {
            let place = written.referenced;
            discoveries.push(written.value.resolve(&place, files)?);
        }
        Ok(JobConfig { discoveries, ..config })
    }
}

/// Refuses targets that cannot be scraped.
fn check_targets(
    config: &JobConfig,
    targets: &[(LabelMap, &Spanned<String>)],
    seen: &mut Seen,
) -> Result<(), ConfigError> {
    let job = Job::new(config.clone());
    for (labels, written) in targets {
        check_address(&written.value, config).map_err(|message| wrong(written, message))?;
        let target = ScrapeTarget::from_labels(&job, labels);
        let target = target
            .map_err(|error| wrong(written, format!("target `{}`: {error}", written.value)))?;
        let Some(target) = target else { continue };
        seen.target(&target, written);
        if seen.instances.len() > MAX_TARGETS {
            let message = format!("more than {MAX_TARGETS} targets: share them among processes");
            return Err(wrong(written, message));
        }
    }
    Ok(())
}

/// A target is `host:port`; where rules may add the port, a host will do.
fn check_address(written: &str, config: &JobConfig) -> Result<(), String> {
    if written.contains(['/', '?', '#', '@']) {
        return Err(format!(
            "target `{written}` is not host:port: leave the scheme to `scheme` and the path to `metrics_path`"
        ));
    }
    let port = written.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_some_and(|port| port > 0) || !config.relabel_rules.is_empty() {
        return Ok(());
    }
    Err(format!("target `{written}` is not host:port: CoreDNS serves metrics on port 9153"))
}

fn global_timing(global: &WrittenGlobal) -> Result<Timing, ConfigError> {
    let interval = global.scrape_interval.as_ref().map(scrape_interval).transpose()?;
    let interval = interval.unwrap_or(DEFAULT_SCRAPE_INTERVAL);
    let timeout = match &global.scrape_timeout {
        Some(written) => scrape_timeout(written, interval)?,
        None => DEFAULT_SCRAPE_TIMEOUT.min(interval),
    };
    Ok(Timing { interval, timeout })
}

fn scrape_timeout(written: &Spanned<String>, interval: Duration) -> Result<Duration, ConfigError> {
    let timeout = duration(written)?;
    if timeout.is_zero() || timeout > interval {
        let message = format!(
            "`scrape_timeout` is {}, it must be above 0 and at most the `scrape_interval` of {}",
            written.value,
            format_duration(interval)
        );
        return Err(wrong(written, message));
    }
    Ok(timeout)
}

fn scrape_interval(written: &Spanned<String>) -> Result<Duration, ConfigError> {
    let interval = duration(written)?;
    if interval < INTERVAL_BOUNDS.0 || interval > INTERVAL_BOUNDS.1 {
        let message = format!(
            "`scrape_interval` is {}, it must be from {} to {}",
            written.value,
            format_duration(INTERVAL_BOUNDS.0),
            format_duration(INTERVAL_BOUNDS.1)
        );
        return Err(wrong(written, message));
    }
    Ok(interval)
}

pub(super) fn duration(written: &Spanned<String>) -> Result<Duration, ConfigError> {
    parse_duration(&written.value).map_err(|error| wrong(written, error))
}

/// The length of time of entry `name`, from `least` to `most`.
pub(super) fn duration_within(
    name: &str,
    written: &Spanned<String>,
    (least, most): (Duration, Duration),
) -> Result<Duration, ConfigError> {
    let found = duration(written)?;
    if (least..=most).contains(&found) {
        return Ok(found);
    }
    let [least, most] = [least, most].map(format_duration);
    Err(wrong(written, format!("`{name}` must be from {least} to {most}")))
}

/// `http` when nothing is said.
pub(super) fn scheme(written: Option<&Spanned<String>>) -> Result<&str, ConfigError> {
    match written {
        None => Ok("http"),
        Some(scheme) if matches!(scheme.value.as_str(), "http" | "https") => Ok(&scheme.value),
        Some(scheme) => {
            let message = format!("scheme `{}` is not known: write http or https", scheme.value);
            Err(wrong(scheme, message))
        }
    }
}

fn metrics_path(path: &Spanned<String>) -> Result<String, ConfigError> {
    let clean = path.value.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if path.value.starts_with('/') && clean {
        return Ok(path.value.clone());
    }
    let message = format!("`{}` is no path: write something like `/metrics`", path.value);
    Err(wrong(path, message))
}

fn protocols(written: &[Spanned<String>]) -> Result<Vec<Protocol>, ConfigError> {
    written.iter().map(protocol).collect()
}

fn protocol(written: &Spanned<String>) -> Result<Protocol, ConfigError> {
    Protocol::named(&written.value).ok_or_else(|| {
        let names: Vec<String> = Protocol::names().map(|name| format!("`{name}`")).collect();
        let message = format!("`{}` is no protocol: write {}", written.value, names.join(", "));
        wrong(written, message)
    })
}

/// A size such as `10MB` or `512KiB`, in powers of 1024 either way, as in Prometheus.
pub(super) fn bytes(written: &Spanned<String>) -> Result<usize, ConfigError> {
    let text = written.value.trim();
    let (number, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let power = match unit {
        "" | "B" => Some(0),
        "KB" | "KiB" => Some(10),
        "MB" | "MiB" => Some(20),
        "GB" | "GiB" => Some(30),
        _ => None,
    };
    let size = power.zip(number.parse::<usize>().ok());
    let size = size.and_then(|(power, number)| number.checked_mul(1 << power));
    size.ok_or_else(|| wrong(written, format!("`{text}` is no size: write something like `10MB`")))
}
