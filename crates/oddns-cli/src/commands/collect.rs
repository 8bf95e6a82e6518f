//! `oddns collect`.

mod history;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use oddns_collect::{ScrapeConfig, ScrapeError, Scraper, Target, format_duration, next_scrape};
use oddns_core::{Scrape, SeriesTable, Timestamp};
use oddns_store::{Dataset, HistoryStore, ScrapeAppender, StoreError, StoreSettings};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::args::{Collect, Output};
use crate::commands::watch::{check_distinct, interrupted};
use crate::exit::BadInput;
use crate::{output, progress};

/// A server slower than this has failed, whatever the interval.
const MAX_TIMEOUT: Duration = Duration::from_secs(10);

/// One server that is recorded.
struct Recorded {
    instance: String,
    scraper: Scraper,
    series: SeriesTable,
    appender: ScrapeAppender,
    /// The last error told, so that it is told once.
    told: Option<&'static str>,
}

/// Where scrapes go.
struct Recording {
    store: HistoryStore,
    totals: Totals,
    /// Whether it has been told that nothing can be written.
    is_refused: bool,
}

/// What was recorded.
#[derive(Debug, Default)]
struct Totals {
    n_scrapes: usize,
    n_failed: usize,
    n_samples: usize,
}

pub(crate) fn run(args: &Collect) -> anyhow::Result<()> {
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

async fn record(args: &Collect) -> anyhow::Result<Totals> {
    let mut servers =
        args.targets.iter().map(|t| server(t, args.interval())).collect::<Result<Vec<_>, _>>()?;
    let start = now();
    let first = round(&mut servers, start).await?;
    // Nothing is created before something worth recording was seen.
    check_first(&servers, &first)?;
    let store = open(args, &dataset(args, &servers, start))?;
    let mut recording = Recording { store, totals: Totals::default(), is_refused: false };
    recording.append(&mut servers, &first)?;
    let bar = progress::bar(expected(args), "recording");
    bar.inc(1);
    let recorded = go_on(args, &mut servers, &mut recording, &bar, start).await;
    bar.finish_and_clear();
    // What was scraped before a failure is kept.
    let finished = recording.store.finish();
    recorded?;
    finished?;
    finish_description(&args.out)?;
    Ok(recording.totals)
}

/// Begins a data set, or goes on with one whose recording was interrupted.
fn open(args: &Collect, dataset: &Dataset) -> Result<HistoryStore, StoreError> {
    let settings = StoreSettings {
        retention_time: args.retention.time,
        retention_bytes: args.retention.bytes,
        ..StoreSettings::default()
    };
    if !HistoryStore::has_log(&args.out) {
        return HistoryStore::create(&args.out, dataset, settings);
    }
    let store = HistoryStore::open(&args.out, settings)?;
    let recovery = store.recovery();
    warn(format!(
        "going on with the interrupted recording `{}`: {} samples found in its log{}",
        args.out.display(),
        recovery.samples,
        if recovery.was_closed {
            ""
        } else {
            ", at most the last second before the end is missing"
        }
    ));
    for damage in recovery.damage.iter().filter(|damage| !damage.is_torn_end) {
        let (path, n, offset) = (damage.path.display(), damage.length, damage.offset);
        warn(format!("`{path}`: {n} bytes from byte {offset} on are damaged and left out"));
    }
    Ok(store)
}

fn server(target: &Target, every: Duration) -> anyhow::Result<Recorded> {
    let config = ScrapeConfig { timeout: MAX_TIMEOUT.min(every), ..ScrapeConfig::default() };
    Ok(Recorded {
        instance: target.instance(),
        scraper: Scraper::new(target.clone(), config)?,
        series: SeriesTable::default(),
        appender: ScrapeAppender::new(&target.instance()),
        told: None,
    })
}

/// Scrapes until the time is over or somebody interrupts.
async fn go_on(
    args: &Collect,
    servers: &mut Vec<Recorded>,
    recording: &mut Recording,
    bar: &indicatif::ProgressBar,
    start: Timestamp,
) -> anyhow::Result<()> {
    let interrupted = interrupted();
    tokio::pin!(interrupted);
    let end = args.length.map(|length| start.millis().saturating_add(length.as_millis() as i64));
    let offset =
        Duration::from_millis(start.millis() as u64 % args.interval().as_millis().max(1) as u64);
    loop {
        let due = next_scrape(now(), args.interval(), offset);
        if end.is_some_and(|end| due.millis() >= end) {
            return Ok(());
        }
        let wait = Duration::from_millis((due.millis() - now().millis()).max(0) as u64);
        tokio::select! {
            () = sleep_until(Instant::now() + wait) => {}
            () = &mut interrupted => return Ok(()),
        }
        let scrapes = round(servers, now()).await?;
        recording.append_or_tell(servers, &scrapes);
        bar.inc(1);
    }
}

/// Scrapes every server once, all at the same time.
async fn round(servers: &mut Vec<Recorded>, at: Timestamp) -> anyhow::Result<Vec<Scrape>> {
    let mut tasks = JoinSet::new();
    for (place, mut server) in servers.drain(..).enumerate() {
        tasks.spawn(async move {
            let scrape = server.scrape(at).await;
            (place, server, scrape)
        });
    }
    let mut done = Vec::new();
    while let Some(task) = tasks.join_next().await {
        done.push(task.context("a scrape failed in an unforeseen way")?);
    }
    done.sort_by_key(|(place, ..)| *place);
    let (back, scrapes) = done.into_iter().map(|(_, server, scrape)| (server, scrape)).unzip();
    *servers = back;
    Ok(scrapes)
}

impl Recorded {
    async fn scrape(&mut self, at: Timestamp) -> Scrape {
        let scraped = self.scraper.scrape(at, &mut self.series).await;
        let kind = scraped.error.as_ref().map(ScrapeError::kind);
        if let Some(error) = &scraped.error
            && self.told != kind
        {
            warn(format!("{}: {}", self.instance, chain(error)));
        }
        self.told = kind;
        scraped.scrape
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

#[expect(clippy::print_stderr, reason = "told while recording goes on")]
fn warn(text: String) {
    eprintln!("warning: {text}");
}

fn check_first(servers: &[Recorded], scrapes: &[Scrape]) -> anyhow::Result<()> {
    if scrapes.iter().all(|scrape| !scrape.up) {
        anyhow::bail!("no target could be scraped, nothing was recorded");
    }
    for (server, scrape) in servers.iter().zip(scrapes) {
        if scrape.up && !scrape.has_coredns(&server.series) {
            let reason = format!(
                "{} is no CoreDNS: none of its {} metrics begins with `coredns_`; name the address of \
                 the `prometheus` plugin, such as http://127.0.0.1:9153/metrics",
                server.instance,
                scrape.samples.len()
            );
            return Err(BadInput(reason).into());
        }
    }
    Ok(())
}

impl Recording {
    fn append(&mut self, servers: &mut [Recorded], scrapes: &[Scrape]) -> Result<(), StoreError> {
        for (server, scrape) in servers.iter_mut().zip(scrapes) {
            server.appender.append(&self.store, &server.series, scrape)?;
            self.totals.n_scrapes += 1;
            self.totals.n_failed += usize::from(!scrape.up);
            self.totals.n_samples += scrape.samples.len();
        }
        Ok(())
    }

    /// A full disk may have room again later: scraping goes on, and it is told once.
    fn append_or_tell(&mut self, servers: &mut [Recorded], scrapes: &[Scrape]) {
        let appended = self.append(servers, scrapes);
        match &appended {
            Err(error) if !self.is_refused => {
                warn(format!("{}: scrapes are lost until this is mended", chain(error)));
            }
            Ok(()) if self.is_refused => warn("scrapes are recorded again".to_owned()),
            _ => {}
        }
        self.is_refused = appended.is_err();
    }
}

fn dataset(args: &Collect, servers: &[Recorded], start: Timestamp) -> Dataset {
    let name =
        args.out.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
    let every = format_duration(args.interval());
    Dataset {
        name,
        description: Some(format!("recorded by `oddns collect` every {every}")),
        start: Some(start),
        scrape_interval_seconds: Some(args.interval().as_secs_f64()),
        instances: servers.iter().map(|server| server.instance.clone()).collect(),
        ..Dataset::default()
    }
}

fn finish_description(root: &Path) -> anyhow::Result<()> {
    if let Some(dataset) = Dataset::read(root)? {
        Dataset { end: Some(now()), ..dataset }.write(root)?;
    }
    Ok(())
}

fn expected(args: &Collect) -> u64 {
    let length = args.length.map_or(0.0, |length| length.as_secs_f64());
    (length / args.interval().as_secs_f64()).ceil() as u64
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(since.as_millis() as i64)
}
