//! How learning stands, for people and metrics.

use oddns_core::Timestamp;
use oddns_store::{GateFigure, Promotion};
use serde::{Deserialize, Serialize};

/// What an update came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ending {
    /// Its model is the champion.
    Promoted,
    /// The gate refused its model.
    Refused,
    /// There was nothing to learn: too few rows, or none that were quiet.
    Nothing,
    /// It failed.
    Failed,
}

impl Ending {
    pub(crate) const ALL: [Self; 4] = [Self::Promoted, Self::Refused, Self::Nothing, Self::Failed];

    /// The word in metrics and answers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::Refused => "refused",
            Self::Nothing => "nothing",
            Self::Failed => "failed",
        }
    }
}

/// One update that has ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) ended: Timestamp,
    pub(crate) ending: Ending,
    /// Why, in words.
    pub(crate) reason: String,
    /// The generation that it made.
    pub(crate) generation: Option<u64>,
    /// How the challenger did; empty where there was none.
    pub(crate) gate: Vec<GateFigure>,
    /// What was learned and what was not, a line each.
    pub(crate) notes: Vec<String>,
    /// From its beginning to its end.
    pub(crate) seconds: f64,
    /// Time of the processor.
    pub(crate) cpu_seconds: f64,
}

/// How well the shared model fits a server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FitStatus {
    pub(crate) instance: String,
    /// By how much the middle of its scores lies away from that of the fleet, as a part; `None` before
    /// it was measured.
    pub(crate) misfit: Option<f32>,
    /// `None` where the shared model judges.
    pub(crate) own: Option<OwnStatus>,
}

/// The model that a server has for itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OwnStatus {
    pub(crate) generation: u64,
    /// Since when it judges, who or what made it, and why.
    pub(crate) since: Timestamp,
    pub(crate) by: String,
    pub(crate) reason: String,
}

/// How learning stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Status {
    pub(crate) enabled: bool,
    /// The champion's generation, and when it was made.
    pub(crate) generation: Option<u64>,
    pub(crate) made: Option<Timestamp>,
    /// Rows that the champion learned.
    pub(crate) n_rows: usize,
    /// Who or what made it the champion.
    pub(crate) promotion: Option<Promotion>,
    /// Since when an update is under way.
    pub(crate) active_since: Option<Timestamp>,
    /// When the next one is due.
    pub(crate) next: Option<Timestamp>,
    pub(crate) last: Option<Outcome>,
    /// Updates since the start, by how they ended.
    pub(crate) n_ended: [u64; 4],
    /// Time of the processor since the start.
    pub(crate) cpu_seconds: f64,
    /// Servers with a model of their own, and of the others those that the shared one fits worst.
    pub(crate) fits: Vec<FitStatus>,
}

impl Status {
    /// Notes an update that has ended.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        self.count(&outcome);
        self.active_since = None;
        self.last = Some(outcome);
    }

    /// Counts an update that has ended, of all servers or of one.
    pub(crate) fn count(&mut self, outcome: &Outcome) {
        let at = Ending::ALL.iter().position(|ending| *ending == outcome.ending);
        if let Some(n) = at.and_then(|at| self.n_ended.get_mut(at)) {
            *n += 1;
        }
        self.cpu_seconds += outcome.cpu_seconds;
    }
}
