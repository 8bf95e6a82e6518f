//! `oddns collect --prometheus`.

use std::time::Duration;

use oddns_collect::{
    Credentials, HistoryConfig, HistoryPart, HistoryQuery, PrometheusHistory, PrometheusUrl,
    SeriesChoice,
};
use oddns_core::Timestamp;
use oddns_store::{Dataset, HistoryFilter, HistoryStore, StoreSettings};

use super::unfinished::Unfinished;
use super::{Totals, now};
use crate::args::Collect;
use crate::commands::watch::interrupted;
use crate::exit::{BadInput, BadUse};
use crate::progress;

/// The data set being written.
struct Fetched<'a> {
    args: &'a Collect,
    /// Nothing is created before there is something to write.
    store: Option<HistoryStore>,
    dataset: Dataset,
    unfinished: Unfinished,
    totals: Totals,
}

/// Fetches the history that `args` ask for. What was fetched before a failure or an interruption is
/// kept.
pub(super) async fn fetch(args: &Collect, server: &PrometheusUrl) -> anyhow::Result<Totals> {
    let mut query = query(args)?;
    let mut history = PrometheusHistory::new(server.clone(), config(args))?;
    let bar = progress::bar(seconds_between(query.since, query.until), "fetching seconds");
    let mut fetched = Fetched::new(args, Unfinished::begin(args, server, &query)?)?;
    let since = query.since;
    (query.since, query.until) = fetched.unfinished.left();
    bar.set_position(seconds_between(since, query.since));
    let result = tokio::select! {
        result = history.fetch(&query, |part| {
            bar.set_position(seconds_between(since, part.until));
            fetched.take(&part)
        }) => result.map(|()| true),
        () = interrupted() => Ok(false),
    };
    bar.finish_and_clear();
    let totals = fetched.finish(matches!(result, Ok(true)));
    result?;
    totals
}

fn config(args: &Collect) -> HistoryConfig {
    let basic = args.username.clone().zip(args.password_file.clone());
    let basic =
        basic.map(|(username, password_file)| Credentials::Basic { username, password_file });
    HistoryConfig {
        min_gap: Duration::from_secs_f64(1.0 / args.max_requests_per_second),
        credentials: args.bearer_token_file.clone().map(Credentials::BearerFile).or(basic),
        ..HistoryConfig::default()
    }
}

fn query(args: &Collect) -> anyhow::Result<HistoryQuery> {
    let since = args.since.unwrap_or_default();
    let until = args.until.unwrap_or_else(now);
    if since >= until {
        let reason = format!("`--since {since}` is not before `--until {until}`");
        return Err(BadUse(reason).into());
    }
    let series = match &args.selector {
        Some(selector) => SeriesChoice::Selector(selector.clone()),
        None => SeriesChoice::Jobs(args.jobs.clone()),
    };
    Ok(HistoryQuery { series, since, until, step: args.every })
}

impl<'a> Fetched<'a> {
    fn new(args: &'a Collect, unfinished: Unfinished) -> anyhow::Result<Self> {
        if unfinished.is_resumed() {
            let store = Some(HistoryStore::open(&args.out, settings())?);
            let dataset = Dataset::read(&args.out)?.unwrap_or_default();
            return Ok(Self { args, store, dataset, unfinished, totals: Totals::default() });
        }
        let name = args.out.file_name().map(|name| name.to_string_lossy().into_owned());
        let dataset = Dataset {
            name: name.unwrap_or_default(),
            description: Some("fetched from a Prometheus by `oddns collect`".to_owned()),
            scrape_interval_seconds: args.every.map(|every| every.as_secs_f64()),
            ..Dataset::default()
        };
        Ok(Self { args, store: None, dataset, unfinished, totals: Totals::default() })
    }

    fn take(&mut self, part: &HistoryPart) -> anyhow::Result<()> {
        for recording in &part.recordings {
            let store = match &self.store {
                Some(store) => store,
                None => {
                    let store = HistoryStore::create(&self.args.out, &self.dataset, settings())?;
                    self.store.insert(store)
                }
            };
            store.import_recording(recording, &HistoryFilter::default())?;
            for scrape in &recording.scrapes {
                self.totals.n_scrapes += 1;
                self.totals.n_failed += usize::from(!scrape.up);
                self.totals.n_samples += scrape.samples.len();
                self.dataset.start =
                    Some(self.dataset.start.unwrap_or(scrape.time).min(scrape.time));
                self.dataset.end = Some(self.dataset.end.unwrap_or(scrape.time).max(scrape.time));
            }
            if !self.dataset.instances.contains(&recording.instance) {
                self.dataset.instances.push(recording.instance.clone());
            }
        }
        if let Some(store) = &self.store {
            store.sync()?;
            self.unfinished.advance(part.until)?;
        }
        Ok(())
    }

    /// Ends; what is not `whole` can be finished later.
    fn finish(self, whole: bool) -> anyhow::Result<Totals> {
        let Some(store) = self.store else {
            let reason = "Prometheus has no sample in that time: nothing was written";
            return Err(BadInput(reason.to_owned()).into());
        };
        store.finish()?;
        self.dataset.write(&self.args.out)?;
        if whole {
            self.unfinished.end()?;
        }
        Ok(self.totals)
    }
}

/// Whatever the time of what is fetched.
fn settings() -> StoreSettings {
    StoreSettings { max_ahead: None, ..StoreSettings::default() }
}

fn seconds_between(since: Timestamp, until: Timestamp) -> u64 {
    until.seconds_since(since) as u64
}
