//! A watch of three servers alike and one that is unlike them: that one gets a model of its own, which
//! goes on judging after a kill, and goes back and forth by hand.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use oddns_core::{Recording, Sample, Timestamp};
use oddns_sim::{Scenario, Simulation};
use oddns_store::{Dataset, write_history};
use serde_json::Value;
use tempfile::TempDir;

use crate::child::Running;
use crate::http;
use crate::oddns::{ODDNS, oddns};
use crate::watched::{self, SOON};

const DAY_MILLIS: i64 = 86_400_000;
/// Servers alike.
const ALIKE: usize = 3;
const USUAL: &str = "seed: 3\ntraffic: {lookups_per_second: 40}\n";
const UNLIKE: &str = "seed: 4\ncorefile: zone_file\ntraffic: {lookups_per_second: 900, tcp_ratio: 0.5, \
     mix: {outside: 0, inside: 1, qualified: 5, missing: 2}}\n";

/// What `n` servers of a sort do.
fn simulated(sort: &str, n: usize, length: &str, every: &str, start: Timestamp) -> Vec<Recording> {
    let text = format!("for: {length}\nevery: {every}\nservers: {n}\n{sort}");
    let mut scenario = Scenario::parse(&text).unwrap();
    scenario.start = start;
    Simulation::new(scenario).record()
}

/// Three servers alike, and the one that is not.
fn fleet(length: &str, every: &str, start: Timestamp) -> Vec<Recording> {
    let mut servers = simulated(USUAL, ALIKE, length, every, start);
    servers.extend(simulated(UNLIKE, 1, length, every, start));
    servers
}

/// A server that goes on for ever as it was simulated.
fn server(recording: Recording) -> SocketAddr {
    let Recording { scrapes, series: table, .. } = recording;
    let mut scrapes = scrapes.into_iter().cycle();
    let pages = Mutex::new(move || {
        let scrape = scrapes.next().unwrap();
        let line =
            |sample: &Sample| format!("{} {}\n", table.get(sample.series).unwrap(), sample.value);
        scrape.samples.iter().map(line).collect::<String>()
    });
    http::serve_by(move |_| (200, (pages.lock().unwrap())()))
}

/// The fleet with its past, a model of those that are alike, and a configuration.
struct Site {
    folder: TempDir,
    servers: Vec<String>,
}

impl Site {
    fn new() -> Self {
        let now = fleet("10m", "200ms", Timestamp::default());
        let servers = now.into_iter().map(|recording| server(recording).to_string()).collect();
        let site = Self { folder: tempfile::tempdir().unwrap(), servers };
        let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let start = Timestamp::from_millis((today / DAY_MILLIS - 2) * DAY_MILLIS);
        let past: Vec<Recording> = fleet("2d", "1m", start)
            .into_iter()
            .zip(&site.servers)
            .map(|(past, instance)| Recording { instance: instance.clone(), ..past })
            .collect();
        write_history(&site.folder.path().join("alike"), &Dataset::default(), &past[..ALIKE])
            .unwrap();
        write_history(&site.folder.path().join("history"), &Dataset::default(), &past).unwrap();
        let until = Timestamp::from_millis(start.millis() + DAY_MILLIS).to_string();
        let train = ["train", "--detector", "masked_without_network", "--until", &until];
        let files = ["--data", &site.text("alike"), "--out", &site.text("dns.keras")];
        oddns(&[&train[..], &files].concat()).well();
        let targets: Vec<String> =
            site.servers.iter().map(|server| format!("'{server}'")).collect();
        let config = format!(
            "model: dns.keras\nlearning: {{interval: 5s, min_rows: 1000, cpu_share: 1.0, \
             registry: models, own_models: {{max: 2}}}}\nscrape_configs:\n  - job_name: dns\n    \
             scrape_interval: 200ms\n    static_configs: [{{targets: [{}]}}]\n",
            targets.join(", ")
        );
        std::fs::write(site.folder.path().join("oddns.yml"), config).unwrap();
        site
    }

    fn text(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
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
        let registry = self.text("models");
        let whose = ["--output=json", "--registry", &registry, "--instance", self.unlike()];
        oddns(&[&["model", verb], &whose[..], rest].concat()).well().json()
    }

    fn unlike(&self) -> &str {
        &self.servers[ALIKE]
    }
}

/// Of each server that has one, the generation of its own model, and the fits of all.
fn fits_when(page: SocketAddr, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let deadline = Instant::now() + SOON;
    loop {
        let answer: Value = serde_json::from_str(&http::get(page, "/api/v1/model")).unwrap();
        let fits = answer["data"]["fits"].as_array().unwrap();
        if wanted(fits) {
            return fits.clone();
        }
        assert!(Instant::now() < deadline, "{answer}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The generation that the server called `instance` has for itself.
fn own(fits: &[Value], instance: &str) -> Option<u64> {
    let fit = fits.iter().find(|fit| fit["instance"] == instance)?;
    fit["own"]["generation"].as_u64()
}

#[test]
fn exactly_the_server_that_is_unlike_gets_a_model_of_its_own_and_a_kill_leaves_it() {
    let site = Site::new();
    let (mut watch, page) = site.watch();
    // It begins after two updates of the shared model that find the same.
    let words = format!("learning of `{}`", site.unlike());
    watch.find(SOON, |line| line.contains(&words).then_some(()));
    let made = site.model(&["list"]);
    assert_eq!(made[0]["generation"], 1, "{made}");
    assert_eq!(made[0]["gate"].as_array().unwrap().len(), 5, "{made}");
    // What the gate says depends on which hours of the day are held out.
    if made[0]["passed"] != true {
        site.model(&["promote", "1"]);
    }
    let fits = fits_when(page, |fits| own(fits, site.unlike()).is_some());
    for alike in &site.servers[..ALIKE] {
        assert_eq!(own(&fits, alike), None, "{fits:?}");
        let fit = fits.iter().find(|fit| fit["instance"] == alike.as_str()).unwrap();
        assert!(fit["misfit"].as_f64().unwrap() < 0.07, "{fits:?}");
    }
    let metrics = http::get(page, "/metrics");
    assert!(metrics.contains("\noddns_own_models 1"), "{metrics}");
    let gauge =
        format!("oddns_model_misfit_ratio{{instance=\"{}\",judge=\"own\"}} ", site.unlike());
    assert!(metrics.contains(&gauge), "{metrics}");

    watch.signal("KILL");
    watch.end(SOON);
    let (mut watch, page) = site.watch();
    let fits = fits_when(page, |fits| own(fits, site.unlike()).is_some());
    assert_eq!(fits.iter().filter(|fit| fit["own"].is_object()).count(), 1, "{fits:?}");
    // By hand, in another process: the shared one and back.
    site.model(&["promote", "0"]);
    fits_when(page, |fits| own(fits, site.unlike()).is_none());
    site.model(&["rollback"]);
    fits_when(page, |fits| own(fits, site.unlike()).is_some());
    watch.find(SOON, |line| {
        let event: Value = serde_json::from_str(line).unwrap();
        (event["event"] == "score" && event["instance"] == site.unlike()).then_some(())
    });
    watch.signal("TERM");
    assert!(watch.end(SOON).success());
}
