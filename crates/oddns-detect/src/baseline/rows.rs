//! Rows of numbers, and which numbers count.

use crate::DetectError;

/// Magnitudes beyond this, infinities too, count as this: their squares still fit an `f64`, and
/// their differences an `f32`.
pub(crate) const LARGEST: f32 = 1e37;

/// Rows of raw values in order of time, one after the other, all of the same width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rows<'a> {
    values: &'a [f32],
    /// At least 1, and a divisor of the number of values.
    width: usize,
}

impl<'a> Rows<'a> {
    /// `values` row by row, `width` values a row; NaN is missing.
    ///
    /// # Errors
    ///
    /// When there is no row, or the values are not whole rows.
    pub fn new(values: &'a [f32], width: usize) -> Result<Self, DetectError> {
        if width == 0 || values.is_empty() || !values.len().is_multiple_of(width) {
            return Err(DetectError::Shape { n_values: values.len(), width });
        }
        Ok(Self { values, width })
    }

    /// Values in a row, at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many rows there are, at least 1.
    pub fn n_rows(&self) -> usize {
        self.values.len() / self.width
    }

    /// Each row, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [f32]> + Clone + use<'a> {
        self.values.chunks_exact(self.width)
    }

    /// Row `at`, less than [`Rows::n_rows`].
    pub(crate) fn row(&self, at: usize) -> &'a [f32] {
        &self.values[at * self.width..(at + 1) * self.width]
    }
}

/// Feature `at` of `row`, of bounded magnitude. NaN when it is missing, as is what lies beyond the
/// end of a row that is too short.
pub(crate) fn value(row: &[f32], at: usize) -> f32 {
    row.get(at).map_or(f32::NAN, |value| value.clamp(-LARGEST, LARGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_whole() {
        let rows = Rows::new(&[1.0, 2.0, 3.0, 4.0], 2).unwrap();
        assert_eq!((rows.width(), rows.n_rows()), (2, 2));
        assert_eq!(rows.iter().last(), Some(&[3.0, 4.0][..]));
        for (values, width) in [(&[][..], 1), (&[1.0], 0), (&[1.0, 2.0, 3.0], 2)] {
            assert!(Rows::new(values, width).is_err());
        }
    }

    #[test]
    fn what_is_not_there_is_missing_and_what_is_huge_is_bounded() {
        let row = [f32::INFINITY, f32::NAN];
        assert_eq!(value(&row, 0), LARGEST);
        assert!(value(&row, 1).is_nan() && value(&row, 2).is_nan());
    }
}
