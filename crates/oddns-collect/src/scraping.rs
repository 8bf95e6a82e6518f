//! The scraping of jobs: a task a target, which come and go as discovery finds them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oddns_core::{SeriesPool, SeriesTable, Timestamp};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::sleep;

use crate::discovery::{Discovery, DiscoveryError, Report, Reporter};
use crate::job::Job;
use crate::relabel::LabelMap;
use crate::schedule::{next_scrape, target_offset};
use crate::scrape::{Scraped, Scraper};
use crate::scrape_target::{ScrapeTarget, ScrapeTargetError};

/// Each target costs a task and what its sink remembers.
pub const MAX_TARGETS: usize = 20_000;
/// A server that shows ever new series would fill the memory; above this many the table begins
/// anew. CoreDNS has some hundred series, a large one some thousand.
const MAX_SERIES: usize = 100_000;
/// With more targets than this, what makes a repeated scrape cheaper is not kept from one to the next:
/// it takes more memory than all the rest of a target.
const LEAN_ABOVE: usize = 2000;
/// Reports of discoveries that may wait; each holds a whole list.
const REPORT_QUEUE: usize = 4;

/// Takes the scrapes of one target, one after the other.
pub trait Sink: Send {
    /// The next scrape, whose series are in `series`.
    fn take(&mut self, series: &SeriesTable, scraped: &Scraped);

    /// There were too many series: the table begins anew, and numbers of before mean nothing.
    fn forget_series(&mut self);
}

/// Opens and closes sinks as targets come and go.
pub trait Sinks: Send {
    /// A target came; `None` when it cannot be taken, and then it is not scraped.
    fn open(&mut self, target: &ScrapeTarget) -> Option<Box<dyn Sink>>;

    /// A target went; its sink is gone already.
    fn close(&mut self, target: &ScrapeTarget, why: Gone);

    /// The list of a job's targets was brought up to date; `n_targets` are left after relabelling.
    fn discovered(&mut self, job: &Job, n_targets: usize);

    /// A part of a discovery failed; what it found before stays.
    fn discovery_failed(&mut self, job: &Job, error: &DiscoveryError);

    /// A target that was found is not scraped.
    fn refused(&mut self, job: &Job, error: &RefusedTarget);
}

/// Why a target is scraped no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// Discovery does not find it any more.
    Vanished,
    /// Its task panicked, and is not started again.
    Panicked,
}

/// Why a target that was found is not scraped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedTarget {
    /// Its labels do not say how.
    #[error("a target of job `{job}` cannot be scraped: {error}")]
    Labels {
        /// Which job.
        job: String,
        /// Why.
        error: ScrapeTargetError,
    },
    /// Another one has its name.
    #[error(
        "job `{job}` has a second target with the instance `{instance}`, which is not scraped: \
         give it another `instance` by `relabel_configs`"
    )]
    SameName {
        /// Which job.
        job: String,
        /// The name that both have.
        instance: String,
    },
    /// More than [`MAX_TARGETS`].
    #[error("there are more than {MAX_TARGETS} targets: the rest of job `{job}` is not scraped")]
    TooMany {
        /// Which job.
        job: String,
    },
}

/// When targets are scraped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Each at a place of its own in the interval, the same at every start.
    Spread,
    /// All at once, at the place in the interval where the first scrape is due at this instant.
    Together(Timestamp),
}

/// Scrapes the targets of `jobs` until `shutdown` ends. Whatever fails is told to `sinks`, counts
/// for one target or one discovery, and is tried again.
pub async fn scrape_jobs(
    jobs: Vec<Arc<Job>>,
    pace: Pace,
    sinks: impl Sinks,
    shutdown: impl Future<Output = ()> + Send,
) {
    let (to, mut reports) = mpsc::channel(REPORT_QUEUE);
    let mut roster = Roster::new(jobs, pace, sinks);
    let mut discoveries = roster.discover(&to);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = roster.tasks.join_next_with_id() => {
                if let Err(error) = ended {
                    roster.ended(error.id(), error.is_panic());
                }
            }
            // The sender at hand keeps the channel open.
            Some((number, report)) = reports.recv() => roster.take(number, report),
        }
    }
    discoveries.shutdown().await;
    roster.tasks.shutdown().await;
}

/// Who is scraped now.
struct Roster<S> {
    jobs: Vec<Arc<Job>>,
    pace: Pace,
    sinks: S,
    sources: Vec<Source>,
    /// Of each source, until they begin.
    discoveries: Vec<Discovery>,
    running: BTreeMap<String, Running>,
    /// Which target, by identity, has a name.
    names: HashMap<String, String>,
    /// Jobs with targets that wait for a name.
    blocked: BTreeSet<usize>,
    /// For each job the `target_limit` that it is above, or 0.
    over: Vec<Arc<AtomicUsize>>,
    tasks: JoinSet<()>,
    identities: HashMap<Id, String>,
    /// What the series of all targets are called.
    pool: Arc<SeriesPool>,
    n_targets: Arc<AtomicUsize>,
}

