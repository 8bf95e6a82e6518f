//! The linear part of a network, solved in closed form: ridge regression of each row on the rows
//! before it, drawn not towards nothing but towards what each feature tells of itself.
//!
//! What a feature tells of itself is its last value times the correlation of values that follow each
//! other: nearly the last value where it wanders, nearly the mean where it is noise. A regression on
//! all features of a short record has learned much that was chance, and what it has learned of one
//! feature from another is wrong just when one of them is odd.
//!
//! All features share one Gram matrix. A target that was not observed is the last known value that
//! the sequence holds in its place: leaving the row out for that feature alone would need a matrix
//! of its own for each feature with gaps, n times the work, and gaps are rare in what is learned
//! from. Rows whose history would reach before the sequence take no part.

use std::ops::Range;

use multiversion::multiversion;

use crate::kernels::{Geometry, weight_gradient};
use crate::linear::with_rows_before;
use crate::plane::stride;
use crate::{Network, Sequence};

/// Added to the sum of squares of each predictor, whose scale is 1: it weighs as much as 250 rows.
/// The constant is not penalised.
const PENALTY: f64 = 250.0;
/// Rows whose products are summed in single precision before they join the sums in double: the
/// rounding of so few is far below what the penalty covers, and the kernels run at full width.
const BLOCK_ROWS: usize = 256;

impl Network {
    /// Solves for the weights of the linear part on the first `n_rows` rows of each sequence.
    /// Nothing happens without a linear part, or with no row that has a whole history. Values so
    /// large that their squares overflow leave weights that are not finite.
    pub(crate) fn solve_linear(&mut self, sequences: &[Sequence], n_rows: &[usize]) {
        let Some(layer) = &self.layers.linear else { return };
        let mut moments = Moments::new(layer.n_in, layer.kernel);
        for (sequence, n_rows) in sequences.iter().zip(n_rows) {
            for start in (layer.kernel..*n_rows).step_by(BLOCK_ROWS) {
                moments.add(sequence, start..(start + BLOCK_ROWS).min(*n_rows));
            }
        }
        if moments.n_rows == 0 {
            return;
        }
        let solved = moments.solve();
        let padded = self.parameters[layer.offset..].chunks_mut(stride(layer.n_out));
        for (padded, solved) in padded.zip(solved.chunks(layer.n_out)) {
            for (weight, solved) in padded.iter_mut().zip(solved) {
                *weight = *solved as f32;
            }
        }
    }
}

/// Sums over rows, of a vector that is the rows before, oldest first, and then the row itself.
struct Moments {
    n_features: usize,
    /// Rows before.
    kernel: usize,
    n_rows: usize,
    /// Of each value of the vector.
    sums: Vec<f64>,
    /// Of each value of the rows before times each of the vector: a row for each of the former.
    /// Where the column is of an older row of the sequence, nothing is summed.
    products: Vec<f64>,
}

impl Moments {
    fn new(n_features: usize, kernel: usize) -> Self {
        let width = (kernel + 1) * n_features;
        let products = vec![0.0; kernel * n_features * width];
        Self { n_features, kernel, n_rows: 0, sums: vec![0.0; width], products }
    }

    fn width(&self) -> usize {
        self.sums.len()
    }

