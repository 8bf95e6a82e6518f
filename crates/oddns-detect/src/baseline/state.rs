//! A fitted detector as plain numbers, and back.

use std::fmt;

use super::Score;
use super::rows::LARGEST;
use crate::DetectError;

/// Counts are kept as `f32`, which holds whole numbers exactly up to here.
pub(crate) const LARGEST_COUNT: usize = 1 << 24;

/// The numbers of a state, being written or being read. Each detector names its fields once, in
/// one order, for both.
pub enum Fields<'a> {
    /// What was written so far.
    Write(Vec<f32>),
    /// What was not read yet.
    Read(&'a [f32]),
}

/// What can be written as numbers and made of them again.
pub trait Persist: Default + Clone {
    /// Hands every field to `fields`, in a fixed order.
    fn fields(&mut self, fields: &mut Fields<'_>) -> Result<(), DetectError>;
}

/// `of` as finite numbers.
pub(crate) fn write<T: Persist>(of: &T) -> Vec<f32> {
    let mut fields = Fields::Write(Vec::new());
    // Writing has nothing that could fail: errors are about numbers that are read.
    let _ = of.clone().fields(&mut fields);
    match fields {
        Fields::Write(numbers) => numbers,
        Fields::Read(_) => Vec::new(),
    }
}

/// What [`write`] wrote, exactly.
pub(crate) fn read<T: Persist>(numbers: &[f32]) -> Result<T, DetectError> {
    if let Some(at) = numbers.iter().position(|number| !number.is_finite()) {
        return Err(DetectError::State { at, what: "a number that is not finite" });
    }
    let mut fields = Fields::Read(numbers);
    let mut value = T::default();
    value.fields(&mut fields).map_err(|error| placed(error, numbers.len(), &fields))?;
    match fields {
        Fields::Read(rest) if !rest.is_empty() => {
            Err(DetectError::State { at: numbers.len() - rest.len(), what: "surplus numbers" })
        }
        _ => Ok(value),
    }
}

/// Errors say where in the whole state they are.
fn placed(error: DetectError, n_numbers: usize, fields: &Fields<'_>) -> DetectError {
    match (error, fields) {
        (DetectError::State { what, .. }, Fields::Read(rest)) => {
            DetectError::State { at: n_numbers - rest.len(), what }
        }
        (error, _) => error,
    }
}

impl Fields<'_> {
    /// A single number.
    pub(crate) fn number(&mut self, number: &mut f32) -> Result<(), DetectError> {
        match self {
            Self::Write(numbers) => numbers.push(*number),
            Self::Read(rest) => {
                let (first, others) = rest.split_first().ok_or(damaged("too few numbers"))?;
                *number = *first;
                *rest = others;
            }
        }
        Ok(())
    }

    /// A number above zero.
    pub(crate) fn positive(&mut self, number: &mut f32) -> Result<(), DetectError> {
        self.number(number)?;
        if *number > 0.0 { Ok(()) } else { Err(damaged("a number that is not above zero")) }
    }

    /// A whole number from `range`.
    pub(crate) fn count(
        &mut self,
        count: &mut usize,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<(), DetectError> {
        let mut number = *count as f32;
        self.number(&mut number)?;
        if number < 0.0 || number.fract() != 0.0 || !range.contains(&(number as usize)) {
            return Err(damaged("a count that is out of range"));
        }
        *count = number as usize;
        Ok(())
    }

    /// `len` numbers from −`limit` to `limit`.
    pub(crate) fn list(
        &mut self,
        list: &mut Vec<f32>,
        len: usize,
        limit: f32,
    ) -> Result<(), DetectError> {
        match self {
            Self::Write(numbers) => numbers.extend_from_slice(list),
            Self::Read(rest) => {
                let (own, others) = rest.split_at_checked(len).ok_or(damaged("too few numbers"))?;
                if own.iter().any(|number| number.abs() > limit) {
                    return Err(damaged("a number that is out of range"));
                }
                *list = own.to_vec();
                *rest = others;
            }
        }
        Ok(())
    }

    /// `len` numbers, each above zero.
    pub(crate) fn scales(&mut self, list: &mut Vec<f32>, len: usize) -> Result<(), DetectError> {
        self.list(list, len, LARGEST)?;
        let positive = list.iter().all(|number| *number > 0.0);
        if positive { Ok(()) } else { Err(damaged("a scale that is not above zero")) }
    }

    /// `len` parts that have fields themselves.
    pub(crate) fn parts<T: Persist>(
        &mut self,
        parts: &mut Vec<T>,
        len: usize,
    ) -> Result<(), DetectError> {
        if let Self::Read(rest) = self {
            // Each part takes a number at least, so a wrong count reserves nothing.
            if len > rest.len() {
                return Err(damaged("too few numbers"));
            }
            *parts = vec![T::default(); len];
        }
        parts.iter_mut().try_for_each(|part| part.fields(self))
    }
}

/// A fitted detector that can be written as numbers. Each is a [`Score`].
pub trait Judge: Persist + fmt::Debug + Send + Sync + 'static {
    /// See [`Score::score`].
    fn judge(&mut self, row: &[f32]) -> f32;

    /// See [`Score::strengths`].
    fn found(&self) -> &[f32];
}

impl<J: Judge> Score for J {
    fn score(&mut self, row: &[f32]) -> f32 {
        self.judge(row)
    }

    fn strengths(&self) -> &[f32] {
        self.found()
    }

    fn state(&self) -> Vec<f32> {
        write(self)
    }

    fn from_state(numbers: &[f32]) -> Result<Self, DetectError> {
        read(numbers)
    }
}

pub(crate) fn damaged(what: &'static str) -> DetectError {
    DetectError::State { at: 0, what }
}
