//! From scrapes to feature rows, one server at a time.

use std::collections::BTreeSet;
use std::num::NonZeroU8;

use oddns_core::{Scrape, SeriesId, SeriesTable, Timestamp};

use crate::bridge::{Division, Gauge, Histogram, Quantities, Quantity, Role, Tallies, role};
use crate::catalogue::FEATURES;
use crate::counter::increase;
use crate::interval::{Event, Interval, Past};
use crate::part::Parts;
use crate::rhythm::Rhythm;
use crate::trend::{Trend, half_life};

/// After this long without a successful scrape a server is met anew: Prometheus's default lookback.
const STALE_SECONDS: f64 = 300.0;
/// Half-life, in scrapes, of the intervals that a share of few events leans on: short, or trouble
/// would be told for long after it is over.
const PAST_HALF_LIFE: f64 = 2.0;
/// Half-life, in scrapes, of the memory of a rare event: one increment of a counter must be seen
/// for longer than one scrape, or a person looking a minute later finds nothing.
const EVENT_HALF_LIFE: f64 = 8.0;

/// Room for so many series more is made at a time, at least.
const SERIES_AT_ONCE: usize = 64;
/// Room for so many kinds of series more is made at a time, at least.
const KINDS_AT_ONCE: usize = 16;
/// A new kind is looked for among so many of the latest. CoreDNS has less than a hundred.
const KINDS_LOOKED_AT: usize = 256;
/// With fewer absences it is not worth looking for those that are over.
const LEAST_SWEPT: usize = 64;
/// A cache this far below its recent mean, in e-folds, was emptied and fills again.
const EMPTIED: f64 = -0.2;
/// Half-life, in scrapes, of the share of cache misses that bring new names, for that time.
const INSERTION_HALF_LIFE: f64 = 16.0;

/// What one scrape gave.
#[derive(Debug, Clone, PartialEq)]
pub enum Features {
    /// One value a feature of [`FEATURES`], in order, in the feature's unit; NaN where undefined.
    /// The divergences are NaN until a [`crate::Fleet`] fills them in.
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
    kinds: Kinds,
    absences: Absences,
    last_scrape: Option<Timestamp>,
    last_success: Option<Timestamp>,
    generation: u32,
    start_time: Option<f64>,
    memory: Memory,
    upstreams: Parts,
    zones: Parts,
}

/// What is remembered of the intervals before the last one. A server that is met anew has none.
#[derive(Debug, Clone, Default)]
struct Memory {
    trends: [Trend; Gauge::COUNT],
    latency: Trend,
    programming: Rhythm,
    recent: [f64; Event::COUNT],
    past: Past,
    cache_entries: Option<f64>,
    insertion_ratio: Option<f64>,
}

/// What is remembered of one series. Small: of thousands of servers with hundreds of series each, this
/// is much of the memory.
#[derive(Debug, Clone)]
struct Series {
    value: f64,
    /// Number of the successful scrape that last had it; zero for never.
    seen: u32,
    /// Its place in [`Kinds`].
    kind: u32,
}

/// The kinds of series that there are, of which a server has far fewer than series.
#[derive(Debug, Clone, Default)]
struct Kinds {
    tasks: Vec<Task>,
    /// Whether a series of this kind is CoreDNS's own.
    coredns: Vec<bool>,
}

/// When scrapes were that had the last of a series which has been away since.
#[derive(Debug, Clone, Default)]
struct Absences {
    /// By the number of the scrape, rising.
    times: Vec<(u32, Timestamp)>,
    /// With so many, those are looked for that no series needs any more.
    sweep_at: usize,
}

/// What to do with a series: its role, packed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Task {
    Count(Quantities),
    /// Also in the tallies of one part, unless there are too many of them.
    CountPart(Division, Option<NonZeroU8>, Tallies, Quantities),
    Bucket(Histogram, f64),
    Level(Gauge),
    Configuration,
    Nothing,
}

impl Kinds {
    /// The place of a kind, which is new if it was not known. Looks among the latest ones only: a
    /// server that invents a kind for each series costs memory, not time.
    fn place(&mut self, task: Task, coredns: bool) -> u32 {
        let n = self.tasks.len();
        let is_known = |at: &usize| self.tasks[*at] == task && self.coredns[*at] == coredns;
        if let Some(known) = (n.saturating_sub(KINDS_LOOKED_AT)..n).find(is_known) {
            return known as u32;
        }
        if n == self.tasks.capacity() {
            let more = KINDS_AT_ONCE.max(n / 4);
            self.tasks.reserve_exact(more);
            self.coredns.reserve_exact(more);
        }
        self.tasks.push(task);
        self.coredns.push(coredns);
        n as u32
    }
}

