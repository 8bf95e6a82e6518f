//! The last row of a window, at the price of the rows that it depends on.
//!
//! The taps of dilated layers leave rows out: with dilations 2, 4 and 8 the last row depends on 3
//! rows of what the third layer reads, on 7 of the second and on 15 of the first, all evenly
//! spaced. Only those are computed.

use crate::Sequence;
use crate::convolution::{Convolution, Reading};
use crate::kernels::gelu;
use crate::masking::Hidden;
use crate::network::Network;
use crate::plane::stride;

/// Rows of what one layer reads, oldest first, the last one at the end of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spaced {
    n_rows: usize,
    /// Rows of the window from one to the next, at least 1.
    spacing: usize,
}

impl Spaced {
    /// What the first of `layers` has to read for the last row after the last of them.
    fn for_last_row(layers: &[Convolution]) -> Self {
        let looking_back = layers.iter().filter(|layer| layer.reach() > 0);
        let spacing =
            looking_back.fold(0, |spacing, layer| common_divisor(spacing, layer.dilation));
        let reach: usize = layers.iter().map(Convolution::reach).sum();
        let spacing = spacing.max(1);
        Self { n_rows: reach / spacing + 1, spacing }
    }

    /// Rows from the first to the last.
    fn reach(self) -> usize {
        (self.n_rows - 1) * self.spacing
    }

    /// How many of the rows are before the first of a window of `length` rows.
    fn n_missing(self, length: usize) -> usize {
        (self.reach() + 1).saturating_sub(length).div_ceil(self.spacing)
    }
}

fn common_divisor(a: usize, b: usize) -> usize {
    if a == 0 { b } else { common_divisor(b % a, a) }
}

impl Network {
    /// Predicts the last row of `sequence`, which has one: what `predict_block` says of it, without
    /// the linear part too.
    pub(crate) fn predict_last(&self, sequence: &Sequence, n_groups: usize, predicted: &mut [f32]) {
        let rows = Spaced::for_last_row(&self.layers.stack);
        let history = self.history_of(sequence, rows);
        let n = self.config().n_features;
        let mut visible = vec![];
        for group in 0..n_groups {
            show(sequence, rows, Hidden::group(group, n_groups), &mut visible);
            let output = self.pass_last(sequence.len(), rows, &history, &visible);
            for j in (group..n).step_by(n_groups) {
                predicted[j] = output[j];
            }
        }
    }

    /// The history branch for `rows`.
    fn history_of(&self, sequence: &Sequence, rows: Spaced) -> Vec<f32> {
        let layer = &self.layers.history;
        let stride_in = stride(layer.n_in);
        // What the taps read is not spaced: every row before the last.
        let n_read = rows.reach() + layer.reach();
        let mut values = vec![0.0; n_read * stride_in];
        let newest_first = (0..sequence.len() - 1).rev();
        for (row, into) in newest_first.zip(values.chunks_exact_mut(stride_in).rev()) {
            into[..layer.n_in].copy_from_slice(sequence.row(row));
        }
        let starts: Vec<_> = (0..layer.kernel).map(|tap| tap * stride_in).collect();
        let reading = Reading { rows: rows.n_rows, step: rows.spacing, starts: &starts };
        let mut output = vec![0.0; rows.n_rows * stride(layer.n_out)];
        layer.forward_at(&self.parameters, reading, &values, &mut output);
        output
    }

    /// The last row of the output of one pass over a window of `length` rows. `visible` is empty
    /// when nothing is.
    fn pass_last(
        &self,
        length: usize,
        mut rows: Spaced,
        history: &[f32],
        visible: &[f32],
    ) -> Vec<f32> {
        let mut output = vec![0.0; history.len()];
        if visible.is_empty() {
            self.fill_with_nothing_visible(&mut output);
        } else {
            let reading = Reading { rows: rows.n_rows, step: 1, starts: &[0] };
            self.layers.current.forward_at(&self.parameters, reading, visible, &mut output);
        }
        for (sum, history) in output.iter_mut().zip(history) {
            *sum += history;
        }
        let (mut input, mut starts) = (vec![], vec![]);
        for (at, layer) in self.layers.stack.iter().enumerate() {
            let stride_in = stride(layer.n_in);
            input.resize(output.len(), 0.0);
            gelu(&output, &mut input);
            input[..rows.n_missing(length) * stride_in].fill(0.0);

            let next = Spaced::for_last_row(&self.layers.stack[at + 1..]);
            let between = layer.dilation / rows.spacing * stride_in;
            starts.clear();
            starts.extend((0..layer.kernel).map(|tap| tap * between));
            let step = next.spacing / rows.spacing;
            let reading = Reading { rows: next.n_rows, step, starts: &starts };
            output.resize(next.n_rows * stride(layer.n_out), 0.0);
            layer.forward_at(&self.parameters, reading, &input, &mut output);
            rows = next;
        }
        output
    }
}

/// Writes what is not hidden of `rows`; those before the first row of the window stay zero.
fn show(sequence: &Sequence, rows: Spaced, hidden: Hidden<'_>, visible: &mut Vec<f32>) {
    if matches!(hidden, Hidden::Everything) {
        return;
    }
    let n = sequence.n_features();
    visible.resize(rows.n_rows * stride(2 * n), 0.0);
    let newest_first = (0..sequence.len()).rev().step_by(rows.spacing);
    for (row, into) in newest_first.zip(visible.chunks_exact_mut(stride(2 * n)).rev()) {
        hidden.show(0, sequence.row(row), sequence.observed(row), &mut into[..2 * n]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn only_rows_that_count_are_read() {
        let network = Network::new(Config::recipe(3), 1).unwrap();
        let stack = &network.layers.stack;
        let found: Vec<_> = (0..5).map(|at| Spaced::for_last_row(&stack[at..]).n_rows).collect();
        assert_eq!(found, [15, 7, 3, 1, 1]);
        let first = Spaced::for_last_row(stack);
        assert_eq!((first.spacing, first.reach()), (2, 28));
        let missing: Vec<_> = [1, 2, 3, 28, 29, 99].map(|length| first.n_missing(length)).into();
        assert_eq!(missing, [14, 14, 13, 1, 0, 0]);
    }
}
