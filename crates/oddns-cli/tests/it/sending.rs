//! `oddns watch` gives its scores to a real Prometheus while signals come.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::backfill::Site;
use crate::child::Running;
use crate::http;
use crate::oddns::ODDNS;
use crate::watched::{self, SOON, event};

/// Longest time from the signal to the end.
const TO_END: Duration = Duration::from_secs(20);

/// A Prometheus that takes remote writes.
fn receiver(folder: &Path, address: SocketAddr) -> Running {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("prometheus.yml"), "global: {}\n").unwrap();
    let running = Running::start(
        Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--web.enable-remote-write-receiver")
            .stdin(Stdio::null()),
    );
    until("a Prometheus", || std::net::TcpStream::connect(address).ok());
    running
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it never came: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The answer to a query.
fn query(prometheus: SocketAddr, promql: &str) -> Value {
    let promql: String = promql.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let answer = http::get(prometheus, &format!("/api/v1/query?query={promql}"));
    serde_json::from_str::<Value>(&answer).unwrap()["data"]["result"].clone()
}

/// Scores of a server by their times.
fn scores(prometheus: SocketAddr, instance: SocketAddr) -> BTreeMap<String, f64> {
    let found = query(prometheus, &format!("oddns_anomaly_score{{instance='{instance}'}}[1h]"));
    let values = found[0]["values"].as_array().cloned().unwrap_or_default();
    let pair = |pair: &Value| (pair[0].to_string(), pair[1].as_str().unwrap().parse().unwrap());
    values.iter().map(pair).collect()
}

/// The same as the page has them.
fn shown(page: SocketAddr, instance: SocketAddr) -> BTreeMap<String, f64> {
    let path = format!("/api/v1/scores?instance={instance}&points=10000");
    // A server may not be found yet.
    let (status, answer) = http::request(page, "GET", &path, "");
    if status == 404 {
        return BTreeMap::new();
    }
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let column = |name: &str| answer["data"][name].as_array().unwrap().clone();
    let pairs = column("times").into_iter().zip(column("scores"));
    pairs.filter_map(|(time, score)| Some((time.to_string(), score.as_f64()?))).collect()
}

/// That all that the page shows was sent, as it was.
fn assert_has_all(sent: &BTreeMap<String, f64>, shown: &BTreeMap<String, f64>) {
    for (time, score) in shown {
        let sent = sent.get(time).unwrap_or_else(|| panic!("{time} is missing in {sent:?}"));
        assert!((sent - score).abs() <= 1e-6 * score.abs(), "{time}: {sent}, not {score}");
    }
}

/// A watch of `site` five times a second, that sends.
struct Sending {
    site: Site,
    config: PathBuf,
}

impl Sending {
    fn new() -> Self {
        let site = Site::new();
        watched::train_briefly(&site.path("dns.keras").display().to_string());
        let text = format!("- targets: ['{}']\n", site.server);
        std::fs::write(site.path("targets.yml"), text).unwrap();
        Self { config: site.path("oddns.yml"), site }
    }

    /// Writes the configuration.
    fn send_to(&self, address: SocketAddr, queue: &str) {
        let text = format!(
            "model: dns.keras\nglobal: {{scrape_interval: 200ms}}\nlearning: {{enabled: false}}\n\
             scrape_configs:\n- job_name: dns\n  file_sd_configs:\n  \
             - {{files: [targets.yml], refresh_interval: 1s}}\n\
             remote_write:\n- url: http://{address}/api/v1/write\n  queue_config: {{{queue}}}\n"
        );
        std::fs::write(&self.config, text).unwrap();
    }

    fn start(&self) -> (Running, SocketAddr) {
        let mut command = Command::new(ODDNS);
        command.arg("watch").arg(format!("--config.file={}", self.config.display()));
        watched::start(command.args(["--web.listen-address=127.0.0.1:0", "--output=json"]))
    }

