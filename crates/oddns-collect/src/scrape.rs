//! One look at one server over HTTP.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use oddns_core::{Sample, Scrape, SeriesTable, Timestamp};
use reqwest::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, StatusCode};

use crate::admission::{Admission, LimitError};
use crate::duration::format_duration;
use crate::exposition::{Format, ParseError, Parser, Reason};
use crate::http::{Broken, HttpClient, HttpError};
use crate::job::accept;
use crate::scrape_target::ScrapeTarget;
use crate::target::Target;

const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// How far the time of a sample may be behind and ahead of its scrape, in milliseconds: further
/// back Prometheus does not look, and further ahead it refuses.
const TIMELY: (i64, i64) = (300_000, 600_000);

/// What an answer is, by its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claimed {
    Text(Format),
    Protobuf,
}

/// A larger body than any server needs is not kept in memory.
const KEPT_BODY_BYTES: usize = 4 << 20;

/// What was in an answer.
#[derive(Debug, Default)]
struct Content {
    n_scraped: usize,
    left_out: LeftOut,
}

/// Samples of a scrape that were left out, for what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOut {
    /// With a time of their own that is far from the scrape's.
    pub untimely: usize,
    /// Of a series that is in the answer before; the first one counts.
    pub duplicate: usize,
    /// Counters below zero.
    pub negative: usize,
}

impl LeftOut {
    /// Every reason that [`LeftOut::by_reason`] gives.
    pub const REASONS: [&str; 3] = ["duplicate", "negative", "untimely"];

    /// How many for each reason that there was: a word for labels, the number, and what they are in
    /// words.
    pub fn by_reason(&self) -> impl Iterator<Item = (&'static str, usize, &'static str)> {
        [
            ("duplicate", self.duplicate, "of series that are in the answer twice"),
            ("negative", self.negative, "of counters below zero"),
            ("untimely", self.untimely, "with a time far from that of the scrape"),
        ]
        .into_iter()
        .filter(|(_, n, _)| *n > 0)
    }
}

/// What one scrape gave. A failure is data too: then `scrape` has `up == false` and no samples.
#[derive(Debug)]
pub struct Scraped {
    /// Samples, time and duration.
    pub scrape: Scrape,
    /// Why there are no samples; `None` exactly when `scrape.up`.
    pub error: Option<ScrapeError>,
    /// Samples in the answer, before relabelling; 0 for one that could not be read.
    pub n_scraped: usize,
    /// Samples of the answer that are not in `scrape`, relabelling aside.
    pub left_out: LeftOut,
    /// Bytes of the answer after decompression, as far as it was read.
    pub n_bytes: usize,
}

/// Why a scrape failed. No message shows credentials or a query.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScrapeError {
    /// A request cannot be made: a file of a secret or a certificate is missing, or the machine has
    /// no CA certificates.
    #[error("cannot ask {target}")]
    Client {
        /// Which server.
        target: Target,
        /// Why.
        source: HttpError,
    },
    /// The answer leads elsewhere without end, or to where we do not go.
    #[error("{target} sends us elsewhere")]
    Redirect {
        /// Which server.
        target: Target,
        /// Why.
        source: HttpError,
    },
    /// More samples, labels or bytes of a label than the job allows.
    #[error("the metrics of {target} are more than the job allows")]
    Limit {
        /// Which server.
        target: Target,
        /// What there is too much of.
        source: LimitError,
    },
    /// The job has more targets than it may have, so none is scraped.
    #[error("{target} was not asked: its job has more than the {limit} targets of `target_limit`")]
    TargetLimit {
        /// Which server.
        target: Target,
        /// Targets allowed.
        limit: usize,
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
    /// Not done within [`ScrapeTarget::timeout`].
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
    /// More than [`crate::ScrapeLimits::body_size`].
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
    /// Every word that [`ScrapeError::kind`] gives.
    pub const KINDS: &[&str] = &[
        "body",
        "client",
        "connect",
        "dns",
        "label_limit",
        "label_name_length_limit",
        "label_value_length_limit",
        "not_metrics",
        "parse",
        "redirect",
        "refused",
        "sample_limit",
        "status",
        "target_limit",
        "timeout",
        "too_large",
    ];

    /// A word for labels and counters: `refused`, `timeout`, `parse` and so on.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Client { .. } => "client",
            Self::Redirect { .. } => "redirect",
            Self::Limit { source, .. } => source.key(),
            Self::TargetLimit { .. } => "target_limit",
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

/// Takes out counters below zero, which no server can have counted; how many.
fn leave_out_negative(table: &SeriesTable, samples: &mut Vec<Sample>) -> usize {
    let is_counter =
        |name: &str| ["_total", "_count", "_bucket"].iter().any(|ending| name.ends_with(ending));
    let n_before = samples.len();
    samples.retain(|sample| {
        sample.value >= 0.0
            || sample.value.is_nan()
            || !table.get(sample.series).is_some_and(|key| is_counter(&key.name))
    });
    n_before - samples.len()
}

fn advice(status: StatusCode) -> &'static str {
    match status.as_u16() {
        301..=308 => "it sends us elsewhere, and `follow_redirects` is off",
        401 | 403 => "it wants credentials, or other ones",
        404 => "check the path, CoreDNS serves `/metrics`",
        500..=599 => "look at the server's own log",
        _ => "expected 200",
    }
}

