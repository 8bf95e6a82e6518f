//! `oddns collect`.

mod folder;
mod history;
mod progress_note;

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use self::folder::tell_damaged;
use anyhow::Context;
use oddns_collect::{
    Discovery, DiscoveryError, Gone, Job, JobConfig, Pace, RefusedTarget, ScrapeTarget, Scraped,
    Scraper, Sink, Sinks, Throttle, format_duration, scrape_jobs, wall_clock,
};
use oddns_core::{Scrape, SeriesTable, Timestamp};
use oddns_store::{Appended, Dataset, HistoryStore, ScrapeAppender, StoreError, StoreSettings};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::folder::Folder;
use crate::args::{Collect, Output};
use crate::commands::check_config;
use crate::commands::watch::check_distinct;
use crate::exit::{BadInput, BadUse};
use crate::signals::interrupted;
use crate::{output, progress};

/// A server slower than this has failed, whatever the interval.
const MAX_TIMEOUT: Duration = Duration::from_secs(10);

/// What was recorded.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    n_scrapes: usize,
    n_failed: usize,
    /// With `up` and `scrape_duration_seconds`, as every command counts them.
    n_samples: u64,
    /// Scrapes that could not be written.
    n_lost: usize,
}

pub(crate) fn run(args: &Collect) -> anyhow::Result<()> {
    check_use(args)?;
    check_distinct(args.targets.iter())?;
    let was_there = args.out.exists();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start scraping")?;
    let recorded = runtime.block_on(async {
        match &args.prometheus {
            Some(server) => history::fetch(args, server).await,
            None => record(args).await,
        }
    });
    if recorded.is_err() && !was_there && !holds_data(&args.out) {
        // A description without data is no data set.
        let _ = std::fs::remove_dir_all(&args.out);
    }
    let totals = recorded?;
    if args.output.output == Output::Json {
        output::json(&json!({
            "out": args.out.display().to_string(),
            "scrapes": totals.n_scrapes,
            "failed": totals.n_failed,
            "samples": totals.n_samples,
        }));
    } else {
        output::line(format!(
            "recorded {} scrapes ({} failed), {} samples, in `{}`",
            totals.n_scrapes,
            totals.n_failed,
            totals.n_samples,
            args.out.display()
        ));
    }
    Ok(())
}

/// Refuses options that would do nothing.
fn check_use(args: &Collect) -> Result<(), BadUse> {
    let of_history = [
        ("--since", args.since.is_some()),
        ("--until", args.until.is_some()),
        ("--job", !args.jobs.is_empty()),
        ("--query-range", args.selector.is_some()),
        ("--prometheus.bearer-token-file", args.bearer_token_file.is_some()),
        ("--prometheus.username", args.username.is_some()),
    ];
    let given = of_history.iter().find(|(_, is_given)| *is_given);
    if let (None, Some((name, _))) = (&args.prometheus, given) {
        let reason = format!(
            "`{name}` says what history to fetch, and servers are recorded from now on: leave it \
             out, or name a Prometheus that has the history with `--prometheus`"
        );
        return Err(BadUse(reason));
    }
    if let (Some(_), Some(name)) = (&args.prometheus, args.retention.first_given()) {
        let reason = format!(
            "`{name}` goes with a recording, and history is fetched as it is: leave it out, and say \
             what to fetch with `--since`"
        );
        return Err(BadUse(reason));
    }
    if args.out.is_file() {
        let reason = format!(
            "`{}` is a file, and metrics are written into a folder: name a new one with `--out`",
            args.out.display()
        );
        return Err(BadUse(reason));
    }
    Ok(())
}

/// Whether any part of a recording has been written.
fn holds_data(root: &Path) -> bool {
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files = entries(root).flat_map(|day| entries(&day.path()));
    let is_data = |file: &std::fs::DirEntry| match file.path().extension() {
        Some(extension) if extension == "parquet" => true,
        // A segment without records is a header of eight bytes.
        Some(extension) if extension == "log" => file.metadata().is_ok_and(|about| about.len() > 8),
        _ => false,
    };
    files.any(|file| is_data(&file))
}

