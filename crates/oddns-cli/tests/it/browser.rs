//! A real Chromium, driven by the WebDriver protocol.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::child::Running;
use crate::http::request;

/// How long a page may take to become what is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const FLAGS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,2000",
];

/// A browser window. Dropping it closes the browser.
pub(crate) struct Browser {
    address: SocketAddr,
    session: String,
    _driver: Running,
    _profile: TempDir,
}

impl Browser {
    /// Starts chromedriver, and Chromium by it.
    pub(crate) fn start() -> Self {
        let mut driver = Running::start(Command::new("chromedriver").arg("--port=0"));
        let port = driver.find(PATIENCE, |line| {
            let (_, port) = line.split_once("successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let profile = tempfile::tempdir().unwrap();
        let flags: Vec<String> = FLAGS
            .iter()
            .map(|flag| (*flag).to_owned())
            .chain([format!("--user-data-dir={}", profile.path().display())])
            .collect();
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": flags },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let session = call(address, "POST", "/session", &wanted);
        let session = session["sessionId"].as_str().unwrap().to_owned();
        Self { address, session, _driver: driver, _profile: profile }
    }

    fn post(&self, what: &str, body: &Value) -> Value {
        call(self.address, "POST", &format!("/session/{}/{what}", self.session), body)
    }

    /// Opens an address and waits until the document has loaded.
    pub(crate) fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    /// What the body of a function returns in the page.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The first value for which `wanted` holds; panics with the last one when none comes in time.
    pub(crate) fn wait(&self, script: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let value = self.run(script);
            if wanted(&value) {
                return value;
            }
            assert!(start.elapsed() < PATIENCE, "waited in vain, `{script}` gives {value}");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// An attribute of every element with this `data-testid`, in document order.
    pub(crate) fn attributes(&self, id: &str, name: &str) -> Vec<String> {
        let all = self.run(&format!(
            "return [...document.querySelectorAll('[data-testid={id}]')]\
             .map(element => element.getAttribute('{name}'))"
        ));
        let all = all.as_array().unwrap().iter();
        all.map(|value| value.as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Pixels of the canvas within this element that differ from its most common one.
    pub(crate) fn drawn_pixels(&self, id: &str) -> u64 {
        let drawn = self.run(&format!(
            "const canvas = document.querySelector('[data-testid={id}] canvas');
             const image = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
             const pixels = new Uint32Array(image.data.buffer), counts = new Map();
             for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) || 0) + 1);
             return pixels.length - Math.max(...counts.values());"
        ));
        drawn.as_u64().unwrap_or_else(|| panic!("{drawn}"))
    }

    /// What the console said so far.
    pub(crate) fn console(&self) -> Vec<String> {
        let entries = self.post("se/log", &json!({ "type": "browser" }));
        entries.as_array().unwrap().iter().map(|entry| entry["message"].to_string()).collect()
    }

    /// Saves what is seen as a PNG.
    pub(crate) fn screenshot(&self, path: &Path) {
        let path_in_session = format!("/session/{}/screenshot", self.session);
        let image = call(self.address, "GET", &path_in_session, &Value::Null);
        let image = base64_decoded(image.as_str().unwrap());
        assert!(image.starts_with(b"\x89PNG"), "no PNG");
        std::fs::write(path, image).unwrap();
        println!("screenshot: {}", path.display());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // While panicking a second panic would abort before the other servers are ended.
        let path = format!("/session/{}", self.session);
        let address = self.address;
        let _ = std::panic::catch_unwind(|| request(address, "DELETE", &path, ""));
    }
}

fn call(address: SocketAddr, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, answer) = request(address, method, path, &body);
    assert_eq!(status, 200, "{method} {path} {body}: {answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["value"].clone()
}

fn base64_decoded(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for four in text.chunks(4) {
        let bits = four.iter().fold(0, |bits, byte| bits << 6 | digit(*byte));
        let bits = bits << (6 * (4 - four.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}
