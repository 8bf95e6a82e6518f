//! When a score becomes an alarm, and when the alarm ends.

/// How long a score must stay high or low before the alarm changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PersistenceConfig {
    /// Steps above 1 in a row that raise the alarm.
    pub raise_after: u32,
    /// The alarm holds while the score stays above this; at most 1.
    pub hold_above: f32,
    /// Steps below `hold_above` in a row that end it.
    pub clear_after: u32,
}

impl Default for PersistenceConfig {
    fn default() -> Self {
        // Scores are means of some rows already: waiting for a second one would lose short events.
        Self { raise_after: 1, hold_above: 0.8, clear_after: 3 }
    }
}

/// An alarm with hysteresis.
#[derive(Debug, Clone)]
pub struct Persistence {
    config: PersistenceConfig,
    active: bool,
    run: u32,
}

impl Persistence {
    /// Not alarmed.
    pub fn new(config: PersistenceConfig) -> Self {
        Self { config, active: false, run: 0 }
    }

    /// Whether the alarm holds, and for how many steps the score has been about to change that.
    pub fn state(&self) -> (bool, u32) {
        (self.active, self.run)
    }

    /// Goes on from what [`Persistence::state`] said.
    pub fn resume(&mut self, active: bool, run: u32) {
        (self.active, self.run) = (active, run);
    }

    /// Takes the next score and says whether the alarm holds. NaN changes nothing.
    pub fn push(&mut self, score: f32) -> bool {
        if score.is_nan() {
            return self.active;
        }
        let (towards_change, needed) = if self.active {
            (score < self.config.hold_above, self.config.clear_after)
        } else {
            (score > 1.0, self.config.raise_after)
        };
        self.run = if towards_change { self.run.saturating_add(1) } else { 0 };
        // Changing after no steps would be changing at every step.
        if self.run >= needed.max(1) {
            self.active = !self.active;
            self.run = 0;
        }
        self.active
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarms(scores: &[f32]) -> String {
        let mut persistence =
            Persistence::new(PersistenceConfig { raise_after: 2, hold_above: 0.8, clear_after: 2 });
        scores.iter().map(|s| if persistence.push(*s) { '!' } else { '.' }).collect()
    }

    #[test]
    fn one_peak_is_no_alarm_and_one_dip_does_not_end_it() {
        assert_eq!(alarms(&[0.5, 3.0, 0.5, 3.0, 3.0, 0.1, 3.0, 0.9, 0.9]), "....!!!!!");
        assert_eq!(alarms(&[2.0, 2.0, 0.1, f32::NAN, 0.1, 0.1]), ".!!!..");
    }
}
