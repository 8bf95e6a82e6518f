//! One look at one server over HTTP.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use oddns_core::{Sample, Scrape, SeriesTable, Timestamp};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Response, StatusCode};

use crate::duration::format_duration;
use crate::exposition::{Format, Limits, ParseError, Parser, Reason};
use crate::target::Target;

/// Plain text first: there `le` and `quantile` are spelled as CoreDNS always spelled them, while
/// OpenMetrics writes `1.0` for `1`, which would make other series of them.
const ACCEPTED: &str = "text/plain;version=0.0.4;q=0.6,\
                        application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1";

/// How to scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScrapeConfig {
    /// For the whole request, from the name look-up to the last byte.
    pub timeout: Duration,
    /// Bytes of an answer after decompression.
    pub body_size_limit: usize,
    /// Samples of an answer.
    pub sample_limit: usize,
    /// Labels of one series, not counting its name.
    pub label_limit: usize,
    /// Bytes of a metric or label name.
    pub label_name_length_limit: usize,
    /// Bytes of a label value.
    pub label_value_length_limit: usize,
}

impl Default for ScrapeConfig {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            timeout: Duration::from_secs(10),
            body_size_limit: 64 << 20,
            sample_limit: limits.max_samples,
            label_limit: limits.max_labels,
            label_name_length_limit: limits.max_name_bytes,
            label_value_length_limit: limits.max_value_bytes,
        }
    }
}

impl ScrapeConfig {
    fn limits(&self) -> Limits {
        Limits {
            max_samples: self.sample_limit,
            max_labels: self.label_limit,
            max_name_bytes: self.label_name_length_limit,
            max_value_bytes: self.label_value_length_limit,
        }
    }
}

/// What one scrape gave. A failure is data too: then `scrape` has `up == false` and no samples.
#[derive(Debug)]
pub struct Scraped {
    /// Samples, time and duration.
    pub scrape: Scrape,
    /// Why there are no samples; `None` exactly when `scrape.up`.
    pub error: Option<ScrapeError>,
}

/// Why a scrape failed. No message shows credentials or a query.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScrapeError {
    /// The HTTP client cannot be set up: the machine has no CA certificates.
    #[error("cannot prepare TLS for {target}: are CA certificates installed on this machine?")]
    Client {
        /// Which server.
        target: Target,
        /// Why.
        source: reqwest::Error,
    },
    /// The port is closed.
    #[error(
        "nothing listens at {target}: is CoreDNS running with its `prometheus` plugin enabled?"
    )]
    Refused {
        /// Which server.
        target: Target,
        /// Why.
        source: reqwest::Error,
    },
    /// The name does not resolve.
    #[error("cannot resolve the host of {target}: check its spelling and this machine's DNS")]
    Dns {
        /// Which server.
        target: Target,
        /// Why.
        source: reqwest::Error,
    },
    /// No connection for another reason, TLS among them.
    #[error(
        "cannot connect to {target}: check the address, the firewall and, with https, the certificate"
    )]
    Connect {
        /// Which server.
        target: Target,
        /// Why.
        source: reqwest::Error,
    },
    /// Not done within [`ScrapeConfig::timeout`].
    #[error("{target} did not answer within {}: is it overloaded, or the timeout too short?", format_duration(*.timeout))]
    Timeout {
        /// Which server.
        target: Target,
        /// Time allowed.
        timeout: Duration,
    },
    /// An answer other than 200.
    #[error("{target} answered {status}: {}", advice(*.status))]
    Status {
        /// Which server.
        target: Target,
        /// The answer.
        status: StatusCode,
    },
    /// The connection broke, or the answer's encoding is damaged.
    #[error("the answer of {target} broke off or is damaged")]
    Body {
        /// Which server.
        target: Target,
        /// Why.
        source: reqwest::Error,
    },
    /// More than [`ScrapeConfig::body_size_limit`].
    #[error(
        "the answer of {target} has more than {limit} bytes: is it a metrics page? if so, raise the body size limit"
    )]
    TooLarge {
        /// Which server.
        target: Target,
        /// Bytes allowed.
        limit: usize,
    },
    /// Something else than exposition text.
    #[error(
        "{target} answers with {what}, not with metrics: is this CoreDNS's `prometheus` address and path?"
    )]
    NotMetrics {
        /// Which server.
        target: Target,
        /// What it is.
        what: String,
    },
    /// Exposition text with an error.
    #[error("cannot read the metrics of {target}")]
    Parse {
        /// Which server.
        target: Target,
        /// Where and why.
        source: ParseError,
    },
}

