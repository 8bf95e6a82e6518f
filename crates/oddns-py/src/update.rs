//! Going on learning, as the command does.

use oddns::core::Timestamp;
use oddns::{Detector, Feedback, FeedbackVerdict, Updated};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{Kind, raise};

/// First and last millisecond, the server where it is of one alone, and the verdict.
pub(crate) type Said = (i64, i64, Option<String>, String);

/// What is said now, and what was said before of other times.
pub(crate) fn with_earlier(detector: &Detector, said: Vec<Said>) -> PyResult<Vec<Feedback>> {
    let new = said.into_iter().map(feedback).collect::<PyResult<Vec<_>>>()?;
    // Whoever speaks of the same time again has changed their mind.
    let is_other =
        |one: &Feedback| !new.iter().any(|new| new.start <= one.end && one.start <= new.end);
    let earlier: Vec<Feedback> = detector.feedback().into_iter().filter(is_other).collect();
    Ok([earlier, new].concat())
}

fn feedback((start, end, instance, verdict): Said) -> PyResult<Feedback> {
    let verdict: Result<FeedbackVerdict, _> = verdict.parse();
    let verdict = verdict.map_err(|error| raise(Kind::Data, error.to_string()))?;
    let [start, end] = [start, end].map(Timestamp::from_millis);
    Ok(Feedback { start, end, instance, verdict })
}

/// What an update was made of, by name.
pub(crate) fn told<'py>(py: Python<'py>, updated: &Updated) -> PyResult<Bound<'py, PyDict>> {
    let told = PyDict::new(py);
    told.set_item("rows", updated.n_rows_seen)?;
    told.set_item("learned", updated.n_rows_learned)?;
    told.set_item("alarmed", updated.n_rows_alarmed)?;
    told.set_item("incident", updated.n_rows_incident)?;
    told.set_item("trending", updated.n_rows_trending)?;
    told.set_item("kept", updated.n_rows_kept)?;
    told.set_item("patterns", updated.n_precedents)?;
    let new_normals: Vec<String> = updated
        .new_normals
        .iter()
        .map(|normal| format!("`{}` since {}", normal.instance, normal.since))
        .collect();
    told.set_item("new_normals", new_normals)?;
    let unused: Vec<String> = updated.unused.iter().map(Feedback::to_string).collect();
    told.set_item("unused", unused)?;
    Ok(told)
}