    /// Waits until the page shows so many scores.
    fn until_judged(&self, page: SocketAddr, n: usize) {
        until("scores", || (shown(page, self.site.server).len() >= n).then_some(()));
    }
}

/// Waits for a warning or a notice with these words.
fn told(watch: &mut Running, words: &str) -> String {
    watch.find(SOON, |line| {
        let event = event(line);
        let texts = event.as_object()?.values().filter_map(Value::as_str);
        texts.filter(|text| text.contains(words)).map(str::to_owned).next()
    })
}

/// A figure of the one destination.
fn figure(page: SocketAddr, name: &str) -> f64 {
    let (text, name) =
        (http::get(page, "/metrics"), format!("oddns_remote_storage_samples{name}{{"));
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(f64::NAN)
}

#[test]
fn what_was_judged_before_the_end_is_sent_and_a_receiver_that_hangs_does_not_hold_it_up() {
    let name =
        "what_was_judged_before_the_end_is_sent_and_a_receiver_that_hangs_does_not_hold_it_up";
    if crate::peers(name).is_none() {
        return;
    }
    let (sending, other) = (Sending::new(), Site::new());
    let (site, address) = (&sending.site, free());
    let _prometheus = receiver(&site.path("prometheus"), address);
    let both = format!("- targets: ['{}', '{}']\n", site.server, other.server);
    std::fs::write(site.path("targets.yml"), both).unwrap();
    sending.send_to(address, "batch_send_deadline: 1s");
    let (mut watch, page) = sending.start();
    let is_shown = |n: &str| {
        let count = query(address, "count(oddns_anomaly_score)");
        (count[0]["value"][1] == n).then_some(())
    };
    until("scores of both", || is_shown("2"));
    // A server that is gone ends at once, not after the five minutes that Prometheus looks back.
    let one = format!("- targets: ['{}']\n", site.server);
    std::fs::write(site.path("targets.yml"), one).unwrap();
    told(&mut watch, "target_gone");
    until("the end of the one", || is_shown("1"));
    assert!(scores(address, other.server).len() > 1);

    // All that waits is sent, however long it would have waited.
    sending.send_to(address, "batch_send_deadline: 1h");
    watch.signal("HUP");
    told(&mut watch, "the configuration was read anew");
    sending.until_judged(page, scores(address, site.server).len() + 10);
    let judged = shown(page, site.server);
    assert!(scores(address, site.server).len() < judged.len() && figure(page, "_pending") > 0.0);
    watch.signal("TERM");
    assert!(watch.end(TO_END).success(), "{}", watch.stderr());
    assert_has_all(&scores(address, site.server), &judged);

    // Nobody ever takes what comes here.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    sending.send_to(hanging.local_addr().unwrap(), "batch_send_deadline: 100ms");
    let (mut watch, page) = sending.start();
    sending.until_judged(page, 3);
    let start = Instant::now();
    watch.signal("TERM");
    let lost = told(&mut watch, "did not reach remote storage, and are lost");
    assert!(lost.split(' ').next().unwrap().parse::<u32>().unwrap() >= 21, "{lost}");
    assert!(watch.end(TO_END).success(), "{}", watch.stderr());
    assert!(start.elapsed() < TO_END, "{:?}", start.elapsed());
}

