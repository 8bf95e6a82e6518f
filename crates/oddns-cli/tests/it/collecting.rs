//! `oddns collect` into a folder that holds something already.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::child::Running;
use crate::http::{serve, serve_by};
use crate::oddns::{Ended, ODDNS, oddns};

const FAILED: Option<i32> = Some(1);
const USAGE: Option<i32> = Some(2);
const BAD_INPUT: Option<i32> = Some(3);

/// A folder to record into, and a server.
struct Scene {
    folder: TempDir,
    address: SocketAddr,
}

impl Scene {
    fn new() -> Self {
        let address = serve("text/plain", "coredns_build_info 1\ngo_goroutines 9\n");
        Self { folder: tempfile::tempdir().unwrap(), address }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("recording")
    }

    /// Runs `oddns collect`; `@` stands for the recording, `$` for the server.
    fn collect(&self, words: &str) -> Ended {
        let (out, address) = (self.out(), self.address.to_string());
        let words = words
            .split(' ')
            .map(|word| word.replace('@', &out.display().to_string()).replace('$', &address));
        oddns(&["collect".to_owned()].into_iter().chain(words).collect::<Vec<_>>())
    }

    fn described(&self) -> Value {
        let text = fs::read_to_string(self.out().join("dataset.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn n_samples(&self) -> u64 {
        let out = self.out().display().to_string();
        let told = oddns(&["dataset", "describe", &out, "--output=json"]).well().json();
        let of_server = |server: &Value| server["samples"].as_u64().unwrap();
        told["instances"].as_array().unwrap().iter().map(of_server).sum()
    }
}

const SHORT: &str = "--target http://$/metrics --out @ --for 500ms --every 200ms --output=json";

#[test]
fn a_recording_that_was_ended_goes_on() {
    let scene = Scene::new();
    let first = scene.collect(SHORT).well().json();
    assert_eq!(first["samples"].as_u64(), first["scrapes"].as_u64().map(|n| 4 * n), "{first}");
    let begun = scene.described();
    // What is older than the retention goes, what was recorded just now stays.
    let part = day(&scene.out()).join("part-0.parquet");
    let old = scene.out().join("day=2020-01-01");
    fs::create_dir(&old).unwrap();
    fs::copy(part, old.join("part-0.parquet")).unwrap();
    let again = scene.collect(&format!("{SHORT} --storage.retention.time 30d")).well();
    assert!(again.stderr.starts_with("going on with the recording `"), "{again:#?}");
    assert!(!old.exists());
    let described = scene.described();
    assert_eq!(described["instances"], begun["instances"]);
    assert_eq!(described["scrape_interval_seconds"], 0.2);
    assert!(described["end"].as_f64() > begun["end"].as_f64());
    let told = first["samples"].as_u64().unwrap() + again.json()["samples"].as_u64().unwrap();
    assert_eq!(scene.n_samples(), told);
}

/// The only day of a recording.
fn day(out: &Path) -> PathBuf {
    let mut entries = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path());
    entries.find(|path| path.is_dir()).unwrap()
}

/// As a service is: killed, and started again while the server is down.
#[test]
fn a_recording_goes_on_although_no_server_answers() {
    let scene = Scene::new();
    scene.collect(SHORT).well();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let down = Scene { address: nobody, folder: scene.folder };
    let ended = down.collect(SHORT).well();
    let told = ended.json();
    assert_eq!(told["failed"], told["scrapes"]);
    assert_eq!(down.described()["instances"].as_array().unwrap().len(), 2);
}

#[test]
fn another_interval_is_refused_and_so_is_what_is_no_recording() {
    let scene = Scene::new();
    scene.collect(SHORT).well();
    let ended = scene.collect("--target http://$/metrics --out @ --for 1s --every 1s");
    assert_eq!(ended.code, USAGE);
    assert!(
        ended.stderr.contains("was recorded every 200ms, not every 1s: go on at that interval")
    );
    fs::write(scene.out().join("dataset.json"), "{\"seed\": 1}").unwrap();
    let ended = scene.collect(SHORT);
    assert_eq!(ended.code, USAGE);
    assert!(ended.stderr.contains("that `oddns simulate` made"), "{ended:#?}");
}

#[test]
fn a_damaged_file_is_told_before_recording_begins() {
    let scene = Scene::new();
    scene.collect(SHORT).well();
    let part = day(&scene.out()).join("part-0.parquet");
    let bytes = fs::read(&part).unwrap();
    fs::write(&part, &bytes[..bytes.len() - 20]).unwrap();
    let ended = scene.collect(SHORT).well();
    let first = ended.stderr.lines().next().unwrap();
    assert!(first.starts_with("warning: `") && first.contains("damaged or cut short"), "{first}");
    assert!(ended.stderr.contains("going on with the recording `"), "{ended:#?}");
}

#[test]
fn a_second_writer_may_try_again_later() {
    let scene = Scene::new();
    let target = format!("http://{}/metrics", scene.address);
    let mut first = Running::start(
        Command::new(ODDNS)
            .args(["collect", "--target", &target, "--every", "200ms", "--out"])
            .arg(scene.out()),
    );
    let lock = scene.out().join("_wal/lock");
    while !lock.exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    // Named before, the lock is taken a moment later.
    let refused = (0..50).map(|_| scene.collect(SHORT)).find(|ended| ended.code != Some(0));
    let refused = refused.unwrap();
    assert_eq!(refused.code, FAILED, "{refused:#?}");
    assert!(refused.stderr.contains("is being written by process "), "{refused:#?}");
    first.signal("TERM");
    assert!(first.end(Duration::from_secs(20)).success());
}

#[test]
fn options_that_would_do_nothing_are_refused() {
    let scene = Scene::new();
    for (words, said) in [
        ("--target http://$/metrics --out @ --since 2026-01-01T00:00:00Z", "`--since` says what"),
        ("--target http://$/metrics --out @ --until 2026-01-01T00:00:00Z", "`--until` says what"),
        ("--target http://$/metrics --out @ --job dns", "`--job` says what history to fetch"),
        (
            "--prometheus $ --out @ --since 1 --storage.retention.time 1d",
            "`--storage.retention.time` goes with a recording",
        ),
    ] {
        let ended = scene.collect(words);
        assert_eq!(ended.code, USAGE, "{words}: {ended:#?}");
        assert!(ended.stderr.contains(said), "{words}: {ended:#?}");
    }
    let target = format!("http://{}/metrics", scene.address);
    let watch = ["watch", "--target", &target, "--model", "no", "--storage.retention.size", "1GB"];
    let ended = oddns(&watch);
    assert_eq!(ended.code, USAGE);
    assert!(ended.stderr.contains("name a folder with it, or leave it out"), "{ended:#?}");
    assert!(!scene.out().exists());
}

/// Answers queries of a range with a sample a step, and notes when each range begins.
fn prometheus() -> (SocketAddr, Arc<Mutex<Vec<i64>>>) {
    let asked: Arc<Mutex<Vec<i64>>> = Arc::default();
    let notes = Arc::clone(&asked);
    let good = |data: Value| (200, json!({ "status": "success", "data": data }).to_string());
    let address = serve_by(move |path| {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let number = |name: &str| {
            let found = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
            found.unwrap().parse::<f64>().unwrap() as i64
        };
        match path {
            "/api/v1/label/job/values" => good(json!(["dns"])),
            "/api/v1/label/instance/values" => good(json!(["ns:9153"])),
            "/api/v1/series" if query.contains("none") => good(json!([])),
            "/api/v1/series" if query.contains("%7B%7B") => {
                let error = json!({
                    "status": "error", "errorType": "bad_data", "error": "parse error",
                });
                (400, error.to_string())
            }
            "/api/v1/series" => good(json!([{ "__name__": "coredns_panics_total" }])),
            "/api/v1/query_range" => {
                let (start, end, step) = (number("start"), number("end"), number("step"));
                notes.lock().unwrap().push(start);
                let values = (start..=end).step_by(step as usize).map(|time| json!([time, "1"]));
                let metric = json!({
                    "__name__": "coredns_panics_total", "instance": "ns:9153", "job": "dns",
                });
                let series = json!({ "metric": metric, "values": values.collect::<Vec<_>>() });
                good(json!({ "resultType": "matrix", "result": [series] }))
            }
            _ => (404, String::new()),
        }
    });
    (address, asked)
}

#[test]
fn a_fetch_that_was_ended_is_extended_by_what_is_missing() {
    let (address, asked) = prometheus();
    let scene = Scene { address, folder: tempfile::tempdir().unwrap() };
    let ask = "--prometheus $ --every 60s --out @ --output=json";
    let scrapes = |words: &str| {
        let ended = scene.collect(&format!("{ask} {words}")).well();
        (ended.json()["scrapes"].as_u64().unwrap(), ended.stderr)
    };
    assert_eq!(scrapes("--since 1700000040 --until 1700003640").0, 60);
    assert!(!scene.out().join("unfinished.json").exists());
    asked.lock().unwrap().clear();
    assert_eq!(scrapes("--since 1700000040 --until 1700007240").0, 60);
    // Nothing of before, and no more than a day at once.
    assert_eq!(*asked.lock().unwrap(), [1_700_003_640, 1_700_006_400]);
    // A window that moves along, as a timer asks for.
    assert_eq!(scrapes("--since 1700003640 --until 1700008440").0, 20);
    let (n, said) = scrapes("--since 1700003640 --until 1700007240");
    assert!(n == 0 && said.contains("nothing is missing: all up to 2023-11-15"), "{said}");
    // Each with its `up`, and none twice.
    assert_eq!(scene.n_samples(), 2 * 140);
    for (words, said) in [
        ("--since 1690000000 --until 1700009000", "goes on behind that only"),
        ("--since 1700018440 --until 1700019000", "goes on behind that only"),
        ("--since 1700000040 --until 1700009000 --job other", "holds history of something else"),
    ] {
        let ended = scene.collect(&format!("{ask} {words}"));
        assert_eq!(ended.code, USAGE, "{words}: {ended:#?}");
        assert!(ended.stderr.contains(said), "{words}: {ended:#?}");
    }
}

#[test]
fn what_cannot_be_asked_is_bad_input() {
    let (address, _) = prometheus();
    let scene = Scene { address, folder: tempfile::tempdir().unwrap() };
    let ask = "--prometheus $ --out @ --since 1700000000 --until 1700003600";
    for (words, said) in [
        ("--query-range {{", "Prometheus says `parse error` (bad_data)"),
        ("--query-range {job=\"none\"}", "has no series"),
        ("--prometheus.bearer-token-file @.no", "cannot say to http://"),
    ] {
        let ended = scene.collect(&format!("{ask} {words}"));
        assert_eq!(ended.code, BAD_INPUT, "{words}: {ended:#?}");
        assert!(ended.stderr.contains(said), "{words}: {ended:#?}");
    }
    let away = serve_by(|_| (302, String::new()));
    let ended = Scene { address: away, ..scene }.collect(ask);
    assert_eq!(ended.code, FAILED, "{ended:#?}");
}
