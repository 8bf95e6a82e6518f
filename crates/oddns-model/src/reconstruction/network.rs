//! A network that reconstructs windows: training and files.

use std::ops::ControlFlow;

use super::config::{LATENT, ReconstructionConfig};
use super::latent::LatentClusters;
use super::windows::Windows;
use crate::graph::{FitOptions, FitRecord, Graph, Layer, Optimiser, Schedule, Stopping};
use crate::{ModelError, Progress, Sequence};

/// One row in so many is held out at the end of each sequence.
const HOLD_OUT_PART: usize = 10;
/// Clusters of normal operation in latent space.
const N_CLUSTERS: usize = 8;
/// Windows that the clusters are learned from, at most.
const CLUSTERED_WINDOWS: usize = 4096;

/// An autoencoder of windows: the last rows of a sequence go in and come out again, through a
/// vector too narrow for anything but what is usual. How badly they come out, and how far that
/// vector lies from those of normal operation, are its two scores.
///
/// It is any [`Graph`] from a window to a window: one of our own
/// ([`ReconstructionConfig`]) or one that Keras saved.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconstruction {
    pub(super) graph: Graph,
    pub(super) window: usize,
    pub(super) n_features: usize,
    /// The node with the latent vector.
    pub(super) latent: usize,
    pub(super) latent_size: usize,
    /// Learned with the weights.
    pub(super) clusters: Option<LatentClusters>,
}

impl Reconstruction {
    /// An untrained network; the same seed gives the same weights. Refuses a configuration outside
    /// the ranges of [`ReconstructionConfig`].
    pub fn new(config: &ReconstructionConfig, seed: u64) -> Result<Self, ModelError> {
        Self::from_graph(config.build(seed)?)
    }

    /// Takes a network with one input, `(window, features)`, `(window, features, 1)` or
    /// `(features)`, and one output of as many values. The latent vector is the layer called
    /// `latent`, or else the narrowest one.
    pub fn from_graph(graph: Graph) -> Result<Self, ModelError> {
        let refuse = |problem: &str| ModelError::Layer {
            layer: graph.name().to_owned(),
            class: "Functional".into(),
            problem: problem.to_owned(),
        };
        let ([input], [output]) = (graph.inputs(), graph.outputs()) else {
            return Err(refuse("an autoencoder has one input and one output"));
        };
        let (window, n_features) = match graph.nodes()[*input].output() {
            [Some(window), Some(features)] | [Some(window), Some(features), Some(1)] => {
                (*window, *features)
            }
            [Some(features)] => (1, *features),
            _ => return Err(refuse("its input is no window of known size: rows, then features")),
        };
        let size = values(&graph, *output);
        if size != Some(window * n_features) {
            return Err(refuse("its output has not as many values as its input"));
        }
        let latent = graph.find(LATENT).or_else(|| narrowest(&graph)).unwrap_or(*output);
        let latent_size = values(&graph, latent).unwrap_or_default();
        Ok(Self { graph, window, n_features, latent, latent_size, clusters: None })
    }

    /// The network itself.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Rows that are reconstructed together.
    pub fn window(&self) -> usize {
        self.window
    }

    /// Values in a row.
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// The place of the layer that gives the latent vector, among the nodes of the graph.
    pub fn latent_node(&self) -> usize {
        self.latent
    }

    /// Size of the latent vector.
    pub fn latent_size(&self) -> usize {
        self.latent_size
    }

    /// The clusters of normal operation in latent space; `None` before training.
    pub fn clusters(&self) -> Option<&LatentClusters> {
        self.clusters.as_ref()
    }

    /// The measured recipe for training.
    pub fn recipe() -> FitOptions {
        FitOptions {
            optimiser: Optimiser::AdamW { decay: 0.01 },
            schedule: Schedule::OneCycle,
            learning_rate: 2e-3,
            steps: 600,
            batch: 64,
            stopping: Some(Stopping { every: 50, patience: 4, least_gain: 0.0 }),
            ..FitOptions::default()
        }
    }

