//! The data set `oddns-metrics`: which fleets there are, what is done to each when, and what may be
//! learned from. Pure: the same seed plans the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use oddns_sim::{
    Corefile, FAULTS, Family, Fault, PlannedFault, Reach, Release, Scenario, ScenarioError, Span,
    built_in,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::fault::possible;

/// Kinds that are done on test servers in test time only: nobody has seen them before.
pub const HELD_OUT: &[&str] = &[
    "upstream_rejects",
    "stale_servfail",
    "cache_busting",
    "restart_storm",
    "slow_programming",
    "forwarding_loop",
    "panics",
];
/// Kinds that take so much of the machine that other fleets on it feel it: they are done alone.
const HEAVY: &[&str] =
    &["nxdomain_flood", "traffic_spike", "hot_name", "retry_storm", "daily_peak"];
/// Shares of the time, and about those of the servers, for training and validation.
const TRAIN: f64 = 0.7;
const VALIDATION: f64 = 0.15;
/// Share of the time at the beginning in which nothing is done.
const QUIET: f64 = 0.25;
/// Every so many times for a fault is left to a heavy one.
const HEAVY_EVERY: usize = 4;
const N_SIMULATED: usize = 20;

/// What a stretch of time or a server is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// To learn from.
    Train,
    /// To choose settings by.
    Validation,
    /// To judge by, once.
    Test,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}

/// One fleet of the data set.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its folder, such as `real/fleet-0`.
    pub name: String,
    /// What its servers are for.
    pub split: Split,
    /// What is played, with every fault at its time.
    pub scenario: Scenario,
}

impl Part {
    /// Milliseconds after the start at which training and validation end.
    pub fn bounds(&self) -> [i64; 2] {
        let length = self.scenario.length.millis() as f64;
        [TRAIN, TRAIN + VALIDATION].map(|share| (share * length) as i64)
    }

    /// What an instant, in milliseconds after the start, is for.
    pub fn split_at(&self, millis: i64) -> Split {
        let [train, validation] = self.bounds();
        match millis {
            at if at < train => Split::Train,
            at if at < validation => Split::Validation,
            _ => Split::Test,
        }
    }
}

/// The fleets that are real: two servers each, of all releases and configurations, side by side on
/// one machine for so long.
///
/// Fails only when a scenario that comes with the program is wrong.
pub fn real(seed: u64, length: Span) -> Result<Vec<Part>, ScenarioError> {
    let fleets = [
        (Split::Train, Release::V1_15_0, Corefile::Tuned),
        (Split::Train, Release::V1_15_0, Corefile::KubeadmNew),
        (Split::Train, Release::V1_11_4, Corefile::Eks),
        (Split::Train, Release::V1_8_4, Corefile::KubeadmOld),
        (Split::Train, Release::V1_6_9, Corefile::ZoneFile),
        (Split::Validation, Release::V1_10_1, Corefile::NodeLocal),
        (Split::Test, Release::V1_15_0, Corefile::Kubernetes),
    ];
    let base = base("lab_cluster", length)?;
    let part = |(at, (split, coredns, corefile)): (usize, (Split, Release, Corefile))| Part {
        name: format!("real/fleet-{at}"),
        split,
        scenario: varied(&base, seed.wrapping_add(at as u64), coredns, corefile),
    };
    let mut parts: Vec<Part> = fleets.into_iter().enumerate().map(part).collect();
    let plan = Plan { period: 60.0, lasts: 30.0, is_real: true };
    plan.fill(&mut parts, seed);
    Ok(parts)
}

/// The fleets that are simulated, for so long each.
///
/// Fails only when a scenario that comes with the program is wrong.
pub fn simulated(seed: u64, length: Span) -> Result<Vec<Part>, ScenarioError> {
    let corefiles: Vec<Corefile> =
        Corefile::ALL.into_iter().filter(|corefile| corefile.is_simulated()).collect();
    let base = base("faults", length)?;
    let part = |at: usize| {
        let split = match at {
            0..14 => Split::Train,
            14..17 => Split::Validation,
            _ => Split::Test,
        };
        let release = Release::ALL[at % Release::ALL.len()];
        let corefile = match corefiles[at % corefiles.len()] {
            // No such server would start.
            Corefile::KubeadmNew if release < Release::V1_10_1 => Corefile::KubeadmOld,
            corefile => corefile,
        };
        let scenario = varied(&base, seed.wrapping_add(1000 + at as u64), release, corefile);
        Part { name: format!("simulated/fleet-{at:02}"), split, scenario }
    };
    let mut parts: Vec<Part> = (0..N_SIMULATED).map(part).collect();
    let plan = Plan { period: 10_800.0, lasts: 900.0, is_real: false };
    plan.fill(&mut parts, seed);
    Ok(parts)
}

