//! The table of everything that can be done to a server, harmful or not. The lab has the same names.

mod table;

use std::fmt;

use crate::conditions::Conditions;
use crate::nearest::{meant, nearest};

pub use table::FAULTS;

/// The family that a fault belongs to, by what is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// The servers CoreDNS forwards to, or the way to them.
    Upstream,
    /// The clients.
    Traffic,
    /// What is kept, and what is not found again.
    Cache,
    /// The CoreDNS process and its machine.
    Process,
    /// The Kubernetes API and what is learned from it.
    Kubernetes,
    /// One replica differs from the others.
    Replica,
    /// A configuration that does harm.
    Configuration,
    /// Metrics that are not there or not right.
    Telemetry,
    /// The network of the node: CoreDNS itself sees little or nothing of it.
    Node,
    /// What operators do to CoreDNS on purpose.
    Change,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Upstream => "upstream",
            Self::Traffic => "traffic",
            Self::Cache => "cache",
            Self::Process => "process",
            Self::Kubernetes => "kubernetes",
            Self::Replica => "replica",
            Self::Configuration => "configuration",
            Self::Telemetry => "telemetry",
            Self::Node => "node",
            Self::Change => "change",
        })
    }
}

/// The way a feature goes under a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sign {
    /// It falls.
    Down,
    /// It rises.
    Up,
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "-",
            Self::Up => "+",
        })
    }
}

/// How strong a fault can be, in a unit of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Strength {
    /// What the number is, such as `seconds each answer takes longer`; empty when the fault has
    /// no strength: then all three numbers are 1.
    pub what: &'static str,
    /// The weakest that is this fault.
    pub low: f64,
    /// What is taken when nothing is said.
    pub usual: f64,
    /// The strongest.
    pub high: f64,
}

impl Strength {
    /// Whether a scenario may ask for it; never for NaN.
    pub fn contains(&self, value: f64) -> bool {
        value >= self.low && value <= self.high
    }

    /// The strength at `share` (0 to 1) of the range, evenly on a logarithmic scale.
    pub(crate) fn at(&self, share: f64) -> f64 {
        (self.low * (self.high / self.low).powf(share)).clamp(self.low, self.high)
    }
}

/// Which servers a fault happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All servers of the fleet, and its label has the instance `*`.
    Fleet,
    /// One server, the first unless a scenario names another.
    Server,
}

/// One entry of the table.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Unique; `snake_case`; the kind of its labels.
    pub name: &'static str,
    /// One sentence: what is done.
    pub doc: &'static str,
    /// Where the cause lies.
    pub family: Family,
    /// `false` for a benign change.
    pub anomalous: bool,
    /// Whether CoreDNS's own metrics, or their absence, tell it from normal.
    pub visible: bool,
    /// Which servers it happens to.
    pub reach: Reach,
    /// How strong it can be.
    pub strength: Strength,
    /// Public reports of what it reproduces, such as `coredns#7353`; empty for none.
    pub incidents: &'static str,
    /// Features of `oddns-features` that it moves at its usual strength, and which way. Empty for
    /// what is not visible.
    pub features: &'static [(&'static str, Sign)],
    pub(crate) effect: fn(&mut Conditions, &Dose),
}

/// How much of a fault there is at an instant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dose {
    /// In the unit of the fault.
    pub(crate) strength: f64,
    /// Seconds since it began, at the end of the interval.
    pub(crate) elapsed: f64,
    /// Seconds of the interval that it was there.
    pub(crate) seconds: f64,
    /// Seconds that it lasts in all.
    pub(crate) lasts: f64,
    /// Which server of how many feels it.
    pub(crate) server: usize,
    pub(crate) n_servers: usize,
    /// Ordinary lookups a second of the fleet.
    pub(crate) lookups_per_second: f64,
}

impl Dose {
    /// Whether the interval is the first of the fault.
    pub(crate) fn begins(&self) -> bool {
        self.passes(0.0)
    }

    /// Whether the instant so many seconds after the beginning lies in the interval.
    pub(crate) fn passes(&self, seconds: f64) -> bool {
        let before = self.elapsed - self.seconds;
        before <= seconds && seconds < self.elapsed
    }

    /// How much of the fault's time is over: 0 to 1.
    pub(crate) fn progress(&self) -> f64 {
        (self.elapsed / self.lasts).clamp(0.0, 1.0)
    }
}

/// A name that is not in the table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no fault `{name}`{}; `oddns lab faults` lists all", meant(*nearest))]
pub struct UnknownFault {
    /// The name that was asked for.
    pub name: String,
    /// The entry that was probably meant.
    pub nearest: Option<&'static str>,
}

/// The entry called `name`.
pub fn fault(name: &str) -> Result<&'static Fault, UnknownFault> {
    FAULTS.iter().find(|fault| fault.name == name).ok_or_else(|| UnknownFault {
        name: name.chars().take(60).collect(),
        nearest: nearest(name, FAULTS.iter().map(|fault| fault.name)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dose(strength: f64) -> Dose {
        Dose {
            strength,
            elapsed: 15.0,
            seconds: 15.0,
            lasts: 600.0,
            server: 0,
            n_servers: 2,
            lookups_per_second: 50.0,
        }
    }

    #[test]
    fn every_fault_is_found_by_its_own_name_and_no_other() {
        for entry in FAULTS {
            assert_eq!(fault(entry.name).unwrap().doc, entry.doc);
        }
        let mut names: Vec<_> = FAULTS.iter().map(|fault| fault.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FAULTS.len());
        let message = fault("upstream_outrage").unwrap_err().to_string();
        assert!(message.contains("did you mean `upstream_outage`?"), "{message}");
    }

    #[test]
    fn there_are_enough_of_each_sort() {
        let n_anomalous = FAULTS.iter().filter(|fault| fault.anomalous).count();
        assert!(n_anomalous >= 35 && FAULTS.len() - n_anomalous >= 8, "{n_anomalous}");
        for entry in FAULTS {
            assert_eq!(entry.anomalous, entry.family != Family::Change, "{}", entry.name);
            assert_eq!(entry.visible, !entry.features.is_empty(), "{}", entry.name);
            let Strength { what, low, usual, high } = entry.strength;
            assert!(0.0 < low && low <= usual && usual <= high, "{}", entry.name);
            assert_eq!(what.is_empty(), low == high, "{}", entry.name);
        }
    }

    #[test]
    fn every_effect_changes_something_at_every_strength() {
        for entry in FAULTS {
            for share in [0.0, 0.5, 1.0] {
                let mut conditions = Conditions::default();
                (entry.effect)(&mut conditions, &dose(entry.strength.at(share)));
                assert_ne!(conditions, Conditions::default(), "{}", entry.name);
            }
        }
    }

    #[test]
    fn an_instant_lies_in_one_interval() {
        let at = |elapsed| Dose { elapsed, ..dose(1.0) };
        let passing: Vec<bool> = (1..=4).map(|n| at(15.0 * f64::from(n)).passes(30.0)).collect();
        assert_eq!(passing, [false, false, true, false]);
        assert!(at(15.0).begins() && !at(30.0).begins());
    }
}
