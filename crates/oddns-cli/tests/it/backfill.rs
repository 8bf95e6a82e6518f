//! A watch that begins with what a Prometheus remembers.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use oddns_core::{Recording, Sample, Timestamp};
use oddns_sim::{Scenario, Simulation};
use oddns_store::{Dataset, HistoryFilter, read_history, write_history, write_openmetrics};
use serde_json::Value;
use tempfile::TempDir;

use crate::child::Running;
use crate::http;
use crate::oddns::ODDNS;
use crate::watched::{self, SOON, event, model_when};

fn simulated(length: &str, every: &str, start: Timestamp) -> Recording {
    let text = format!(
        "for: {length}\nevery: {every}\nservers: 1\nseed: 7\ntraffic: {{lookups_per_second: 40}}\n"
    );
    let mut scenario = Scenario::parse(&text).unwrap();
    scenario.start = start;
    Simulation::new(scenario).record().remove(0)
}

/// A server that goes on for ever as it was simulated, a second with each scrape.
fn server() -> SocketAddr {
    let recording = simulated("10m", "1s", Timestamp::default());
    let (mut scrapes, table) = (recording.scrapes.into_iter().cycle(), recording.series);
    let next = Mutex::new(move || {
        let scrape = scrapes.next().unwrap();
        let line =
            |sample: &Sample| format!("{} {}\n", table.get(sample.series).unwrap(), sample.value);
        scrape.samples.iter().map(line).collect::<String>()
    });
    http::serve_by(move |_| (200, (next.lock().unwrap())()))
}

