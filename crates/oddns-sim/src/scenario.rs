//! What is simulated or played: servers, clients, upstreams, and the faults with their times.
//!
//! The same file is for the simulator and the lab. Reading it is pure.

mod builtin;
mod corefile;
mod written;

use oddns_core::Timestamp;

use crate::fault::Fault;
use crate::load::Load;
use crate::release::Release;
use crate::span::Span;

pub use builtin::{BUILT_IN, BuiltIn, UnknownScenario, built_in};
pub use corefile::{Corefile, UnknownCorefile};

/// A checked scenario with every default filled in.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Version of the format that the file says, which is 1; `None` when it says none.
    pub version: Option<u64>,
    /// Short name.
    pub name: String,
    /// What it is about, in a sentence; may be empty.
    pub description: String,
    /// Time of the first scrape.
    pub start: Timestamp,
    /// How long it lasts; a command may ask for another length.
    pub length: Span,
    /// Time between two scrapes of a server.
    pub every: Span,
    /// How long servers have run when it starts, a day at most; below 15 seconds they have not.
    pub warm_up: Span,
    /// Servers that share the clients, 1 to 1000.
    pub servers: usize,
    /// Which release they are of.
    pub coredns: Release,
    /// What they are configured for.
    pub corefile: Corefile,
    /// Seed of all chance.
    pub seed: u64,
    /// The clients.
    pub traffic: Traffic,
    /// The servers that CoreDNS forwards to.
    pub upstreams: Upstreams,
    /// The machine that a server runs on.
    pub machine: Machine,
    /// Faults at given times, in any order.
    pub faults: Vec<PlannedFault>,
    /// Faults one after the other.
    pub campaign: Option<Campaign>,
}

/// Clients, as a fleet has them at its mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    /// Lookups that the clients of all servers begin each second, 0 to a million.
    pub lookups_per_second: f64,
    /// Weights of what they are about.
    pub mix: Mix,
    /// Share of lookups over TCP.
    pub tcp_ratio: f64,
    /// Share of questions with the DO bit.
    pub dnssec_ok_ratio: f64,
    /// Share of lookups that ask for A and not for AAAA.
    pub ipv4_only_ratio: f64,
    /// Share of questions with an EDNS record, which makes question and answer longer.
    pub edns_ratio: f64,
    /// Different outside names.
    pub n_outside_names: usize,
    /// Services of the cluster.
    pub n_services: usize,
    /// How unevenly names are asked for; 1 as on the internet, 0 all alike.
    pub zipf_exponent: f64,
    /// Seconds that an answer about the cluster is good.
    pub cluster_ttl_seconds: f64,
    /// Seconds that an answer from upstream is good; the cache keeps none for more than 30.
    pub upstream_ttl_seconds: f64,
    /// Whether the search path ends with the domain of the node, which upstream has to deny.
    pub node_domain: bool,
    /// Deviation of the logarithm of the rate that chance alone makes.
    pub unrest: f64,
    /// Rise and fall over a day; `None` for none.
    pub day: Option<Day>,
    /// Lookups at a weekend for each of a working day.
    pub weekend_ratio: f64,
    /// Lookups a year later for each at the start; growth is even on a logarithmic scale.
    pub yearly_growth: f64,
    /// Swing over a year as a share of the mean: it rises in the first quarter after the start.
    pub season_ratio: f64,
    /// Jobs that start at full hours or the like; `None` for none.
    pub cron: Option<Cron>,
    /// How busy the clients are over time, beside all else; `None` for always alike. A file cannot
    /// say this: it comes from a log of a cluster's pods.
    pub load: Option<Load>,
    /// Services and endpoints that change each second, at the mean.
    pub changes_per_second: f64,
    /// Median time until the server knows of a change, in seconds.
    pub programming_seconds: f64,
}

/// Weights of what lookups are about; only their proportions count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mix {
    /// A and AAAA of services, through the search path.
    pub inside: f64,
    /// A and AAAA of outside names, through the search path.
    pub outside: f64,
    /// A and AAAA of outside names with the dot at the end.
    pub qualified: f64,
    /// SRV of a service.
    pub srv: f64,
    /// PTR of an address.
    pub ptr: f64,
    /// TXT of an outside name.
    pub txt: f64,
    /// A and AAAA of names of the stub zone; 0 where there is none.
    pub stub: f64,
    /// A and AAAA of names that exist nowhere, with the dot at the end.
    pub missing: f64,
}

/// A sine with one peak a period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Day {
    /// Length of a day; shorter than 24 hours where time is compressed.
    pub period: Span,
    /// Swing as a share of the mean: 0.5 goes from half to one and a half.
    pub amplitude_ratio: f64,
    /// When its rate is at the mean and rises: seconds after the scenario starts.
    pub rises_after_seconds: f64,
}

/// More lookups for a while, again and again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cron {
    /// Time between two beginnings.
    pub every: Span,
    /// How long each lasts.
    pub lasts: Span,
    /// Times the usual lookups meanwhile.
    pub times: f64,
}

