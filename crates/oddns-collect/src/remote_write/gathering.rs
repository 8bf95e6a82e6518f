//! From samples, as they come in requests, back to the scrapes that they were.

use std::collections::VecDeque;
use std::time::Duration;

use oddns_core::{Sample, Scrape, SeriesId, SeriesTable, Timestamp};

use super::{Directory, WrittenSample, WrittenSeries, WrittenTarget};

/// Scrapes of one server that may be open at a time, after an outage of the sender for instance.
const MAX_OPEN: usize = 64;
/// Prometheus says with it how many samples a scrape gave.
const EXPECTED: &str = "scrape_samples_post_metric_relabeling";

/// How scrapes are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatherConfig {
    /// A scrape whose samples cannot be counted is over when nothing of it came for this long. A
    /// Prometheus holds samples back for five seconds at most.
    pub settle: Duration,
    /// Servers that are put together; more are left alone.
    pub max_servers: usize,
    /// Series of a server; others are left out.
    pub max_series: usize,
}

impl Default for GatherConfig {
    fn default() -> Self {
        Self { settle: Duration::from_secs(6), max_servers: 1000, max_series: 100_000 }
    }
}

/// Puts the scrapes of every server that has a `coredns_` series together.
#[derive(Debug)]
pub struct Gathering {
    config: GatherConfig,
    /// By the number of the series.
    roles: Vec<Role>,
    /// By the number of the target.
    servers: Vec<Option<Server>>,
    n_servers: usize,
    n_late: u64,
    n_left_out: u64,
}

/// What a series is to its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Role {
    #[default]
    Unknown,
    Sample(SeriesId),
    Up,
    Duration,
    Expected,
    /// Tells of the scrape, not of the server.
    Aside,
}

#[derive(Debug, Default)]
struct Server {
    series: SeriesTable,
    /// Oldest first.
    open: VecDeque<Open>,
    /// Time of the scrape with which it was met, and which is not told.
    met: i64,
    /// Nothing up to here is taken any more.
    closed: i64,
}

/// A scrape of which more may come.
#[derive(Debug)]
struct Open {
    millis: i64,
    up: Option<f64>,
    duration_seconds: f64,
    n_expected: Option<usize>,
    samples: Vec<Sample>,
    /// When something of it came last.
    touched: Timestamp,
}

/// A scrape that is over.
#[derive(Debug)]
pub struct Gathered<'a> {
    /// Whose it is.
    pub target: WrittenTarget,
    /// The table its samples speak of; the same for all scrapes of the target, but for growth.
    pub series: &'a SeriesTable,
    /// What it was.
    pub scrape: Scrape,
}

impl Gathering {
    /// Knows no server yet.
    pub fn new(config: GatherConfig) -> Self {
        let (roles, servers) = (Vec::new(), Vec::new());
        Self { config, roles, servers, n_servers: 0, n_late: 0, n_left_out: 0 }
    }

    /// Samples so far that came after their scrape was over.
    pub fn n_late(&self) -> u64 {
        self.n_late
    }

    /// Samples so far of servers or series beyond the limits.
    pub fn n_left_out(&self) -> u64 {
        self.n_left_out
    }

    /// Takes samples of `directory` that came at `now`.
    pub fn take(&mut self, directory: &Directory, samples: &[WrittenSample], now: Timestamp) {
        for sample in samples {
            let target = directory.target_of(sample.series);
            if !self.knows(target) && !self.meet(directory, target, sample) {
                continue;
            }
            let role = self.role(directory, target, sample.series);
            if let Some(Some(server)) = self.servers.get_mut(target.0 as usize) {
                self.n_late += u64::from(!server.take(role, sample, now));
            }
        }
    }

    /// Forgets what these series were, whose numbers are given again.
    pub fn forget(&mut self, series: &[WrittenSeries]) {
        for series in series {
            if let Some(role) = self.roles.get_mut(series.0 as usize) {
                *role = Role::Unknown;
            }
        }
    }