fn base(name: &str, length: Span) -> Result<Scenario, ScenarioError> {
    let unknown = || ScenarioError { line: 0, column: 0, message: format!("no scenario `{name}`") };
    let scenario = built_in(name).map_err(|_| unknown())??;
    Ok(Scenario { length, campaign: None, faults: Vec::new(), ..scenario })
}

/// A fleet like another, with clients and upstreams of its own.
fn varied(base: &Scenario, seed: u64, coredns: Release, corefile: Corefile) -> Scenario {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut scenario = base.clone().with_corefile(corefile);
    scenario.coredns = coredns;
    scenario.seed = seed;
    let mut times = |low: f64, high: f64| rng.random_range(low..high);
    let (traffic, upstreams) = (&mut scenario.traffic, &mut scenario.upstreams);
    traffic.lookups_per_second *= times(0.6, 1.3);
    traffic.n_outside_names = (traffic.n_outside_names as f64 * times(0.5, 2.0)) as usize;
    traffic.zipf_exponent = times(0.85, 1.1);
    traffic.mix.outside *= times(0.6, 1.5);
    traffic.mix.qualified *= times(0.5, 2.0);
    traffic.changes_per_second *= times(0.5, 2.0);
    upstreams.delay_seconds *= times(0.5, 2.0);
    upstreams.jitter_seconds *= times(0.5, 2.0);
    if let Some(day) = &mut traffic.day {
        day.amplitude_ratio = times(0.2, 0.5);
        day.rises_after_seconds += times(0.0, 1.0) * day.period.as_seconds();
    }
    scenario
}

/// When faults are done, in seconds.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// From one fault of a fleet to the next.
    period: f64,
    /// How long each lasts.
    lasts: f64,
    /// Whether it is about real servers that share a machine.
    is_real: bool,
}

impl Plan {
    /// Gives each part its faults: every kind as often as every other, as far as that goes.
    fn fill(self, parts: &mut [Part], seed: u64) {
        let mut done = Done { rng: ChaCha8Rng::seed_from_u64(seed), times: BTreeMap::new() };
        let Some(length) = parts.first().map(|part| part.scenario.length.as_seconds()) else {
            return;
        };
        let (begin, mut slot) = (QUIET * length, 0);
        while begin + (slot as f64 + 1.0) * self.period <= length {
            self.fill_slot(parts, begin + slot as f64 * self.period, slot, &mut done);
            slot += 1;
        }
    }

    fn fill_slot(self, parts: &mut [Part], at: f64, slot: usize, done: &mut Done) {
        let is_alone = self.is_real && slot % HEAVY_EVERY == HEAVY_EVERY - 1;
        // The fleet that chooses first is another each time.
        let n = parts.len();
        let mut taken = BTreeSet::new();
        for turn in 0..n {
            let place = (slot / HEAVY_EVERY + slot + turn) % n;
            let part = &parts[place];
            let may = |fault: &&'static Fault| {
                let is_heavy = self.is_real && HEAVY.contains(&fault.name);
                is_heavy == is_alone
                    && self.can(part, fault)
                    && is_seen_here(part, at, fault)
                    && !taken.contains(fault.name)
            };
            let Some(fault) = done.least(place, FAULTS.iter().filter(may)) else { continue };
            taken.insert(fault.name);
            let planned = self.planned(fault, at, part.scenario.servers, &mut done.rng);
            parts[place].scenario.faults.push(planned);
            if is_alone {
                return;
            }
        }
    }

    /// Whether a fleet can have a fault at all.
    fn can(self, part: &Part, fault: &Fault) -> bool {
        if self.is_real {
            return possible(fault.name, &part.scenario).is_some();
        }
        part.scenario.corefile.has_api() || fault.family != Family::Kubernetes
    }

    fn planned(
        self,
        fault: &'static Fault,
        at: f64,
        n_servers: usize,
        rng: &mut ChaCha8Rng,
    ) -> PlannedFault {
        let range = fault.strength;
        let drawn = range.low * (range.high / range.low).powf(rng.random::<f64>());
        let server = rng.random_range(0..n_servers);
        PlannedFault {
            fault,
            at: Span::seconds(at),
            length: Span::seconds(self.lasts),
            // The lab does things to its first server, as strong as they usually are.
            strength: if self.is_real { range.usual } else { drawn.clamp(range.low, range.high) },
            server: if self.is_real || fault.reach == Reach::Fleet { 0 } else { server },
        }
    }
}

