//! `oddns watch` takes a new configuration while it runs, and keeps the old one when that is bad.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http;
use crate::oddns::{ODDNS, oddns};
use crate::watched::{self, SOON, event};

fn config(folder: &Path, targets: &str) {
    let text = format!(
        "model: dns.keras\nglobal: {{scrape_interval: 200ms}}\nscrape_configs:\n  - job_name: dns\n    \
         static_configs: [{{targets: [{targets}]}}]\n"
    );
    std::fs::write(folder.join("oddns.yml"), text).unwrap();
}

#[test]
fn a_new_configuration_is_taken_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let model = at("dns.keras");
    watched::train_briefly(&model);
    config(folder.path(), "'127.0.0.1:9'");
    let mut command = Command::new(ODDNS);
    command.arg("watch").arg(format!("--config.file={}", at("oddns.yml")));
    command.args(["--web.listen-address=127.0.0.1:0", "--output=json", "--web.enable-lifecycle"]);
    command.arg("--config.auto-reload-interval=1s");
    let (mut process, page) = watched::start(&mut command);
    let instances = || {
        let status: Value = serde_json::from_str(&http::get(page, "/api/v1/status")).unwrap();
        let instances = status["data"]["instances"].as_array().unwrap().clone();
        let names = instances.iter().map(|i| i["instance"].as_str().unwrap().to_owned());
        names.collect::<Vec<String>>()
    };
    let until = |names: &[&str]| {
        let deadline = Instant::now() + SOON;
        while instances() != names {
            assert!(Instant::now() < deadline, "{:?}", instances());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let success = || {
        let text = http::get(page, "/metrics");
        let name = "oddns_config_last_reload_successful ";
        text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned).unwrap()
    };
    until(&["127.0.0.1:9"]);
    assert_eq!(success(), "1.0");

    // A change of the file is seen.
    config(folder.path(), "'127.0.0.1:9', '127.0.0.1:10'");
    until(&["127.0.0.1:10", "127.0.0.1:9"]);

    // An order over HTTP is answered.
    std::fs::write(folder.path().join("oddns.yml"), "scrape_configs: 1\n").unwrap();
    let (status, answer) = http::request(page, "POST", "/-/reload", "");
    assert_eq!(status, 500, "{answer}");
    assert!(answer.starts_with("the configuration of before goes on to hold: "), "{answer}");
    assert!(answer.contains("oddns.yml`: line 1, column 17: "), "{answer}");
    assert_eq!(success(), "0.0");
    until(&["127.0.0.1:10", "127.0.0.1:9"]);
    process.find(SOON, |line| {
        let event = event(line);
        (event["event"] == "warning").then_some(())
    });

    // And so is a signal.
    config(folder.path(), "'127.0.0.1:9', '127.0.0.1:10', '127.0.0.1:11'");
    process.signal("HUP");
    until(&["127.0.0.1:10", "127.0.0.1:11", "127.0.0.1:9"]);
    assert_eq!(success(), "1.0");
    assert_eq!(http::request(page, "POST", "/-/quit", "").0, 200);
    assert!(process.end(SOON).success());
}

#[test]
fn orders_over_http_need_a_flag() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("dns.keras").display().to_string();
    watched::train_briefly(&model);
    // Nor does anybody listen beyond this machine without a word about who may see it.
    let target = "--target=http://127.0.0.1:9/metrics";
    let everywhere = "--web.listen-address=0.0.0.0:0";
    let refused = oddns(&["watch", target, "--model", &model, everywhere]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("or say `--web.allow-anonymous`"), "{refused:?}");
    let mut command = Command::new(ODDNS);
    command.args(["watch", target, "--model", &model]);
    command.args(["--web.listen-address=127.0.0.1:0", "--output=json"]);
    let (mut process, page) = watched::start(&mut command);
    for path in ["/-/reload", "/-/quit"] {
        let (status, answer) = http::request(page, "POST", path, "");
        assert_eq!(status, 403, "{answer}");
    }
    process.signal("TERM");
    assert!(process.end(SOON).success());
}
