//! The shape of a network.

use crate::ModelError;

/// Most features of a network.
pub(crate) const MAX_FEATURES: usize = 4096;
/// Most channels of a hidden layer.
const MAX_CHANNELS: usize = 512;
/// Most dilated or decoder layers.
const MAX_LAYERS: usize = 8;
/// Most rows a network may look back.
const MAX_RECEPTIVE_FIELD: usize = 4096;
/// Most values that the linear part of a network reads: their Gram matrix takes 25 MB and a second.
const MAX_PREDICTORS: usize = 1536;
/// Most features of a network that the recipe gives a linear part.
const MAX_LINEAR_FEATURES: usize = 512;
/// Most weights, so that every network fits the size limit of a `.keras` entry.
const MAX_PARAMETERS: usize = 8_000_000;

/// The hyper-parameters of a masked causal autoencoder. [`crate::Network::new`] refuses what is
/// outside the ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Values in a row, 1 to 4096.
    pub n_features: usize,
    /// Channels of the hidden layers, 1 to 512.
    pub channels: usize,
    /// Rows each convolution over time looks at, 1 to 16.
    pub kernel: usize,
    /// Step between those rows for each layer after the first, 1 to 512 each, 1 to 8 of them. The
    /// last layer is the bottleneck.
    pub dilations: Vec<usize>,
    /// Channels of the bottleneck, 1 to 512.
    pub bottleneck: usize,
    /// Channels of the decoder's layers, 1 to 512 each, at most 8 of them; the layer that gives
    /// the features comes on top.
    pub decoder: Vec<usize>,
    /// Whether a linear prediction from the last `kernel` rows is added to that of the network,
    /// which then learns only what the linear one misses. At most 1536 values may stand in those
    /// rows.
    pub linear: bool,
}

impl Config {
    /// The measured recipe: 32 channels, kernel 3, dilations 2, 4 and 8, bottleneck 12, decoder
    /// 32 and 32, and a linear part up to 512 features: above, it would be larger than all the
    /// rest and slow to solve. It looks back 32 rows.
    pub fn recipe(n_features: usize) -> Self {
        Self {
            n_features,
            channels: 32,
            kernel: 3,
            dilations: vec![2, 4, 8],
            bottleneck: 12,
            decoder: vec![32, 32],
            linear: n_features <= MAX_LINEAR_FEATURES,
        }
    }

    /// Rows that decide a prediction, the predicted one included. Training needs sequences at
    /// least this long.
    pub fn receptive_field(&self) -> usize {
        let dilated: usize = self.dilations.iter().sum();
        self.kernel.saturating_sub(1).saturating_mul(dilated).saturating_add(self.kernel + 1)
    }

    /// Refuses what is outside the documented ranges.
    pub(crate) fn check(&self) -> Result<(), ModelError> {
        within("n_features", self.n_features, 1, MAX_FEATURES)?;
        within("channels", self.channels, 1, MAX_CHANNELS)?;
        within("kernel", self.kernel, 1, 16)?;
        within("dilations", self.dilations.len(), 1, MAX_LAYERS)?;
        for dilation in &self.dilations {
            within("dilations", *dilation, 1, 512)?;
        }
        within("bottleneck", self.bottleneck, 1, MAX_CHANNELS)?;
        within("decoder", self.decoder.len(), 0, MAX_LAYERS)?;
        for channels in &self.decoder {
            within("decoder", *channels, 1, MAX_CHANNELS)?;
        }
        if self.linear {
            within("n_features × kernel", self.n_features * self.kernel, 1, MAX_PREDICTORS)?;
        }
        within("receptive field", self.receptive_field(), 1, MAX_RECEPTIVE_FIELD)?;
        within("number of weights", self.n_parameters(), 1, MAX_PARAMETERS)
    }

    /// How many weights and biases; meaningful once the ranges hold.
    pub(crate) fn n_parameters(&self) -> usize {
        let dense = |n_in: usize, n_out: usize, kernel: usize| (n_in * kernel + 1) * n_out;
        let mut n = dense(self.n_features, self.channels, self.kernel)
            + dense(2 * self.n_features, self.channels, 1)
            + (self.dilations.len() - 1) * dense(self.channels, self.channels, self.kernel)
            + dense(self.channels, self.bottleneck, self.kernel);
        let mut n_in = self.bottleneck;
        for n_out in self.decoder.iter().copied().chain([self.n_features]) {
            n += dense(n_in, n_out, 1);
            n_in = n_out;
        }
        if self.linear {
            n += dense(self.n_features, self.n_features, self.kernel);
        }
        n
    }
}

/// An error that names the setting unless `low <= found <= high`.
pub(crate) fn within(
    field: &'static str,
    found: usize,
    low: usize,
    high: usize,
) -> Result<(), ModelError> {
    if (low..=high).contains(&found) {
        return Ok(());
    }
    let allowed = format!("{low} to {high}");
    Err(ModelError::Setting { field, found: found.to_string(), allowed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipe_has_the_size_and_reach_that_were_measured() {
        let config = Config::recipe(38);
        config.check().unwrap();
        assert_eq!(config.receptive_field(), 32);
        assert_eq!(config.n_parameters(), 16_242 + 38 * (3 * 38 + 1));
        assert_eq!(Config { linear: false, ..config }.n_parameters(), 16_242);
        for (n_features, linear) in [(512, true), (513, false), (2000, false), (4096, false)] {
            let config = Config::recipe(n_features);
            config.check().unwrap();
            assert_eq!(config.linear, linear);
        }
    }

    #[test]
    fn refuses_absurd_sizes_by_name() {
        let config = Config::recipe(4);
        let cases = [
            (Config { n_features: 0, ..config.clone() }, "`n_features` is 0"),
            (Config { n_features: 5000, ..config.clone() }, "1 to 4096"),
            (Config { dilations: vec![], ..config.clone() }, "`dilations` is 0"),
            (Config { dilations: vec![usize::MAX], ..config.clone() }, "`dilations`"),
            (Config { dilations: vec![512; 8], ..config.clone() }, "`receptive field` is 8196"),
            (Config { decoder: vec![0], ..config.clone() }, "`decoder` is 0"),
            (Config { n_features: 513, ..config.clone() }, "`n_features × kernel` is 1539"),
            (
                Config { n_features: 4096, channels: 512, kernel: 16, linear: false, ..config },
                "`number of weights`",
            ),
        ];
        for (config, expected) in cases {
            let message = config.check().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
