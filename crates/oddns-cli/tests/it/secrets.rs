//! Whatever goes wrong, no secret of the configuration is told, and no name commands a terminal.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::child::Running;
use crate::http;
use crate::oddns::ODDNS;
use crate::watched::{self, SOON};

/// In every place where a secret may stand.
const PLANTED: &str = "hunter2-planted";
/// What the service shows.
const SHOWN: [&str; 7] = [
    "/",
    "/api/v1/model",
    "/metrics",
    "/api/v1/status",
    "/api/v1/fleet",
    "/api/v1/incidents",
    "/api/v1/openapi.json",
];

/// A configuration in which nothing answers, with a name that would command a terminal.
fn write(folder: &Path) {
    std::fs::write(folder.join("token"), PLANTED).unwrap();
    let text = format!(
        "model: dns.keras
global: {{scrape_interval: 200ms}}
backfill: {{url: 'http://u:{PLANTED}@127.0.0.1:9', authorization: {{credentials: {PLANTED}}}}}
alerting:
  alertmanagers:
  - basic_auth: {{username: u, password: {PLANTED}}}
    static_configs: [{{targets: ['127.0.0.1:9']}}]
  webhooks:
  - {{name: chat, url: 'http://127.0.0.1:9/{PLANTED}', group_wait: 0s}}
remote_write:
- url: 'http://u:{PLANTED}@127.0.0.1:9/?t={PLANTED}'
  headers: {{x-scope-orgid: {PLANTED}}}
scrape_configs:
- job_name: dns
  basic_auth: {{username: u, password: {PLANTED}}}
  params: {{token: [{PLANTED}]}}
  static_configs: [{{targets: ['127.0.0.1:9']}}]
- job_name: proxied
  proxy_url: http://u:{PLANTED}@127.0.0.1:9
  static_configs: [{{targets: ['127.0.0.1:10']}}]
- job_name: token
  authorization: {{credentials_file: token}}
  http_sd_configs: [{{url: 'http://u:{PLANTED}@127.0.0.1:9/?t={PLANTED}', refresh_interval: 1s}}]
- job_name: \"a\\nb\"
  static_configs:
  - targets: ['127.0.0.1:11']
    labels: {{instance: \"\\x1b[31mred\\x1b[0m\\nfake: line <script>alert(1)</script>\"}}
"
    );
    std::fs::write(folder.join("oddns.yml"), text).unwrap();
}

#[test]
fn planted_secrets_are_told_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let model = at("dns.keras");
    watched::train_briefly(&model);
    write(folder.path());
    let mut command = Command::new(ODDNS);
    command.arg("watch").arg(format!("--config.file={}", at("oddns.yml")));
    command.args(["--web.listen-address=127.0.0.1:0", "--web.enable-lifecycle"]);
    command.arg(format!("--storage.state={}", at("states")));
    let mut process = Running::start(&mut command);
    let (start, mut said) = (Instant::now(), String::new());
    let page = loop {
        let line = process.line_until(start + SOON).expect("it names no page");
        said += &line;
        if let Some(address) = line.strip_prefix("page and metrics: http://") {
            break address.trim_end_matches('/').parse().unwrap();
        }
    };
    let failed = |text: &str| {
        text.contains("oddns_discovery_failures_total{")
            && text.contains("oddns_target_scrapes_failed_total{")
    };
    while !failed(&http::get(page, "/metrics")) {
        assert!(start.elapsed() < SOON, "{}", http::get(page, "/metrics"));
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut shown = String::new();
    for path in SHOWN {
        shown += &http::get(page, path);
    }
    assert!(!shown.contains(PLANTED), "{shown}");
    // A label's value is what it is to whoever scrapes it; all else is read by people.
    let read = |path: &str| http::get(page, path).contains('\u{1b}');
    assert_eq!(SHOWN.iter().find(|path| **path != "/metrics" && read(path)), None);
    assert!(!http::get(page, "/metrics").lines().any(|line| line.starts_with("fake")));
    process.signal("TERM");
    assert!(process.end(SOON).success());
    said += &process.stderr();
    while let Some(line) = process.try_line() {
        said += &line;
    }
    assert!(!said.contains(PLANTED) && !said.contains('\u{1b}'), "{said}");
}
