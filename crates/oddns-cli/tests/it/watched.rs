//! A running `oddns watch`, and what it says.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::child::Running;
use crate::http;
use crate::made::normal_recording;
use crate::oddns::oddns;

/// How long anything that is waited for may take.
pub(crate) const SOON: Duration = Duration::from_secs(300);

/// Starts a watch that speaks JSON, and waits for the address of its page.
pub(crate) fn start(command: &mut Command) -> (Running, SocketAddr) {
    let mut running = Running::start(command);
    let page = running.find(SOON, |line| event(line)["address"].as_str()?.parse().ok());
    (running, page)
}

/// What a line says.
pub(crate) fn event(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

/// What the API says of the model, once it is as wanted.
pub(crate) fn model_when(page: SocketAddr, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + SOON;
    loop {
        let answer: Value = serde_json::from_str(&http::get(page, "/api/v1/model")).unwrap();
        if wanted(&answer["data"]) {
            return answer["data"].clone();
        }
        assert!(Instant::now() < deadline, "{answer}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Trains a model on two minutes of the bundled recording into `model`: good enough to be loaded.
pub(crate) fn train_briefly(model: &str) {
    let recording = normal_recording().display().to_string();
    let (since, until) = ("2026-11-22T08:30:00Z", "2026-11-22T08:32:00Z");
    let train = ["train", "--data", &recording, "--since", since, "--until", until];
    oddns(&[&train[..], &["--out", model, "--epochs", "1"]].concat()).well();
}
