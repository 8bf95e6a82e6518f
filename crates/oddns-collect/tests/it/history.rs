//! The same history from every server and by every way: as it was put in.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oddns_collect::{HistoryConfig, HistoryError, HistoryQuery, PrometheusHistory, SeriesChoice};
use oddns_core::Timestamp;
use tokio::time::sleep;

use crate::peer::{Running, free_port, peers, run};

const N_SCRAPES: i64 = 300;

/// A day ago, at a full minute.
fn start() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    (now - 86_400_000).div_euclid(60_000) * 60_000
}

/// Name, labels and value of each series at each scrape.
fn value(series: usize, n: i64) -> f64 {
    match series {
        0 => (n * n) as f64,
        1 => 0.1 * n as f64,
        2 => f64::INFINITY,
        3 => (n % 7) as f64 * 1e300,
        _ => -0.25 / (1 + n) as f64,
    }
}

const NAMES: [&str; 5] =
    ["coredns_a_total", "coredns_b", "coredns_c", "process_d", "coredns_dns_e_total"];

/// Two servers, every 15 s, with a jitter that differs between them; sorted as OpenMetrics asks.
fn openmetrics(start: i64) -> String {
    let mut text = String::new();
    for (series, name) in NAMES.iter().enumerate() {
        text.push_str(&format!("# TYPE {} unknown\n", name));
        for server in 0..2 {
            for n in 0..N_SCRAPES {
                let millis = start + n * 15_000 + server * 777 + (n * n * 31) % 5;
                let (seconds, value) = (millis as f64 / 1000.0, value(series, n));
                let value = value.to_string().replace("inf", "+Inf");
                text.push_str(&format!(
                    "{name}{{instance=\"ns{server}:9153\",job=\"dns\",zone=\"{series}\"}} {value} {seconds:.3}\n"
                ));
            }
        }
    }
    text.push_str("# EOF\n");
    text
}

type Samples = BTreeSet<(String, String, i64, u64)>;

fn expected(start: i64) -> Samples {
    let mut samples = Samples::new();
    for (series, name) in NAMES.iter().enumerate() {
        for server in 0..2 {
            for n in 0..N_SCRAPES {
                let millis = start + n * 15_000 + server * 777 + (n * n * 31) % 5;
                let key = format!("{name}{{zone=\"{series}\"}}");
                samples.insert((
                    format!("ns{server}:9153"),
                    key,
                    millis,
                    value(series, n).to_bits(),
                ));
            }
        }
    }
    samples
}

/// What a server has; in small parts, so that they have to fit together.
async fn fetched(port: u16, remote_read: bool, start: i64) -> Result<Samples, HistoryError> {
    let config = HistoryConfig {
        remote_read,
        max_samples: 500,
        min_gap: Duration::ZERO,
        first_wait: Duration::from_millis(50),
        ..HistoryConfig::default()
    };
    let server = format!("http://127.0.0.1:{port}").parse().unwrap();
    let query = HistoryQuery {
        series: SeriesChoice::Jobs(vec!["dns".to_owned()]),
        // Years before there was anything.
        since: Timestamp::from_millis(0),
        until: Timestamp::from_millis(start + 7_200_000),
        step: None,
    };
    let mut samples = Samples::new();
    let mut n_parts = 0;
    PrometheusHistory::new(server, config)?
        .fetch::<HistoryError>(&query, |part| {
            n_parts += 1;
            assert!(part.since.millis() > start - 2 * 86_400_000, "asked for {}", part.since);
            for recording in &part.recordings {
                for scrape in &recording.scrapes {
                    for sample in &scrape.samples {
                        let key = recording.series.get(sample.series).unwrap().to_string();
                        let bits = sample.value.to_bits();
                        let instance = recording.instance.clone();
                        let is_new = samples.insert((instance, key, scrape.time.millis(), bits));
                        assert!(is_new, "a sample came twice");
                    }
                }
            }
            Ok(())
        })
        .await?;
    assert!(n_parts > 5, "{n_parts}");
    Ok(samples)
}

async fn once_up(port: u16, remote_read: bool, start: i64) -> Samples {
    let mut last = None;
    for _ in 0..200 {
        match fetched(port, remote_read, start).await {
            Ok(samples) => return samples,
            Err(error) => last = Some(error),
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("never answered: {last:?}");
}

fn start_prometheus(folder: &Path, port: u16) -> Running {
    let config = folder.join("prometheus.yml");
    fs::write(&config, "scrape_configs: []\n").unwrap();
    run(Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("blocks").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}")))
}

#[tokio::test]
async fn prometheus_gives_back_what_was_put_in_by_both_ways() {
    if peers("prometheus_gives_back_what_was_put_in_by_both_ways").is_none() {
        return;
    }
    let (folder, start) = (tempfile::tempdir().unwrap(), start());
    let text = folder.path().join("history.om");
    fs::write(&text, openmetrics(start)).unwrap();
    let made = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([text, folder.path().join("blocks")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = free_port();
    let _prometheus = start_prometheus(folder.path(), port);
    let expected = expected(start);
    assert!(once_up(port, true, start).await == expected, "by remote read");
    let answered = "prometheus_http_requests_total{code=\"200\",handler=\"/api/v1/read\"}";
    assert!(exchange(port, "GET /metrics", "").contains(answered), "it was not read");
    assert!(once_up(port, false, start).await == expected, "by queries");
}

/// It has no remote read, so that is asked for once and then no more.
#[tokio::test]
async fn victoria_metrics_gives_back_what_was_put_in() {
    if peers("victoria_metrics_gives_back_what_was_put_in").is_none() {
        return;
    }
    let (folder, start) = (tempfile::tempdir().unwrap(), start());
    let port = free_port();
    let _victoria = run(Command::new("victoria-metrics")
        .arg(format!("-storageDataPath={}", folder.path().display()))
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
        .args(["-retentionPeriod=100y", "-search.latencyOffset=0s"]));
    // Its import takes milliseconds where OpenMetrics has seconds.
    let lines = openmetrics(start);
    let lines = lines.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (series, seconds) = line.rsplit_once(' ').unwrap();
        format!("{series} {}\n", seconds.replace('.', ""))
    });
    let lines: String = lines.collect();
    let mut imported = false;
    for _ in 0..200 {
        imported = post(port, "/api/v1/import/prometheus", &lines);
        if imported {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert!(imported);
    post(port, "/internal/force_flush", "");
    let (got, expected) = (once_up(port, true, start).await, expected(start));
    // It keeps numbers as decimal ones, so some bits at the end may differ.
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(&expected) {
        assert_eq!((&got.0, &got.1, got.2), (&expected.0, &expected.1, expected.2));
        let (got, expected) = (f64::from_bits(got.3), f64::from_bits(expected.3));
        assert!(got == expected || (got / expected - 1.0).abs() < 1e-9, "{got} {expected}");
    }
}

fn post(port: u16, path: &str, body: &str) -> bool {
    exchange(port, &format!("POST {path}"), body).get(9..10) == Some("2")
}

/// The whole answer; empty when nobody listens.
fn exchange(port: u16, request: &str, body: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return String::new() };
    let head = format!("{request} HTTP/1.0\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut answer = String::new();
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body.as_bytes());
    let _ = stream.read_to_string(&mut answer);
    answer
}
