//! Everything that happened on one server between two scrapes, before it becomes features.

use crate::bridge::{Division, Gauge, Histogram, Quantities, Quantity};
use crate::distribution::Distribution;
use crate::part::Parts;
use crate::trend::Movement;

/// A share of fewer events than this says little: one SERVFAIL among three answers is not 33 % of
/// anything. What is lacking is taken from the last intervals.
const ENOUGH_EVENTS: f64 = 10.0;

/// Growth of counters, distributions and levels over one interval.
///
/// A quantity whose series are not there has grown by nothing; [`Interval::has_coredns`] and
/// [`Interval::up`] tell whether nothing happened or nothing was said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interval {
    /// Seconds since the last successful scrape; NaN on a failed one.
    pub(crate) seconds: f64,
    /// Whether the server answered.
    pub(crate) up: bool,
    /// Whether any series of CoreDNS itself was among the answer.
    pub(crate) has_coredns: bool,
    /// How long the scrape took.
    pub(crate) scrape_seconds: f64,
    /// Series of this scrape.
    pub(crate) n_series: usize,
    /// Series that were there at the last successful scrape and are not now.
    pub(crate) n_vanished: usize,
    /// Series that are there now and were not.
    pub(crate) n_born: usize,
    /// Whether a configuration was loaded that the last scrape did not have.
    pub(crate) reconfigured: bool,
    /// Rare events with the memory of the last scrapes, by [`Event`].
    pub(crate) recent: [f64; Event::COUNT],
    /// Time since Kubernetes last changed anything against the usual time between two changes; NaN
    /// until that is known.
    pub(crate) programming_silence: f64,
    pub(crate) latency: Distribution,
    pub(crate) upstream_latency: Distribution,
    pub(crate) upstreams: Parts,
    pub(crate) zones: Parts,
    /// Levels against their own past, by gauge.
    pub(crate) movements: [Movement; Gauge::COUNT],
    /// Mean time to answer against its own past.
    pub(crate) latency_movement: Movement,
    /// Growth of every quantity.
    pub(crate) totals: Totals,
    /// What is left of the intervals before.
    pub(crate) past: Past,
    levels: Vec<f64>,
}

/// Growth of every quantity, whether or not the server said anything.
#[derive(Debug, Clone)]
pub(crate) struct Totals([f64; Quantity::COUNT]);

/// The fading memory of intervals that shares of few events lean on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Past {
    pub(crate) totals: Totals,
    pub(crate) latency: Distribution,
    pub(crate) upstream_latency: Distribution,
}

/// Something so rare that a single one is news, and so short that one scrape would miss it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Restart,
    ReloadFailure,
    Panic,
    Reconfiguration,
    SetupError,
}

impl Event {
    pub(crate) const COUNT: usize = Self::SetupError as usize + 1;
}

impl Default for Totals {
    fn default() -> Self {
        Self([0.0; Quantity::COUNT])
    }
}

impl Totals {
    pub(crate) fn add(&mut self, quantity: Quantity, growth: f64) {
        self.0[quantity as usize] += growth;
    }

    /// Adds growth to each of `quantities`.
    pub(crate) fn add_to(&mut self, quantities: Quantities, growth: f64) {
        quantities.numbers().for_each(|at| self.0[at] += growth);
    }

    pub(crate) fn get(&self, quantity: Quantity) -> f64 {
        self.0[quantity as usize]
    }

    /// Cache misses in every version: from 1.8.5 on requests minus hits, before that a counter.
    pub(crate) fn cache_misses(&self) -> f64 {
        let requests = self.get(Quantity::CacheRequests);
        if requests > 0.0 {
            (requests - self.cache_hits()).max(0.0)
        } else {
            self.get(Quantity::CacheMisses)
        }
    }

    pub(crate) fn cache_hits(&self) -> f64 {
        self.get(Quantity::CacheHitsSuccess) + self.get(Quantity::CacheHitsDenial)
    }

    pub(crate) fn cache_lookups(&self) -> f64 {
        self.cache_misses() + self.cache_hits()
    }

    /// Exchanges with upstream servers that were begun: each takes a connection, old or new.
    pub(crate) fn upstream_exchanges(&self) -> f64 {
        self.get(Quantity::ConnectionsOpened) + self.get(Quantity::ConnectionsReused)
    }

    /// Keeps `keep` (0 to 1) of itself and adds `now`.
    fn fade(&mut self, keep: f64, now: &Self) {
        for (past, now) in self.0.iter_mut().zip(now.0) {
            *past = *past * keep + now;
        }
    }
}

