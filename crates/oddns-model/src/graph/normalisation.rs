//! Batch and layer normalisation, and dropout.

use super::operation::{Call, Joint, Operation};

/// Which of scale (gamma) and shift (beta) a normalisation has. They come first among its weights.
#[derive(Debug, Clone, Copy)]
pub(super) struct Affine {
    pub(super) channels: usize,
    pub(super) scale: bool,
    pub(super) center: bool,
}

impl Affine {
    fn scale<'a>(&self, weights: &'a [f32]) -> Option<&'a [f32]> {
        self.scale.then(|| &weights[..self.channels])
    }

    fn shift<'a>(&self, weights: &'a [f32]) -> Option<&'a [f32]> {
        let from = usize::from(self.scale) * self.channels;
        self.center.then(|| &weights[from..from + self.channels])
    }

    /// How many weights it has.
    fn size(&self) -> usize {
        (usize::from(self.scale) + usize::from(self.center)) * self.channels
    }

    fn apply(&self, weights: &[f32], row: &mut [f32]) {
        if let Some(scale) = self.scale(weights) {
            row.iter_mut().zip(scale).for_each(|(value, scale)| *value *= scale);
        }
        if let Some(shift) = self.shift(weights) {
            row.iter_mut().zip(shift).for_each(|(value, shift)| *value += shift);
        }
    }

    /// The slope by the normalised values.
    fn slope(&self, weights: &[f32], slope: &[f32]) -> Vec<f32> {
        match self.scale(weights) {
            Some(scale) => slope.iter().zip(scale).map(|(slope, scale)| slope * scale).collect(),
            None => slope.to_vec(),
        }
    }

    fn add_gradient(&self, normalised: &[f32], slope: &[f32], gradient: &mut [f32]) {
        let mut gradient = gradient;
        if self.scale {
            let (scale, rest) = gradient.split_at_mut(self.channels);
            for ((sum, value), slope) in scale.iter_mut().zip(normalised).zip(slope) {
                *sum += value * slope;
            }
            gradient = rest;
        }
        if self.center {
            gradient.iter_mut().zip(slope).for_each(|(sum, slope)| *sum += slope);
        }
    }
}

/// Normalises each channel over the batch while training, by running statistics afterwards.
pub(super) struct BatchNormalise {
    pub(super) affine: Affine,
    pub(super) momentum: f32,
    pub(super) epsilon: f32,
    /// Always by the running statistics.
    pub(super) frozen: bool,
}

impl BatchNormalise {
    /// Mean and one over the deviation of each channel: of the batch, or as remembered.
    fn centre_and_scale(&self, call: &Call<'_>) -> (Vec<f32>, Vec<f32>) {
        let n = self.affine.channels;
        let (mean, variance) = match call.training {
            Some(_) if !self.frozen => call.statistics[..2 * n].split_at(n),
            _ => call.weights[self.affine.size()..].split_at(n),
        };
        let scale = variance.iter().map(|variance| 1.0 / (variance + self.epsilon).sqrt());
        (mean.to_vec(), scale.collect())
    }

    fn normalised(&self, call: &Call<'_>) -> Vec<f32> {
        let (mean, scale) = self.centre_and_scale(call);
        let mut values = call.inputs[0].to_vec();
        for row in values.chunks_mut(self.affine.channels) {
            for ((value, mean), scale) in row.iter_mut().zip(&mean).zip(&scale) {
                *value = (*value - mean) * scale;
            }
        }
        values
    }
}

impl Operation for BatchNormalise {
    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        output.copy_from_slice(&self.normalised(call));
        for row in output.chunks_mut(self.affine.channels) {
            self.affine.apply(call.weights, row);
        }
    }

    fn add_input_slope(
        &self,
        call: &Call<'_>,
        _output: &[f32],
        slope: &[f32],
        _which: usize,
        into: &mut [f32],
    ) {
        let n = self.affine.channels;
        let (_, scale) = self.centre_and_scale(call);
        let normalised = self.normalised(call);
        let no_statistics = vec![0.0; 2 * n];
        // The means over the batch of the slope, and of the slope times the normalised value.
        let means = if self.frozen || call.statistics.len() < 4 * n {
            &no_statistics
        } else {
            &call.statistics[2 * n..]
        };
        let (slope_mean, product_mean) = means.split_at(n);
        let rows = normalised.chunks(n).zip(slope.chunks(n));
        for ((normalised, slope), into) in rows.zip(into.chunks_mut(n)) {
            let slope = self.affine.slope(call.weights, slope);
            let gamma = |c: usize| self.affine.scale(call.weights).map_or(1.0, |scale| scale[c]);
            for c in 0..n {
                let by_batch = gamma(c) * (slope_mean[c] + normalised[c] * product_mean[c]);
                into[c] += scale[c] * (slope[c] - by_batch);
            }
        }
    }

    fn add_gradient(&self, call: &Call<'_>, slope: &[f32], gradient: &mut [f32]) {
        let n = self.affine.channels;
        let normalised = self.normalised(call);
        for (normalised, slope) in normalised.chunks(n).zip(slope.chunks(n)) {
            self.affine.add_gradient(normalised, slope, &mut gradient[..self.affine.size()]);
        }
    }

    fn joint(&self) -> Option<&dyn Joint> {
        if self.frozen { None } else { Some(self) }
    }
}

