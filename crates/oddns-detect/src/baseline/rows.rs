//! Rows of numbers, and which numbers count.

use std::borrow::Cow;
use std::fmt;

use crate::DetectError;

/// Magnitudes beyond this, infinities too, count as this: their squares still fit an `f64`, and
/// their differences an `f32`.
pub(crate) const LARGEST: f32 = 1e37;

/// Rows of raw values in order of time, all of the same width.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    source: Source<'a>,
    /// At least 1.
    n_rows: usize,
    /// At least 1.
    width: usize,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    /// Row by row.
    Table(&'a [f32]),
    /// Writes a row.
    Made(&'a dyn Fn(usize, &mut [f32])),
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
        Ok(Self { source: Source::Table(values), n_rows: values.len() / width, width })
    }

    /// Rows that are not in memory all at once: `make` writes row `at`, less than `n_rows`, of
    /// `width` values. It is called more than once for a row, and gives the same each time.
    ///
    /// # Errors
    ///
    /// When there is no row, or no value in it.
    pub fn made(
        n_rows: usize,
        width: usize,
        make: &'a dyn Fn(usize, &mut [f32]),
    ) -> Result<Self, DetectError> {
        if width == 0 || n_rows == 0 {
            return Err(DetectError::Shape { n_values: 0, width });
        }
        Ok(Self { source: Source::Made(make), n_rows, width })
    }

    /// Values in a row, at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many rows there are, at least 1.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Shows each row, in order.
    pub fn each(&self, mut look: impl FnMut(&[f32])) {
        match self.source {
            Source::Table(values) => values.chunks_exact(self.width).for_each(look),
            Source::Made(make) => {
                let mut row = vec![f32::NAN; self.width];
                for at in 0..self.n_rows {
                    make(at, &mut row);
                    look(&row);
                }
            }
        }
    }

    /// Row `at`, less than [`Rows::n_rows`].
    pub(crate) fn row(&self, at: usize) -> Cow<'a, [f32]> {
        match self.source {
            Source::Table(values) => values[at * self.width..(at + 1) * self.width].into(),
            Source::Made(make) => {
                let mut row = vec![f32::NAN; self.width];
                make(at, &mut row);
                row.into()
            }
        }
    }
}

impl fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows of {} values", self.n_rows, self.width)
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
        let made = |at: usize, row: &mut [f32]| {
            row.copy_from_slice(&[1.0 + 2.0 * at as f32, 2.0 + 2.0 * at as f32]);
        };
        for rows in [rows, Rows::made(2, 2, &made).unwrap()] {
            assert_eq!((rows.width(), rows.n_rows()), (2, 2));
            let mut seen = Vec::new();
            rows.each(|row| seen.extend_from_slice(row));
            assert_eq!((seen, rows.row(1)), (vec![1.0, 2.0, 3.0, 4.0], [3.0, 4.0][..].into()));
        }
        assert!(Rows::made(0, 2, &made).is_err() && Rows::made(2, 0, &made).is_err());
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
