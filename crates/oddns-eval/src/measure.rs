//! What detectors are compared by.

use crate::{Naming, Report};

/// What a detector reached on one series, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Its scores against the labels.
    pub report: Report,
    /// How its incidents were told; of none where they were not looked at.
    pub naming: Naming,
    /// Seconds to train; `None` where that was not measured.
    pub train_seconds: Option<f64>,
    /// Seconds to score; `None` where that was not measured.
    pub score_seconds: Option<f64>,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// One column of a comparison.
pub struct Measure {
    /// Its key, also in JSON.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What it says, in a sentence.
    pub doc: &'static str,
    /// Which way is better.
    pub better: Direction,
    /// Digits after the point that mean something.
    pub decimals: usize,
    /// Its value in a trial; `None` where it is not defined.
    pub of: fn(&Trial) -> Option<f64>,
}

const DAYS_PER_WEEK: f64 = 7.0;

/// All measures, those that do not hang on an alarm line first.
pub const MEASURES: &[Measure] = &[
    Measure {
        name: "vus_pr",
        title: "VUS-PR",
        doc: "Volume under the precision-recall surface, as in TSB-AD.",
        better: Direction::Higher,
        decimals: 3,
        of: |trial| trial.report.points.vus_pr,
    },
    Measure {
        name: "auc_pr",
        title: "AUC-PR",
        doc: "Area under the precision-recall curve of points.",
        better: Direction::Higher,
        decimals: 3,
        of: |trial| trial.report.points.auc_pr,
    },
    Measure {
        name: "best_event_f1",
        title: "best event F1",
        doc: "Event F1 at the alarm line that is best for it, every run above it an alarm.",
        better: Direction::Higher,
        decimals: 3,
        of: |trial| trial.report.events.best.map(|best| best.f1),
    },
    Measure {
        name: "best_held_event_f1",
        title: "with hysteresis",
        doc: "The same with the product's hysteresis and merging of alarms.",
        better: Direction::Higher,
        decimals: 3,
        of: |trial| trial.report.events.best_with_hysteresis.map(|best| best.f1),
    },
    Measure {
        name: "event_recall",
        title: "events caught",
        doc: "Share of the events caught at the detector's own alarm line.",
        better: Direction::Higher,
        decimals: 3,
        of: |trial| trial.report.events.recall,
    },
    Measure {
        name: "false_alarms_per_day",
        title: "false alarms a day",
        doc: "Alarms that begin in quiet time at the detector's own line, for a day of quiet time.",
        better: Direction::Lower,
        decimals: 2,
        of: |trial| trial.report.alarms.false_per_week.map(|week| week / DAYS_PER_WEEK),
    },
    Measure {
        name: "median_delay_seconds",
        title: "median delay, s",
        doc: "Median seconds from the start of a caught event to the first alarm.",
        better: Direction::Lower,
        decimals: 1,
        of: |trial| trial.report.events.median_delay_seconds,
    },
    Measure {
        name: "quiet_alarmed_ratio",
        title: "quiet time alarmed",
        doc: "Share of quiet time at which the alarm held.",
        better: Direction::Lower,
        decimals: 4,
        of: |trial| trial.report.alarms.quiet_alarmed_share,
    },
    Measure {
        name: "benign_alarmed_ratio",
        title: "benign changes alarmed",
        doc: "Share of the benign changes in which an alarm begins.",
        better: Direction::Lower,
        decimals: 3,
        of: |trial| trial.report.alarms.benign_alarmed_share,
    },
    Measure {
        name: "cause_first_ratio",
        title: "cause right",
        doc: "Share of the events caught and told that were told by the right cause.",
        better: Direction::Higher,
        decimals: 3,
        of: |trial| trial.naming.first(),
    },
    Measure {
        name: "cause_among_ratio",
        title: "among three",
        doc: "The same with the right cause among the three likeliest.",
        better: Direction::Higher,
        decimals: 3,
        of: |trial| trial.naming.among(),
    },
    Measure {
        name: "train_seconds",
        title: "train, s",
        doc: "Seconds to train on a series, on one thread beside others.",
        better: Direction::Lower,
        decimals: 2,
        of: |trial| trial.train_seconds,
    },
    Measure {
        name: "score_seconds",
        title: "score, s",
        doc: "Seconds to score a series, on one thread beside others.",
        better: Direction::Lower,
        decimals: 2,
        of: |trial| trial.score_seconds,
    },
];

impl Measure {
    /// The one with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        MEASURES.iter().find(|measure| measure.name == name)
    }

    /// Whether `one` is better than `other`.
    pub fn is_better(&self, one: f64, other: f64) -> bool {
        match self.better {
            Direction::Higher => one > other,
            Direction::Lower => one < other,
        }
    }
}
