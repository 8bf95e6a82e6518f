//! The watch loop against servers that answer, fail and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use oddns::{DetectorError, IncidentEvent, State, Step};
use oddns_collect::{Job, JobConfig};
use oddns_core::{Cause, Incident, Score, Scrape, SeriesTable, Severity};
use oddns_serve::{Event, Judge, NewJudge, Shared, View, watch_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Warms up over two scrapes, then finds the third and later ones odd.
struct Simple {
    seen: usize,
    instance: String,
}

impl Judge for Simple {
    fn push(&mut self, _series: &SeriesTable, scrape: &Scrape) -> Result<Step, DetectorError> {
        assert_ne!(self.instance, "localhost:1", "this judge panics on purpose");
        let mut step = Step {
            time: scrape.time,
            row: vec![],
            expected: vec![],
            state: State::NoData,
            score: None,
            incident: None,
        };
        if !scrape.up {
            return Ok(step);
        }
        self.seen += 1;
        step.state = State::WarmingUp { seen: self.seen, needed: 3 };
        if self.seen >= 3 {
            step.state = State::Scoring;
            step.score =
                Some(Score { time: scrape.time, score: 2.0, alarm: true, contributions: vec![] });
        }
        if self.seen == 3 {
            step.incident = Some(IncidentEvent::Opened(incident(&self.instance, scrape)));
        }
        Ok(step)
    }
}

fn incident(instance: &str, scrape: &Scrape) -> Incident {
    Incident {
        id: "1".into(),
        instance: instance.into(),
        start: scrape.time,
        end: None,
        severity: Severity::Critical,
        peak_score: 2.0,
        peak: scrape.time,
        movements: vec![],
        cause: Cause { name: "unknown", summary: "?", confidence: 0.0, next_steps: &[] },
        alternatives: Vec::new(),
    }
}

fn simple() -> NewJudge {
    Arc::new(|target| Ok(Box::new(Simple { seen: 0, instance: target.instance.clone() })))
}

fn job(address: &str) -> Arc<Job> {
    Job::new(JobConfig {
        interval: Duration::from_millis(100),
        timeout: Duration::from_millis(100),
        ..JobConfig::of_target(address, &address.parse().unwrap())
    })
}

/// A server of one metric that fails on its fourth and fifth request; its address.
async fn flaky() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let requests = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let n = requests.fetch_add(1, Ordering::Relaxed) + 1;
            let _ = stream.read(&mut [0; 4096]).await;
            let body = "coredns_build_info 1\n";
            let status = if n == 4 || n == 5 { "500 Oops" } else { "200 OK" };
            let text = format!(
                "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(text.as_bytes()).await;
        }
    });
    address
}

async fn events_until(
    events: &mut mpsc::Receiver<Event>,
    mut is_last: impl FnMut(&Event) -> bool,
) -> Vec<Event> {
    let mut seen = Vec::new();
    while let Ok(Some(event)) = timeout(Duration::from_secs(20), events.recv()).await {
        let last = is_last(&event);
        seen.push(event);
        if last {
            return seen;
        }
    }
    panic!("it never came: {seen:#?}");
}

fn names(events: &[Event]) -> Vec<String> {
    let name = |event: &Event| match event {
        Event::State { state, .. } => state.to_string(),
        Event::Score { .. } => "score".into(),
        Event::Incident(_) => "incident".into(),
        Event::ScrapeFailed { error, .. } => format!("failed {}", error.contains("500")),
        Event::ScrapeRecovered { .. } => "recovered".into(),
        other => format!("{other:?}"),
    };
    events.iter().map(name).collect()
}

#[tokio::test]
async fn a_target_warms_up_fails_once_in_words_and_comes_back() {
    let address = flaky().await;
    let shared = Shared::new(View::new("", true));
    let (sender, mut events) = mpsc::channel(100);
    let (stop, stopped) = oneshot::channel::<()>();
    let watching =
        tokio::spawn(watch_with(vec![job(&address)], simple(), shared.clone(), sender, async {
            let _ = stopped.await;
        }));
    let seen = events_until(&mut events, |e| matches!(e, Event::ScrapeRecovered { .. })).await;
    let expected = [
        "warming up 1/3",
        "warming up 2/3",
        "scoring",
        "score",
        "incident",
        "failed true",
        "no data: the target has not answered yet",
        "recovered",
    ];
    assert_eq!(names(&seen), expected);
    stop.send(()).unwrap();
    timeout(Duration::from_secs(5), watching).await.expect("did not stop").unwrap().unwrap();
    let text = shared.metrics().expose("").text;
    let failed =
        format!("oddns_target_scrapes_failed_total{{target=\"{address}\",reason=\"status\"}} 2");
    assert!(text.contains(&failed), "{text}");
    shared.read(|view| {
        assert_eq!(view.incidents().count(), 1);
        assert!(view.server(&address).unwrap().trouble.is_none());
    });
}

#[tokio::test]
async fn one_target_that_fails_or_panics_does_not_stop_another() {
    let address = flaky().await;
    let shared = Shared::new(View::new("", true));
    // Nobody reads the events: the queue of one overflows, and watching goes on.
    let (sender, _events) = mpsc::channel(1);
    let jobs = vec![job(&address), job("localhost:1"), job("127.0.0.1:1")];
    let trouble = |name: &str| shared.read(|view| view.server(name)?.trouble.clone());
    let reached = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let scored = shared.metrics().expose("").text.contains("oddns_windows_scored_total 2");
            let gave_up = trouble("localhost:1");
            let trouble = trouble("127.0.0.1:1");
            if scored && gave_up.is_some_and(|t| t.contains("restart oddns")) && trouble.is_some() {
                return;
            }
        }
    };
    let stop =
        async { timeout(Duration::from_secs(20), reached).await.expect("one stopped another") };
    watch_with(jobs, simple(), shared.clone(), sender, stop).await.unwrap();
    let text = shared.metrics().expose("").text;
    assert!(!text.contains("oddns_events_dropped_total 0\n"), "{text}");
}
