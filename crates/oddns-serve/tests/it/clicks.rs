//! What people do on the page, done in a real Chromium: by mouse, by keyboard, on a phone, in the dark,
//! with thousands of servers, and with what reads it to those who cannot see.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use oddns::{State, Step};
use oddns_serve::{Shared, StateFolder, View};
use serde_json::Value;

use crate::browser::Browser;
use crate::client::{serve, serve_shared};
use crate::{has_peers, scene};

/// Two replicas, of which one has had two incidents, and a folder for what people say of them.
fn live(folder: &Path) -> Arc<Shared> {
    let shared = Shared::new(View::new("", true));
    shared.set_model(scene::model());
    shared.watch(vec!["a:1".to_owned(), "b:1".to_owned()]);
    let states = StateFolder::open(folder).unwrap();
    assert_eq!(shared.keep_incidents(&states, scene::time(0)), [""; 0]);
    for at in 0..640 {
        shared.take("dns", "a:1", scene::step("a:1", at), Duration::ZERO);
        shared.take("dns", "b:1", scene::quiet_step(at), Duration::ZERO);
    }
    shared
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_clicked_is_stored() {
    if !has_peers("what_is_clicked_is_stored") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let address = serve_shared(live(folder.path())).await;
    tokio::task::block_in_place(|| {
        let browser = Browser::open(1200, 900);
        browser.visit(&format!("http://{address}/"));
        let button = "document.querySelector('[data-testid=feedback-normal]')";
        browser.until(button);
        browser.run(&format!("{button}.click()"));
        browser.until(&format!("{button}.getAttribute('aria-pressed') === 'true'"));
        browser.run("document.querySelector('[data-testid=feature]').click()");
        browser.until("document.querySelector('[data-testid=feature-chart] canvas')");
        browser.run("document.querySelector('#heat-names button').click()");
        browser.picture("live");
        assert_eq!(browser.console(), "");
    });
    let text = std::fs::read_to_string(folder.path().join("feedback.csv")).unwrap();
    assert!(text.lines().nth(1).unwrap().ends_with(",a:1,normal"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_to_an_incident_opens_it_and_a_live_page_goes_on() {
    if !has_peers("a_link_to_an_incident_opens_it_and_a_live_page_goes_on") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let shared = live(folder.path());
    let address = serve_shared(shared.clone()).await;
    let mut id = String::new();
    shared.read(|view| id.clone_from(&view.incidents().last().unwrap().id));
    tokio::task::block_in_place(|| {
        let browser = Browser::open(1200, 900);
        browser.visit(&format!("http://{address}/#incident-{id}"));
        browser.until(
            "document.querySelector('.incident.chosen')?.dataset.cause === 'upstream_unreachable'",
        );
        browser.until("!document.getElementById('zoomed').hidden");
        browser.run("document.getElementById('unzoom').click()");
        let points = "Number(document.getElementById('score-chart').dataset.points)";
        browser.until(&format!("{points} >= 500"));
        let before = browser.run(&format!("return {points}")).as_u64().unwrap();
        for at in 640..650 {
            shared.take("dns", "a:1", scene::step("a:1", at), Duration::ZERO);
        }
        browser.until(&format!("{points} > {before}"));
        browser.visit("about:blank");
        browser.visit(&format!("http://{address}/#incident-gone"));
        browser.until("document.querySelector('[data-testid=no-such-incident]')");
        assert_eq!(browser.console(), "");
    });
}

/// So many servers, most of them quiet.
fn many(n: usize) -> View {
    let mut view = View::new("", true);
    view.set_model(scene::model());
    view.watch((0..n).map(|n| format!("10.1.{}.{}:9153", n / 250, n % 250)));
    for n in 0..n {
        let instance = format!("10.1.{}.{}:9153", n / 250, n % 250);
        for at in 606..610 {
            let step =
                if n % 700 == 3 { scene::step(&instance, at) } else { scene::quiet_step(at) };
            view.push(&instance, &step);
        }
        if n % 300 == 7 {
            let state = State::WarmingUp { seen: 9, needed: 64 };
            view.push(&instance, &Step { state, score: None, ..scene::quiet_step(610) });
        }
    }
    view
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_servers_take_no_more_room_than_fifty() {
    if !has_peers("thousands_of_servers_take_no_more_room_than_fifty") {
        return;
    }
    let (address, _) = serve(many(5000)).await;
    tokio::task::block_in_place(|| {
        let browser = Browser::open(1200, 900);
        browser.visit(&format!("http://{address}/"));
        browser.until("document.getElementById('fleet-map').dataset.cells === '5000'");
        let n_elements = browser.run("return document.querySelectorAll('*').length");
        assert!(n_elements.as_u64().unwrap() < 3000, "{n_elements}");
        let kinds =
            "[...document.querySelectorAll('[data-testid=state]')].map((s) => s.dataset.kind)";
        browser.until(&format!("{kinds}[0] === 'odd' && {kinds}.length === 50"));
        browser.picture("fleet");
        // A cell of the map is a server.
        browser.run("const map = document.getElementById('fleet-map'); const at = map.getBoundingClientRect(); map.dispatchEvent(new MouseEvent('click', {clientX: at.left + 1, clientY: at.top + 1, bubbles: true}))");
        browser
            .until("document.getElementById('score-chart').dataset.instance === '10.1.0.0:9153'");
        browser.run("const find = document.getElementById('fleet-search'); find.value = '10.1.19.249'; find.dispatchEvent(new Event('input'))");
        browser.until(&format!("{kinds}.length === 1"));
        browser.run("const find = document.getElementById('fleet-search'); find.value = ''; find.dispatchEvent(new Event('input')); document.querySelector('[data-testid=kind][data-kind=wait]').click()");
        browser.until(&format!("{kinds}.length > 1 && {kinds}.every((kind) => kind === 'wait')"));
        assert_eq!(browser.console(), "");
    });
}

/// axe-core as its Python package has it.
fn axe() -> String {
    let peers = PathBuf::from(std::env::var_os("ODDNS_PEERS").unwrap());
    let lib = std::fs::read_dir(peers.join("axe/lib")).unwrap().next().unwrap().unwrap().path();
    std::fs::read_to_string(lib.join("site-packages/axe_playwright_python/axe.min.js")).unwrap()
}

/// What axe-core calls serious or worse.
fn serious(browser: &Browser, axe: &str) -> Vec<String> {
    browser.run(axe);
    let found = browser.run_async("axe.run(document).then(arguments[arguments.length - 1])");
    let all = found["violations"].as_array().unwrap_or_else(|| panic!("{found}"));
    let is_serious = |v: &&Value| matches!(v["impact"].as_str(), Some("serious" | "critical"));
    let told = |v: &Value| {
        let nodes = v["nodes"].as_array().unwrap();
        format!("{}: {} ({})", v["id"], nodes[0]["html"], nodes[0]["failureSummary"])
    };
    all.iter().filter(is_serious).map(told).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_kept_out() {
    if !has_peers("nobody_is_kept_out") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (recording, _) = serve(scene::recording()).await;
    let (fleet, _) = serve(many(100)).await;
    let live = serve_shared(live(folder.path())).await;
    tokio::task::block_in_place(|| {
        let axe = axe();
        for (name, width, dark) in
            [("light", 1200, false), ("dark", 1200, true), ("phone", 375, false)]
        {
            let browser = Browser::open(width, 800);
            if dark {
                browser.darken();
            }
            for (page, address) in [("recording", recording), ("fleet", fleet), ("live", live)] {
                browser.visit(&format!("http://{address}/"));
                browser.until("document.querySelector('#score-chart canvas') && document.querySelector('[data-testid=feature]')");
                assert_eq!(serious(&browser, &axe), [""; 0], "{page}, {name}");
                let fits = "document.documentElement.scrollWidth <= window.innerWidth";
                assert_eq!(
                    browser.run(&format!("return {fits}")),
                    Value::Bool(true),
                    "{page}, {name}"
                );
                browser.picture(&format!("{page}-{name}"));
            }
            assert_eq!(browser.console(), "", "{name}");
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keyboard_is_enough() {
    if !has_peers("the_keyboard_is_enough") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let address = serve_shared(live(folder.path())).await;
    tokio::task::block_in_place(|| {
        let browser = Browser::open(1200, 900);
        browser.visit(&format!("http://{address}/"));
        browser.until("document.querySelector('[data-testid=feedback-right]')");
        const TAB: &str = "\u{e004}";
        const ENTER: &str = "\u{e007}";
        browser.press(&[TAB]);
        assert_eq!(browser.run("return document.activeElement.className"), "skip");
        let target = "return document.activeElement.dataset.testid ?? ''";
        let mut n_presses = 0;
        while browser.run(target) != "feedback-right" {
            browser.press(&[TAB]);
            n_presses += 1;
            assert!(n_presses < 200, "the button is not on the way of the keyboard");
        }
        browser.press(&[ENTER]);
        browser.until("document.activeElement.getAttribute('aria-pressed') === 'true'");
        assert_eq!(browser.run(target), "feedback-right", "the focus is lost");
    });
}
