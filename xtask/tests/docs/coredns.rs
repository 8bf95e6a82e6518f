//! A real CoreDNS for examples that need one.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const STARTED_WITHIN: Duration = Duration::from_secs(20);

/// A server that answers names of its own; killed when dropped.
pub(crate) struct Coredns {
    process: Child,
    /// `host:port` of its metrics.
    pub(crate) metrics: String,
}

impl Coredns {
    /// The binary among the peers, or none when there are no peers.
    pub(crate) fn binary() -> Option<PathBuf> {
        let peers = PathBuf::from(std::env::var_os("ODDNS_PEERS")?);
        Some(peers.join("coredns-1.15.0/coredns"))
    }

    /// Starts `binary` with its configuration in `folder`, and waits for its metrics.
    pub(crate) fn start(binary: &Path, folder: &Path) -> Result<Self> {
        let (dns, metrics) = (free_address()?, free_address()?);
        let port = dns.rsplit(':').next().unwrap_or_default();
        let corefile = format!(
            ".:{port} {{\n  bind 127.0.0.1\n  hosts {{\n    192.0.2.1 example.org\n  }}\n  \
             prometheus {metrics}\n}}\n"
        );
        fs::write(folder.join("Corefile"), corefile)?;
        let mut command = Command::new(binary);
        command.args(["-conf", "Corefile"]).current_dir(folder);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let process = process.with_context(|| format!("cannot start `{}`", binary.display()))?;
        let server = Self { process, metrics };
        server.wait()?;
        Ok(server)
    }

    fn wait(&self) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect(&self.metrics).is_err() {
            if start.elapsed() > STARTED_WITHIN {
                bail!("CoreDNS does not listen at {}", self.metrics);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Coredns {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
