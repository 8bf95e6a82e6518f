//! `oddns watch` reads its configuration anew while a real Prometheus sends: no sample is lost, and
//! servers go on where they were.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use oddns_core::Recording;
use oddns_store::{HistoryFilter, read_history};

use crate::child::Running;
use crate::http;
use crate::oddns::ODDNS;
use crate::watched::{SOON, event};

const N_RELOADS: u64 = 6;
/// Scrapes between two reloads.
const APART: u64 = 8;

/// A server whose counter says how often it was scraped.
fn counting() -> (SocketAddr, Arc<AtomicU64>) {
    let scraped = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&scraped);
    let address = http::serve_by(move |_| {
        let n = counted.fetch_add(1, Ordering::SeqCst) + 1;
        (200, format!("coredns_dns_requests_total{{zone=\".\"}} {n}\ncoredns_panics_total 0\n"))
    });
    (address, scraped)
}

/// A Prometheus that scrapes `server` five times a second, and sends at once what it has.
fn sender(server: SocketAddr, page: SocketAddr, folder: &Path) -> Running {
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nremote_write:\n\
         - url: http://{page}/api/v1/write\n  queue_config: {{batch_send_deadline: 100ms, \
         min_backoff: 10ms, max_backoff: 100ms}}\nscrape_configs:\n- job_name: dns\n  \
         static_configs: [{{targets: ['{server}']}}]\n"
    );
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    Running::start(
        Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("blocks").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}")),
    )
}

/// The values of the counter in the order of time.
fn counter(recording: &Recording) -> Vec<f64> {
    let of = |sample: &oddns_core::Sample| {
        let key = recording.series.get(sample.series).unwrap();
        (key.name == "coredns_dns_requests_total").then_some(sample.value)
    };
    recording.scrapes.iter().flat_map(|scrape| scrape.samples.iter().filter_map(of)).collect()
}

#[test]
fn a_reload_while_samples_are_received_loses_none_and_servers_go_on() {
    let name = "a_reload_while_samples_are_received_loses_none_and_servers_go_on";
    if crate::peers(name).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let write = |n: u64| {
        let text = format!(
            "remote_write_receiver: {{enabled: true}}\nglobal: {{external_labels: {{n: '{n}'}}}}\n\
             learning: {{enabled: false}}\n"
        );
        std::fs::write(at("oddns.yml"), text).unwrap();
    };
    write(0);
    let mut command = Command::new(ODDNS);
    command.args(["watch", "--web.listen-address=127.0.0.1:0", "--output=json"]);
    command.arg("--web.enable-lifecycle").arg("--config.file").arg(at("oddns.yml"));
    command.arg("--storage.path").arg(at("history"));
    let mut watch = Running::start(&mut command);
    let page = watch.find(SOON, |line| event(line)["address"].as_str()?.parse().ok());
    let (server, scraped) = counting();
    let mut prometheus = sender(server, page, folder.path());
    let deadline = Instant::now() + SOON;
    for n in 1..=N_RELOADS {
        while scraped.load(Ordering::SeqCst) < APART * n {
            assert!(Instant::now() < deadline, "{n}");
            std::thread::sleep(Duration::from_millis(5));
        }
        write(n);
        if n % 2 == 0 {
            watch.signal("HUP");
        } else {
            let (status, answer) = http::request(page, "POST", "/-/reload", "");
            assert_eq!(status, 200, "{answer}");
        }
    }
    // It goes on to be judged until a window is full: nobody has begun anew.
    let mut last = 0;
    loop {
        let event = watch.find(SOON, |line| Some(event(line)));
        if event["event"] == "state" && event["state"] == "warming_up" {
            let seen = event["seen"].as_u64().unwrap();
            assert!(seen >= last, "{seen} after {last}");
            last = seen;
        }
        if event["event"] == "score" || last >= 33 {
            break;
        }
        assert_ne!(event["event"], "target_gone", "{event}");
    }
    // A Prometheus that ends sends what it has.
    prometheus.signal("TERM");
    prometheus.end(SOON);
    watch.signal("TERM");
    assert!(watch.end(SOON).success(), "{}", watch.stderr());
    let filter = HistoryFilter { instance: Some(server.to_string()), ..Default::default() };
    let kept = read_history(&at("history"), &filter).unwrap();
    let values = counter(&kept.recordings[0]);
    let first = values.first().copied().unwrap();
    let expected: Vec<f64> = (0..values.len()).map(|n| first + n as f64).collect();
    assert_eq!(values, expected, "none is missing, none is there twice");
    assert!(values.len() as u64 >= APART * N_RELOADS, "{}", values.len());
    assert!(first <= 2.0 && values.len() as u64 + 2 >= scraped.load(Ordering::SeqCst));
}
