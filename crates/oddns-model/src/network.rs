//! The masked causal autoencoder: its layers, its weights, and one pass through them.

use std::ops::Range;

use crate::convolution::Convolution;
use crate::kernels::gelu;
use crate::masking::Hidden;
use crate::plane::Plane;
use crate::random::Random;
use crate::{Config, ModelError, Sequence};

/// A network that says what each value of a row should have been, from the rows before and those
/// values of the row itself that it is shown.
///
/// A history branch (causal convolution over the rows strictly before) and a branch for what is
/// visible of the current row (values and flags, 1×1) are added; dilated causal convolutions lead
/// to a narrow bottleneck, 1×1 layers back to the features. Activations are the exact GELU. With
/// [`Config::linear`], a linear prediction from the last rows is added to the result.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    config: Config,
    pub(crate) layers: Layers,
    /// All weights finite; padding lanes zero.
    pub(crate) parameters: Vec<f32>,
}

/// Where every layer is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layers {
    pub(crate) history: Convolution,
    pub(crate) current: Convolution,
    /// From the sum of the two branches to the features; every input went through GELU.
    pub(crate) stack: Vec<Convolution>,
    /// Adds to the features. Its weights come last, and are solved for, not learned by steps.
    pub(crate) linear: Option<Convolution>,
}

/// What the two branches read.
pub(crate) struct Inputs {
    /// `(rows, n_features)`.
    pub(crate) history: Plane,
    /// `(rows, 2 · n_features)`: visible values, then visible flags. `None` when all is hidden.
    pub(crate) visible: Option<Plane>,
}

/// A pass, with everything its gradient needs.
pub(crate) struct Pass {
    /// Before each GELU; the first is the sum of the branches.
    pub(crate) before_gelu: Vec<Plane>,
    /// After each GELU: the inputs of the stack.
    pub(crate) activations: Vec<Plane>,
    /// `(rows, n_features)`.
    pub(crate) output: Plane,
}

impl Network {
    /// An untrained network; the same seed gives the same weights. Refuses a configuration outside
    /// the ranges of [`Config`].
    pub fn new(config: Config, seed: u64) -> Result<Self, ModelError> {
        let mut network = Self::zeros(config)?;
        let mut random = Random::new(seed);
        for layer in network.layers.all() {
            layer.initialise(&mut random, &mut network.parameters);
        }
        Ok(network)
    }

    /// All weights zero.
    pub(crate) fn zeros(config: Config) -> Result<Self, ModelError> {
        config.check()?;
        let layers = Layers::new(&config);
        let size = layers.all().map(Convolution::size).sum();
        Ok(Self { config, layers, parameters: vec![0.0; size] })
    }

    /// The hyper-parameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Rows that decide a prediction, the predicted one included.
    pub fn receptive_field(&self) -> usize {
        self.config.receptive_field()
    }

    /// How many weights and biases.
    pub fn n_parameters(&self) -> usize {
        self.config.n_parameters()
    }

    /// Refuses a sequence of another width.
    pub(crate) fn check_width(&self, sequence: &Sequence) -> Result<(), ModelError> {
        let (expected, found) = (self.config.n_features, sequence.n_features());
        if expected == found { Ok(()) } else { Err(ModelError::Width { expected, found }) }
    }

    /// Refuses a sequence of another width, and rows that it does not have.
    pub(crate) fn check_rows(
        &self,
        sequence: &Sequence,
        rows: &Range<usize>,
    ) -> Result<(), ModelError> {
        self.check_width(sequence)?;
        if rows.start <= rows.end && rows.end <= sequence.len() {
            return Ok(());
        }
        let allowed = format!("within 0..{}", sequence.len());
        Err(ModelError::Setting { field: "rows", found: format!("{rows:?}"), allowed })
    }

    /// `rows` of `sequence` as the branches read them. Rows before the range count as zeros.
    pub(crate) fn inputs(
        &self,
        sequence: &Sequence,
        rows: Range<usize>,
        hidden: Hidden<'_>,
    ) -> Inputs {
        let n = self.config.n_features;
        let mut history = Plane::zeros(n, rows.len(), self.layers.history.reach(), 0);
        for (t, row) in rows.clone().enumerate() {
            history.row_mut(t).copy_from_slice(sequence.row(row));
        }
        let something = !matches!(hidden, Hidden::Everything);
        let visible = something.then(|| Plane::zeros(2 * n, rows.len(), 0, 0));
        let mut inputs = Inputs { history, visible };
        inputs.show(sequence, rows, hidden);
        inputs
    }

