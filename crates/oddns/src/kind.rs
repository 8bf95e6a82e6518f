//! The detectors that can be trained, by name.

use std::fmt;
use std::str::FromStr;

use oddns_detect::baseline::{BASELINES, Baseline};
use oddns_model::Model;
use oddns_model::graph::Layer;

/// Which detector is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DetectorKind {
    /// Members over the forecast of a masked convolutional autoencoder: the product's own.
    #[default]
    Masked,
    /// The same members over the last value of each feature: what the network is worth is the
    /// difference.
    MaskedWithoutNetwork,
    /// The plain convolutional autoencoder over time: a window of the last rows, reconstructed.
    Reconstruction,
    /// The same over the image of time and features.
    Reconstruction2d,
    /// What others use.
    Baseline(&'static Baseline),
}

/// A name that no detector has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no detector `{name}`: take one of {}", names())]
pub struct UnknownDetector {
    /// The name.
    pub name: String,
}

impl DetectorKind {
    /// Every kind, the default first.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Masked, Self::MaskedWithoutNetwork, Self::Reconstruction, Self::Reconstruction2d]
            .into_iter()
            .chain(BASELINES.iter().map(Self::Baseline))
    }

    /// What a network makes: of those that reconstruct windows, two dimensions when a layer works on
    /// images.
    pub(crate) fn of_network(network: &Model) -> Self {
        let Model::Reconstruction(network) = network else { return Self::Masked };
        let of_images = |layer: &Layer| match layer {
            Layer::Convolution(convolution) => convolution.kernel.len() == 2,
            _ => false,
        };
        match network.graph().nodes().iter().any(|node| of_images(node.layer())) {
            true => Self::Reconstruction2d,
            false => Self::Reconstruction,
        }
    }

    /// How it is called for, and by what its files name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Masked => "masked",
            Self::MaskedWithoutNetwork => "masked_without_network",
            Self::Reconstruction => "reconstruction",
            Self::Reconstruction2d => "reconstruction_2d",
            Self::Baseline(baseline) => baseline.name,
        }
    }

    /// What it does, in a sentence.
    pub fn doc(self) -> &'static str {
        match self {
            Self::Masked => {
                "Six members over the forecast of a masked convolutional autoencoder, and over what \
                 is normal."
            }
            Self::MaskedWithoutNetwork => {
                "The same members, with the last value of each feature as its forecast."
            }
            Self::Reconstruction => {
                "How badly the last 16 rows come out of a convolutional autoencoder, and how unusual \
                 their latent vector is."
            }
            Self::Reconstruction2d => {
                "The same, with convolutions over time and features as over an image."
            }
            Self::Baseline(baseline) => baseline.doc,
        }
    }

    /// Whether a network is part of it, and its file a model that Keras opens.
    pub fn has_network(self) -> bool {
        matches!(self, Self::Masked | Self::Reconstruction | Self::Reconstruction2d)
    }
}

impl fmt::Display for DetectorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DetectorKind {
    type Err = UnknownDetector;

    fn from_str(name: &str) -> Result<Self, UnknownDetector> {
        let unknown = || UnknownDetector { name: name.to_owned() };
        Self::all().find(|kind| kind.name() == name).ok_or_else(unknown)
    }
}

fn names() -> String {
    let names: Vec<String> = DetectorKind::all().map(|kind| format!("`{kind}`")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one_detector() {
        for kind in DetectorKind::all() {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let error = "masked2".parse::<DetectorKind>().unwrap_err().to_string();
        assert!(error.starts_with("there is no detector `masked2`: take one of `masked`, "));
        assert!(error.ends_with("`static_pca`, `streaming_pca`"), "{error}");
    }
}
