//! The main job on a real CoreDNS: collect → train → watch, two faults, and the page in Chromium.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use oddns_lab::{Lab, LabConfig, Mix, TrafficSettings, fault};
use serde_json::Value;

use crate::browser::Browser;
use crate::child::Running;
use crate::oddns::{ODDNS, oddns};
use crate::{http, peers};

/// Time between scrapes: a model has to see enough rows in the minute and a half of the test.
const EVERY: &str = "500ms";
const COLLECT_FOR: &str = "90s";
/// A bit more than the lab's answers may be cached: before that the model would learn a server whose
/// cache fills.
const SETTLING: Duration = Duration::from_secs(35);
/// Steps that must pass without an incident: forty seconds of them.
const QUIET_STEPS: usize = 80;
/// An operator's patience, and the bar of this test.
const FOUND_WITHIN: Duration = Duration::from_secs(30);
/// Steps that a fault stays in force once it is found, so that its cause is well founded.
const HELD_STEPS: usize = 16;
/// An incident ends some steps after the last odd one, and scales have to forget.
const OVER_WITHIN: Duration = Duration::from_secs(75);

/// Pods behind one server; half of the lookups are about outside names.
fn lab_config(binary: PathBuf) -> LabConfig {
    let mix = Mix {
        inside: 0.45,
        outside: 0.15,
        qualified: 0.35,
        srv: 0.03,
        ptr: 0.01,
        txt: 0.01,
        stub: 0.0,
    };
    LabConfig {
        settings: TrafficSettings { lookups_per_second: 100.0, mix, ..Default::default() },
        ..LabConfig::new(binary)
    }
}

/// A running `oddns watch` and what it has said.
struct Watched {
    process: Running,
    page: SocketAddr,
    /// Events not asked for yet stay in the process's channel.
    start: Instant,
}

/// What happened while a condition was waited for.
#[derive(Debug, Default)]
struct Seen {
    scores: Vec<f64>,
    /// Steps with a score above 1, told in words.
    odd: Vec<String>,
    incidents: Vec<Value>,
}

impl Watched {
    fn start(target: &str, model: &Path) -> Self {
        let mut command = Command::new(ODDNS);
        command.args(["watch", "--target", target, "--every", EVERY, "--output=json"]);
        command.args(["--web.listen-address", "127.0.0.1:0", "--model"]).arg(model);
        let mut process = Running::start(&mut command);
        let page = process.find(Duration::from_secs(20), |line| {
            let event: Value = serde_json::from_str(line).unwrap();
            event["address"].as_str().map(|address| address.parse().unwrap())
        });
        Self { process, page, start: Instant::now() }
    }

    /// Reads events until `done` says so of one; `Err` when it did not come in time.
    fn until(&mut self, within: Duration, done: impl Fn(&Value, &Seen) -> bool) -> (bool, Seen) {
        let (deadline, mut seen) = (Instant::now() + within, Seen::default());
        while let Some(line) = self.process.line_until(deadline) {
            let event: Value =
                serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
            seen.take(&event, self.start.elapsed());
            if done(&event, &seen) {
                return (true, seen);
            }
        }
        (false, seen)
    }

    /// The incident as last told, some steps after it opened with a cause that `named` accepts.
    fn incident(&mut self, named: fn(&str) -> bool) -> Value {
        let start = Instant::now();
        let (found, seen) = self.until(FOUND_WITHIN, |_, seen| {
            seen.incidents.last().is_some_and(|incident| named(&cause(incident)))
        });
        assert!(found, "no such incident within {FOUND_WITHIN:?}: {seen:#?}");
        println!(
            "found after {:.1} s, scores {}, {}",
            start.elapsed().as_secs_f64(),
            shown(&seen.scores),
            told(&seen.incidents),
        );
        let first = seen.incidents.last().unwrap().clone();
        let (held, seen) = self.until(FOUND_WITHIN, |_, seen| seen.scores.len() >= HELD_STEPS);
        println!("held, scores {}, {}", shown(&seen.scores), told(&seen.incidents));
        assert!(held, "scores stopped: {seen:#?}");
        let last = seen.incidents.last().unwrap_or(&first);
        assert!(named(&cause(last)), "the cause changed: {last:#?}");
        last.clone()
    }

    /// Waits until the incident is over; gives its last word.
    fn over(&mut self) -> Value {
        let (over, seen) = self.until(OVER_WITHIN, |event, _| event["event"] == "incident_closed");
        println!("until over, scores {}", shown(&seen.scores));
        assert!(over, "not over within {OVER_WITHIN:?}: {:#?}", seen.odd);
        seen.incidents.last().unwrap().clone()
    }
}

impl Seen {
    fn take(&mut self, event: &Value, at: Duration) {
        if let Some(score) = event["score"].as_f64() {
            self.scores.push(score);
            if score > 1.0 {
                let odd =
                    format!("{:.1} s: {score:.2} {}", at.as_secs_f64(), event["top_features"]);
                self.odd.push(odd);
            }
        }
        if !event["incident"].is_null() {
            self.incidents.push(event["incident"].clone());
        }
    }
}

fn shown(scores: &[f64]) -> String {
    let scores: Vec<String> = scores.iter().map(|score| format!("{score:.2}")).collect();
    scores.join(" ")
}

