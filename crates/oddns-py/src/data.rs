//! Data of any accepted kind from files, as the command reads it.

use std::path::{Path, PathBuf};

use oddns::extract_fleet;
use oddns_collect::{ReplayOptions, replay_file};
use oddns_core::{Recording, Timestamp};
use oddns_store::{DataKind, Dataset, HistoryFilter, read_frame, read_history, sniff};
use pyo3::prelude::*;

use crate::error::{Kind, of_replay, of_store, raise};
use crate::frame::PyFrame;
use crate::worker;

/// Which part to take, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Part {
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
    pub(crate) instance: Option<String>,
}

/// The servers of a data set folder, a Parquet or CSV file, or saved scrapes: one frame each, none
/// without rows. With `normal`, and without a time, only what the data set calls normal.
#[pyfunction]
#[pyo3(signature = (path, since=None, until=None, instance=None, normal=false))]
pub(crate) fn read(
    py: Python<'_>,
    path: PathBuf,
    since: Option<i64>,
    until: Option<i64>,
    instance: Option<String>,
    normal: bool,
) -> PyResult<Vec<PyFrame>> {
    let time = |millis: Option<i64>| millis.map(Timestamp::from_millis);
    let part = Part { since: time(since), until: time(until), instance };
    worker::run(py, None, move |_| frames(&path, part, normal))?
}

/// What [`read`] gives.
pub(crate) fn frames(path: &Path, mut part: Part, normal: bool) -> PyResult<Vec<PyFrame>> {
    if normal && part.since.is_none() && part.until.is_none() && path.is_dir() {
        let dataset = Dataset::read(path).map_err(of_store)?.unwrap_or_default();
        (part.since, part.until) = (dataset.normal_from, dataset.normal_until);
    }
    let mut frames = match sniff(path).map_err(of_store)? {
        DataKind::FrameCsv | DataKind::FrameParquet => {
            let (frame, _) = read_frame(path).map_err(of_store)?;
            let frame = frame.between(part.since, part.until).into();
            vec![PyFrame { instance: String::new(), frame }]
        }
        DataKind::HistoryFolder | DataKind::HistoryParquet => {
            // Of all instances: each is compared with the others, whichever was asked for.
            let filter = HistoryFilter { since: part.since, until: part.until, instance: None };
            features(path, read_history(path, &filter).map_err(of_store)?.recordings)?
        }
        DataKind::Exposition | DataKind::PrometheusJson => {
            let recordings = replay_file(path, &ReplayOptions::default()).map_err(of_replay)?;
            features(path, cut(recordings, &part))?
        }
    };
    frames.retain(|frame| !frame.frame.is_empty());
    if let Some(wanted) = &part.instance {
        frames.retain(|frame| frame.instance == *wanted);
    }
    if frames.is_empty() {
        let path = path.display();
        let message = format!(
            "`{path}` has fewer than two scrapes of any server in that time: record longer, or \
             check time and instance against the data"
        );
        return Err(raise(Kind::Data, message));
    }
    Ok(frames)
}

fn features(path: &Path, mut recordings: Vec<Recording>) -> PyResult<Vec<PyFrame>> {
    let n_recordings = recordings.len();
    recordings.retain(|recording| recording.series.has_coredns());
    if recordings.is_empty() && n_recordings > 0 {
        let message = format!(
            "`{}` has no metric that begins with `coredns_`: give the recording of a CoreDNS \
             server's /metrics, or a table of features",
            path.display()
        );
        return Err(raise(Kind::Data, message));
    }
    let frames = extract_fleet(&recordings);
    let named = recordings.into_iter().map(|recording| recording.instance).zip(frames);
    Ok(named.map(|(instance, frame)| PyFrame { instance, frame: frame.into() }).collect())
}

fn cut(mut recordings: Vec<Recording>, part: &Part) -> Vec<Recording> {
    let within = |time: Timestamp| {
        part.since.is_none_or(|since| time >= since) && part.until.is_none_or(|until| time < until)
    };
    for recording in &mut recordings {
        recording.scrapes.retain(|scrape| within(scrape.time));
    }
    recordings
}
