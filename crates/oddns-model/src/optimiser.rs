//! AdamW with a one-cycle learning rate.

use crate::network::Network;

/// Decay of the mean gradient (Kingma and Ba 2015).
const MEAN_DECAY: f64 = 0.9;
/// Decay of the mean squared gradient (Kingma and Ba 2015).
const SQUARE_DECAY: f64 = 0.999;
/// Keeps the division finite; 1e-8 as in the paper and PyTorch (Keras takes 1e-7).
const EPSILON: f32 = 1e-8;
/// Decoupled weight decay, for weights and not for biases (Loshchilov and Hutter 2019).
const WEIGHT_DECAY: f32 = 0.01;

/// The state of AdamW.
pub(crate) struct Optimiser {
    mean: Vec<f32>,
    square: Vec<f32>,
    mean_left: f64,
    square_left: f64,
}

impl Optimiser {
    pub(crate) fn new(network: &Network) -> Self {
        let zeros = vec![0.0; network.layers.n_learned()];
        Self { mean: zeros.clone(), square: zeros, mean_left: 1.0, square_left: 1.0 }
    }

    /// One step down `gradient`; the linear part stays.
    pub(crate) fn step(&mut self, network: &mut Network, gradient: &[f32], rate: f32) {
        // The running products stand for powers: `powi` may differ between machines.
        self.mean_left *= MEAN_DECAY;
        self.square_left *= SQUARE_DECAY;
        let step = rate / (1.0 - self.mean_left) as f32;
        let square_scale = 1.0 / (1.0 - self.square_left) as f32;
        decay_weights(network, 1.0 - rate * WEIGHT_DECAY);
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for ((parameter, gradient), (mean, square)) in
            network.parameters.iter_mut().zip(gradient).zip(moments)
        {
            *mean += (1.0 - MEAN_DECAY) as f32 * (gradient - *mean);
            *square += (1.0 - SQUARE_DECAY) as f32 * (gradient * gradient - *square);
            *parameter -= step * *mean / ((*square * square_scale).sqrt() + EPSILON);
        }
    }
}

fn decay_weights(network: &mut Network, factor: f32) {
    for layer in network.layers.learned() {
        for weight in &mut network.parameters[layer.offset..layer.bias_offset()] {
            *weight *= factor;
        }
    }
}

/// The learning rate of step `step` of `steps`: up from a 25th of `peak` over the first 30 %, then
/// down to nearly nothing (Smith and Topin 2018, with PyTorch's defaults). The bends are
/// 3u² − 2u³ instead of a cosine, which is not the same to the bit on every machine.
pub(crate) fn one_cycle(peak: f32, step: usize, steps: usize) -> f32 {
    const RISE: f32 = 0.3;
    const START: f32 = 1.0 / 25.0;
    const END: f32 = START / 10_000.0;
    let done = step as f32 / steps.max(2).saturating_sub(1) as f32;
    let smooth = |u: f32| u * u * (3.0 - 2.0 * u);
    let part = if done < RISE {
        START + (1.0 - START) * smooth(done / RISE)
    } else {
        1.0 + (END - 1.0) * smooth((done - RISE) / (1.0 - RISE))
    };
    peak * part
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn rate_rises_to_its_peak_and_falls_to_nothing() {
        let rates: Vec<f32> = (0..200).map(|step| one_cycle(2e-3, step, 200)).collect();
        let peak = rates.iter().copied().fold(0.0, f32::max);
        assert!((rates[0] - 8e-5).abs() < 1e-7, "{}", rates[0]);
        assert!((peak - 2e-3).abs() < 1e-6 && rates[60] > 1.99e-3);
        assert!(rates[199] < 1e-6 && rates.iter().all(|rate| *rate > 0.0));
        assert!(one_cycle(1.0, 0, 1) > 0.0);
    }

    #[test]
    fn first_step_has_the_size_of_the_rate_and_spares_padding() {
        let mut network = Network::zeros(Config::recipe(3)).unwrap();
        let mut gradient = vec![0.0; network.parameters.len()];
        gradient[0] = 0.5;
        gradient[1] = -7.0;
        Optimiser::new(&network).step(&mut network, &gradient, 1e-3);
        assert!((network.parameters[0] + 1e-3).abs() < 1e-8);
        assert!((network.parameters[1] - 1e-3).abs() < 1e-8);
        assert!(network.parameters[2..].iter().all(|p| *p == 0.0));
    }
}
