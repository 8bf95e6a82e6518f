//! Targets that answer with what no server should: bounded memory, a counter for each cause, one
//! line a minute, and the target beside them unharmed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use oddns::{DetectorError, State, Step};
use oddns_collect::{Job, JobConfig};
use oddns_core::{Scrape, SeriesTable};
use oddns_serve::{Event, Judge, NewJudge, Shared, View, watch_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Takes everything.
struct Patient;

impl Judge for Patient {
    fn push(&mut self, _series: &SeriesTable, scrape: &Scrape) -> Result<Step, DetectorError> {
        let (row, expected) = (vec![], vec![]);
        let state = State::NoData;
        Ok(Step { time: scrape.time, row, expected, state, score: None, incident: None })
    }
}

/// What a target answers to its `n`th request, head and all.
type Answering = fn(usize) -> Vec<u8>;

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn good(_: usize) -> Vec<u8> {
    answer("200 OK", "", b"coredns_panics_total 0\n")
}

/// 200 MB of comments in 200 KB.
fn gzip_bomb(_: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let line = [b'#'; 1 << 20];
    for _ in 0..200 {
        encoder.write_all(&line).unwrap();
    }
    answer("200 OK", "content-encoding: gzip\r\n", &encoder.finish().unwrap())
}

/// Promises more than it ever sends.
fn slow_loris(_: usize) -> Vec<u8> {
    let mut bytes = answer("200 OK", "", &[b'#'; 1000]);
    bytes.truncate(bytes.len() - 990);
    bytes
}

fn many_lines(_: usize) -> Vec<u8> {
    answer("200 OK", "", "a 1\n".repeat(10_000_000).as_bytes())
}

/// Other series each time.
fn endless_labels(n: usize) -> Vec<u8> {
    let mut text = "coredns_panics_total 0\n".to_owned();
    for at in 0..20_000 {
        let _ = writeln!(text, "coredns_x{{id=\"{n}-{at}\"}} 1");
    }
    answer("200 OK", "", text.as_bytes())
}

fn long_label(_: usize) -> Vec<u8> {
    answer("200 OK", "", format!("a{{b=\"{}\"}} 1\n", "x".repeat(1 << 20)).as_bytes())
}

fn odd_samples(_: usize) -> Vec<u8> {
    let text = "coredns_a_total -5\ncoredns_b 1\ncoredns_b 2\nc 1 1\nd 1 99999999999999\n";
    answer("200 OK", "", text.as_bytes())
}

fn failing(_: usize) -> Vec<u8> {
    answer("503 Service Unavailable", "", b"")
}

fn html_half_way(_: usize) -> Vec<u8> {
    answer("200 OK", "", b"coredns_panics_total 0\n<html><body>502 Bad Gateway</body></html>\n")
}

/// Serves until the test ends; where.
async fn serve(answering: Answering) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let n_requests = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let n = n_requests.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(&answering(n)).await;
                // Until the other side has enough.
                let _ = stream.read(&mut [0; 1]).await;
            });
        }
    });
    address
}

fn job(name: &str, address: &str) -> Arc<Job> {
    Job::new(JobConfig {
        interval: Duration::from_millis(700),
        timeout: Duration::from_millis(600),
        ..JobConfig::of_target(name, &address.parse().unwrap())
    })
}

/// Resident bytes of this process, as far as they can be told.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|n| n.parse::<usize>().ok());
    pages.unwrap_or_default() * 4096
}

/// Name, what it answers, and the reason under which it is counted.
const TARGETS: &[(&str, Answering, &str)] = &[
    ("gzip_bomb", gzip_bomb, "too_large"),
    ("slow_loris", slow_loris, "timeout"),
    ("many_lines", many_lines, "duplicate"),
    ("long_label", long_label, "parse"),
    ("failing", failing, "status"),
    ("html_half_way", html_half_way, "parse"),
    ("endless_labels", endless_labels, ""),
    ("odd_samples", odd_samples, "negative"),
    ("odd_samples", odd_samples, "duplicate"),
    ("odd_samples", odd_samples, "untimely"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_targets_are_counted_told_once_and_harm_nobody() {
    let before = resident();
    let fine = serve(good).await;
    let mut addresses = BTreeMap::new();
    for (name, answering, _) in TARGETS {
        if !addresses.contains_key(name) {
            addresses.insert(*name, serve(*answering).await);
        }
    }
    let mut jobs = vec![job("good", &fine)];
    jobs.extend(addresses.iter().map(|(name, address)| job(name, address)));
    let shared = Shared::new(View::new("", true));
    let (sender, mut events) = mpsc::channel(10_000);
    let judge: NewJudge = Arc::new(|_| Ok(Box::new(Patient)));
    let reasons: Vec<String> = TARGETS
        .iter()
        .filter(|(.., reason)| !reason.is_empty())
        .map(|(name, _, reason)| format!("{{target=\"{}\",reason=\"{reason}\"}}", addresses[name]))
        .collect();
    let reached = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let text = shared.metrics().expose("").text;
            // Twice each, so that more than one line could have been told.
            let counted = |labels: &String| {
                let found = text.lines().find_map(|line| line.split_once(labels.as_str()));
                found.is_some_and(|(_, n)| n.trim().parse::<u64>().is_ok_and(|n| n >= 2))
            };
            if reasons.iter().all(counted) {
                return;
            }
        }
    };
    let stop = async {
        let all = timeout(Duration::from_secs(60), reached).await;
        assert!(all.is_ok(), "{}", shared.metrics().expose("").text);
    };
    watch_with(jobs, judge, shared.clone(), sender, stop).await.unwrap();
    let text = shared.metrics().expose("").text;
    for name in [&fine, &addresses["endless_labels"]] {
        assert!(text.contains(&format!("oddns_up{{target=\"{name}\"}} 1")), "{text}");
    }
    assert!(!text.contains(&format!("failed_total{{target=\"{fine}\"")), "{text}");
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    while let Ok(event) = events.try_recv() {
        match event {
            Event::ScrapeFailed { instance, error, .. } => {
                *told.entry(format!("{instance} {error}")).or_default() += 1;
            }
            Event::Warning { text, .. } => *told.entry(text).or_default() += 1,
            _ => {}
        }
    }
    assert!(told.values().all(|n| *n == 1), "more than one line a minute: {told:#?}");
    for (name, _, reason) in TARGETS.iter().filter(|(.., reason)| !reason.is_empty()) {
        let is_told = told.keys().any(|text| text.starts_with(&addresses[name]));
        assert!(is_told, "{name} {reason}: {told:#?}");
    }
    let grown = resident().saturating_sub(before) >> 20;
    assert!(grown < 700, "{grown} MiB");
}
