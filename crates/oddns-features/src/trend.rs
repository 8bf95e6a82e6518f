//! Levels against their own past: what changed lately, and what goes on growing.
//!
//! Levels linger. After trouble, file descriptors stay doubled for minutes and memory for good, and
//! that is no trouble by itself. So a level is looked at in two ways that both forgive a step: its
//! distance from a mean that comes after it, and its growth with every single step held to little.

/// Half-life, in scrapes, of the trailing mean that a level is held against.
const DRIFT_HALF_LIFE: f64 = 64.0;
/// Distance that counts, in e-folds. A cache that was emptied lies much further from its mean, and
/// would drown everything else for as long as it takes to fill.
const MAX_DRIFT: f64 = 1.25;
/// Half-life, in scrapes, of the mean whose growth is looked at: longer than a Go process needs
/// from one garbage collection to the next at any scrape interval.
const LONG_HALF_LIFE: f64 = 16.0;
/// Half-life, in scrapes, of the memory of growth.
const GROWTH_HALF_LIFE: f64 = 256.0;
/// Scrapes that a growth is told for: the mean age of what is in its memory, 256 / ln 2.
const GROWTH_SPAN: f64 = 369.0;
/// Most growth that counts, over [`GROWTH_SPAN`] scrapes, in e-folds. Faster growth is a step, which
/// the trailing mean shows.
const MAX_GROWTH: f64 = 0.2;

/// The trailing means of the logarithm of one level; without a level so far everything is NaN.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trend {
    mean: f64,
    long: f64,
    growth: f64,
}

/// What the past says of a level, in e-folds; NaN where unknown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Movement {
    /// Distance from the trailing mean.
    pub(crate) drift: f64,
    /// Growth over the last [`GROWTH_SPAN`] scrapes as far as it was steady.
    pub(crate) growth: f64,
}

/// Unknown.
impl Default for Movement {
    fn default() -> Self {
        Self { drift: f64::NAN, growth: f64::NAN }
    }
}

impl Default for Trend {
    fn default() -> Self {
        Self { mean: f64::NAN, long: f64::NAN, growth: 0.0 }
    }
}

impl Trend {
    /// Takes the next level in; one that is not above zero, or NaN, is unknown and changes nothing.
    pub(crate) fn push(&mut self, level: f64) -> Movement {
        if !(level.is_finite() && level > 0.0) {
            return Movement::default();
        }
        let level = level.ln();
        if self.mean.is_nan() {
            (self.mean, self.long) = (level, level);
        }
        let drift = level - self.mean;
        self.mean += drift * (1.0 - half_life(DRIFT_HALF_LIFE));
        let drift = drift.clamp(-MAX_DRIFT, MAX_DRIFT);
        let step = (level - self.long) * (1.0 - half_life(LONG_HALF_LIFE));
        self.long += step;
        let growth = (step * GROWTH_SPAN).clamp(-MAX_GROWTH, MAX_GROWTH);
        self.growth += (growth - self.growth) * (1.0 - half_life(GROWTH_HALF_LIFE));
        Movement { drift, growth: self.growth }
    }
}

/// The factor that halves a memory within this many scrapes.
pub(crate) fn half_life(scrapes: f64) -> f64 {
    0.5_f64.powf(1.0 / scrapes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(levels: impl Iterator<Item = f64>) -> Movement {
        let mut trend = Trend::default();
        levels.fold(Movement::default(), |_, level| trend.push(level))
    }

    #[test]
    fn a_leak_shows_and_a_step_that_stays_is_forgiven() {
        // A thousandth of the level each scrape.
        let leak = after((0..600).map(|at| (0.0005 * f64::from(at)).exp()));
        let step = after((0..600).map(|at| if at < 300 { 1.0 } else { 2.0 }));
        assert!(leak.growth > 0.1, "{leak:?}");
        assert!(step.growth < 0.05, "{step:?}");
        assert!(step.drift < 0.05, "{step:?}");
    }

    #[test]
    fn what_is_no_level_is_unknown_and_changes_nothing() {
        let mut trend = Trend::default();
        trend.push(5.0);
        for level in [f64::NAN, 0.0, -1.0, f64::INFINITY] {
            assert!(trend.push(level).drift.is_nan());
        }
        assert_eq!(trend.push(5.0), Movement { drift: 0.0, growth: 0.0 });
    }
}
