//! The parts of a server's work that are told one by one: its upstream servers, its zones.

use crate::bridge::{Tallies, Tally};
use crate::interval::share;

/// Parts of each kind that are kept apart. A server names them, so there has to be a limit; what is
/// beyond it counts in the sum only.
const MAX_PARTS: usize = 64;
/// Answers that a part needs before its own share is believed; fewer are filled up with the share
/// of the whole.
const ENOUGH_ANSWERS: f64 = 10.0;

/// Growth of the tallies of one part.
type Growth = [f64; Tally::COUNT];

/// The parts of one kind, in the order in which they were met.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parts {
    names: Vec<String>,
    /// During this interval.
    now: Vec<Growth>,
    /// The same with what is left of the last intervals.
    lately: Vec<Growth>,
}

impl Parts {
    /// The place of the part called `name`, which is new if it was not known; `None` when there are
    /// enough.
    pub(crate) fn place(&mut self, name: &str) -> Option<usize> {
        if let Some(at) = self.names.iter().position(|known| known == name) {
            return Some(at);
        }
        if self.names.len() >= MAX_PARTS {
            return None;
        }
        self.names.push(name.to_owned());
        self.now.push(Growth::default());
        self.lately.push(Growth::default());
        Some(self.now.len() - 1)
    }

    /// Begins an interval; of the last ones `keep` is left, 0 to 1.
    pub(crate) fn begin(&mut self, keep: f64) {
        self.now.fill(Growth::default());
        self.lately.iter_mut().flatten().for_each(|tally| *tally *= keep);
    }

    /// Adds growth to tallies of the part at `at`, which came from [`Parts::place`].
    pub(crate) fn add_to(&mut self, at: usize, tallies: Tallies, growth: f64) {
        for all in [&mut self.now, &mut self.lately] {
            tallies.numbers().for_each(|tally| all[at][tally] += growth);
        }
    }

    /// Share of the answers that come from the busiest part; NaN without answers.
    pub(crate) fn busiest_ratio(&self) -> f64 {
        let answers = || self.lately.iter().map(|part| part[Tally::Answers as usize]);
        share(answers().fold(0.0, f64::max), answers().sum())
    }

    /// Mean time of the slowest part against that of the fastest, in this interval; NaN with fewer
    /// than two that answered.
    pub(crate) fn latency_spread_ratio(&self) -> f64 {
        let mean =
            |part: &Growth| share(part[Tally::Seconds as usize], part[Tally::Answers as usize]);
        let (mut fastest, mut slowest, mut n) = (f64::INFINITY, 0.0_f64, 0);
        for mean in self.now.iter().map(mean).filter(|mean| mean.is_finite()) {
            (fastest, slowest, n) = (fastest.min(mean), slowest.max(mean), n + 1);
        }
        if n < 2 { f64::NAN } else { share(slowest, fastest) }
    }

    /// Share of SERVFAIL of the part where it is highest; NaN without answers.
    pub(crate) fn worst_servfail_ratio(&self) -> f64 {
        let sum = |tally: Tally| self.lately.iter().map(|part| part[tally as usize]).sum::<f64>();
        let overall = share(sum(Tally::Servfail), sum(Tally::Coded));
        let worst = self.lately.iter().map(|part| {
            let coded = part[Tally::Coded as usize];
            let lacking = (ENOUGH_ANSWERS - coded).max(0.0);
            (part[Tally::Servfail as usize] + lacking * overall) / (coded + lacking)
        });
        worst.fold(overall, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts with these (answers, of which SERVFAIL).
    fn parts(answers: &[(f64, f64)]) -> Parts {
        let mut parts = Parts::default();
        for (at, (n, servfail)) in answers.iter().enumerate() {
            let at = parts.place(&at.to_string()).unwrap();
            parts.add_to(at, Tallies::of(&[Tally::Answers, Tally::Coded]), *n);
            parts.add_to(at, Tallies::of(&[Tally::Servfail]), *servfail);
        }
        parts
    }

    #[test]
    fn a_part_that_fails_shows_however_small_it_is_once_it_has_answered_enough() {
        let failing = parts(&[(990.0, 0.0), (10.0, 10.0)]);
        assert_eq!(failing.worst_servfail_ratio(), 1.0);
        let one_bad_luck = parts(&[(999.0, 0.0), (1.0, 1.0)]);
        assert!(one_bad_luck.worst_servfail_ratio() < 0.11);
        assert!(parts(&[]).worst_servfail_ratio().is_nan());
    }

    #[test]
    fn what_is_left_of_the_last_intervals_fades() {
        let mut parts = parts(&[(30.0, 0.0), (10.0, 0.0)]);
        assert_eq!(parts.busiest_ratio(), 0.75);
        parts.begin(0.5);
        parts.add_to(1, Tallies::of(&[Tally::Answers]), 25.0);
        assert_eq!(parts.busiest_ratio(), 30.0 / 45.0);
    }

    #[test]
    fn there_is_no_end_of_names_but_of_parts() {
        let mut parts = Parts::default();
        assert_eq!((0..1000).filter_map(|at| parts.place(&at.to_string())).count(), MAX_PARTS);
    }
}
