//! Activations, their slopes, and the elementary functions behind them.
//!
//! The functions are written out instead of taken from the platform's library, which gives other
//! last bits on another machine. GELU is the one of `kernels`.

use multiversion::multiversion;

use super::operation::{Call, Operation};
use crate::kernels::{exp, gelu, gelu_slope};

/// What a layer does to each of its values at the end.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Activation {
    /// Nothing.
    Linear,
    /// max(x, 0).
    Relu,
    /// x above 0, `slope` · x below.
    LeakyRelu {
        /// Keras takes 0.2 by the name `leaky_relu` and 0.3 in the layer `LeakyReLU`.
        slope: f64,
    },
    /// x above 0, `alpha` · (eˣ − 1) below.
    Elu {
        /// Usually 1.
        alpha: f64,
    },
    /// x · Φ(x), exact.
    Gelu,
    /// GELU by its approximation with tanh. Keras has no name for it: it is a node of its own,
    /// never the activation of a layer.
    GeluTanh,
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// ln(1 + eˣ).
    Softplus,
    /// x / (1 + e⁻ˣ).
    Silu,
    /// eˣ over its sum along the last axis.
    Softmax,
}

/// √(2/π) of the approximation of GELU.
const TANH_SCALE: f32 = 0.797_884_6;
const TANH_CUBE: f32 = 0.044_715;

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let small = exp(-x.abs());
    let share = 1.0 / (1.0 + small);
    if x >= 0.0 { share } else { small * share }
}

/// By the series of Cephes (`tanhf.c`) near 0, where the quotient would cancel.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    const FACTORS: [f32; 5] =
        [-0.005_704_988_7, 0.020_639_088, -0.053_739_715, 0.133_314_42, -0.333_332_8];
    let square = x * x;
    let series = FACTORS.iter().fold(0.0, |sum, factor| sum * square + factor);
    let near = x + x * square * series;
    let far = (1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0)).copysign(x);
    if x.abs() < 0.625 { near } else { far }
}

/// ln(1 + x) for x between 0 and 1: 2 artanh(x / (2 + x)) by its series.
#[inline(always)]
fn ln_one_plus(x: f32) -> f32 {
    const FACTORS: [f32; 7] =
        [1.0 / 15.0, 1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0];
    let part = x / (2.0 + x);
    let square = part * part;
    let series = FACTORS.iter().fold(0.0, |sum, factor| sum * square + factor);
    2.0 * part * (1.0 + square * series)
}

#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    0.5 * x * (1.0 + tanh(TANH_SCALE * (x + TANH_CUBE * x * x * x)))
}

#[inline(always)]
fn gelu_tanh_slope(x: f32) -> f32 {
    let bend = tanh(TANH_SCALE * (x + TANH_CUBE * x * x * x));
    let inner = TANH_SCALE * (1.0 + 3.0 * TANH_CUBE * x * x);
    0.5 * (1.0 + bend) + 0.5 * x * (1.0 - bend * bend) * inner
}

/// `output = f(input)` for each value; `Softmax` is not one of these.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2"))]
fn apply(activation: Activation, input: &[f32], output: &mut [f32]) {
    macro_rules! each {
        ($function:expr) => {{
            for (x, y) in input.iter().zip(output) {
                *y = $function(*x);
            }
        }};
    }
    match activation {
        Activation::Relu => each!(|x: f32| x.max(0.0)),
        Activation::LeakyRelu { slope } => {
            let slope = slope as f32;
            each!(|x: f32| if x > 0.0 { x } else { slope * x });
        }
        Activation::Elu { alpha } => {
            let alpha = alpha as f32;
            each!(|x: f32| if x > 0.0 { x } else { alpha * (exp(x) - 1.0) });
        }
        Activation::GeluTanh => each!(gelu_tanh),
        Activation::Sigmoid => each!(sigmoid),
        Activation::Tanh => each!(tanh),
        Activation::Softplus => each!(|x: f32| x.max(0.0) + ln_one_plus(exp(-x.abs()))),
        Activation::Silu => each!(|x: f32| x * sigmoid(x)),
        Activation::Linear | Activation::Gelu | Activation::Softmax => {
            output.copy_from_slice(input);
        }
    }
}

