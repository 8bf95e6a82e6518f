//! A trained detector.

use std::sync::Arc;

use oddns::core::Frame;
use oddns::{Detector, DetectorKind, Follower, History, TrainOptions, UpdateOptions, score_frame};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::error::{Kind, of_detector, of_model, raise};
use crate::follower::PyFollower;
use crate::frame::{self, PyFrame};
use crate::network::PyNetwork;
use crate::scored::PyScored;
use crate::update::{self, Said};
use crate::worker;

/// The entry of a file that holds the parameters of the class.
const PARAMETERS: &str = "oddns.parameters.json";

/// A fitted detector; scoring does not change it.
#[pyclass(frozen, name = "Model", module = "oddns._oddns")]
#[derive(Debug, Clone)]
pub(crate) struct PyModel {
    pub(crate) detector: Arc<Detector>,
}

/// How to train, by the names of [`TrainOptions`].
#[derive(Debug, FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Options {
    detector: String,
    epochs: Option<usize>,
    batch: usize,
    window: usize,
    seed: u64,
    threads: usize,
    alarms_per_week: f64,
}

impl Options {
    fn resolved(&self) -> PyResult<TrainOptions> {
        let detector: Result<DetectorKind, _> = self.detector.parse();
        let detector = detector.map_err(|error| raise(Kind::Model, error.to_string()))?;
        if !(self.alarms_per_week > 0.0 && self.alarms_per_week.is_finite()) {
            let message = "`alarms_per_week` must be a number above zero".to_owned();
            return Err(raise(Kind::Model, message));
        }
        Ok(TrainOptions {
            epochs: self.epochs,
            batch: self.batch,
            window: self.window,
            seed: self.seed,
            threads: self.threads,
            alarms_per_week: self.alarms_per_week,
            strict_budget: false,
            detector,
        })
    }

    /// As the command updates, but that nothing is held out for a gate. 0 epochs leave the weights.
    fn of_update(&self) -> PyResult<UpdateOptions> {
        let TrainOptions { seed, threads, epochs, .. } = self.resolved()?;
        let options = UpdateOptions { seed, threads, holds_out: false, ..UpdateOptions::default() };
        Ok(UpdateOptions { steps: if epochs == Some(0) { 0 } else { options.steps }, ..options })
    }
}

#[pymethods]
impl PyModel {
    /// Learns what is normal. With a `network` it goes on from its weights, with a `parent` from
    /// those of a detector of the same columns. `listener` is called with step, steps and loss.
    #[staticmethod]
    #[pyo3(signature = (frames, options, network=None, parent=None, listener=None))]
    fn fit(
        py: Python<'_>,
        frames: Vec<PyRef<'_, PyFrame>>,
        options: Options,
        network: Option<&PyNetwork>,
        parent: Option<&PyModel>,
        listener: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let options = options.resolved()?;
        let frames: Vec<Arc<Frame>> = frames.iter().map(|frame| Arc::clone(&frame.frame)).collect();
        let network = network.map(PyNetwork::of_detector).transpose().map_err(of_model)?;
        let parent = parent.map(|parent| Arc::clone(&parent.detector));
        let fitted = worker::run(py, listener, move |signal| {
            let frames: Vec<&Frame> = frames.iter().map(Arc::as_ref).collect();
            let mut show = |progress| signal.tell(progress);
            match (&parent, &network) {
                (Some(parent), _) => parent.refit(&frames, &options, &mut show),
                (None, Some(own)) => Detector::fit_network(own, &frames, &options, &mut show),
                (None, None) => Detector::fit(&frames, &options, &mut show),
            }
        })?;
        Ok(Self { detector: Arc::new(fitted.map_err(of_detector)?) })
    }

    /// Goes on learning with the rows of `frames` that it finds normal, and old ones that it carries.
    /// `feedback` is of times in milliseconds, with a verdict each; what was said before stays said.
    /// Beside the new model what it was made of, by name.
    #[pyo3(signature = (frames, feedback, options, listener=None))]
    fn update<'py>(
        &self,
        py: Python<'py>,
        frames: Vec<PyRef<'_, PyFrame>>,
        feedback: Vec<Said>,
        options: Options,
        listener: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<(Self, Bound<'py, PyDict>)> {
        let feedback = update::with_earlier(&self.detector, feedback)?;
        let options = options.of_update()?;
        let parent = Arc::clone(&self.detector);
        let frames: Vec<PyFrame> = frames.iter().map(|frame| PyFrame::clone(frame)).collect();
        let updated = worker::run(py, listener, move |signal| {
            let histories =
                frames.iter().map(|one| History { instance: &one.instance, frame: &one.frame });
            let histories: Vec<History<'_>> = histories.collect();
            parent.update(&histories, &feedback, &options, &mut |progress| signal.tell(progress))
        })?;
        let updated = updated.map_err(of_detector)?;
        let told = update::told(py, &updated)?;
        Ok((Self { detector: Arc::new(updated.detector) }, told))
    }

