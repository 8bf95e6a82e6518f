//! How many false alerts the whole fleet may have, shared out among its servers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use oddns::Detector;

/// False alerts that a fleet may have in a week.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlertBudget {
    /// Of any urgency: the alarm line is drawn for them. Above 0.
    pub tickets_per_week: f64,
    /// Urgent ones, with severity `critical`; at most as many.
    pub pages_per_week: f64,
}

/// The part of a server changes when the fleet has grown or shrunk by this factor: a line that moves
/// with every server that comes would be no line.
const MOVES_AT: f64 = 1.1;

/// The budget in force, and what it comes to for a server.
#[derive(Debug)]
pub(crate) struct FleetBudget {
    state: Mutex<State>,
    /// Bits of the false alarms that a server may have in a week; of NaN for as many as its model was
    /// trained for. Read with every score.
    each: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    budget: Option<AlertBudget>,
    n_servers: usize,
    model: Option<Arc<Detector>>,
}

/// How much higher than in training the lines lie, by the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Lifts {
    pub(crate) tickets: f32,
    /// Of the score that is urgent, against the alarm line: 1 or more.
    pub(crate) pages: f32,
}

/// What is told of the budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shares {
    pub(crate) budget: AlertBudget,
    /// Servers that it was last shared out among.
    pub(crate) n_servers: usize,
    pub(crate) lifts: Lifts,
}

impl Default for FleetBudget {
    fn default() -> Self {
        Self { state: Mutex::default(), each: AtomicU64::new(f64::NAN.to_bits()) }
    }
}

impl FleetBudget {
    /// Takes another budget, or none: then each server has the one that the model was trained for.
    pub(crate) fn set(&self, budget: Option<AlertBudget>, model: &Arc<Detector>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.budget, state.model) = (budget, Some(Arc::clone(model)));
        self.share_out(&state);
    }

    /// Shares it out among so many servers. False when that changes little, and nothing was done.
    pub(crate) fn set_servers(&self, n_servers: usize) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, then) = (n_servers.max(1) as f64, state.n_servers.max(1) as f64);
        if state.n_servers > 0 && now.max(then) / now.min(then) < MOVES_AT {
            return false;
        }
        state.n_servers = n_servers.max(1);
        self.share_out(&state);
        true
    }

    fn share_out(&self, state: &State) {
        let each = state.budget.map_or(f64::NAN, |budget| state.each(budget.tickets_per_week));
        self.each.store(each.to_bits(), Ordering::Relaxed);
    }

    /// False alarms that a server may have in a week; NaN for as many as its model was trained for.
    pub(crate) fn each(&self) -> f64 {
        f64::from_bits(self.each.load(Ordering::Relaxed))
    }

    /// What is told of it; `None` without a budget.
    pub(crate) fn shares(&self) -> Option<Shares> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = state.budget?;
        let model = state.model.as_ref()?;
        let at = |per_week| lift(model, state.each(per_week));
        let tickets = at(budget.tickets_per_week);
        let lifts = Lifts { tickets, pages: (at(budget.pages_per_week) / tickets).max(1.0) };
        Some(Shares { budget, n_servers: state.n_servers.max(1), lifts })
    }
}

impl State {
    fn each(&self, per_week: f64) -> f64 {
        per_week / self.n_servers.max(1) as f64
    }
}

/// By how much the line of a server lies higher for so many false alarms a week.
pub(crate) fn lift(model: &Detector, alarms_per_week: f64) -> f32 {
    model.lift(alarms_per_week, f64::from(model.record().interval_seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_shared_out_among_the_servers_there_are() {
        let fleet = FleetBudget::default();
        assert!(fleet.each().is_nan() && fleet.shares().is_none());
        let model = crate::states::tests::detector();
        fleet.set(Some(AlertBudget { tickets_per_week: 5.0, pages_per_week: 1.0 }), &model);
        assert_eq!(fleet.each(), 5.0);
        assert!(fleet.set_servers(100));
        assert_eq!(fleet.each(), 0.05);
        assert!(!fleet.set_servers(105), "it moved for little");
        assert!(fleet.set_servers(50));
        let shares = fleet.shares().unwrap();
        assert_eq!((fleet.each(), shares.n_servers), (0.1, 50));
        assert!(shares.lifts.tickets > 1.0 && shares.lifts.pages > 1.0, "{shares:?}");
        fleet.set(None, &model);
        assert!(fleet.each().is_nan());
    }
}
