//! How well a model that many servers share fits one of them, and when one is to have a model of its own.
//!
//! A score is in units of what a server's rows are usually off by, and follows each server half of the
//! way. So the middle of the scores is nearly the same on all servers that the model fits. It lies higher
//! on one that the model does not know, and lower on one that lies within scales that are too wide for it:
//! the model is blind there.

use std::sync::Arc;

use oddns_detect::quantile;

use crate::detector::{Detector, DetectorError};
use crate::follower::Follower;
use crate::gate::Injection;
use crate::headroom::FIRST_PART;
use crate::pulse::{Pulse, beat};
use crate::quiet::History;
use crate::update::Stay;

/// From this misfit on a model fits badly. `examples/own_models.rs` of `oddns-cli` measures simulated
/// fleets: servers alike lie below 0.02, one with another Corefile, release or kind of load from 0.10 on.
pub const BAD_MISFIT: f32 = 0.07;
/// Below it, a model fits again: what lies in between leaves all as it is.
pub const GOOD_MISFIT: f32 = 0.05;
/// Updates in a row that have to find the same.
pub const UPDATES_IN_A_ROW: u32 = 2;
/// Of fewer servers nobody can say which of them is unlike the others.
pub const FEWEST_SERVERS: usize = 3;
/// How much more of the weak faults a server's own model has to find than the shared one: a part of all.
/// On the fleets of the example it is 0.18 to 0.79 more where a server is unlike the others; where they are
/// alike, newer data and fewer days make 0.06 to 0.18, and [`BAD_MISFIT`] is what tells them apart.
pub const BETTER_BY: f64 = 0.1;

/// Rows that a middle is taken of, at least.
const FEWEST_ROWS: usize = 96;
/// Strength of a weak fault, in standard deviations of the server.
const WEAK: f32 = 3.0;
/// A weak fault is there for so many rows.
const WEAK_ROWS: usize = 16;
/// Quiet places that all faults are put into.
const WEAK_PLACES: usize = 8;

/// The middle of what a model says of one server.
#[derive(Debug, Clone, PartialEq)]
pub struct Middle {
    /// Which server.
    pub instance: String,
    /// Median of its scores, above 0; 1 is the alarm line.
    pub score: f32,
}

/// By how much the middle of a server lies away from that of its fleet, up or down, as a part of the
/// smaller: 0 where both are the same, 1 where one is twice the other. Infinite where one of them is not
/// above 0, or NaN.
pub fn misfit(server: f32, fleet: f32) -> f32 {
    if server > 0.0 && fleet > 0.0 {
        return server.max(fleet) / server.min(fleet) - 1.0;
    }
    f32::INFINITY
}

/// The middle of a fleet: the median of those of its servers. `None` of none.
pub fn middle_of_fleet(middles: &[Middle]) -> Option<f32> {
    let mut scores: Vec<f32> = middles.iter().map(|middle| middle.score).collect();
    scores.sort_by(f32::total_cmp);
    let upper = *scores.get(scores.len() / 2)?;
    let lower = scores[(scores.len() - 1) / 2];
    Some((lower + upper) / 2.0)
}

/// What updates have found of one server, and what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FitHistory {
    /// Updates in a row that found that the shared model fits badly.
    pub bad: u32,
    /// Updates in a row that found that it fits.
    pub good: u32,
}

impl FitHistory {
    /// Takes in what another update has found. A misfit in between, or NaN, ends both rows.
    pub fn take(&mut self, misfit: f32) {
        let next = |run: u32, goes_on: bool| if goes_on { run.saturating_add(1) } else { 0 };
        self.bad = next(self.bad, misfit >= BAD_MISFIT);
        self.good = next(self.good, misfit <= GOOD_MISFIT);
    }

    /// Whether a server that the shared model judges is to have a model of its own.
    pub fn needs_own(self) -> bool {
        self.bad >= UPDATES_IN_A_ROW
    }

    /// Whether a server with a model of its own is to go back to the shared one.
    pub fn needs_none(self) -> bool {
        self.good >= UPDATES_IN_A_ROW
    }
}

/// The middle of scores in their order, of all but the first quarter, in which a stream gets to know its
/// server; `None` where that leaves fewer than 96.
pub(crate) fn middle(scores: &[f32]) -> Option<f32> {
    let known = scores.get(scores.len() / FIRST_PART..)?;
    (known.len() >= FEWEST_ROWS).then(|| quantile(known, 0.5)).filter(|middle| *middle > 0.0)
}

impl Detector {
    /// The middle of what this detector says of a server; `None` where there are fewer than 127 rows.
    ///
    /// # Errors
    /// A history of another schema; [`DetectorError::Ended`] when `pulse`, which is called between small
    /// pieces of work, breaks off.
    pub fn middle(
        self: &Arc<Self>,
        history: &History<'_>,
        pulse: &mut Pulse<'_>,
    ) -> Result<Option<f32>, DetectorError> {
        let mut follower = Follower::new(Arc::clone(self), history.instance.to_owned());
        let mut scores = Vec::with_capacity(history.frame.len());
        for (at, (time, row)) in history.frame.rows().enumerate() {
            beat(pulse, at)?;
            scores.push(follower.push(time, row)?.score.score);
        }
        Ok(middle(&scores))
    }
}

