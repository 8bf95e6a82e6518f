//! A watch that begins with the history of a Prometheus which is in trouble, or behind TLS or a proxy.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use oddns_core::Recording;
use oddns_store::{HistoryFilter, read_history};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;

use crate::backfill::{Prometheus, Site, end, in_stage, past, until_scored};
use crate::child::Running;
use crate::http;
use crate::relay::{Way, relay};
use crate::watched::{self, SOON, event, model_when};

/// Questions for samples, rather than for what there is.
fn is_for_samples(path: &str) -> bool {
    ["/api/v1/read", "/api/v1/query"].iter().any(|of| path.starts_with(of))
}

/// What a watch on this Prometheus says when it does not work: in the API, and as a warning.
fn waits(site: &Site, backfill: &str, wanted: &str) {
    let (mut watch, page) = site.watch("200ms", backfill, &[]);
    let waiting = model_when(page, in_stage("waiting"));
    let words = waiting["backfill"]["words"].as_str().unwrap();
    assert!(words.contains(wanted) && words.contains("tried again in"), "{wanted}: {words}");
    warned(&mut watch, wanted);
    until_scored(&mut watch);
    end(watch);
}

fn warned(watch: &mut Running, wanted: &str) {
    watch.find(SOON, |line| {
        let event = event(line);
        let text = event["text"].as_str().unwrap_or_default();
        (event["event"] == "warning" && text.contains(wanted)).then_some(())
    });
}

#[test]
fn whatever_breaks_half_way_no_scrape_is_missing_and_none_is_twice() {
    if crate::peers("whatever_breaks_half_way_no_scrape_is_missing_and_none_is_twice").is_none() {
        return;
    }
    let site = Site::new();
    let recordings = past(&["other:9153"], "2d", 172_801, "1m");
    let prometheus = Prometheus::of(&recordings, site.folder.path(), "");
    let n_asked = AtomicUsize::new(0);
    let relay = relay(prometheus.port, move |path| {
        let n = if is_for_samples(path) { n_asked.fetch_add(1, Ordering::Relaxed) } else { 0 };
        match n {
            2 | 3 => Way::Status(503),
            5 => Way::Cut,
            7 => Way::Half,
            // Longer than one request is insisted on.
            9..15 => Way::Status(502),
            _ => Way::Pass,
        }
    });
    let backfill = format!("url: 'http://{relay}', look_back: 3d, max_requests_per_second: 100");
    let (mut watch, page) = site.watch_kept("1m", &backfill);
    warned(&mut watch, "502 Bad Gateway: look at the server's own log; it is tried again");
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
fn what_a_prometheus_warns_of_is_told_once_and_at_the_end() {
    if crate::peers("what_a_prometheus_warns_of_is_told_once_and_at_the_end").is_none() {
        return;
    }
    let site = Site::new();
    let recordings = past(&[&site.server.to_string()], "20m", 1201, "1s");
    let prometheus = Prometheus::of(&recordings, site.folder.path(), "");
    let relay = relay(prometheus.port, |_| Way::Warned);
    let (mut watch, page) = site.watch("1s", &format!("url: 'http://{relay}', look_back: 1h"), &[]);
    let done = model_when(page, in_stage("done"));
    let reason = done["backfill"]["reason"].as_str().unwrap();
    assert!(reason.ends_with("; samples may be missing: `a store is away`"), "{reason}");
    // 1200 of the 20 minutes, of 2000 that are asked for.
    assert!(reason.contains("rows are there, `min_rows` asks for 2000"), "{reason}");
    warned(&mut watch, "samples of the past may be missing: http://");
    end(watch);
}

#[test]
fn a_prometheus_that_hangs_or_floods_is_told_and_no_scrape_waits_for_it() {
    if crate::peers("a_prometheus_that_hangs_or_floods_is_told_and_no_scrape_waits").is_none() {
        return;
    }
    let site = Site::new();
    let recordings = past(&[&site.server.to_string()], "20m", 1201, "1s");
    let prometheus = Prometheus::of(&recordings, site.folder.path(), "");
    for (way, wanted) in [
        (Way::Silence, "did not answer within 1s: ask for less"),
        (Way::Endless, "has more than 67108864 bytes: ask for fewer series"),
    ] {
        let is_well = Arc::<AtomicBool>::default();
        let well = Arc::clone(&is_well);
        let relay = relay(prometheus.port, move |path| {
            let is_odd = is_for_samples(path) && !well.load(Ordering::Relaxed);
            if is_odd { way } else { Way::Pass }
        });
        let backfill = format!("url: 'http://{relay}', look_back: 1h, timeout: 1s");
        let (mut watch, page) = site.watch("200ms", &backfill, &[]);
        // Why it does not go on is told while it asks for ever less, and each target says how long it takes.
        let told = |model: &Value| model["backfill"]["reason"].as_str().unwrap().contains(wanted);
        model_when(page, |model| in_stage("fetching")(model) && told(model));
        until_scored(&mut watch);
        let status: Value = serde_json::from_str(&http::get(page, "/api/v1/status")).unwrap();
        let target = &status["data"]["instances"][0];
        assert_eq!(target["state"], "scoring", "{target}");
        assert!(target["words"].as_str().is_some_and(|words| !words.is_empty()), "{target}");
        // What it answers later is fetched all the same.
        is_well.store(true, Ordering::Relaxed);
        let stage = |model: &Value| model["backfill"]["stage"].as_str().unwrap().to_owned();
        let after = model_when(page, |model| !["fetching", "waiting"].contains(&&*stage(model)));
        assert_eq!(after["backfill"]["progress"], 1.0, "{after}");
        end(watch);
    }
}

/// The same command, whose files have so many KiB at most: what goes beyond is an error, as on a full disk.
fn with_small_files(command: &Command, kib: u32) -> Command {
    let mut limited = Command::new("bash");
    limited.args(["-c", &format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\""), "bash"]);
    limited.arg(command.get_program()).args(command.get_args());
    limited
}

