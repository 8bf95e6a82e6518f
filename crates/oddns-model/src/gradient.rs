//! The loss, and what it says about every weight.

use multiversion::multiversion;

use crate::kernels::gelu_slope;
use crate::masking::Example;
use crate::network::{Inputs, Network, Pass};
use crate::plane::Plane;

/// The weights of the stack as [`crate::convolution::Convolution::reversed`] gives them: made once
/// a step, read by every thread.
pub(crate) struct Reversed(Vec<Vec<f32>>);

/// Loss and gradient summed over some examples.
pub(crate) struct Gradient {
    pub(crate) loss: f64,
    pub(crate) by_parameter: Vec<f32>,
}

impl Gradient {
    pub(crate) fn zeros(network: &Network) -> Self {
        Self { loss: 0.0, by_parameter: vec![0.0; network.layers.n_learned()] }
    }

    pub(crate) fn clear(&mut self) {
        self.loss = 0.0;
        self.by_parameter.fill(0.0);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.loss += other.loss;
        for (sum, part) in self.by_parameter.iter_mut().zip(&other.by_parameter) {
            *sum += part;
        }
    }
}

/// Huber loss with its bend at 1, and its slope, of predicted minus true.
#[inline(always)]
pub(crate) fn huber(error: f32) -> (f32, f32) {
    let slope = error.clamp(-1.0, 1.0);
    // ½e² where the slope is e, |e| − ½ where it is ±1.
    (slope * (error - 0.5 * slope), slope)
}

impl Network {
    pub(crate) fn reversed(&self) -> Reversed {
        let stack = self.layers.stack.iter();
        Reversed(stack.map(|layer| layer.reversed(&self.parameters)).collect())
    }

    /// Adds loss and gradient of one example, each entry counted with `weight`.
    pub(crate) fn add_example(
        &self,
        reversed: &Reversed,
        example: &Example<'_>,
        weight: f32,
        gradient: &mut Gradient,
    ) {
        let inputs = self.inputs(example.sequence, example.rows.clone(), example.hidden());
        let pass = self.pass(&self.history(&inputs.history), inputs.visible.as_ref());
        let mut slope = Plane::zeros(self.config().n_features, example.rows.len(), 0, 0);
        let wanted = self.wanted(example.sequence, example.rows.clone());
        gradient.loss += add_loss(example, &wanted, &pass.output, weight, &mut slope);
        self.backward(reversed, &inputs, &pass, slope, &mut gradient.by_parameter);
    }

    /// From the loss by output to the loss by every parameter.
    fn backward(
        &self,
        reversed: &Reversed,
        inputs: &Inputs,
        pass: &Pass,
        mut slope: Plane,
        gradient: &mut [f32],
    ) {
        let stack = &self.layers.stack;
        for (at, layer) in stack.iter().enumerate().rev() {
            layer.add_gradient(&pass.activations[at], &slope, gradient);
            let after = if at > 0 { stack[at - 1].reach() } else { 0 };
            slope = layer.input_slope(&reversed.0[at], &slope, after);
            gelu_slope(pass.before_gelu[at].inner(), slope.inner_mut());
        }
        self.layers.history.add_gradient(&inputs.history, &slope, gradient);
        match &inputs.visible {
            Some(visible) => self.layers.current.add_gradient(visible, &slope, gradient),
            // Weights of what is always 0 learn nothing.
            None => self.layers.current.add_bias_gradient(&slope, gradient),
        }
    }
}

/// Sums the loss of the entries that count, and writes its slope. `wanted` is row-major.
fn add_loss(
    example: &Example<'_>,
    wanted: &[f32],
    output: &Plane,
    weight: f32,
    slope: &mut Plane,
) -> f64 {
    let n_features = example.sequence.n_features();
    let (mut losses, mut sums) = (vec![0.0; n_features], [0.0; LOSS_LANES]);
    let targets = example.targets.chunks(n_features);
    let wanted = wanted.chunks(n_features);
    for (t, (values, targets)) in wanted.zip(targets).enumerate() {
        row_loss(values, targets, output.row(t), weight, slope.row_mut(t), &mut losses);
        for losses in losses.chunks(LOSS_LANES) {
            for (sum, loss) in sums.iter_mut().zip(losses) {
                *sum += f64::from(*loss);
            }
        }
    }
    sums.iter().sum::<f64>() * f64::from(weight)
}

/// Sums side by side: one sum would be one long chain of additions.
const LOSS_LANES: usize = 8;

/// Loss and slope of every entry of a row; written so that it runs on whole registers.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2"))]
fn row_loss(
    values: &[f32],
    targets: &[bool],
    output: &[f32],
    weight: f32,
    slope: &mut [f32],
    losses: &mut [f32],
) {
    let n = losses.len();
    let (values, targets, output) = (&values[..n], &targets[..n], &output[..n]);
    let slope = &mut slope[..n];
    for j in 0..n {
        let (loss, by_output) = huber(output[j] - values[j]);
        losses[j] = if targets[j] { loss } else { 0.0 };
        slope[j] = if targets[j] { by_output * weight } else { 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::masking::Sampler;
    use crate::random::Random;
    use crate::{Config, Sequence};

    fn loss(network: &Network, example: &Example<'_>) -> f64 {
        let mut gradient = Gradient::zeros(network);
        network.add_example(&network.reversed(), example, 1.0, &mut gradient);
        gradient.loss
    }

    #[test]
    fn whole_gradient_is_a_finite_difference() {
        let config = Config {
            n_features: 3,
            channels: 5,
            kernel: 3,
            dilations: vec![2, 3],
            bottleneck: 4,
            decoder: vec![6],
            linear: false,
        };
        let mut network = Network::new(config, 5).unwrap();
        let mut random = Random::new(6);
        for parameter in network.parameters.iter_mut().filter(|p| **p != 0.0) {
            *parameter *= 1.5;
        }
        let values = (0..90).map(|_| 3.0 * random.unit() - 1.5).collect();
        let observed = (0..90).map(|_| random.unit() < 0.9).collect();
        let sequences = [Sequence::new(3, values, observed).unwrap()];
        let sampler = Sampler::new(&sequences, vec![30], 30);
        for example in sampler.draw(&mut random, 2) {
            let mut gradient = Gradient::zeros(&network);
            network.add_example(&network.reversed(), &example, 1.0, &mut gradient);
            let mut checked = 0;
            for at in 0..network.parameters.len() {
                let by_parameter = f64::from(gradient.by_parameter[at]);
                if by_parameter == 0.0 {
                    continue; // padding
                }
                let saved = network.parameters[at];
                network.parameters[at] = saved + 4e-3;
                let above = loss(&network, &example);
                network.parameters[at] = saved - 4e-3;
                let below = loss(&network, &example);
                network.parameters[at] = saved;
                let difference = (above - below) / 8e-3;
                let allowed = 2e-3 + 2e-3 * by_parameter.abs();
                assert!(
                    (difference - by_parameter).abs() < allowed,
                    "parameter {at}: {difference} and {by_parameter}"
                );
                checked += 1;
            }
            // A forecast shows no current value, so the current branch learns its bias only.
            assert!(checked + 6 * 5 >= network.n_parameters(), "{checked} weights have a gradient");
        }
    }

    #[test]
    fn huber_bends_at_one() {
        assert_eq!(huber(0.5), (0.125, 0.5));
        assert_eq!(huber(-3.0), (2.5, -1.0));
    }
}