/// Whether a kind may be seen on a server at a time: what is held out only where nothing is learned,
/// and there before anything else.
fn is_seen_here(part: &Part, at: f64, fault: &Fault) -> bool {
    let is_last = part.split == Split::Test && part.split_at((1000.0 * at) as i64) == Split::Test;
    !HELD_OUT.contains(&fault.name) || is_last
}

/// What was planned so far.
struct Done {
    rng: ChaCha8Rng,
    /// How often, of each kind.
    times: BTreeMap<&'static str, Vec<usize>>,
}

impl Done {
    /// The kind of several that was done least by a fleet, and then by all, one by chance of several.
    fn least(
        &mut self,
        fleet: usize,
        kinds: impl Iterator<Item = &'static Fault>,
    ) -> Option<&'static Fault> {
        let (times, rng) = (&self.times, &mut self.rng);
        let key = |fault: &&'static Fault| {
            let by = times.get(fault.name).map_or(&[][..], |fleets| fleets);
            let own = by.iter().filter(|other| **other == fleet).count();
            // What is held out has few places: it comes first where it may come.
            let is_held_out = HELD_OUT.contains(&fault.name);
            (own, !is_held_out, by.len(), rng.random::<u32>())
        };
        let fault = kinds.min_by_key(key)?;
        self.times.entry(fault.name).or_default().push(fleet);
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real_parts() -> Vec<Part> {
        real(1, Span::seconds(2400.0)).unwrap()
    }

    fn kinds(parts: &[Part]) -> BTreeSet<&'static str> {
        let planned = parts.iter().flat_map(|part| &part.scenario.faults);
        planned.map(|planned| planned.fault.name).collect()
    }

    #[test]
    fn every_fault_that_the_lab_can_do_is_done_and_long_enough() {
        let parts = real_parts();
        let done = kinds(&parts);
        for fault in crate::FAULTS {
            assert!(done.contains(fault.name), "{}", fault.name);
        }
        let hours: f64 = parts
            .iter()
            .map(|part| part.scenario.servers as f64 * part.scenario.length.as_seconds() / 3600.0)
            .sum();
        assert!(hours >= 8.0, "{hours}");
        for part in &parts {
            assert!(crate::LabConfig::from_scenario("coredns", &part.scenario).is_ok());
        }
    }

    #[test]
    fn every_fault_is_simulated() {
        let parts = simulated(1, Span::seconds(30.0 * 86_400.0)).unwrap();
        let done = kinds(&parts);
        assert_eq!(done.len(), FAULTS.len(), "{done:?}");
    }

    #[test]
    fn what_is_held_out_is_seen_by_test_servers_in_test_time_only() {
        let simulated = simulated(2, Span::seconds(30.0 * 86_400.0)).unwrap();
        let mut n_held_out = 0;
        for part in real_parts().iter().chain(&simulated) {
            for planned in &part.scenario.faults {
                if HELD_OUT.contains(&planned.fault.name) {
                    n_held_out += 1;
                    assert_eq!(part.split, Split::Test);
                    assert_eq!(part.split_at(planned.at.millis()), Split::Test);
                }
            }
        }
        assert!(n_held_out >= HELD_OUT.len(), "{n_held_out}");
    }

    #[test]
    fn what_takes_the_machine_is_done_alone() {
        let parts = real_parts();
        let at = |part: &Part| -> Vec<(i64, &str)> {
            let faults = part.scenario.faults.iter();
            faults.map(|planned| (planned.at.millis(), planned.fault.name)).collect()
        };
        let all: Vec<(i64, &str)> = parts.iter().flat_map(at).collect();
        for (time, kind) in &all {
            let n = all.iter().filter(|(other, _)| other == time).count();
            assert!(n == 1 || !HEAVY.contains(kind), "{kind} with {} others", n - 1);
        }
    }

    #[test]
    fn a_seed_plans_the_same_and_about_as_the_shares_say() {
        let plan = |seed| format!("{:?}", real(seed, Span::seconds(2400.0)).unwrap());
        assert_eq!(plan(3), plan(3));
        assert_ne!(plan(3), plan(4));
        let simulated = simulated(1, Span::seconds(864_000.0)).unwrap();
        let n = |split| simulated.iter().filter(|part| part.split == split).count();
        assert_eq!([n(Split::Train), n(Split::Validation), n(Split::Test)], [14, 3, 3]);
        assert_eq!(simulated[0].bounds(), [604_800_000, 734_400_000]);
    }
}