#[test]
fn a_changed_address_loses_and_doubles_nothing_and_a_bad_file_changes_nothing() {
    let name = "a_changed_address_loses_and_doubles_nothing_and_a_bad_file_changes_nothing";
    if crate::peers(name).is_none() {
        return;
    }
    let sending = Sending::new();
    let (site, [nobody, first, second]) = (&sending.site, [free(), free(), free()]);
    let _first = receiver(&site.path("first"), first);
    let _second = receiver(&site.path("second"), second);
    sending.send_to(nobody, "batch_send_deadline: 100ms");
    let (mut watch, page) = sending.start();
    told(&mut watch, "scores do not reach remote storage");
    sending.until_judged(page, 10);
    assert_eq!(figure(page, "_total"), 0.0);

    // What waited for the old address goes to the new one.
    sending.send_to(first, "batch_send_deadline: 100ms");
    watch.signal("HUP");
    told(&mut watch, "the configuration was read anew");
    let has = |address, n: usize| {
        move || Some(scores(address, site.server)).filter(|scores| scores.len() >= n)
    };
    assert_has_all(&until("scores", has(first, 20)), &BTreeMap::new());

    std::fs::write(&sending.config, "remote_write: 1\n").unwrap();
    watch.signal("HUP");
    told(&mut watch, "the configuration of before goes on to hold");
    let n = scores(first, site.server).len();
    until("more scores", has(first, n + 5));

    sending.send_to(second, "batch_send_deadline: 100ms");
    watch.signal("HUP");
    told(&mut watch, "the configuration was read anew");
    until("scores there", has(second, 5));
    let judged = shown(page, site.server);
    assert_eq!((figure(page, "_failed_total"), figure(page, "_dropped_total")), (0.0, 0.0));
    watch.signal("TERM");
    assert!(watch.end(TO_END).success(), "{}", watch.stderr());
    let (before, after) = (scores(first, site.server), scores(second, site.server));
    assert!(before.keys().all(|time| !after.contains_key(time)), "{before:?} {after:?}");
    assert_has_all(&before.into_iter().chain(after).collect(), &judged);
}

#[test]
fn what_a_receiver_that_was_away_misses_is_counted_and_told_once() {
    let name = "what_a_receiver_that_was_away_misses_is_counted_and_told_once";
    if crate::peers(name).is_none() {
        return;
    }
    let sending = Sending::new();
    let (site, address) = (&sending.site, free());
    let queue = "batch_send_deadline: 100ms, capacity: 100, max_backoff: 200ms";
    sending.send_to(address, queue);
    let (mut watch, page) = sending.start();
    told(&mut watch, "scores do not reach remote storage");
    let lost = told(&mut watch, "are lost: more waited than `capacity`");
    assert!(lost.contains(&format!("samples for remote storage {address}")), "{lost}");
    until("more that is lost", || (figure(page, "_dropped_total") > 50.0).then_some(()));
    assert!(figure(page, "_pending") <= 100.0);
    let _prometheus = receiver(&site.path("prometheus"), address);
    until("scores", || (scores(address, site.server).len() >= 20).then_some(()));
    let (dropped, judged) = (figure(page, "_dropped_total"), shown(page, site.server));
    watch.signal("TERM");
    // Within the minute nothing is told again; at the end, all that is left to tell.
    let texts = watch.rest().into_iter().filter_map(|line| {
        let text = event(&line)["text"].as_str()?.to_owned();
        (text.contains("lost") || text.contains("do not reach")).then_some(text)
    });
    let texts: Vec<String> = texts.collect();
    assert!(texts.len() == 1 && texts[0].contains("did not reach remote storage"), "{texts:?}");
    let n_of = |text: &str| text.split(' ').next().unwrap().parse::<f64>().unwrap();
    assert_eq!(n_of(&lost) + n_of(&texts[0]), dropped, "{lost} {texts:?}");
    assert!(watch.end(TO_END).success(), "{}", watch.stderr());

    // Missing are the oldest behind those that were under way, and no more than is counted.
    let mut sent = scores(address, site.server);
    let is_missing = |time: &&String| !sent.contains_key(*time);
    let n_before = judged.keys().take_while(|time| !is_missing(time)).count();
    let gap: Vec<&String> = judged.keys().skip(n_before).take_while(is_missing).collect();
    let n_missing = gap.len();
    sent.extend(gap.into_iter().map(|time| (time.clone(), judged[time])));
    assert_has_all(&sent, &judged);
    let of_a_score = dropped / n_missing as f64;
    // Those of features that add no more end by a marker.
    assert!((7.0..=32.0).contains(&of_a_score), "{dropped} samples, {n_missing} scores");
}
