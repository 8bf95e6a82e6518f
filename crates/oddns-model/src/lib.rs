#![doc = include_str!("../README.md")]

mod config;
mod convolution;
mod error;
mod gradient;
pub mod graph;
mod keras;
mod kernels;
mod linear;
mod live;
mod masking;
mod model;
mod network;
mod onnx;
mod optimiser;
mod plane;
mod random;
mod reconstruction;
mod ridge;
mod safetensors;
mod scoring;
mod sequence;
mod training;
mod window;

pub use config::Config;
pub use error::{ModelError, Shape};
pub use keras::{
    attach, attached, decode, decode_extra, decode_graph, encode, encode_extra, encode_graph,
    encode_plain,
};
pub use live::{LiveState, Predicted};
pub use model::Model;
pub use network::Network;
pub use onnx::{OPSET, OnnxBuilder, Setting, Value, decode_onnx, encode_onnx};
pub use reconstruction::{
    Form, LatentClusters, Reconstruction, ReconstructionConfig, ReconstructionScores,
};
pub use safetensors::encode_safetensors;
pub use sequence::Sequence;
pub use training::{Progress, TrainOptions, TrainRecord, retrain, train};