/// Jobs of the command line or of the configuration file, and how often they scrape.
fn jobs(args: &Collect) -> anyhow::Result<(Vec<Arc<Job>>, Duration)> {
    let configs = match &args.config_file {
        Some(file) => check_config::read(file)?.jobs,
        None => {
            let job = |target| JobConfig {
                interval: args.interval(),
                timeout: MAX_TIMEOUT.min(args.interval()),
                ..JobConfig::of_target("command-line", target)
            };
            args.targets.iter().map(job).collect()
        }
    };
    if configs.iter().all(|job| job.discoveries.is_empty()) {
        return Err(BadInput("there is no target under `scrape_configs`".to_owned()).into());
    }
    let Some(every) = common_interval(&configs)? else {
        return Err(BadInput("there is no job under `scrape_configs`".to_owned()).into());
    };
    Ok((configs.into_iter().map(Job::new).collect(), every))
}

/// The interval of all jobs: one model needs one, and so does what it learns from.
fn common_interval(jobs: &[JobConfig]) -> Result<Option<Duration>, BadInput> {
    let Some(first) = jobs.first() else { return Ok(None) };
    if let Some(other) = jobs.iter().find(|job| job.interval != first.interval) {
        return Err(BadInput(format!(
            "job `{}` scrapes every {} and job `{}` every {}, and a recording has one interval: give \
             both the same, or record each with a configuration and into a folder of its own",
            first.name,
            format_duration(first.interval),
            other.name,
            format_duration(other.interval)
        )));
    }
    Ok(Some(first.interval))
}

async fn record(args: &Collect) -> anyhow::Result<Totals> {
    record_until(args, |dataset| dataset, interrupted()).await
}

/// Records until the time is over, or what is recorded has `ended`. What a new recording says of
/// itself goes through `described` before it begins.
pub(crate) async fn record_until(
    args: &Collect,
    described: impl FnOnce(Dataset) -> Dataset,
    ended: impl Future<Output = ()> + Send,
) -> anyhow::Result<Totals> {
    let (jobs, every) = jobs(args)?;
    let folder = Folder::look(&args.out, every)?;
    let start = wall_clock();
    let first = first_round(&jobs, start).await?;
    let discoveries = jobs.iter().flat_map(|job| &job.config().discoveries);
    let may_find_more = discoveries.clone().any(Discovery::is_dynamic);
    // Nothing is created before something worth recording was seen. Where a recording goes on, a
    // server that does not answer is recorded as that.
    check_first(&first, may_find_more || folder == Folder::Begun)?;
    let dataset = described(dataset(args, every, &first, start));
    let store = folder.open(&args.out, &dataset, settings(args))?;
    let recorder = Recorder::new(store, progress::bar(expected(args, every, &first), "recording"));
    for server in &first {
        let mut appender = ScrapeAppender::new(&server.target.instance);
        recorder.lock().append(&mut appender, &server.target, &server.series, &server.scraped);
    }
    let stop = async {
        tokio::select! {
            () = over(args, start) => {}
            () = ended => {}
        }
    };
    scrape_jobs(jobs, Pace::Together(start), Recording(Arc::clone(&recorder)), stop).await;
    recorder.finish(&args.out)
}

/// How what is recorded is kept.
fn settings(args: &Collect) -> StoreSettings {
    StoreSettings {
        retention_time: args.retention.time,
        retention_bytes: args.retention.bytes,
        ..StoreSettings::default()
    }
}

/// The first scrape of one server.
struct First {
    target: ScrapeTarget,
    series: SeriesTable,
    scraped: Scraped,
}

