//! History from a Prometheus, or anything that speaks its HTTP API.

mod request;
mod selector;
mod span;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oddns_core::{Recording, Timestamp};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::answer::{self, AnswerError, Matrix};
use crate::duration::format_duration;
use crate::exposition::Limits;
use crate::http::{HttpConfig, HttpError};
use crate::remote_read::{self, ReadError, ReadLimits};
use crate::target::write_redacted;
use crate::transpose::Transpose;
use request::Requests;
use span::{DAY_MILLIS, Spans};

/// The base address of a Prometheus, without `/api/v1`; cheap to clone. `Display` and `Debug` show
/// no credentials.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PrometheusUrl {
    /// Scheme http or https, with a host, a path that ends with `/`, and no query.
    url: Arc<Url>,
}

/// A text that is no address of a Prometheus. It is not repeated, since it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no address of a Prometheus ({0}): write one such as `http://127.0.0.1:9090`")]
pub struct ParsePrometheusUrlError(String);

impl PrometheusUrl {
    fn api(&self, path: &str) -> Url {
        let mut url = Url::clone(&self.url);
        url.set_path(&format!("{}api/v1/{path}", self.url.path()));
        url
    }

    fn base(&self) -> &Url {
        &self.url
    }
}

/// Accepts `http://` and `https://` with any path; `host:port` alone is http. Query and fragment are
/// refused.
impl FromStr for PrometheusUrl {
    type Err = ParsePrometheusUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |reason: &str| ParsePrometheusUrlError(reason.to_owned());
        let text = text.trim();
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let mut url = Url::parse(&full).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("neither http nor https"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it has a query"));
        }
        let path = url.path().trim_end_matches('/');
        let path = format!("{}/", path.strip_suffix("/api/v1").unwrap_or(path));
        url.set_path(&path);
        Ok(Self { url: Arc::new(url) })
    }
}

impl fmt::Display for PrometheusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_redacted(&self.url, f)
    }
}

impl fmt::Debug for PrometheusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrometheusUrl({self})")
    }
}

/// Which series to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeriesChoice {
    /// What tells how a CoreDNS is doing, of every instance of these values of the label `job` that
    /// has a `coredns_` series; of every job when empty.
    Jobs(Vec<String>),
    /// A PromQL series selector, `name{…}` or `{…}`, taken as it is. Without `up` in it, failed
    /// scrapes are missing rather than told.
    Selector(String),
}

/// What to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Which series.
    pub series: SeriesChoice,
    /// From this instant on.
    pub since: Timestamp,
    /// Up to, not including, this instant.
    pub until: Timestamp,
    /// `None`: samples as they were scraped, with their own times. Otherwise `query_range` with this
    /// step, of at least a millisecond: at each multiple of it the last sample of the five minutes
    /// before. Then a time in which Prometheus itself did not run begins with up to five minutes of
    /// repeated values that look like a quiet server; a target that went away leaves no such trace,
    /// since Prometheus marks its series as stale.
    pub step: Option<Duration>,
}

/// How to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryConfig {
    /// For one request, to the last byte.
    pub timeout: Duration,
    /// Bytes of one answer after decompression.
    pub max_answer_bytes: usize,
    /// Samples asked for at once, as far as it can be told before; 40 bytes of memory each.
    pub max_samples: usize,
    /// Requests under way at the same time.
    pub max_concurrent: usize,
    /// Time between the starts of two requests.
    pub min_gap: Duration,
    /// How often a request is sent when the server is busy (429), failing (5xx) or breaks off.
    pub max_attempts: u32,
    /// Wait before the second attempt; doubles each time, unless the server says `Retry-After`.
    pub first_wait: Duration,
    /// Who we are, whom we trust, and by which way; files are read again when they change. Without
    /// credentials in it those of the address count, if it has some.
    pub http: HttpConfig,
    /// Whether samples as they were scraped may come by remote read, where it is offered: smaller
    /// answers, and no limit of the server on the samples of a query.
    pub remote_read: bool,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            max_answer_bytes: 128 << 20,
            max_samples: 2_000_000,
            max_concurrent: 2,
            min_gap: Duration::from_millis(50),
            max_attempts: 5,
            first_wait: Duration::from_millis(500),
            http: HttpConfig::default(),
            remote_read: true,
        }
    }
}