    /// Gives every scrape that is over at `now` to `take`, those of one server in order of time.
    pub fn ready(&mut self, now: Timestamp, mut take: impl FnMut(Gathered<'_>)) {
        let settled = now.millis().saturating_sub(self.config.settle.as_millis() as i64);
        for (at, server) in self.servers.iter_mut().enumerate() {
            let Some(server) = server else { continue };
            while let Some(scrape) = server.next(settled) {
                let target = WrittenTarget(at as u32);
                take(Gathered { target, series: &server.series, scrape });
            }
        }
    }

    fn knows(&self, target: WrittenTarget) -> bool {
        self.servers.get(target.0 as usize).is_some_and(Option::is_some)
    }

    /// Begins with a server at its first series of CoreDNS. Of that scrape some samples have gone by
    /// already, so it begins with the next one.
    fn meet(
        &mut self,
        directory: &Directory,
        target: WrittenTarget,
        sample: &WrittenSample,
    ) -> bool {
        if !directory.name(sample.series).starts_with("coredns_") {
            return false;
        }
        if self.n_servers == self.config.max_servers {
            self.n_left_out += 1;
            return false;
        }
        let at = target.0 as usize;
        if self.servers.len() <= at {
            self.servers.resize_with(at + 1, || None);
        }
        self.servers[at] =
            Some(Server { met: sample.millis, closed: sample.millis, ..Server::default() });
        self.n_servers += 1;
        false
    }

    fn role(
        &mut self,
        directory: &Directory,
        target: WrittenTarget,
        series: WrittenSeries,
    ) -> Role {
        let at = series.0 as usize;
        if self.roles.len() <= at {
            self.roles.resize(at + 1, Role::Unknown);
        }
        if self.roles[at] == Role::Unknown {
            self.roles[at] = self.new_role(directory, target, series);
        }
        self.roles[at]
    }

    fn new_role(
        &mut self,
        directory: &Directory,
        target: WrittenTarget,
        series: WrittenSeries,
    ) -> Role {
        match directory.name(series) {
            "up" => Role::Up,
            "scrape_duration_seconds" => Role::Duration,
            EXPECTED => Role::Expected,
            name if name.starts_with("scrape_") => Role::Aside,
            _ => match self.servers.get_mut(target.0 as usize) {
                Some(Some(server)) if server.series.len() < self.config.max_series => {
                    Role::Sample(server.series.intern(&directory.key(series)))
                }
                _ => {
                    self.n_left_out += 1;
                    Role::Aside
                }
            },
        }
    }
}

impl Server {
    /// False when it comes too late.
    fn take(&mut self, role: Role, sample: &WrittenSample, now: Timestamp) -> bool {
        if sample.millis <= self.closed {
            return sample.millis <= self.met;
        }
        let open = self.open(sample.millis, now);
        open.touched = now;
        match role {
            Role::Sample(series) if !is_stale(sample.value) => {
                open.samples.push(Sample { series, value: sample.value });
            }
            Role::Up => open.up = Some(sample.value),
            Role::Duration => open.duration_seconds = sample.value,
            Role::Expected if sample.value >= 0.0 => open.n_expected = Some(sample.value as usize),
            _ => {}
        }
        true
    }

    fn open(&mut self, millis: i64, now: Timestamp) -> &mut Open {
        let at = self.open.partition_point(|open| open.millis < millis);
        if self.open.get(at).is_none_or(|open| open.millis != millis) {
            let samples = Vec::with_capacity(self.series.len());
            let (up, n_expected) = (None, None);
            let duration_seconds = f64::NAN;
            let open = Open { millis, up, duration_seconds, n_expected, samples, touched: now };
            self.open.insert(at, open);
        }
        &mut self.open[at]
    }

    /// The oldest scrape, when it is over; one whose server is no target any more is none.
    fn next(&mut self, settled: i64) -> Option<Scrape> {
        loop {
            let oldest = self.open.front()?;
            let is_over = oldest.is_complete() || oldest.touched.millis() <= settled;
            if !is_over && self.open.len() <= MAX_OPEN {
                return None;
            }
            let oldest = self.open.pop_front()?;
            self.closed = oldest.millis;
            if let Some(scrape) = oldest.scrape() {
                return Some(scrape);
            }
        }
    }
}

impl Open {
    /// Whether nothing more can come.
    fn is_complete(&self) -> bool {
        self.up.is_some()
            && !self.duration_seconds.is_nan()
            && self.n_expected.is_some_and(|n| self.samples.len() >= n)
    }

    /// As with history of a Prometheus: `up` says whether the server answered; without it samples
    /// do, and where it is stale the server was no target any more.
    fn scrape(mut self) -> Option<Scrape> {
        let up = self.up.unwrap_or(1.0);
        if up.is_nan() || (self.up.is_none() && self.samples.is_empty()) {
            return None;
        }
        if up == 0.0 {
            self.samples.clear();
        }
        Some(Scrape {
            time: Timestamp::from_millis(self.millis),
            up: up != 0.0,
            duration_seconds: self.duration_seconds,
            samples: self.samples,
        })
    }
}

/// Prometheus's staleness marker: a NaN of its own.
fn is_stale(value: f64) -> bool {
    value.to_bits() == 0x7ff0_0000_0000_0002
}