/// What one discovery last found.
struct Source {
    job: usize,
    targets: Vec<LabelMap>,
}

struct Running {
    job: usize,
    target: ScrapeTarget,
    task: AbortHandle,
}

impl<S: Sinks> Roster<S> {
    fn new(jobs: Vec<Arc<Job>>, pace: Pace, sinks: S) -> Self {
        let of_job = |(job, config): (usize, &Arc<Job>)| {
            let discoveries = config.config().discoveries.clone();
            discoveries.into_iter().map(move |found| (Source { job, targets: Vec::new() }, found))
        };
        let (sources, discoveries) = jobs.iter().enumerate().flat_map(of_job).unzip();
        Self {
            sources,
            discoveries,
            over: jobs.iter().map(|_| Arc::default()).collect(),
            jobs,
            pace,
            sinks,
            running: BTreeMap::new(),
            names: HashMap::new(),
            blocked: BTreeSet::new(),
            tasks: JoinSet::new(),
            identities: HashMap::new(),
            pool: Arc::default(),
            n_targets: Arc::default(),
        }
    }

    fn discover(&mut self, to: &mpsc::Sender<(usize, Report)>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        // Not kept here too: a list that stands in the configuration is as long as there are targets.
        let discoveries = std::mem::take(&mut self.discoveries);
        for (number, discovery) in discoveries.into_iter().enumerate() {
            let reporter = Reporter { number, to: to.clone() };
            tasks.spawn(async move { discovery.follow(reporter).await });
        }
        tasks
    }

    fn take(&mut self, number: usize, report: Report) {
        let Some(source) = self.sources.get_mut(number) else { return };
        let job = source.job;
        let targets = report.targets;
        let is_new = targets.is_some();
        source.targets = targets.unwrap_or_else(|| std::mem::take(&mut source.targets));
        for error in &report.errors {
            self.sinks.discovery_failed(&self.jobs[job], error);
        }
        if !is_new || !self.update(job) {
            return;
        }
        for blocked in std::mem::take(&mut self.blocked) {
            self.update(blocked);
        }
    }

    /// Stops and starts what has to be; whether a name became free.
    fn update(&mut self, job: usize) -> bool {
        let wanted = self.wanted(job);
        self.sinks.discovered(&self.jobs[job], wanted.len());
        let limit = self.jobs[job].config().limits.targets;
        let over = if limit > 0 && wanted.len() > limit { limit } else { 0 };
        self.over[job].store(over, Ordering::Relaxed);
        let is_gone = |(identity, running): &(&String, &Running)| {
            running.job == job && !wanted.contains_key(*identity)
        };
        let gone: Vec<String> =
            self.running.iter().filter(is_gone).map(|(identity, _)| identity.clone()).collect();
        for identity in &gone {
            self.stop(identity);
        }
        for (identity, target) in wanted {
            if !self.running.contains_key(&identity) {
                self.start(job, identity, target);
            }
        }
        !gone.is_empty()
    }

    /// All targets of a job by identity, of the same ones one.
    fn wanted(&mut self, job: usize) -> BTreeMap<String, ScrapeTarget> {
        let mut wanted = BTreeMap::new();
        let name = &self.jobs[job].config().name;
        for labels in self.sources.iter().filter(|s| s.job == job).flat_map(|s| &s.targets) {
            match ScrapeTarget::from_labels(&self.jobs[job], labels) {
                Ok(None) => {}
                Ok(Some(target)) => {
                    wanted.insert(target.identity(), target);
                }
                Err(error) => {
                    let refused = RefusedTarget::Labels { job: name.clone(), error };
                    self.sinks.refused(&self.jobs[job], &refused);
                }
            }
        }
        wanted
    }

    fn start(&mut self, job: usize, identity: String, target: ScrapeTarget) {
        let name = || self.jobs[job].config().name.clone();
        let instance = target.instance.clone();
        let refused = if self.names.contains_key(&instance) {
            self.blocked.insert(job);
            Some(RefusedTarget::SameName { job: name(), instance: instance.clone() })
        } else if self.running.len() >= MAX_TARGETS {
            Some(RefusedTarget::TooMany { job: name() })
        } else {
            None
        };
        if let Some(refused) = refused {
            return self.sinks.refused(&self.jobs[job], &refused);
        }
        let Some(sink) = self.sinks.open(&target) else { return };
        let (over, pool) = (Arc::clone(&self.over[job]), Arc::clone(&self.pool));
        let n_targets = Arc::clone(&self.n_targets);
        let round = Round { target: target.clone(), sink, over, pool, n_targets };
        let task = self.tasks.spawn(round.run(self.pace));
        self.identities.insert(task.id(), identity.clone());
        self.names.insert(instance, identity.clone());
        self.running.insert(identity, Running { job, target, task });
        self.n_targets.store(self.running.len(), Ordering::Relaxed);
    }

