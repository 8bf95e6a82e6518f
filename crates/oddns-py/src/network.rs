//! A network of stock Keras layers: in, out, predicting and training.

use std::ops::Range;
use std::sync::Arc;

use numpy::ndarray::{ArrayViewD, Axis};
use numpy::{
    IntoPyArray, PyArray1, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods,
};
use oddns_model::graph::{
    FitOptions, Graph, Layer, Loss, Optimiser, Predictor, Schedule, Table, Tensor,
};
use oddns_model::{Model, ModelError, Reconstruction, ReconstructionConfig};
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::of_model;
use crate::worker;

/// Multiplications of a thread between two looks at Ctrl-C: some 50 milliseconds.
const STRETCH: usize = 2_000_000_000;

/// Samples between two looks however small the network is.
const MOST_SAMPLES: usize = 1 << 16;

/// Name, class, output shape, number of weights, and the names of the layers that are read.
type LayerLine = (String, String, Vec<Option<usize>>, usize, Vec<String>);

/// A network with its weights; training gives a new one.
#[pyclass(frozen, name = "Network", module = "oddns._oddns")]
#[derive(Debug, Clone)]
pub(crate) struct PyNetwork {
    pub(crate) graph: Arc<Graph>,
}

impl From<Graph> for PyNetwork {
    fn from(graph: Graph) -> Self {
        Self { graph: Arc::new(graph) }
    }
}

impl PyNetwork {
    /// As a part of a detector. Refuses what is no autoencoder of rows.
    pub(crate) fn of_detector(&self) -> Result<Model, ModelError> {
        // What kind it is, is told by its file.
        Model::decode(&oddns_model::encode_plain(&self.graph)?).map(|(model, _)| model)
    }
}

/// Sizes of an autoencoder; what is left out is as measured.
#[derive(Debug, FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Sizes {
    n_features: usize,
    images: bool,
    window: Option<usize>,
    layers: Option<Vec<usize>>,
    kernel: Option<usize>,
    latent: Option<usize>,
    seed: u64,
}

impl Sizes {
    fn config(self) -> ReconstructionConfig {
        let window = self.window.unwrap_or(ReconstructionConfig::WINDOW);
        let mut config = match self.images {
            true => ReconstructionConfig::two_dimensional(self.n_features, window),
            false => ReconstructionConfig::one_dimensional(self.n_features, window),
        };
        config.channels = self.layers.unwrap_or(config.channels);
        config.kernel = self.kernel.unwrap_or(config.kernel);
        config.latent = self.latent.unwrap_or(config.latent);
        config
    }
}

/// How to train a network, in Keras's words.
#[derive(Debug, FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Fit {
    steps: usize,
    batch_size: usize,
    learning_rate: f32,
    loss: String,
    seed: u64,
    threads: usize,
}

impl Fit {
    fn options(&self) -> Result<FitOptions, ModelError> {
        let loss = match self.loss.as_str() {
            "mse" | "mean_squared_error" => Loss::MeanSquared,
            "mae" | "mean_absolute_error" => Loss::MeanAbsolute,
            "huber" => Loss::Huber { delta: 1.0 },
            other => {
                let allowed = "mse, mae or huber".to_owned();
                return Err(ModelError::Setting {
                    field: "loss",
                    found: other.to_owned(),
                    allowed,
                });
            }
        };
        Ok(FitOptions {
            loss,
            optimiser: Optimiser::Adam,
            learning_rate: self.learning_rate,
            schedule: Schedule::Constant,
            steps: self.steps,
            batch: self.batch_size,
            seed: self.seed,
            threads: self.threads,
            stopping: None,
        })
    }
}

#[pymethods]
impl PyNetwork {
    /// A new autoencoder of windows with random weights.
    #[staticmethod]
    fn autoencoder(sizes: Sizes) -> PyResult<Self> {
        let seed = sizes.seed;
        let network = Reconstruction::new(&sizes.config(), seed).map_err(of_model)?;
        Ok(network.graph().clone().into())
    }

    /// Reads a `.keras` file, which begins as a zip does, or an ONNX file. Nothing in it is executed.
    #[staticmethod]
    fn decode(py: Python<'_>, bytes: &[u8]) -> PyResult<Self> {
        let read = py.detach(|| match bytes.starts_with(b"PK") {
            true => oddns_model::decode_graph(bytes).map(|(graph, _)| graph),
            false => oddns_model::decode_onnx(bytes),
        });
        read.map(Self::from).map_err(of_model)
    }

