//! What a network reads: rows of standardised features in order of time.

use crate::ModelError;

/// Rows at even steps, oldest first. A gap in time begins a new sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    n_features: usize,
    /// Row-major, all finite.
    values: Vec<f32>,
    /// As long as `values`.
    observed: Vec<bool>,
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
        Ok(Self { n_features, values, observed })
    }

    /// Values in a row; at least 1.
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.n_features
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Values of row `at`. Panics when `at` is not below [`Sequence::len`].
    pub fn row(&self, at: usize) -> &[f32] {
        &self.values[at * self.n_features..(at + 1) * self.n_features]
    }

    /// Which values of row `at` were seen. Panics when `at` is not below [`Sequence::len`].
    pub fn observed(&self, at: usize) -> &[bool] {
        &self.observed[at * self.n_features..(at + 1) * self.n_features]
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
}
