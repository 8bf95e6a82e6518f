//! One request to Prometheus's HTTP API, tried until it is answered or cannot be.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use super::{HistoryConfig, HistoryError, PrometheusUrl, Waiting};
use crate::answer;
use crate::http::{Broken, HttpClient, HttpError, wrong_redirect};
use crate::remote_read::ReadFormat;

/// The longest that a busy server may make us wait.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Longer requests are posted: proxies and servers cut long addresses.
const MAX_QUERY_BYTES: usize = 2000;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
enum Ask<'a> {
    /// JSON of a path, and parameters.
    Form(&'a str, &'a [(&'a str, String)]),
    /// A remote read of this body.
    Read(&'a [u8]),
}

/// What a body consists of, and the body.
type Answered = (ReadFormat, Vec<u8>);

/// Asks one server.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) server: PrometheusUrl,
    pub(super) waiting: Waiting,
    config: HistoryConfig,
    http: HttpClient,
    /// A server that has answered before and refuses now is being restarted rather than misspelled.
    has_answered: AtomicBool,
}

impl Requests {
    pub(super) fn new(server: PrometheusUrl, config: HistoryConfig) -> Result<Self, HistoryError> {
        let http = HttpClient::following(config.http.clone(), server.base())
            .map_err(|error| unprepared(&server, error))?;
        let (waiting, has_answered) = (Waiting::default(), AtomicBool::new(false));
        Ok(Self { server, waiting, config, http, has_answered })
    }

    /// The body of a good answer of `/api/v1/` + `path`.
    pub(super) async fn call(
        &self,
        path: &str,
        form: &[(&str, String)],
    ) -> Result<Vec<u8>, HistoryError> {
        Ok(self.insist(Ask::Form(path, form)).await?.1)
    }

    /// The answer to a remote read, and what it consists of.
    pub(super) async fn read(&self, body: &[u8]) -> Result<Answered, HistoryError> {
        self.insist(Ask::Read(body)).await
    }

    /// Tries until there is an answer or none can be hoped for.
    async fn insist(&self, ask: Ask<'_>) -> Result<Answered, HistoryError> {
        let mut wait = self.config.first_wait;
        let mut n_left = self.config.max_attempts;
        loop {
            let error = match self.once(ask).await {
                Ok(answer) => {
                    self.has_answered.store(true, Ordering::Relaxed);
                    self.waiting.set(None);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            n_left = n_left.saturating_sub(1);
            if n_left == 0 || !self.may_pass(&error) {
                return Err(error);
            }
            self.waiting.set(Some(error.to_string()));
            tokio::time::sleep(retry_after(&error).unwrap_or(wait).min(MAX_WAIT)).await;
            wait = wait.saturating_mul(2);
        }
    }

    /// Whether the same request may be answered a little later.
    fn may_pass(&self, error: &HistoryError) -> bool {
        match error {
            HistoryError::Status { status, .. } | HistoryError::Answer { status, .. } => {
                (status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS)
                    && !error.is_too_much()
            }
            HistoryError::Refused { .. } | HistoryError::Connect { .. } => {
                self.has_answered.load(Ordering::Relaxed)
            }
            HistoryError::Body { .. } => true,
            _ => false,
        }
    }

    async fn once(&self, ask: Ask<'_>) -> Result<Answered, HistoryError> {
        let (server, timeout) = (self.server.clone(), self.config.timeout);
        let fetching = async {
            match ask {
                // JSON has no format of remote read; the first one stands in.
                Ask::Form(path, form) => Ok((ReadFormat::Samples, self.fetch(path, form).await?)),
                Ask::Read(body) => self.fetch_read(body).await,
            }
        };
        match tokio::time::timeout(timeout, fetching).await {
            Ok(fetched) => fetched,
            Err(_) => Err(HistoryError::Timeout { server, timeout }),
        }
    }

    async fn fetch(&self, path: &str, form: &[(&str, String)]) -> Result<Vec<u8>, HistoryError> {
        let response = self.send(path, form).await?;
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = self.body(response).await?;
        let server = self.server.clone();
        let is_json = body.trim_ascii_start().starts_with(b"{");
        match (status.is_success(), is_json) {
            (true, true) => Ok(body),
            (true, false) => Err(HistoryError::NotPrometheus { server, what: what(&body) }),
            (false, true) => match answer::parse::<serde::de::IgnoredAny>(&body) {
                Err(source @ answer::AnswerError::Refused { .. }) => {
                    Err(HistoryError::Answer { server, status, source })
                }
                _ => Err(HistoryError::Status { server, status, retry_after }),
            },
            (false, false) => Err(HistoryError::Status { server, status, retry_after }),
        }
    }

    async fn fetch_read(&self, body: &[u8]) -> Result<Answered, HistoryError> {
        let request = self.prepare(Method::POST, &self.server.api("read")).await?;
        let request = request
            .body(body.to_owned())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(CONTENT_ENCODING, "snappy")
            .header("x-prometheus-remote-read-version", "0.1.0");
        let response = request.send().await;
        let response = response.map_err(|error| self.send_error(error.without_url()))?;
        let status = response.status();
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let retry_after = text(RETRY_AFTER).and_then(|value| value.trim().parse().ok());
        let format = match text(CONTENT_TYPE).unwrap_or_default() {
            kind if kind.starts_with("application/x-streamed-protobuf") => Some(ReadFormat::Chunks),
            kind if kind.starts_with("application/x-protobuf") => Some(ReadFormat::Samples),
            _ => None,
        };
        let server = self.server.clone();
        let body = self.body(response).await?;
        match format {
            _ if !status.is_success() => match answer::parse::<serde::de::IgnoredAny>(&body) {
                Err(source @ answer::AnswerError::Refused { .. }) => {
                    Err(HistoryError::Answer { server, status, source })
                }
                _ => Err(HistoryError::Status { server, status, retry_after }),
            },
            Some(format) => Ok((format, body)),
            None => Err(HistoryError::NotPrometheus { server, what: what(&body) }),
        }
    }

    async fn send(&self, path: &str, form: &[(&str, String)]) -> Result<Response, HistoryError> {
        let mut url = self.server.api(path);
        url.query_pairs_mut().extend_pairs(form);
        let is_long = url.query().is_some_and(|query| query.len() > MAX_QUERY_BYTES);
        let request = match is_long {
            true => self.post(url).await?,
            false => self.prepare(Method::GET, &url).await?,
        };
        let response = request.send().await;
        response.map_err(|error| self.send_error(error.without_url()))
    }

    async fn prepare(&self, method: Method, url: &Url) -> Result<RequestBuilder, HistoryError> {
        let prepared = self.http.prepare(method, url).await;
        prepared.map_err(|error| unprepared(&self.server, error))
    }

    async fn post(&self, mut url: Url) -> Result<RequestBuilder, HistoryError> {
        let body = url.query().unwrap_or_default().to_owned();
        url.set_query(None);
        let form = "application/x-www-form-urlencoded";
        let request = self.prepare(Method::POST, &url).await?;
        Ok(request.header(CONTENT_TYPE, form).body(body))
    }

    /// Reads what the decompressor gives, piece by piece, so that a bomb stops at the limit.
    async fn body(&self, mut response: Response) -> Result<Vec<u8>, HistoryError> {
        let limit = self.config.max_answer_bytes;
        let mut body = Vec::new();
        loop {
            let chunk = response.chunk().await.map_err(|error| HistoryError::Body {
                server: self.server.clone(),
                source: error.without_url(),
            })?;
            let Some(chunk) = chunk else { return Ok(body) };
            if body.len() + chunk.len() > limit {
                return Err(HistoryError::TooLarge { server: self.server.clone(), limit });
            }
            body.extend_from_slice(&chunk);
        }
    }

    fn send_error(&self, source: reqwest::Error) -> HistoryError {
        let server = self.server.clone();
        if let Some(advice) = wrong_redirect(&source) {
            return HistoryError::Redirect { server, advice };
        }
        match Broken::of(&source) {
            Broken::Dns => HistoryError::Dns { server, source },
            Broken::Refused => HistoryError::Refused { server, source },
            Broken::Connect => HistoryError::Connect { server, source },
            Broken::Body => HistoryError::Body { server, source },
        }
    }
}

/// Why there is not even a request.
fn unprepared(server: &PrometheusUrl, error: HttpError) -> HistoryError {
    let server = server.clone();
    match error {
        HttpError::Client(source) => HistoryError::Client { server, source },
        source @ (HttpError::File { .. } | HttpError::Credentials) => {
            HistoryError::Auth { server, source }
        }
        source => HistoryError::Http { server, source },
    }
}

fn retry_after(error: &HistoryError) -> Option<Duration> {
    match error {
        HistoryError::Status { retry_after, .. } => retry_after.map(Duration::from_secs),
        _ => None,
    }
}

fn what(body: &[u8]) -> &'static str {
    match body.trim_ascii_start().first() {
        Some(b'<') => "a web page",
        None => "nothing",
        Some(_) => "something else than JSON",
    }
}
