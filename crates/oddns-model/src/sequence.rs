//! What a network reads: rows of standardised features in order of time.

use std::ops::Range;
use std::sync::Arc;

use crate::ModelError;

/// Rows at even steps, oldest first. A gap in time begins a new sequence. A clone and a
/// [`Sequence::part`] share the rows.
#[derive(Debug, Clone)]
pub struct Sequence {
    n_features: usize,
    table: Arc<Table>,
    /// The first row of the table, and how many there are.
    first: usize,
    n_rows: usize,
}

/// What sequences share.
#[derive(Debug)]
struct Table {
    /// Row-major, all finite.
    values: Vec<f32>,
    /// As long as `values`.
    observed: Vec<bool>,
}

impl PartialEq for Sequence {
    fn eq(&self, other: &Self) -> bool {
        let same = |at| self.row(at) == other.row(at) && self.observed(at) == other.observed(at);
        (self.n_features, self.n_rows) == (other.n_features, other.n_rows)
            && (0..self.n_rows).all(same)
    }
}

impl Sequence {
    /// From row-major standardised values (mean about 0, deviation about 1, clipped) and, for each,
    /// whether it was really seen. An entry that was not seen still needs a finite value, the last
    /// known one or 0: the history branch reads it, the current sample never shows it, and it is
    /// never learned from. No rows are fine.
    pub fn new(
        n_features: usize,
        values: Vec<f32>,
        observed: Vec<bool>,
    ) -> Result<Self, ModelError> {
        let whole = n_features > 0 && values.len().is_multiple_of(n_features);
        if !whole || values.len() != observed.len() {
            let (values, observed) = (values.len(), observed.len());
            return Err(ModelError::Ragged { n_features, values, observed });
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let (row, feature) = (at / n_features, at % n_features);
            return Err(ModelError::NotFinite { row, feature, value: values[at] });
        }
        let n_rows = values.len() / n_features;
        Ok(Self { n_features, table: Arc::new(Table { values, observed }), first: 0, n_rows })
    }

    /// Values in a row; at least 1.
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.n_rows
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.n_rows == 0
    }

    /// Values of row `at`. Panics when `at` is not below [`Sequence::len`].
    pub fn row(&self, at: usize) -> &[f32] {
        &self.table.values[self.place(at)]
    }

    /// Which values of row `at` were seen. Panics when `at` is not below [`Sequence::len`].
    pub fn observed(&self, at: usize) -> &[bool] {
        &self.table.observed[self.place(at)]
    }

    /// The given rows as a sequence of their own. Panics when there are not so many.
    pub fn part(&self, rows: Range<usize>) -> Self {
        assert!(rows.end <= self.n_rows, "rows {rows:?} of {}", self.n_rows);
        Self { first: self.first + rows.start, n_rows: rows.len(), ..self.clone() }
    }

    /// Where row `at` lies in the table.
    fn place(&self, at: usize) -> Range<usize> {
        assert!(at < self.n_rows, "row {at} of {}", self.n_rows);
        let from = (self.first + at) * self.n_features;
        from..from + self.n_features
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_are_no_rows_of_finite_values() {
        for (n_features, n_values, n_observed) in [(0, 0, 0), (2, 3, 3), (2, 4, 2)] {
            let made = Sequence::new(n_features, vec![0.0; n_values], vec![true; n_observed]);
            assert!(matches!(made, Err(ModelError::Ragged { .. })));
        }
        let made = Sequence::new(2, vec![0.0, 0.0, 0.0, f32::NAN], vec![false; 4]);
        assert!(matches!(made, Err(ModelError::NotFinite { row: 1, feature: 1, .. })));
        assert!(Sequence::new(2, vec![], vec![]).unwrap().is_empty());
    }

    #[test]
    fn a_part_is_a_sequence_of_its_own() {
        let values: Vec<f32> = (0..10).map(|at| at as f32).collect();
        let whole = Sequence::new(2, values.clone(), vec![true; 10]).unwrap();
        let part = whole.part(1..4).part(1..3);
        assert_eq!((part.len(), part.row(0), part.row(1)), (2, &values[4..6], &values[6..8]));
        assert_eq!(part, Sequence::new(2, values[4..8].to_vec(), vec![true; 4]).unwrap());
        assert_ne!(part, whole);
    }
}
