//! A real CoreDNS on free ports of the loopback address.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::demo::Running;

const START_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// A server that answers every question with `whoami` and ends with this value.
#[derive(Debug)]
pub(super) struct Coredns {
    metrics_port: u16,
    _process: Running,
}

impl Coredns {
    /// Starts `binary` with a Corefile in `folder` and waits until it listens.
    ///
    /// # Errors
    /// When it cannot be started or does not listen within ten seconds.
    pub(super) fn start(binary: &Path, folder: &Path) -> Result<Self> {
        let (dns_port, metrics_port) = (free_port()?, free_port()?);
        let corefile = folder.join("Corefile");
        fs::write(&corefile, corefile_text(dns_port, metrics_port))?;
        let child = Command::new(binary)
            .arg("-conf")
            .arg(&corefile)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start `{}`", binary.display()))?;
        let mut process = Running(child);
        wait_for(metrics_port, &mut process)?;
        Ok(Self { metrics_port, _process: process })
    }

    pub(super) fn metrics_url(&self) -> String {
        format!("http://127.0.0.1:{}/metrics", self.metrics_port)
    }
}

fn corefile_text(dns_port: u16, metrics_port: u16) -> String {
    format!(
        ".:{dns_port} {{\n    bind 127.0.0.1\n    prometheus 127.0.0.1:{metrics_port}\n    whoami\n}}\n"
    )
}

/// Free a moment ago: CoreDNS cannot be asked to choose one and tell.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

fn wait_for(port: u16, process: &mut Running) -> Result<()> {
    let start = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if let Some(status) = process.0.try_wait()? {
            bail!("CoreDNS ended at once, with {status}");
        }
        if start.elapsed() > START_LIMIT {
            bail!("CoreDNS does not listen on port {port} after {START_LIMIT:?}");
        }
        thread::sleep(POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn the_real_server_starts_and_exports_its_version() {
        let Some(peers) = std::env::var_os("ODDNS_PEERS") else {
            println!("skipped: needs CoreDNS, and `ODDNS_PEERS` is not set");
            return;
        };
        let binary = Path::new(&peers).join("coredns-1.15.0/coredns");
        let folder = tempfile::tempdir().unwrap();
        let server = Coredns::start(&binary, folder.path()).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", server.metrics_port)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("version=\"1.15.0\""), "{answer}");
        assert!(server.metrics_url().ends_with("/metrics"));
    }

    #[test]
    fn a_server_that_ends_at_once_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let error = Coredns::start(Path::new("false"), folder.path()).unwrap_err();
        assert!(error.to_string().starts_with("CoreDNS ended at once"), "{error}");
    }
}