/// The history of a stretch of time, never more than one day (UTC).
#[derive(Debug)]
pub struct HistoryPart {
    /// From this instant on.
    pub since: Timestamp,
    /// Up to, not including, this instant. Fetching again from here goes on behind this part.
    pub until: Timestamp,
    /// One for each instance with scrapes in it, sorted by instance; each with a table of its own.
    pub recordings: Vec<Recording>,
    /// What the server warns of with it, such as a store that did not take part: samples may be missing.
    /// Remote read has none.
    pub warnings: Vec<String>,
}

/// Why history could not be fetched. No message shows credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The HTTP client cannot be set up: the machine has no CA certificates.
    #[error("cannot prepare TLS for {server}: are CA certificates installed on this machine?")]
    Client {
        /// Which server.
        server: PrometheusUrl,
        /// Why.
        source: reqwest::Error,
    },
    /// The port is closed.
    #[error("nothing listens at {server}: is Prometheus running there?")]
    Refused {
        /// Which server.
        server: PrometheusUrl,
        /// Why.
        source: reqwest::Error,
    },
    /// The name does not resolve.
    #[error("cannot resolve the host of {server}: check its spelling and this machine's DNS")]
    Dns {
        /// Which server.
        server: PrometheusUrl,
        /// Why.
        source: reqwest::Error,
    },
    /// No connection for another reason, TLS among them.
    #[error(
        "cannot connect to {server}: check the address, the firewall and, with https, the certificate"
    )]
    Connect {
        /// Which server.
        server: PrometheusUrl,
        /// Why.
        source: reqwest::Error,
    },
    /// Not done within [`HistoryConfig::timeout`].
    #[error("{server} did not answer within {}: ask for less", format_duration(*.timeout))]
    Timeout {
        /// Which server.
        server: PrometheusUrl,
        /// Time allowed.
        timeout: Duration,
    },
    /// An answer other than 200 that says nothing more.
    #[error("{server} answered {status}: {}", advice(*.status))]
    Status {
        /// Which server.
        server: PrometheusUrl,
        /// The answer.
        status: StatusCode,
        /// Seconds after which to ask again, if the server said so.
        retry_after: Option<u64>,
    },
    /// The connection broke, or the answer's encoding is damaged.
    #[error("the answer of {server} broke off or is damaged")]
    Body {
        /// Which server.
        server: PrometheusUrl,
        /// Why.
        source: reqwest::Error,
    },
    /// More than [`HistoryConfig::max_answer_bytes`].
    #[error("the answer of {server} has more than {limit} bytes: ask for fewer series")]
    TooLarge {
        /// Which server.
        server: PrometheusUrl,
        /// Bytes allowed.
        limit: usize,
    },
    /// Something else listens there.
    #[error(
        "{server} answers with {what}, it is no Prometheus: give the address before `/api/v1`, with the path prefix if there is one"
    )]
    NotPrometheus {
        /// Which server.
        server: PrometheusUrl,
        /// What it answers with.
        what: &'static str,
    },
    /// An answer that says what is wrong, or that cannot be used.
    #[error("cannot use the answer of {server}")]
    Answer {
        /// Which server.
        server: PrometheusUrl,
        /// The HTTP status.
        status: StatusCode,
        /// Where and why.
        source: AnswerError,
    },
    /// A file of a token or a password cannot be read, or holds what no header may have.
    #[error("cannot say to {server} who we are")]
    Auth {
        /// Which server.
        server: PrometheusUrl,
        /// Why.
        source: HttpError,
    },
    /// The certificates or the proxy of the configuration cannot be used.
    #[error("cannot speak to {server} as it is configured")]
    Http {
        /// Which server.
        server: PrometheusUrl,
        /// Why.
        source: HttpError,
    },
    /// Its answer leads to where we do not go.
    #[error("{server} sends us {advice}")]
    Redirect {
        /// Which server.
        server: PrometheusUrl,
        /// Where, and what to do.
        advice: &'static str,
    },
    /// An answer to a remote read that cannot be used.
    #[error("cannot use what {server} answered to a remote read")]
    Read {
        /// Which server.
        server: PrometheusUrl,
        /// Why.
        source: ReadError,
    },
    /// No series to fetch.
    #[error("{server} has no series `{selector}` between {since} and {until}: {advice}")]
    NothingFound {
        /// Which server.
        server: PrometheusUrl,
        /// What was looked for.
        selector: String,
        /// From when on.
        since: Timestamp,
        /// Until when.
        until: Timestamp,
        /// What to check.
        advice: &'static str,
    },
    /// The end is not after the beginning.
    #[error("nothing lies between {since} and {until}: the end must be later, by a step at least")]
    Range {
        /// From when on.
        since: Timestamp,
        /// Until when.
        until: Timestamp,
    },
    /// A request ended in an unforeseen way.
    #[error("a request to {server} ended in an unforeseen way")]
    Task {
        /// Which server.
        server: PrometheusUrl,
        /// How.
        source: tokio::task::JoinError,
    },
}