/// Scrapes every server that is known by name once, all at the same time.
async fn first_round(jobs: &[Arc<Job>], at: Timestamp) -> anyhow::Result<Vec<First>> {
    let (mut targets, mut names) = (Vec::new(), HashSet::new());
    for job in jobs {
        let known = job.static_targets()?.into_iter();
        // Of two with one name the first is scraped, which is told once scraping begins.
        targets.extend(known.filter(|target| names.insert(target.instance.clone())));
    }
    let mut tasks = JoinSet::new();
    for (place, target) in targets.into_iter().enumerate() {
        tasks.spawn(async move {
            let mut series = SeriesTable::default();
            let scraped = Scraper::new(target.clone()).scrape(at, &mut series).await;
            (place, First { target, series, scraped })
        });
    }
    let mut done = Vec::new();
    while let Some(task) = tasks.join_next().await {
        done.push(task.context("a scrape failed in an unforeseen way")?);
    }
    done.sort_by_key(|(place, _)| *place);
    Ok(done.into_iter().map(|(_, first)| first).collect())
}

/// Ends when the time is over.
async fn over(args: &Collect, start: Timestamp) {
    let length = args.length.map(|length| {
        let passed = Duration::from_millis((wall_clock().millis() - start.millis()).max(0) as u64);
        // What is due at the end is not begun.
        length.saturating_sub(passed).saturating_sub(Duration::from_millis(2))
    });
    match length {
        Some(length) => sleep(length).await,
        None => std::future::pending().await,
    }
}

/// Writes what is scraped. One lock is enough: a scrape is appended in less than it takes to fetch.
struct Recorder {
    state: Mutex<State>,
    bar: indicatif::ProgressBar,
}

struct State {
    store: HistoryStore,
    totals: Totals,
    instances: BTreeSet<String>,
    /// Whether it has been told that nothing can be written.
    is_refused: bool,
    throttle: Throttle,
}

impl Recorder {
    fn new(store: HistoryStore, bar: indicatif::ProgressBar) -> Arc<Self> {
        let state = State {
            store,
            totals: Totals::default(),
            instances: BTreeSet::new(),
            is_refused: false,
            throttle: Throttle::default(),
        };
        Arc::new(Self { state: Mutex::new(state), bar })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was scraped before a failure is kept.
    fn finish(self: Arc<Self>, out: &Path) -> anyhow::Result<Totals> {
        self.bar.finish_and_clear();
        let Some(recorder) = Arc::into_inner(self) else {
            anyhow::bail!("a scrape is still under way");
        };
        let state = recorder.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.store.finish()?;
        finish_description(out, state.instances)?;
        let (lost, kept) = (state.totals.n_lost, state.totals.n_scrapes);
        if lost + kept == 0 {
            anyhow::bail!("nothing was recorded: no target was found");
        }
        if lost > 0 {
            anyhow::bail!("{lost} scrapes could not be written and are lost, {kept} are recorded");
        }
        Ok(state.totals)
    }
}

impl State {
    fn append(
        &mut self,
        appender: &mut ScrapeAppender,
        target: &ScrapeTarget,
        series: &SeriesTable,
        scraped: &Scraped,
    ) {
        let scrape = &scraped.scrape;
        if let Some(error) = &scraped.error
            && self.throttle.allows(&target.job.config().name, error.kind(), scrape.time)
        {
            output::warning(format!("{}: {}", target.instance, chain(error)));
        }
        for (reason, n, what) in scraped.left_out.by_reason() {
            if self.throttle.allows(&target.job.config().name, reason, scrape.time) {
                output::warning(format!("{}: {n} samples {what} are left out", target.instance));
            }
        }
        self.instances.insert(target.instance.clone());
        let appended = appender.append(&self.store, series, scrape);
        match &appended {
            Err(_) => self.totals.n_lost += 1,
            Ok(appended) => {
                self.totals.n_scrapes += 1;
                self.totals.n_failed += usize::from(!scrape.up);
                self.totals.n_samples += appended.taken;
            }
        }
        self.tell(appended);
    }