    /// The bytes of an ONNX file.
    fn onnx<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| oddns_model::encode_onnx(&self.graph)))
    }

    /// The bytes of a safetensors file.
    fn safetensors<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| oddns_model::encode_safetensors(&self.graph)))
    }

    fn __reduce__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        Ok((py.get_type::<Self>().getattr("decode")?, (self.encode(py)?,)))
    }

    /// The bytes of a `.keras` file.
    fn encode<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = py.detach(|| oddns_model::encode_plain(&self.graph)).map_err(of_model)?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// The same network with new random weights.
    fn initialised(&self, seed: u64) -> Self {
        let mut graph = self.graph.as_ref().clone();
        graph.initialise(seed);
        graph.into()
    }

    /// The name of the model.
    #[getter]
    fn name(&self) -> &str {
        self.graph.name()
    }

    /// Of each layer its name, class, output shape (`None` for the batch and open sizes), number of
    /// weights, and the names of the layers that it reads.
    fn layers(&self) -> Vec<LayerLine> {
        let nodes = self.graph.nodes();
        let layer = |(at, node): (usize, &oddns_model::graph::Node)| {
            let shape = [None].into_iter().chain(node.output().iter().copied()).collect();
            let weights = self.graph.weights(at).iter().map(|(_, values)| values.len()).sum();
            let inputs = node.inputs().iter().map(|at| nodes[*at].name().to_owned()).collect();
            (node.name().to_owned(), node.layer().class(), shape, weights, inputs)
        };
        nodes.iter().enumerate().map(layer).collect()
    }

    /// Names and values of all weights, by layer and place.
    fn weights<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<Vec<(String, Bound<'py, PyArrayDyn<f32>>)>> {
        let mut found = Vec::new();
        for (at, node) in self.graph.nodes().iter().enumerate() {
            for (place, (shape, values)) in self.graph.weights(at).into_iter().enumerate() {
                let array = values.to_vec().into_pyarray(py).reshape(shape.to_vec())?;
                found.push((format!("{}/{place}", node.name()), array));
            }
        }
        Ok(found)
    }

    /// What the outputs are for one array for each input, samples first, computed in at most
    /// `threads` threads.
    fn predict<'py>(
        &self,
        py: Python<'py>,
        inputs: Vec<PyReadonlyArrayDyn<'py, f32>>,
        threads: usize,
    ) -> PyResult<Vec<Bound<'py, PyArrayDyn<f32>>>> {
        let inputs = inputs.iter().map(Samples::of).collect::<PyResult<Vec<_>>>()?;
        let shapes: Vec<Vec<usize>> = inputs.iter().map(Samples::shape).collect();
        let predictor = self.graph.predictor(&shapes).map_err(of_model)?;
        let n_samples = inputs.first().map_or(0, Samples::len);
        if let Some(odd) = inputs.iter().map(Samples::len).find(|found| *found != n_samples) {
            let (found, allowed) = (odd.to_string(), format!("{n_samples} as of the first input"));
            let field = "number of samples";
            return Err(of_model(ModelError::Setting { field, found, allowed }));
        }
        let stretch = stretch(&predictor, threads);
        let mut found: Vec<(Vec<usize>, Vec<f32>)> = Vec::new();
        for first in (0..n_samples.max(1)).step_by(stretch) {
            let rows = first..n_samples.min(first.saturating_add(stretch));
            let slices = inputs.iter().map(|input| input.slices(rows.clone()));
            let slices = slices.collect::<PyResult<Vec<_>>>()?;
            let outputs =
                py.detach(|| predictor.run_samples(&slices, self.graph.outputs(), threads));
            let outputs = outputs.map_err(|error| of_model(later(error, first)))?;
            for (at, output) in outputs.into_iter().enumerate() {
                if first == 0 {
                    let shape = [&[n_samples], &output.shape()[1..]].concat();
                    let room = room(shape.iter().copied())?;
                    found.push((shape, room));
                }
                if let Some((_, values)) = found.get_mut(at) {
                    values.extend_from_slice(output.values());
                }
            }
            py.check_signals()?;
        }
        let array =
            |(shape, values): (Vec<usize>, Vec<f32>)| values.into_pyarray(py).reshape(shape);
        found.into_iter().map(array).collect()
    }

    /// The mean squared error of each sample against what the network makes of it.
    fn reconstruction_errors<'py>(
        &self,
        py: Python<'py>,
        input: PyReadonlyArrayDyn<'py, f32>,
        threads: usize,
    ) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let input = Samples::of(&input)?;
        let predictor = self.graph.predictor(&[input.shape()]).map_err(of_model)?;
        let (n_samples, stretch) = (input.len(), stretch(&predictor, threads));
        let mut errors = room([n_samples].into_iter())?;
        // At least once: a network that cannot is refused without samples too.
        for first in (0..n_samples.max(1)).step_by(stretch) {
            let samples = input.slices(first..n_samples.min(first.saturating_add(stretch)))?;
            let found = py.detach(|| predictor.reconstruction_errors(&samples, threads));
            errors.extend(found.map_err(|error| of_model(later(error, first)))?);
            py.check_signals()?;
        }
        Ok(errors.into_pyarray(py))
    }

    /// A network that goes on from these weights, and its last loss. Without a target it learns to give
    /// its first input back. `listener` is called with step, steps and loss.
    #[pyo3(signature = (inputs, target, options, listener=None))]
    fn fit(
        &self,
        py: Python<'_>,
        inputs: Vec<PyReadonlyArrayDyn<'_, f32>>,
        target: Option<PyReadonlyArrayDyn<'_, f32>>,
        options: Fit,
        listener: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<(Self, f32)> {
        let options = options.options().map_err(of_model)?;
        let inputs = inputs.iter().map(|input| tensor(py, input)).collect::<PyResult<Vec<_>>>()?;
        let target = target.map(|target| tensor(py, &target)).transpose()?;
        let table = Table::new(inputs, target).map_err(of_model)?;
        let mut graph = self.graph.as_ref().clone();
        let fitted = worker::run(py, listener, move |signal| {
            let record =
                graph.fit(&table, None, &options, &mut |progress| signal.tell(progress))?;
            Ok((graph, record.final_loss))
        })?;
        fitted.map(|(graph, loss)| (graph.into(), loss)).map_err(of_model)
    }

    /// Shapes of the inputs, without the batch.
    #[getter]
    fn input_shapes(&self) -> Vec<Vec<Option<usize>>> {
        let shape = |at: &usize| match self.graph.nodes()[*at].layer() {
            Layer::Input { shape } => shape.clone(),
            _ => Vec::new(),
        };
        self.graph.inputs().iter().map(shape).collect()
    }
}

