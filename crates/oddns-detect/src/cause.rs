//! Why: what moves which way when something goes wrong, and what to do about it.
//!
//! Each cause of the table is held against what moved. It gains by movements that it predicts, and
//! loses by those that it predicts and that are not there, by those that speak against it, and by
//! those that it cannot explain. The sums are taken for log-likelihoods, up to one temperature, and
//! become probabilities beside a class for what is not in the table.

mod table;

use oddns_core::Cause;

use table::AREAS;
pub use table::{Area, CAUSES, CauseEntry, Moves, SCRAPES_FLAP};

/// A mean deviation of this many standard deviations counts in full, …
const FULL_DEVIATION: f32 = 3.0;
/// … and in a weak incident this part of the largest deviation, …
const FULL_PART: f32 = 0.6;
/// … which is at least this, or noise would have causes.
const MIN_FULL_DEVIATION: f32 = 1.0;
/// Movements below this part of what counts in full are noise and count as none.
const NOISE_PART: f32 = 0.15;
/// What a predicted movement costs that is not there, as a part of what it would have gained.
const ABSENCE: f32 = 0.5;
/// What an area costs that moved in full and that the cause cannot explain, …
const UNEXPLAINED: f32 = 0.5;
/// … and what failed scrapes cost, which do not happen by chance.
const UNEXPLAINED_SCRAPES: f32 = 2.0;
/// Log-likelihood that is one unit of probability's logarithm.
const TEMPERATURE: f32 = 1.0;
/// Log-likelihood of what is not in the table.
const UNKNOWN_SCORE: f32 = 1.0;
/// Named causes that are told.
const N_RANKED: usize = 3;

const UNKNOWN: Cause = Cause {
    name: "unknown",
    summary: "The metrics moved together in a way that fits no known cause.",
    confidence: 0.0,
    next_steps: &[
        "look at the features that moved, strongest first",
        "kubectl -n kube-system logs -l k8s-app=kube-dns --since=15m",
        "compare with deployments and Corefile changes of that time",
    ],
};

/// What may have happened, likeliest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnosis {
    /// The likeliest, `unknown` when that is likelier than any of the table.
    pub cause: Cause,
    /// What else of the table it may be, likeliest first. With `cause`, unless that is `unknown`,
    /// these are the three likeliest; fewer when nothing speaks for others.
    pub alternatives: Vec<Cause>,
}

/// The likeliest causes of what moved: feature names with their mean signed deviations from normal
/// operation, in standard deviations. A feature that is NaN or not named counts as one that did not
/// move. Nothing that moved far enough is `unknown`. For many questions about the same features,
/// see [`Diagnostics`].
pub fn diagnose(moved: &[(&str, f32)]) -> Diagnosis {
    let (names, deviations): (Vec<&str>, Vec<f32>) = moved.iter().copied().unzip();
    Diagnostics::new(&names).diagnose(&deviations)
}

/// The table of causes, made ready for rows of certain features.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    /// One for each entry of the table, in its order.
    held: Vec<Held>,
}

/// An entry with the places of its features.
#[derive(Debug, Clone)]
struct Held {
    signature: Vec<(usize, f32)>,
    supports: Vec<(usize, f32)>,
    contradicts: Vec<(usize, f32)>,
    /// What the signature costs when nothing of it is there.
    absence: f32,
    /// What each area costs that the entry says nothing about, and the features in it.
    unexplained: Vec<(f32, Vec<usize>)>,
}

impl Diagnostics {
    /// For rows of these features. Causes that none of them speaks for are never found.
    pub fn new(features: &[&str]) -> Self {
        Self { held: CAUSES.iter().map(|entry| Held::new(entry, features)).collect() }
    }

    /// The likeliest causes of mean signed deviations, one a feature, in standard deviations; NaN
    /// counts as zero.
    pub fn diagnose(&self, deviations: &[f32]) -> Diagnosis {
        let shares = shares(deviations);
        let scores: Vec<f32> = self.held.iter().map(|held| held.score(&shares)).collect();
        let highest = scores.iter().copied().fold(UNKNOWN_SCORE, f32::max);
        let weight = |score: f32| ((score - highest) / TEMPERATURE).exp();
        let whole = scores.iter().map(|score| weight(*score)).sum::<f32>() + weight(UNKNOWN_SCORE);
        let unknown = Cause { confidence: weight(UNKNOWN_SCORE) / whole, ..UNKNOWN };
        let mut named: Vec<(usize, f32)> =
            scores.iter().map(|score| weight(*score) / whole).enumerate().collect();
        named.retain(|(_, confidence)| *confidence > 0.0);
        // A stable sort: of two alike the first of the table.
        named.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut named = named.into_iter().map(|(at, confidence)| CAUSES[at].cause(confidence));
        match named.next() {
            Some(cause) if cause.confidence > unknown.confidence => {
                Diagnosis { cause, alternatives: named.take(N_RANKED - 1).collect() }
            }
            first => {
                let alternatives = first.into_iter().chain(named).take(N_RANKED).collect();
                Diagnosis { cause: unknown, alternatives }
            }
        }
    }
}

