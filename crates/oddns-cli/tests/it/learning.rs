//! A watch that updates its model by itself: two days of a simulated server are its history, and the
//! server goes on answering.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use oddns_core::{Recording, Timestamp};
use oddns_sim::{Scenario, Simulation};
use oddns_store::{Dataset, write_history};
use serde_json::Value;
use tempfile::TempDir;

use crate::child::Running;
use crate::http;
use crate::oddns::{ODDNS, oddns};
use crate::watched::{self, SOON, event, model_when};

const DAY_MILLIS: i64 = 86_400_000;

/// A server with a past, a model of its first day, and a configuration.
struct Site {
    folder: TempDir,
}

fn simulated(length: &str, every: &str, start: Timestamp) -> Recording {
    let text = format!(
        "for: {length}\nevery: {every}\nservers: 1\nseed: 3\ntraffic: {{lookups_per_second: 40}}\n"
    );
    let mut scenario = Scenario::parse(&text).unwrap();
    scenario.start = start;
    Simulation::new(scenario).record().remove(0)
}

/// A server that goes on for ever as it was simulated, a fifth of a second with each scrape.
fn server() -> SocketAddr {
    let recording = simulated("10m", "200ms", Timestamp::default());
    let mut scrapes = recording.scrapes.into_iter().cycle();
    let table = recording.series;
    let scrapes = std::sync::Mutex::new(move || {
        let scrape = scrapes.next().unwrap();
        let line = |sample: &oddns_core::Sample| {
            format!("{} {}\n", table.get(sample.series).unwrap(), sample.value)
        };
        scrape.samples.iter().map(line).collect::<String>()
    });
    http::serve_by(move |_| (200, (scrapes.lock().unwrap())()))
}

impl Site {
    fn new(more: &str) -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        let server = server();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let start = Timestamp::from_millis(now / DAY_MILLIS * DAY_MILLIS - 2 * DAY_MILLIS);
        let past = simulated("2d", "1m", start);
        let past = Recording { instance: server.to_string(), ..past };
        write_history(&site.path("history"), &Dataset::default(), &[past]).unwrap();
        let until = Timestamp::from_millis(start.millis() + DAY_MILLIS).to_string();
        let train = ["train", "--detector", "masked_without_network", "--until", &until];
        let files = ["--data", &site.text("history"), "--out", &site.text("dns.keras")];
        oddns(&[&train[..], &files].concat()).well();
        let config = format!(
            "model: dns.keras\nlearning: {{interval: 12s, min_rows: 1000, cpu_share: 1.0, registry: models{more}}}\n\
             scrape_configs:\n  - job_name: dns\n    scrape_interval: 200ms\n    \
             static_configs: [{{targets: ['{server}']}}]\n"
        );
        std::fs::write(site.path("oddns.yml"), config).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The watch, and where its page is.
    fn watch(&self) -> (Running, SocketAddr) {
        let mut command = Command::new(ODDNS);
        command.arg("watch").arg(format!("--config.file={}", self.text("oddns.yml")));
        command.args(["--storage.path", &self.text("history")]);
        command.args(["--storage.state", &self.text("state")]);
        command.args(["--web.listen-address=127.0.0.1:0", "--output=json"]);
        watched::start(&mut command)
    }

    fn model(&self, arguments: &[&str]) -> Value {
        let (verb, rest) = arguments.split_first().unwrap();
        let registry = ["--output=json", "--registry", &self.text("models")];
        oddns(&[&["model", verb], &registry[..], rest].concat()).well().json()
    }
}

/// The value of a metric without labels.
fn metric(page: SocketAddr, name: &str) -> Option<f64> {
    let text = http::get(page, "/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

/// Waits until a generation judges; no server may warm up meanwhile.
fn until_judged_by(watch: &mut Running, generation: u64) {
    let words = format!("generation {generation} of the model judges from now on");
    watch.find(SOON, |line| {
        let event = event(line);
        assert_ne!(event["state"], "warming_up", "{event}");
        (event["text"].as_str() == Some(&words)).then_some(())
    });
}

#[test]
fn the_watch_learns_swaps_and_is_rolled_back_without_warming_up_again() {
    let site = Site::new("");
    let (mut watch, page) = site.watch();
    watch.find(SOON, |line| (event(line)["event"] == "score").then_some(()));
    let learned = model_when(page, |model| model["last"]["generation"] == 2);
    assert_eq!(learned["last"]["gate"].as_array().unwrap().len(), 4, "{learned}");
    let record = site.model(&["show", "2"]);
    assert_eq!((&record["parent"], &record["by"]), (&1.into(), &"oddns watch".into()), "{record}");
    // What the gate says depends on which hours of the day are held out.
    if learned["last"]["result"] != "promoted" {
        site.model(&["promote", "2"]);
    }
    until_judged_by(&mut watch, 2);
    assert!(metric(page, "oddns_model_generation").unwrap() >= 2.0);
    assert!(metric(page, "oddns_model_age_seconds").unwrap() < 3600.0);
    for wanted in [
        "oddns_model_gate{check=\"injected_found\",of=\"limit\"} ",
        "oddns_learning_updates_total{result=\"promoted\"} ",
        "oddns_feature_drift_deviations{feature=\"",
    ] {
        let deadline = Instant::now() + SOON;
        while !http::get(page, "/metrics").contains(wanted) {
            assert!(Instant::now() < deadline, "{wanted}: {}", http::get(page, "/metrics"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    // Whoever promotes, in whatever process: the watch follows.
    site.model(&["promote", "1"]);
    until_judged_by(&mut watch, 1);
    // Nor does one warm up by the change itself.
    watch.find(SOON, |line| {
        let event = event(line);
        assert_ne!(event["state"], "warming_up", "{event}");
        (event["event"] == "score").then_some(())
    });
    watch.signal("TERM");
    assert!(watch.end(SOON).success());
}

#[test]
fn a_kill_while_it_learns_leaves_the_champion_and_the_work_is_begun_anew() {
    let site = Site::new("");
    let (mut watch, page) = site.watch();
    model_when(page, |model| model["active_since"].is_number());
    watch.signal("KILL");
    watch.end(SOON);
    assert_eq!(site.model(&["show"])["generation"], 1);
    let (mut watch, page) = site.watch();
    model_when(page, |model| model["generation"] == 1);
    let learned = model_when(page, |model| model["last"]["generation"].is_number());
    assert!(learned["last"]["generation"].as_u64().unwrap() >= 2, "{learned}");
    watch.signal("TERM");
    assert!(watch.end(SOON).success());
}

#[test]
fn what_is_written_about_learning_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("oddns.yml");
    let check = |text: &str| {
        std::fs::write(&file, format!("learning: {{{text}}}\n")).unwrap();
        let ended = oddns(&["check-config".as_ref(), file.as_os_str()]);
        (ended.code, ended.stdout + &ended.stderr)
    };
    for (wrong, told) in [
        ("cpu_share: 2", "`cpu_share` must be from 0.01 to 1"),
        ("interval: 1y", "`interval` must be from 1s to 90d"),
        ("min_rows: 0", "`min_rows` must be at least 1"),
        ("drift: .nan", "`drift` must be from 0.1 to 100"),
        ("own_models: {max: 65}", "`max` must be from 0 to 64"),
        ("own_models: {most: 3}", "`most`"),
        ("intervals: 1d", "did you mean `interval`?"),
    ] {
        let (code, text) = check(wrong);
        assert!(code == Some(3) && text.contains(told), "{wrong}: {code:?} {text}");
    }
}