impl HistoryError {
    /// Whether a remote read failed in a way in which every other one would.
    fn is_no_read(&self) -> bool {
        match self {
            Self::Status { status, .. } | Self::Answer { status, .. } => {
                status.is_client_error() && !matches!(status.as_u16(), 401 | 403 | 429)
                    || *status == StatusCode::NOT_IMPLEMENTED
            }
            Self::NotPrometheus { .. } => true,
            Self::Read { source, .. } => !matches!(source, ReadError::TooMany { .. }),
            _ => false,
        }
    }

    /// Whether asking for less at once may help.
    fn is_too_much(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::TooLarge { .. } => true,
            Self::Answer { source: AnswerError::TooMany { what, .. }, .. } => *what == "samples",
            Self::Read { source: ReadError::TooMany { .. }, .. } => true,
            Self::Answer { source: AnswerError::Refused { kind, message }, .. } => {
                kind == "timeout" || message.contains("too many samples")
            }
            _ => false,
        }
    }
}

fn advice(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => "it wants credentials, or other ones: give a token or a password in a file",
        404 => "is it a Prometheus? give the address before `/api/v1`, with the path prefix if any",
        429 => "it is asked too much; try again later",
        500..=599 => "look at the server's own log",
        _ => "expected 200",
    }
}

/// Why a fetch stands still. Clones tell of the same fetch.
#[derive(Debug, Clone, Default)]
pub struct Waiting {
    reason: Arc<Mutex<Option<String>>>,
}

impl Waiting {
    /// Why the last request got no answer that can be used, and is sent again or for less, without
    /// credentials; `None` once one is answered.
    pub fn reason(&self) -> Option<String> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, reason: Option<String>) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}

/// Fetches history from one Prometheus.
#[derive(Debug)]
pub struct PrometheusHistory {
    requests: Arc<Requests>,
    config: HistoryConfig,
    /// No request starts before this instant.
    next_start: Instant,
    /// Whether remote read is worth another try.
    may_read: bool,
    /// What the server has warned of since the last part.
    warnings: BTreeSet<String>,
}

/// What is asked for, span after span.
#[derive(Debug)]
struct Plan {
    selectors: Vec<String>,
    n_series: usize,
    step: Option<i64>,
    /// Milliseconds; there is nothing before.
    first: i64,
}

impl PrometheusHistory {
    /// Prepares to ask `server`; connects to nothing yet. Fails for https on a machine without CA
    /// certificates, and where the certificates, credentials or proxy that are written in
    /// [`HistoryConfig::http`] cannot be used; what is in files is read later.
    pub fn new(server: PrometheusUrl, config: HistoryConfig) -> Result<Self, HistoryError> {
        let requests = Arc::new(Requests::new(server, config.clone())?);
        let may_read = config.remote_read;
        let warnings = BTreeSet::new();
        Ok(Self { requests, config, next_start: Instant::now(), may_read, warnings })
    }