    /// Adds `rows`, none of the first `kernel`.
    fn add(&mut self, sequence: &Sequence, rows: Range<usize>) {
        self.n_rows += rows.len();
        let values = with_rows_before(sequence, rows.clone(), self.kernel);
        let stride = stride(self.n_features);
        for (newer, sums) in self.sums.chunks_mut(self.n_features).enumerate() {
            for row in values.chunks(stride).skip(newer).take(rows.len()) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += f64::from(*value);
                }
            }
        }
        for newer in 0..=self.kernel {
            self.add_products(&values, rows.len(), newer);
        }
    }

    /// Adds the products of the `newer`-th row of the vector with itself and all older ones.
    fn add_products(&mut self, values: &[f32], n_rows: usize, newer: usize) {
        let (n, stride, width) = (self.n_features, stride(self.n_features), self.width());
        let taps = (newer + 1).min(self.kernel);
        let geometry = Geometry {
            rows: n_rows,
            taps,
            dilation: 1,
            n_in: n,
            in_stride: stride,
            out_stride: stride,
        };
        // What a layer's weights would learn from is this very sum of products.
        let mut block = vec![0.0; taps * n * stride];
        weight_gradient(geometry, values, &values[newer * stride..], &mut block);
        for (sums, block) in self.products.chunks_mut(width).zip(block.chunks(stride)) {
            for (sum, product) in sums[newer * n..].iter_mut().zip(&block[..n]) {
                *sum += f64::from(*product);
            }
        }
    }

    /// Weights, a row for each predictor, and a last row of constants.
    fn solve(mut self) -> Vec<f64> {
        let (n, width) = (self.n_features, self.width());
        self.centre();
        let own = self.own_persistence();
        self.take_out(&own);
        self.penalise();
        eliminate(&mut self.products, width);
        substitute_back(&mut self.products, width);
        let means = self.sums.iter().map(|sum| sum / self.n_rows as f64).collect::<Vec<_>>();
        let (predictors, targets) = means.split_at(width - n);
        let mut constants = targets.to_vec();
        let mut solved = Vec::with_capacity((width - n + 1) * n);
        let newest = predictors.len() - n;
        for (at, (row, mean)) in self.products.chunks_mut(width).zip(predictors).enumerate() {
            let weights = &mut row[width - n..];
            if let Some(feature) = at.checked_sub(newest) {
                weights[feature] += own[feature];
            }
            for (constant, weight) in constants.iter_mut().zip(weights.iter()) {
                *constant -= weight * mean;
            }
            solved.extend_from_slice(weights);
        }
        solved.extend(constants);
        solved
    }

    /// The share of its last value, less the mean, that each feature keeps: 0 to 1.
    fn own_persistence(&self) -> Vec<f64> {
        let (n, width) = (self.n_features, self.width());
        let newest = (self.kernel - 1) * n;
        let of = |feature: usize| {
            let at = newest + feature;
            let row = &self.products[at * width..(at + 1) * width];
            let (square, product) = (row[at], row[width - n + feature]);
            if square > 0.0 { (product / square).clamp(0.0, 1.0) } else { 0.0 }
        };
        (0..n).map(of).collect()
    }

    /// Leaves in place of each target what its `own` persistence does not tell.
    fn take_out(&mut self, own: &[f64]) {
        let (n, width) = (self.n_features, self.width());
        for products in self.products.chunks_mut(width) {
            let (before, targets) = products.split_at_mut(width - n);
            let newest = &before[width - 2 * n..];
            for ((target, last), own) in targets.iter_mut().zip(newest).zip(own) {
                *target -= own * last;
            }
        }
    }

    fn penalise(&mut self) {
        let width = self.width();
        for (at, products) in self.products.chunks_mut(width).enumerate() {
            products[at] += PENALTY;
        }
    }

    /// Takes the means out, which leaves the constant out of the equations.
    fn centre(&mut self) {
        let width = self.width();
        for (at, products) in self.products.chunks_mut(width).enumerate() {
            let mean = self.sums[at] / self.n_rows as f64;
            for (product, sum) in products.iter_mut().zip(&self.sums) {
                *product -= mean * sum;
            }
        }
    }
}

/// Cholesky's method without its roots: makes the symmetric matrix that begins each row of
/// `equations` an upper triangle, and keeps the right-hand sides behind it in step. Only what is
/// right of the diagonal is read.
fn eliminate(equations: &mut [f64], width: usize) {
    for at in 0..equations.len() / width {
        let (above, below) = equations.split_at_mut((at + 1) * width);
        let pivots = &mut above[at * width..];
        // It is never less, the penalty being in it, but for rounding.
        pivots[at] = pivots[at].max(PENALTY);
        for (row, below) in (at + 1..).zip(below.chunks_mut(width)) {
            subtract(&mut below[row..], pivots[row] / pivots[at], &pivots[row..]);
        }
    }
}

/// Replaces the right-hand sides by the solutions.
fn substitute_back(equations: &mut [f64], width: usize) {
    let n_rows = equations.len() / width;
    for at in (0..n_rows).rev() {
        let (above, below) = equations.split_at_mut((at + 1) * width);
        let (matrix, solution) = above[at * width..].split_at_mut(n_rows);
        for (factor, below) in matrix[at + 1..].iter().zip(below.chunks(width)) {
            subtract(solution, *factor, &below[n_rows..]);
        }
        solution.iter_mut().for_each(|value| *value /= matrix[at]);
    }
}