#[test]
fn a_disk_that_is_full_harms_no_score_and_what_was_there_is_used_later() {
    if crate::peers("a_disk_that_is_full_harms_no_score_and_what_was_there_is_used").is_none() {
        return;
    }
    let site = Site::new();
    let recordings = past(&[&site.server.to_string()], "1h", 3601, "1s");
    let prometheus = Prometheus::of(&recordings, site.folder.path(), "");
    let backfill = format!("url: 'http://127.0.0.1:{}', look_back: 2h", prometheus.port);
    let history = site.path("history").display().to_string();
    let kept = ["--storage.path", &history];
    // Too little for a model, and too little for what is fetched.
    for (kib, wanted) in [(16, "the model is not updated: "), (512, "history cannot be had: ")] {
        let command = site.command("1s", &backfill, &kept);
        let (mut watch, page) = watched::start(&mut with_small_files(&command, kib));
        warned(&mut watch, wanted);
        until_scored(&mut watch);
        let failed = "oddns_backfill_failures_total{cause=\"storage\"} ";
        let n_failed = || {
            let metrics = http::get(page, "/metrics");
            let line = metrics.lines().find_map(|line| line.strip_prefix(failed)).unwrap();
            line.parse::<u32>().unwrap()
        };
        let model = model_when(page, |_| n_failed() > 0);
        let reason = model["backfill"]["reason"].as_str().unwrap();
        assert!(reason.contains("File too large"), "{reason}");
        watch.signal("TERM");
        watch.end(SOON);
    }
    let (mut watch, page) = site.watch("1s", &backfill, &kept);
    let done = model_when(page, in_stage("done"));
    assert_eq!(done["backfill"]["progress"], 1.0);
    assert!(done["generation"].is_number(), "{done}");
    until_scored(&mut watch);
    end(watch);
    let filter =
        HistoryFilter { instance: Some(recordings[0].instance.clone()), ..Default::default() };
    let kept = read_history(&site.path("history"), &filter).unwrap();
    assert!(kept.recordings[0].scrapes.len() >= recordings[0].scrapes.len());
}

#[test]
fn a_stop_in_any_stage_takes_seconds() {
    if crate::peers("a_stop_in_any_stage_takes_seconds").is_none() {
        return;
    }
    let site = Site::new();
    let recordings = past(&[&site.server.to_string()], "1h", 3601, "1s");
    let prometheus = Prometheus::of(&recordings, site.folder.path(), "");
    let hangs = relay(prometheus.port, |path| match is_for_samples(path) {
        true => Way::Silence,
        false => Way::Pass,
    });
    let wrong = relay(prometheus.port, |_| Way::Status(503));
    let well = relay(prometheus.port, |_| Way::Pass);
    for (relay, stage) in
        [(hangs, "fetching"), (wrong, "fetching"), (well, "calibrating"), (well, "training")]
    {
        let backfill = format!("url: 'http://{relay}', look_back: 2h");
        let (mut watch, page) = site.watch("1s", &backfill, &[]);
        model_when(page, in_stage(stage));
        watch.signal("TERM");
        assert!(watch.end(Duration::from_secs(10)).success(), "{stage}: {}", watch.stderr());
    }
}