/// Scrapes one server again and again over a kept connection.
#[derive(Debug)]
pub struct Scraper {
    target: ScrapeTarget,
    client: Arc<HttpClient>,
    headers: HeaderMap,
    parser: Parser,
    admission: Option<Admission>,
    /// Kept from scrape to scrape for its memory.
    body: Vec<u8>,
    /// Whether a connection may be left over from the last scrape.
    has_connection: bool,
    /// Whether nothing is kept from one scrape to the next.
    lean: bool,
}

impl Scraper {
    /// Prepares to scrape `target`; connects to nothing and reads no file yet.
    pub fn new(target: ScrapeTarget) -> Self {
        let config = target.job.config();
        let mut headers = HeaderMap::new();
        for (name, text) in [
            (ACCEPT, accept(&config.protocols)),
            (TIMEOUT_HEADER, target.timeout.as_secs_f64().to_string()),
        ] {
            headers.extend(HeaderValue::from_str(&text).ok().map(|value| (name, value)));
        }
        Self {
            client: target.job.client(&target.target),
            headers,
            parser: Parser::new(config.limits.parser()),
            admission: Admission::of(&target),
            body: Vec::new(),
            has_connection: false,
            lean: false,
            target,
        }
    }

    /// Which server this is.
    pub fn target(&self) -> &ScrapeTarget {
        &self.target
    }

    /// Scrapes once. `at` becomes the time of the scrape and of every sample; see
    /// [`crate::JobConfig::honor_timestamps`] for samples with a time of their own.
    ///
    /// Never fails as such: see [`Scraped::error`]. Give the same `table` each time: a table that
    /// is not the last one's is noticed, and costs speed only.
    pub async fn scrape(&mut self, at: Timestamp, table: &mut SeriesTable) -> Scraped {
        let start = Instant::now();
        self.body.clear();
        let mut samples = Vec::new();
        let result = self.fetch_and_parse(at, table, &mut samples).await;
        if result.is_err() {
            samples.clear();
        }
        let scrape = Scrape {
            time: at,
            up: result.is_ok(),
            duration_seconds: start.elapsed().as_secs_f64(),
            samples,
        };
        let n_bytes = self.body.len();
        let (content, error) = match result {
            Ok(content) => (content, None),
            Err(error) => (Content::default(), Some(error)),
        };
        if self.lean {
            self.forget_texts();
        } else if self.body.capacity() > KEPT_BODY_BYTES {
            self.body = Vec::new();
        }
        let Content { n_scraped, left_out } = content;
        Scraped { scrape, error, n_scraped, left_out, n_bytes }
    }

    /// Whether to keep nothing from one scrape to the next. The next one takes more time then, and until
    /// it begins there is more memory: an idle connection holds buffers for the largest part of an
    /// answer that came at once, the outline of the answer is as large as the answer. A connection is kept
    /// all the same with TLS, which costs both sides more than a scrape, and to a server known by name,
    /// which would be looked up each time, perhaps at the servers that are watched.
    pub(crate) fn set_lean(&mut self, lean: bool) {
        if lean == self.lean {
            return;
        }
        self.lean = lean;
        let address = &self.target.target;
        if lean && !address.is_https() && address.url().domain().is_none() {
            self.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        } else {
            self.headers.remove(CONNECTION);
        }
    }

