//! From scrapes to feature rows, one server at a time.

use oddns_core::{Frame, Recording, Scrape, SeriesId, SeriesTable, Timestamp};

use crate::bridge::{Gauge, Quantity, Role, role};
use crate::catalogue::{FEATURES, schema};
use crate::counter::increase;
use crate::interval::{Event, Interval};

/// After this long without a successful scrape a server is met anew: Prometheus's default lookback.
const STALE_SECONDS: f64 = 300.0;
/// Half-life, in scrapes, of the trailing mean that levels are held against.
const TREND_HALF_LIFE: f64 = 64.0;

/// Half-life, in scrapes, of the memory of a rare event: one increment of a counter must be seen
/// for longer than one scrape, or a person looking a minute later finds nothing.
const EVENT_HALF_LIFE: f64 = 8.0;

/// What one scrape gave.
#[derive(Debug, Clone, PartialEq)]
pub enum Features {
    /// One value a feature of [`FEATURES`], in order, in the feature's unit; NaN where undefined.
    Row(Vec<f32>),
    /// No answer yet, or the first one, or the first after a long gap: rates need two.
    First,
    /// Not later than the scrape before, so nothing can be said of an interval.
    OutOfOrder,
}

/// Keeps what is needed of the last scrape of one server.
#[derive(Debug, Clone, Default)]
pub struct Extractor {
    series: Vec<Series>,
    last_scrape: Option<Timestamp>,
    last_success: Option<Timestamp>,
    generation: u64,
    start_time: Option<f64>,
    trends: [Trend; Gauge::COUNT],
    recent: [f64; Event::COUNT],
}

/// What is remembered of one series.
#[derive(Debug, Clone)]
struct Series {
    role: Role,
    coredns: bool,
    value: f64,
    /// Number of the successful scrape that last had it; zero for never.
    seen: u64,
    /// When that scrape was.
    time: Timestamp,
}

/// Trailing mean of the logarithm of a level.
#[derive(Debug, Clone, Copy)]
struct Trend {
    mean: f64,
}

impl Default for Trend {
    fn default() -> Self {
        Self { mean: f64::NAN }
    }
}

impl Extractor {
    /// Takes the next scrape. `table` is the one that the scrape's samples refer to, and the same
    /// (or a grown one) at every call.
    pub fn push(&mut self, table: &SeriesTable, scrape: &Scrape) -> Features {
        if let Some(last) = self.last_scrape
            && scrape.time <= last
        {
            return self.step_back(scrape, last);
        }
        self.last_scrape = Some(scrape.time);
        if !scrape.up {
            return self.failed(scrape);
        }
        let first = self.last_success.is_none_or(|t| scrape.time.seconds_since(t) > STALE_SECONDS);
        if first {
            self.forget();
        }
        let interval = self.successful(table, scrape, first);
        if first { Features::First } else { row(&interval) }
    }

    /// A server that stopped answering gives rows for as long as it is gone: an outage must not
    /// fall silent after [`STALE_SECONDS`].
    fn failed(&self, scrape: &Scrape) -> Features {
        if self.last_success.is_none() {
            return Features::First;
        }
        let mut nothing = Interval::empty();
        nothing.scrape_seconds = scrape.duration_seconds;
        row(&nothing)
    }

    /// A repeated or late scrape is dropped; after a real step of the clock we start anew, or
    /// nothing would be said until the clock has caught up.
    fn step_back(&mut self, scrape: &Scrape, last: Timestamp) -> Features {
        if last.seconds_since(scrape.time) > STALE_SECONDS {
            self.last_scrape = Some(scrape.time);
            self.forget();
        }
        Features::OutOfOrder
    }

    fn forget(&mut self) {
        self.last_success = None;
        self.recent = Default::default();
        self.trends = Default::default();
        for series in &mut self.series {
            series.seen = 0;
        }
    }

    fn successful(&mut self, table: &SeriesTable, scrape: &Scrape, first: bool) -> Interval {
        let mut interval = Interval::empty();
        interval.up = true;
        interval.scrape_seconds = scrape.duration_seconds;
        interval.seconds = self.last_success.map_or(f64::NAN, |t| scrape.time.seconds_since(t));
        self.generation += 1;
        let before = self.generation - 1;
        for sample in &scrape.samples {
            // NaN is the staleness marker or a value nobody can add up: the series is not there.
            if !sample.value.is_finite() {
                continue;
            }
            let Some(at) = self.slot(table, sample.series) else { continue };
            self.take(at, sample.value, scrape.time, first, &mut interval);
        }
        self.vanished(before, first, &mut interval);
        self.process(scrape.time, first, &mut interval);
        self.last_success = Some(scrape.time);
        interval
    }

