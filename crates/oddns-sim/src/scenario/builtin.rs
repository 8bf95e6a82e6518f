//! Scenarios that come with the program.

use super::{Scenario, ScenarioError};
use crate::nearest::{meant, nearest};

/// A scenario that is known by name.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub doc: &'static str,
    /// Its text, as a file would have it.
    pub text: &'static str,
}

/// All of them.
pub const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        name: "cluster",
        doc: "Two servers of a Kubernetes cluster with days and weeks, and nothing wrong.",
        text: include_str!("../../scenarios/cluster.yml"),
    },
    BuiltIn {
        name: "faults",
        doc: "The same cluster with every fault and benign change in turn, by chance.",
        text: include_str!("../../scenarios/faults.yml"),
    },
    BuiltIn {
        name: "lab",
        doc: "What the lab does on one machine: a normal stretch, then every fault it can do.",
        text: include_str!("../../scenarios/lab.yml"),
    },
    BuiltIn {
        name: "lab_busy",
        doc: "A busy lab, and the two faults that show only where much is asked.",
        text: include_str!("../../scenarios/lab_busy.yml"),
    },
    BuiltIn {
        name: "lab_cluster",
        doc: "The same with the `kubernetes` plugin, the API's faults among them.",
        text: include_str!("../../scenarios/lab_cluster.yml"),
    },
    BuiltIn {
        name: "recorded",
        doc: "Servers like those of the bundled recordings, with their compressed days.",
        text: include_str!("../../scenarios/recorded.yml"),
    },
    BuiltIn {
        name: "weak",
        doc: "Weak faults and benign changes over short days, after a quiet day.",
        text: include_str!("../../scenarios/weak.yml"),
    },
];

/// A name that is none of [`BUILT_IN`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no file `{name}` and no scenario of that name{}; there are {known}", meant(*nearest))]
pub struct UnknownScenario {
    name: String,
    nearest: Option<&'static str>,
    known: String,
}

/// The scenario called `name`.
pub fn built_in(name: &str) -> Result<Result<Scenario, ScenarioError>, UnknownScenario> {
    match BUILT_IN.iter().find(|known| known.name == name) {
        Some(known) => Ok(Scenario::parse(known.text)),
        None => {
            let names: Vec<&str> = BUILT_IN.iter().map(|known| known.name).collect();
            Err(UnknownScenario {
                name: name.chars().take(200).collect(),
                nearest: nearest(name, names.iter().copied()),
                known: names.join(", "),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_one_is_valid_and_found() {
        for known in BUILT_IN {
            let scenario = built_in(known.name).unwrap().unwrap();
            assert_eq!(scenario.name, known.name);
        }
        let message = |name| built_in(name).unwrap_err().to_string();
        assert!(message("fault").contains("did you mean `faults`?"), "{}", message("fault"));
        assert!(!message("gremlins").contains("did you mean"), "{}", message("gremlins"));
    }
}
