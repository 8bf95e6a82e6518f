//! How far a fetch of history has come, so that an interrupted one goes on where it stopped.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use oddns_collect::{HistoryQuery, PrometheusUrl, SeriesChoice, format_duration};
use oddns_core::Timestamp;
use oddns_store::write_atomically;
use serde_json::{Value, json};

use crate::args::Collect;
use crate::exit::BadUse;

/// Name of the file in the data set; it is gone when all is fetched.
const FILE: &str = "unfinished.json";

/// A fetch under way.
#[derive(Debug)]
pub(super) struct Unfinished {
    root: PathBuf,
    /// What is asked for, in words.
    question: String,
    since: Timestamp,
    until: Timestamp,
    /// Up to here all is there.
    done: Option<Timestamp>,
}

impl Unfinished {
    /// Begins, or goes on where the fetch into `args.out` stopped. What was written of a part while
    /// the process was killed comes a second time then; readers of a history pass over that.
    ///
    /// Fails when the folder holds an unfinished fetch of something else.
    pub(super) fn begin(
        args: &Collect,
        server: &PrometheusUrl,
        query: &HistoryQuery,
    ) -> anyhow::Result<Self> {
        let root = args.out.clone();
        let question = question(server, query);
        let (since, until) = (query.since, query.until);
        let mut fresh = Self { root, question, since, until, done: None };
        let path = fresh.root.join(FILE);
        if !path.exists() {
            return Ok(fresh);
        }
        let text = fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read `{}`", path.display()))?;
        let known: Value = serde_json::from_str(&text)
            .with_context(|| format!("`{}` is damaged: remove the folder", path.display()))?;
        let same_until = args.until.is_none() || time(&known["until"]) == Some(until);
        if known["question"] != fresh.question
            || time(&known["since"]) != Some(since)
            || !same_until
        {
            let reason = format!(
                "`{}` holds an unfinished fetch of something else ({}): give the same question, or \
                 another folder",
                args.out.display(),
                known["question"].as_str().unwrap_or("?")
            );
            return Err(BadUse(reason).into());
        }
        fresh.until = time(&known["until"]).unwrap_or(until);
        fresh.done = time(&known["done"]);
        Ok(fresh)
    }

    pub(super) fn is_resumed(&self) -> bool {
        self.done.is_some()
    }

    /// What is left to fetch; after a fetch that had all but not been ended, its last millisecond.
    pub(super) fn left(&self) -> (Timestamp, Timestamp) {
        let last = Timestamp::from_millis(self.until.millis() - 1);
        (self.done.map_or(self.since, |done| done.min(last)), self.until)
    }

    /// Notes that all up to `done` is on disk.
    pub(super) fn advance(&mut self, done: Timestamp) -> anyhow::Result<()> {
        self.done = Some(done);
        let text = json!({
            "question": self.question,
            "since": self.since.millis(),
            "until": self.until.millis(),
            "done": done.millis(),
        });
        let path = self.root.join(FILE);
        Ok(write_atomically(&path, format!("{text:#}\n").as_bytes())?)
    }

    /// Notes that nothing is left.
    pub(super) fn end(self) -> anyhow::Result<()> {
        let path = self.root.join(FILE);
        fs::remove_file(&path).with_context(|| format!("cannot remove `{}`", path.display()))
    }
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