    /// A full disk may have room again later: scraping goes on, and it is told once.
    fn tell(&mut self, appended: Result<Appended, StoreError>) {
        match &appended {
            Err(error) if !self.is_refused => {
                output::warning(format!("{}: scrapes are lost until this is mended", chain(error)));
            }
            Ok(_) if self.is_refused => output::warning("scrapes are recorded again"),
            _ => {}
        }
        self.is_refused = appended.is_err();
    }
}

/// Records one server.
struct Recorded {
    target: ScrapeTarget,
    appender: ScrapeAppender,
    recorder: Arc<Recorder>,
}

impl Sink for Recorded {
    fn take(&mut self, series: &SeriesTable, scraped: &Scraped) {
        self.recorder.lock().append(&mut self.appender, &self.target, series, scraped);
        self.recorder.bar.inc(1);
    }

    fn forget_series(&mut self) {
        self.appender = ScrapeAppender::new(&self.target.instance);
    }
}

/// Records every server that there is.
struct Recording(Arc<Recorder>);

impl Sinks for Recording {
    fn open(&mut self, target: &ScrapeTarget) -> Option<Box<dyn Sink>> {
        let appender = ScrapeAppender::new(&target.instance);
        Some(Box::new(Recorded { target: target.clone(), appender, recorder: Arc::clone(&self.0) }))
    }

    fn close(&mut self, target: &ScrapeTarget, why: Gone) {
        if why == Gone::Panicked {
            output::warning(format!(
                "{}: oddns failed on this target and gave it up",
                target.instance
            ));
        }
    }

    fn discovered(&mut self, _: &Job, _: usize) {}

    fn discovery_failed(&mut self, job: &Job, error: &DiscoveryError) {
        let name = &job.config().name;
        if self.0.lock().throttle.allows(name, error.kind(), wall_clock()) {
            output::warning(format!("job `{name}`: {}", chain(error)));
        }
    }

    fn refused(&mut self, job: &Job, error: &RefusedTarget) {
        if self.0.lock().throttle.allows(&job.config().name, "refused", wall_clock()) {
            output::warning(error.to_string());
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

fn check_first(servers: &[First], may_find_more: bool) -> anyhow::Result<()> {
    let failed = |server: &First| server.scraped.error.is_some();
    if servers.iter().all(failed) && !may_find_more {
        let mut told = Throttle::default();
        for First { target, scraped, .. } in servers {
            if let Some(error) = &scraped.error
                && told.allows(&target.job.config().name, error.kind(), wall_clock())
            {
                output::warning(format!("{}: {}", target.instance, chain(error)));
            }
        }
        anyhow::bail!("no target could be scraped, nothing was recorded");
    }
    for First { target, series, scraped } in servers {
        let scrape: &Scrape = &scraped.scrape;
        if scrape.up && !scrape.has_coredns(series) {
            let reason = format!(
                "{} is no CoreDNS: none of its {} metrics begins with `coredns_`; name the address of \
                 the `prometheus` plugin, such as http://127.0.0.1:9153/metrics",
                target.instance,
                scrape.samples.len()
            );
            return Err(BadInput(reason).into());
        }
    }
    Ok(())
}

fn dataset(args: &Collect, every: Duration, servers: &[First], start: Timestamp) -> Dataset {
    let name =
        args.out.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
    let shown = format_duration(every);
    Dataset {
        name,
        description: Some(format!("recorded by `oddns collect` every {shown}")),
        start: Some(start),
        scrape_interval_seconds: Some(every.as_secs_f64()),
        instances: servers.iter().map(|server| server.target.instance.clone()).collect(),
        ..Dataset::default()
    }
}

/// Of what was recorded before as well.
fn finish_description(root: &Path, mut instances: BTreeSet<String>) -> anyhow::Result<()> {
    if let Some(dataset) = Dataset::read(root)? {
        instances.extend(dataset.instances.iter().cloned());
        let instances = instances.into_iter().collect();
        Dataset { end: Some(wall_clock()), instances, ..dataset }.write(root)?;
    }
    Ok(())
}

/// How many scrapes there will be.
fn expected(args: &Collect, every: Duration, servers: &[First]) -> u64 {
    let length = args.length.map_or(0.0, |length| length.as_secs_f64());
    (length / every.as_secs_f64()).ceil() as u64 * servers.len() as u64
}
