//! One name for the kinds of networks, and one file format.

use crate::graph::Graph;
use crate::{ModelError, Network, Reconstruction, keras};

/// A network of any kind.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Model {
    /// The masked causal autoencoder.
    Masked(Network),
    /// An autoencoder of windows, ours or anybody's.
    Reconstruction(Reconstruction),
}

impl Model {
    /// How commands and files call the kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Masked(_) => "masked",
            Self::Reconstruction(_) => "reconstruction",
        }
    }

    /// Values in a row.
    pub fn n_features(&self) -> usize {
        match self {
            Self::Masked(network) => network.config().n_features,
            Self::Reconstruction(network) => network.n_features(),
        }
    }

    /// Rows that decide what is said about the last of them.
    pub fn receptive_field(&self) -> usize {
        match self {
            Self::Masked(network) => network.receptive_field(),
            Self::Reconstruction(network) => network.window(),
        }
    }

    /// How many weights.
    pub fn n_parameters(&self) -> usize {
        match self {
            Self::Masked(network) => network.n_parameters(),
            Self::Reconstruction(network) => network.graph().n_parameters(),
        }
    }

    /// The bytes of a `.keras` file with the network and, as its entry `oddns.json`, the text
    /// `extra`, which must not be above 64 MiB.
    pub fn encode(&self, extra: &str) -> Result<Vec<u8>, ModelError> {
        match self {
            Self::Masked(network) => keras::encode(network, extra),
            Self::Reconstruction(network) => keras::encode_reconstruction(network, extra),
        }
    }

    /// The network of a `.keras` file and its entry `oddns.json` where there is one. A file that
    /// another program made with Keras is taken as a reconstruction network, see
    /// [`Reconstruction::from_graph`]; it has no latent clusters then. Any bytes are fine as
    /// input; errors name the entry, the layer or the weights.
    pub fn decode(bytes: &[u8]) -> Result<(Self, Option<String>), ModelError> {
        if keras::is_masked(bytes)? {
            let (network, extra) = keras::decode(bytes)?;
            return Ok((Self::Masked(network), extra));
        }
        let (network, extra) = keras::decode_reconstruction(bytes)?;
        Ok((Self::Reconstruction(network), extra))
    }
}

impl TryFrom<Graph> for Model {
    type Error = ModelError;

    fn try_from(graph: Graph) -> Result<Self, ModelError> {
        Ok(Self::Reconstruction(Reconstruction::from_graph(graph)?))
    }
}
