//! A real CoreDNS as a child process that ends with its owner.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::cluster::zone_file;
use crate::corefile::Corefile;
use crate::fault::Configuration;
use crate::log::Log;
use crate::ports::Ports;
use crate::{LabError, http, leftovers};

/// Starts with other ports when the ones that were free are taken meanwhile.
const PORT_ATTEMPTS: usize = 5;
/// A cold start takes half a second; a busy machine takes longer.
const READY_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Requests in a row that a server leaves unanswered before it hangs: on a busy machine one may.
const N_UNANSWERED: usize = 2;

/// What a server is started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreDnsConfig {
    /// Path of the CoreDNS binary; 1.6.9 to 1.15.0.
    pub binary: PathBuf,
    /// Where it forwards what is not in the cluster; at least one.
    pub upstreams: Vec<SocketAddr>,
    /// Which configuration it has.
    pub corefile: oddns_sim::Corefile,
    /// The Kubernetes API that knows the cluster; the cluster comes from a zone file without.
    pub api: Option<SocketAddr>,
    /// Where it forwards names of the stub zone, or of the cluster as a node's cache does; `None`
    /// where the configuration has neither.
    pub behind: Option<SocketAddr>,
}

/// A CoreDNS on loopback ports of its own. Dropping it kills the process and removes its files.
#[derive(Debug)]
pub struct CoreDns {
    config: CoreDnsConfig,
    ports: Ports,
    folder: TempDir,
    verbose: bool,
    other: Option<(Configuration, f64)>,
    // Before the process, so that no signal goes to a process id that is free again.
    throttle: Option<Throttle>,
    child: Option<Process>,
    version: String,
    log: Log,
}