impl ScrapeError {
    /// A word for labels and counters: `refused`, `timeout`, `parse` and so on.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Client { .. } => "client",
            Self::Refused { .. } => "refused",
            Self::Dns { .. } => "dns",
            Self::Connect { .. } => "connect",
            Self::Timeout { .. } => "timeout",
            Self::Status { .. } => "status",
            Self::Body { .. } => "body",
            Self::TooLarge { .. } => "too_large",
            Self::NotMetrics { .. } => "not_metrics",
            Self::Parse { .. } => "parse",
        }
    }
}

fn advice(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => "it wants credentials, or other ones",
        404 => "check the path, CoreDNS serves `/metrics`",
        500..=599 => "look at the server's own log",
        _ => "expected 200",
    }
}

/// Scrapes one server again and again over a kept connection.
#[derive(Debug)]
pub struct Scraper {
    target: Target,
    config: ScrapeConfig,
    client: Client,
    parser: Parser,
    /// Kept from scrape to scrape for its memory.
    body: Vec<u8>,
    /// Whether a connection may be left over from the last scrape.
    has_connection: bool,
}

impl Scraper {
    /// Prepares to scrape `target`; connects to nothing yet. Fails only for https on a machine
    /// without CA certificates.
    pub fn new(target: Target, config: ScrapeConfig) -> Result<Self, ScrapeError> {
        let client = client(target.is_https())
            .map_err(|source| ScrapeError::Client { target: target.clone(), source })?;
        let parser = Parser::new(config.limits());
        Ok(Self { target, config, client, parser, body: Vec::new(), has_connection: false })
    }

    /// Which server this is.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Scrapes once. `at` becomes the time of the scrape; timestamps in the answer are ignored.
    ///
    /// Never fails as such: see [`Scraped::error`]. Give the same `table` each time: a table that
    /// is not the last one's is noticed, and costs speed only.
    pub async fn scrape(&mut self, at: Timestamp, table: &mut SeriesTable) -> Scraped {
        let start = Instant::now();
        let mut samples = Vec::new();
        let result = self.fetch_and_parse(table, &mut samples).await;
        let scrape = Scrape {
            time: at,
            up: result.is_ok(),
            duration_seconds: start.elapsed().as_secs_f64(),
            samples,
        };
        Scraped { scrape, error: result.err() }
    }

    async fn fetch_and_parse(
        &mut self,
        table: &mut SeriesTable,
        samples: &mut Vec<Sample>,
    ) -> Result<(), ScrapeError> {
        let timeout = self.config.timeout;
        let format = match tokio::time::timeout(timeout, self.fetch()).await {
            Ok(fetched) => fetched?,
            Err(_) => return Err(ScrapeError::Timeout { target: self.target.clone(), timeout }),
        };
        let parsed = match format {
            Some(format) => self.parser.parse_as(format, &self.body, table, samples),
            None => self.parser.parse(&self.body, table, samples),
        };
        parsed.map(|_| ()).map_err(|error| self.parse_error(error))
    }

    /// Fills the body and says what format the server claims.
    async fn fetch(&mut self) -> Result<Option<Format>, ScrapeError> {
        self.body.clear();
        let response = self.send().await?;
        if response.status() != StatusCode::OK {
            let (target, status) = (self.target.clone(), response.status());
            return Err(ScrapeError::Status { target, status });
        }
        let format = self.claimed_format(response.headers())?;
        self.read_body(response).await?;
        self.has_connection = true;
        Ok(format)
    }

    /// A kept connection may have died with a server that is back by now, which shows only when it
    /// is used; so a request on one is sent once more.
    async fn send(&mut self) -> Result<Response, ScrapeError> {
        match self.request().await {
            Err(ScrapeError::Body { .. }) if std::mem::take(&mut self.has_connection) => {
                self.request().await
            }
            sent => sent,
        }
    }