    /// Adds one sample to the interval.
    fn take(
        &mut self,
        at: usize,
        value: f64,
        time: Timestamp,
        first: bool,
        interval: &mut Interval,
    ) {
        let series = &mut self.series[at];
        let known = !first && series.seen > 0 && series.seen == self.generation - 1;
        let growth = if first { 0.0 } else { series.growth(value, time, interval.seconds) };
        interval.n_series += 1;
        interval.n_born += usize::from(!known && !first);
        interval.has_coredns |= series.coredns;
        (series.value, series.seen, series.time) = (value, self.generation, time);
        match &series.role {
            Role::Counter(quantities) => {
                quantities.iter().for_each(|quantity| interval.add(*quantity, growth));
            }
            Role::Upstream { to, quantities } => {
                quantities.iter().for_each(|quantity| interval.add(*quantity, growth));
                interval.add_upstream(to, Quantity::UpstreamAnswers, growth);
            }
            Role::UpstreamSeconds { to } => {
                interval.add(Quantity::UpstreamSeconds, growth);
                interval.add_upstream(to, Quantity::UpstreamSeconds, growth);
            }
            Role::Bucket(histogram, le) => interval.add_bucket(*histogram, *le, growth),
            Role::Gauge(gauge) => interval.set_level(*gauge, value),
            Role::Configuration => interval.reconfigured |= !known && !first,
            Role::Unused => {}
        }
    }

    fn vanished(&self, before: u64, first: bool, interval: &mut Interval) {
        if !first && before > 0 {
            interval.n_vanished = self.series.iter().filter(|s| s.seen == before).count();
        }
    }

    /// What the process says about itself.
    fn process(&mut self, time: Timestamp, first: bool, interval: &mut Interval) {
        let mut restarted = false;
        let start = interval.level(Gauge::StartTime);
        if start.is_finite() {
            // The start time is a constant of a process; a second of slack for its rounding.
            let before = self.start_time.replace(start);
            restarted = !first && before.is_some_and(|before| (start - before).abs() > 1.0);
            interval.uptime_seconds = (time.unix_seconds() - start).max(0.0);
        }
        if restarted {
            self.forget_vanished();
        }
        self.remember(restarted, first, interval);
        let decay = half_life(TREND_HALF_LIFE);
        for (at, trend) in self.trends.iter_mut().enumerate() {
            let level = interval.level(Gauge::ALL[at]);
            if level.is_finite() && level > 0.0 {
                interval.drifts[at] = trend.push(level.ln(), decay);
            }
        }
    }

    /// A new process counts from zero: a series that it has not shown yet will be a new one, even
    /// if it comes to stand higher than the old process left it.
    fn forget_vanished(&mut self) {
        for series in self.series.iter_mut().filter(|series| series.seen != self.generation) {
            series.seen = 0;
        }
    }

    /// Adds this interval's rare events to those of the last ones.
    fn remember(&mut self, restarted: bool, first: bool, interval: &mut Interval) {
        let now = [
            (Event::Restart, f64::from(restarted)),
            (Event::ReloadFailure, interval.total(Quantity::ReloadFailures)),
            (Event::Panic, interval.total(Quantity::Panics)),
            // A restart loads its configuration anew; that is not a second event.
            (Event::Reconfiguration, f64::from(interval.reconfigured && !restarted)),
        ];
        for (event, count) in now {
            let recent = &mut self.recent[event as usize];
            *recent *= half_life(EVENT_HALF_LIFE);
            if !first && count.is_finite() {
                *recent += count;
            }
        }
        interval.recent = self.recent;
    }

    /// Where `id` is kept; classifies series that are new.
    fn slot(&mut self, table: &SeriesTable, id: SeriesId) -> Option<usize> {
        let at = id.0 as usize;
        while self.series.len() <= at {
            let key = table.get(SeriesId(self.series.len() as u32))?;
            self.series.push(Series {
                role: role(key),
                coredns: key.is_coredns(),
                value: 0.0,
                seen: 0,
                time: Timestamp::default(),
            });
        }
        Some(at)
    }
}

impl Series {
    /// Growth to `value` at `time` that belongs to the last `seconds`. What grew while the series
    /// was away is spread evenly over that time: a counter that missed one scrape must not be
    /// counted from zero when it is back.
    fn growth(&self, value: f64, time: Timestamp, seconds: f64) -> f64 {
        if self.seen == 0 {
            return increase(None, value);
        }
        let growth = increase(Some(self.value), value);
        let away = time.seconds_since(self.time);
        if value < self.value || away <= seconds { growth } else { growth * seconds / away }
    }
}

impl Trend {
    /// Distance of `level` from the mean before it.
    fn push(&mut self, level: f64, decay: f64) -> f64 {
        if self.mean.is_nan() {
            self.mean = level;
        }
        let drift = level - self.mean;
        self.mean += drift * (1.0 - decay);
        drift
    }
}

fn row(interval: &Interval) -> Features {
    Features::Row(FEATURES.iter().map(|feature| feature.value(interval)).collect())
}

/// The factor that halves a memory within this many scrapes.
fn half_life(scrapes: f64) -> f64 {
    0.5_f64.powf(1.0 / scrapes)
}

/// The features of a whole recording, as a frame with the columns of [`schema`]. Scrapes that give
/// no row (the first, repeated ones) are left out.
pub fn extract(recording: &Recording) -> Frame {
    let mut extractor = Extractor::default();
    let mut frame = Frame::new(schema().columns().to_vec());
    for scrape in &recording.scrapes {
        if let Features::Row(row) = extractor.push(&recording.series, scrape) {
            // After a step of the clock a row may lie before the last one; a frame has no place
            // for it.
            let _ = frame.push(scrape.time, &row);
        }
    }
    frame
}
