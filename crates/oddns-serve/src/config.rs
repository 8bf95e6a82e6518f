//! The configuration file: what the user writes, checked, and what the service needs.
//!
//! Prometheus's idiom where it has one. Checking is pure: no file, environment or network.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use oddns_collect::{Target, format_duration, parse_duration};
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

/// Where the page and the API listen when nothing is said.
pub const DEFAULT_LISTEN_ADDRESS: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8753);
/// How often a target is scraped when nothing is said.
pub const DEFAULT_SCRAPE_INTERVAL: Duration = Duration::from_secs(15);
/// How long a scrape may take when nothing is said; never longer than the interval.
pub const DEFAULT_SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);
/// Where CoreDNS's `prometheus` plugin serves its metrics.
const DEFAULT_METRICS_PATH: &str = "/metrics";
/// No configuration written by a person comes near; guards against a wrong file.
const MAX_CONFIG_BYTES: usize = 1 << 20;
/// Each target costs a task and its history.
const MAX_TARGETS: usize = 1000;
/// Bounds of a scrape interval: below, scraping is the load; above, a window takes days to fill.
const INTERVAL_BOUNDS: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(3600));

/// A checked configuration with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The model file as written, relative to the configuration file; `None` when not named.
    pub model: Option<PathBuf>,
    /// Where to listen.
    pub listen_address: SocketAddr,
    /// What to watch, in the order written; may be empty.
    pub targets: Vec<WatchTarget>,
}

/// One server to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchTarget {
    /// `job_name` it is listed under.
    pub job: String,
    /// Where its metrics are. Its `host:port` is its name everywhere, unique in a configuration.
    pub target: Target,
    /// Time between scrapes.
    pub interval: Duration,
    /// Longest time for one scrape, at most `interval`.
    pub timeout: Duration,
}

/// The first thing wrong with a configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ConfigError {
    /// Line, from 1; 0 when the place is not known.
    pub line: u64,
    /// Column, from 1; 0 when the place is not known.
    pub column: u64,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// Checks the text of a configuration file and fills in the defaults. An empty text is valid: it
/// watches nothing.
pub fn check_config(text: &str) -> Result<Config, ConfigError> {
    if text.len() > MAX_CONFIG_BYTES {
        let message = format!(
            "the file has {} bytes, a configuration has at most {MAX_CONFIG_BYTES}: is it the right file?",
            text.len()
        );
        return Err(ConfigError { line: 1, column: 1, message });
    }
    let written: Option<Written> = serde_saphyr::from_str(text).map_err(|e| parse_error(&e))?;
    resolve(written.unwrap_or_default())
}

