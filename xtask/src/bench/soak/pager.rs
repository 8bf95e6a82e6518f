//! An Alertmanager that notes what it is told, and goes away when told to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::watching::since_1970;

/// How often it looks whether somebody calls, or whether it should be away.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A caller has so long.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most bytes of a request that are taken.
const MAX_BYTES: u64 = 16 << 20;

/// Something that takes alerts at one address.
#[derive(Debug)]
pub(super) struct Pager {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_away: bool,
    told: Told,
}

/// What was told.
#[derive(Debug, Default, Clone)]
pub(super) struct Told {
    /// Each alert as last told, by its labels.
    pub(super) alerts: BTreeMap<String, Alert>,
    /// How often each incident was told, by its id.
    pub(super) incidents: BTreeMap<String, usize>,
}

/// What was last told of an alert.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Alert {
    /// When it ends, in UTC.
    pub(super) end: String,
    /// Id of its incident.
    pub(super) incident: String,
    /// When this was told, since 1970.
    pub(super) at: Duration,
}

impl Pager {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
        let address = listener.local_addr()?;
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || answer(listener, address, &shared));
        Ok(Self { address, state })
    }

    /// While it is away nobody listens at its address.
    pub(super) fn set_away(&self, is_away: bool) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_away = is_away;
    }

    /// What it was told so far.
    pub(super) fn told(&self) -> Told {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).told.clone()
    }
}

fn answer(listener: TcpListener, address: SocketAddr, state: &Mutex<State>) {
    let mut listener = Some(listener);
    loop {
        let is_away = state.lock().unwrap_or_else(PoisonError::into_inner).is_away;
        if is_away {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).ok();
        }
        let caller = listener.as_ref().and_then(|listener| {
            listener.set_nonblocking(true).ok()?;
            listener.accept().ok()
        });
        match caller {
            // What goes wrong with a caller is told by what is missing at the end.
            Some((stream, _)) => drop(take(stream, state)),
            None => std::thread::sleep(LOOK_EVERY),
        }
    }
}

fn take(mut stream: TcpStream, state: &Mutex<State>) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = body(BufReader::new(stream.try_clone()?))?;
    let alerts = serde_json::from_slice(&body)?;
    state.lock().unwrap_or_else(PoisonError::into_inner).told.note(&alerts, since_1970());
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    Ok(())
}

fn body(mut request: BufReader<TcpStream>) -> Result<Vec<u8>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if request.read_line(&mut line)? == 0 {
            bail!("closed within the head");
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = Vec::new();
    request.take(MAX_BYTES.min(length)).read_to_end(&mut body)?;
    Ok(body)
}

impl Told {
    fn note(&mut self, alerts: &Value, at: Duration) {
        for alert in alerts.as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let incident = text(&alert["annotations"]["incident"]);
            *self.incidents.entry(incident.clone()).or_default() += 1;
            let told = Alert { end: text(&alert["endsAt"]), incident, at };
            self.alerts.insert(alert["labels"].to_string(), told);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_told_last_of_an_alert_counts() {
        let mut told = Told::default();
        for end in ["2026-11-23T00:00:00Z", "2026-11-23T00:01:00Z"] {
            let alert =
                json!({"labels": {"a": "b"}, "endsAt": end, "annotations": {"incident": "x"}});
            told.note(&json!([alert]), Duration::from_secs(1));
        }
        assert_eq!(told.alerts[r#"{"a":"b"}"#].end, "2026-11-23T00:01:00Z");
        assert_eq!(told.incidents["x"], 2);
    }
}