/// A real Prometheus that remembers a past; killed when the test ends.
pub(crate) struct Prometheus {
    child: Child,
    pub(crate) port: u16,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// One that has scraped these servers, with its own files in `folder`: a `web_config` of what it serves
    /// its API by as well, unless that is empty.
    pub(crate) fn of(recordings: &[Recording], folder: &Path, web_config: &str) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let at = |name: &str| folder.join(name);
        write_history(&at("past"), &Dataset::default(), recordings).unwrap();
        let mut text = Vec::new();
        write_openmetrics(&at("past"), &HistoryFilter::default(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap().replace("{instance=", "{job=\"dns\",instance=");
        std::fs::write(at("past.om"), text).unwrap();
        let made = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([at("past.om"), at("blocks")])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::write(at("prometheus.yml"), "scrape_configs: []\n").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let web_config = Some(web_config).filter(|name| !name.is_empty());
        let child = Command::new("prometheus")
            .args(web_config.map(|name| format!("--web.config.file={}", at(name).display())))
            .arg(format!("--config.file={}", at("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", at("blocks").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let prometheus = Self { child, port };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < SOON, "Prometheus does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        prometheus
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// The past of servers up to now.
pub(crate) fn past(names: &[&str], length: &str, seconds: i64, every: &str) -> Vec<Recording> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let recording = simulated(length, every, Timestamp::from_millis(1000 * (now - seconds)));
    let named = |name: &&str| Recording { instance: (*name).to_owned(), ..recording.clone() };
    names.iter().map(named).collect()
}

pub(crate) struct Site {
    pub(crate) folder: TempDir,
    pub(crate) server: SocketAddr,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), server: server() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The watch, and where its page is.
    pub(crate) fn watch(
        &self,
        every: &str,
        backfill: &str,
        more: &[&str],
    ) -> (Running, SocketAddr) {
        watched::start(&mut self.command(every, backfill, more))
    }

    /// What starts the watch.
    pub(crate) fn command(&self, every: &str, backfill: &str, more: &[&str]) -> Command {
        let server = self.server;
        let config = format!(
            "learning: {{min_rows: 2000, cpu_share: 1.0}}\nbackfill: {{{backfill}}}\n\
             scrape_configs:\n  - job_name: dns\n    scrape_interval: {every}\n    \
             static_configs: [{{targets: ['{server}']}}]\n"
        );
        std::fs::write(self.path("oddns.yml"), config).unwrap();
        let mut command = Command::new(ODDNS);
        command.arg("watch").arg("--config.file").arg(self.path("oddns.yml"));
        command.args(["--web.listen-address=127.0.0.1:0", "--output=json"]).args(more);
        command
    }

    /// The same with a history of its own.
    pub(crate) fn watch_kept(&self, every: &str, backfill: &str) -> (Running, SocketAddr) {
        let history = self.path("history").display().to_string();
        self.watch(every, backfill, &["--storage.path", &history])
    }
}

pub(crate) fn in_stage(stage: &str) -> impl Fn(&Value) -> bool {
    move |model| model["backfill"]["stage"] == stage
}

pub(crate) fn until_scored(watch: &mut Running) {
    watch.find(SOON, |line| (event(line)["event"] == "score").then_some(()));
}

pub(crate) fn end(mut watch: Running) {
    watch.signal("TERM");
    assert!(watch.end(SOON).success(), "{}", watch.stderr());
}

#[test]
fn a_watch_has_fetched_calibrated_and_trained_and_a_second_one_goes_on_from_that() {
    let name = "a_watch_has_fetched_calibrated_and_trained_and_a_second_one_goes_on_from_that";
    if crate::peers(name).is_none() {
        return;
    }
    let site = Site::new();
    let names = [site.server.to_string(), "elsewhere:9153".to_owned()];
    let recordings = past(&[&names[0], &names[1]], "1h", 3601, "1s");
    let n_samples: usize =
        recordings[0].scrapes.iter().map(|scrape| scrape.samples.len() + 2).sum();
    let prometheus = Prometheus::of(&recordings, site.folder.path(), "");
    let backfill = format!("url: '{}', look_back: 2h", prometheus.url());
    let (mut watch, page) = site.watch_kept("1s", &backfill);
    let done = model_when(page, in_stage("done"));
    let told = &done["backfill"];
    assert_eq!((&told["n_servers"], &told["n_targets"]), (&2.into(), &1.into()), "{told}");
    assert_eq!(told["n_samples"], 2 * n_samples as u64, "{told}");
    assert!(told["n_rows"].as_u64().unwrap() > 3000, "{told}");
    // What the gate says of the site's own model depends on the rows that are held out; and an alarm
    // in the one hour leaves nothing quiet to learn from, which is told.
    let reason = told["reason"].as_str().unwrap_or_default();
    if !reason.contains("there is nothing quiet to learn from") {
        let last = &done["last"];
        assert!(matches!(last["result"].as_str(), Some("promoted" | "refused")), "{done}");
        let origin = if last["result"] == "promoted" { "site" } else { "calibrated_base" };
        let done = model_when(page, |model| model["origin"] == origin);
        assert!(done["generation"].as_u64().unwrap() >= 2, "{done}");
    }
    // Told on the way, and the server is judged.
    until_scored(&mut watch);
    let metrics = http::get(page, "/metrics");
    for wanted in [
        "\noddns_backfill_stage{stage=\"done\"} 1",
        "\noddns_backfill_progress_ratio 1",
        "\noddns_backfill_failures_total{cause=\"prometheus\"} ",
    ] {
        assert!(metrics.contains(wanted), "{wanted}: {metrics}");
    }
    end(watch);

    // Nobody is there to be asked.
    drop(prometheus);
    let (watch, page) = site.watch_kept("1s", &backfill);
    let again = model_when(page, in_stage("done"));
    let told = &again["backfill"];
    assert_eq!((&told["reason"], &told["n_samples"]), (&"it was fetched before".into(), &0.into()));
    assert_eq!(told["n_servers"], 2, "{told}");
    end(watch);
}

#[test]
fn without_a_folder_a_past_calibrates_and_is_dropped() {
    if crate::peers("without_a_folder_a_past_calibrates_and_is_dropped").is_none() {
        return;
    }
    let site = Site::new();
    let recordings = past(&[&site.server.to_string()], "40m", 2401, "500ms");
    let prometheus = Prometheus::of(&recordings, site.folder.path(), "");
    // Scrapes that come oftener are thinned.
    let backfill = format!("url: '{}', look_back: 1h", prometheus.url());
    let (mut watch, page) = site.watch("1s", &backfill, &[]);
    let done = model_when(page, in_stage("done"));
    let rows = done["backfill"]["n_rows"].as_u64().unwrap();
    assert!((2300..2450).contains(&rows), "{done}");
    assert_eq!(done["learns"], false, "{done}");
    until_scored(&mut watch);
    end(watch);

    // Scrapes that come more seldom are refused, with what to do.
    let (watch, page) = site.watch("200ms", &backfill, &[]);
    let refused = model_when(page, in_stage("refused"));
    let reason = refused["backfill"]["reason"].as_str().unwrap();
    assert!(reason.contains("every 500ms where the watch scrapes every 200ms: set"), "{reason}");
    end(watch);
}

#[test]
fn without_a_history_the_site_has_a_model_of_its_own_until_the_end() {
    if crate::peers("without_a_history_the_site_has_a_model_of_its_own_until_the_end").is_none() {
        return;
    }
    let site = Site::new();
    let recordings = past(&[&site.server.to_string()], "2h", 7201, "1s");
    let prometheus = Prometheus::of(&recordings, site.folder.path(), "");
    let backfill = format!("url: '{}', look_back: 3h", prometheus.url());
    let (mut watch, page) = site.watch("1s", &backfill, &[]);
    let done = model_when(page, in_stage("done"));
    let (reason, last) = (done["backfill"]["reason"].as_str().unwrap(), &done["last"]);
    let why = last["reason"].as_str().unwrap();
    assert_eq!(last["result"], "promoted", "{done}");
    assert!(why.starts_with("passed the gate: false alarms a week and server "), "{why}");
    assert!(why.contains("injected faults found ") && why.contains("is asked for"), "{why}");
    assert_eq!(done["promotion"]["reason"], why);
    assert!(reason.contains("ends with this process: `--storage.path` keeps it"), "{reason}");
    assert_eq!((&done["origin"], &done["learns"]), (&"site".into(), &false.into()), "{done}");
    assert_eq!(done["generation"], Value::Null);
    let text = |line: &str| event(line)["text"].as_str().unwrap_or_default().to_owned();
    watch.find(SOON, |line| text(line).contains("passed the gate").then_some(()));
    until_scored(&mut watch);
    // A reload of the same keeps it, and asks for nothing anew.
    watch.signal("HUP");
    watch.find(SOON, |line| text(line).contains("was read anew").then_some(()));
    let after = model_when(page, |model| model["origin"] == "site");
    assert_eq!((&after["id"], &after["backfill"]["stage"]), (&done["id"], &"done".into()));
    end(watch);

    // Where states are kept, so is the model, and a server goes on with it.
    let states = site.path("states").display().to_string();
    let kept = ["--storage.state", &states];
    let (mut watch, page) = site.watch("1s", &backfill, &kept);
    let done = model_when(page, in_stage("done"));
    assert!(
        done["backfill"]["reason"].as_str().unwrap().contains("the model is kept in"),
        "{done}"
    );
    // The state that is kept is of whoever judged last.
    watch.find(SOON, |line| text(line).contains("passed the gate").then_some(()));
    (0..2).for_each(|_| until_scored(&mut watch));
    end(watch);
    drop(prometheus);
    let (mut watch, page) = site.watch("1s", &backfill, &kept);
    let again = model_when(page, |model| model["id"] == done["id"]);
    assert_eq!(again["origin"], "site");
    watch.find(SOON, |line| {
        assert_ne!(event(line)["event"], "state_lost", "{line}");
        (event(line)["event"] == "score").then_some(())
    });
    end(watch);
}

#[test]
fn a_watch_that_is_killed_while_it_fetches_goes_on_where_it_was() {
    if crate::peers("a_watch_that_is_killed_while_it_fetches_goes_on_where_it_was").is_none() {
        return;
    }
    let site = Site::new();
    let recordings = past(&["other:9153"], "2d", 172_801, "1m");
    let prometheus = Prometheus::of(&recordings, site.folder.path(), "");
    let slowly = format!("url: '{}', look_back: 3d, max_requests_per_second: 20", prometheus.url());
    let (mut watch, page) = site.watch_kept("1m", &slowly);
    let some = |model: &Value| model["backfill"]["progress"].as_f64().is_some_and(|p| p > 0.1);
    let before = model_when(page, |model| in_stage("fetching")(model) && some(model));
    watch.signal("KILL");
    watch.end(SOON);
    let (mut watch, page) = site.watch_kept("1m", &slowly);
    let after = model_when(page, |model| model["backfill"]["since"].is_number());
    assert_eq!(after["backfill"]["since"], before["backfill"]["since"]);
    assert!(some(&after), "{after}");
    // A reload in the middle goes on as well.
    watch.signal("HUP");
    watch.find(SOON, |line| {
        let text = event(line)["text"].as_str().unwrap_or_default().to_owned();
        text.contains("was read anew").then_some(())
    });
    let done = model_when(page, |model| in_stage("done")(model) || in_stage("training")(model));
    assert_eq!(done["backfill"]["progress"], 1.0, "{done}");
    end(watch);
    let filter = HistoryFilter { instance: Some("other:9153".to_owned()), ..Default::default() };
    let kept = read_history(&site.path("history"), &filter).unwrap();
    let times = |recording: &Recording| -> Vec<_> {
        recording.scrapes.iter().map(|scrape| (scrape.time, scrape.samples.len())).collect()
    };
    assert_eq!(times(&kept.recordings[0]), times(&recordings[0]));
}

#[test]
fn what_is_wrong_with_a_prometheus_is_told_and_the_watch_goes_on() {
    let html = http::serve("text/html", "<html>login</html>");
    let (locked, broken) = (
        http::serve_by(|_| (401, "who are you?".to_owned())),
        http::serve_by(|_| (500, "oops".to_owned())),
    );
    let empty = http::serve("application/json", "{\"status\":\"success\",\"data\":[]}");
    let site = Site::new();
    for (url, wanted) in [
        ("http://u:hunter2@127.0.0.1:9".to_owned(), "is Prometheus running there?"),
        (format!("http://{html}"), "it is no Prometheus: give the address before `/api/v1`"),
        (format!("http://{locked}"), "it wants credentials, or other ones"),
        (format!("http://{broken}"), "look at the server's own log"),
        (format!("http://{empty}"), "does this Prometheus scrape CoreDNS"),
    ] {
        let (mut watch, page) = site.watch("200ms", &format!("url: '{url}'"), &[]);
        let waiting = model_when(page, in_stage("waiting"));
        let words = waiting["backfill"]["words"].as_str().unwrap();
        assert!(words.contains(wanted) && words.contains("tried again in"), "{words}");
        let metrics = http::get(page, "/metrics");
        assert!(metrics.contains("oddns_backfill_failures_total{cause=\"prometheus\"} "));
        assert!(!format!("{metrics}{waiting}").contains("hunter2"));
        watch.find(SOON, |line| {
            assert!(!line.contains("hunter2"), "{line}");
            let event = event(line);
            let text = event["text"].as_str().unwrap_or_default();
            (event["event"] == "warning" && text.contains(wanted)).then_some(())
        });
        until_scored(&mut watch);
        end(watch);
    }
}