impl CoreDns {
    /// Starts it and waits until its metrics answer and it is ready, for at most 30 seconds.
    ///
    /// Fails when the binary cannot be run, or ends by itself, with the last lines it printed.
    pub async fn start(config: CoreDnsConfig) -> Result<Self, LabError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match Self::start_once(config.clone()).await {
                Err(LabError::Died { log, .. })
                    if attempts < PORT_ATTEMPTS && log.contains("address already in use") => {}
                other => return other,
            }
        }
    }

    async fn start_once(config: CoreDnsConfig) -> Result<Self, LabError> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let ports = Ports::free().map_err(|source| LabError::Bind { address: any, source })?;
        let folder = tempfile::Builder::new().prefix(leftovers::PREFIX).tempdir();
        let folder =
            folder.map_err(|source| LabError::Write { path: std::env::temp_dir(), source })?;
        leftovers::own(folder.path())
            .map_err(|source| LabError::Write { path: folder.path().to_owned(), source })?;
        let mut server = Self {
            config,
            ports,
            folder,
            verbose: false,
            other: None,
            throttle: None,
            child: None,
            version: String::new(),
            log: Log::default(),
        };
        server.write("zone", &zone_file())?;
        server.restart().await?;
        Ok(server)
    }

    /// Kills it if it runs, and starts it with the same ports and an empty cache.
    pub async fn restart(&mut self) -> Result<(), LabError> {
        self.kill();
        self.log.clear();
        self.write_corefile()?;
        self.child = Some(Process::spawn(&self.config, &self.folder, &self.log)?);
        self.wait_until_ready().await
    }

    /// The same with another binary.
    pub async fn upgrade(&mut self, binary: PathBuf) -> Result<(), LabError> {
        self.config.binary = binary;
        self.restart().await
    }

    /// The binary that it runs.
    pub fn binary(&self) -> &Path {
        &self.config.binary
    }

    /// Kills it as the kernel does when memory runs out. No effect when it does not run.
    pub fn kill(&mut self) {
        self.throttle = None;
        self.child = None;
    }

    /// Freezes the process: its sockets stay open and fill up. Returns when it stands still.
    pub fn pause(&self) -> Result<(), LabError> {
        let process = self.running()?;
        process.signal(Signal::SIGSTOP)?;
        process.wait_until_stopped()
    }

    /// Lets the process run for a tenth of each tenth of a second, as a CPU quota does, until
    /// [`CoreDns::resume`]. Must be called within a tokio runtime.
    pub fn throttle(&mut self) -> Result<(), LabError> {
        let pid = self.running()?.pid();
        self.throttle = Some(Throttle::start(pid));
        Ok(())
    }

    /// Lets a frozen or throttled process go on. No effect on a running one.
    pub fn resume(&mut self) -> Result<(), LabError> {
        self.throttle = None;
        self.running()?.signal(Signal::SIGCONT)
    }

    /// Writes a default of the Corefile out in full, or leaves it out again, which makes the
    /// `reload` plugin load it within four seconds: caches are emptied, counters go on. Two edits
    /// within that time are none.
    pub fn edit_corefile(&mut self) -> Result<(), LabError> {
        self.verbose = !self.verbose;
        self.write_corefile()
    }

    /// Writes another Corefile, or the usual one again, which the server loads within four seconds
    /// if it can be read; the number is that of the configuration.
    pub fn configure(&mut self, other: Option<(Configuration, f64)>) -> Result<(), LabError> {
        self.other = other;
        self.write_corefile()
    }

    /// An error with its last lines when the process has ended by itself.
    pub fn check(&mut self) -> Result<(), LabError> {
        let metrics = self.metrics_address();
        let process = self.child.as_mut().ok_or(LabError::NotRunning { metrics })?;
        let Some(status) = process.status() else { return Ok(()) };
        let (path, log) = (self.config.binary.clone(), self.log.tail());
        Err(LabError::Died { path, status, log })
    }

    /// An error when it is there but answers HTTP no more, within 10 seconds.
    pub async fn check_answers(&self) -> Result<(), LabError> {
        for _ in 0..N_UNANSWERED {
            // Whatever it says, it lives; whether it has ended is told by `check`.
            match http::get(self.ready_address(), "/ready").await {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                _ => return Ok(()),
            }
        }
        let (path, metrics) = (self.config.binary.clone(), self.metrics_address());
        let seconds = N_UNANSWERED as u64 * http::PATIENCE.as_secs();
        Err(LabError::Hangs { path, metrics, seconds, log: self.log.tail() })
    }

    /// Where it answers DNS over UDP and TCP.
    pub fn dns_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.dns).into()
    }

    /// Where it serves metrics; also its name as an instance.
    pub fn metrics_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.metrics).into()
    }

    /// Where it says that all of its plugins are there: names of the cluster come from the API.
    fn ready_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.ready).into()
    }

    /// The URL to scrape.
    pub fn metrics_url(&self) -> String {
        format!("http://{}/metrics", self.metrics_address())
    }

    /// The exposition text of this moment.
    pub async fn metrics(&self) -> Result<String, LabError> {
        let address = self.metrics_address();
        let text = http::get(address, "/metrics").await;
        text.map_err(|source| LabError::Metrics { address, source })
    }

    /// The version it reports in `coredns_build_info`, such as `1.15.0`; empty if it reports none.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The process id; `None` when it was killed.
    pub fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(|process| process.0.id())
    }

    /// The last lines it printed.
    pub fn log_tail(&self) -> String {
        self.log.tail()
    }

    /// The text of its configuration.
    pub fn corefile(&self) -> String {
        let zone = self.folder.path().join("zone");
        Corefile {
            kind: self.config.corefile,
            ports: self.ports,
            zone: &zone,
            upstreams: &self.config.upstreams,
            api: self.config.api,
            behind: self.config.behind,
            verbose: self.verbose,
            other: self.other,
        }
        .text()
    }

    fn running(&self) -> Result<&Process, LabError> {
        self.child.as_ref().ok_or(LabError::NotRunning { metrics: self.metrics_address() })
    }

    /// Under another name first, because the server may read it at any moment.
    fn write_corefile(&self) -> Result<(), LabError> {
        self.write("Corefile.new", &self.corefile())?;
        let path = self.folder.path().join("Corefile");
        std::fs::rename(self.folder.path().join("Corefile.new"), &path)
            .map_err(|source| LabError::Write { path, source })
    }

    fn write(&self, name: &str, text: &str) -> Result<(), LabError> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).map_err(|source| LabError::Write { path, source })
    }

    async fn wait_until_ready(&mut self) -> Result<(), LabError> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            self.check()?;
            if let Ok(text) = self.metrics().await
                && text.contains("coredns_build_info")
                && http::get(self.ready_address(), "/ready").await.is_ok()
            {
                self.version = build_version(&text).unwrap_or_default().to_owned();
                // Another program on the same port would have answered too.
                return self.check();
            }
            if Instant::now() >= deadline {
                return Err(self.not_ready());
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn not_ready(&self) -> LabError {
        LabError::NotReady {
            path: self.config.binary.clone(),
            metrics: self.metrics_address(),
            seconds: READY_WITHIN.as_secs(),
            log: self.log.tail(),
        }
    }
}