/// `into += slope · f'(input)` for each value.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2"))]
fn add_slope(activation: Activation, input: &[f32], slope: &[f32], into: &mut [f32]) {
    macro_rules! each {
        ($function:expr) => {{
            for ((x, slope), into) in input.iter().zip(slope).zip(into) {
                *into += slope * $function(*x);
            }
        }};
    }
    match activation {
        Activation::Relu => each!(|x: f32| if x > 0.0 { 1.0 } else { 0.0 }),
        Activation::LeakyRelu { slope: below } => {
            let below = below as f32;
            each!(|x: f32| if x > 0.0 { 1.0 } else { below });
        }
        Activation::Elu { alpha } => {
            let alpha = alpha as f32;
            each!(|x: f32| if x > 0.0 { 1.0 } else { alpha * exp(x) });
        }
        Activation::GeluTanh => each!(gelu_tanh_slope),
        Activation::Sigmoid => each!(|x: f32| sigmoid(x) * (1.0 - sigmoid(x))),
        Activation::Tanh => each!(|x: f32| 1.0 - tanh(x) * tanh(x)),
        Activation::Softplus => each!(sigmoid),
        Activation::Silu => each!(|x: f32| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)))),
        Activation::Linear | Activation::Gelu | Activation::Softmax => each!(|_| 1.0),
    }
}

fn softmax(input: &[f32], output: &mut [f32]) {
    let largest = input.iter().copied().fold(f32::MIN, f32::max);
    for (x, y) in input.iter().zip(output.iter_mut()) {
        *y = exp(x - largest);
    }
    let sum: f32 = output.iter().sum();
    output.iter_mut().for_each(|y| *y /= sum);
}

fn add_softmax_slope(output: &[f32], slope: &[f32], into: &mut [f32]) {
    let mean: f32 = output.iter().zip(slope).map(|(y, slope)| y * slope).sum();
    for ((y, slope), into) in output.iter().zip(slope).zip(into) {
        *into += y * (slope - mean);
    }
}

/// An activation of samples whose last axis has `channels` values.
pub(super) struct Activate {
    pub(super) activation: Activation,
    pub(super) channels: usize,
}

impl Operation for Activate {
    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let input = call.inputs[0];
        match self.activation {
            Activation::Gelu => gelu(input, output),
            Activation::Softmax => {
                let rows = input.chunks(self.channels).zip(output.chunks_mut(self.channels));
                rows.for_each(|(input, output)| softmax(input, output));
            }
            activation => apply(activation, input, output),
        }
    }

    fn add_input_slope(
        &self,
        call: &Call<'_>,
        output: &[f32],
        slope: &[f32],
        _which: usize,
        into: &mut [f32],
    ) {
        match self.activation {
            Activation::Gelu => {
                let mut part = slope.to_vec();
                gelu_slope(call.inputs[0], &mut part);
                into.iter_mut().zip(part).for_each(|(into, part)| *into += part);
            }
            Activation::Softmax => {
                let rows = output.chunks(self.channels).zip(slope.chunks(self.channels));
                for ((output, slope), into) in rows.zip(into.chunks_mut(self.channels)) {
                    add_softmax_slope(output, slope, into);
                }
            }
            activation => add_slope(activation, call.inputs[0], slope, into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elementary_functions_are_exact_to_single_precision() {
        for step in -4000..4000 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x);
            let cases = [
                (f64::from(exp(x)) / exact.exp(), 1.0),
                (f64::from(sigmoid(x)), 1.0 / (1.0 + (-exact).exp())),
                (f64::from(tanh(x)), exact.tanh()),
                (f64::from(ln_one_plus(exp(-x.abs()))), (-exact.abs()).exp().ln_1p()),
            ];
            for (case, (found, expected)) in cases.into_iter().enumerate() {
                assert!((found - expected).abs() < 4e-7, "case {case} at {x}: {found}, {expected}");
            }
        }
    }

    #[test]
    fn far_out_values_stay_finite() {
        use Activation as A;
        let all = [A::Elu { alpha: 1.0 }, A::GeluTanh, A::Sigmoid, A::Tanh, A::Softplus, A::Silu];
        for activation in all {
            let input = [-1e30_f32, -200.0, 0.0, 200.0, 1e10];
            let (mut output, mut slope) = ([0.0; 5], [0.0; 5]);
            apply(activation, &input, &mut output);
            add_slope(activation, &input, &[1.0; 5], &mut slope);
            assert!(output.iter().all(|y| y.is_finite()), "{activation:?} {output:?}");
            if activation != A::GeluTanh {
                assert!(slope.iter().all(|y| y.is_finite()), "{activation:?} {slope:?}");
            }
        }
    }
}
