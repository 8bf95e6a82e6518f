//! The whole live way against a real CoreDNS: scrape, features, model, view, metrics.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use oddns::core::{Frame, Timestamp};
use oddns::{Detector, FEATURES, State, TrainOptions};
use oddns_collect::{Job, JobConfig};
use oddns_serve::{Event, Shared, StateFolder, View, watch};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::has_peers;

/// A CoreDNS that is killed when the test ends.
struct CoreDns(Child);

impl Drop for CoreDns {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start(folder: &Path, dns_port: u16, metrics_port: u16) -> CoreDns {
    let peers = PathBuf::from(std::env::var_os("ODDNS_PEERS").unwrap());
    let corefile = folder.join("Corefile");
    let text = format!(
        ".:{dns_port} {{\n  bind 127.0.0.1\n  prometheus 127.0.0.1:{metrics_port}\n  whoami\n}}\n"
    );
    fs::write(&corefile, text).unwrap();
    let mut command = Command::new(peers.join("coredns-1.15.0/coredns"));
    command.arg("-conf").arg(&corefile).stdout(Stdio::null()).stderr(Stdio::null());
    CoreDns(command.spawn().unwrap())
}

/// Asks `example.org A` about a hundred times a second until the test ends.
fn ask(dns_port: u16) {
    let query =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00\x01\x00\x01";
    tokio::spawn(async move {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        loop {
            let _ = socket.send_to(query, ("127.0.0.1", dns_port));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

/// A detector that knows nothing of the world: two optimiser steps on made-up rows.
fn hasty_detector() -> Arc<Detector> {
    let mut frame = Frame::new(FEATURES.iter().map(|f| f.name.to_owned()).collect());
    for t in 0..600_i64 {
        let row: Vec<f32> = (0..FEATURES.len())
            .map(|n| 1.0 + ((t * 7 + n as i64 * 3) % 11) as f32 / 11.0)
            .collect();
        frame.push(Timestamp::from_millis(t * 100), &row).unwrap();
    }
    let options = TrainOptions { epochs: Some(1), ..TrainOptions::default() };
    Arc::new(Detector::fit(&[&frame], &options, &mut |_| ControlFlow::Continue(())).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_server_is_scored_as_soon_as_the_window_is_full() {
    if !has_peers("a_real_server_is_scored_as_soon_as_the_window_is_full") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (dns_port, metrics_port) = (free_port(), free_port());
    let _server = start(folder.path(), dns_port, metrics_port);
    ask(dns_port);
    let instance = format!("127.0.0.1:{metrics_port}");
    let job = Job::new(JobConfig {
        interval: Duration::from_millis(100),
        timeout: Duration::from_millis(100),
        ..JobConfig::of_target("coredns", &instance.parse().unwrap())
    });
    let shared = Shared::new(View::new("", true));
    let (sender, mut events) = mpsc::channel(1000);
    let (stop, stopped) = oneshot::channel::<()>();
    let detector = hasty_detector();
    let states = StateFolder::open(&folder.path().join("states")).unwrap();
    let id = || "hasty".to_owned();
    let again = (vec![Arc::clone(&job)], Arc::clone(&detector), states.clone());
    let stop_told = async {
        let _ = stopped.await;
    };
    let watching =
        watch(vec![job], detector, id(), Some(states), shared.clone(), sender, stop_told);
    let watching = tokio::spawn(watching);
    let first_score = async {
        let mut states = Vec::new();
        while let Some(event) = events.recv().await {
            match event {
                Event::State { state, .. } => states.push(state),
                Event::Score { .. } => return states,
                _ => {}
            }
        }
        states
    };
    let states = timeout(Duration::from_secs(120), first_score).await.expect("no score came");
    assert_eq!(states.last(), Some(&State::Scoring), "{states:?}");
    assert!(states.iter().any(|s| matches!(s, State::WarmingUp { .. })), "{states:?}");
    let text = shared.metrics().expose("").text;
    assert!(text.contains(&format!("oddns_anomaly_score{{instance=\"{instance}\"}}")), "{text}");
    assert!(text.contains(&format!("oddns_up{{target=\"{instance}\"}} 1")), "{text}");
    assert!(text.contains("oddns_model_info{id=\"hasty\",schema="), "{text}");
    stop.send(()).unwrap();
    timeout(Duration::from_secs(5), watching).await.expect("did not stop").unwrap().unwrap();

    // After a restart it goes on: nothing is warmed up again.
    let (sender, mut events) = mpsc::channel(1000);
    let (targets, detector, states) = again;
    let shared = Shared::new(View::new("", true));
    let for_ever = std::future::pending();
    let watching =
        tokio::spawn(watch(targets, detector, id(), Some(states), shared, sender, for_ever));
    let next = timeout(Duration::from_secs(20), async {
        loop {
            match events.recv().await.unwrap() {
                Event::Score { .. } => return "a score",
                Event::State { state: State::WarmingUp { seen, .. }, .. }
                    if seen > 0 && seen < 33 =>
                {
                    return "warming up";
                }
                Event::StateLost { .. } => return "no state",
                _ => {}
            }
        }
    });
    assert_eq!(next.await.expect("nothing came"), "a score");
    watching.abort();
}
