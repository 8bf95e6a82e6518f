//! Networks of stock Keras layers: a general engine for predicting and training.
//!
//! A [`Graph`] is built layer by layer or read from a `.keras` file. Its convolutions are products
//! of matrices with overlapping rows, in our own kernels: a prediction has the same bits alone and
//! in a batch, and training gives the same weights on any number of threads.

mod activation;
mod batch;
mod descent;
mod fitting;
#[cfg(test)]
mod gradients;
mod layer;
mod linear;
mod loss;
mod network;
mod normalisation;
mod operation;
mod overlay;
mod pass;
mod patches;
mod plan;
mod pooling;
mod prediction;
mod product;
mod rearrangement;
#[cfg(test)]
mod references;
mod spread;
mod tensor;

pub use activation::Activation;
pub use batch::Examples;
pub use descent::{Optimiser, Schedule};
pub use fitting::{FitOptions, FitRecord, Stopping, Table};
pub(crate) use layer::reach;
pub use layer::{Convolution, Dimensions, Layer, Padding};
pub use loss::Loss;
pub use network::{Graph, GraphBuilder, Node, NodeId};
pub use pooling::Pool;
pub use prediction::Predictor;
pub use tensor::Tensor;

pub(crate) use network::MAX_NODES;
