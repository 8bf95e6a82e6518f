//! Debian's `promtool check metrics` as the judge of our own metrics.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use oddns_collect::{LeftOut, ScrapeError, Scraped};
use oddns_core::{Scrape, Timestamp};
use oddns_serve::Metrics;

use crate::{has_peers, scene};

#[test]
fn promtool_finds_nothing_wrong_with_our_metrics() {
    if !has_peers("promtool_finds_nothing_wrong_with_our_metrics") {
        return;
    }
    let metrics = Metrics::new();
    let model = scene::model();
    metrics.set_model(&model);
    for instance in ["a:1", "odd \"name\" \\ with\nall sorts"] {
        metrics.watch(instance);
        metrics.scraped(instance, &scraped(None));
        let target = "http://127.0.0.1:9153/metrics".parse().unwrap();
        let late = ScrapeError::Timeout { target, timeout: Duration::from_secs(10) };
        metrics.scraped(instance, &scraped(Some(late)));
        metrics.stepped(
            instance,
            &scene::step(instance, 310),
            &model.features,
            Duration::from_micros(80),
        );
    }
    metrics.event_dropped();
    let text = metrics.expose("").text;
    let complaints = check(&text);
    assert!(complaints.is_empty(), "{complaints}\n{text}");
    assert!(text.contains("oddns_feature_expected{"), "{text}");
    assert!(text.contains("process_resident_memory_bytes "), "{text}");
}

/// A scrape as the loop hands it on.
pub(crate) fn scraped(error: Option<ScrapeError>) -> Scraped {
    let scrape = Scrape {
        time: Timestamp::from_millis(1_795_331_512_000),
        up: error.is_none(),
        duration_seconds: 0.012,
        samples: Vec::new(),
    };
    Scraped {
        scrape,
        error,
        n_scraped: 310,
        left_out: LeftOut { untimely: 1, ..LeftOut::default() },
        n_bytes: 40_000,
    }
}

/// What promtool says, on both channels.
fn check(text: &str) -> String {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed where ODDNS_PEERS is set");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let words = [output.stdout, output.stderr].concat();
    let mut words = String::from_utf8(words).unwrap();
    if !output.status.success() {
        words.push_str(&output.status.to_string());
    }
    words
}