fn told(incidents: &[Value]) -> String {
    let told = |incident: &Value| {
        format!(
            "{} {:.2} ({:.2})",
            incident["cause"]["name"], incident["peak_score"], incident["cause"]["confidence"]
        )
    };
    incidents.iter().map(told).collect::<Vec<_>>().join(" | ")
}

/// Name and summary of an incident's cause.
fn cause(incident: &Value) -> String {
    format!("{}: {}", name(incident), incident["cause"]["summary"])
}

fn name(incident: &Value) -> &str {
    incident["cause"]["name"].as_str().unwrap()
}

fn recorded_and_learned(target: &str, folder: &Path) -> PathBuf {
    let (data, model) = (folder.join("recording"), folder.join("dns.keras"));
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let collected = oddns(&[
        "collect",
        "--target",
        target,
        "--out",
        &path(&data),
        "--for",
        COLLECT_FOR,
        "--every",
        EVERY,
        "--output=json",
    ])
    .well();
    println!("collected: {}", collected.stdout.trim());
    assert_eq!(collected.json()["failed"], 0, "{collected:#?}");
    let trained =
        oddns(&["train", "--data", &path(&data), "--out", &path(&model), "--output=json"]).well();
    println!("trained: {}", trained.stdout.trim());
    model
}

fn promtool_complaints(text: &str) -> String {
    use std::io::Write;
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed where ODDNS_PEERS is set");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// The value of a series, written as in the exposition format.
fn metric(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {series} in {text}"))
}

fn check_metrics(watched: &Watched, instance: &str) {
    let text = http::get(watched.page, "/metrics");
    let score = metric(&text, &format!("oddns_anomaly_score{{instance=\"{instance}\"}}"));
    assert!(score > 1.0, "{score}");
    let active = metric(&text, &format!("oddns_anomaly_active{{instance=\"{instance}\"}}"));
    assert_eq!(active, 1.0);
    assert_eq!(promtool_complaints(&text), "", "{text}");
}

fn check_page(watched: &Watched, causes: &[&str]) {
    let browser = Browser::start();
    browser.open(&format!("http://{}/", watched.page));
    let peak = "return Number(document.querySelector('[data-testid=score-chart]').dataset.peak)";
    browser.wait(peak, |peak| peak.as_f64().is_some_and(|peak| peak > 1.0));
    let points: usize = browser.attributes("score-chart", "data-points")[0].parse().unwrap();
    assert!(points > QUIET_STEPS, "{points}");
    let shown = browser.attributes("incident", "data-cause");
    for cause in causes {
        assert!(shown.iter().any(|shown| shown == cause), "{cause} in {shown:?}");
    }
    assert_eq!(browser.attributes("state", "data-kind"), ["odd"]);
    let drawn = browser.drawn_pixels("score-chart");
    assert!(drawn > 2000, "{drawn} pixels");
    assert_eq!(browser.console(), [""; 0], "the console is not quiet");
    browser.screenshot(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("end-to-end.png"));
    println!("page: {points} points, {drawn} pixels, incidents {shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstream_failure_and_nxdomain_flood_are_found_on_a_real_coredns() {
    let Some(peers) = peers("upstream_failure_and_nxdomain_flood_are_found_on_a_real_coredns")
    else {
        return;
    };
    let start = Instant::now();
    let at = |what: &str| println!("{:6.1} s  {what}", start.elapsed().as_secs_f64());
    let folder = tempfile::tempdir().unwrap();
    // The lab's tasks run on the workers: this thread may block.
    let mut lab = Lab::start(lab_config(peers.join("coredns-1.15.0/coredns"))).await.unwrap();
    let (target, instance) =
        (lab.metrics_urls()[0].to_string(), lab.servers()[0].metrics_address().to_string());
    tokio::time::sleep(SETTLING).await;
    at("collecting");
    let model = recorded_and_learned(&target, folder.path());
    at("watching");
    let mut watched = Watched::start(&target, &model);

    let (all, quiet) =
        watched.until(Duration::from_secs(150), |_, seen| seen.scores.len() >= QUIET_STEPS);
    at("quiet has passed");
    println!("quiet scores: {}\nodd: {:#?}", shown(&quiet.scores), quiet.odd);
    assert!(all, "only {} scores", quiet.scores.len());
    assert!(quiet.incidents.is_empty(), "an incident in the quiet part: {:#?}", quiet.incidents);

    lab.apply(fault("upstream_servfail").unwrap()).await.unwrap();
    at("upstream fails");
    let failing = |cause: &str| {
        cause.starts_with("upstream_servfail: ") || cause.starts_with("upstream_failure: ")
    };
    watched.incident(failing);
    lab.clear().await.unwrap();
    at("upstream mended");
    let failure = watched.over();
    assert!(failing(&cause(&failure)), "the cause changed: {failure:#?}");

    lab.apply(fault("nxdomain_flood").unwrap()).await.unwrap();
    at("flood begins");
    let flood = watched.incident(|cause| cause.contains("NXDOMAIN"));
    check_metrics(&watched, &instance);
    check_page(&watched, &[name(&failure), name(&flood)]);
    at("page read");
    watched.process.signal("TERM");
    assert!(watched.process.end(Duration::from_secs(20)).success());
    at("end");
}