    /// Scores every row of a history.
    fn score(&self, py: Python<'_>, frame: &PyFrame) -> PyResult<PyScored> {
        let (detector, frame) = (Arc::clone(&self.detector), frame.clone());
        let scored = worker::run(py, None, move |_| {
            let scored = score_frame(&detector, &frame.instance, &frame.frame)?;
            Ok(PyScored { detector, frame: frame.frame, scored })
        })?;
        scored.map_err(of_detector)
    }

    /// Judges rows piece by piece; `instance` names them in incidents.
    fn follower(&self, instance: String) -> PyFollower {
        PyFollower::new(Follower::new(Arc::clone(&self.detector), instance))
    }

    /// Rows of a window that `score_window` judges.
    #[getter]
    fn window_rows(&self) -> PyResult<usize> {
        self.detector.window_rows().map_err(of_detector)
    }

    /// The score of the last row of a window, by what was learned alone.
    fn score_window(&self, window: &Bound<'_, PyAny>) -> PyResult<f32> {
        let (rows, width) = (self.window_rows()?, self.columns().len());
        let window = frame::values(&self.columns(), (rows, width), window)?;
        self.detector.score_window(&window).map_err(of_detector)
    }

    /// The bytes of an ONNX file, from raw rows to the score.
    fn onnx<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = py.detach(|| self.detector.encode_onnx()).map_err(of_detector)?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// The bytes of a `.keras` file, with `parameters` of the class that trained it.
    #[pyo3(signature = (parameters=None))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        parameters: Option<&str>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut bytes = py.detach(|| self.detector.encode()).map_err(of_detector)?;
        if let Some(parameters) = parameters {
            bytes =
                oddns_model::attach(bytes, PARAMETERS, parameters.as_bytes()).map_err(of_model)?;
        }
        Ok(PyBytes::new(py, &bytes))
    }

    /// The `parameters` in what `encode` wrote; `None` where the command wrote it.
    #[staticmethod]
    fn parameters(bytes: &[u8]) -> PyResult<Option<String>> {
        let found = oddns_model::attached(bytes, PARAMETERS).map_err(of_model)?;
        Ok(found.map(|text| String::from_utf8_lossy(&text).into_owned()))
    }

    /// Reads what `encode` wrote.
    #[staticmethod]
    fn decode(py: Python<'_>, bytes: &[u8]) -> PyResult<Self> {
        let detector = py.detach(|| Detector::decode(bytes)).map_err(of_detector)?;
        Ok(Self { detector: Arc::new(detector) })
    }

    fn __reduce__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        Ok((py.get_type::<Self>().getattr("decode")?, (self.encode(py, None)?,)))
    }

    /// Whether the bytes are those of a detector, or of a network alone.
    #[staticmethod]
    fn is_model(py: Python<'_>, bytes: &[u8]) -> PyResult<bool> {
        let extra = py.detach(|| oddns_model::decode_extra(bytes)).map_err(of_model)?;
        Ok(extra.is_some())
    }

    /// The network in it; `None` for a detector without one.
    #[getter]
    fn network(&self) -> PyResult<Option<PyNetwork>> {
        if !self.detector.kind().has_network() {
            return Ok(None);
        }
        let bytes = self.detector.encode().map_err(of_detector)?;
        let (graph, _) = oddns_model::decode_graph(&bytes).map_err(of_model)?;
        Ok(Some(PyNetwork::from(graph)))
    }

    /// Which detector it is.
    #[getter]
    fn kind(&self) -> &'static str {
        self.detector.kind().name()
    }

    /// Names of the columns it was trained on.
    #[getter]
    fn columns(&self) -> Vec<String> {
        self.detector.columns().iter().map(|column| column.name.clone()).collect()
    }

    /// Rows that must be seen before an alarm is possible.
    #[getter]
    fn warm_up_rows(&self) -> usize {
        self.detector.warm_up_rows()
    }

    /// Where it came from.
    #[getter]
    fn record<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let record = self.detector.record();
        let found = PyDict::new(py);
        let range = record.range.map(|(from, until)| (from.to_string(), until.to_string()));
        found.set_item("range", range)?;
        found.set_item("until_millis", record.range.map(|(_, until)| until.millis()))?;
        found.set_item("rows", record.n_rows)?;
        found.set_item("interval_seconds", record.interval_seconds)?;
        found.set_item("alarms_per_week", record.alarms_per_week)?;
        found.set_item("steps", record.n_steps)?;
        found.set_item("seed", record.seed)?;
        found.set_item("loss", record.loss)?;
        found.set_item("parameters", record.n_parameters)?;
        Ok(found)
    }
}