    /// The history branch before it is added: `(rows, n_features)` → `(rows, channels)`.
    pub(crate) fn history(&self, history: &Plane) -> Plane {
        self.layers.history.forward(&self.parameters, history, 0)
    }

    /// The branch for the current row: `(rows, 2 · n_features)` → `(rows, channels)`.
    fn current(&self, rows: usize, visible: Option<&Plane>) -> Plane {
        match visible {
            Some(visible) => self.layers.current.forward(&self.parameters, visible, 0),
            None => {
                let mut output = Plane::zeros(self.layers.current.n_out, rows, 0, 0);
                self.fill_with_nothing_visible(output.inner_mut());
                output
            }
        }
    }

    /// What the branch for the current row says of a row that shows nothing, row after row: it is
    /// always the same, so that one row is computed.
    pub(crate) fn fill_with_nothing_visible(&self, output: &mut [f32]) {
        let layer = &self.layers.current;
        let nothing = Plane::zeros(layer.n_in, 1, 0, 0);
        let row = layer.forward(&self.parameters, &nothing, 0);
        for into in output.chunks_exact_mut(row.stride()) {
            into.copy_from_slice(row.inner());
        }
    }

    /// The rest of the network but for the linear part: `(rows, channels)` of the history branch and
    /// what is visible → `(rows, n_features)`.
    pub(crate) fn pass(&self, history: &Plane, visible: Option<&Plane>) -> Pass {
        let mut joined = self.current(history.rows(), visible);
        for (sum, history) in joined.inner_mut().iter_mut().zip(history.inner()) {
            *sum += history;
        }
        let mut pass = Pass { before_gelu: vec![], activations: vec![], output: joined };
        for layer in &self.layers.stack {
            let before = pass.output;
            let mut input = Plane::zeros(layer.n_in, before.rows(), layer.reach(), 0);
            gelu(before.inner(), input.inner_mut());
            pass.output = layer.forward(&self.parameters, &input, 0);
            pass.before_gelu.push(before);
            pass.activations.push(input);
        }
        pass
    }
}

impl Inputs {
    /// Shows what is not `hidden` of `rows` of `sequence`, and nothing that was shown before. Made
    /// for a pass that hides everything, it stays so.
    pub(crate) fn show(&mut self, sequence: &Sequence, rows: Range<usize>, hidden: Hidden<'_>) {
        let Some(visible) = &mut self.visible else { return };
        for (t, row) in rows.enumerate() {
            hidden.show(t, sequence.row(row), sequence.observed(row), visible.row_mut(t));
        }
    }
}

impl Layers {
    fn new(config: &Config) -> Self {
        let mut offset = 0;
        let mut place = |n_in, n_out, kernel, dilation, shift| {
            let layer = Convolution { n_in, n_out, kernel, dilation, shift, offset };
            offset += layer.size();
            layer
        };
        let channels = config.channels;
        let history = place(config.n_features, channels, config.kernel, 1, 1);
        let current = place(2 * config.n_features, channels, 1, 1, 0);
        let mut stack = Vec::new();
        for (at, dilation) in config.dilations.iter().enumerate() {
            let last = at + 1 == config.dilations.len();
            let n_out = if last { config.bottleneck } else { channels };
            stack.push(place(channels, n_out, config.kernel, *dilation, 0));
        }
        let mut n_in = config.bottleneck;
        for n_out in config.decoder.iter().copied().chain([config.n_features]) {
            stack.push(place(n_in, n_out, 1, 1, 0));
            n_in = n_out;
        }
        let linear =
            config.linear.then(|| place(config.n_features, config.n_features, config.kernel, 1, 1));
        Self { history, current, stack, linear }
    }

    /// Every layer, in the order of their weights.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Convolution> {
        self.learned().chain(&self.linear)
    }

    /// The layers whose weights change in a step of the optimiser.
    pub(crate) fn learned(&self) -> impl Iterator<Item = &Convolution> {
        [&self.history, &self.current].into_iter().chain(&self.stack)
    }

    /// How many floats the weights take that change in a step: the first ones.
    pub(crate) fn n_learned(&self) -> usize {
        self.learned().map(Convolution::size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_counted_without_padding() {
        let network = Network::new(Config::recipe(5), 1).unwrap();
        let n: usize =
            network.layers.all().map(|layer| (layer.kernel * layer.n_in + 1) * layer.n_out).sum();
        assert_eq!(network.n_parameters(), n);
        assert_ne!(network, Network::new(Config::recipe(5), 2).unwrap());
        assert_eq!(network, Network::new(Config::recipe(5), 1).unwrap());
    }
}