    async fn request(&self) -> Result<Response, ScrapeError> {
        let seconds = self.config.timeout.as_secs_f64().to_string();
        self.client
            .get(self.target.url().clone())
            .header(ACCEPT, ACCEPTED)
            .header("X-Prometheus-Scrape-Timeout-Seconds", seconds)
            .send()
            .await
            .map_err(|error| self.send_error(error.without_url()))
    }

    /// Reads what the decompressor gives, piece by piece, so that a bomb stops at the limit.
    async fn read_body(&mut self, mut response: Response) -> Result<(), ScrapeError> {
        let limit = self.config.body_size_limit;
        loop {
            let chunk = response.chunk().await.map_err(|error| ScrapeError::Body {
                target: self.target.clone(),
                source: error.without_url(),
            })?;
            let Some(chunk) = chunk else { return Ok(()) };
            if self.body.len() + chunk.len() > limit {
                // A huge answer must not keep its memory until the next one.
                self.body = Vec::new();
                return Err(ScrapeError::TooLarge { target: self.target.clone(), limit });
            }
            self.body.extend_from_slice(&chunk);
        }
    }

    fn claimed_format(&self, headers: &HeaderMap) -> Result<Option<Format>, ScrapeError> {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match media.to_ascii_lowercase().as_str() {
            "application/openmetrics-text" => Ok(Some(Format::OpenMetrics)),
            "text/plain" => Ok(Some(Format::Text)),
            "text/html" | "application/xhtml+xml" => Err(self.not_metrics("an HTML page")),
            "application/json" => Err(self.not_metrics("JSON")),
            "application/vnd.google.protobuf" => Err(self.not_metrics("protobuf")),
            _ => Ok(None),
        }
    }

    fn not_metrics(&self, what: &str) -> ScrapeError {
        ScrapeError::NotMetrics { target: self.target.clone(), what: what.to_owned() }
    }

    fn parse_error(&self, source: ParseError) -> ScrapeError {
        match source.reason {
            Reason::NotMetrics(what) => self.not_metrics(what),
            _ => ScrapeError::Parse { target: self.target.clone(), source },
        }
    }

    fn send_error(&self, source: reqwest::Error) -> ScrapeError {
        let target = self.target.clone();
        match Broken::of(&source) {
            Broken::Dns => ScrapeError::Dns { target, source },
            Broken::Refused => ScrapeError::Refused { target, source },
            Broken::Connect => ScrapeError::Connect { target, source },
            Broken::Body => ScrapeError::Body { target, source },
        }
    }
}

/// What broke when a request failed without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    Dns,
    Refused,
    Connect,
    Body,
}

impl Broken {
    pub(crate) fn of(error: &reqwest::Error) -> Self {
        if !error.is_connect() {
            return Self::Body;
        }
        if chain(error).any(|cause| cause.is::<ResolveError>()) {
            return Self::Dns;
        }
        let is_refusal = |cause: &io::Error| cause.kind() == io::ErrorKind::ConnectionRefused;
        if chain(error).any(|cause| cause.downcast_ref().is_some_and(is_refusal)) {
            return Self::Refused;
        }
        Self::Connect
    }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// A client for one server. No proxy of the environment stands between a monitor and its target.
pub(crate) fn client(is_https: bool) -> reqwest::Result<Client> {
    // An error means that the program has chosen a provider before; that one serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .user_agent(concat!("oddns/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .pool_max_idle_per_host(1)
        .dns_resolver(SystemResolver);
    if is_https {
        return builder.build();
    }
    // Without TLS no certificates are needed: loading them costs memory, and fails in containers
    // that have none.
    builder.tls_certs_only([]).build()
}

/// The system's resolver, with an error that can be told from a failed connection.
struct SystemResolver;

#[derive(Debug, thiserror::Error)]
#[error("cannot resolve `{host}`")]
struct ResolveError {
    host: String,
    source: io::Error,
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str().to_owned();
            // The port is the URL's; 0 stands for it here.
            let found = tokio::net::lookup_host((host.as_str(), 0))
                .await
                .map(|addresses| addresses.collect::<Vec<SocketAddr>>());
            match found {
                Ok(addresses) => Ok(Box::new(addresses.into_iter()) as Addrs),
                Err(source) => Err(ResolveError { host, source }.into()),
            }
        })
    }
}
