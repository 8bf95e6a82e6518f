//! The table of everything the lab can do to a server, harmful or not.

use std::fmt;
use std::time::Duration;

use crate::upstream::Rcode;
use crate::{Behaviour, LabError, Mix, TrafficSettings};

/// Where the cause of a fault lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// The servers CoreDNS forwards to, or the way to them.
    Upstream,
    /// The clients.
    Traffic,
    /// The CoreDNS process and its machine.
    Process,
    /// What operators do to CoreDNS on purpose.
    Change,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Upstream => "upstream",
            Self::Traffic => "traffic",
            Self::Process => "process",
            Self::Change => "change",
        })
    }
}

/// What is done, given the state without faults. Taking it back restores that state.
#[derive(Debug, Clone, Copy)]
pub enum Effect {
    /// Every upstream behaves differently.
    Upstream(fn(&mut Behaviour)),
    /// The first of several upstreams behaves differently.
    FirstUpstream(fn(&mut Behaviour)),
    /// Every upstream closes its sockets.
    UpstreamClosed,
    /// The clients ask differently.
    Traffic(fn(&mut TrafficSettings)),
    /// Something happens to one server.
    Server(ServerAction),
}

/// What can happen to one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerAction {
    /// Killed and started again at once: counters and cache start from nothing.
    Restart,
    /// Stopped by a signal until the fault is taken back.
    Freeze,
    /// Stopped for most of each tenth of a second, as by a CPU quota, until taken back.
    Throttle,
    /// Its Corefile is edited without changing what it means.
    Reload,
}

/// One entry of the table.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Unique; `snake_case`; the kind of its labels.
    pub name: &'static str,
    /// One sentence: what is done and how strongly.
    pub doc: &'static str,
    /// Where the cause lies.
    pub family: Family,
    /// Whether CoreDNS's own metrics, or their absence, tell it from normal.
    pub visible: bool,
    /// `false` for a benign change.
    pub anomalous: bool,
    /// What is done.
    pub effect: Effect,
}

