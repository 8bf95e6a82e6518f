//! What the lab does for the entries of the shared table of faults that it can do to a real server.

use std::ops::Deref;
use std::time::Duration;

use oddns_sim::{Corefile, Release, Scenario};

use crate::upstream::Rcode;
use crate::{ApiBehaviour, Behaviour, LabError, Mix, TrafficSettings};

/// The first release whose cache can leave out zones.
const SELECTIVE_CACHE: Release = Corefile::KubeadmNew.since();

/// How much of a fault there is at an instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dose {
    /// In the unit of the fault's [`oddns_sim::Strength`].
    pub strength: f64,
    /// How much of the fault's time is over: 0 to 1.
    pub progress: f64,
}

/// What is done, given the state without faults. Taking it back restores that state.
#[derive(Debug, Clone, Copy)]
pub enum Effect {
    /// Every upstream behaves differently.
    Upstream(fn(&mut Behaviour, Dose)),
    /// The first of several upstreams behaves differently.
    FirstUpstream(fn(&mut Behaviour, Dose)),
    /// The upstream of the stub zone behaves differently; only where there is one.
    StubUpstream(fn(&mut Behaviour, Dose)),
    /// Every upstream closes its sockets.
    UpstreamClosed,
    /// The Kubernetes API behaves differently; only in a lab that has one.
    Api(fn(&mut ApiBehaviour, Dose)),
    /// The clients ask differently.
    Traffic(fn(&mut TrafficSettings, Dose)),
    /// Something happens to one server.
    Server(ServerAction),
    /// Every server gets another Corefile, and every upstream behaves differently.
    Configured(Configuration, fn(&mut Behaviour, Dose)),
    /// Every server is restarted, one after the other, within the first half of the time.
    RestartInTurn,
    /// The same with another release, which stays.
    UpgradeInTurn,
    /// Further servers take their part of the clients; the strength is times the servers.
    ScaleOut,
}

/// What can happen to one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerAction {
    /// Killed and started again at once: counters and cache start from nothing.
    Restart,
    /// The same again and again, with so many seconds between as the fault is strong.
    RestartAgain,
    /// Stopped by a signal until the fault is taken back.
    Freeze,
    /// Stopped for most of each tenth of a second, as by a CPU quota, until taken back.
    Throttle,
    /// Its Corefile is edited without changing what it means.
    Reload,
}

/// A Corefile other than the usual one. A number is the fault's strength.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Configuration {
    /// Upstreams are used in the order written.
    Sequential,
    /// So many queries may wait for upstream.
    MaxConcurrent,
    /// Answers are kept for so many seconds at most, and for at least one.
    ShortCache,
    /// Each cache holds so many entries.
    SmallCache,
    /// Names of the cluster are not cached.
    ClusterUncached,
    /// It cannot be read.
    Broken,
}

/// One entry of the lab's table.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// The entry of the shared table: name, family, strength, what it shows.
    pub about: &'static oddns_sim::Fault,
    /// What is done.
    pub effect: Effect,
}

impl Deref for Fault {
    type Target = oddns_sim::Fault;

    fn deref(&self) -> &oddns_sim::Fault {
        self.about
    }
}

/// The shared entry called `name`, while compiling: a name that is not there does not compile.
const fn about(name: &str) -> &'static oddns_sim::Fault {
    let mut at = 0;
    while !same(oddns_sim::FAULTS[at].name, name) {
        at += 1;
    }
    &oddns_sim::FAULTS[at]
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

const fn can(name: &str, effect: Effect) -> Fault {
    Fault { about: about(name), effect }
}

