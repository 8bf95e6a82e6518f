//! History from a Prometheus, as the command fetches it.

use std::time::Duration;

use oddns_collect::{
    HistoryConfig, HistoryPart, HistoryQuery, PrometheusHistory, PrometheusUrl, SeriesChoice,
};
use oddns_core::Timestamp;
use oddns_data::Selection;
use oddns_store::{Dataset, HistoryFilter, HistoryStore, StoreSettings};
use pyo3::prelude::*;

use crate::data::frames;
use crate::error::{Kind, of_data, of_store, raise};
use crate::frame::PyFrame;
use crate::worker::{self, Signal};

/// The CoreDNS servers of the jobs that the Prometheus at `url` watches, of all jobs when none is
/// named. Times are milliseconds since the Unix epoch, `step` seconds; without it samples are
/// taken as they were scraped.
#[pyfunction]
#[pyo3(signature = (url, since, until, jobs=Vec::new(), step=None))]
pub(crate) fn fetch(
    py: Python<'_>,
    url: &str,
    since: i64,
    until: i64,
    jobs: Vec<String>,
    step: Option<f64>,
) -> PyResult<Vec<PyFrame>> {
    let server: PrometheusUrl = url.parse().map_err(|error| of_data(&error))?;
    let step =
        step.map(Duration::try_from_secs_f64).transpose().map_err(|error| of_data(&error))?;
    let query = HistoryQuery {
        series: SeriesChoice::Jobs(jobs),
        since: Timestamp::from_millis(since),
        until: Timestamp::from_millis(until),
        step,
    };
    if query.since >= query.until {
        let message = format!("`since` {} is not before `until` {}", query.since, query.until);
        return Err(raise(Kind::Data, message));
    }
    worker::run(py, None, move |signal| fetched(server, &query, signal))?
}

/// By way of a data set, so that a long history takes as little memory as its features do.
fn fetched(server: PrometheusUrl, query: &HistoryQuery, signal: &Signal) -> PyResult<Vec<PyFrame>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("fetched");
    let settings = StoreSettings { max_ahead: None, ..StoreSettings::default() };
    let store = HistoryStore::create(&path, &Dataset::default(), settings).map_err(of_store)?;
    let mut history = PrometheusHistory::new(server, HistoryConfig::default())
        .map_err(|error| of_data(&error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let fetching = history.fetch(query, |part| match signal.stopped() {
        true => Err("interrupted".into()),
        false => keep(&store, &part),
    });
    runtime.block_on(fetching).map_err(|error: Failure| of_data(error.as_ref()))?;
    store.finish().map_err(of_store)?;
    frames(&path, Selection::default(), false)
}

fn keep(store: &HistoryStore, part: &HistoryPart) -> Result<(), Failure> {
    for recording in &part.recordings {
        store.import_recording(recording, &HistoryFilter::default())?;
    }
    Ok(())
}

type Failure = Box<dyn std::error::Error + Send + Sync>;
