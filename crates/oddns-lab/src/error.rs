//! What can go wrong while the lab is set up and driven.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the lab could not do what was asked. Traffic that fails is not an error: it is counted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// A socket of the lab could not be opened.
    #[error("cannot open a socket on `{address}`: is the port in use?")]
    Bind {
        /// Address that was asked for; port 0 means any.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The lab never sends outside its own machine.
    #[error("`{address}` is not a loopback address: the lab only sends to 127.0.0.0/8 and ::1")]
    NotLoopback {
        /// The address that was refused.
        address: SocketAddr,
    },
    /// A setting outside its range.
    #[error("`{name}` is {value}: it must be {expected}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// The value that was given.
        value: String,
        /// The range that is accepted, in words.
        expected: &'static str,
    },
    /// The configuration of a server, or what is noted of a lab, could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The CoreDNS binary could not be run at all.
    #[error("cannot run CoreDNS at `{}`: give the path of a CoreDNS binary", path.display())]
    Spawn {
        /// The binary.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// CoreDNS ended by itself.
    #[error("CoreDNS `{}` ended by itself ({status}); its last lines:\n{log}", path.display())]
    Died {
        /// The binary.
        path: PathBuf,
        /// How it ended, in the words of the system.
        status: String,
        /// The end of what it printed.
        log: String,
    },
    /// CoreDNS runs but its metrics did not answer in time.
    #[error(
        "CoreDNS `{}` did not answer on `{metrics}` within {seconds} s; its last lines:\n{log}",
        path.display()
    )]
    NotReady {
        /// The binary.
        path: PathBuf,
        /// Where its metrics were expected.
        metrics: SocketAddr,
        /// How long the lab waited.
        seconds: u64,
        /// The end of what it printed.
        log: String,
    },
    /// CoreDNS is there but answers no more, although the lab does nothing to it.
    #[error(
        "CoreDNS `{}` at `{metrics}` stopped answering by itself, for {seconds} s; its last lines:\n{log}",
        path.display()
    )]
    Hangs {
        /// The binary.
        path: PathBuf,
        /// Where its metrics were.
        metrics: SocketAddr,
        /// How long the lab waited.
        seconds: u64,
        /// The end of what it printed.
        log: String,
    },
    /// An action on a server that was killed and not started again.
    #[error("the CoreDNS at `{metrics}` is not running: restart it first")]
    NotRunning {
        /// Where its metrics were.
        metrics: SocketAddr,
    },
    /// A signal could not be sent to CoreDNS.
    #[error("cannot signal the CoreDNS process {pid}")]
    Signal {
        /// The process.
        pid: u32,
        /// What the system said.
        source: io::Error,
    },
    /// The metrics of a server could not be read.
    #[error("cannot read `http://{address}/metrics`")]
    Metrics {
        /// Where the metrics were expected.
        address: SocketAddr,
        /// What the connection or the answer was wrong about.
        source: io::Error,
    },
    /// A scenario asks for what can only be simulated.
    #[error(
        "the lab cannot do this to a real server: {faults}; leave it out or use `oddns simulate`"
    )]
    Impossible {
        /// Names of the faults.
        faults: String,
    },
    /// A scenario that makes no sense as a whole.
    #[error(transparent)]
    Misfit(#[from] oddns_sim::Misfit),
    /// An upgrade without a release to upgrade to.
    #[error("`{fault}` needs a second release of CoreDNS: give the folder that both are in")]
    NoOtherRelease {
        /// Name of the change.
        fault: &'static str,
    },
    /// A log of pods could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A log of pods is not as it should be.
    #[error("{}{message}", in_line(*line))]
    Pods {
        /// Line, from 1; 0 for the file as a whole.
        line: u64,
        /// What is wrong.
        message: String,
    },
    /// A fault of the Kubernetes API in a lab without one.
    #[error(
        "`{fault}` is about the Kubernetes API, and this lab has none: use `corefile: kubernetes`"
    )]
    NoApi {
        /// Its name.
        fault: &'static str,
    },
    /// A fault of the stub zone in a lab without one.
    #[error("`{fault}` is about the stub zone, and this lab has none: use `corefile: kubernetes`")]
    NoStub {
        /// Its name.
        fault: &'static str,
    },
    /// Two faults at a time.
    #[error("`{fault}` begins before the fault before it ends: the lab does one at a time")]
    Overlap {
        /// The later one.
        fault: String,
    },
    /// A name that is not in the fault table.
    #[error("there is no fault `{name}`: choose one of {known}")]
    UnknownFault {
        /// The name that was asked for.
        name: String,
        /// All names of the table.
        known: String,
    },
}

/// Where in a file; nothing for the file as a whole.
fn in_line(line: u64) -> String {
    if line == 0 { String::new() } else { format!("line {line}: ") }
}