/// The file as written.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Written {
    version: Option<Spanned<u32>>,
    global: Option<WrittenGlobal>,
    scrape_configs: Option<Vec<WrittenJob>>,
    model: Option<PathBuf>,
    web: Option<WrittenWeb>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WrittenGlobal {
    scrape_interval: Option<Spanned<String>>,
    scrape_timeout: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenJob {
    job_name: Spanned<String>,
    scrape_interval: Option<Spanned<String>>,
    scrape_timeout: Option<Spanned<String>>,
    metrics_path: Option<Spanned<String>>,
    scheme: Option<Spanned<String>>,
    #[serde(default)]
    static_configs: Vec<WrittenStatic>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStatic {
    targets: Vec<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WrittenWeb {
    listen_address: Option<Spanned<String>>,
}

/// When to scrape.
#[derive(Clone, Copy)]
struct Timing {
    interval: Duration,
    timeout: Duration,
}

fn resolve(written: Written) -> Result<Config, ConfigError> {
    if let Some(version) = written.version.filter(|v| v.value != 1) {
        let message = format!("version {} is not known: write `version: 1`", version.value);
        return Err(at(&version.referenced, message));
    }
    let web = written.web.unwrap_or_default();
    let listen_address = match &web.listen_address {
        Some(address) => listen_address(address)?,
        None => DEFAULT_LISTEN_ADDRESS,
    };
    let global = global_timing(&written.global.unwrap_or_default())?;
    let mut targets = Vec::new();
    let mut seen = HashSet::new();
    for job in written.scrape_configs.iter().flatten() {
        resolve_job(global, job, &mut seen, &mut targets)?;
    }
    Ok(Config { model: written.model, listen_address, targets })
}

fn resolve_job(
    global: Timing,
    job: &WrittenJob,
    seen: &mut HashSet<String>,
    targets: &mut Vec<WatchTarget>,
) -> Result<(), ConfigError> {
    if job.job_name.value.is_empty() {
        return Err(at(&job.job_name.referenced, "`job_name` is empty: give the job a name"));
    }
    let Timing { interval, timeout } = timing(global, job)?;
    let (scheme, path) = (scheme(job)?, metrics_path(job)?);
    for written in job.static_configs.iter().flat_map(|group| &group.targets) {
        let place = &written.referenced;
        let target = target(scheme, &written.value, path).map_err(|message| at(place, message))?;
        if !seen.insert(target.instance()) {
            let message = format!("target `{}` is listed twice: list it once", written.value);
            return Err(at(place, message));
        }
        if targets.len() == MAX_TARGETS {
            let message = format!("more than {MAX_TARGETS} targets: share them among processes");
            return Err(at(place, message));
        }
        targets.push(WatchTarget { job: job.job_name.value.clone(), target, interval, timeout });
    }
    Ok(())
}

/// Interval and timeout of a job: its own, else the global ones, else the defaults. A timeout that
/// was not written for the job is cut to its interval, as in Prometheus.
fn timing(global: Timing, job: &WrittenJob) -> Result<Timing, ConfigError> {
    let interval = job.scrape_interval.as_ref().map(scrape_interval).transpose()?;
    let interval = interval.unwrap_or(global.interval);
    let timeout = match &job.scrape_timeout {
        Some(written) => scrape_timeout(written, interval)?,
        None => global.timeout.min(interval),
    };
    Ok(Timing { interval, timeout })
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
        return Err(at(&written.referenced, message));
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
        return Err(at(&written.referenced, message));
    }
    Ok(interval)
}

fn duration(written: &Spanned<String>) -> Result<Duration, ConfigError> {
    parse_duration(&written.value).map_err(|e| at(&written.referenced, e.to_string()))
}

fn scheme(job: &WrittenJob) -> Result<&str, ConfigError> {
    match &job.scheme {
        None => Ok("http"),
        Some(scheme) if matches!(scheme.value.as_str(), "http" | "https") => Ok(&scheme.value),
        Some(scheme) => {
            let message = format!("scheme `{}` is not known: write http or https", scheme.value);
            Err(at(&scheme.referenced, message))
        }
    }
}

fn metrics_path(job: &WrittenJob) -> Result<&str, ConfigError> {
    let Some(path) = &job.metrics_path else { return Ok(DEFAULT_METRICS_PATH) };
    let clean = path.value.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if path.value.starts_with('/') && clean {
        return Ok(&path.value);
    }
    let message = format!("`{}` is no path: write something like `/metrics`", path.value);
    Err(at(&path.referenced, message))
}

/// The address of a target written as `host:port`; the message says what is wrong.
fn target(scheme: &str, written: &str, path: &str) -> Result<Target, String> {
    if written.contains(['/', '?', '#', '@']) {
        return Err(format!(
            "target `{written}` is not host:port: leave the scheme to `scheme` and the path to `metrics_path`"
        ));
    }
    let port = written.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let url = format!("{scheme}://{written}{path}");
    match url.parse() {
        Ok(target) if port.is_some_and(|port| port > 0) => Ok(target),
        _ => {
            Err(format!("target `{written}` is not host:port: CoreDNS serves metrics on port 9153"))
        }
    }
}

/// `127.0.0.1:8753`, `[::1]:8753`, `localhost:8753`, or `:8753` for every interface.
fn listen_address(written: &Spanned<String>) -> Result<SocketAddr, ConfigError> {
    let text = match written.value.strip_prefix(':') {
        Some(port) => format!("[::]:{port}"),
        None => written.value.replace("localhost:", "127.0.0.1:"),
    };
    text.parse().map_err(|_| {
        let message = format!(
            "`{}` is no address to listen on: write an IP address and a port, such as {DEFAULT_LISTEN_ADDRESS}",
            written.value
        );
        at(&written.referenced, message)
    })
}

fn at(place: &Location, message: impl Into<String>) -> ConfigError {
    ConfigError { line: place.line(), column: place.column(), message: message.into() }
}

/// The parser's own errors in the words of a configuration file.
fn parse_error(error: &serde_saphyr::Error) -> ConfigError {
    use serde_saphyr::Error;
    let message = match error.without_snippet() {
        Error::SerdeUnknownField { field, expected, .. } => {
            let field: String = field.chars().take(60).collect();
            format!("unknown key `{field}`: allowed here are {}", backticked(expected))
        }
        Error::SerdeMissingField { field, .. } => format!("the key `{field}` is missing"),
        Error::SerdeInvalidType { unexpected, expected, .. } => {
            format!("expected {expected}, found {unexpected}")
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key `{key}` is written twice: keep one")
        }
        other => without_place(&other.to_string()),
    };
    error.location().map_or_else(
        || ConfigError { line: 0, column: 0, message: message.clone() },
        |place| at(&place, message.as_str()),
    )
}

fn backticked(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The first line, without the place that the parser appends: [`ConfigError`] has its own.
fn without_place(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.split_once(" at line ").map_or(line, |(message, _)| message).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_file_watches_nothing() {
        for text in ["", "\n", "# nothing yet\n", "{}", "global:\n"] {
            let config = check_config(text);
            assert_eq!(config.as_ref().map(|c| c.targets.len()), Ok(0), "{text:?} {config:?}");
        }
    }

    #[test]
    fn a_short_interval_shortens_the_default_timeout() {
        let text = "global: {scrape_interval: 2s}\nscrape_configs: [{job_name: a, static_configs: [{targets: ['h:1']}]}]";
        let config = check_config(text).unwrap();
        assert_eq!(config.targets[0].timeout, Duration::from_secs(2));
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-z_:\\-\\[\\]{}'\"#&*!|>% \n0-9]{0,200}") {
            let _ = check_config(&text);
        }
    }
}
