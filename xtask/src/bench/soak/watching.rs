//! The program under test: started, stopped, asked, and looked at from outside.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Longest time to the first answer, and from a request to end to the end.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How to start `oddns watch`, again and again.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) oddns: PathBuf,
    /// Holds configuration, model, states, history and what it says.
    pub(super) folder: PathBuf,
    pub(super) page: SocketAddr,
}

/// One run of it.
#[derive(Debug)]
pub(super) struct Watching {
    child: Child,
    page: SocketAddr,
}

/// What a process takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Taken {
    pub(super) at: Instant,
    pub(super) mib: f64,
    pub(super) n_files: usize,
}

/// Ports that no system gives to whoever asks for any: an address among them stays free while the
/// service that listens there is started anew.
const PORTS: Range<u16> = 10_000..30_000;

/// An address that is free now.
pub(super) fn free_address() -> Result<SocketAddr> {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Another process begins elsewhere.
    let begin = (std::process::id() % u32::from(PORTS.end - PORTS.start)) as u16;
    for _ in PORTS {
        let at = begin.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + at % (PORTS.end - PORTS.start);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port")
}

/// The time by the clock that the history goes by.
pub(super) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Start {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When it does not answer in time, with what it said.
    pub(super) fn start(&self) -> Result<Watching> {
        let log = |name: &str| {
            fs::OpenOptions::new().create(true).append(true).open(self.folder.join(name))
        };
        let mut watch = Command::new(&self.oddns);
        watch.args(["watch", "--config.file=oddns.yml", "--output=json"]);
        watch.args(["--storage.state=states", "--storage.path=history"]);
        watch.arg(format!("--web.listen-address={}", self.page)).current_dir(&self.folder);
        watch.stdin(Stdio::null()).stdout(log("events.jsonl")?).stderr(log("errors.txt")?);
        let child = watch.spawn().context("cannot start `oddns watch`")?;
        let mut watching = Watching { child, page: self.page };
        let deadline = Instant::now() + PATIENCE;
        while get(self.page, "/-/healthy").is_err() {
            if Instant::now() > deadline || watching.child.try_wait()?.is_some() {
                let errors = fs::read_to_string(self.folder.join("errors.txt"));
                bail!("`oddns watch` does not answer: {}", errors.unwrap_or_default());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(watching)
    }
}

impl Watching {
    /// What it takes at the moment.
    pub(super) fn taken(&self) -> Result<Taken> {
        let id = self.child.id();
        let mib = super::super::memory::resident_mib(id)?;
        let n_files = fs::read_dir(format!("/proc/{id}/fd"))?.count();
        Ok(Taken { at: Instant::now(), mib, n_files })
    }

    /// An answer of its API as JSON.
    pub(super) fn ask(&self, path: &str) -> Result<Value> {
        Ok(serde_json::from_str(&get(self.page, path)?)?)
    }

    /// The value of one of its metrics, over all its series with this text among their labels.
    pub(super) fn metric(&self, name: &str, label: &str) -> Result<f64> {
        let text = get(self.page, "/metrics")?;
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            if !rest.starts_with([' ', '{']) || !rest.contains(label) {
                return None;
            }
            rest.rsplit(' ').next()?.parse::<f64>().ok()
        });
        Ok(values.sum())
    }

    /// Asks it to end, and waits. Gives how long that took.
    ///
    /// # Errors
    /// When it does not end in time, or not well.
    pub(super) fn stop(mut self) -> Result<Duration> {
        let start = Instant::now();
        signal(self.child.id(), "TERM")?;
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    bail!("`oddns watch` ended with {status} after SIGTERM");
                }
                return Ok(start.elapsed());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        bail!("`oddns watch` did not end within {PATIENCE:?} of SIGTERM")
    }

    /// Ends it without a word, as for want of memory.
    pub(super) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(id: u32, name: &str) -> Result<()> {
    let status = Command::new("kill").arg(format!("-{name}")).arg(id.to_string()).status()?;
    if !status.success() {
        bail!("cannot send {name} to process {id}");
    }
    Ok(())
}

/// The body of an answer whose status is 200.
fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = BufReader::new(stream);
    let mut status = String::new();
    answer.read_line(&mut status)?;
    let mut rest = String::new();
    answer.read_to_string(&mut rest)?;
    match rest.split_once("\r\n\r\n") {
        Some((_, body)) if status.contains(" 200") => Ok(body.to_owned()),
        _ => bail!("`{path}` is answered by {}", status.trim()),
    }
}

/// What it said so far.
pub(super) fn events(folder: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(folder.join("events.jsonl"))?;
    // The last line of a run that was killed may be half there.
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}
