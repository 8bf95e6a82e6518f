//! Where normal ends: a line above the scores of normal operation, which follows them slowly.

/// Bins of the histogram; each is 2.8 % wide.
const N_BINS: usize = 256;
/// Scores below the first bin are in it, …
const LOWEST: f32 = 0.05;
/// … and above the last in that.
const HIGHEST: f32 = 60.0;
/// The tail is extrapolated from these two quantiles: the middle of the scores knows nothing of the
/// few anomalies that every real training set has, while its highest scores are these anomalies.
const MIDDLE: f64 = 0.5;
const UPPER: f64 = 0.9;
/// Nothing is extrapolated further than this.
const SMALLEST_RISK: f64 = 1e-12;
/// A line below one standard unit would be an alarm about rounding.
const LOWEST_LINE: f32 = 1.0;
/// Past this weight of the newest score all weights are written anew.
const LARGEST_NEWEST: f32 = 1e6;

/// What a line is drawn for, and how it follows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlarmLineConfig {
    /// Probability that a score of normal operation exceeds the line: above 0, below 1 − 90 %; cut
    /// to that.
    pub risk: f64,
    /// How many scores it takes until a score weighs half; at least 1.
    pub half_life_rows: f64,
    /// The line is drawn anew every so many scores; at least 1.
    pub turn_every_rows: usize,
    /// How far the line goes with the scores, on a logarithmic scale, 0 to 1: one that stays alarms
    /// for ever after a change for good, and one that goes all the way calls the second half of a
    /// long incident normal.
    pub follows: f32,
}

/// The level that a score of normal operation exceeds with a stated probability.
///
/// The scores are held as an exponentially weighted histogram. Its tail is taken for exponential
/// and extrapolated from median and 90 % quantile, so that neither a few per cent of anomalies in
/// the training set nor an incident move it much, while a level that stays does, within about a
/// half-life. How far the line goes with it is [`AlarmLineConfig::follows`].
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmLine {
    risk: f64,
    follows: f64,
    /// By how much each score weighs more than the one before it.
    growth: f32,
    turn_every_rows: usize,
    n_since_turn: usize,
    newest: f32,
    /// One weight a bin, not negative.
    weights: Vec<f32>,
    /// Where the line lay at first.
    first: f32,
    line: f32,
}

impl AlarmLine {
    /// From scores of normal operation; NaN is left out. The scores given weigh as much together as
    /// all that ever follow. A setting that is no number is the smallest that is allowed.
    pub fn fit(scores: &[f32], config: AlarmLineConfig) -> Self {
        let AlarmLineConfig { risk, half_life_rows, turn_every_rows, follows } = config;
        let half_life = if half_life_rows >= 1.0 { half_life_rows } else { 1.0 };
        let growth = 2.0_f64.powf(1.0 / half_life);
        let mut line = Self {
            // A risk that is no number is the smallest: `max` ignores NaN.
            risk: risk.max(SMALLEST_RISK).clamp(SMALLEST_RISK, 1.0 - UPPER),
            follows: f64::from(follows.max(0.0).clamp(0.0, 1.0)),
            growth: growth as f32,
            turn_every_rows: turn_every_rows.max(1),
            n_since_turn: 0,
            newest: 1.0,
            weights: vec![0.0; N_BINS],
            first: LOWEST_LINE,
            line: LOWEST_LINE,
        };
        let seen = scores.iter().filter(|score| !score.is_nan());
        let each = (1.0 / (growth - 1.0) / seen.clone().count().max(1) as f64) as f32;
        for score in seen {
            line.weights[bin(*score)] += each;
        }
        line.first = line.extrapolated();
        line.turn();
        line
    }

    /// Above this a score is anomalous; at least 1.
    pub fn level(&self) -> f32 {
        self.line
    }

    /// Takes a score into account for later lines. NaN changes nothing.
    pub fn push(&mut self, score: f32) {
        if score.is_nan() {
            return;
        }
        self.newest *= self.growth;
        self.weights[bin(score)] += self.newest;
        if self.newest > LARGEST_NEWEST {
            let newest = self.newest;
            self.weights.iter_mut().for_each(|weight| *weight /= newest);
            self.newest = 1.0;
        }
        self.n_since_turn += 1;
        if self.n_since_turn >= self.turn_every_rows {
            self.turn();
        }
    }

    /// Draws the line.
    fn turn(&mut self) {
        self.n_since_turn = 0;
        let way = f64::from(self.extrapolated()).ln() - f64::from(self.first).ln();
        self.line = (self.first * (self.follows * way).exp() as f32).max(LOWEST_LINE);
    }

    /// The level that the scores in the histogram exceed with the probability asked for.
    fn extrapolated(&self) -> f32 {
        self.level_for(self.risk)
    }

    /// Where a line would be drawn, by the scores up to now, that one of normal operation exceeds with
    /// the probability `risk`, which is cut to what [`AlarmLineConfig::risk`] may be; at least 1.
    pub fn level_for(&self, risk: f64) -> f32 {
        // `max` ignores NaN, which is then the smallest.
        let risk = risk.max(SMALLEST_RISK).clamp(SMALLEST_RISK, 1.0 - UPPER);
        let (Some(middle), Some(upper)) = (self.quantile(MIDDLE), self.quantile(UPPER)) else {
            return LOWEST_LINE;
        };
        // Of an exponential tail: quantiles lie as far apart as the logarithms of what is above.
        let per_fold = (upper - middle) / ((1.0 - MIDDLE) / (1.0 - UPPER)).ln();
        let level = upper + per_fold * ((1.0 - UPPER) / risk).ln();
        (level as f32).max(LOWEST_LINE)
    }