/// The servers that CoreDNS forwards to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Upstreams {
    /// How many for the root zone, 1 to 7.
    pub count: usize,
    /// Shortest time to an answer, in seconds.
    pub delay_seconds: f64,
    /// Further seconds, drawn evenly up to this.
    pub jitter_seconds: f64,
    /// Share of answers that the upstream has to look for itself, which take much longer.
    pub recursion_ratio: f64,
    /// Median of the time of these, in seconds.
    pub recursion_seconds: f64,
}

/// What the machine that a server runs on does to its times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// Median time to answer from memory, in seconds.
    pub answer_seconds: f64,
    /// Share of the answers that have to wait for the processor.
    pub busy_ratio: f64,
    /// Median of that wait, in seconds.
    pub busy_seconds: f64,
    /// CPU time of a query, in seconds.
    pub query_cpu_seconds: f64,
    /// CPU time of an upstream exchange on top, in seconds.
    pub exchange_cpu_seconds: f64,
    /// CPU cores in use when nobody asks, for scrapes and the like.
    pub idle_cpu_ratio: f64,
    /// Resident memory of a server that has just started, in bytes.
    pub resident_bytes: f64,
    /// Live heap of a server that has just started, in bytes.
    pub heap_bytes: f64,
    /// Mean time that the server takes to answer its own health probe, in seconds.
    pub health_seconds: f64,
    /// Goroutines of an idle server, without those for upstream servers.
    pub goroutines: f64,
    /// Files that an idle server has open.
    pub open_files: f64,
    /// Time that the server takes to answer a scrape, in seconds.
    pub scrape_seconds: f64,
}

/// A fault at a time.
#[derive(Debug, Clone, Copy)]
pub struct PlannedFault {
    /// Which.
    pub fault: &'static Fault,
    /// How long after the start.
    pub at: Span,
    /// How long it lasts.
    pub length: Span,
    /// In the unit of its [`crate::Strength`], within its range.
    pub strength: f64,
    /// Place of the server that feels it, for a fault that happens to one.
    pub server: usize,
}

/// Faults one after the other, with quiet between, until the scenario ends.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// Nothing happens before.
    pub after: Span,
    /// How long each fault lasts.
    pub lasts: Span,
    /// Quiet after each; at random from half of it to one and a half where `shuffled`.
    pub pause: Span,
    /// In an order, on servers, and of strengths by chance rather than as written and usual.
    pub shuffled: bool,
    /// Begins anew when all were played; otherwise the rest is quiet.
    pub repeats: bool,
    /// Which faults.
    pub faults: Vec<&'static Fault>,
}

/// The first thing wrong with a scenario, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ScenarioError {
    /// Line, from 1; 0 when the place is not known.
    pub line: u64,
    /// Column, from 1; 0 when the place is not known.
    pub column: u64,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// Why a scenario makes no sense as a whole, with what a command asks for instead of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// A configuration that the release of CoreDNS does not know.
    #[error("Corefile `{corefile}` needs CoreDNS {needed} or later, the scenario says {found}")]
    TooOld {
        /// The configuration.
        corefile: Corefile,
        /// Release of the scenario.
        found: Release,
        /// The first one that knows it.
        needed: Release,
    },
    /// Over before the first scrape.
    #[error(
        "a scenario of {length} has no scrape when there is one every {every}: let it last longer, or \
         scrape more often"
    )]
    NoScrape {
        /// How long it lasts.
        length: Span,
        /// Time between two scrapes.
        every: Span,
    },
}

impl Scenario {
    /// Refuses what can be neither simulated nor played.
    pub fn check(&self) -> Result<(), Misfit> {
        let Self { corefile, coredns, length, every, .. } = *self;
        if coredns < corefile.since() {
            return Err(Misfit::TooOld { corefile, found: coredns, needed: corefile.since() });
        }
        if length < every {
            return Err(Misfit::NoScrape { length, every });
        }
        Ok(())
    }

    /// What of it nobody will see, and what it should say: a sentence each, without the scenario's
    /// name. Empty for most.
    pub fn remarks(&self) -> Vec<String> {
        let (mut remarks, length) = (Vec::new(), self.length);
        let end = self.last_scrape_millis();
        if self.version.is_none() {
            remarks.push("says no `version`: write `version: 1`, as which it is read".to_owned());
        }
        let late: Vec<&PlannedFault> =
            self.faults.iter().filter(|planned| planned.at.millis() >= end).collect();
        if let Some(PlannedFault { fault, at, .. }) = late.first() {
            let (n, all, name) = (late.len(), self.faults.len(), fault.name);
            remarks.push(format!(
                "ends after {length}, before {n} of its {all} faults begin, which are left out: \
                 `{name}` would begin after {at}"
            ));
        }
        if let Some(Campaign { after, .. }) = &self.campaign
            && after.millis() >= end
        {
            remarks.push(format!(
                "ends after {length}, before its campaign begins, which would be after {after}: none \
                 of the campaign's faults is done"
            ));
        }
        remarks
    }