/// The label `version` of `coredns_build_info`.
fn build_version(text: &str) -> Option<&str> {
    let line = text.lines().find(|line| line.starts_with("coredns_build_info{"))?;
    let (_, after) = line.split_once(r#",version=""#)?;
    after.split('"').next()
}

/// The period of a CPU quota in Linux, and the part of it that a throttled process runs.
const QUOTA_PERIOD: Duration = Duration::from_millis(100);
const QUOTA: Duration = Duration::from_millis(10);

/// Stops and continues a process in turn until dropped.
#[derive(Debug)]
struct Throttle(JoinHandle<()>);

impl Throttle {
    fn start(pid: Pid) -> Self {
        Self(tokio::spawn(async move {
            // A process that has ended needs no throttling.
            while killpg(pid, Signal::SIGSTOP).is_ok() {
                sleep(QUOTA_PERIOD - QUOTA).await;
                if killpg(pid, Signal::SIGCONT).is_err() {
                    return;
                }
                sleep(QUOTA).await;
            }
        }))
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A child that is killed and waited for when dropped, so that none outlives the lab. It has a process
/// group of its own: what is done to it is done to the CoreDNS behind a wrapper, too.
#[derive(Debug)]
struct Process(Child);

impl Process {
    fn spawn(config: &CoreDnsConfig, folder: &TempDir, log: &Log) -> Result<Self, LabError> {
        let mut child = Command::new(&config.binary)
            .arg("-conf")
            .arg(folder.path().join("Corefile"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|source| LabError::Spawn { path: config.binary.clone(), source })?;
        if let Some(output) = child.stdout.take() {
            log.follow(output);
        }
        if let Some(output) = child.stderr.take() {
            log.follow(output);
        }
        Ok(Self(child))
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }

    fn signal(&self, signal: Signal) -> Result<(), LabError> {
        // Not waited for yet, so the id cannot belong to another process.
        killpg(self.pid(), signal).map_err(|errno| self.signal_error(errno))
    }

    /// The signal is only on its way when `kill` returns; on a busy machine threads run on for a
    /// while. Returns as well when the process has ended.
    fn wait_until_stopped(&self) -> Result<(), LabError> {
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(self.pid()), flags).map(drop).map_err(|errno| self.signal_error(errno))
    }

    fn signal_error(&self, errno: Errno) -> LabError {
        LabError::Signal { pid: self.0.id(), source: io::Error::from(errno) }
    }

    /// How it ended; `None` while it runs.
    fn status(&mut self) -> Option<String> {
        self.0.try_wait().ok().flatten().map(|status| status.to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Waited for, its group may be another's.
        if self.status().is_none() {
            // Both fail only when it has ended already.
            let _ = self.signal(Signal::SIGKILL);
            let _ = self.0.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_build_info() {
        let text = "# TYPE coredns_build_info gauge\n\
            coredns_build_info{goversion=\"go1.26\",revision=\"\",version=\"1.15.0\"} 1\n";
        assert_eq!(build_version(text), Some("1.15.0"));
        assert_eq!(build_version("up 1\n"), None);
    }

    #[tokio::test]
    async fn what_is_no_coredns_is_reported_with_what_it_printed() {
        let upstreams = vec![([127, 0, 0, 1], 1).into()];
        let config = CoreDnsConfig {
            binary: "/nowhere/coredns".into(),
            upstreams,
            corefile: oddns_sim::Corefile::ZoneFile,
            api: None,
            behind: None,
        };
        let message = CoreDns::start(config.clone()).await.unwrap_err().to_string();
        assert!(message.contains("cannot run CoreDNS at `/nowhere/coredns`"), "{message}");
        // `ls` does not know the flag, says so and ends.
        let config = CoreDnsConfig { binary: "ls".into(), ..config };
        let message = CoreDns::start(config).await.unwrap_err().to_string();
        assert!(message.contains("ended by itself"), "{message}");
    }
}
