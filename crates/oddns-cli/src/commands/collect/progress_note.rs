//! How far a fetch of history has come, so that an interrupted one goes on where it stopped, and a
//! finished one can be extended.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use oddns_collect::{HistoryQuery, PrometheusUrl, SeriesChoice, format_duration};
use oddns_core::Timestamp;
use oddns_store::write_atomically;
use serde_json::{Value, json};

use crate::args::Collect;
use crate::exit::{BadInput, BadUse};

/// The note in the data set while a fetch is under way.
const UNFINISHED: &str = "unfinished.json";
/// The note of one that came to its end.
const FETCHED: &str = "fetched.json";

/// Whether a folder holds what was fetched, all of it or a part.
pub(super) fn is_of(folder: &Path) -> bool {
    [FETCHED, UNFINISHED].iter().any(|note| folder.join(note).exists())
}

/// Samples of a scrape come to a Prometheus up to its timeout later, and with remote write behind
/// more: what was younger than this when it was fetched is fetched again.
const SETTLED_MILLIS: i64 = 120_000;

/// What of a history is in a folder.
#[derive(Debug)]
pub(super) struct ProgressNote {
    root: PathBuf,
    /// What is asked for, in words.
    question: String,
    since: Timestamp,
    /// Up to here all is there.
    done: Option<Timestamp>,
}

impl ProgressNote {
    /// Begins, or goes on where the fetch into `args.out` stopped. What was written of a part while
    /// the process was killed comes a second time then; readers of a history pass over that.
    ///
    /// Fails when the folder holds something else, or history that `query` does not join on to.
    pub(super) fn begin(
        args: &Collect,
        server: &PrometheusUrl,
        query: &HistoryQuery,
    ) -> anyhow::Result<Self> {
        let (root, question) = (args.out.clone(), question(server, query));
        let fresh = Self { root, question, since: query.since, done: None };
        let Some(known) = read(&fresh.root.join(UNFINISHED))?
            .map_or_else(|| read(&fresh.root.join(FETCHED)), |known| Ok(Some(known)))?
        else {
            return Ok(fresh);
        };
        let out = args.out.display();
        if known["question"] != fresh.question {
            let reason = format!(
                "`{out}` holds history of something else ({}): give the same question, or another \
                 folder",
                known["question"].as_str().unwrap_or("?")
            );
            return Err(BadUse(reason).into());
        }
        let (Some(since), Some(done)) = (time(&known["since"]), time(&known["done"])) else {
            let reason = format!("the note of `{out}` lacks `since` or `done`: fetch it anew");
            return Err(BadInput(reason).into());
        };
        if query.since < since || query.since > done {
            let reason = format!(
                "`{out}` holds what is from {since} to {done}, which goes on behind that only: give \
                 a `--since` in between, or another folder"
            );
            return Err(BadUse(reason).into());
        }
        Ok(Self { since, done: Some(done), ..fresh })
    }

    pub(super) fn is_resumed(&self) -> bool {
        self.done.is_some()
    }

    /// Where what is missing begins.
    pub(super) fn next(&self) -> Timestamp {
        self.done.unwrap_or(self.since)
    }

    /// Notes that all up to `done` is on disk.
    pub(super) fn advance(&mut self, done: Timestamp) -> anyhow::Result<()> {
        self.done = Some(done);
        self.write(UNFINISHED)
    }

    /// Notes that nothing is left, at the time `now`.
    pub(super) fn end(mut self, now: Timestamp) -> anyhow::Result<()> {
        let settled = Timestamp::from_millis(now.millis() - SETTLED_MILLIS).max(self.since);
        self.done = self.done.map(|done| done.min(settled));
        self.write(FETCHED)?;
        match fs::remove_file(self.root.join(UNFINISHED)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let path = self.root.join(UNFINISHED);
                Err(error).with_context(|| format!("cannot remove `{}`", path.display()))
            }
            _ => Ok(()),
        }
    }

    fn write(&self, name: &str) -> anyhow::Result<()> {
        let text = json!({
            "question": self.question,
            "since": self.since.millis(),
            "done": self.next().millis(),
        });
        Ok(write_atomically(&self.root.join(name), format!("{text:#}\n").as_bytes())?)
    }
}

/// The note in `path`; `None` when it is not there.
fn read(path: &Path) -> anyhow::Result<Option<Value>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read `{}`", path.display()))?;
    let damaged =
        |error| BadInput(format!("`{}` is damaged: remove the folder ({error})", path.display()));
    Ok(Some(serde_json::from_str(&text).map_err(damaged)?))
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_i64().map(Timestamp::from_millis)
}

fn question(server: &PrometheusUrl, query: &HistoryQuery) -> String {
    let series = match &query.series {
        SeriesChoice::Jobs(jobs) if jobs.is_empty() => "CoreDNS of every job".to_owned(),
        SeriesChoice::Jobs(jobs) => format!("CoreDNS of {}", jobs.join(", ")),
        SeriesChoice::Selector(selector) => selector.clone(),
    };
    let step = query
        .step
        .map_or("as scraped".to_owned(), |step| format!("every {}", format_duration(step)));
    format!("{series}, {step}, from {server}")
}