impl Past {
    /// Keeps `keep` (0 to 1) of itself and adds an interval.
    pub(crate) fn fade(&mut self, keep: f64, interval: &Interval) {
        self.totals.fade(keep, &interval.totals);
        self.latency.fade(keep, &interval.latency);
        self.upstream_latency.fade(keep, &interval.upstream_latency);
    }
}

impl Interval {
    /// An interval in which nothing has been seen yet.
    pub(crate) fn empty() -> Self {
        Self {
            seconds: f64::NAN,
            programming_silence: f64::NAN,
            levels: vec![f64::NAN; Gauge::COUNT],
            ..Self::default()
        }
    }

    pub(crate) fn add_bucket(&mut self, histogram: Histogram, le: f64, growth: f64) {
        match histogram {
            Histogram::Request => self.latency.add(le, growth),
            Histogram::Upstream => self.upstream_latency.add(le, growth),
        }
    }

    pub(crate) fn parts(&mut self, division: Division) -> &mut Parts {
        match division {
            Division::Upstream => &mut self.upstreams,
            Division::Zone => &mut self.zones,
        }
    }

    pub(crate) fn set_level(&mut self, gauge: Gauge, value: f64) {
        let level = &mut self.levels[gauge as usize];
        *level = if level.is_nan() { value } else { *level + value };
    }

    /// Growth of a quantity; NaN when the server said nothing about itself.
    pub(crate) fn total(&self, quantity: Quantity) -> f64 {
        self.said(self.totals.get(quantity))
    }

    /// Growth per second.
    pub(crate) fn rate(&self, quantity: Quantity) -> f64 {
        self.total(quantity) / self.seconds
    }

    /// Level of a gauge; NaN when it is not there.
    pub(crate) fn level(&self, gauge: Gauge) -> f64 {
        self.levels[gauge as usize]
    }

    /// What a `part` costs or lasts for each `whole`; NaN when there is no whole.
    pub(crate) fn mean(&self, part: Quantity, whole: Quantity) -> f64 {
        share(self.total(part), self.total(whole))
    }

    /// The share that a `part` is of the `whole`, which leans on the last intervals when the whole
    /// is small. NaN when there is no whole: a share of nothing is not zero.
    pub(crate) fn ratio(&self, part: Quantity, whole: Quantity) -> f64 {
        self.ratio_of(|totals| totals.get(part), |totals| totals.get(whole))
    }

    /// As [`Interval::ratio`], of sums of quantities.
    pub(crate) fn ratio_of(
        &self,
        part: impl Fn(&Totals) -> f64,
        whole: impl Fn(&Totals) -> f64,
    ) -> f64 {
        let (now, past) = (&self.totals, &self.past.totals);
        self.said(leaning(part(now), whole(now), part(past), whole(past)))
    }

    /// Share of queries that took longer than `bound`, a bound of a bucket.
    pub(crate) fn slow_ratio(&self, bound: f64) -> f64 {
        slow_ratio(&self.latency, &self.past.latency, bound)
    }

    /// Share of answers of upstream that took longer than `bound`, a bound of a bucket.
    pub(crate) fn upstream_slow_ratio(&self, bound: f64) -> f64 {
        slow_ratio(&self.upstream_latency, &self.past.upstream_latency, bound)
    }

    fn said(&self, value: f64) -> f64 {
        if self.has_coredns { value } else { f64::NAN }
    }
}

fn slow_ratio(now: &Distribution, past: &Distribution, bound: f64) -> f64 {
    let above = |distribution: &Distribution| distribution.count_above(bound);
    leaning(above(now), now.count(), above(past), past.count())
}

/// `part / whole`, filled up from the past to [`ENOUGH_EVENTS`]; NaN when there is no whole.
fn leaning(part: f64, whole: f64, past_part: f64, past_whole: f64) -> f64 {
    let lacking = ENOUGH_EVENTS - whole;
    if whole <= 0.0 || lacking <= 0.0 || past_whole <= 0.0 {
        return share(part, whole);
    }
    let weight = lacking.min(past_whole) / past_whole;
    (part + weight * past_part) / (whole + weight * past_whole)
}

/// `part / whole`, NaN when there is no whole.
pub(crate) fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_answer_of_three_leans_on_the_answers_before() {
        assert_eq!(leaning(1.0, 3.0, 0.0, 400.0), 1.0 / 10.0);
        assert_eq!(leaning(100.0, 300.0, 0.0, 400.0), 1.0 / 3.0);
        assert_eq!(leaning(1.0, 3.0, 0.0, 0.0), 1.0 / 3.0);
        assert!(leaning(0.0, 0.0, 1.0, 4.0).is_nan());
    }
}
