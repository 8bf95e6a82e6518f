//! A stretch of oddness that a person is told about once.

use crate::Timestamp;

/// Something that went wrong on one server, from when to when, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// The same for the same instance and start, so that nothing is told twice.
    pub id: String,
    /// Which server.
    pub instance: String,
    /// First anomalous instant.
    pub start: Timestamp,
    /// Last anomalous instant; `None` while it goes on.
    pub end: Option<Timestamp>,
    /// How urgent.
    pub severity: Severity,
    /// Highest score reached; 1 is the alarm line.
    pub peak_score: f32,
    /// When it was reached.
    pub peak: Timestamp,
    /// What moved, strongest first.
    pub movements: Vec<Movement>,
    /// The likeliest cause.
    pub cause: Cause,
    /// What else it may be, likeliest first; never `unknown`.
    pub alternatives: Vec<Cause>,
}

/// How urgent an incident is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Look when there is time.
    Warning,
    /// Look now.
    Critical,
}

impl Severity {
    /// The word used in labels and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// One feature that left its usual range during an incident.
#[derive(Debug, Clone, PartialEq)]
pub struct Movement {
    /// Feature name.
    pub feature: String,
    /// Value expected, in the feature's unit.
    pub expected: f32,
    /// Value seen during the incident, the furthest out counting most, in the feature's unit; NaN
    /// when it was mostly missing.
    pub observed: f32,
    /// Mean signed deviation over the incident, weighted by the scores, in standard deviations.
    pub deviation: f32,
    /// Part of the whole deviation, 0 to 1.
    pub share: f32,
}

/// Why, as far as the metrics tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Cause {
    /// Name in the table of causes, `unknown` when nothing fits.
    pub name: &'static str,
    /// One sentence for an operator.
    pub summary: &'static str,
    /// Probability of the cause by the movements so far, 0 to 1.
    pub confidence: f32,
    /// What to look at or run next, in order.
    pub next_steps: &'static [&'static str],
}