/// Samples between two looks at Ctrl-C, at least 1.
fn stretch(predictor: &Predictor<'_>, threads: usize) -> usize {
    (STRETCH.saturating_mul(threads) / predictor.work().max(1)).max(threads).clamp(1, MOST_SAMPLES)
}

/// Samples where they lie in Python: sliding windows lie over each other.
struct Samples<'a> {
    view: ArrayViewD<'a, f32>,
}

impl<'a> Samples<'a> {
    /// Refuses samples that do not lie in the order of their shape.
    fn of(array: &'a PyReadonlyArrayDyn<'_, f32>) -> PyResult<Self> {
        let samples = Self { view: array.as_array() };
        if samples.view.ndim() < 2 {
            let message = format!("an array of {} dimensions holds no samples", array.ndim());
            return Err(PyValueError::new_err(message));
        }
        // They all lie alike.
        samples.slices(0..samples.len().min(1))?;
        Ok(samples)
    }

    fn len(&self) -> usize {
        self.view.len_of(Axis(0))
    }

    /// Of one sample.
    fn shape(&self) -> Vec<usize> {
        self.view.shape().iter().skip(1).copied().collect()
    }

    fn slices(&self, which: Range<usize>) -> PyResult<Vec<&'a [f32]>> {
        let slice = |at| self.view.clone().index_axis_move(Axis(0), at).to_slice();
        let slices: Option<Vec<_>> = which.map(slice).collect();
        let refused = || PyValueError::new_err("the values of a sample do not lie in its order");
        slices.ok_or_else(refused)
    }
}

/// Room for the values of a shape; what is too much for the memory is an exception.
fn room(shape: impl Iterator<Item = usize>) -> PyResult<Vec<f32>> {
    let size = shape.into_iter().try_fold(1_usize, usize::checked_mul);
    let mut room = Vec::new();
    let reserved = size.is_some_and(|size| room.try_reserve_exact(size).is_ok());
    let message = || PyMemoryError::new_err("not enough memory for so many samples");
    reserved.then_some(room).ok_or_else(message)
}

/// The same error, of samples after the first `before`.
fn later(error: ModelError, before: usize) -> ModelError {
    match error {
        ModelError::NotFiniteInput { sample, value } => {
            ModelError::NotFiniteInput { sample: sample + before, value }
        }
        other => other,
    }
}

/// A copy, whose making Ctrl-C stops.
fn tensor(py: Python<'_>, array: &PyReadonlyArrayDyn<'_, f32>) -> PyResult<Tensor> {
    const VALUES: usize = 1 << 24;
    let samples = Samples::of(array)?;
    let mut values = room(array.shape().iter().copied())?;
    let stretch = (VALUES / samples.shape().iter().product::<usize>().max(1)).max(1);
    for first in (0..samples.len()).step_by(stretch) {
        let end = samples.len().min(first.saturating_add(stretch));
        for sample in samples.slices(first..end)? {
            values.extend_from_slice(sample);
        }
        py.check_signals()?;
    }
    Tensor::new(array.shape().to_vec(), values).map_err(of_model)
}