    /// Goes on training with all windows of sequences of normal operation, and learns the clusters
    /// anew. The last tenth of each sequence that is long enough is held out; without any,
    /// `options.stopping` is left aside. Errors as of [`Graph::fit`], and sequences of another
    /// width or shorter than a window; the network then is as it was.
    pub fn fit(
        &mut self,
        sequences: &[Sequence],
        options: &FitOptions,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<FitRecord, ModelError> {
        self.check(sequences)?;
        let window = self.window;
        let learned = Windows::new(sequences, window, 1, |s| 0..n_learned(s, window));
        let held_out =
            Windows::new(sequences, window, window.div_ceil(4), |s| n_learned(s, window)..s.len());
        let mut options = options.clone();
        if held_out.starts().is_empty() {
            options.stopping = None;
        }
        let held_out = (!held_out.starts().is_empty()).then_some(&held_out);
        let held_out = held_out.map(|windows| windows as &dyn crate::graph::Examples);
        let mut graph = self.graph.clone();
        let record = graph.fit(&learned, held_out, &options, progress)?;
        let fitted = Self { graph, ..self.clone() };
        let clusters = fitted.learn_clusters(sequences, options.seed)?;
        *self = Self { clusters: Some(clusters), ..fitted };
        Ok(record)
    }

    fn check(&self, sequences: &[Sequence]) -> Result<(), ModelError> {
        for (at, sequence) in sequences.iter().enumerate() {
            self.check_width(sequence)?;
            if sequence.len() < self.window {
                let (rows, needed) = (sequence.len(), self.window);
                return Err(ModelError::TooShort { sequence: at, rows, needed });
            }
        }
        let observed = |s: &Sequence| (0..s.len()).any(|row| s.observed(row).contains(&true));
        if sequences.iter().any(observed) { Ok(()) } else { Err(ModelError::NothingObserved) }
    }

    pub(super) fn check_width(&self, sequence: &Sequence) -> Result<(), ModelError> {
        let (expected, found) = (self.n_features, sequence.n_features());
        if expected == found { Ok(()) } else { Err(ModelError::Width { expected, found }) }
    }

    /// Clusters of the latent vectors of `sequences`, for a network that comes without: see
    /// [`Reconstruction::with_clusters`].
    pub fn learn_clusters(
        &self,
        sequences: &[Sequence],
        seed: u64,
    ) -> Result<LatentClusters, ModelError> {
        let rows: usize = sequences.iter().map(Sequence::len).sum();
        let step = rows.div_ceil(CLUSTERED_WINDOWS).max(1);
        let mut latents = vec![];
        for sequence in sequences {
            self.check_width(sequence)?;
            latents.extend(self.latents(sequence, step)?);
        }
        LatentClusters::learn(&latents, self.latent_size, N_CLUSTERS, seed)
    }

    /// The network with these clusters. Refuses clusters of another number of dimensions.
    pub fn with_clusters(self, clusters: LatentClusters) -> Result<Self, ModelError> {
        if clusters.size() != self.latent_size {
            let (expected, found) = (self.latent_size, clusters.size());
            return Err(ModelError::Width { expected, found });
        }
        Ok(Self { clusters: Some(clusters), ..self })
    }
}

/// How many values a node gives.
fn values(graph: &Graph, node: usize) -> Option<usize> {
    graph.nodes()[node].output().iter().copied().product()
}

/// The first of the nodes with the fewest values; an input is none.
fn narrowest(graph: &Graph) -> Option<usize> {
    let is_input = |at: &usize| matches!(graph.nodes()[*at].layer(), Layer::Input { .. });
    let inner = (0..graph.nodes().len()).filter(|at| !is_input(at));
    inner.min_by_key(|at| values(graph, *at).unwrap_or(usize::MAX))
}

/// How many rows at the beginning of a sequence are learned from.
fn n_learned(sequence: &Sequence, window: usize) -> usize {
    let long_enough = sequence.len() >= HOLD_OUT_PART * window;
    sequence.len() - if long_enough { sequence.len() / HOLD_OUT_PART } else { 0 }
}