    /// What keeps it waiting, to be looked at while it fetches.
    pub fn waiting(&self) -> Waiting {
        self.requests.waiting.clone()
    }

    /// Fetches what `query` asks for and gives it to `take` part by part, in order of time, also
    /// parts without a scrape, so that progress shows.
    ///
    /// The first part begins within a day before the first sample. Each is asked for in several requests, cut so that memory stays bounded and Prometheus
    /// answers; a part that turns out too much is cut further. All parts before an error are
    /// complete. Series that exist nowhere in the time are [`HistoryError::NothingFound`]. Native
    /// histograms are left out.
    pub async fn fetch<E: From<HistoryError>>(
        &mut self,
        query: &HistoryQuery,
        mut take: impl FnMut(HistoryPart) -> Result<(), E>,
    ) -> Result<(), E> {
        let time = query.since.millis()..query.until.millis();
        let (since, until) = (query.since, query.until);
        if time.is_empty() {
            return Err(HistoryError::Range { since, until }.into());
        }
        let plan = self.plan(query).await?;
        let time = plan.first..time.end;
        let mut spans = Spans::new(time, plan.step, plan.n_series, self.config.max_samples);
        let mut is_empty = true;
        while let Some(span) = spans.next() {
            let recordings = match self.span(&plan, &span).await {
                Ok(recordings) => recordings,
                Err(error) if error.is_too_much() && spans.split(span.clone()) => {
                    self.requests.waiting.set(Some(error.to_string()));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            is_empty = false;
            let since = Timestamp::from_millis(span.start);
            let until = Timestamp::from_millis(span.end);
            let warnings = std::mem::take(&mut self.warnings).into_iter().collect();
            take(HistoryPart { since, until, recordings, warnings })?;
        }
        if is_empty {
            return Err(HistoryError::Range { since, until }.into());
        }
        Ok(())
    }

    async fn plan(&mut self, query: &HistoryQuery) -> Result<Plan, HistoryError> {
        let selector = match &query.series {
            SeriesChoice::Selector(selector) => selector.clone(),
            SeriesChoice::Jobs(jobs) => self.coredns_selector(jobs, query).await?,
        };
        let counts = self.count_series(&selector, query).await?;
        let first = self.first(&selector, query).await?;
        let n_series = counts.values().sum();
        let step =
            query.step.map(|step| i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1));
        // A quarter of a part at a time, so that an answer stays small beside the limit.
        let packs = selector::packs(&counts, n_series / 4);
        let narrowed: Option<Vec<_>> =
            packs.iter().map(|names| selector::narrowed(&selector, names)).collect();
        Ok(Plan { selectors: narrowed.unwrap_or_else(|| vec![selector]), n_series, step, first })
    }

    /// Selects the instances that speak CoreDNS, whatever else their jobs hold.
    async fn coredns_selector(
        &mut self,
        jobs: &[String],
        query: &HistoryQuery,
    ) -> Result<String, HistoryError> {
        let coredns = selector::coredns_of(jobs);
        let jobs = self.label_values("job", &coredns, query).await?;
        let instances = self.label_values("instance", &coredns, query).await?;
        if jobs.is_empty() || instances.is_empty() {
            let advice = "does this Prometheus scrape CoreDNS, and is its job named so?";
            return Err(self.nothing_found(coredns, query, advice));
        }
        Ok(selector::metrics_of(&jobs, &instances))
    }

    async fn label_values(
        &mut self,
        label: &str,
        selector: &str,
        query: &HistoryQuery,
    ) -> Result<Vec<String>, HistoryError> {
        self.pace().await;
        let path = format!("label/{label}/values");
        let body = self.requests.call(&path, &matching(selector, query)).await?;
        let mut values: Vec<String> = self.parse(&body)?;
        // Prometheus gives an empty value for series without the label.
        values.retain(|value| !value.is_empty());
        Ok(values)
    }

    /// How many series each metric name has.
    async fn count_series(
        &mut self,
        selector: &str,
        query: &HistoryQuery,
    ) -> Result<BTreeMap<String, usize>, HistoryError> {
        #[derive(Deserialize)]
        struct Named {
            #[serde(default, rename = "__name__")]
            name: String,
        }
        self.pace().await;
        let body = self.requests.call("series", &matching(selector, query)).await?;
        let mut counts = BTreeMap::new();
        for series in self.parse::<Vec<Named>>(&body)? {
            *counts.entry(series.name).or_default() += 1;
        }
        if counts.is_empty() {
            let advice = "check the selector and the time";
            return Err(self.nothing_found(selector.to_owned(), query, advice));
        }
        Ok(counts)
    }

    /// An instant in milliseconds with nothing before it, a day at most before what there is: asking
    /// day by day for years without a sample would take long.
    async fn first(&mut self, selector: &str, query: &HistoryQuery) -> Result<i64, HistoryError> {
        let (mut first, mut some_before) = (query.since.millis(), query.until.millis());
        while some_before.saturating_sub(first) > DAY_MILLIS {
            let middle = first + (some_before - first) / 2;
            let until = Timestamp::from_millis(middle);
            match self.has_series(selector, &HistoryQuery { until, ..query.clone() }).await? {
                true => some_before = middle,
                false => first = middle,
            }
        }
        Ok(first)
    }

    async fn has_series(
        &mut self,
        selector: &str,
        query: &HistoryQuery,
    ) -> Result<bool, HistoryError> {
        self.pace().await;
        let mut form = matching(selector, query);
        // Prometheus from 2.54 on stops at the first; others tell all.
        form.push(("limit", "1".to_owned()));
        match self.requests.call("series", &form).await {
            Ok(body) => Ok(!self.parse::<Vec<IgnoredAny>>(&body)?.is_empty()),
            Err(HistoryError::TooLarge { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The scrapes of one span.
    async fn span(
        &mut self,
        plan: &Plan,
        span: &Range<i64>,
    ) -> Result<Vec<Recording>, HistoryError> {
        if plan.step.is_none() && self.may_read {
            match self.read_span(plan, span).await {
                // Not offered here, or in a way that we do not understand.
                Err(error) if error.is_no_read() => self.may_read = false,
                read => return read,
            }
        }
        self.query_span(plan, span).await
    }

    /// The same by remote read.
    async fn read_span(
        &mut self,
        plan: &Plan,
        span: &Range<i64>,
    ) -> Result<Vec<Recording>, HistoryError> {
        let mut out = Transpose::new("unknown");
        let max_samples = self.config.max_samples.saturating_mul(10);
        let limits = ReadLimits { max_bytes: self.config.max_answer_bytes, max_samples };
        for selector in &plan.selectors {
            let server = self.requests.server.clone();
            let Some(matchers) = selector::matchers(selector) else {
                return Err(HistoryError::Read { server, source: ReadError::Selector });
            };
            self.pace().await;
            let request = remote_read::request(&matchers, span);
            let (format, body) = self.requests.read(&request).await?;
            remote_read::fill(format, &body, span, limits, &mut out)
                .map_err(|source| HistoryError::Read { server, source })?;
        }
        Ok(out.finish())
    }

    /// The same by PromQL.
    async fn query_span(
        &mut self,
        plan: &Plan,
        span: &Range<i64>,
    ) -> Result<Vec<Recording>, HistoryError> {
        let mut out = Transpose::new("unknown");
        let mut running = JoinSet::new();
        let mut waiting = plan.selectors.iter();
        loop {
            while running.len() < self.config.max_concurrent.max(1)
                && let Some(selector) = waiting.next()
            {
                self.pace().await;
                let (path, form) = samples_request(selector, plan.step, span);
                let requests = self.requests.clone();
                running.spawn(async move { requests.call(path, &form).await });
            }
            let Some(done) = running.join_next().await else { return Ok(out.finish()) };
            let server = || self.requests.server.clone();
            let body = done.map_err(|source| HistoryError::Task { server: server(), source })??;
            let parsed = answer::parse_warned(&body);
            let (matrix, warnings): (Matrix, _) = parsed.map_err(|e| self.answer_error(e))?;
            self.warnings.extend(warnings);
            // Ten times what was planned: raw samples may come oftener than assumed.
            let max_samples = self.config.max_samples.saturating_mul(10);
            let filled = matrix
                .fill(&mut out, &Limits::default(), max_samples, |millis| span.contains(&millis));
            filled.map_err(|source| self.answer_error(source))?;
        }
    }

    fn parse<'a, D: Deserialize<'a>>(&self, body: &'a [u8]) -> Result<D, HistoryError> {
        answer::parse(body).map_err(|source| self.answer_error(source))
    }

    fn answer_error(&self, source: AnswerError) -> HistoryError {
        let server = self.requests.server.clone();
        HistoryError::Answer { server, status: StatusCode::OK, source }
    }

    fn nothing_found(
        &self,
        selector: String,
        query: &HistoryQuery,
        advice: &'static str,
    ) -> HistoryError {
        let (since, until) = (query.since, query.until);
        HistoryError::NothingFound {
            server: self.requests.server.clone(),
            selector,
            since,
            until,
            advice,
        }
    }

    /// Waits until the next request may start.
    async fn pace(&mut self) {
        sleep_until(self.next_start).await;
        self.next_start = Instant::now() + self.config.min_gap;
    }
}

fn matching(selector: &str, query: &HistoryQuery) -> Vec<(&'static str, String)> {
    vec![
        ("match[]", selector.to_owned()),
        ("start", seconds(query.since.millis())),
        ("end", seconds(query.until.millis())),
    ]
}

fn samples_request(
    selector: &str,
    step: Option<i64>,
    span: &Range<i64>,
) -> (&'static str, Vec<(&'static str, String)>) {
    let last = span.end - 1;
    match step {
        Some(step) => {
            let form = vec![
                ("query", selector.to_owned()),
                ("start", seconds(span.start)),
                ("end", seconds(last)),
                ("step", seconds(step)),
            ];
            ("query_range", form)
        }
        None => {
            let query = format!("{selector}[{}ms]", span.end - span.start);
            ("query", vec![("query", query), ("time", seconds(last))])
        }
    }
}

/// Milliseconds as seconds, exactly.
fn seconds(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    format!("{sign}{}.{:03}", millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_never_show_secrets() {
        for (text, shown, api) in [
            ("http://127.0.0.1:9090", "http://127.0.0.1:9090/", "http://127.0.0.1:9090/api/v1/x"),
            ("prom:9090", "http://prom:9090/", "http://prom:9090/api/v1/x"),
            ("https://h/prom/", "https://h/prom/", "https://h/prom/api/v1/x"),
            ("https://h/prom/api/v1", "https://h/prom/", "https://h/prom/api/v1/x"),
            ("http://u:hunter2@h", "http://***@h/", "http://u:hunter2@h/api/v1/x"),
        ] {
            let url: PrometheusUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown, "{text}");
            assert_eq!(url.api("x").as_str(), api, "{text}");
            assert!(!format!("{url:?}").contains("hunter2"));
        }
        for text in ["", "ftp://h", "http://h?x=1", "http://u:hunter2@h:port", "http://a b"] {
            let error = text.parse::<PrometheusUrl>().unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn times_are_exact() {
        assert_eq!(seconds(1_700_000_000_007), "1700000000.007");
        assert_eq!(seconds(-1), "-0.001");
        let (path, form) = samples_request("up", None, &(1000..3000));
        assert_eq!((path, &*form[0].1, &*form[1].1), ("query", "up[2000ms]", "2.999"));
    }
}
