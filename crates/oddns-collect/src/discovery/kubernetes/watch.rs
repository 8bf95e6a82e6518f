//! One list that is kept up to date: list, then watch from there, and again.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use reqwest::{Response, Url};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::objects::{Kind, text};
use crate::discovery::{DiscoveryError, MAX_DISCOVERED};
use crate::http::{HttpClient, HttpError};

/// Objects in a part of a list.
const PAGE: usize = 500;
/// Bytes of a part of a list, and of one object's news.
const MAX_BYTES: usize = 64 << 20;
/// The server ends a watch after this many seconds; it tells of something earlier, or we do.
const WATCH_SECONDS: u64 = 290;
/// For an answer to begin, and for a watch that says nothing.
const PATIENCE: Duration = Duration::from_secs(WATCH_SECONDS + 10);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What a watch tells; `number` says which one.
#[derive(Debug)]
pub(super) enum News {
    /// All objects there are, instead of those of before.
    Listed { number: usize, kind: Kind, objects: Vec<Value> },
    /// One that came or changed.
    Is { number: usize, kind: Kind, object: Value },
    /// One that went.
    Gone { number: usize, kind: Kind, object: Value },
    /// It failed and will try again.
    Failed(DiscoveryError),
}

/// Keeps one list up to date.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) number: usize,
    pub(super) kind: Kind,
    pub(super) url: Url,
    pub(super) client: Arc<HttpClient>,
}

/// How a watch ended that did not fail.
enum Ended {
    /// By time, at this version.
    At(String),
    /// The version is too old: list again.
    Outdated,
    /// Nobody listens.
    Unheard,
}

impl Watch {
    /// Until nobody listens.
    pub(super) async fn run(self, to: mpsc::Sender<News>) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.list_and_watch(&to).await {
                Ok(Ended::Unheard) => return,
                Ok(_) => pause = FIRST_PAUSE,
                Err(error) => {
                    if to.send(News::Failed(error)).await.is_err() {
                        return;
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn list_and_watch(&self, to: &mpsc::Sender<News>) -> Result<Ended, DiscoveryError> {
        let (objects, mut version) = self.list().await?;
        let listed = News::Listed { number: self.number, kind: self.kind, objects };
        if to.send(listed).await.is_err() {
            return Ok(Ended::Unheard);
        }
        loop {
            match self.watch(&version, to).await? {
                Ended::At(newer) => version = newer,
                ended => return Ok(ended),
            }
        }
    }

    async fn list(&self) -> Result<(Vec<Value>, String), DiscoveryError> {
        let mut objects = Vec::new();
        let mut next = String::new();
        loop {
            let mut url = self.url.clone();
            url.query_pairs_mut().append_pair("limit", &PAGE.to_string());
            if !next.is_empty() {
                url.query_pairs_mut().append_pair("continue", &next);
            }
            let mut page = self.page(&url).await?;
            if let Value::Array(items) = page["items"].take() {
                objects.extend(items);
            }
            if objects.len() > MAX_DISCOVERED {
                let (place, found) = (self.shown(), objects.len());
                return Err(DiscoveryError::TooMany { place, found });
            }
            next = text(&page["metadata"]["continue"]).to_owned();
            if next.is_empty() {
                return Ok((objects, text(&page["metadata"]["resourceVersion"]).to_owned()));
            }
        }
    }

    async fn page(&self, url: &Url) -> Result<Value, DiscoveryError> {
        let mut response = self.ask(url).await?;
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(&mut response).await? {
            body.extend_from_slice(&chunk);
            self.check_size(body.len())?;
        }
        serde_json::from_slice(&body)
            .map_err(|_| self.wrong("answers with something else than JSON"))
    }

    async fn watch(&self, from: &str, to: &mpsc::Sender<News>) -> Result<Ended, DiscoveryError> {
        let mut url = self.url.clone();
        url.query_pairs_mut()
            .append_pair("watch", "1")
            .append_pair("allowWatchBookmarks", "true")
            .append_pair("resourceVersion", from)
            .append_pair("timeoutSeconds", &WATCH_SECONDS.to_string());
        let mut response = match self.ask(&url).await {
            Err(DiscoveryError::Answer { problem, .. }) if problem.contains("410") => {
                return Ok(Ended::Outdated);
            }
            asked => asked?,
        };
        let mut version = from.to_owned();
        let mut buffer: Vec<u8> = Vec::new();
        while let Some(chunk) = self.chunk(&mut response).await? {
            buffer.extend_from_slice(&chunk);
            self.check_size(buffer.len())?;
            while let Some(end) = memchr::memchr(b'\n', &buffer) {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                if let Some(ended) = self.tell(&line, &mut version, to).await? {
                    return Ok(ended);
                }
            }
        }
        Ok(Ended::At(version))
    }

    /// One line of a watch.
    async fn tell(
        &self,
        line: &[u8],
        version: &mut String,
        to: &mpsc::Sender<News>,
    ) -> Result<Option<Ended>, DiscoveryError> {
        let mut event: Value = serde_json::from_slice(line)
            .map_err(|_| self.wrong("tells of something else than JSON"))?;
        let object = event["object"].take();
        let newer = text(&object["metadata"]["resourceVersion"]).to_owned();
        let (number, kind) = (self.number, self.kind);
        let news = match text(&event["type"]) {
            "ADDED" | "MODIFIED" => News::Is { number, kind, object },
            "DELETED" => News::Gone { number, kind, object },
            "ERROR" if object["code"] == 410 => return Ok(Some(Ended::Outdated)),
            "ERROR" => return Err(self.wrong(&format!("ended the watch: {}", said(&object)))),
            _ => {
                *version = newer;
                return Ok(None);
            }
        };
        *version = newer;
        Ok(to.send(news).await.is_err().then_some(Ended::Unheard))
    }

    async fn ask(&self, url: &Url) -> Result<Response, DiscoveryError> {
        let headers =
            HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        let failed = |source| DiscoveryError::Http { url: self.shown(), source };
        let asked = timeout(PATIENCE, self.client.get(url, &headers)).await;
        let response = asked.map_err(|_| self.wrong("does not answer"))?.map_err(failed)?;
        match response.status().as_u16() {
            200 => Ok(response),
            401 | 403 => Err(self.wrong(&format!(
                "answered {}: may our service account list and watch this?",
                response.status()
            ))),
            _ => Err(self.wrong(&format!("answered {}", response.status()))),
        }
    }

    async fn chunk(&self, response: &mut Response) -> Result<Option<Vec<u8>>, DiscoveryError> {
        let read = timeout(PATIENCE, response.chunk()).await;
        let chunk = read.map_err(|_| self.wrong("fell silent"))?.map_err(|error| {
            let source = HttpError::Exchange(error.without_url());
            DiscoveryError::Http { url: self.shown(), source }
        })?;
        Ok(chunk.map(|bytes| bytes.to_vec()))
    }

    fn check_size(&self, n_bytes: usize) -> Result<(), DiscoveryError> {
        if n_bytes > MAX_BYTES { Err(self.wrong("answers with more than 64 MiB")) } else { Ok(()) }
    }

    fn wrong(&self, problem: &str) -> DiscoveryError {
        DiscoveryError::Answer { url: self.shown(), problem: problem.to_owned() }
    }

    /// Host and path; the query may hold selectors, and is of no help.
    fn shown(&self) -> String {
        format!("{}{}", self.url.origin().ascii_serialization(), self.url.path())
    }
}

fn said(status: &Value) -> String {
    text(&status["message"]).chars().take(200).collect()
}