/// Every fault and benign change that the lab can do, in the order of the shared table.
pub const FAULTS: &[Fault] = &[
    can("upstream_servfail", Effect::Upstream(|b, _| b.rcode = Some(Rcode::ServFail))),
    can("upstream_outage", Effect::Upstream(|b, _| b.blackhole = true)),
    can("upstream_refused", Effect::UpstreamClosed),
    can("upstream_rejects", Effect::Upstream(|b, _| b.rcode = Some(Rcode::Refused))),
    can("upstream_nxdomain", Effect::Upstream(|b, _| b.rcode = Some(Rcode::NxDomain))),
    can(
        "upstream_latency",
        Effect::Upstream(|b, dose| {
            b.delay = Duration::from_secs_f64(dose.strength);
            b.jitter = Duration::from_secs_f64(dose.strength / 3.0);
        }),
    ),
    can("upstream_loss", Effect::Upstream(|b, dose| b.loss_ratio = dose.strength)),
    can("truncation", Effect::Upstream(|b, dose| b.truncate_ratio = dose.strength)),
    can("upstream_some_servfail", Effect::Upstream(|b, dose| b.servfail_ratio = dose.strength)),
    can(
        "upstream_slight_latency",
        Effect::Upstream(|b, dose| b.delay += Duration::from_secs_f64(dose.strength)),
    ),
    can("upstream_slight_loss", Effect::Upstream(|b, dose| b.loss_ratio = dose.strength)),
    can(
        "upstream_rate_limit",
        Effect::Upstream(|b, dose| b.most_per_second = Some(dose.strength.round() as u32)),
    ),
    can(
        "one_upstream_latency",
        Effect::FirstUpstream(|b, dose| b.delay = Duration::from_secs_f64(dose.strength)),
    ),
    can("one_upstream_outage", Effect::FirstUpstream(|b, _| b.blackhole = true)),
    can("one_upstream_servfail", Effect::FirstUpstream(|b, _| b.rcode = Some(Rcode::ServFail))),
    can("upstream_skew", Effect::Configured(Configuration::Sequential, |_, _| ())),
    can(
        "upstream_drift",
        Effect::Upstream(|b, dose| {
            b.delay += Duration::from_secs_f64(dose.strength * dose.progress);
        }),
    ),
    can("stale_servfail", Effect::Upstream(|b, _| b.flapping = true)),
    can(
        "max_concurrent",
        Effect::Configured(Configuration::MaxConcurrent, |b, _| {
            b.delay = Duration::from_millis(300);
        }),
    ),
    can("one_zone_failure", Effect::StubUpstream(|b, _| b.rcode = Some(Rcode::ServFail))),
    can("nxdomain_flood", Effect::Traffic(|t, dose| t.flood_per_second = many(dose, t, 200.0))),
    can("random_subdomain", Effect::Traffic(|t, dose| t.flood_per_second = many(dose, t, 20.0))),
    can("traffic_spike", Effect::Traffic(|t, dose| t.lookups_per_second *= dose.strength)),
    can("traffic_drop", Effect::Traffic(|t, dose| t.lookups_per_second *= dose.strength)),
    can("requests_stop", Effect::Traffic(|t, _| t.lookups_per_second = 0.0)),
    can("cache_busting", Effect::Traffic(|t, dose| t.unique_per_second = many(dose, t, 40.0))),
    can("hot_name", Effect::Traffic(|t, dose| t.hot_per_second = many(dose, t, 200.0))),
    can("retry_storm", Effect::Traffic(|t, dose| t.copies = dose.strength.round() as u32)),
    can(
        "search_path_storm",
        Effect::Traffic(|t, dose| {
            t.mix.outside = dose.strength * (t.mix.outside + t.mix.qualified);
            t.mix.qualified = 0.0;
        }),
    ),
    can("clients_over_tcp", Effect::Traffic(|t, dose| t.tcp_ratio = dose.strength)),
    can(
        "qtype_shift",
        Effect::Traffic(|t, _| t.mix = Mix { srv: 0.3, ptr: 0.8, txt: 1.2, ..t.mix }),
    ),
    can("cache_ineffective", Effect::Configured(Configuration::ShortCache, |_, _| ())),
    can("restart", Effect::Server(ServerAction::Restart)),
    can("restart_storm", Effect::Server(ServerAction::RestartAgain)),
    can("process_freeze", Effect::Server(ServerAction::Freeze)),
    can("cpu_throttle", Effect::Server(ServerAction::Throttle)),
    can("api_lost", Effect::Api(|a, _| a.silent = true)),
    can("api_errors", Effect::Api(|a, _| a.failing = true)),
    can("endpoint_churn", Effect::Api(|a, dose| a.changes_per_second += dose.strength)),
    can(
        "slow_programming",
        Effect::Api(|a, dose| a.delay = Duration::from_secs_f64(dose.strength)),
    ),
    can("replica_imbalance", Effect::Traffic(|t, _| t.first_server_ratio = Some(0.9))),
    can("bad_reload", Effect::Configured(Configuration::Broken, |_, _| ())),
    can("conntrack_race", Effect::Traffic(|t, dose| t.lost_aaaa_ratio = dose.strength)),
    can("client_packet_loss", Effect::Traffic(|t, dose| t.lost_ratio = dose.strength)),
    can("reload", Effect::Server(ServerAction::Reload)),
    can(
        "qualified_names",
        Effect::Traffic(|t, _| {
            t.mix.qualified += t.mix.outside;
            t.mix.outside = 0.0;
        }),
    ),
    can("cluster_uncached", Effect::Configured(Configuration::ClusterUncached, |_, _| ())),
    can("rolling_deploy", Effect::RestartInTurn),
    can("version_upgrade", Effect::UpgradeInTurn),
    can("scale_out", Effect::ScaleOut),
    can(
        "daily_peak",
        Effect::Traffic(|t, dose| {
            let wave = (std::f64::consts::PI * dose.progress).sin();
            t.lookups_per_second *= 1.0 + (dose.strength - 1.0) * wave;
        }),
    ),
    can("cache_size_change", Effect::Configured(Configuration::SmallCache, |_, _| ())),
    can("rollout", Effect::Traffic(|t, dose| t.lookups_per_second *= dose.strength)),
];