/// Where weak faults are put into the rows of one server, and how large they are.
pub(crate) struct WeakFaults<'a> {
    pub(crate) history: &'a History<'a>,
    pub(crate) injections: &'a [Injection],
    /// A standard deviation of each feature of this server.
    pub(crate) scales: &'a [f32],
    /// Rows before the fault, rising.
    places: Vec<usize>,
}

impl<'a> WeakFaults<'a> {
    /// In the quiet stretches of the server that were `held_out`, after its first quarter.
    pub(crate) fn new(
        history: &'a History<'a>,
        held_out: &[Stay],
        injections: &'a [Injection],
        scales: &'a [f32],
    ) -> Self {
        let times = history.frame.timestamps();
        let first = times.len() / FIRST_PART;
        let mut found = Vec::new();
        for stay in held_out.iter().filter(|stay| stay.instance == history.instance) {
            let from = times.partition_point(|time| *time < stay.start).max(first);
            let until = times.partition_point(|time| *time <= stay.end);
            let starts = (from..until).step_by(2 * WEAK_ROWS);
            found.extend(starts.filter(|start| start + WEAK_ROWS < until));
        }
        let every = found.len().div_ceil(WEAK_PLACES).max(1);
        let places = found.into_iter().step_by(every).collect();
        Self { history, injections, scales, places }
    }

    /// How many of them a detector that has judged all rows before finds, and of how many.
    pub(crate) fn found(
        &self,
        detector: &Arc<Detector>,
        pulse: &mut Pulse<'_>,
    ) -> Result<(usize, usize), DetectorError> {
        let (frame, instance) = (self.history.frame, self.history.instance);
        let mut follower = Follower::new(Arc::clone(detector), instance.to_owned());
        let mut places = self.places.iter().copied().peekable();
        let (mut n, mut of) = (0, 0);
        for (at, (time, row)) in frame.rows().enumerate() {
            beat(pulse, at)?;
            let alarm = follower.push(time, row)?.score.alarm;
            if places.next_if_eq(&at).is_none() {
                continue;
            }
            for injection in self.injections {
                // What alarms already finds nothing.
                let found = !alarm && self.is_found(&follower, injection, at + 1)?;
                n += usize::from(found);
                of += 1;
                beat(pulse, 0)?;
            }
            if places.peek().is_none() {
                break;
            }
        }
        Ok((n, of))
    }

    fn is_found(
        &self,
        before: &Follower,
        injection: &Injection,
        from: usize,
    ) -> Result<bool, DetectorError> {
        let (frame, mut follower) = (self.history.frame, before.clone());
        for at in from..(from + WEAK_ROWS).min(frame.len()) {
            let mut row = frame.row(at).to_vec();
            injection.shift_by(before.detector(), self.scales, WEAK, &mut row);
            if follower.push(frame.timestamps()[at], &row)?.score.alarm {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fleet(scores: &[f32]) -> Vec<Middle> {
        let middle =
            |(at, score): (usize, &f32)| Middle { instance: at.to_string(), score: *score };
        scores.iter().enumerate().map(middle).collect()
    }

    #[test]
    fn two_bad_ones_in_a_row_ask_for_a_model_and_two_good_ones_for_none() {
        let mut fit = FitHistory::default();
        for (misfit, own, none) in [
            (0.5, false, false),
            (0.02, false, false),
            (0.5, false, false),
            (f32::NAN, false, false),
            (0.5, false, false),
            (0.5, true, false),
            (0.5, true, false),
            (0.06, false, false),
            (0.01, false, false),
            (0.01, false, true),
        ] {
            fit.take(misfit);
            assert_eq!((fit.needs_own(), fit.needs_none()), (own, none), "{misfit} {fit:?}");
        }
    }

    #[test]
    fn a_middle_needs_rows() {
        assert_eq!(middle(&[]), None);
        assert_eq!(middle(&[0.5; 126]), None);
        let scores: Vec<f32> = (0..400).map(|at| if at < 100 { 9.0 } else { 0.4 }).collect();
        assert_eq!(middle(&scores), Some(0.4));
        assert_eq!(middle_of_fleet(&[]), None);
        assert_eq!(misfit(0.4, f32::NAN), f32::INFINITY);
    }

    proptest! {
        #[test]
        fn up_and_down_count_alike(one in 0.01_f32..10.0, other in 0.01_f32..10.0) {
            let (there, back) = (misfit(one, other), misfit(other, one));
            prop_assert_eq!(there, back);
            prop_assert!(there >= 0.0 && misfit(one, one) == 0.0);
        }

        #[test]
        fn of_servers_alike_none_is_unlike_and_one_unlike_is_that_one(
            usual in 0.1_f32..0.8,
            noise in prop::collection::vec(-0.015_f32..0.015, 3..40),
            at in 0_usize..40,
            factor in prop::sample::select(vec![0.5_f32, 0.85, 1.2, 3.0]),
        ) {
            let mut scores: Vec<f32> = noise.iter().map(|by| usual * (1.0 + by)).collect();
            let bad = |scores: &[f32]| -> Vec<usize> {
                let fleet_middle = middle_of_fleet(&fleet(scores)).unwrap();
                let is_bad = |at: &usize| misfit(scores[*at], fleet_middle) >= BAD_MISFIT;
                (0..scores.len()).filter(is_bad).collect()
            };
            prop_assert_eq!(bad(&scores), Vec::<usize>::new());
            let at = at % scores.len();
            scores[at] *= factor;
            prop_assert_eq!(bad(&scores), vec![at]);
        }
    }
}
