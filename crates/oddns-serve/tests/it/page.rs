//! The page in a real Chromium: what the view holds is what a person sees.

use std::net::SocketAddr;
use std::process::Command;

use oddns_serve::View;

use crate::client::{get, request, serve};
use crate::{has_peers, scene};

/// The document after the page's script has run; console messages go to the second.
async fn visit(address: SocketAddr) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    let output = tokio::task::spawn_blocking(move || {
        Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-dev-shm-usage"])
            .args(["--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("http://{address}/"))
            .output()
            .expect("chromium is installed where ODDNS_PEERS is set")
    })
    .await
    .unwrap();
    let console = String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .map(|line| format!("{line}\n"))
        .collect();
    (String::from_utf8(output.stdout).unwrap(), console)
}

/// The opening tags that carry `data-testid="id"`, in order.
fn tags<'a>(page: &'a str, id: &str) -> Vec<&'a str> {
    let mark = format!("data-testid=\"{id}\"");
    page.split('<').filter(|tag| tag.contains(&mark)).collect()
}

fn attribute<'a>(tag: &'a str, name: &str) -> &'a str {
    let start = format!("{name}=\"");
    let from = tag.find(&start).unwrap_or_else(|| panic!("{name} in {tag}")) + start.len();
    tag[from..].split('"').next().unwrap()
}

async fn page_of(view: View) -> String {
    let (address, _) = serve(view).await;
    let (page, console) = visit(address).await;
    assert_eq!(console, "", "the console is not quiet");
    page
}

#[tokio::test]
async fn a_browser_is_sent_the_files_of_the_page_once() {
    let (address, _) = serve(View::new("", true)).await;
    let first = get(address, "/assets/app.js").await;
    let tag = first.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    let again = |tag: &str| {
        format!(
            "GET /assets/app.js HTTP/1.1\r\nhost: x\r\nif-none-match: {tag}\r\nconnection: close\r\n\r\n"
        )
    };
    let other = request(address, &again("W/\"other\"")).await;
    assert_eq!((other.status, other.body.as_str()), (200, first.body.as_str()));
    let known = request(address, &again(&tag.replace("w/", "W/"))).await;
    assert_eq!((known.status, known.body.as_str()), (304, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_shows_its_scores_incidents_and_truth() {
    if !has_peers("a_recording_shows_its_scores_incidents_and_truth") {
        return;
    }
    let page = page_of(scene::recording()).await;
    let chart = tags(&page, "score-chart")[0];
    assert_eq!(attribute(chart, "data-points"), "736");
    assert_eq!(attribute(chart, "data-alarms"), "2");
    assert!(attribute(chart, "data-peak").parse::<f32>().unwrap() > 30.0, "{chart}");
    assert!(attribute(chart, "aria-label").contains("2 stretches above the alarm line"), "{chart}");
    assert!(page.contains("<canvas"), "no chart is drawn");
    let causes: Vec<_> =
        tags(&page, "incident").iter().map(|t| attribute(t, "data-cause")).collect();
    assert_eq!(causes, ["nxdomain_flood", "upstream_unreachable"]);
    assert!(page.contains("2 incidents found") && page.contains("upstream blackhole"));
    assert!(tags(&page, "feature").len() >= 12);
    assert!(page.contains("Or else: Upstream DNS servers do not answer"), "no other cause is told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_server_of_a_fleet_has_a_state_in_words() {
    if !has_peers("each_server_of_a_fleet_has_a_state_in_words") {
        return;
    }
    let page = page_of(scene::fleet(620)).await;
    let kinds: Vec<_> = tags(&page, "state").iter().map(|t| attribute(t, "data-kind")).collect();
    assert_eq!(kinds, ["odd", "stuck", "wait", "quiet"]);
    for words in
        ["Odd since 09:30:00", "Warming up: 37 of 64", "No data", "No incidents. Quiet since"]
    {
        assert!(page.contains(words), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_yet_is_said_in_words_and_names_are_not_markup() {
    if !has_peers("nothing_yet_is_said_in_words_and_names_are_not_markup") {
        return;
    }
    let mut view = View::new("<img src=x onerror=alert(1)>", true);
    view.watch(["<b>evil</b>".to_owned()]);
    let page = page_of(view).await;
    assert!(page.contains("Waiting for a model.") && page.contains("No score yet."));
    assert!(page.contains("No incidents. Nothing has been scored yet."));
    assert!(!page.contains("<b>evil") && !page.contains("<img src=x"), "markup from a name");
}
