//! What a stream left behind, as bytes and back.
//!
//! Each part names its fields once, in one order, for both ways, as the states of baselines do.

use oddns_core::stable_hash;

use crate::detector::DetectorError;

/// What a file of a state begins with: name and version of the format.
const MAGIC: [u8; 16] = *b"oddns state 004\n";
/// Bytes of a number that tells a model, or what follows, from others.
const HASH: usize = 8;
/// Most numbers in one list: more than any state of 4096 features holds.
const MOST_NUMBERS: usize = 1 << 24;

/// A state being written or read.
pub(crate) enum Ledger<'a> {
    Write(Vec<u8>),
    Read(&'a [u8]),
}

/// What can be written down and read again.
pub(crate) trait Keep {
    /// Hands every field to `ledger`, in a fixed order. After an error nothing is to be done with it.
    fn keep(&mut self, ledger: &mut Ledger<'_>) -> Result<(), DetectorError>;
}

/// `of` as bytes for [`read`], marked as belonging to the model with this fingerprint.
pub(crate) fn write(of: &mut impl Keep, model: u64) -> Result<Vec<u8>, DetectorError> {
    let mut ledger = Ledger::Write(Vec::new());
    of.keep(&mut ledger)?;
    let body = match ledger {
        Ledger::Write(bytes) => bytes,
        Ledger::Read(_) => Vec::new(),
    };
    let mut bytes = MAGIC.to_vec();
    bytes.extend(model.to_le_bytes());
    bytes.extend(stable_hash(body.iter().copied()).to_le_bytes());
    bytes.extend(body);
    Ok(bytes)
}

/// Makes `of`, which is fresh, what it was when [`write`] was called.
pub(crate) fn read(of: &mut impl Keep, model: u64, bytes: &[u8]) -> Result<(), DetectorError> {
    let (magic, rest) = bytes.split_at_checked(MAGIC.len()).ok_or_else(|| damaged("too short"))?;
    if magic != MAGIC {
        return Err(damaged("it is no state of this version of oddns"));
    }
    let (owner, rest) = hash(rest)?;
    let (sum, body) = hash(rest)?;
    if owner != model {
        return Err(damaged("it belongs to another model"));
    }
    if stable_hash(body.iter().copied()) != sum {
        return Err(damaged("its check sum is wrong"));
    }
    let mut ledger = Ledger::Read(body);
    of.keep(&mut ledger)?;
    match ledger {
        Ledger::Read([]) => Ok(()),
        _ => Err(damaged("there is more in it than a state")),
    }
}

fn hash(bytes: &[u8]) -> Result<(u64, &[u8]), DetectorError> {
    let (hash, rest) = bytes.split_first_chunk::<HASH>().ok_or_else(|| damaged("too short"))?;
    Ok((u64::from_le_bytes(*hash), rest))
}

impl Ledger<'_> {
    fn word(&mut self, word: &mut u64) -> Result<(), DetectorError> {
        match self {
            Self::Write(bytes) => bytes.extend(word.to_le_bytes()),
            Self::Read(rest) => (*word, *rest) = hash(rest)?,
        }
        Ok(())
    }

    /// A count, at most `most`.
    pub(crate) fn count(&mut self, count: &mut usize, most: usize) -> Result<(), DetectorError> {
        let mut word = *count as u64;
        self.word(&mut word)?;
        *count = usize::try_from(word).map_err(|_| damaged("a count is out of range"))?;
        if *count <= most { Ok(()) } else { Err(damaged("a count is out of range")) }
    }

    /// Any whole number.
    pub(crate) fn whole(&mut self, number: &mut i64) -> Result<(), DetectorError> {
        let mut word = number.cast_unsigned();
        self.word(&mut word)?;
        *number = word.cast_signed();
        Ok(())
    }

    pub(crate) fn flag(&mut self, flag: &mut bool) -> Result<(), DetectorError> {
        let mut number = usize::from(*flag);
        self.count(&mut number, 1)?;
        *flag = number == 1;
        Ok(())
    }

    /// As many flags as there are.
    pub(crate) fn flags(&mut self, flags: &mut [bool]) -> Result<(), DetectorError> {
        let mut numbers: Vec<f32> = flags.iter().map(|flag| f32::from(u8::from(*flag))).collect();
        self.numbers(&mut numbers, |number| number == 0.0 || number == 1.0)?;
        for (flag, number) in flags.iter_mut().zip(numbers) {
            *flag = number == 1.0;
        }
        Ok(())
    }

    /// As many numbers as there are, each of them `good`.
    pub(crate) fn numbers(
        &mut self,
        numbers: &mut [f32],
        good: impl Fn(f32) -> bool,
    ) -> Result<(), DetectorError> {
        match self {
            Self::Write(bytes) => bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes())),
            Self::Read(rest) => {
                for number in &mut *numbers {
                    let (bytes, others) =
                        rest.split_first_chunk().ok_or_else(|| damaged("it ends too early"))?;
                    (*number, *rest) = (f32::from_le_bytes(*bytes), others);
                }
            }
        }
        let whole = numbers.iter().all(|number| good(*number));
        if whole { Ok(()) } else { Err(damaged("a number in it is out of range")) }
    }

    /// A list of any length up to `most`.
    pub(crate) fn list(
        &mut self,
        list: &mut Vec<f32>,
        most: usize,
        good: impl Fn(f32) -> bool,
    ) -> Result<(), DetectorError> {
        let mut length = list.len();
        self.count(&mut length, most.min(MOST_NUMBERS))?;
        // What is not there is not reserved.
        if matches!(self, Self::Read(rest) if rest.len() / size_of::<f32>() < length) {
            return Err(damaged("it ends too early"));
        }
        list.resize(length, 0.0);
        self.numbers(list, good)
    }

    /// What has a state of its own, by writing it and making it anew.
    pub(crate) fn part<T>(
        &mut self,
        part: &mut T,
        state: impl Fn(&T) -> Vec<f32>,
        restore: impl Fn(&T, &[f32]) -> Option<T>,
    ) -> Result<(), DetectorError> {
        let mut numbers = if matches!(self, Self::Write(_)) { state(part) } else { Vec::new() };
        self.list(&mut numbers, MOST_NUMBERS, f32::is_finite)?;
        if matches!(self, Self::Read(_)) {
            *part = restore(part, &numbers).ok_or_else(|| damaged("a part of it is no state"))?;
        }
        Ok(())
    }
}

pub(crate) fn damaged(reason: &'static str) -> DetectorError {
    DetectorError::State { reason }
}
