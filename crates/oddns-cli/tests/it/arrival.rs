//! A watch without a model of its own: the base model is calibrated by the first window of rows, and
//! what came of that outlives the process.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use oddns_core::{Sample, Timestamp};
use oddns_sim::{Scenario, Simulation};
use serde_json::Value;

use crate::child::Running;
use crate::http;
use crate::oddns::{ODDNS, oddns};
use crate::watched::{self, SOON, event};

/// Rows without which nothing is scored.
const FEWEST: usize = 33;

/// A server that was never seen before; it goes on as it was simulated with each scrape.
fn server() -> SocketAddr {
    let text = "for: 10m\nevery: 200ms\nservers: 1\nseed: 5\ntraffic: {lookups_per_second: 40}\n";
    let mut scenario = Scenario::parse(text).unwrap();
    scenario.start = Timestamp::default();
    let recording = Simulation::new(scenario).record().remove(0);
    let (mut scrapes, table) = (recording.scrapes.into_iter().cycle(), recording.series);
    let next = Mutex::new(move || {
        let scrape = scrapes.next().unwrap();
        let line =
            |sample: &Sample| format!("{} {}\n", table.get(sample.series).unwrap(), sample.value);
        scrape.samples.iter().map(line).collect::<String>()
    });
    http::serve_by(move |_| (200, (next.lock().unwrap())()))
}

fn watch(server: SocketAddr, folder: &Path, more: &[&str]) -> (Running, SocketAddr) {
    let mut command = Command::new(ODDNS);
    command.arg("watch").arg(format!("--target=http://{server}/metrics"));
    command.args(["--every=200ms", "--web.listen-address=127.0.0.1:0", "--output=json"]);
    command.arg("--storage.state").arg(folder.join("states")).args(more);
    watched::start(&mut command)
}

/// What was said until the first score, with it.
fn until_scored(watch: &mut Running) -> Vec<Value> {
    let mut told = Vec::new();
    loop {
        let next = watch.find(SOON, |line| Some(event(line)));
        let is_score = next["event"] == "score";
        told.push(next);
        if is_score {
            return told;
        }
    }
}

fn model(page: SocketAddr) -> Value {
    let answer: Value = serde_json::from_str(&http::get(page, "/api/v1/model")).unwrap();
    answer["data"].clone()
}

fn end(mut watch: Running) {
    watch.signal("TERM");
    let status = watch.end(SOON);
    assert!(status.success(), "{}", watch.stderr());
}

#[test]
fn an_unknown_server_is_scored_after_one_window_and_a_restart_goes_on_from_that() {
    let (server, folder) = (server(), tempfile::tempdir().unwrap());
    let (mut running, page) = watch(server, folder.path(), &[]);
    let told = until_scored(&mut running);
    let warming = told.iter().filter(|event| event["state"] == "warming_up").count();
    assert!(warming >= FEWEST, "{warming}: {told:?}");
    let is_calibration = |event: &Value| {
        let text = event["text"].as_str().unwrap_or_default();
        text.starts_with("the base model is calibrated by ")
    };
    assert!(told.iter().any(is_calibration), "{told:?}");
    assert_eq!(told.iter().filter(|event| event["event"] == "incident_opened").count(), 0);
    assert_eq!(model(page)["origin"], "calibrated_base");
    let metrics = http::get(page, "/metrics");
    assert!(metrics.contains("\noddns_model_base 1"), "{metrics}");
    end(running);

    let (mut running, page) = watch(server, folder.path(), &[]);
    let told = until_scored(&mut running);
    // What was learned of the server is kept too, but for the past of one window.
    assert!(!told.iter().any(is_calibration), "{told:?}");
    assert!(!told.iter().any(|event| event["event"] == "state_lost"), "{told:?}");
    assert_eq!(model(page)["origin"], "calibrated_base");
    end(running);
}

#[test]
fn with_a_history_the_calibrated_model_is_a_generation_that_learning_goes_on_from() {
    let (server, folder) = (server(), tempfile::tempdir().unwrap());
    let history = folder.path().join("history").display().to_string();
    let more = ["--storage.path", &*history];
    let (mut running, page) = watch(server, folder.path(), &more);
    until_scored(&mut running);
    assert_eq!(model(page)["origin"], "calibrated_base");
    end(running);
    let models = format!("{history}/_models");
    let shown = oddns(&["model", "show", "--output=json", "--registry", &models]).well().json();
    assert_eq!(shown["by"], "oddns watch, base model", "{shown}");
    assert!(shown["generation"].as_u64().unwrap() >= 2, "{shown}");

    // Whoever judges then goes on, whatever base model the program has by now.
    let (mut running, page) = watch(server, folder.path(), &more);
    until_scored(&mut running);
    assert_eq!(model(page)["origin"], "calibrated_base");
    end(running);
}

#[test]
fn two_watches_do_not_share_a_folder_of_states() {
    let (folder, server) = (tempfile::tempdir().unwrap(), server());
    let (mut first, _) = watch(server, folder.path(), &[]);
    let states = folder.path().join("states").display().to_string();
    let target = format!("--target=http://{server}/metrics");
    let again = ["watch", &target, "--storage.state", &states, "--web.listen-address=127.0.0.1:0"];
    let refused = oddns(&again);
    assert!(refused.stderr.contains("is being written by process "), "{refused:#?}");
    first.signal("KILL");
    first.end(SOON);
    let (mut next, _) = watch(server, folder.path(), &[]);
    next.signal("TERM");
    assert!(next.end(SOON).success(), "{}", next.stderr());
}