/// `from -= factor · row`
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2"))]
fn subtract(from: &mut [f64], factor: f64, row: &[f64]) {
    for (from, value) in from.iter_mut().zip(row) {
        *from -= factor * value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::random::Random;

    /// What the equations of the definition give, by rows in double precision and elimination
    /// with the constant as one more predictor.
    fn by_definition(sequences: &[Sequence], n_rows: &[usize], n: usize) -> Vec<f64> {
        let (m, width) = (3 * n + 1, 4 * n + 1);
        let mut equations = vec![0.0; m * width];
        for (sequence, n_rows) in sequences.iter().zip(n_rows) {
            for t in 3..*n_rows {
                let mut vector: Vec<f64> = vec![];
                vector.extend((t - 3..t).flat_map(|row| sequence.row(row)).map(|v| f64::from(*v)));
                vector.push(1.0);
                vector.extend(sequence.row(t).iter().map(|v| f64::from(*v)));
                for i in 0..m {
                    for j in 0..width {
                        equations[i * width + j] += vector[i] * vector[j];
                    }
                }
            }
        }
        // What a feature tells of itself: a regression on its own last value and a constant.
        let own: Vec<f64> = (0..n)
            .map(|j| {
                let (last, target) = (2 * n + j, m + j);
                let at = |i: usize, j: usize| equations[i * width + j];
                let rows = at(3 * n, 3 * n);
                let product = at(last, target) - at(3 * n, last) * at(3 * n, target) / rows;
                let square = at(last, last) - at(3 * n, last).powi(2) / rows;
                (product / square).clamp(0.0, 1.0)
            })
            .collect();
        for i in 0..m {
            for j in 0..n {
                equations[i * width + m + j] -= own[j] * equations[i * width + 2 * n + j];
            }
        }
        for i in 0..3 * n {
            equations[i * width + i] += PENALTY;
        }
        for p in 0..m {
            for i in (0..m).filter(|i| *i != p) {
                let factor = equations[i * width + p] / equations[p * width + p];
                for j in 0..width {
                    equations[i * width + j] -= factor * equations[p * width + j];
                }
            }
        }
        let solution = |i: usize| {
            let row = &equations[i * width..][..width];
            let own = &own;
            row[m..]
                .iter()
                .enumerate()
                .map(move |(j, value)| value / row[i] + if i == 2 * n + j { own[j] } else { 0.0 })
        };
        (0..m).flat_map(solution).collect()
    }

    fn found(network: &Network) -> Vec<f32> {
        let layer = network.layers.linear.as_ref().unwrap();
        let rows = network.parameters[layer.offset..].chunks(stride(layer.n_out));
        rows.flat_map(|row| row[..layer.n_out].to_vec()).collect()
    }

    #[test]
    fn solution_is_that_of_the_normal_equations() {
        for n in [1, 5, 17] {
            let mut random = Random::new(7);
            let mut sequence = |n_rows: usize| {
                let mut value = 0.0;
                let values = (0..n_rows * n).map(|_| {
                    value = 0.9 * value + random.unit() - 0.4;
                    value
                });
                let values = values.collect();
                Sequence::new(n, values, vec![true; n_rows * n]).unwrap()
            };
            let sequences = [sequence(700), sequence(50), sequence(2), sequence(3)];
            let n_rows = [650, 50, 2, 3];
            let mut network = Network::new(Config::recipe(n), 1).unwrap();
            network.solve_linear(&sequences, &n_rows);
            let expected = by_definition(&sequences, &n_rows, n);
            for (found, expected) in found(&network).iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 2e-5, "{found} and {expected}");
            }
        }
    }

    #[test]
    fn an_autoregressive_process_is_found() {
        let mut random = Random::new(3);
        let mut values = vec![0.0_f32; 6];
        for at in 3..40_000 {
            let row = |back: usize| [values[(at - back) * 2], values[(at - back) * 2 + 1]];
            let ([a, b], [c, d], noise) = (row(1), row(3), [random.unit(), random.unit()]);
            values.push(0.6 * a - 0.2 * d + 0.5 + 4.0 * (noise[0] - 0.5));
            values.push(0.3 * b + 0.3 * c - 1.0 + 4.0 * (noise[1] - 0.5));
        }
        let observed = vec![true; values.len()];
        let sequences = [Sequence::new(2, values, observed).unwrap()];
        let mut network = Network::new(Config::recipe(2), 1).unwrap();
        network.solve_linear(&sequences, &[40_000]);
        let expected = [0.0, 0.3, -0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.6, 0.0, 0.0, 0.3, 0.5, -1.0];
        for (found, expected) in found(&network).iter().zip(expected) {
            assert!((found - expected).abs() < 0.03, "{found} and {expected}");
        }
    }

    #[test]
    fn constant_and_equal_features_do_no_harm() {
        let wave = |t: usize| (t as f32 / 5.0).sin();
        let values = (0..5000).flat_map(|t| [wave(t), wave(t), 0.0, 9.0]).collect();
        let sequences = [Sequence::new(4, values, vec![true; 20_000]).unwrap()];
        let mut network = Network::new(Config::recipe(4), 1).unwrap();
        network.solve_linear(&sequences, &[5000]);
        let forecast = network.linear_forecast(&sequences[0]).unwrap();
        for t in 3..5000 {
            let row = &forecast[t * 4..][..4];
            assert!((row[0] - row[1]).abs() < 1e-6, "equal features share the weight");
            assert!((row[0] - wave(t)).abs() < 0.2, "{} and {}", row[0], wave(t));
            assert!(row[2].abs() < 1e-6 && (row[3] - 9.0).abs() < 1e-4, "{row:?}");
        }
    }
}