/// Every fault and benign change the lab knows, by family.
pub const FAULTS: &[Fault] = &[
    Fault {
        name: "upstream_servfail",
        doc: "Every upstream answers everything with SERVFAIL.",
        family: Family::Upstream,
        visible: true,
        anomalous: true,
        effect: Effect::Upstream(|behaviour| behaviour.rcode = Some(Rcode::ServFail)),
    },
    Fault {
        name: "upstream_outage",
        doc: "Every upstream takes queries and answers none.",
        family: Family::Upstream,
        visible: true,
        anomalous: true,
        effect: Effect::Upstream(|behaviour| behaviour.blackhole = true),
    },
    Fault {
        name: "upstream_refused",
        doc: "Every upstream has its port closed, so that the system refuses each packet.",
        family: Family::Upstream,
        visible: true,
        anomalous: true,
        effect: Effect::UpstreamClosed,
    },
    Fault {
        name: "upstream_rejects",
        doc: "Every upstream answers everything with REFUSED, as one does that lost its rights.",
        family: Family::Upstream,
        visible: true,
        anomalous: true,
        effect: Effect::Upstream(|behaviour| behaviour.rcode = Some(Rcode::Refused)),
    },
    Fault {
        name: "upstream_nxdomain",
        doc: "Every upstream answers everything with NXDOMAIN, as one does that lost its zones.",
        family: Family::Upstream,
        visible: true,
        anomalous: true,
        effect: Effect::Upstream(|behaviour| behaviour.rcode = Some(Rcode::NxDomain)),
    },
    Fault {
        name: "upstream_latency",
        doc: "Every upstream answers 300 to 400 ms later.",
        family: Family::Upstream,
        visible: true,
        anomalous: true,
        effect: Effect::Upstream(|behaviour| {
            behaviour.delay = Duration::from_millis(300);
            behaviour.jitter = Duration::from_millis(100);
        }),
    },
    Fault {
        name: "upstream_loss",
        doc: "Every upstream loses 20 % of the UDP queries.",
        family: Family::Upstream,
        visible: true,
        anomalous: true,
        effect: Effect::Upstream(|behaviour| behaviour.loss_ratio = 0.2),
    },
    Fault {
        name: "truncation",
        doc: "Every upstream cuts half of its UDP replies, so that clients ask again over TCP.",
        family: Family::Upstream,
        visible: true,
        anomalous: true,
        effect: Effect::Upstream(|behaviour| behaviour.truncate_ratio = 0.5),
    },
    Fault {
        name: "upstream_some_servfail",
        doc: "Every upstream answers 3 % of what it gets with SERVFAIL.",
        family: Family::Upstream,
        visible: true,
        anomalous: true,
        effect: Effect::Upstream(|behaviour| behaviour.servfail_ratio = 0.03),
    },
    Fault {
        name: "upstream_slight_latency",
        doc: "Every upstream answers 30 ms later.",
        family: Family::Upstream,
        visible: true,
        anomalous: true,
        effect: Effect::Upstream(|behaviour| behaviour.delay += Duration::from_millis(30)),
    },
    Fault {
        name: "upstream_slight_loss",
        doc: "Every upstream loses 5 % of the UDP queries.",
        family: Family::Upstream,
        visible: true,
        anomalous: true,
        effect: Effect::Upstream(|behaviour| behaviour.loss_ratio = 0.05),
    },
    Fault {
        name: "upstream_rate_limit",
        doc: "Every upstream answers 4 queries a second and drops the rest.",
        family: Family::Upstream,
        visible: true,
        anomalous: true,
        effect: Effect::Upstream(|behaviour| behaviour.most_per_second = Some(4)),
    },
    Fault {
        name: "one_upstream_latency",
        doc: "One of the upstreams answers 200 ms later.",
        family: Family::Upstream,
        visible: true,
        anomalous: true,
        effect: Effect::FirstUpstream(|behaviour| behaviour.delay = Duration::from_millis(200)),
    },
    Fault {
        name: "one_upstream_outage",
        doc: "One of the upstreams takes queries and answers none.",
        family: Family::Upstream,
        visible: true,
        anomalous: true,
        effect: Effect::FirstUpstream(|behaviour| behaviour.blackhole = true),
    },
    Fault {
        name: "nxdomain_flood",
        doc: "Random names that do not exist are asked for, ten a normal lookup and at least 200/s.",
        family: Family::Traffic,
        visible: true,
        anomalous: true,
        effect: Effect::Traffic(|settings| {
            settings.flood_per_second = (10.0 * settings.lookups_per_second).max(200.0);
        }),
    },
    Fault {
        name: "traffic_spike",
        doc: "Five times the lookups.",
        family: Family::Traffic,
        visible: true,
        anomalous: true,
        effect: Effect::Traffic(|settings| settings.lookups_per_second *= 5.0),
    },
    Fault {
        name: "traffic_drop",
        doc: "A tenth of the lookups.",
        family: Family::Traffic,
        visible: true,
        anomalous: true,
        effect: Effect::Traffic(|settings| settings.lookups_per_second *= 0.1),
    },
    Fault {
        name: "cache_busting",
        doc: "A client asks for ever new names that exist, one a normal lookup and at least 40/s.",
        family: Family::Traffic,
        visible: true,
        anomalous: true,
        effect: Effect::Traffic(|settings| {
            settings.unique_per_second = settings.lookups_per_second.max(40.0);
        }),
    },
    Fault {
        name: "clients_over_tcp",
        doc: "Half of the lookups go over TCP.",
        family: Family::Traffic,
        visible: true,
        anomalous: true,
        effect: Effect::Traffic(|settings| settings.tcp_ratio = 0.5),
    },
    Fault {
        name: "qtype_shift",
        doc: "Most lookups ask for TXT, PTR and SRV instead of addresses.",
        family: Family::Traffic,
        visible: true,
        anomalous: true,
        effect: Effect::Traffic(|settings| {
            settings.mix = Mix { srv: 0.3, ptr: 0.8, txt: 1.2, ..settings.mix };
        }),
    },
    Fault {
        name: "restart",
        doc: "One server is killed and started again at once, with a cold cache.",
        family: Family::Process,
        visible: true,
        anomalous: true,
        effect: Effect::Server(ServerAction::Restart),
    },
    Fault {
        name: "process_freeze",
        doc: "One server is frozen; its metrics do not answer either.",
        family: Family::Process,
        visible: true,
        anomalous: true,
        effect: Effect::Server(ServerAction::Freeze),
    },
    Fault {
        name: "cpu_throttle",
        doc: "One server runs for a tenth of the time.",
        family: Family::Process,
        visible: true,
        anomalous: true,
        effect: Effect::Server(ServerAction::Throttle),
    },
    Fault {
        name: "reload",
        doc: "One server's Corefile is edited without changing its meaning, which makes it reload.",
        family: Family::Change,
        visible: true,
        anomalous: false,
        effect: Effect::Server(ServerAction::Reload),
    },
    Fault {
        name: "qualified_names",
        doc: "Clients write outside names with the dot at the end: fewer queries, less NXDOMAIN.",
        family: Family::Change,
        visible: true,
        anomalous: false,
        effect: Effect::Traffic(|settings| {
            settings.mix.qualified += settings.mix.outside;
            settings.mix.outside = 0.0;
        }),
    },
];

/// The entry called `name`.
pub fn fault(name: &str) -> Result<&'static Fault, LabError> {
    FAULTS.iter().find(|fault| fault.name == name).ok_or_else(|| {
        let known: Vec<&str> = FAULTS.iter().map(|fault| fault.name).collect();
        LabError::UnknownFault { name: name.to_owned(), known: known.join(", ") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_found_by_its_own_name() {
        for entry in FAULTS {
            assert_eq!(fault(entry.name).unwrap().doc, entry.doc);
        }
        let message = fault("gremlins").unwrap_err().to_string();
        assert!(message.starts_with("there is no fault `gremlins`: choose one of upstream_"));
    }

    #[test]
    fn every_effect_changes_something() {
        for entry in FAULTS {
            let (mut behaviour, mut settings) = <(Behaviour, TrafficSettings)>::default();
            match entry.effect {
                Effect::Upstream(change) | Effect::FirstUpstream(change) => change(&mut behaviour),
                Effect::Traffic(change) => change(&mut settings),
                Effect::UpstreamClosed | Effect::Server(_) => continue,
            }
            let unchanged = (Behaviour::default(), TrafficSettings::default());
            assert_ne!((behaviour, settings), unchanged, "{}", entry.name);
        }
    }
}