    /// From the start to the last scrape.
    pub(crate) fn last_scrape_millis(&self) -> i64 {
        let every = self.every.millis().max(1);
        self.length.millis() / every * every
    }

    /// Reads the text of a scenario file and fills in the defaults: an empty text is two quiet
    /// servers of a cluster for a day.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        written::parse(text)
    }

    /// The same with another configuration of the servers. What follows from the configuration
    /// follows it, unless the scenario says otherwise: how long answers about the cluster are good,
    /// the machine, and whether names of a stub zone are asked for.
    #[must_use]
    pub fn with_corefile(mut self, corefile: Corefile) -> Self {
        let before = std::mem::replace(&mut self.corefile, corefile);
        if self.traffic.cluster_ttl_seconds == before.cluster_ttl_seconds() {
            self.traffic.cluster_ttl_seconds = corefile.cluster_ttl_seconds();
        }
        if self.machine == Machine::usual(before) {
            self.machine = Machine::usual(corefile);
        }
        if !corefile.has_stub() {
            self.traffic.mix.stub = 0.0;
        }
        self
    }
}

impl Default for Mix {
    /// About half of the answers NXDOMAIN, near the 46 % measured in a cluster with `ndots:5`.
    fn default() -> Self {
        Self {
            inside: 0.64,
            outside: 0.18,
            qualified: 0.10,
            srv: 0.04,
            ptr: 0.03,
            txt: 0.01,
            stub: 0.0,
            missing: 0.0,
        }
    }
}

impl Default for Traffic {
    /// A small cluster: 100 lookups, about 400 queries, a second.
    fn default() -> Self {
        Self {
            lookups_per_second: 100.0,
            mix: Mix::default(),
            tcp_ratio: 0.01,
            dnssec_ok_ratio: 0.02,
            ipv4_only_ratio: 0.0,
            edns_ratio: 0.0,
            n_outside_names: 2000,
            n_services: 48,
            zipf_exponent: 1.0,
            cluster_ttl_seconds: 5.0,
            upstream_ttl_seconds: 30.0,
            node_domain: false,
            unrest: 0.05,
            day: None,
            weekend_ratio: 1.0,
            yearly_growth: 1.0,
            season_ratio: 0.0,
            cron: None,
            load: None,
            changes_per_second: 0.2,
            programming_seconds: 0.15,
        }
    }
}

impl Default for Upstreams {
    /// Two of them, 2 to 8 ms away.
    fn default() -> Self {
        Self {
            count: 2,
            delay_seconds: 0.002,
            jitter_seconds: 0.006,
            recursion_ratio: 0.0,
            recursion_seconds: 0.04,
        }
    }
}

impl Machine {
    /// Measured on CoreDNS 1.15.0 on two cores; see [`Machine::run_by`] for other releases.
    pub const fn usual(corefile: Corefile) -> Self {
        let zone_file = Self {
            answer_seconds: 0.000_102,
            busy_ratio: 0.004,
            busy_seconds: 0.000_8,
            query_cpu_seconds: 0.000_13,
            exchange_cpu_seconds: 0.000_25,
            idle_cpu_ratio: 0.01,
            resident_bytes: 6.37e7,
            heap_bytes: 2.6e6,
            health_seconds: 0.001_05,
            goroutines: 19.0,
            open_files: 16.0,
            scrape_seconds: 0.003,
        };
        match corefile {
            Corefile::ZoneFile | Corefile::NodeLocal => zone_file,
            _ => Self {
                answer_seconds: if corefile.has_stub() { 0.000_102 } else { 0.000_12 },
                busy_ratio: 0.006,
                busy_seconds: 0.001,
                resident_bytes: 6.86e7,
                heap_bytes: 7.0e6,
                goroutines: if corefile.has_stub() { 49.0 } else { 48.0 },
                open_files: 24.0,
                scrape_seconds: if corefile.has_stub() { 0.0043 } else { 0.0036 },
                ..zone_file
            },
        }
    }

    /// The same with another release than 1.15.0: how much memory, goroutines and files it takes, and
    /// how long to answer. Measured on 1.11.4, 1.8.4 and 1.6.9; 1.10.1 lies between.
    #[must_use]
    pub fn run_by(self, release: Release) -> Self {
        let (memory, goroutines, files, scrape, answer) = match release {
            Release::V1_15_0 => (1.0, 0.0, 0.0, 1.0, 1.0),
            Release::V1_11_4 => (0.97, -5.0, -4.0, 1.0, 1.0),
            Release::V1_10_1 => (0.9, -4.0, -3.5, 0.9, 0.9),
            Release::V1_8_4 => (0.7, -2.0, -3.0, 0.79, 0.72),
            Release::V1_6_9 => (0.576, 5.0, 0.0, 0.93, 1.0),
        };
        Self {
            resident_bytes: self.resident_bytes * memory,
            goroutines: self.goroutines + goroutines,
            open_files: self.open_files + files,
            scrape_seconds: self.scrape_seconds * scrape,
            answer_seconds: self.answer_seconds * answer,
            ..self
        }
    }
}
