//! A real Chromium that clicks: the least of a client of WebDriver.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The page has this long to come to what is expected of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// The driver answers within this, whatever it was asked.
const SILENCE: Duration = Duration::from_secs(330);

/// A window; it closes when it is dropped.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Opens a window of so many pixels.
    pub(crate) fn open(width: u32, height: u32) -> Self {
        let mut driver = Command::new("chromedriver");
        driver.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = driver.spawn().expect("chromedriver is there where ODDNS_PEERS is set");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.unwrap();
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        // Whatever else it says has to go somewhere.
        std::thread::spawn(move || lines.for_each(drop));
        let profile = tempfile::tempdir().unwrap();
        let mut browser =
            Self { driver, port: port.unwrap(), session: String::new(), _profile: profile };
        let folder = format!("--user-data-dir={}", browser._profile.path().display());
        let options = json!({
            "args": ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--disable-dev-shm-usage", "--disable-background-networking", "--hide-scrollbars", folder],
            "mobileEmulation": { "deviceMetrics": { "width": width, "height": height, "pixelRatio": 1.0, "mobile": width < 600 } },
        });
        let always =
            json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let answer = browser.ask("POST", "", &json!({ "capabilities": { "alwaysMatch": always } }));
        browser.session =
            answer["sessionId"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        browser.ask("POST", "/timeouts", &json!({ "script": 300_000 }));
        browser
    }

    /// Goes to a page.
    pub(crate) fn visit(&self, url: &str) {
        self.ask("POST", "/url", &json!({ "url": url }));
    }

    /// Lets the page prefer dark colours.
    pub(crate) fn darken(&self) {
        let feature = json!({ "name": "prefers-color-scheme", "value": "dark" });
        let params =
            json!({ "cmd": "Emulation.setEmulatedMedia", "params": { "features": [feature] } });
        self.ask("POST", "/goog/cdp/execute", &params);
    }

    /// What a script returns that runs in the page.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// As [`Browser::run`], of a script that calls its last argument.
    pub(crate) fn run_async(&self, script: &str) -> Value {
        self.ask("POST", "/execute/async", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression holds.
    pub(crate) fn until(&self, expression: &str) {
        let start = Instant::now();
        while self.run(&format!("return Boolean({expression})")) != Value::Bool(true) {
            assert!(start.elapsed() < PATIENCE, "never came: {expression}\n{}", self.console());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses keys, one after the other.
    pub(crate) fn press(&self, keys: &[&str]) {
        let strokes = keys
            .iter()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })));
        let strokes: Vec<Value> = strokes.collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keys", "actions": strokes }] });
        self.ask("POST", "/actions", &actions);
    }

    /// What was said on the console, a line each.
    pub(crate) fn console(&self) -> String {
        let said = self.ask("POST", "/se/log", &json!({ "type": "browser" }));
        let lines = said.as_array().into_iter().flatten();
        lines.map(|line| format!("{}\n", line["message"])).collect()
    }

    /// Keeps a picture of the whole page in the folder of `ODDNS_SCREENSHOTS`, if that is set.
    pub(crate) fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("ODDNS_SCREENSHOTS") else { return };
        let params =
            json!({ "cmd": "Page.captureScreenshot", "params": { "captureBeyondViewport": true } });
        let answer = self.ask("POST", "/goog/cdp/execute", &params);
        use base64::Engine;
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(answer["data"].as_str().unwrap());
        let folder = std::path::Path::new(&folder);
        std::fs::write(folder.join(format!("{name}.png")), bytes.unwrap()).unwrap();
    }

    /// The value of an answer.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let session = match self.session.as_str() {
            "" => String::new(),
            session => format!("/{session}"),
        };
        let body = body.to_string();
        let head = format!(
            "{method} /session{session}{path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let body = body_of(stream);
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"));
        assert!(answer["value"]["error"].is_null(), "{path}: {}", answer["value"]["message"]);
        answer["value"].clone()
    }
}

/// The body of an answer by its length: the driver does not close its side.
fn body_of(stream: TcpStream) -> String {
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        assert!(
            reader.read_line(&mut line).unwrap() > 0,
            "the driver left in the middle of an answer"
        );
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.ask("DELETE", "", &json!({}));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
