//! Rows that are judged piece by piece, so that their number does not count.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use numpy::{IntoPyArray, PyArray1};
use oddns::core::{Frame, Schema, Score};
use oddns::{DetectorError, Follower};
use oddns_store::{DataKind, FrameReader, StoreError, sniff};
use pyo3::prelude::*;

use crate::error::{of_detector, of_store};
use crate::frame::PyFrame;

/// Judges the rows of one server or table as they come; what `Model.score` says of all of them.
#[pyclass(frozen, name = "Follower", module = "oddns._oddns")]
#[derive(Debug)]
pub(crate) struct PyFollower {
    follower: Mutex<Follower>,
}

/// Scores and alarms, one a row.
type Judged<'py> = (Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<bool>>);

impl PyFollower {
    pub(crate) fn new(follower: Follower) -> Self {
        Self { follower: Mutex::new(follower) }
    }
}

#[pymethods]
impl PyFollower {
    /// Scores and alarms of the next rows. Refuses other columns than were learned.
    fn push<'py>(&self, py: Python<'py>, frame: &PyFrame) -> PyResult<Judged<'py>> {
        let judged = py.detach(|| judge(&mut locked(&self.follower), &frame.frame));
        let judged = judged.map_err(of_detector)?;
        let scores: Vec<f64> = judged.iter().map(|score| f64::from(score.score)).collect();
        let alarms: Vec<bool> = judged.iter().map(|score| score.alarm).collect();
        Ok((scores.into_pyarray(py), alarms.into_pyarray(py)))
    }
}

fn judge(follower: &mut Follower, frame: &Frame) -> Result<Vec<Score>, DetectorError> {
    follower.detector().check_schema(&Schema::new(frame.columns().to_vec()))?;
    frame.rows().map(|(time, row)| Ok(follower.push(time, row)?.score)).collect()
}

/// The rows of a table in a file, piece by piece.
#[pyclass(frozen, name = "Pieces", module = "oddns._oddns")]
pub(crate) struct PyPieces {
    reader: Mutex<FrameReader>,
}

#[pymethods]
impl PyPieces {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<PyFrame>> {
        let piece = py.detach(|| locked(&self.reader).next_piece()).map_err(of_store)?;
        let named =
            |frame: Frame| PyFrame { instance: String::new(), frame: frame.into(), timed: true };
        Ok(piece.map(|piece| named(piece.frame)))
    }
}

/// The pieces of a table of features; `None` for any other kind of data.
#[pyfunction]
pub(crate) fn pieces(py: Python<'_>, path: PathBuf) -> PyResult<Option<PyPieces>> {
    let open = || -> Result<Option<FrameReader>, StoreError> {
        match sniff(&path)? {
            DataKind::FrameCsv | DataKind::FrameParquet => FrameReader::open(&path).map(Some),
            _ => Ok(None),
        }
    };
    let reader = py.detach(open).map_err(of_store)?;
    Ok(reader.map(|reader| PyPieces { reader: Mutex::new(reader) }))
}

/// What a panic may have left is sound: rows are judged, and pieces read, one by one.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
