//! The plain convolutional autoencoder: a window of the last rows, reconstructed.

mod config;
mod latent;
mod network;
mod scoring;
mod windows;

pub use config::{Form, ReconstructionConfig};
pub use latent::LatentClusters;
pub use network::Reconstruction;
pub use scoring::ReconstructionScores;
