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
    /// Steps after the end of an alarm in which another needs more than 1: trouble that is over goes
    /// on trembling. 0 for none.
    pub echo_steps: u32,
    /// How much it needs at once, as a part of the highest score of the alarm before; less and less
    /// of it until those steps are over.
    pub echo_part: f32,
}

impl Default for PersistenceConfig {
    fn default() -> Self {
        // Scores are means of some rows already: waiting for a second one would lose short events.
        Self { raise_after: 1, hold_above: 0.8, clear_after: 3, echo_steps: 32, echo_part: 0.5 }
    }
}

/// Where an alarm stands between two scores.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PersistenceState {
    /// Whether the alarm holds.
    pub active: bool,
    /// For how many steps the score has been about to change that.
    pub run: u32,
    /// Whether the score has been above 1 without a break since an alarm ended: it only remembers.
    pub spent: bool,
    /// Highest score of the alarm that holds, or of the last one.
    pub crest: f32,
    /// Steps since the last alarm ended.
    pub since: u32,
}

/// An alarm with hysteresis.
#[derive(Debug, Clone)]
pub struct Persistence {
    config: PersistenceConfig,
    state: PersistenceState,
}

impl Persistence {
    /// Not alarmed.
    pub fn new(config: PersistenceConfig) -> Self {
        Self { config, state: PersistenceState::default() }
    }

    /// Where it stands; see [`Persistence::resume`].
    pub fn state(&self) -> PersistenceState {
        self.state
    }

    /// Goes on from what [`Persistence::state`] said.
    pub fn resume(&mut self, state: PersistenceState) {
        self.state = state;
    }

    /// Takes the next score and says whether the alarm holds. `fresh` tells whether the newest rows
    /// are odd by themselves: a score may remember trouble that is over. Such a score may raise an
    /// alarm, but neither hold one nor raise the same again. NaN changes nothing.
    pub fn push(&mut self, score: f32, fresh: bool) -> bool {
        if score.is_nan() {
            return self.state.active;
        }
        let needed = self.raised_above();
        let PersistenceState { active, run, spent, crest, since } = &mut self.state;
        *spent &= score > 1.0;
        let (towards_change, n_steps) = if *active {
            *crest = crest.max(score);
            (score < self.config.hold_above || !fresh, self.config.clear_after)
        } else {
            *since = since.saturating_add(1);
            (score > needed && (fresh || !*spent), self.config.raise_after)
        };
        *run = if towards_change { run.saturating_add(1) } else { 0 };
        // Changing after no steps would be changing at every step.
        if *run >= n_steps.max(1) {
            *spent = *active;
            *active = !*active;
            (*run, *since) = (0, 0);
            *crest = if *active { score } else { *crest };
        }
        *active
    }

    /// What a score needs to raise an alarm: 1, and more soon after another.
    fn raised_above(&self) -> f32 {
        let PersistenceConfig { echo_steps, echo_part, .. } = self.config;
        let left = echo_steps.saturating_sub(self.state.since) as f32 / echo_steps.max(1) as f32;
        (echo_part * self.state.crest * left).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarms(steps: &[(f32, bool)]) -> String {
        let mut persistence = Persistence::new(PersistenceConfig {
            raise_after: 2,
            clear_after: 2,
            echo_steps: 0,
            ..PersistenceConfig::default()
        });
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
    fn soon_after_an_alarm_another_has_to_be_as_strong() {
        let alarms = |scores: &[f32]| {
            let mut persistence = Persistence::new(PersistenceConfig {
                raise_after: 1,
                clear_after: 1,
                echo_steps: 4,
                echo_part: 0.5,
                ..PersistenceConfig::default()
            });
            let mut push = |score: &f32| persistence.push(*score, true);
            scores.iter().map(|score| if push(score) { '!' } else { '.' }).collect::<String>()
        };
        assert_eq!(alarms(&[8.0, 0.1, 2.9, 1.9, 0.9, 1.2]), "!....!");
        assert_eq!(alarms(&[8.0, 0.1, 5.0]), "!.!");
        assert_eq!(alarms(&[1.5, 0.1, 1.2]), "!.!");
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
