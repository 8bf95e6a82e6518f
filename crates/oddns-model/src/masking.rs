//! Which windows are learned from, and what is hidden in them.

use std::ops::Range;

use crate::Sequence;
use crate::random::Random;

/// Share of the features hidden in the half of a batch that is not a forecast.
const HIDDEN_SHARE: f32 = 0.3;

/// Which values of the current sample a pass does not see.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Hidden<'a> {
    /// All of them: a forecast.
    Everything,
    /// Features `group`, `group + n_groups` and so on: one pass of a completion.
    Group { group: usize, n_groups: usize },
    /// Those marked, row-major.
    Entries(&'a [bool]),
}

impl Hidden<'_> {
    /// Pass `group` of a completion; of one with a single group, which is a forecast, too.
    pub(crate) fn group(group: usize, n_groups: usize) -> Self {
        if n_groups == 1 { Self::Everything } else { Self::Group { group, n_groups } }
    }

    /// Writes what is seen of the `t`-th row: values, 0 where hidden or not observed, then flags.
    /// `visible` is twice as long as `values`.
    pub(crate) fn show(self, t: usize, values: &[f32], observed: &[bool], visible: &mut [f32]) {
        let n = values.len();
        match self {
            Self::Everything => visible.fill(0.0),
            Self::Group { group, n_groups } => {
                show_where(values, observed, visible, |_| true);
                let (seen, flags) = visible.split_at_mut(n);
                for j in (group..n).step_by(n_groups) {
                    (seen[j], flags[j]) = (0.0, 0.0);
                }
            }
            Self::Entries(hidden) => {
                let hidden = &hidden[t * n..(t + 1) * n];
                show_where(values, observed, visible, |j| !hidden[j]);
            }
        }
    }
}

/// Written so that it runs on whole registers, as it is no small part of a pass otherwise.
#[inline(always)]
fn show_where(values: &[f32], observed: &[bool], visible: &mut [f32], may: impl Fn(usize) -> bool) {
    let n = values.len();
    let (seen, flags) = visible.split_at_mut(n);
    let (observed, seen, flags) = (&observed[..n], &mut seen[..n], &mut flags[..n]);
    for j in 0..n {
        let shown = observed[j] & may(j);
        seen[j] = if shown { values[j] } else { 0.0 };
        flags[j] = if shown { 1.0 } else { 0.0 };
    }
}

/// A window of a sequence and what is hidden in it.
pub(crate) struct Example<'a> {
    pub(crate) sequence: &'a Sequence,
    pub(crate) rows: Range<usize>,
    /// Row-major; whether an entry counts for the loss, being hidden and observed.
    pub(crate) targets: Vec<bool>,
    /// Row-major; empty hides every current value.
    hidden: Vec<bool>,
}

impl<'a> Example<'a> {
    fn new(sequence: &'a Sequence, rows: Range<usize>, hidden: Vec<bool>) -> Self {
        let mut targets = Vec::with_capacity(rows.len() * sequence.n_features());
        for row in rows.clone() {
            targets.extend_from_slice(sequence.observed(row));
        }
        for (target, hidden) in targets.iter_mut().zip(&hidden) {
            *target &= hidden;
        }
        Self { sequence, rows, targets, hidden }
    }

    /// What the network may not see.
    pub(crate) fn hidden(&self) -> Hidden<'_> {
        if self.hidden.is_empty() { Hidden::Everything } else { Hidden::Entries(&self.hidden) }
    }

    /// How many entries count for the loss.
    pub(crate) fn n_targets(&self) -> usize {
        self.targets.iter().filter(|target| **target).count()
    }
}

/// Draws windows, each row of the training part being as likely as any other to fall in one.
pub(crate) struct Sampler<'a> {
    sequences: &'a [Sequence],
    /// Rows to learn from, of each sequence: its first ones.
    n_rows: Vec<usize>,
    length: usize,
}

impl<'a> Sampler<'a> {
    pub(crate) fn new(sequences: &'a [Sequence], n_rows: Vec<usize>, length: usize) -> Self {
        Self { sequences, n_rows, length }
    }

    /// Windows that hide everything and windows that hide some features, by turns.
    pub(crate) fn draw(&self, random: &mut Random, n_examples: usize) -> Vec<Example<'a>> {
        (0..n_examples).map(|at| self.draw_one(random, at % 2 == 0)).collect()
    }

    fn draw_one(&self, random: &mut Random, forecast: bool) -> Example<'a> {
        let mut row = random.below(self.n_rows.iter().sum());
        let mut at = 0;
        while row >= self.n_rows[at] {
            row -= self.n_rows[at];
            at += 1;
        }
        let (sequence, length) = (&self.sequences[at], self.length.min(self.n_rows[at]));
        let start = random.below(self.n_rows[at] - length + 1);
        let n_entries = if forecast { 0 } else { length * sequence.n_features() };
        let hidden = (0..n_entries).map(|_| random.unit() < HIDDEN_SHARE).collect();
        Example::new(sequence, start..start + length, hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_batch_forecasts_and_the_other_hides_a_third() {
        let short = Sequence::new(2, vec![0.0; 80], vec![true; 80]).unwrap();
        let long = Sequence::new(2, vec![0.0; 800], vec![true; 800]).unwrap();
        let sequences = [short, long];
        let sampler = Sampler::new(&sequences, vec![40, 300], 160);
        let examples = sampler.draw(&mut Random::new(3), 200);
        assert!(examples.iter().all(|e| e.rows.len() == e.sequence.len().min(160)));
        assert!(examples.iter().all(|e| e.rows.end <= 300), "the held-out rows are not learned");
        let from_short = examples.iter().filter(|e| e.sequence.len() == 40).count();
        assert!((10..40).contains(&from_short), "{from_short} of 200 for 40 of 340 rows");
        for (at, example) in examples.iter().enumerate() {
            let share = example.n_targets() as f32 / (example.rows.len() * 2) as f32;
            if at % 2 == 0 {
                assert_eq!(share, 1.0);
            } else {
                assert!((0.1..0.5).contains(&share), "{share}");
            }
        }
    }
}
