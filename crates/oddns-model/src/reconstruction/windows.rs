//! Windows of sequences: what a reconstruction network learns from and judges.

use crate::Sequence;
use crate::graph::Examples;

/// Some windows of some sequences. Every value is to be reconstructed from itself and the others;
/// a value that was not seen is given as filled, and not asked for.
pub(super) struct Windows<'a> {
    sequences: &'a [Sequence],
    window: usize,
    /// Sequence and first row of each window.
    starts: Vec<(usize, usize)>,
}

impl<'a> Windows<'a> {
    /// The windows of rows `rows(sequence)` of each sequence, `step` rows apart.
    pub(super) fn new(
        sequences: &'a [Sequence],
        window: usize,
        step: usize,
        rows: impl Fn(&Sequence) -> std::ops::Range<usize>,
    ) -> Self {
        let mut starts = vec![];
        for (at, sequence) in sequences.iter().enumerate() {
            let rows = rows(sequence);
            let last = (rows.end + 1).saturating_sub(window);
            starts.extend((rows.start..last).step_by(step.max(1)).map(|start| (at, start)));
        }
        Self { sequences, window, starts }
    }

    /// Sequence and first row of each window.
    pub(super) fn starts(&self) -> &[(usize, usize)] {
        &self.starts
    }
}

impl Examples for Windows<'_> {
    fn len(&self) -> usize {
        self.starts.len()
    }

    fn write(&self, at: usize, inputs: &mut [&mut [f32]], target: &mut [f32], weights: &mut [f32]) {
        let (sequence, start) = self.starts[at];
        let sequence = &self.sequences[sequence];
        let n = sequence.n_features();
        for (t, (target, weights)) in target.chunks_mut(n).zip(weights.chunks_mut(n)).enumerate() {
            target.copy_from_slice(sequence.row(start + t));
            let observed = sequence.observed(start + t).iter();
            weights
                .iter_mut()
                .zip(observed)
                .for_each(|(weight, o)| *weight = f32::from(u8::from(*o)));
        }
        if let [input] = inputs {
            input.copy_from_slice(target);
        }
        debug_assert_eq!(target.len(), self.window * n);
    }
}

/// Writes the window of `sequence` that ends with row `last`; rows before the first are taken to
/// be like the first.
pub(super) fn write_window(sequence: &Sequence, last: usize, window: &mut [f32]) {
    let n = sequence.n_features();
    let rows = window.len() / n;
    for (t, to) in window.chunks_mut(n).enumerate() {
        to.copy_from_slice(sequence.row((last + 1 + t).saturating_sub(rows)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unseen_values_are_given_but_not_asked_for() {
        let values = (0..10).map(|i| i as f32).collect();
        let observed = (0..10).map(|i| i != 5).collect();
        let sequences = [Sequence::new(2, values, observed).unwrap()];
        let windows = Windows::new(&sequences, 3, 1, |s| 1..s.len());
        assert_eq!(windows.starts(), [(0, 1), (0, 2)]);
        let (mut input, mut target, mut weights) = ([0.0; 6], [0.0; 6], [9.0; 6]);
        windows.write(0, &mut [&mut input], &mut target, &mut weights);
        assert_eq!(input, [2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!((target, weights), (input, [1.0, 1.0, 1.0, 0.0, 1.0, 1.0]));
    }

    #[test]
    fn a_window_at_the_beginning_repeats_the_first_row() {
        let sequence = Sequence::new(1, vec![7.0, 8.0, 9.0], vec![true; 3]).unwrap();
        let mut window = [0.0; 4];
        write_window(&sequence, 1, &mut window);
        assert_eq!(window, [7.0, 7.0, 7.0, 8.0]);
    }
}
