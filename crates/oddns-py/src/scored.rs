//! What a detector says of a history.

use std::sync::Arc;

use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayMethods};
use oddns::core::{Cause, Contribution, Frame, Incident};
use oddns::{Detector, Scored, diagnose};
use oddns_store::incident_json;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use serde_json::{Value, json};

/// Scores of a frame, and what they are made of.
#[pyclass(frozen, name = "Scored", module = "oddns._oddns")]
#[derive(Debug)]
pub(crate) struct PyScored {
    pub(crate) detector: Arc<Detector>,
    pub(crate) frame: Arc<Frame>,
    pub(crate) scored: Scored,
}

#[pymethods]
impl PyScored {
    /// One a row; 1 is the alarm line.
    fn scores<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        let scores: Vec<f64> = self.scored.scores.iter().map(|s| f64::from(s.score)).collect();
        scores.into_pyarray(py)
    }

    /// Whether the alarm holds, one a row.
    fn alarms<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<bool>> {
        let alarms: Vec<bool> = self.scored.scores.iter().map(|score| score.alarm).collect();
        alarms.into_pyarray(py)
    }

    /// What was to be expected of each feature in each row, in its unit.
    fn expected<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let shape = [self.frame.len(), self.frame.width()];
        self.scored.expected.clone().into_pyarray(py).reshape(shape)
    }

    /// Signed deviation of each feature in each row, in standard deviations.
    fn deviation<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let shape = [self.frame.len(), self.frame.width()];
        self.scored.deviation.clone().into_pyarray(py).reshape(shape)
    }

    /// Incidents as JSON text.
    fn incidents(&self) -> String {
        Value::from_iter(self.scored.incidents.iter().map(incident_json)).to_string()
    }

    /// What is said of one row, as JSON text.
    fn explain(&self, row: usize) -> PyResult<String> {
        let score = self.scored.scores.get(row).ok_or_else(|| {
            let n = self.scored.scores.len();
            PyIndexError::new_err(format!("there is no row {row}: the data has {n}"))
        })?;
        let incident = self.scored.incidents.iter().find(|incident| {
            incident.start <= score.time && incident.end.is_none_or(|end| score.time <= end)
        });
        let features: Vec<Value> =
            score.contributions.iter().map(|contribution| self.feature(contribution)).collect();
        let explained = json!({
            "row": row,
            "timestamp": score.time.to_string(),
            "score": score.score,
            "alarm": score.alarm,
            "warming_up": row < self.detector.warm_up_rows(),
            "features": features,
            "causes": self.causes(row, incident).iter().map(cause).collect::<Vec<_>>(),
        });
        Ok(explained.to_string())
    }
}

impl PyScored {
    fn feature(&self, contribution: &Contribution) -> Value {
        let column = &self.detector.columns()[contribution.feature];
        json!({
            "name": column.name,
            "unit": column.unit,
            "doc": column.doc,
            "observed": contribution.observed,
            "expected": contribution.expected,
            "deviation": contribution.deviation,
            "share": contribution.share,
        })
    }

    /// The likeliest first; a normal row has none.
    fn causes(&self, row: usize, incident: Option<&Incident>) -> Vec<Cause> {
        let ranked = |cause: Cause, others: Vec<Cause>| [vec![cause], others].concat();
        match incident.cloned() {
            Some(Incident { cause, alternatives, .. }) => ranked(cause, alternatives),
            None if self.scored.scores[row].score > 1.0 => {
                let width = self.frame.width();
                let deviations = &self.scored.deviation[row * width..];
                let columns = self.detector.columns().iter().zip(self.frame.row(row));
                let moved: Vec<(&str, f32)> = columns
                    .zip(deviations)
                    .filter(|((_, value), _)| !value.is_nan())
                    .map(|((column, _), deviation)| (column.name.as_str(), *deviation))
                    .collect();
                let found = diagnose(&moved);
                ranked(found.cause, found.alternatives)
            }
            None => Vec::new(),
        }
    }
}

fn cause(cause: &Cause) -> Value {
    json!({
        "name": cause.name,
        "summary": cause.summary,
        "confidence": cause.confidence,
        "next_steps": cause.next_steps,
    })
}
