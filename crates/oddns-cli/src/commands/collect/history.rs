//! `oddns collect --prometheus`.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::ProgressBar;
use oddns_collect::{
    Auth, HistoryConfig, HistoryError, HistoryPart, HistoryQuery, HttpConfig, PrometheusHistory,
    PrometheusUrl, Secret, SecretSource, SeriesChoice, Waiting, wall_clock,
};
use oddns_core::Timestamp;
use oddns_store::{Dataset, HistoryFilter, HistoryStore, StoreSettings};
use tokio::time::sleep;

use super::Totals;
use super::progress_note::ProgressNote;
use crate::args::Collect;
use crate::exit::{BadInput, BadUse};
use crate::signals::interrupted;
use crate::{output, progress};

/// The data set being written.
struct Fetched<'a> {
    args: &'a Collect,
    /// Nothing is created before there is something to write.
    store: Option<HistoryStore>,
    dataset: Dataset,
    note: ProgressNote,
    totals: Totals,
}

/// Fetches the history that `args` ask for. What was fetched before a failure or an interruption is
/// kept.
pub(super) async fn fetch(args: &Collect, server: &PrometheusUrl) -> anyhow::Result<Totals> {
    let mut query = query(args)?;
    let mut history = PrometheusHistory::new(server.clone(), config(args))?;
    let bar = progress::bar(seconds_between(query.since, query.until), "fetching seconds");
    let note = ProgressNote::begin(args, server, &query)?;
    let since = query.since;
    query.since = note.next();
    if query.since >= query.until {
        output::warning(format!("nothing is missing: all up to {} is there", query.since));
        return Ok(Totals::default());
    }
    let goes_on = note.is_resumed();
    let mut fetched = Fetched::new(args, note)?;
    bar.set_position(seconds_between(since, query.since));
    let waiting = history.waiting();
    let result = tokio::select! {
        result = history.fetch(&query, |part| {
            bar.set_position(seconds_between(since, part.until));
            fetched.take(&part)
        }) => result.map(|()| true),
        () = interrupted() => Ok(false),
        never = tell(&bar, since, &waiting) => match never {},
    };
    let result = match result {
        Err(error) if goes_on && is_nothing(&error) => {
            output::warning(format!("nothing is new since {}", query.since));
            Ok(true)
        }
        other => other,
    };
    bar.finish_and_clear();
    let totals = fetched.finish(matches!(result, Ok(true)));
    result?;
    totals
}

/// Says how far it is, and what keeps it waiting: on the bar, or a line a minute where there is none.
async fn tell(bar: &ProgressBar, since: Timestamp, waiting: &Waiting) -> Infallible {
    loop {
        for _ in 0..60 {
            sleep(Duration::from_secs(1)).await;
            bar.set_message(waiting.reason().unwrap_or_default());
        }
        if bar.is_hidden() {
            let at = Timestamp::from_millis(since.millis() + bar.position() as i64 * 1000);
            let why = waiting.reason().map(|reason| format!("; it waits: {reason}"));
            output::progress(format!("fetched up to {at}{}", why.unwrap_or_default()));
        }
    }
}

/// Whether a question that was answered before has no answer for the time since.
fn is_nothing(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<HistoryError>();
    matches!(error, Some(HistoryError::NothingFound { .. } | HistoryError::Range { .. }))
}

fn config(args: &Collect) -> HistoryConfig {
    let file = |path: &PathBuf| SecretSource::File(path.clone());
    let token = args
        .bearer_token_file
        .as_ref()
        .map(|path| Auth::Token { scheme: "Bearer".to_owned(), credentials: file(path) });
    let basic = args.username.as_ref().map(|name| Auth::Basic {
        username: SecretSource::Inline(Secret::new(name)),
        password: args.password_file.as_ref().map(file),
    });
    HistoryConfig {
        min_gap: Duration::from_secs_f64(1.0 / args.max_requests_per_second),
        http: HttpConfig { auth: token.or(basic), ..HttpConfig::default() },
        ..HistoryConfig::default()
    }
}

fn query(args: &Collect) -> anyhow::Result<HistoryQuery> {
    let since = args.since.unwrap_or_default();
    let until = args.until.unwrap_or_else(wall_clock);
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
    fn new(args: &'a Collect, note: ProgressNote) -> anyhow::Result<Self> {
        if note.is_resumed() {
            let store = Some(HistoryStore::open(&args.out, settings())?);
            let dataset = Dataset::read(&args.out)?.unwrap_or_default();
            return Ok(Self { args, store, dataset, note, totals: Totals::default() });
        }
        let name = args.out.file_name().map(|name| name.to_string_lossy().into_owned());
        let dataset = Dataset {
            name: name.unwrap_or_default(),
            description: Some("fetched from a Prometheus by `oddns collect`".to_owned()),
            scrape_interval_seconds: args.every.map(|every| every.as_secs_f64()),
            ..Dataset::default()
        };
        Ok(Self { args, store: None, dataset, note, totals: Totals::default() })
    }

    fn take(&mut self, part: &HistoryPart) -> anyhow::Result<()> {
        for warning in &part.warnings {
            output::warning(format!("samples may be missing: the server warns `{warning}`"));
        }
        for recording in &part.recordings {
            let store = match &self.store {
                Some(store) => store,
                None => {
                    let store = HistoryStore::create(&self.args.out, &self.dataset, settings())?;
                    self.store.insert(store)
                }
            };
            self.totals.n_samples +=
                store.import_recording(recording, &HistoryFilter::default())?;
            for scrape in &recording.scrapes {
                self.totals.n_scrapes += 1;
                self.totals.n_failed += usize::from(!scrape.up);
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
            self.note.advance(part.until)?;
        }
        Ok(())
    }

    /// Ends; what is not `whole` can be finished later.
    fn finish(self, whole: bool) -> anyhow::Result<Totals> {
        let Some(store) = self.store else {
            if !whole {
                anyhow::bail!(
                    "stopped before Prometheus gave a first sample: nothing was written; a later \
                     `--since` comes to samples sooner"
                );
            }
            let reason = "Prometheus has no sample in that time: nothing was written";
            return Err(BadInput(reason.to_owned()).into());
        };
        store.finish()?;
        self.dataset.write(&self.args.out)?;
        if whole {
            self.note.end(wall_clock())?;
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