/// How far each feature moved, as a share of what counts in full, −1 to 1.
fn shares(deviations: &[f32]) -> Vec<f32> {
    // `max` ignores NaN.
    let largest = deviations.iter().map(|deviation| deviation.abs()).fold(0.0, f32::max);
    let full = (FULL_PART * largest).clamp(MIN_FULL_DEVIATION, FULL_DEVIATION);
    let share = |deviation: &f32| {
        let part = (deviation.abs() / full).min(1.0);
        (part - NOISE_PART).max(0.0) / (1.0 - NOISE_PART) * deviation.signum()
    };
    deviations.iter().map(|d| if d.is_nan() { 0.0 } else { share(d) }).collect()
}

impl CauseEntry {
    fn cause(&self, confidence: f32) -> Cause {
        let Self { name, summary, next_steps, .. } = *self;
        Cause { name, summary, confidence, next_steps }
    }

    fn names(&self, feature: &str) -> bool {
        let listed = |moves: Moves| moves.iter().any(|(name, _)| *name == feature);
        listed(self.signature) || listed(self.supports) || listed(self.contradicts)
    }
}

impl Held {
    fn new(entry: &CauseEntry, features: &[&str]) -> Self {
        let place = |name: &str| features.iter().position(|feature| *feature == name);
        let places = |moves: Moves| {
            let found = moves.iter().filter_map(|(name, weight)| Some((place(name)?, *weight)));
            found.collect::<Vec<_>>()
        };
        let open = AREAS.iter().filter(|(area, _)| !entry.follows.contains(area));
        let unexplained = open.map(|(area, names)| {
            let others = names.iter().filter(|name| !entry.names(name));
            (cost(*area), others.filter_map(|name| place(name)).collect())
        });
        Self {
            signature: places(entry.signature),
            supports: places(entry.supports),
            contradicts: places(entry.contradicts),
            absence: ABSENCE * entry.signature.iter().map(|(_, weight)| weight.abs()).sum::<f32>(),
            unexplained: unexplained.collect(),
        }
    }

    /// Log-likelihood of the entry against that of nothing having happened, up to the temperature;
    /// −∞ when nothing speaks for it.
    fn score(&self, shares: &[f32]) -> f32 {
        let along = |(at, weight): &(usize, f32)| shares[*at] * weight;
        let positive = |moves: &[(usize, f32)]| -> f32 {
            moves.iter().map(|movement| along(movement).max(0.0)).sum()
        };
        let supports = positive(&self.supports);
        if supports + positive(&self.signature) <= 0.0 {
            return f32::NEG_INFINITY;
        }
        let signature: f32 = self.signature.iter().map(along).sum();
        let unexplained = self.unexplained.iter().map(|(cost, features)| {
            cost * features.iter().map(|at| shares[*at].abs()).fold(0.0, f32::max)
        });
        (1.0 + ABSENCE) * signature - self.absence + supports
            - positive(&self.contradicts)
            - unexplained.sum::<f32>()
    }
}

/// What it costs when all of an area moved and cannot be explained.
fn cost(area: Area) -> f32 {
    match area {
        Area::Scrapes => UNEXPLAINED_SCRAPES,
        _ => UNEXPLAINED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signature_is_recognised_as_its_own_cause() {
        for entry in CAUSES {
            let moves = entry.signature.iter().chain(entry.supports);
            let moved: Vec<(&str, f32)> =
                moves.map(|(feature, weight)| (*feature, 9.0 * weight.signum())).collect();
            let found = diagnose(&moved);
            assert_eq!(found.cause.name, entry.name, "{found:?}");
            assert!(found.cause.confidence > 0.5, "{found:?}");
        }
    }

    #[test]
    fn what_fits_nothing_is_unknown() {
        for moved in [&[][..], &[("dnssec_ok_ratio", 9.0)], &[("tcp_ratio", f32::NAN)]] {
            let found = diagnose(moved);
            assert_eq!(found.cause.name, "unknown");
            assert!(found.cause.confidence > 0.5, "{found:?}");
        }
    }
}
