//! What a page of ours costs a browser: time and bytes, in a real Chromium driven by WebDriver.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::demo::Running;

/// A page that takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// No answer to what is asked here comes near.
const MAX_ANSWER_BYTES: usize = 1 << 20;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Milliseconds from the visit to the page drawn whole, and bytes that came for it; null before.
const FIGURES: &str = "const drawn = performance.getEntriesByName('oddns-drawn')[0]?.startTime ?? null; \
    const all = performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource')); \
    return [drawn, all.reduce((sum, entry) => sum + entry.transferSize, 0)];";

/// What a visit took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visit {
    pub(super) milliseconds: f64,
    pub(super) bytes: f64,
}

/// Visits the page at `url` so many times, each time as if for the first one.
///
/// # Errors
/// When there is no `chromedriver`, or the page is never drawn.
pub(super) fn visits(url: &str, n: usize) -> Result<Vec<Visit>> {
    let mut driver = Command::new("chromedriver");
    driver.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut driver = Running(driver.spawn().context("cannot start `chromedriver`")?);
    let output = driver.0.stdout.take().context("`chromedriver` has no output")?;
    let mut lines = BufReader::new(output).lines();
    let port = lines.find_map(|line| {
        let line = line.ok()?;
        line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok()
    });
    std::thread::spawn(move || lines.for_each(drop));
    let port = port.context("`chromedriver` names no port")?;
    let args = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--incognito"];
    let options = json!({ "goog:chromeOptions": { "args": args } });
    let wanted = json!({ "capabilities": { "alwaysMatch": options } });
    let session = call(port, "/session", &wanted)?;
    let session = session["sessionId"].as_str().context("`chromedriver` opens no window")?;
    let at = |what: &str| format!("/session/{session}/{what}");
    let mut visits = Vec::new();
    for _ in 0..n {
        call(
            port,
            &at("goog/cdp/execute"),
            &json!({ "cmd": "Network.clearBrowserCache", "params": {} }),
        )?;
        call(port, &at("url"), &json!({ "url": url }))?;
        visits.push(figures(|| {
            call(port, &at("execute/sync"), &json!({ "script": FIGURES, "args": [] }))
        })?);
        call(port, &at("url"), &json!({ "url": "about:blank" }))?;
    }
    Ok(visits)
}

fn figures(ask: impl Fn() -> Result<Value>) -> Result<Visit> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let answer = ask()?;
        if let (Some(milliseconds), Some(bytes)) = (answer[0].as_f64(), answer[1].as_f64()) {
            return Ok(Visit { milliseconds, bytes });
        }
        std::thread::sleep(LOOK_EVERY);
    }
    bail!("the page is never drawn");
}

/// The body of an answer, as long as its head says: the driver may leave the connection open.
fn body_of(mut answer: impl BufRead) -> Result<Vec<u8>> {
    let mut length = None;
    loop {
        let mut line = String::new();
        answer.read_line(&mut line).context("`chromedriver` does not answer")?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse::<usize>().ok();
        }
    }
    let length = length.context("`chromedriver` answers no HTTP")?;
    let mut body = vec![0; length.min(MAX_ANSWER_BYTES)];
    answer.read_exact(&mut body).context("`chromedriver` breaks off")?;
    Ok(body)
}

fn call(port: u16, path: &str, body: &Value) -> Result<Value> {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream =
        TcpStream::connect(("127.0.0.1", port)).context("cannot reach `chromedriver`")?;
    stream.write_all((head + &body).as_bytes())?;
    let answer: Value = serde_json::from_slice(&body_of(BufReader::new(stream))?)
        .context("`chromedriver` answers no JSON")?;
    if let Some(error) = answer["value"]["error"].as_str() {
        bail!("`chromedriver`: {error}: {}", answer["value"]["message"]);
    }
    Ok(answer["value"].clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_head_says() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}more";
        assert_eq!(body_of(text.as_bytes()).unwrap(), b"{}");
        assert!(body_of(&b"HTTP/1.1 200 OK\r\n\r\n"[..]).is_err());
        assert!(body_of(&b""[..]).is_err());
    }
}
