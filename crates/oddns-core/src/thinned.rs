//! A frame that keeps below a size, however long the record is.

use crate::{Frame, FrameError, Timestamp};

/// Rows that are kept or left out together: long enough to have a past to be judged by.
const STRETCH_ROWS: usize = 4096;

/// A frame of a record of any length, in bounded memory.
///
/// All rows stay as long as they are not too many. Then every second stretch of 4,096 rows is left
/// out, of what is there and of what comes, and again as often as needed: what stays are whole
/// stretches, spread evenly over the whole record.
#[derive(Debug, Clone, PartialEq)]
pub struct Thinned {
    frame: Frame,
    most_rows: usize,
    /// One stretch of so many is kept; a power of two.
    spacing: usize,
    n_seen: usize,
    last: Option<Timestamp>,
}

impl Thinned {
    /// An empty one with these columns, which keeps at most `most_rows` rows, and never less than
    /// two stretches.
    pub fn new(columns: Vec<String>, most_rows: usize) -> Self {
        let frame = Frame::new(columns);
        let mut thinned = Self { frame, most_rows: usize::MAX, spacing: 1, n_seen: 0, last: None };
        thinned.limit(most_rows);
        thinned
    }

    /// Takes the next row, as [`Frame::push`] does; also one that is left out has to be sound.
    ///
    /// # Errors
    /// A row of another width, or not later than the one before.
    pub fn push(&mut self, time: Timestamp, row: &[f32]) -> Result<(), FrameError> {
        let (expected, found) = (self.frame.width(), row.len());
        if expected != found {
            return Err(FrameError::Width { expected, found });
        }
        if let Some(previous) = self.last.filter(|previous| time <= *previous) {
            return Err(FrameError::Order { time, previous });
        }
        if (self.n_seen / STRETCH_ROWS).is_multiple_of(self.spacing) {
            self.frame.push(time, row)?;
        }
        self.n_seen += 1;
        self.last = Some(time);
        self.thin();
        Ok(())
    }

    /// Keeps at most so many rows from now on, and never less than two stretches.
    pub fn limit(&mut self, most_rows: usize) {
        self.most_rows = most_rows.max(2 * STRETCH_ROWS);
        self.thin();
    }

    /// The rows that were kept so far.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// How many rows came, those that were left out among them.
    pub fn n_seen(&self) -> usize {
        self.n_seen
    }

    /// The rows that were kept.
    pub fn into_frame(self) -> Frame {
        self.frame
    }

    fn thin(&mut self) {
        while self.frame.len() > self.most_rows {
            self.spacing *= 2;
            self.frame.keep_rows(|at| (at / STRETCH_ROWS).is_multiple_of(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn thinned(n_rows: usize, most_rows: usize) -> Thinned {
        let mut thinned = Thinned::new(vec!["a".into()], most_rows);
        for at in 0..n_rows {
            thinned.push(Timestamp::from_millis(at as i64), &[at as f32]).unwrap();
        }
        thinned
    }

    #[test]
    fn all_rows_stay_while_they_are_few() {
        let kept = thinned(3 * STRETCH_ROWS, 3 * STRETCH_ROWS);
        assert_eq!((kept.frame().len(), kept.n_seen()), (3 * STRETCH_ROWS, 3 * STRETCH_ROWS));
    }

    #[test]
    fn what_is_left_out_is_looked_at() {
        let mut kept = thinned(9 * STRETCH_ROWS, 2 * STRETCH_ROWS);
        let last = Timestamp::from_millis(9 * STRETCH_ROWS as i64 - 1);
        assert!(matches!(kept.push(last, &[0.0]), Err(FrameError::Order { .. })));
        assert!(matches!(kept.push(last, &[0.0, 1.0]), Err(FrameError::Width { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn whole_stretches_stay_evenly_spread(n_rows in 1..150_000_usize, stretches in 2..9_usize) {
            let most = stretches * STRETCH_ROWS;
            let kept = thinned(n_rows, most);
            let rows: Vec<usize> = kept.frame().rows().map(|(_, row)| row[0] as usize).collect();
            prop_assert!(rows.len() <= most);
            prop_assert!(n_rows <= most || rows.len() > most / 2 - STRETCH_ROWS);
            let expected: Vec<usize> =
                (0..n_rows).filter(|at| (at / STRETCH_ROWS).is_multiple_of(kept.spacing)).collect();
            prop_assert_eq!(rows, expected);
        }

        #[test]
        fn a_later_limit_keeps_what_an_earlier_one_would(n_rows in 1..100_000_usize) {
            let mut late = thinned(n_rows, usize::MAX);
            late.limit(3 * STRETCH_ROWS);
            let early = thinned(n_rows, 3 * STRETCH_ROWS);
            prop_assert_eq!(late.frame(), early.frame());
        }
    }
}
