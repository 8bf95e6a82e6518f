//! Names that are asked for with uneven popularity, and how many of them a cache has fresh.
//!
//! Names of like popularity are kept together as a band. A band is followed as a fluid: names that
//! are not fresh are asked for and become fresh, fresh ones grow old. In the long run that gives
//! the known hit ratio λT / (1 + λT) of a cache with expiry, after a start the way to it.

/// Each band has twice as many names as the one before it.
const MAX_BANDS: usize = 24;
/// Seconds that CoreDNS keeps an answer SERVFAIL.
pub(crate) const SERVFAIL_TTL: f64 = 5.0;

/// Names of one kind, in one cache.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    bands: Vec<Band>,
}

#[derive(Debug, Clone)]
struct Band {
    n: f64,
    /// Share of all questions that each name of the band gets.
    each: f64,
    /// Share of the names with a fresh answer, with a fresh SERVFAIL, and with any entry at all:
    /// CoreDNS leaves expired ones where they are.
    fresh: f64,
    failed: f64,
    kept: f64,
}

/// What became of the questions of an interval.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Found {
    /// Probability of a fresh answer, and of a fresh SERVFAIL.
    pub(crate) fresh: f64,
    pub(crate) failed: f64,
    /// Names that had no entry and got one.
    pub(crate) new: f64,
}

/// How answers come about while a name is not fresh.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fill {
    /// Share of the misses whose answer is kept, and for how many seconds.
    pub(crate) answered: f64,
    pub(crate) ttl: f64,
    /// Share of the misses that become a kept SERVFAIL.
    pub(crate) failed: f64,
}

impl Names {
    /// `n` names of which the k-th is asked for in proportion to k to the power of minus
    /// `exponent`. At least one.
    pub(crate) fn new(n: usize, exponent: f64) -> Self {
        let mut bands = Vec::new();
        let (mut first, mut size) = (1_usize, 1_usize);
        while first <= n && bands.len() < MAX_BANDS {
            let last_band = bands.len() + 1 == MAX_BANDS;
            let end = if last_band { n } else { (first + size - 1).min(n) };
            let count = end + 1 - first;
            bands.push(Band::new(count as f64, weight(first, end, exponent)));
            (first, size) = (end + 1, size * 2);
        }
        let whole: f64 = bands.iter().map(|band| band.n * band.each).sum();
        bands.iter_mut().for_each(|band| band.each /= whole);
        Self { bands }
    }

    /// All that `seconds` of so many questions a second do.
    pub(crate) fn ask(&mut self, per_second: f64, seconds: f64, fill: Fill) -> Found {
        let mut found = Found::default();
        let old = 1.0 / (1.0 + seconds / fill.ttl.max(1e-3));
        let old_failed = 1.0 / (1.0 + seconds / SERVFAIL_TTL);
        for band in &mut self.bands {
            let asked = per_second * band.each * seconds;
            let missing = band.missing(asked, old, old_failed, fill);
            let fresh = old * (band.fresh + asked * fill.answered * missing);
            let failed = old_failed * (band.failed + asked * fill.failed * missing);
            let share = band.n * band.each;
            found.fresh += share * 0.5 * (fresh + band.fresh);
            found.failed += share * 0.5 * (failed + band.failed);
            (band.fresh, band.failed) = (fresh, failed);
            let kept = (fill.answered + fill.failed) * asked;
            let now = (band.kept + kept) / (1.0 + kept);
            found.new += band.n * (now - band.kept);
            band.kept = now;
        }
        found
    }

    /// Entries there are.
    pub(crate) fn kept(&self) -> f64 {
        self.bands.iter().map(|band| band.n * band.kept).sum()
    }

    /// Keeps only this share of the entries, whichever they are.
    pub(crate) fn evict(&mut self, keep: f64) {
        for band in &mut self.bands {
            band.kept *= keep;
            band.fresh *= keep;
            band.failed *= keep;
        }
    }
}

impl Band {
    fn new(n: f64, weight: f64) -> Self {
        Self { n, each: weight / n, fresh: 0.0, failed: 0.0, kept: 0.0 }
    }

    /// Share of the names without a fresh entry at the end of an interval in which each is asked
    /// `asked` times, by a backward step, which is stable however long it is.
    fn missing(&self, asked: f64, old: f64, old_failed: f64, fill: Fill) -> f64 {
        let left = 1.0 - old * self.fresh - old_failed * self.failed;
        left / (1.0 + asked * (old * fill.answered + old_failed * fill.failed))
    }
}

/// Sum of k to the power of minus `exponent` from `first` to `end`: exact for few names, an
/// integral for many.
fn weight(first: usize, end: usize, exponent: f64) -> f64 {
    if end - first < 64 {
        return (first..=end).map(|k| (k as f64).powf(-exponent)).sum();
    }
    let (low, high) = (first as f64 - 0.5, end as f64 + 0.5);
    if (exponent - 1.0).abs() < 1e-9 {
        return (high / low).ln();
    }
    let power = 1.0 - exponent;
    (high.powf(power) - low.powf(power)) / power
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILL: Fill = Fill { answered: 1.0, ttl: 30.0, failed: 0.0 };

    #[test]
    fn the_hit_ratio_tends_to_the_known_one() {
        let mut names = Names::new(100, 0.0);
        let mut found = Found::default();
        (0..500).for_each(|_| found = names.ask(10.0, 15.0, FILL));
        // Each name is asked 0.1 times a second for 30 s: 3 / (1 + 3).
        assert!((found.fresh - 0.75).abs() < 0.01, "{found:?}");
        assert!((names.kept() - 100.0).abs() < 1.0);
    }

    #[test]
    fn an_emptied_cache_fills_again_and_popular_names_first() {
        let mut names = Names::new(10_000, 1.0);
        let first = names.ask(50.0, 1.0, FILL);
        let later = (0..300).map(|_| names.ask(50.0, 1.0, FILL)).last().unwrap();
        assert!(first.fresh < 0.3 && later.fresh > 0.5, "{first:?} {later:?}");
        assert!(names.kept() < 5000.0);
        names.evict(0.0);
        assert_eq!(names.kept(), 0.0);
    }

    #[test]
    fn failures_are_kept_for_a_short_time() {
        let mut names = Names::new(10, 1.0);
        let failing = Fill { answered: 0.0, ttl: 30.0, failed: 1.0 };
        for _ in 0..10 {
            names.ask(100.0, 1.0, failing);
        }
        assert!(names.ask(100.0, 1.0, failing).failed > 0.9);
        for _ in 0..40 {
            names.ask(100.0, 1.0, FILL);
        }
        assert!(names.ask(100.0, 1.0, FILL).failed < 0.01);
    }

    #[test]
    fn odd_sizes_do_no_harm() {
        for n in [1, 2, 10_000_000] {
            let mut names = Names::new(n, 2.0);
            let found = names.ask(1e6, 3600.0, FILL);
            assert!(found.fresh <= 1.0 + 1e-9 && found.fresh.is_finite(), "{n} {found:?}");
            assert!(names.ask(0.0, 1.0, FILL).new.abs() < 1e-9);
        }
    }
}