    /// By linear interpolation within a bin; `None` without weights.
    fn quantile(&self, q: f64) -> Option<f64> {
        let whole: f64 = self.weights.iter().map(|weight| f64::from(*weight)).sum();
        let wanted = q * whole;
        let mut below = 0.0;
        for (at, weight) in self.weights.iter().enumerate() {
            let weight = f64::from(*weight);
            if weight > 0.0 && below + weight >= wanted {
                let part = (wanted - below) / weight;
                return Some(edge(at) + part * (edge(at + 1) - edge(at)));
            }
            below += weight;
        }
        None
    }

    /// The same line so many times as high, and as much higher wherever it follows. One that goes all the
    /// way with the scores stays where they put it; a number that is not above zero changes nothing.
    #[must_use]
    pub fn raised(&self, by: f32) -> Self {
        let mut raised = self.clone();
        let own = 1.0 - self.follows;
        if by > 0.0 && by.is_finite() && own > 0.0 {
            // Of the way from where it lay at first the line goes a part: the rest of it is its own.
            raised.first = (self.first * (f64::from(by).ln() / own).exp() as f32).max(LOWEST_LINE);
            raised.turn();
        }
        raised
    }

    /// Everything that later lines depend on, as finite numbers; see [`AlarmLine::restore`].
    pub fn state(&self) -> Vec<f32> {
        let mut numbers = vec![self.newest, self.n_since_turn as f32, self.first, self.line];
        numbers.extend(&self.weights);
        numbers
    }

    /// The line that `state` was taken of, with the settings of `self`. `None` when the numbers are
    /// not a state.
    pub fn restore(&self, state: &[f32]) -> Option<Self> {
        let ([newest, n_since_turn, first, line], weights) = state.split_first_chunk()?;
        let good = |value: &f32| value.is_finite() && *value >= 0.0;
        let whole = weights.len() == N_BINS && state.iter().all(good);
        if !whole || *newest <= 0.0 || first.min(*line) < LOWEST_LINE {
            return None;
        }
        Some(Self {
            newest: *newest,
            n_since_turn: (*n_since_turn as usize).min(self.turn_every_rows),
            first: *first,
            line: *line,
            weights: weights.to_vec(),
            ..self.clone()
        })
    }
}

/// Where a score belongs.
fn bin(score: f32) -> usize {
    let place = (f64::from(score.clamp(LOWEST, HIGHEST)) / f64::from(LOWEST)).ln() / step();
    (place as usize).min(N_BINS - 1)
}

/// Where bin `at` begins.
fn edge(at: usize) -> f64 {
    f64::from(LOWEST) * (step() * at as f64).exp()
}

fn step() -> f64 {
    (f64::from(HIGHEST) / f64::from(LOWEST)).ln() / N_BINS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores with an exponential tail of mean one, at evenly spread probabilities.
    fn exponential(n: usize) -> Vec<f32> {
        (0..n).map(|i| -(1.0 - (i as f32 + 0.5) / n as f32).ln()).collect()
    }

    fn fit(scores: &[f32], risk: f64) -> AlarmLine {
        let config =
            AlarmLineConfig { risk, half_life_rows: 1000.0, turn_every_rows: 10, follows: 0.5 };
        AlarmLine::fit(scores, config)
    }

    #[test]
    fn an_exponential_tail_is_extrapolated() {
        let level = fit(&exponential(2000), 1e-4).level();
        // The true level is -ln(1e-4) = 9.2.
        assert!((9.0..9.5).contains(&level), "{level}");
    }

    #[test]
    fn a_few_anomalies_in_training_do_not_hide_later_ones() {
        let mut scores = exponential(2000);
        let clean = fit(&scores, 1e-3).level();
        scores.extend([50.0; 60]);
        let level = fit(&scores, 1e-3).level();
        assert!(level < 1.25 * clean, "{clean} and {level}");
    }

    #[test]
    fn a_level_that_stays_is_followed_and_an_incident_is_not() {
        let mut line = fit(&exponential(2000), 1e-3);
        let before = line.level();
        (0..60).for_each(|_| line.push(30.0));
        assert!(line.level() < 1.35 * before, "{before} and {}", line.level());
        for score in exponential(2000) {
            (0..3).for_each(|_| line.push(3.0 * score));
        }
        assert!(line.level() > 1.5 * before, "{before} and {}", line.level());
    }

    #[test]
    fn a_raised_line_stays_higher_wherever_it_goes() {
        let mut line = fit(&exponential(2000), 1e-3);
        let mut raised = line.raised(1.3);
        for score in exponential(2000) {
            assert!((raised.level() / line.level() - 1.3).abs() < 0.01);
            line.push(2.0 * score);
            raised.push(2.0 * score);
        }
        assert_eq!(line.raised(f32::NAN), line);
    }

    #[test]
    fn a_state_goes_on_as_if_nothing_had_been() {
        let mut line = fit(&exponential(100), 1e-3);
        (0..7).for_each(|at| line.push(at as f32));
        let mut restored = line.restore(&line.state()).unwrap();
        assert_eq!(restored, line);
        (0..77).for_each(|at| {
            line.push(at as f32);
            restored.push(at as f32);
        });
        assert_eq!(restored, line);
        assert_eq!(line.restore(&[1.0, 0.0]), None);
    }

    #[test]
    fn nothing_is_a_line_too() {
        assert_eq!(fit(&[], 1e-3).level(), LOWEST_LINE);
        assert_eq!(fit(&[f32::NAN, 0.0], 1e-3).level(), LOWEST_LINE);
        let mut huge = fit(&[f32::MAX, f32::INFINITY], 1e-3);
        huge.push(f32::NAN);
        assert!(huge.level().is_finite());
    }
}
