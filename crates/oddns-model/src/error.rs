//! Everything that can go wrong with a model.

use std::fmt;

/// What the general engine runs, for messages.
const SUPPORTED: &str = "supported are Sequential and Functional models in float32, channels last, \
    of InputLayer, Conv1D, Conv2D, Conv1DTranspose, Conv2DTranspose, Dense, Activation, ReLU, \
    LeakyReLU, ELU, Softmax, BatchNormalization, LayerNormalization, Dropout, \
    (Global)Max/AveragePooling1D/2D, UpSampling1D/2D, ZeroPadding1D/2D, Cropping1D/2D, \
    Concatenate, Add, Flatten, Reshape and RepeatVector";

/// What of ONNX can be read, for messages.
const ONNX_SUPPORTED: &str = "supported are Conv, ConvTranspose, MatMul, Gemm, Add, BatchNormalization, \
    LayerNormalization, Max/AveragePool, GlobalMax/AveragePool, ReduceMean/Max over positions, \
    Resize by repeating, Pad with zeros, Slice, Concat, Flatten, Reshape, Transpose of channels, and \
    the activations Relu, LeakyRelu, Elu, Gelu, Sigmoid, Tanh, Softplus, SiLU and Softmax";

/// Why a network could not be built, trained, used, saved or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A setting is outside what this engine supports.
    #[error("`{field}` is {found}, it must be {allowed}")]
    Setting {
        /// Name of the field of [`crate::Config`] or [`crate::TrainOptions`].
        field: &'static str,
        /// The value given.
        found: String,
        /// The values that work.
        allowed: String,
    },
    /// Values and flags of a sequence do not make whole rows.
    #[error(
        "a sequence of {n_features} features has {values} values and {observed} observed flags: \
         give the same number of both, a multiple of the features"
    )]
    Ragged {
        /// Features in a row.
        n_features: usize,
        /// Values given.
        values: usize,
        /// Flags given.
        observed: usize,
    },
    /// A sequence holds a NaN or an infinity.
    #[error(
        "row {row}, feature {feature} of a sequence is `{value}`: fill in a finite value and mark \
         the entry as not observed"
    )]
    NotFinite {
        /// Row, from 0.
        row: usize,
        /// Feature, from 0.
        feature: usize,
        /// The value.
        value: f32,
    },
    /// A sequence has another number of features than the network.
    #[error("a sequence has {found} features, the network expects {expected}")]
    Width {
        /// Features of the network.
        expected: usize,
        /// Features of the sequence.
        found: usize,
    },
    /// A sequence has fewer rows than the network looks back.
    #[error("sequence {sequence} has {rows} rows, training needs at least {needed}: record longer")]
    TooShort {
        /// Which sequence, from 0.
        sequence: usize,
        /// Its rows.
        rows: usize,
        /// Rows needed.
        needed: usize,
    },
    /// No sequence, or no observed entry in any.
    #[error("nothing to learn from: no entry of the training data was observed")]
    NothingObserved,
    /// The loss or a weight became NaN or infinite.
    #[error(
        "training diverged at step {step} of {steps}: lower the learning rate, or look for \
         values that are not standardised"
    )]
    Diverged {
        /// Step at which it was seen, from 1.
        step: usize,
        /// Steps asked for.
        steps: usize,
    },
    /// The progress callback asked to stop; there is no half-trained model.
    #[error("training was cancelled after step {step} of {steps}")]
    Cancelled {
        /// Steps done.
        step: usize,
        /// Steps asked for.
        steps: usize,
    },
    /// The bytes are no zip archive.
    #[error("not a `.keras` file: it does not begin like a zip archive")]
    NotAnArchive,
    /// The archive, or an entry of it, cannot be read or written.
    #[error("damaged or truncated `.keras` file: cannot read its `{entry}`")]
    Archive {
        /// Entry, or `table of contents`.
        entry: String,
        /// What the zip reader says.
        source: Cause,
    },
    /// An entry is not there.
    #[error("`.keras` file without `{entry}`: was it saved by Keras 3 or by oddns?")]
    MissingEntry {
        /// Name of the entry.
        entry: &'static str,
    },
    /// An entry is larger than any model of this kind.
    #[error("`{entry}` takes {size} bytes, at most {limit} are read")]
    TooLarge {
        /// Name of the entry.
        entry: String,
        /// Its size unpacked.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// `config.json` or `oddns.json` is no JSON or no UTF-8.
    #[error("`{entry}` is not valid: it is damaged or was edited")]
    Text {
        /// Name of the entry.
        entry: &'static str,
        /// What the parser says.
        source: Cause,
    },
    /// The file holds another network than this engine runs.
    #[error(
        "layer `{layer}` of class `{class}`: {problem}; only the masked causal autoencoder that \
         oddns saves is supported"
    )]
    Architecture {
        /// Name of the layer, or of the model.
        layer: String,
        /// Its Keras class.
        class: String,
        /// What differs.
        problem: String,
    },
    /// A layer of a general network is told or given something it cannot do.
    #[error("layer `{layer}` of class `{class}`: {problem}")]
    Layer {
        /// Name of the layer, or of the model.
        layer: String,
        /// Its Keras class.
        class: String,
        /// What is wrong.
        problem: String,
    },
    /// A `.keras` file holds something that the general engine does not run.
    #[error("layer `{layer}` of class `{class}`: {problem}; {SUPPORTED}")]
    Unsupported {
        /// Name of the layer, or of the model.
        layer: String,
        /// Its Keras class.
        class: String,
        /// What is not supported.
        problem: String,
    },
    /// The bytes are no ONNX file.
    #[error("not an ONNX file, or a damaged one: export the model again")]
    Onnx {
        /// What the decoder says.
        source: Cause,
    },
    /// An ONNX file of ours that holds a whole detector.
    #[error(
        "the ONNX file is a detector that oddns exported: its scales, members and score are no network \
         that can be trained; load the `.keras` file that it was exported from"
    )]
    OnnxDetector,
    /// An ONNX file holds something that the general engine does not run.
    #[error("operation `{name}` of type `{operation}`: {problem}; {ONNX_SUPPORTED}")]
    OnnxOperation {
        /// Name of the operation, or of the tensor.
        name: String,
        /// Its type.
        operation: String,
        /// What is not supported.
        problem: String,
    },
    /// Shape and values of a tensor do not agree.
    #[error(
        "a tensor of shape {shape} has {values} values: give samples first, then at least one more size"
    )]
    TensorShape {
        /// The shape.
        shape: Shape,
        /// Values given.
        values: usize,
    },
    /// A tensor holds a NaN or an infinity.
    #[error("sample {sample} of a tensor holds `{value}`: fill in a finite value")]
    NotFiniteInput {
        /// Sample, from 0.
        sample: usize,
        /// The value.
        value: f32,
    },
    /// Another number of tensors than the network has inputs.
    #[error("a network with {expected} inputs was given {found}")]
    InputCount {
        /// Inputs of the network.
        expected: usize,
        /// Tensors given.
        found: usize,
    },
    /// A tensor does not fit an input; a question mark stands for any size.
    #[error("`{input}` takes the shape {expected}, it was given {found}")]
    InputShape {
        /// Name of the input.
        input: String,
        /// Shape it takes.
        expected: String,
        /// Shape it was given.
        found: String,
    },
    /// Examples to train on do not fit the network; a question mark stands for any size.
    #[error(
        "{what} has the shape {found}, layer `{layer}` takes or gives {expected}: samples come first"
    )]
    SampleShape {
        /// What does not fit.
        what: &'static str,
        /// Name of the layer.
        layer: String,
        /// Its shape, samples first.
        expected: String,
        /// Shape that was given.
        found: String,
    },
    /// A sample takes too much memory in a network.
    #[error("a sample makes {values} values in this network, at most {limit} are computed")]
    TooManyValues {
        /// Values over all layers.
        values: usize,
        /// The limit.
        limit: usize,
    },
    /// The weights file, or a data set of it, cannot be read or written.
    #[error("damaged `model.weights.h5`: cannot read `{path}`")]
    Weights {
        /// HDF5 path.
        path: String,
        /// What the HDF5 reader says.
        source: Cause,
    },
    /// Weights have another shape than their layer.
    #[error("weights `{path}` have shape {found}, the layer needs {expected}")]
    WeightShape {
        /// HDF5 path.
        path: String,
        /// Shape of the layer.
        expected: Shape,
        /// Shape of the data set.
        found: Shape,
    },
    /// A weight is NaN or infinite.
    #[error("weights `{path}` hold `{value}`: the model is broken, train it again")]
    NotFiniteWeight {
        /// HDF5 path.
        path: String,
        /// The value.
        value: f32,
    },
}

/// An error of a library that this crate does not show.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The shape of a tensor, printed as `(3, 60, 32)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape(pub Vec<u64>);

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (at, size) in self.0.iter().enumerate() {
            write!(f, "{}{size}", if at == 0 { "" } else { ", " })?;
        }
        f.write_str(")")
    }
}
