//! `http_sd_configs`: a server that lists targets.

use std::fmt;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, Url};
use tokio::time::{sleep, timeout};

use super::{DiscoveryError, MAX_LIST_BYTES, Report, Reporter, flatten, parse_json};
use crate::http::{HttpClient, HttpConfig, HttpError};
use crate::relabel::LabelMap;
use crate::target::write_redacted;

const REFRESH_HEADER: HeaderName = HeaderName::from_static("x-prometheus-refresh-interval-seconds");

/// A server that answers with a list of targets in JSON.
#[derive(Clone, PartialEq)]
pub struct HttpDiscovery {
    url: Url,
    /// Time between two questions, and the longest for one.
    pub refresh_interval: Duration,
    /// How to speak to the server.
    pub http: HttpConfig,
}

impl HttpDiscovery {
    /// Asks at `url`, which must be http or https with a host; the message says what is wrong, and
    /// does not repeat the text, since that may hold a password.
    pub fn new(url: &str, refresh_interval: Duration, http: HttpConfig) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|error| format!("the URL is none: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("scheme `{}` is not known: write http or https", url.scheme()));
        }
        Ok(Self { url, refresh_interval, http })
    }

    pub(crate) async fn follow(&self, reporter: Reporter) {
        let client = HttpClient::new(self.http.clone(), self.url.scheme() == "https");
        loop {
            let report = match timeout(self.refresh_interval, self.ask(&client)).await {
                Ok(Ok(targets)) => Report { targets: Some(targets), errors: Vec::new() },
                Ok(Err(error)) => Report::failed(error),
                Err(_) => Report::failed(self.wrong("did not answer within its refresh interval")),
            };
            if !reporter.send(report).await {
                return;
            }
            sleep(self.refresh_interval).await;
        }
    }

    async fn ask(&self, client: &HttpClient) -> Result<Vec<LabelMap>, DiscoveryError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(REFRESH_HEADER, HeaderValue::from(self.refresh_interval.as_secs()));
        let failed = |source| DiscoveryError::Http { url: self.shown(), source };
        let mut response = client.get(&self.url, &headers).await.map_err(failed)?;
        self.check(&response)?;
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| failed(HttpError::Exchange(error.without_url())))?
        {
            if body.len() + chunk.len() > MAX_LIST_BYTES {
                return Err(self.wrong("answers with more than 16 MiB"));
            }
            body.extend_from_slice(&chunk);
        }
        let groups = parse_json(&body, &self.shown())?;
        Ok(flatten(groups, ("__meta_url", self.url.as_str())))
    }

    fn check(&self, response: &Response) -> Result<(), DiscoveryError> {
        if response.status().as_u16() != 200 {
            return Err(self.wrong(&format!("answered {}", response.status())));
        }
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match media.eq_ignore_ascii_case("application/json") {
            true => Ok(()),
            false => Err(self.wrong("does not answer with `Content-Type: application/json`")),
        }
    }

    fn wrong(&self, problem: &str) -> DiscoveryError {
        DiscoveryError::Answer { url: self.shown(), problem: problem.to_owned() }
    }

    fn shown(&self) -> String {
        Shown(&self.url).to_string()
    }
}

impl fmt::Debug for HttpDiscovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpDiscovery").field("url", &self.shown()).finish_non_exhaustive()
    }
}

struct Shown<'a>(&'a Url);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_redacted(self.0, f)
    }
}