    fn forget_texts(&mut self) {
        self.body = Vec::new();
        self.parser = Parser::new(self.target.job.config().limits.parser());
    }

    /// The failed scrape of a target whose job has more than `limit` of them.
    pub(crate) fn refuse(&self, at: Timestamp, limit: usize) -> Scraped {
        let error = ScrapeError::TargetLimit { target: self.target.target.clone(), limit };
        let scrape = Scrape { time: at, up: false, duration_seconds: 0.0, samples: Vec::new() };
        let left_out = LeftOut::default();
        Scraped { scrape, error: Some(error), n_scraped: 0, left_out, n_bytes: 0 }
    }

    async fn fetch_and_parse(
        &mut self,
        at: Timestamp,
        table: &mut SeriesTable,
        samples: &mut Vec<Sample>,
    ) -> Result<Content, ScrapeError> {
        let timeout = self.target.timeout;
        let claimed = match tokio::time::timeout(timeout, self.fetch()).await {
            Ok(fetched) => fetched?,
            Err(_) => return Err(ScrapeError::Timeout { target: self.address(), timeout }),
        };
        let content = self.parse(claimed, at, table, samples)?;
        let limit = self.target.job.config().limits.samples;
        if limit > 0 && samples.len() > limit {
            return Err(self.limit_error(LimitError::Samples(limit)));
        }
        Ok(content)
    }

    fn parse(
        &mut self,
        claimed: Option<Claimed>,
        at: Timestamp,
        table: &mut SeriesTable,
        samples: &mut Vec<Sample>,
    ) -> Result<Content, ScrapeError> {
        let claimed = claimed.unwrap_or_else(|| Claimed::Text(Format::detect(&self.body)));
        let mut raw = Vec::new();
        let (into, found) = match &mut self.admission {
            Some(admission) => (admission.raw(), &mut raw),
            None => (&mut *table, &mut *samples),
        };
        let parsed = match claimed {
            Claimed::Text(format) => self.parser.parse_as(format, &self.body, into, found),
            Claimed::Protobuf => self.parser.parse_protobuf(&self.body, into, found),
        };
        let summary = parsed.map_err(|error| self.parse_error(error))?;
        let found = if self.admission.is_some() { &mut raw } else { &mut *samples };
        let untimely = self.leave_out_untimely(at, found);
        let known = self.admission.as_ref().map_or(&*table, Admission::found);
        let negative = leave_out_negative(known, found);
        if let Some(admission) = &mut self.admission {
            let admitted = admission.admit(&raw, table, samples);
            admitted.map_err(|error| self.limit_error(error))?;
        }
        let left_out = LeftOut { untimely, duplicate: summary.duplicates, negative };
        Ok(Content { n_scraped: summary.samples, left_out })
    }

    /// Takes out the samples just parsed whose own time is far from the scrape's; how many.
    fn leave_out_untimely(&self, at: Timestamp, samples: &mut Vec<Sample>) -> usize {
        if !self.target.job.config().honor_timestamps {
            return 0;
        }
        let is_far = |time: Timestamp| {
            let ahead = time.millis().saturating_sub(at.millis());
            !(-TIMELY.0..=TIMELY.1).contains(&ahead)
        };
        let times = self.parser.times();
        let far = times.iter().filter(|(_, time)| is_far(*time)).map(|(place, _)| *place);
        let far: HashSet<usize> = far.collect();
        let mut place = 0;
        samples.retain(|_| {
            place += 1;
            !far.contains(&(place - 1))
        });
        far.len()
    }

    fn address(&self) -> Target {
        self.target.target.clone()
    }

    fn limit_error(&self, source: LimitError) -> ScrapeError {
        ScrapeError::Limit { target: self.address(), source }
    }

    /// Fills the body and says what format the server claims.
    async fn fetch(&mut self) -> Result<Option<Claimed>, ScrapeError> {
        let response = self.send().await?;
        if response.status() != StatusCode::OK {
            return Err(ScrapeError::Status { target: self.address(), status: response.status() });
        }
        let format = self.claimed_format(response.headers())?;
        self.read_body(response).await?;
        self.has_connection = !self.headers.contains_key(CONNECTION);
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
        let sent = self.client.get(self.target.target.url(), &self.headers).await;
        sent.map_err(|error| self.send_error(error))
    }