impl Absences {
    /// Some series were in the scrape `number` at `time`, and not in the one after it.
    fn begin(&mut self, number: u32, time: Timestamp, series: &[Series]) {
        if self.times.len() >= self.sweep_at.max(LEAST_SWEPT) {
            let needed: BTreeSet<u32> = series.iter().map(|series| series.seen).collect();
            self.times.retain(|(number, _)| needed.contains(number));
            self.sweep_at = 2 * self.times.len();
        }
        self.times.push((number, time));
    }

    /// When the scrape `number` was; `None` when none of its series was away.
    fn time(&self, number: u32) -> Option<Timestamp> {
        let at = self.times.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(self.times[at].1)
    }
}

impl Task {
    /// `parts` has room for the part that it may be of.
    fn of(role: &Role, interval: &mut Interval) -> Self {
        match role {
            Role::Counter(quantities) => Self::Count(Quantities::of(quantities)),
            Role::Part { division, name, tallies, quantities } => {
                let place = interval.parts(*division).place(name);
                let part = place.and_then(|at| NonZeroU8::new(u8::try_from(at + 1).ok()?));
                let (tallies, quantities) = (Tallies::of(tallies), Quantities::of(quantities));
                Self::CountPart(*division, part, tallies, quantities)
            }
            Role::Bucket(histogram, le) => Self::Bucket(*histogram, *le),
            Role::Gauge(gauge) => Self::Level(*gauge),
            Role::Configuration => Self::Configuration,
            Role::Unused => Self::Nothing,
        }
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
        let features = if first { Features::First } else { row(&interval) };
        self.put_back(interval);
        features
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
        self.memory = Memory::default();
        self.upstreams.begin(0.0);
        self.zones.begin(0.0);
        for series in &mut self.series {
            series.seen = 0;
        }
        self.absences = Absences::default();
    }

    fn successful(&mut self, table: &SeriesTable, scrape: &Scrape, first: bool) -> Interval {
        let mut interval = self.begin(scrape);
        self.generation += 1;
        let before = self.generation - 1;
        for sample in &scrape.samples {
            // NaN is the staleness marker or a value nobody can add up: the series is not there.
            if !sample.value.is_finite() {
                continue;
            }
            let Some(at) = self.slot(table, sample.series, &mut interval) else { continue };
            self.take(at, sample.value, scrape.time, first, &mut interval);
        }
        self.vanished(before, first, &mut interval);
        let restarted = self.restarted(first, &interval);
        if restarted {
            self.forget_vanished();
        }
        self.memory.complete(&mut interval, scrape.time, restarted, first);
        self.last_success = Some(scrape.time);
        interval
    }

    /// An interval with what is left of the ones before it; [`Extractor::put_back`] takes it back.
    fn begin(&mut self, scrape: &Scrape) -> Interval {
        let keep = half_life(PAST_HALF_LIFE);
        let mut interval = Interval::empty();
        interval.up = true;
        interval.scrape_seconds = scrape.duration_seconds;
        interval.seconds = self.last_success.map_or(f64::NAN, |t| scrape.time.seconds_since(t));
        interval.upstreams = std::mem::take(&mut self.upstreams);
        interval.zones = std::mem::take(&mut self.zones);
        interval.past = std::mem::take(&mut self.memory.past);
        interval.upstreams.begin(keep);
        interval.zones.begin(keep);
        interval
    }

    /// Remembers an interval.
    fn put_back(&mut self, mut interval: Interval) {
        let mut past = std::mem::take(&mut interval.past);
        past.fade(half_life(PAST_HALF_LIFE), &interval);
        self.memory.past = past;
        self.upstreams = interval.upstreams;
        self.zones = interval.zones;
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
        let known =
            !first && self.series[at].seen > 0 && self.series[at].seen == self.generation - 1;
        let growth = if first { 0.0 } else { self.growth(at, value, time, interval.seconds) };
        let series = &mut self.series[at];
        let kind = series.kind as usize;
        interval.n_series += 1;
        interval.n_born += usize::from(!known && !first);
        interval.has_coredns |= self.kinds.coredns[kind];
        (series.value, series.seen) = (value, self.generation);
        match self.kinds.tasks[kind] {
            Task::Count(quantities) => interval.totals.add_to(quantities, growth),
            Task::CountPart(division, part, tallies, quantities) => {
                interval.totals.add_to(quantities, growth);
                if let Some(part) = part {
                    interval.parts(division).add_to(usize::from(part.get()) - 1, tallies, growth);
                }
            }
            Task::Bucket(histogram, le) => interval.add_bucket(histogram, le, growth),
            Task::Level(gauge) => interval.set_level(gauge, value),
            Task::Configuration => interval.reconfigured |= !known && !first,
            Task::Nothing => {}
        }
    }

    fn vanished(&mut self, before: u32, first: bool, interval: &mut Interval) {
        let Some(last) = self.last_success.filter(|_| !first && before > 0) else { return };
        interval.n_vanished = self.series.iter().filter(|s| s.seen == before).count();
        if interval.n_vanished > 0 {
            self.absences.begin(before, last, &self.series);
        }
    }

