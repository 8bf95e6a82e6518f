//! Everything that happened on one server between two scrapes, before it becomes features.

use crate::bridge::{Gauge, Histogram, Quantity};
use crate::distribution::Distribution;

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
    /// Seconds since the process started, as far as the server says; NaN otherwise.
    pub(crate) uptime_seconds: f64,
    pub(crate) latency: Distribution,
    pub(crate) upstream_latency: Distribution,
    pub(crate) upstreams: Vec<Upstream>,
    /// Levels against their own recent past, by gauge: ln(level / trailing mean).
    pub(crate) drifts: [f64; Gauge::COUNT],
    totals: Vec<f64>,
    levels: Vec<f64>,
}

/// Something so rare that a single one is news, and so short that one scrape would miss it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Restart,
    ReloadFailure,
    Panic,
    Reconfiguration,
}

impl Event {
    pub(crate) const COUNT: usize = Self::Reconfiguration as usize + 1;
}

/// What one upstream did during the interval.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Upstream {
    pub(crate) to: String,
    pub(crate) answers: f64,
    pub(crate) seconds: f64,
}

impl Interval {
    /// An interval in which nothing has been seen yet.
    pub(crate) fn empty() -> Self {
        Self {
            seconds: f64::NAN,
            uptime_seconds: f64::NAN,
            drifts: [f64::NAN; Gauge::COUNT],
            totals: vec![0.0; Quantity::COUNT],
            levels: vec![f64::NAN; Gauge::COUNT],
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, quantity: Quantity, growth: f64) {
        self.totals[quantity as usize] += growth;
    }

    pub(crate) fn add_upstream(&mut self, to: &str, quantity: Quantity, growth: f64) {
        let at = match self.upstreams.iter().position(|upstream| upstream.to == to) {
            Some(at) => at,
            None => {
                self.upstreams.push(Upstream { to: to.to_owned(), answers: 0.0, seconds: 0.0 });
                self.upstreams.len() - 1
            }
        };
        match quantity {
            Quantity::UpstreamAnswers => self.upstreams[at].answers += growth,
            _ => self.upstreams[at].seconds += growth,
        }
    }

    pub(crate) fn add_bucket(&mut self, histogram: Histogram, le: f64, growth: f64) {
        match histogram {
            Histogram::Request => self.latency.add(le, growth),
            Histogram::Upstream => self.upstream_latency.add(le, growth),
        }
    }

    pub(crate) fn set_level(&mut self, gauge: Gauge, value: f64) {
        let level = &mut self.levels[gauge as usize];
        *level = if level.is_nan() { value } else { *level + value };
    }

    /// Growth of a quantity; NaN when the server said nothing about itself.
    pub(crate) fn total(&self, quantity: Quantity) -> f64 {
        if self.has_coredns { self.totals[quantity as usize] } else { f64::NAN }
    }

    /// Growth per second.
    pub(crate) fn rate(&self, quantity: Quantity) -> f64 {
        self.total(quantity) / self.seconds
    }

    /// Level of a gauge; NaN when it is not there.
    pub(crate) fn level(&self, gauge: Gauge) -> f64 {
        self.levels[gauge as usize]
    }

    /// `part / whole`; NaN when the whole is zero: a share of nothing is not zero.
    pub(crate) fn ratio(&self, part: Quantity, whole: Quantity) -> f64 {
        share(self.total(part), self.total(whole))
    }

    /// Cache misses in every version: from 1.8.5 on requests minus hits, before that a counter.
    pub(crate) fn cache_misses(&self) -> f64 {
        let requests = self.total(Quantity::CacheRequests);
        if requests > 0.0 {
            (requests - self.cache_hits()).max(0.0)
        } else {
            self.total(Quantity::CacheMisses)
        }
    }

    pub(crate) fn cache_hits(&self) -> f64 {
        self.total(Quantity::CacheHitsSuccess) + self.total(Quantity::CacheHitsDenial)
    }

    pub(crate) fn cache_lookups(&self) -> f64 {
        self.cache_misses() + self.cache_hits()
    }
}

/// `part / whole`, NaN when there is no whole.
pub(crate) fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { f64::NAN }
}
