//! When a score becomes an alarm, and when the alarm ends.

/// How long a score must stay high or low before the alarm changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PersistenceConfig {
    /// Steps above 1 in a row that raise the alarm.
    pub raise_after: u32,
    /// The alarm holds while the score stays above this; at most 1.
    pub hold_above: f32,
    /// Steps below `hold_above`, or as usual by themselves, in a row that end it.
    pub clear_after: u32,
}

impl Default for PersistenceConfig {
    fn default() -> Self {
        // Scores are means of some rows already: waiting for a second one would lose short events.
        Self { raise_after: 1, hold_above: 0.8, clear_after: 3 }
    }
}

/// Where an alarm stands between two scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PersistenceState {
    /// Whether the alarm holds.
    pub active: bool,
    /// For how many steps the score has been about to change that.
    pub run: u32,
    /// Whether the score has been above 1 without a break since an alarm ended: it only remembers.
    pub spent: bool,
}

/// An alarm with hysteresis.
#[derive(Debug, Clone)]
pub struct Persistence {
    config: PersistenceConfig,
    active: bool,
    run: u32,
    spent: bool,
}

impl Persistence {
    /// Not alarmed.
    pub fn new(config: PersistenceConfig) -> Self {
        Self { config, active: false, run: 0, spent: false }
    }

    /// Where it stands; see [`Persistence::resume`].
    pub fn state(&self) -> PersistenceState {
        PersistenceState { active: self.active, run: self.run, spent: self.spent }
    }

    /// Goes on from what [`Persistence::state`] said.
    pub fn resume(&mut self, state: PersistenceState) {
        let PersistenceState { active, run, spent } = state;
        (self.active, self.run, self.spent) = (active, run, spent);
    }

    /// Takes the next score and says whether the alarm holds. `fresh` tells whether the newest rows
    /// are odd by themselves: a score may remember trouble that is over. Such a score may raise an
    /// alarm, but neither hold one nor raise the same again. NaN changes nothing.
    pub fn push(&mut self, score: f32, fresh: bool) -> bool {
        if score.is_nan() {
            return self.active;
        }
        self.spent &= score > 1.0;
        let (towards_change, needed) = if self.active {
            (score < self.config.hold_above || !fresh, self.config.clear_after)
        } else {
            (score > 1.0 && (fresh || !self.spent), self.config.raise_after)
        };
        self.run = if towards_change { self.run.saturating_add(1) } else { 0 };
        // Changing after no steps would be changing at every step.
        if self.run >= needed.max(1) {
            self.spent = self.active;
            self.active = !self.active;
            self.run = 0;
        }
        self.active
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarms(steps: &[(f32, bool)]) -> String {
        let mut persistence =
            Persistence::new(PersistenceConfig { raise_after: 2, hold_above: 0.8, clear_after: 2 });
        let mut push = |step: &(f32, bool)| persistence.push(step.0, step.1);
        steps.iter().map(|step| if push(step) { '!' } else { '.' }).collect()
    }

    fn fresh(scores: &[f32]) -> Vec<(f32, bool)> {
        scores.iter().map(|score| (*score, true)).collect()
    }

    #[test]
    fn one_peak_is_no_alarm_and_one_dip_does_not_end_it() {
        let scores = fresh(&[0.5, 3.0, 0.5, 3.0, 3.0, 0.1, 3.0, 0.9, 0.9]);
        assert_eq!(alarms(&scores), "....!!!!!");
        assert_eq!(alarms(&fresh(&[2.0, 2.0, 0.1, f32::NAN, 0.1, 0.1])), ".!!!..");
    }

    #[test]
    fn a_score_that_only_remembers_raises_once_and_holds_nothing() {
        let mut steps = vec![(2.0, false); 6];
        assert_eq!(alarms(&steps), ".!!...");
        steps[4] = (0.9, false);
        steps.extend([(2.0, false); 2]);
        assert_eq!(alarms(&steps), ".!!...!!");
        steps[4] = (2.0, true);
        steps[5] = (2.0, true);
        assert_eq!(alarms(&steps), ".!!..!!.");
    }
}
