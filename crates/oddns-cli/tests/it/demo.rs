//! `oddns demo`: what it finds, what it prints, and its page.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use oddns_eval::right_causes;
use serde_json::Value;

use crate::browser::Browser;
use crate::child::Running;
use crate::oddns::{ODDNS, oddns};
use crate::{http, peers};

/// Training on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const GRACE: Duration = Duration::from_secs(20);
const N_FAULTS: usize = 17;
const N_BENIGN: usize = 2;

#[test]
fn strong_faults_are_found_and_nothing_else() {
    let json = oddns(&["demo", "--once", "--output=json"]).well().json();
    let (events, alarms) = (&json["eval"]["events"], &json["eval"]["alarms"]);
    assert_eq!((&events["caught"], &events["n"]), (&N_FAULTS.into(), &N_FAULTS.into()), "{events}");
    assert_eq!((&alarms["false"], &alarms["benign"]), (&0.into(), &0.into()), "{alarms}");
    assert_eq!(json["quiet"]["alarmed_rows"], 0);
    assert!(json["quiet"]["rows"].as_u64().unwrap() > 2000, "{}", json["quiet"]);
    let told = json["told"].as_array().unwrap();
    let told: Vec<&Value> = told.iter().filter(|told| told["told_as"].is_string()).collect();
    let first = told.iter().filter(|told| causes(told).contains(&name(&told["told_as"]))).count();
    assert!(first * 10 >= told.len() * 8, "{first} named right: {told:#?}");
    let ranked = |told: &Value| {
        let mut others = told["or"].as_array().unwrap().iter();
        causes(told).contains(&name(&told["told_as"]))
            || others.any(|other| causes(told).contains(&name(other)))
    };
    let among = told.iter().filter(|told| ranked(told)).count();
    assert!(among * 10 >= told.len() * 9, "{among} among the likeliest: {told:#?}");
}

fn name(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn causes(told: &Value) -> &'static [&'static str] {
    let kind = name(&told["kind"]);
    right_causes(kind).unwrap_or_else(|| panic!("no cause is known for `{kind}`"))
}

#[test]
fn the_table_says_what_was_injected_and_what_cannot_be_seen() {
    let text = oddns(&["demo", "--once"]).well().stdout;
    let (incidents, table) = text.split_once("Against what was really injected:").unwrap();
    for word in ["likely: ", "moved:  ", "next:   ", "times the alarm line"] {
        assert!(incidents.contains(word), "{word}: {incidents}");
    }
    assert!(table.contains("at        injected              found after     peak  told as\n"));
    let rows = table.lines().filter(|line| line.starts_with("07:") || line.starts_with("08:"));
    assert_eq!(rows.count(), N_FAULTS, "{table}");
    for line in ["found 17 of 17 faults", "false alarms later: 0", "quiet part: 0 of "] {
        assert!(table.contains(line), "{line}: {table}");
    }
    assert!(table.contains("Not visible in CoreDNS's metrics at all"), "{table}");
}

/// The demo with its page, once that is served.
fn with_page() -> (Running, SocketAddr) {
    let mut command = Command::new(ODDNS);
    command.args(["demo", "--web.listen-address", "127.0.0.1:0"]);
    let mut demo = Running::start(&mut command);
    let address = demo.find(PATIENCE, |line| {
        let (_, address) = line.split_once("page: http://")?;
        address.split_once('/')?.0.parse().ok()
    });
    (demo, address)
}

#[test]
fn the_page_is_served_until_a_signal_comes() {
    for signal in ["TERM", "INT"] {
        let (mut demo, address) = with_page();
        assert!(http::get(address, "/").contains("data-testid=\"score-chart\""));
        assert_eq!(http::get(address, "/-/healthy").lines().count(), 1);
        demo.signal(signal);
        assert_eq!(demo.end(GRACE).code(), Some(0), "{signal}");
        assert_eq!(demo.stderr(), "", "{signal}");
    }
}

#[test]
fn chromium_shows_the_recording() {
    if peers("chromium_shows_the_recording").is_none() {
        return;
    }
    let (_demo, address) = with_page();
    let browser = Browser::start();
    browser.open(&format!("http://{address}/"));
    let points =
        "return Number(document.querySelector('[data-testid=score-chart]').dataset.points)";
    browser.wait(points, |points| points.as_u64().is_some_and(|points| points > 1000));
    let peak: f64 = browser.attributes("score-chart", "data-peak")[0].parse().unwrap();
    assert!(peak > 1.0, "{peak}");
    let causes = browser.attributes("incident", "data-cause");
    assert!(causes.len() >= 10, "{causes:?}");
    assert!(causes.iter().any(|cause| cause == "upstream_failure"), "{causes:?}");
    // Two faults and no benign change hit one server alone.
    for (server, n_injected) in [("sut1", N_FAULTS - 2), ("sut0", N_FAULTS)] {
        browser.run(&format!(
            "const select = document.querySelector('[data-testid=instance]');
             select.value = '{server}'; select.dispatchEvent(new Event('change'));"
        ));
        let injected = "const truth = document.querySelector('[data-testid=truth]');
                        return truth.hidden ? 0 : truth.querySelectorAll('[data-kind]').length";
        browser.wait(injected, |shown| *shown == n_injected + N_BENIGN);
    }
    let drawn = browser.drawn_pixels("score-chart");
    assert!(drawn > 2000, "{drawn} pixels");
    assert_eq!(browser.console(), [""; 0], "the console is not quiet");
    browser.screenshot(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo.png"));
}
