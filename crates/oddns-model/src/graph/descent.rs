//! Optimisers and learning rates.

use std::ops::Range;

use multiversion::multiversion;

use crate::optimiser::one_cycle;

/// Decay of the mean gradient (Kingma and Ba 2015).
const MEAN_DECAY: f64 = 0.9;
/// Decay of the mean squared gradient (Kingma and Ba 2015).
const SQUARE_DECAY: f64 = 0.999;
/// Keeps the division finite; as in Keras, where it stands outside of the bias correction.
const EPSILON: f64 = 1e-7;

/// How weights follow their gradients; the numbers are those of Keras.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Optimiser {
    /// Adam (Kingma and Ba 2015).
    Adam,
    /// Adam with decoupled decay of all weights (Loshchilov and Hutter 2019).
    AdamW {
        /// Share of a weight that a step at learning rate 1 would take away; Keras takes 0.004.
        decay: f64,
    },
}

/// The learning rate over the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Schedule {
    /// Always the given rate.
    Constant,
    /// From a 25th of the rate up to it over the first 30 % of the steps, then down to nearly
    /// nothing (Smith and Topin 2018).
    OneCycle,
    /// From the rate down to nothing along half a cosine (Loshchilov and Hutter 2017).
    Cosine,
}

impl Schedule {
    /// The rate of step `step` of `steps`, the first being 0.
    pub(super) fn rate(self, peak: f32, step: usize, steps: usize) -> f32 {
        match self {
            Self::Constant => peak,
            Self::OneCycle => one_cycle(peak, step, steps),
            Self::Cosine => peak * half_cosine(step as f64 / steps.max(1) as f64) as f32,
        }
    }
}

/// (1 + cos πt) / 2 for t between 0 and 1, by the series of the sine around the middle: the
/// platform's cosine has not the same bits everywhere.
fn half_cosine(t: f64) -> f64 {
    let x = std::f64::consts::PI * (t - 0.5);
    let (mut term, mut sine) = (x, x);
    for n in 1..10 {
        let n = f64::from(n);
        term *= -x * x / (2.0 * n * (2.0 * n + 1.0));
        sine += term;
    }
    0.5 * (1.0 - sine)
}

/// The state of an optimiser.
pub(super) struct Descent {
    optimiser: Optimiser,
    mean: Vec<f32>,
    square: Vec<f32>,
    mean_left: f64,
    square_left: f64,
}

impl Descent {
    pub(super) fn new(optimiser: Optimiser, n_parameters: usize) -> Self {
        let zeros = vec![0.0; n_parameters];
        Self { optimiser, mean: zeros.clone(), square: zeros, mean_left: 1.0, square_left: 1.0 }
    }

    /// One step down `gradient` for the parameters in `trained`.
    pub(super) fn step(
        &mut self,
        parameters: &mut [f32],
        gradient: &[f32],
        trained: &[Range<usize>],
        rate: f32,
    ) {
        // The running products stand for powers: `powi` may differ between machines.
        self.mean_left *= MEAN_DECAY;
        self.square_left *= SQUARE_DECAY;
        let step = f64::from(rate) * (1.0 - self.square_left).sqrt() / (1.0 - self.mean_left);
        let kept = match self.optimiser {
            Optimiser::Adam => 1.0,
            Optimiser::AdamW { decay } => 1.0 - (f64::from(rate) * decay) as f32,
        };
        for range in trained {
            let [mean, square] =
                [&mut self.mean, &mut self.square].map(|all| &mut all[range.clone()]);
            descend(
                &mut parameters[range.clone()],
                &gradient[range.clone()],
                mean,
                square,
                step as f32,
                kept,
            );
        }
    }
}

/// One step of Adam for parameters that lie together, with its bias corrections in `step`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2"))]
fn descend(
    parameters: &mut [f32],
    gradient: &[f32],
    mean: &mut [f32],
    square: &mut [f32],
    step: f32,
    kept: f32,
) {
    let moments = mean.iter_mut().zip(square);
    for ((parameter, gradient), (mean, square)) in parameters.iter_mut().zip(gradient).zip(moments)
    {
        *mean += (1.0 - MEAN_DECAY) as f32 * (gradient - *mean);
        *square += (1.0 - SQUARE_DECAY) as f32 * (gradient * gradient - *square);
        *parameter = *parameter * kept - step * *mean / (square.sqrt() + EPSILON as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_falls_from_the_peak_to_nothing() {
        for step in 0..=100 {
            let expected = 0.5 * (1.0 + (std::f64::consts::PI * f64::from(step) / 100.0).cos());
            assert!((half_cosine(f64::from(step) / 100.0) - expected).abs() < 1e-12);
        }
        assert_eq!(Schedule::Cosine.rate(0.5, 0, 10), 0.5);
        assert_eq!(Schedule::Constant.rate(0.5, 7, 10), 0.5);
        assert!(Schedule::OneCycle.rate(0.5, 9, 10) < 1e-4);
    }

    #[test]
    fn first_step_has_the_size_of_the_rate_and_spares_what_is_not_trained() {
        let mut parameters = [1.0, 1.0, 1.0];
        let mut descent = Descent::new(Optimiser::AdamW { decay: 0.1 }, 3);
        let trained = Vec::from([0..1, 1..2]);
        descent.step(&mut parameters, &[0.5, -7.0, 1.0], &trained, 1e-2);
        assert!((parameters[0] - 0.989).abs() < 1e-6, "{parameters:?}");
        assert!((parameters[1] - 1.009).abs() < 1e-6);
        assert_eq!(parameters[2], 1.0);
    }
}