impl Joint for BatchNormalise {
    fn statistics(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let n = self.affine.channels;
        let rows = || inputs.iter().flat_map(|part| part.chunks(n));
        let count = rows().count().max(1) as f64;
        let (mut mean, mut variance) = (vec![0.0_f64; n], vec![0.0_f64; n]);
        for row in rows() {
            mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        mean.iter_mut().for_each(|sum| *sum /= count);
        for row in rows() {
            for ((sum, value), mean) in variance.iter_mut().zip(row).zip(&mean) {
                *sum += (f64::from(*value) - mean).powi(2);
            }
        }
        let variance = variance.iter().map(|sum| (sum / count) as f32);
        mean.iter().map(|mean| *mean as f32).chain(variance).collect()
    }

    fn slope_statistics(&self, inputs: &[&[f32]], slopes: &[&[f32]], known: &[f32]) -> Vec<f32> {
        let n = self.affine.channels;
        let (mean, variance) = known.split_at(n);
        let scale: Vec<f32> =
            variance.iter().map(|variance| 1.0 / (variance + self.epsilon).sqrt()).collect();
        let mut sums = vec![0.0_f64; 2 * n];
        let mut count = 0.0_f64;
        for (input, slope) in inputs.iter().zip(slopes) {
            for (input, slope) in input.chunks(n).zip(slope.chunks(n)) {
                count += 1.0;
                for c in 0..n {
                    sums[c] += f64::from(slope[c]);
                    sums[n + c] += f64::from(slope[c] * ((input[c] - mean[c]) * scale[c]));
                }
            }
        }
        sums.iter().map(|sum| (sum / count.max(1.0)) as f32).collect()
    }

    fn remember(&self, statistics: &[f32], weights: &mut [f32]) {
        let running = &mut weights[self.affine.size()..];
        for (running, now) in running.iter_mut().zip(statistics) {
            *running = *running * self.momentum + now * (1.0 - self.momentum);
        }
    }
}

/// Normalises the channels of every position.
pub(super) struct LayerNormalise {
    pub(super) affine: Affine,
    pub(super) epsilon: f32,
}

impl LayerNormalise {
    /// The row normalised, and one over its deviation.
    fn normalised(&self, row: &[f32]) -> (Vec<f32>, f32) {
        let n = row.len() as f32;
        let mean = row.iter().sum::<f32>() / n;
        let variance = row.iter().map(|value| (value - mean) * (value - mean)).sum::<f32>() / n;
        let scale = 1.0 / (variance + self.epsilon).sqrt();
        (row.iter().map(|value| (value - mean) * scale).collect(), scale)
    }
}

impl Operation for LayerNormalise {
    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let n = self.affine.channels;
        for (input, output) in call.inputs[0].chunks(n).zip(output.chunks_mut(n)) {
            output.copy_from_slice(&self.normalised(input).0);
            self.affine.apply(call.weights, output);
        }
    }

    fn add_input_slope(
        &self,
        call: &Call<'_>,
        _output: &[f32],
        slope: &[f32],
        _which: usize,
        into: &mut [f32],
    ) {
        let n = self.affine.channels;
        let rows = call.inputs[0].chunks(n).zip(slope.chunks(n));
        for ((input, slope), into) in rows.zip(into.chunks_mut(n)) {
            let (normalised, scale) = self.normalised(input);
            let slope = self.affine.slope(call.weights, slope);
            let mean = slope.iter().sum::<f32>() / n as f32;
            let products = slope.iter().zip(&normalised).map(|(slope, value)| slope * value);
            let product = products.sum::<f32>() / n as f32;
            for ((into, slope), value) in into.iter_mut().zip(&slope).zip(&normalised) {
                *into += scale * (slope - mean - value * product);
            }
        }
    }

    fn add_gradient(&self, call: &Call<'_>, slope: &[f32], gradient: &mut [f32]) {
        let n = self.affine.channels;
        for (input, slope) in call.inputs[0].chunks(n).zip(slope.chunks(n)) {
            self.affine.add_gradient(&self.normalised(input).0, slope, gradient);
        }
    }
}

/// Drops each value with a probability while training, and scales up the rest.
pub(super) struct Drop {
    pub(super) rate: f32,
    /// Values of a sample.
    pub(super) size: usize,
    /// Tells the dropouts of a network apart.
    pub(super) salt: u64,
}

impl Drop {
    /// What each value is multiplied with. A hash of the seed and the value's place in the batch,
    /// so that it does not matter who computes it, and backward sees what forward did.
    fn factor(&self, seed: u64, place: usize) -> f32 {
        let mut bits = seed ^ self.salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = mix(bits).wrapping_add(place as u64);
        let unit = (mix(bits) >> 40) as f32 / 16_777_216.0;
        if unit < self.rate { 0.0 } else { 1.0 / (1.0 - self.rate) }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl Operation for Drop {
    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        output.copy_from_slice(call.inputs[0]);
        if let Some(seed) = call.training.filter(|_| self.rate > 0.0) {
            for (at, value) in output.iter_mut().enumerate() {
                *value *= self.factor(seed, call.first * self.size + at);
            }
        }
    }

    fn add_input_slope(
        &self,
        call: &Call<'_>,
        _output: &[f32],
        slope: &[f32],
        _which: usize,
        into: &mut [f32],
    ) {
        for (at, (slope, into)) in slope.iter().zip(into).enumerate() {
            let seed = call.training.filter(|_| self.rate > 0.0);
            *into +=
                seed.map_or(1.0, |seed| self.factor(seed, call.first * self.size + at)) * slope;
        }
    }
}
