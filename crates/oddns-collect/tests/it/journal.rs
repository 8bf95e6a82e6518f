//! What happens to the targets of jobs, as lines of text; and a server to scrape.

use std::sync::Arc;
use std::time::Duration;

use oddns_collect::{
    DiscoveryError, Gone, Job, Pace, RefusedTarget, ScrapeTarget, Scraped, Sink, Sinks, scrape_jobs,
};
use oddns_core::SeriesTable;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Writes down what happens.
#[derive(Clone)]
struct Journal(UnboundedSender<String>);

impl Journal {
    fn write(&self, line: String) {
        let _ = self.0.send(line);
    }
}

impl Sinks for Journal {
    fn open(&mut self, target: &ScrapeTarget) -> Option<Box<dyn Sink>> {
        self.write(format!("open {} {}", target.instance, target.labels));
        Some(Box::new(Entry { instance: target.instance.clone(), journal: self.clone() }))
    }

    fn close(&mut self, target: &ScrapeTarget, why: Gone) {
        self.write(format!("close {} {why:?}", target.instance));
    }

    fn discovered(&mut self, job: &Job, n_targets: usize) {
        self.write(format!("{} has {n_targets}", job.config().name));
    }

    fn discovery_failed(&mut self, _: &Job, error: &DiscoveryError) {
        self.write(format!("failed {}: {error}", error.kind()));
    }

    fn refused(&mut self, _: &Job, error: &RefusedTarget) {
        self.write(format!("refused: {error}"));
    }
}

struct Entry {
    instance: String,
    journal: Journal,
}

impl Sink for Entry {
    fn take(&mut self, _: &SeriesTable, scraped: &Scraped) {
        let how = scraped.error.as_ref().map_or("up", |error| error.kind());
        self.journal.write(format!("{} {how}", self.instance));
    }

    fn forget_series(&mut self) {}
}

/// Jobs that are scraped until this is dropped.
pub(crate) struct Watching {
    lines: UnboundedReceiver<String>,
    _stop: oneshot::Sender<()>,
}

impl Watching {
    pub(crate) fn start(jobs: Vec<Arc<Job>>) -> Self {
        let (to, lines) = unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(scrape_jobs(jobs, Pace::Spread, Journal(to), async {
            let _ = stopped.await;
        }));
        Self { lines, _stop: stop }
    }

    /// The lines up to the first that begins with `start`.
    pub(crate) async fn until(&mut self, start: &str) -> Vec<String> {
        let mut seen: Vec<String> = Vec::new();
        while let Ok(Some(line)) = timeout(Duration::from_secs(20), self.lines.recv()).await {
            seen.push(line);
            if seen.last().is_some_and(|line| line.starts_with(start)) {
                return seen;
            }
        }
        panic!("no line begins with {start:?}: {seen:#?}");
    }
}

/// Answers every request of every connection by what `answer` makes of its first line.
pub(crate) async fn serve(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut head = Vec::new();
                let mut piece = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut piece).await {
                    head.extend_from_slice(&piece[..length]);
                    if head.ends_with(b"\r\n\r\n") {
                        let text = String::from_utf8_lossy(&head).into_owned();
                        let first = text.lines().next().unwrap_or_default();
                        let said = answer(first);
                        if stream.write_all(said.as_bytes()).await.is_err() {
                            return;
                        }
                        head.clear();
                    }
                }
            });
        }
    });
    format!("127.0.0.1:{port}")
}

pub(crate) fn ok(content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Metrics of a CoreDNS, hardly.
pub(crate) fn metrics() -> String {
    ok("text/plain", "coredns_build_info 1\n")
}