/// So many a normal lookup, and not fewer than would be noticed.
fn many(dose: Dose, settings: &TrafficSettings, at_least: f64) -> f64 {
    (dose.strength * settings.lookups_per_second).max(at_least)
}

/// The entry called `name`.
pub fn fault(name: &str) -> Result<&'static Fault, LabError> {
    FAULTS.iter().find(|fault| fault.name == name).ok_or_else(|| {
        let known: Vec<&str> = FAULTS.iter().map(|fault| fault.name).collect();
        LabError::UnknownFault { name: name.to_owned(), known: known.join(", ") }
    })
}

/// The entry called `name`, where the lab can do it to servers of this scenario.
pub(crate) fn possible(name: &str, scenario: &Scenario) -> Option<&'static Fault> {
    let corefile = scenario.corefile;
    fault(name).ok().filter(|fault| match fault.effect {
        Effect::Api(_) => corefile.has_api(),
        Effect::StubUpstream(_) => corefile.has_stub(),
        // A node's cache has a configuration of its own for the cluster.
        Effect::Configured(Configuration::ClusterUncached, _) => {
            corefile.caches_cluster()
                && corefile != Corefile::NodeLocal
                && scenario.coredns >= SELECTIVE_CACHE
        }
        _ => true,
    })
}

/// Whether the lab can do everything that a scenario asks for; the names of what it cannot.
pub(crate) fn impossible(scenario: &Scenario) -> Vec<&'static str> {
    let planned = scenario.faults.iter().map(|planned| planned.fault.name);
    planned.filter(|name| possible(name, scenario).is_none()).collect()
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
        assert!(FAULTS.iter().filter(|fault| fault.anomalous).count() >= 35);
    }

    #[test]
    fn every_effect_changes_something() {
        for entry in FAULTS {
            let dose = Dose { strength: entry.strength.usual, progress: 0.5 };
            let mut api = ApiBehaviour::default();
            let (mut behaviour, mut settings) = <(Behaviour, TrafficSettings)>::default();
            match entry.effect {
                Effect::Upstream(change)
                | Effect::FirstUpstream(change)
                | Effect::StubUpstream(change) => {
                    change(&mut behaviour, dose);
                }
                Effect::Api(change) => change(&mut api, dose),
                Effect::Traffic(change) => change(&mut settings, dose),
                Effect::UpstreamClosed
                | Effect::Server(_)
                | Effect::Configured(..)
                | Effect::RestartInTurn
                | Effect::UpgradeInTurn
                | Effect::ScaleOut => continue,
            }
            let unchanged = <(ApiBehaviour, Behaviour, TrafficSettings)>::default();
            assert_ne!((api, behaviour, settings), unchanged, "{}", entry.name);
        }
    }
}