    /// Growth of a series to `value` at `time` that belongs to the last `seconds`. What grew while it
    /// was away is spread evenly over that time: a counter that missed one scrape must not be counted
    /// from zero when it is back.
    fn growth(&self, at: usize, value: f64, time: Timestamp, seconds: f64) -> f64 {
        let series = &self.series[at];
        if series.seen == 0 {
            return increase(None, value);
        }
        let growth = increase(Some(series.value), value);
        // Where nothing is known of an absence, the last scrape had it.
        let Some(last) = self.absences.time(series.seen) else { return growth };
        let away = time.seconds_since(last);
        if value < series.value || away <= seconds { growth } else { growth * seconds / away }
    }

    /// Whether another process answers than at the last scrape.
    fn restarted(&mut self, first: bool, interval: &Interval) -> bool {
        let start = interval.level(Gauge::StartTime);
        if !start.is_finite() {
            return false;
        }
        // The start time is a constant of a process; a second of slack for its rounding.
        let before = self.start_time.replace(start);
        !first && before.is_some_and(|before| (start - before).abs() > 1.0)
    }

    /// A new process counts from zero: a series that it has not shown yet will be a new one, even
    /// if it comes to stand higher than the old process left it.
    fn forget_vanished(&mut self) {
        for series in self.series.iter_mut().filter(|series| series.seen != self.generation) {
            series.seen = 0;
        }
        self.absences = Absences::default();
    }

    /// Where `id` is kept; classifies series that are new.
    fn slot(
        &mut self,
        table: &SeriesTable,
        id: SeriesId,
        interval: &mut Interval,
    ) -> Option<usize> {
        let at = id.0 as usize;
        while self.series.len() <= at {
            let key = table.get(SeriesId(self.series.len() as u32))?;
            let task = Task::of(&role(key), interval);
            if self.series.len() == self.series.capacity() {
                // Doubling would leave half of it empty.
                self.series.reserve_exact(SERIES_AT_ONCE.max(self.series.len() / 4));
            }
            let kind = self.kinds.place(task, key.is_coredns());
            self.series.push(Series { value: 0.0, seen: 0, kind });
        }
        Some(at)
    }
}

impl Memory {
    /// Completes an interval, whose samples are all in, by what only a memory can tell.
    fn complete(&mut self, interval: &mut Interval, time: Timestamp, restarted: bool, first: bool) {
        self.remember(interval, restarted, first);
        for (at, trend) in self.trends.iter_mut().enumerate() {
            interval.movements[at] = trend.push(interval.level(Gauge::ALL[at]));
        }
        self.insertions(interval);
        let latency = interval.mean(Quantity::RequestSeconds, Quantity::RequestsTimed);
        interval.latency_movement = self.latency.push(latency);
        let changed = interval.total(Quantity::ProgrammingUpdates);
        if changed.is_finite() {
            interval.programming_silence = self.programming.push(time, changed > 0.0);
        }
    }

    /// Adds this interval's rare events to those of the last ones.
    fn remember(&mut self, interval: &mut Interval, restarted: bool, first: bool) {
        let now = [
            (Event::Restart, f64::from(restarted)),
            (Event::ReloadFailure, interval.total(Quantity::ReloadFailures)),
            (Event::Panic, interval.total(Quantity::Panics)),
            // A restart loads its configuration anew; that is not a second event.
            (Event::Reconfiguration, f64::from(interval.reconfigured && !restarted)),
            (Event::SetupError, interval.totals.get(Quantity::SetupErrors)),
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

    /// What came into the cache: by how much it grew, and what had to go for it. While an emptied
    /// cache fills, every miss brings a name and none is news: then the share is that of before.
    fn insertions(&mut self, interval: &mut Interval) {
        let entries = interval.level(Gauge::CacheEntries);
        let before = self.cache_entries.replace(entries).unwrap_or(f64::NAN);
        let misses = interval.totals.cache_misses();
        let grown = entries - before + interval.totals.get(Quantity::CacheEvictions);
        let refills = interval.movements[Gauge::CacheEntries as usize].drift < EMPTIED;
        let inserted = match self.insertion_ratio {
            Some(ratio) if refills => ratio * misses,
            _ => grown.max(0.0),
        };
        if !(grown.is_finite() && inserted.is_finite() && misses > 0.0) {
            return;
        }
        interval.totals.add(Quantity::CacheInsertions, inserted);
        let ratio = self.insertion_ratio.get_or_insert(inserted / misses);
        *ratio += (inserted / misses - *ratio) * (1.0 - half_life(INSERTION_HALF_LIFE));
    }
}

fn row(interval: &Interval) -> Features {
    Features::Row(FEATURES.iter().map(|feature| feature.value(interval)).collect())
}