    fn stop(&mut self, identity: &str) {
        if let Some(running) = self.running.remove(identity) {
            running.task.abort();
            self.names.remove(&running.target.instance);
            self.n_targets.store(self.running.len(), Ordering::Relaxed);
            self.sinks.close(&running.target, Gone::Vanished);
        }
    }

    /// A task ended: stopped by us, or by a panic. Then its target stays in the roster, so that it
    /// is not started, and fails, over and over.
    fn ended(&mut self, task: Id, is_panic: bool) {
        let identity = self.identities.remove(&task);
        let running = identity.and_then(|identity| self.running.get(&identity));
        if let Some(running) = running.filter(|_| is_panic) {
            self.sinks.close(&running.target, Gone::Panicked);
        }
    }
}

/// The scraping of one target.
struct Round {
    target: ScrapeTarget,
    sink: Box<dyn Sink>,
    over: Arc<AtomicUsize>,
    pool: Arc<SeriesPool>,
    n_targets: Arc<AtomicUsize>,
}

impl Round {
    async fn run(mut self, pace: Pace) {
        let interval = self.target.interval;
        let offset = match pace {
            Pace::Spread => target_offset(&self.target.identity(), interval),
            Pace::Together(first) => phase(first, interval),
        };
        let mut scraper = Scraper::new(self.target.clone());
        let mut series = SeriesTable::sharing(&self.pool);
        let mut due = match pace {
            Pace::Together(first) if first >= wall_clock() => first,
            _ => next_scrape(wall_clock(), interval, offset),
        };
        loop {
            sleep_until(due).await;
            let now = wall_clock();
            scraper.set_lean(self.n_targets.load(Ordering::Relaxed) > LEAN_ABOVE);
            let scraped = match self.over.load(Ordering::Relaxed) {
                // In a box: what it needs while it waits for an answer is not kept until the next one.
                0 => Box::pin(scraper.scrape(aligned(now, due, interval), &mut series)).await,
                limit => scraper.refuse(aligned(now, due, interval), limit),
            };
            self.sink.take(&series, &scraped);
            drop(scraped);
            if series.len() > MAX_SERIES {
                series = SeriesTable::sharing(&self.pool);
                self.sink.forget_series();
            }
            due = next_scrape(not_twice(wall_clock(), due, interval), interval, offset);
        }
    }
}

/// Sleeps in pieces, so that a clock that is set is noticed in time.
async fn sleep_until(due: Timestamp) {
    const PIECE_MILLIS: i64 = 60_000;
    loop {
        let left = due.millis() - wall_clock().millis();
        if left <= 0 {
            return;
        }
        sleep(Duration::from_millis(left.min(PIECE_MILLIS) as u64)).await;
        if left <= PIECE_MILLIS {
            return;
        }
    }
}

/// The time that was due when it is almost that, by Prometheus's tolerance: evenly spaced times
/// take less room on disk.
fn aligned(now: Timestamp, due: Timestamp, interval: Duration) -> Timestamp {
    let tolerance = (interval.as_millis() / 100).min(2) as i64;
    if (now.millis() - due.millis()).abs() <= tolerance { due } else { now }
}

/// Where in the interval `time` lies.
fn phase(time: Timestamp, interval: Duration) -> Duration {
    let interval = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
    Duration::from_millis(time.millis().rem_euclid(interval) as u64)
}

/// The instant to look for the next scrape from: `now`, but when the timer woke us a little early
/// the one that we just served, which would else be served twice.
fn not_twice(now: Timestamp, served: Timestamp, interval: Duration) -> Timestamp {
    let early = served.millis().saturating_sub(now.millis());
    let is_jitter = early > 0 && (early as u128) < interval.as_millis() / 2;
    if is_jitter { served } else { now }
}

/// The system's time; before 1970 it is 1970.
pub fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn an_early_timer_does_not_scrape_twice() {
        let interval = Duration::from_secs(15);
        let next = |now, served| {
            next_scrape(not_twice(at(now), at(served), interval), interval, Duration::ZERO).millis()
        };
        assert_eq!(next(14_999, 15_000), 30_000);
        assert_eq!(next(15_001, 15_000), 30_000);
        // The clock was set back by a minute: the grid goes on from the new time.
        assert_eq!(next(15_001, 75_000), 30_000);
    }

    #[test]
    fn small_delays_do_not_show() {
        let aligned = |now, interval| aligned(at(now), at(1000), Duration::from_millis(interval));
        assert_eq!(aligned(1002, 15_000), at(1000));
        assert_eq!(aligned(1003, 15_000), at(1003));
        assert_eq!(aligned(1002, 100), at(1002));
    }
}
