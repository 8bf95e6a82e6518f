//! A table of features over time.

use crate::Timestamp;

/// Rows of feature values at rising times; a gap is a NaN, never a made-up number.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Frame {
    columns: Vec<String>,
    timestamps: Vec<Timestamp>,
    values: Vec<f32>,
}

/// Why rows and columns do not make a frame.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// A row has more or fewer values than there are columns.
    #[error("a row has {found} values, the frame has {expected} columns")]
    Width {
        /// Columns of the frame.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A row is not later than the one before.
    #[error("row at {time} is not later than the row before it ({previous}): sort by time")]
    Order {
        /// Time of the refused row.
        time: Timestamp,
        /// Time of the last row.
        previous: Timestamp,
    },
}

/// A value as a [`Frame`] keeps it, in 32 bits. One that is further from zero than they reach becomes
/// the largest of its sign, as it is there and far out, not missing; NaN and the infinities stay.
pub fn to_single(value: f64) -> f32 {
    if value.is_finite() {
        value.clamp(f32::MIN.into(), f32::MAX.into()) as f32
    } else {
        value as f32
    }
}

impl Frame {
    /// An empty frame with these columns.
    pub fn new(columns: Vec<String>) -> Self {
        Self { columns, ..Self::default() }
    }

    /// Appends a row; NaN marks a missing value, infinities are stored as missing.
    pub fn push(&mut self, time: Timestamp, row: &[f32]) -> Result<(), FrameError> {
        if row.len() != self.columns.len() {
            return Err(FrameError::Width { expected: self.columns.len(), found: row.len() });
        }
        if let Some(&previous) = self.timestamps.last()
            && time <= previous
        {
            return Err(FrameError::Order { time, previous });
        }
        self.timestamps.push(time);
        self.values.extend(row.iter().map(|v| if v.is_finite() { *v } else { f32::NAN }));
        Ok(())
    }

    /// Column names, in order.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Row times, rising.
    pub fn timestamps(&self) -> &[Timestamp] {
        &self.timestamps
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// How many columns.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Values of row `at`, one a column. Panics when `at` is not below [`Frame::len`].
    pub fn row(&self, at: usize) -> &[f32] {
        &self.values[at * self.width()..(at + 1) * self.width()]
    }

    /// All rows with their times.
    pub fn rows(&self) -> impl Iterator<Item = (Timestamp, &[f32])> {
        self.timestamps.iter().enumerate().map(|(at, time)| (*time, self.row(at)))
    }

    /// Leaves out the rows that `keep` does not want, by their places; takes no memory for it.
    pub(crate) fn keep_rows(&mut self, keep: impl Fn(usize) -> bool) {
        let width = self.width();
        let mut n_kept = 0;
        for at in (0..self.len()).filter(|at| keep(*at)) {
            self.timestamps[n_kept] = self.timestamps[at];
            self.values.copy_within(at * width..(at + 1) * width, n_kept * width);
            n_kept += 1;
        }
        self.timestamps.truncate(n_kept);
        self.values.truncate(n_kept * width);
    }

    /// The rows from `since` (inclusive) to `until` (exclusive).
    pub fn between(&self, since: Option<Timestamp>, until: Option<Timestamp>) -> Self {
        let from = since.map_or(0, |t| self.timestamps.partition_point(|x| *x < t));
        let to =
            until.map_or(self.len(), |t| self.timestamps.partition_point(|x| *x < t)).max(from);
        Self {
            columns: self.columns.clone(),
            timestamps: self.timestamps[from..to].to_vec(),
            values: self.values[from * self.width()..to * self.width()].to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn keeps_order_and_width() {
        let mut frame = Frame::new(vec!["a".into(), "b".into()]);
        frame.push(at(1), &[1.0, f32::INFINITY]).unwrap();
        assert!(frame.row(0)[1].is_nan());
        assert_eq!(frame.push(at(2), &[1.0]), Err(FrameError::Width { expected: 2, found: 1 }));
        assert_eq!(
            frame.push(at(1), &[1.0, 2.0]),
            Err(FrameError::Order { time: at(1), previous: at(1) })
        );
        assert_eq!(frame.len(), 1);
    }

    #[test]
    fn cuts_by_time() {
        let mut frame = Frame::new(vec!["a".into()]);
        for t in 0..10 {
            frame.push(at(t), &[t as f32]).unwrap();
        }
        let cut = frame.between(Some(at(3)), Some(at(5)));
        assert_eq!(cut.rows().map(|(_, row)| row[0]).collect::<Vec<_>>(), [3.0, 4.0]);
        assert!(frame.between(Some(at(9)), Some(at(2))).is_empty());
    }
}
