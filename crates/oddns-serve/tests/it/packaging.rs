//! What is shipped beside the program speaks of metrics that the program has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use oddns_collect::{HttpConfig, ScrapeError};
use oddns_core::Labels;
use oddns_serve::{
    Alerting, AlertingConfig, AlertmanagerConfig, RemoteWriting, Shared, Site, View, check_config,
};
use oddns_store::{HistoryStore, StoreSettings};
use tokio::sync::mpsc;

use crate::{has_peers, promtool, scene};

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging")
}

/// Names in `text` that are spelled like our metrics.
fn metrics(text: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let words = text.split(|c: char| !is_name(c));
    words.filter(|word| word.starts_with("oddns_") || word.starts_with("process_")).collect()
}

/// Names as `/metrics` describes them, once everything has happened that is counted.
async fn described() -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    let shared = Shared::new(View::new("", true));
    let metrics = shared.metrics();
    let store = HistoryStore::open(folder.path(), StoreSettings::default()).unwrap();
    metrics.storage().keep_in(Arc::new(store));
    let model = scene::model();
    metrics.set_model(&model);
    metrics.watch("a:1");
    metrics.discovered("dns", 1);
    metrics.discovery_failed("dns", "http");
    metrics.event_dropped();
    metrics.scraped("a:1", &promtool::scraped(None));
    let late = ScrapeError::Timeout {
        target: "http://127.0.0.1:9153/metrics".parse().unwrap(),
        timeout: Duration::from_secs(10),
    };
    metrics.scraped("a:1", &promtool::scraped(Some(late)));
    metrics.stepped("a:1", &scene::step("a:1", 310), &model.features, Duration::from_micros(80));
    let nobody = AlertmanagerConfig {
        url: "http://127.0.0.1:9/api/v2/alerts".into(),
        timeout: Duration::from_secs(1),
        http: HttpConfig::default(),
    };
    let config = AlertingConfig { alertmanagers: vec![nobody], ..Default::default() };
    let (events, _read) = mpsc::channel(10);
    let alerting = Alerting::start(&config, &Site::default(), &shared, &events);
    let text = "remote_write: [{url: 'http://127.0.0.1:9'}]";
    let remote = check_config(text, Path::new("")).unwrap().remote_write;
    let writing = RemoteWriting::start(&remote, &Labels::default(), &shared, &events);
    let text = metrics.expose("").text;
    alerting.stop().await;
    writing.stop().await;
    let names = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next());
    names.map(str::to_owned).collect()
}

#[tokio::test]
async fn dashboard_and_rules_name_metrics_that_there_are() {
    let described = described().await;
    for file in ["grafana/oddns.json", "prometheus/oddns.rules.yml", "prometheus/oddns.tests.yml"] {
        let text = std::fs::read_to_string(packaging().join(file)).unwrap();
        let used = metrics(&text);
        assert!(used.len() > 5, "{file}: {used:?}");
        for name in used {
            let family =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let known = described.contains(name) || described.contains(family.unwrap_or(name));
            assert!(known, "{file}: `{name}` is none of {described:?}");
        }
    }
}

#[test]
fn every_alert_has_a_test_in_which_it_fires() {
    let read =
        |name: &str| std::fs::read_to_string(packaging().join("prometheus").join(name)).unwrap();
    let (rules, tests) = (read("oddns.rules.yml"), read("oddns.tests.yml"));
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {alert}\n        exp_alerts:")), "{alert}");
    }
}

#[test]
fn the_dashboard_is_one() {
    let text = std::fs::read_to_string(packaging().join("grafana/oddns.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        assert!(panel["targets"][0]["expr"].as_str().is_some_and(|expr| !expr.is_empty()));
    }
}

#[test]
fn promtool_finds_the_rules_good() {
    if !has_peers("promtool_finds_the_rules_good") {
        return;
    }
    let mut promtool = Command::new("promtool");
    promtool.args(["test", "rules", "oddns.tests.yml"]);
    let output = promtool.current_dir(packaging().join("prometheus")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
