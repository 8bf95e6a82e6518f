//! Data of any kind from files, as the command reads it.

use std::path::{Path, PathBuf};

use oddns_core::Timestamp;
use oddns_data::{DataError, Selection};
use pyo3::prelude::*;

use crate::error::{of_data, of_replay, of_store};
use crate::frame::PyFrame;
use crate::worker;

/// The servers of a data set folder, a Parquet or CSV file, or saved scrapes: one frame each, none
/// without rows. To `learn` of them, and without a time, only what the data set calls normal is
/// read, and of very much of it stretches over the whole time.
#[pyfunction]
#[pyo3(signature = (path, since=None, until=None, instance=None, learn=false))]
pub(crate) fn read(
    py: Python<'_>,
    path: PathBuf,
    since: Option<i64>,
    until: Option<i64>,
    instance: Option<String>,
    learn: bool,
) -> PyResult<Vec<PyFrame>> {
    let time = |millis: Option<i64>| millis.map(Timestamp::from_millis);
    let selection = Selection { since: time(since), until: time(until), instance };
    worker::run(py, None, move |_| frames(&path, selection, learn))?
}

/// What [`read`] gives.
pub(crate) fn frames(path: &Path, asked: Selection, learn: bool) -> PyResult<Vec<PyFrame>> {
    let data = if learn {
        let normal = asked.normal_part_of(path).map_err(told)?;
        oddns_data::read_to_learn(path, &normal)
    } else {
        oddns_data::read(path, &asked)
    };
    let data = data.map_err(told)?;
    let rows = data.instances.into_iter().filter(|instance| !instance.frame.is_empty());
    Ok(rows
        .map(|one| PyFrame { instance: one.name, frame: one.frame.into(), timed: true })
        .collect())
}

fn told(error: DataError) -> PyErr {
    match error {
        DataError::Store(error) => of_store(error),
        DataError::Replay(error) => of_replay(error),
        error => of_data(&error),
    }
}
