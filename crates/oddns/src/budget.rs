//! Another alarm budget than a detector was trained for, without training it anew.

use std::sync::Arc;

use crate::calibration::{Budget, Pace};
use crate::detector::Detector;
use crate::follower::Follower;
use crate::pipeline::Pipeline;

impl Detector {
    /// By how much the alarm line lies higher when a server may have `alarms_per_week` false alarms, at
    /// a row each `interval_seconds`, than it was drawn for in training: above 0, and 1 when it is the
    /// same. The tail of the scores of training is taken for exponential as far out as needed, as with
    /// [`crate::TrainOptions::strict_budget`]. A budget or an interval that is no number above zero
    /// changes nothing.
    pub fn lift(&self, alarms_per_week: f64, interval_seconds: f64) -> f32 {
        let is_number = |number: f64| number.is_finite() && number > 0.0;
        if !is_number(alarms_per_week) || !is_number(interval_seconds) {
            return 1.0;
        }
        let record = &self.record;
        let trained =
            Budget { alarms_per_week: record.alarms_per_week, is_strict: record.strict_budget };
        let wanted = Budget { alarms_per_week, is_strict: true };
        let line = self.method.line();
        let level = |interval, budget| line.level_for(Pace::new(interval, budget).risk());
        level(interval_seconds as f32, wanted) / level(record.interval_seconds, trained)
    }
}

impl Follower {
    /// From the next row on scores are divided by `lift`, which [`Detector::lift`] tells: 1 stays the
    /// alarm line. One that is no number above zero changes nothing.
    pub fn set_lift(&mut self, lift: f32) {
        if lift.is_finite() && lift > 0.0 {
            self.stream.lift = lift;
        }
    }
}

impl Pipeline {
    /// See [`Follower::set_lift`].
    pub fn set_lift(&mut self, lift: f32) {
        self.follower.set_lift(lift);
    }

    /// The detector that judges.
    pub fn detector(&self) -> &Arc<Detector> {
        self.follower.detector()
    }
}