#[test]
fn redirects_are_followed_but_not_to_https_or_in_a_circle() {
    let site = Site::new();
    let circle = relay(9, |_| Way::To("/api/v1/again"));
    waits(&site, &format!("url: 'http://{circle}'"), "sends us in a circle");
    let to_https = relay(9, |_| Way::To("https://127.0.0.1:9/"));
    waits(&site, &format!("url: 'http://{to_https}'"), "give its address with `https://`");
    let forbidden = relay(9, |_| Way::Status(403));
    waits(&site, &format!("url: 'http://{forbidden}'"), "it wants credentials, or other ones");
}

/// An authority, and certificates by it for our server and for us.
fn write_certificates(folder: &Path) {
    let authority = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        Issuer::new(params, key)
    };
    authority("other-ca");
    let issuer = authority("ca");
    for (name, host) in [("server", "127.0.0.1"), ("client", "client.test")] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// Who may ask the Prometheus: `alice` by `fun`, with a certificate of ours.
const WEB: &str = "tls_server_config:
  cert_file: server.pem
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
basic_auth_users:
  alice: $2b$04$OU6RdQsn62QlqUCRFnzCuOVQC0qG4GdJdXfEKRZ0kCQjLXeQaf.6m
";

#[test]
fn a_prometheus_behind_tls_passwords_and_a_proxy() {
    if crate::peers("a_prometheus_behind_tls_passwords_and_a_proxy").is_none() {
        return;
    }
    let site = Site::new();
    let folder = site.folder.path();
    write_certificates(folder);
    std::fs::write(folder.join("web.yml"), WEB).unwrap();
    let recordings = past(&[&site.server.to_string()], "5m", 301, "1s");
    let prometheus = Prometheus::of(&recordings, folder, "web.yml");
    let url = format!("https://127.0.0.1:{}", prometheus.port);
    let ours = "cert_file: client.pem, key_file: client.key";
    let alice = |password: &str| format!("basic_auth: {{username: alice, password: {password}}}");
    let (fun, wrong) = (alice("fun"), alice("hunter2"));
    let certificate = "with https, the certificate";
    for (tls, auth, wanted) in [
        // Nobody we trust, somebody else, and nobody that it trusts.
        (ours.to_owned(), &fun, certificate),
        (format!("ca_file: other-ca.pem, {ours}"), &fun, certificate),
        ("ca_file: ca.pem".to_owned(), &fun, "127.0.0.1"),
        (format!("ca_file: ca.pem, {ours}"), &wrong, "it wants credentials, or other ones"),
        ("ca_file: missing.pem".to_owned(), &fun, "missing.pem"),
    ] {
        waits(&site, &format!("url: '{url}', {auth}, tls_config: {{{tls}}}"), wanted);
    }
    let tls = format!("tls_config: {{ca_file: ca.pem, {ours}}}");
    let (watch, page) =
        site.watch("1s", &format!("url: '{url}', look_back: 1h, {fun}, {tls}"), &[]);
    let done = model_when(page, in_stage("done"));
    assert!(done["backfill"]["n_rows"].as_u64().unwrap() > 250, "{done}");
    end(watch);
    drop(prometheus);

    // By way of a proxy, and by one that is not there.
    let prometheus = Prometheus::of(&recordings, &site.path("plain"), "");
    let n_relayed = Arc::<AtomicUsize>::default();
    let n = Arc::clone(&n_relayed);
    let proxy = relay(prometheus.port, move |_| {
        n.fetch_add(1, Ordering::Relaxed);
        Way::Pass
    });
    let backfill =
        format!("url: 'http://prometheus.test:9090', look_back: 1h, proxy_url: 'http://{proxy}'");
    let (watch, page) = site.watch("1s", &backfill, &[]);
    model_when(page, in_stage("done"));
    assert!(n_relayed.load(Ordering::Relaxed) > 2);
    end(watch);
    let gone = "url: 'http://prometheus.test:9090', proxy_url: 'http://127.0.0.1:9'";
    waits(&site, gone, "prometheus.test:9090");
}