    /// Reads what the decompressor gives, piece by piece, so that a bomb stops at the limit.
    async fn read_body(&mut self, mut response: Response) -> Result<(), ScrapeError> {
        let limit = self.target.job.config().limits.max_body_bytes();
        loop {
            let chunk = response.chunk().await.map_err(|error| ScrapeError::Body {
                target: self.address(),
                source: error.without_url(),
            })?;
            let Some(chunk) = chunk else { return Ok(()) };
            if self.body.len() + chunk.len() > limit {
                // A huge answer must not keep its memory until the next one.
                self.body = Vec::new();
                return Err(ScrapeError::TooLarge { target: self.address(), limit });
            }
            self.body.extend_from_slice(&chunk);
        }
    }

    fn claimed_format(&self, headers: &HeaderMap) -> Result<Option<Claimed>, ScrapeError> {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match media.to_ascii_lowercase().as_str() {
            "application/openmetrics-text" => Ok(Some(Claimed::Text(Format::OpenMetrics))),
            "text/plain" => Ok(Some(Claimed::Text(Format::Text))),
            "text/html" | "application/xhtml+xml" => Err(self.not_metrics("an HTML page")),
            "application/json" => Err(self.not_metrics("JSON")),
            "application/vnd.google.protobuf" => Ok(Some(Claimed::Protobuf)),
            _ => Ok(None),
        }
    }

    fn not_metrics(&self, what: &str) -> ScrapeError {
        ScrapeError::NotMetrics { target: self.address(), what: what.to_owned() }
    }

    fn parse_error(&self, source: ParseError) -> ScrapeError {
        match source.reason {
            Reason::NotMetrics(what) => self.not_metrics(what),
            _ => ScrapeError::Parse { target: self.address(), source },
        }
    }

    fn send_error(&self, error: HttpError) -> ScrapeError {
        let target = self.address();
        let source = match error {
            HttpError::Exchange(source) => source,
            source @ (HttpError::TooManyRedirects | HttpError::Redirect) => {
                return ScrapeError::Redirect { target, source };
            }
            source => return ScrapeError::Client { target, source },
        };
        match Broken::of(&source) {
            Broken::Dns => ScrapeError::Dns { target, source },
            Broken::Refused => ScrapeError::Refused { target, source },
            Broken::Connect => ScrapeError::Connect { target, source },
            Broken::Body => ScrapeError::Body { target, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread::JoinHandle;

    use super::*;
    use crate::job::{Job, JobConfig};

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\ncoredns_panics 0\n\n";

    /// Answers every request of `n` connections; gives how many there were on each.
    fn server(listener: TcpListener, n: usize) -> JoinHandle<Vec<usize>> {
        std::thread::spawn(move || {
            listener.incoming().take(n).map(|c| requests(c.unwrap())).collect()
        })
    }

    fn requests(stream: TcpStream) -> usize {
        let mut n = 0;
        for line in BufReader::new(&stream).lines().map_while(Result::ok) {
            if line.is_empty() {
                n += 1;
                (&stream).write_all(ANSWER).unwrap();
            }
        }
        n
    }

    #[tokio::test]
    async fn a_lean_scraper_keeps_neither_texts_nor_a_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap().to_string().parse().unwrap();
        let server = server(listener, 3);
        let job = Job::new(JobConfig::of_target("dns", &target));
        let mut scraper = Scraper::new(job.static_targets().unwrap().remove(0));
        let mut table = SeriesTable::default();
        // The connection of the first two is closed by the third, which is told to keep none.
        for lean in [false, false, true, true, true] {
            scraper.set_lean(lean);
            let scraped = scraper.scrape(Timestamp::default(), &mut table).await;
            assert!(scraped.scrape.up && scraped.n_bytes == 18, "{scraped:?}");
            assert_eq!(scraper.body.capacity() == 0, lean);
        }
        assert_eq!(table.len(), 1);
        assert_eq!(server.join().unwrap(), [3, 1, 1]);
    }
}
