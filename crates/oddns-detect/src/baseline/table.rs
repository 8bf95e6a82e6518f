//! The detectors to compare with, by name.

use std::fmt;

use super::{
    CentreDistance, Distance, Fit, FittedDistance, FittedIsolationForest, FittedKMeans,
    FittedRollingZ, FittedStaticPca, FittedStreamingPca, FittedZScoreBands, IsolationForest,
    KMeans, RollingZ, Rows, Score, StaticPca, StreamingPca, ZScoreBands,
};
use crate::DetectError;

/// Half-life of what adapts slowly: five days, as in the measured recipe.
const HALF_LIFE_SECONDS: f32 = 5.0 * DAY_SECONDS;
/// How long the same directions are judged by: a tenth of the half-life.
const TURN_SECONDS: f32 = HALF_LIFE_SECONDS / 10.0;
const DAY_SECONDS: f32 = 86_400.0;
/// A row of a table of an unknown step counts as a minute.
const DEFAULT_STEP_SECONDS: f32 = 60.0;

/// A fitted detector of any kind.
type Boxed = Result<Box<dyn Score>, DetectError>;

/// What a detector has to be told that is not in the rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// Seconds from one row to the next; a minute when it is not above zero.
    pub step_seconds: f32,
    /// What is drawn at random follows from it.
    pub seed: u64,
}

/// A detector to compare with, in the form its authors publish.
pub struct Baseline {
    /// How it is called for.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub doc: &'static str,
    /// Whether its scores end at 1: their tail is that of their odds then.
    pub bounded: bool,
    /// Whether it learns from steps between rows, so that rows taken out of their order tell it of
    /// steps that never were.
    pub steps: bool,
    fit: fn(Rows<'_>, Setting) -> Boxed,
    restore: fn(&[f32]) -> Boxed,
}

/// All detectors to compare with, the simplest first.
pub const BASELINES: &[Baseline] = &[
    Baseline {
        name: "l2",
        doc: "Root mean square distance from the mean of training, in standard deviations.",
        bounded: false,
        steps: false,
        fit: |rows, _| boxed(Distance.fit(rows)),
        restore: |state| boxed(FittedDistance::from_state(state)),
    },
    Baseline {
        name: "rolling_z",
        doc: "Distance of the three furthest features from their own last day, in its standard deviations.",
        bounded: false,
        steps: false,
        fit: |rows, setting| {
            boxed(RollingZ { window_rows: setting.rows(DAY_SECONDS) as usize }.fit(rows))
        },
        restore: |state| boxed(FittedRollingZ::from_state(state)),
    },
    Baseline {
        name: "z_score_bands",
        doc: "The adaptive bands of grafana/promql-anomaly-detection; 1 is at the edge of a band.",
        bounded: false,
        steps: false,
        fit: |rows, setting| boxed(ZScoreBands { step_seconds: setting.step() }.fit(rows)),
        restore: |state| boxed(FittedZScoreBands::from_state(state)),
    },
    Baseline {
        name: "k_means",
        doc: "Netdata's two clusters of how each feature moves, distances graded.",
        bounded: false,
        steps: true,
        fit: |rows, setting| boxed(KMeans { seed: setting.seed, ..KMeans::default() }.fit(rows)),
        restore: |state| boxed(FittedKMeans::from_state(state)),
    },
    Baseline {
        name: "k_means_nearest",
        doc: "As k_means, with the distance from the nearest centre in place of the mean distance.",
        bounded: false,
        steps: true,
        fit: |rows, setting| {
            boxed(KMeans { distance: CentreDistance::Nearest, seed: setting.seed }.fit(rows))
        },
        restore: |state| boxed(FittedKMeans::from_state(state)),
    },
    Baseline {
        name: "isolation_forest",
        doc: "How few random cuts set a row apart: 100 trees of 256 rows.",
        bounded: true,
        steps: false,
        fit: |rows, setting| {
            boxed(IsolationForest { seed: setting.seed, ..IsolationForest::default() }.fit(rows))
        },
        restore: |state| boxed(FittedIsolationForest::from_state(state)),
    },
    Baseline {
        name: "static_pca",
        doc: "What the principal components of training do not account for.",
        bounded: false,
        steps: false,
        fit: |rows, _| boxed(StaticPca.fit(rows)),
        restore: |state| boxed(FittedStaticPca::from_state(state)),
    },
    Baseline {
        name: "streaming_pca",
        doc: "What principal components with a half-life of five days do not account for.",
        bounded: false,
        steps: false,
        fit: |rows, setting| {
            let half_life_rows = setting.rows(HALF_LIFE_SECONDS);
            let turn_every_rows = setting.rows(TURN_SECONDS) as usize;
            boxed(StreamingPca { half_life_rows, turn_every_rows }.fit(rows))
        },
        restore: |state| boxed(FittedStreamingPca::from_state(state)),
    },
];

impl fmt::Debug for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Baseline").field(&self.name).finish()
    }
}

/// A name stands for one detector.
impl PartialEq for Baseline {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Baseline {}

impl Setting {
    fn step(self) -> f32 {
        if self.step_seconds > 0.0 { self.step_seconds } else { DEFAULT_STEP_SECONDS }
    }

    /// Rows in so many seconds, at least 1.
    fn rows(self, seconds: f32) -> f32 {
        (seconds / self.step()).round().max(1.0)
    }
}

impl Baseline {
    /// The one with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        BASELINES.iter().find(|baseline| baseline.name == name)
    }

    /// Learns from rows of normal operation, in order of time.
    ///
    /// # Errors
    ///
    /// See [`Fit::fit`].
    pub fn fit(&self, normal: Rows<'_>, setting: Setting) -> Boxed {
        (self.fit)(normal, setting)
    }

    /// The detector whose [`Score::state`] this is.
    ///
    /// # Errors
    ///
    /// When the numbers are not a state of this kind of detector.
    pub fn restore(&self, state: &[f32]) -> Boxed {
        (self.restore)(state)
    }
}

fn boxed<S: Score + 'static>(fitted: Result<S, DetectError>) -> Boxed {
    Ok(Box::new(fitted?))
}
