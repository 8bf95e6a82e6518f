//! The shape of a reconstruction network.

use crate::ModelError;
use crate::config::within;
use crate::graph::{Activation, Convolution, Graph, GraphBuilder, Layer, NodeId, Padding};

/// Name of the layer with the narrowest view of a window.
pub(super) const LATENT: &str = "latent";

/// What the convolutions run over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Over time, the features being channels.
    Line,
    /// Over time and features, as over an image with one colour.
    Image,
}

/// The hyper-parameters of a reconstruction network. Convolutions that halve the window, a dense
/// layer to the latent vector, a dense layer back, and transposed convolutions that double.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconstructionConfig {
    /// Values in a row, 1 to 4096.
    pub n_features: usize,
    /// Rows in a window, 1 to 4096.
    pub window: usize,
    /// What the convolutions run over.
    pub form: Form,
    /// Taps of each convolution, along each axis, 1 to 16.
    pub kernel: usize,
    /// Channels of each halving convolution, 1 to 512 each, 1 to 6 of them.
    pub channels: Vec<usize>,
    /// Size of the latent vector, 1 to 512.
    pub latent: usize,
}

impl ReconstructionConfig {
    /// The measured window: longer ones blur what is short.
    pub const WINDOW: usize = 16;

    /// Convolutions over time with the measured sizes: VUS-PR .436 of the window error on six
    /// machines of the Server Machine Dataset, at 16 rows and one seed.
    pub fn one_dimensional(n_features: usize, window: usize) -> Self {
        let channels = vec![64, 32];
        Self { n_features, window, form: Form::Line, kernel: 5, channels, latent: 8 }
    }

    /// Convolutions over the image of time and features with the measured sizes: VUS-PR .490 where
    /// [`ReconstructionConfig::one_dimensional`] has .436, in twice the time.
    pub fn two_dimensional(n_features: usize, window: usize) -> Self {
        let channels = vec![16, 16];
        Self { n_features, window, form: Form::Image, kernel: 3, channels, latent: 32 }
    }

    fn check(&self) -> Result<(), ModelError> {
        within("n_features", self.n_features, 1, 4096)?;
        within("window", self.window, 1, 4096)?;
        within("kernel", self.kernel, 1, 16)?;
        within("number of channels", self.channels.len(), 1, 6)?;
        for channels in &self.channels {
            within("channels", *channels, 1, 512)?;
        }
        within("latent", self.latent, 1, 512)
    }

    fn axes(&self) -> usize {
        match self.form {
            Form::Line => 1,
            Form::Image => 2,
        }
    }

    /// The network with random weights: from `(window, n_features)` to the same.
    pub(super) fn build(&self, seed: u64) -> Result<Graph, ModelError> {
        self.check()?;
        let mut builder = GraphBuilder::new("reconstruction");
        let shape = vec![Some(self.window), Some(self.n_features)];
        let input = builder.add("window", Layer::Input { shape: shape.clone() }, &[])?;
        let mut at = input;
        if self.form == Form::Image {
            let shape = [shape.clone(), vec![Some(1)]].concat();
            at = builder.add("image", Layer::Reshape { shape }, &[at])?;
        }
        for (n, channels) in self.channels.iter().enumerate() {
            let layer = self.convolution(*channels, Activation::Gelu, false);
            at = builder.add(&format!("encoder_{}", n + 1), layer, &[at])?;
        }
        let narrow = builder.shape(at).to_vec();
        let flat = builder.add("flat", Layer::Flatten, &[at])?;
        let latent = builder.add(LATENT, dense(self.latent, Activation::Linear), &[flat])?;
        let units = narrow.iter().flatten().product();
        let wide = builder.add("wide", dense(units, Activation::Gelu), &[latent])?;
        at = builder.add("unflat", Layer::Reshape { shape: narrow }, &[wide])?;
        at = self.decoder(&mut builder, at)?;
        at = self.crop(&mut builder, at)?;
        if self.form == Form::Image {
            at = builder.add("rows", Layer::Reshape { shape }, &[at])?;
        }
        builder.finish(&[input], &[at], seed)
    }

    fn convolution(&self, filters: usize, activation: Activation, transposed: bool) -> Layer {
        Layer::Convolution(Convolution {
            strides: vec![2; self.axes()],
            padding: Padding::Same,
            activation,
            transposed,
            ..Convolution::new(filters, &vec![self.kernel; self.axes()])
        })
    }

    /// As many doublings as there were halvings; the last gives the values.
    fn decoder(&self, builder: &mut GraphBuilder, from: NodeId) -> Result<NodeId, ModelError> {
        let values = if self.form == Form::Line { self.n_features } else { 1 };
        let hidden = self.channels.iter().rev().skip(1);
        let mut at = from;
        for (n, channels) in hidden.enumerate() {
            let layer = self.convolution(*channels, Activation::Gelu, true);
            at = builder.add(&format!("decoder_{}", n + 1), layer, &[at])?;
        }
        let layer = self.convolution(values, Activation::Linear, true);
        builder.add("reconstruction", layer, &[at])
    }

    /// Drops what halving and doubling added, at the old end.
    fn crop(&self, builder: &mut GraphBuilder, at: NodeId) -> Result<NodeId, ModelError> {
        let sizes = [self.window, self.n_features];
        let found = builder.shape(at).to_vec();
        let more = |(found, size): (&Option<usize>, &usize)| {
            (found.unwrap_or(*size).saturating_sub(*size), 0)
        };
        let amounts: Vec<_> = found.iter().zip(&sizes).take(self.axes()).map(more).collect();
        if amounts.iter().all(|(before, _)| *before == 0) {
            return Ok(at);
        }
        builder.add("crop", Layer::Cropping { amounts }, &[at])
    }
}

fn dense(units: usize, activation: Activation) -> Layer {
    Layer::Dense { units, bias: true, activation }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_has_the_shape_of_the_window() {
        for (n_features, window) in [(1, 1), (3, 17), (38, 32), (5, 64)] {
            let configs = [
                ReconstructionConfig::one_dimensional(n_features, window),
                ReconstructionConfig::two_dimensional(n_features, window),
            ];
            for config in configs {
                let graph = config.build(1).unwrap();
                let output = graph.nodes()[graph.outputs()[0]].output();
                assert_eq!(output, [Some(window), Some(n_features)], "{config:?}");
                let latent = graph.find(LATENT).unwrap();
                assert_eq!(graph.nodes()[latent].output(), [Some(config.latent)]);
            }
        }
    }

    #[test]
    fn refuses_absurd_sizes_by_name() {
        let config = ReconstructionConfig::one_dimensional(4, 32);
        let cases = [
            (ReconstructionConfig { n_features: 0, ..config.clone() }, "`n_features` is 0"),
            (ReconstructionConfig { window: 5000, ..config.clone() }, "`window` is 5000"),
            (ReconstructionConfig { channels: vec![], ..config }, "`number of channels`"),
        ];
        for (config, expected) in cases {
            let message = config.build(1).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
