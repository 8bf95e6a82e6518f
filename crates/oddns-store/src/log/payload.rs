//! What a record says: strings, series made of them, samples of series.
//!
//! Integers are little-endian base 128 (`varint`), signed ones zigzag first. The first byte of a
//! payload is its kind.

use super::MAX_PAYLOAD;

const STRINGS: u8 = 1;
const SERIES: u8 = 2;
const SAMPLES: u8 = 3;
const CLOSED: u8 = 4;
const COUNTED_SAMPLES: u8 = 5;

/// A record of strings is ended at this size.
const FULL: usize = MAX_PAYLOAD / 4;

const NEXT_SERIES: u8 = 1;
const SAME_TIME: u8 = 1 << 1;
const VALUE_SHIFT: u32 = 2;
const SMALL_SHIFT: u32 = 4;

const ZERO: u8 = 0;
const INTEGER: u8 = 1;
const SINGLE: u8 = 2;
const DOUBLE: u8 = 3;

/// Integers beyond this are not exact in a float.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// A payload that has passed its checksum, ready to be decoded.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Payload<'a> {
    /// Texts by number.
    Strings(&'a [u8]),
    /// Series by number, each as the numbers of instance, name and labels.
    Series(&'a [u8]),
    /// Samples of series.
    Samples {
        /// How many samples the segment held before; unknown in segments of older programs.
        before: Option<u64>,
        /// For [`samples`].
        body: &'a [u8],
    },
    /// The last record of a log that was closed in order.
    Closed,
}

impl<'a> Payload<'a> {
    /// `None` for an empty payload and an unknown kind.
    pub(crate) fn new(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match *kind {
            STRINGS => Some(Self::Strings(rest)),
            SERIES => Some(Self::Series(rest)),
            SAMPLES => Some(Self::Samples { before: None, body: rest }),
            COUNTED_SAMPLES => {
                let mut rest = Cursor(rest);
                let before = Some(rest.varint()?);
                Some(Self::Samples { before, body: rest.0 })
            }
            CLOSED if rest.is_empty() => Some(Self::Closed),
            _ => None,
        }
    }

    /// The payload that says that nothing will follow.
    pub(crate) fn closed() -> Vec<u8> {
        vec![CLOSED]
    }
}

/// Definitions of strings and series, gathered into payloads.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    strings: Vec<Vec<u8>>,
    series: Vec<Vec<u8>>,
    last_string: i64,
    last_series: [i64; 4],
}

impl Definitions {
    /// Says that string `id` is `text`.
    pub(crate) fn string(&mut self, id: u32, text: &str) {
        if self.strings.last().is_none_or(|payload| payload.len() + text.len() > FULL) {
            self.strings.push(vec![STRINGS]);
            self.last_string = 0;
        }
        if let Some(payload) = self.strings.last_mut() {
            put_signed(payload, i64::from(id) - self.last_string);
            put(payload, text.len() as u64);
            payload.extend_from_slice(text.as_bytes());
            self.last_string = i64::from(id);
        }
    }

    /// Says that series `id` is made of the strings `parts`: instance, name, labels.
    pub(crate) fn series(&mut self, id: u32, parts: [u32; 3]) {
        if self.series.last().is_none_or(|payload| payload.len() > FULL) {
            self.series.push(vec![SERIES]);
            self.last_series = [0; 4];
        }
        let [instance, name, labels] = parts.map(i64::from);
        let now = [i64::from(id), instance, name, labels];
        if let Some(payload) = self.series.last_mut() {
            for (now, last) in now.iter().zip(self.last_series) {
                put_signed(payload, now - last);
            }
            self.last_series = now;
        }
    }

    /// The payloads, strings before the series that need them.
    pub(crate) fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        self.strings.iter().chain(&self.series).map(Vec::as_slice)
    }
}

/// Samples on their way into a payload. Each is told by how it differs from the one before, so that
/// one scrape of a server costs about three bytes a sample.
#[derive(Debug)]
pub(crate) struct SampleEncoder {
    payload: Vec<u8>,
    series: i64,
    millis: i64,
}

impl SampleEncoder {
    /// At most so many samples go into one payload; the longest one takes 24 bytes.
    pub(crate) const MAX_SAMPLES: usize = 8192;

    /// Samples that come after `before` others in their segment, so that a reader who meets damage
    /// can tell how many are missing.
    pub(crate) fn new(before: u64) -> Self {
        let mut payload = vec![COUNTED_SAMPLES];
        put(&mut payload, before);
        Self { payload, series: -1, millis: 0 }
    }

    pub(crate) fn push(&mut self, series: u32, millis: i64, value: f64) {
        let series = i64::from(series);
        let (form, small) = form(value);
        let next = self.series + 1 == series;
        let same = self.millis == millis;
        let control = (if next { NEXT_SERIES } else { 0 })
            | (if same { SAME_TIME } else { 0 })
            | (form << VALUE_SHIFT)
            | (small << SMALL_SHIFT);
        self.payload.push(control);
        if !next {
            put_signed(&mut self.payload, series - self.series);
        }
        if !same {
            put_signed(&mut self.payload, millis.wrapping_sub(self.millis));
        }
        self.put_value(form, small, value);
        (self.series, self.millis) = (series, millis);
    }

    fn put_value(&mut self, form: u8, small: u8, value: f64) {
        match form {
            INTEGER if small == 0 => put_signed(&mut self.payload, value as i64),
            SINGLE => self.payload.extend_from_slice(&(value as f32).to_le_bytes()),
            DOUBLE => self.payload.extend_from_slice(&value.to_le_bytes()),
            _ => {}
        }
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// How a value is best told; integers from 1 to 15 fit into the control byte.
fn form(value: f64) -> (u8, u8) {
    if value.to_bits() == 0 {
        return (ZERO, 0);
    }
    if value.fract() == 0.0 && value.abs() < MAX_EXACT && value != 0.0 {
        let small = if (1.0..16.0).contains(&value) { value as u8 } else { 0 };
        return (INTEGER, small);
    }
    if f64::from(value as f32).to_bits() == value.to_bits() { (SINGLE, 0) } else { (DOUBLE, 0) }
}

/// Gives each string of a payload to `take`; `None` when the payload is not well formed.
pub(super) fn strings(payload: &[u8], mut take: impl FnMut(u32, &str)) -> Option<()> {
    let mut rest = Cursor(payload);
    let mut id = 0_i64;
    while !rest.is_empty() {
        id = id.checked_add(rest.signed()?)?;
        let length = usize::try_from(rest.varint()?).ok()?;
        let text = std::str::from_utf8(rest.bytes(length)?).ok()?;
        take(u32::try_from(id).ok()?, text);
    }
    Some(())
}

/// Gives each series of a payload to `take`; `None` when the payload is not well formed.
pub(super) fn series(payload: &[u8], mut take: impl FnMut(u32, [u32; 3])) -> Option<()> {
    let mut rest = Cursor(payload);
    let mut last = [0_i64; 4];
    while !rest.is_empty() {
        for number in &mut last {
            *number = number.checked_add(rest.signed()?)?;
        }
        let number = |at: usize| u32::try_from(last[at]).ok();
        take(number(0)?, [number(1)?, number(2)?, number(3)?]);
    }
    Some(())
}

/// Gives each sample (series, milliseconds, value) of a payload to `take`; `None` when the payload
/// is not well formed.
pub(crate) fn samples(payload: &[u8], mut take: impl FnMut(u32, i64, f64)) -> Option<()> {
    let mut rest = Cursor(payload);
    let (mut series, mut millis) = (-1_i64, 0_i64);
    while !rest.is_empty() {
        let control = rest.bytes(1)?[0];
        let step = if control & NEXT_SERIES == 0 { rest.signed()? } else { 1 };
        series = series.checked_add(step)?;
        if control & SAME_TIME == 0 {
            millis = millis.wrapping_add(rest.signed()?);
        }
        let value = rest.value(control)?;
        take(u32::try_from(series).ok()?, millis, value);
    }
    Some(())
}

fn put(payload: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        payload.push(number as u8 | 0x80);
        number >>= 7;
    }
    payload.push(number as u8);
}

fn put_signed(payload: &mut Vec<u8>, number: i64) {
    put(payload, ((number << 1) ^ (number >> 63)) as u64);
}

/// What is left of a payload.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for (at, byte) in self.0.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn value(&mut self, control: u8) -> Option<f64> {
        match ((control >> VALUE_SHIFT) & 3, control >> SMALL_SHIFT) {
            (ZERO, _) => Some(0.0),
            (INTEGER, 0) => Some(self.signed()? as f64),
            (INTEGER, small) => Some(f64::from(small)),
            (SINGLE, _) => Some(f64::from(f32::from_le_bytes(self.bytes(4)?.try_into().ok()?))),
            _ => Some(f64::from_le_bytes(self.bytes(8)?.try_into().ok()?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(payload: &[u8]) -> &[u8] {
        match Payload::new(payload) {
            Some(Payload::Samples { before: Some(7), body }) => body,
            other => panic!("unexpected payload {other:?}"),
        }
    }

    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (-20_i64..20).prop_map(|value| value as f64),
            any::<i64>().prop_map(|value| value as f64),
            any::<f32>().prop_map(f64::from),
            Just(-0.0),
        ]
    }

    proptest! {
        #[test]
        fn samples_come_back_to_the_bit(
            given in proptest::collection::vec((any::<u32>(), any::<i64>(), any_value()), 0..99),
        ) {
            let mut encoder = SampleEncoder::new(7);
            for (series, millis, value) in &given {
                encoder.push(*series, *millis, *value);
            }
            prop_assert!(encoder.payload().len() <= 2 + 24 * given.len());
            let mut found = Vec::new();
            samples(body(encoder.payload()), |s, t, v| found.push((s, t, v.to_bits()))).unwrap();
            let given: Vec<_> = given.iter().map(|(s, t, v)| (*s, *t, v.to_bits())).collect();
            prop_assert_eq!(found, given);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = samples(&bytes, |_, _, _| {});
            let _ = strings(&bytes, |_, _| {});
            let _ = series(&bytes, |_, _| {});
        }
    }

    #[test]
    fn one_scrape_costs_few_bytes() {
        let mut encoder = SampleEncoder::new(7);
        for series in 0..300 {
            encoder.push(series, 1_795_331_512_000, f64::from(series % 3) * 1000.0);
        }
        assert!(encoder.payload().len() < 900, "{}", encoder.payload().len());
    }

    #[test]
    fn definitions_come_back_over_many_payloads() {
        let mut definitions = Definitions::default();
        let long = "x".repeat(FULL / 2 + 1);
        for id in [7, 3, 9] {
            definitions.string(id, &long);
            definitions.series(id, [id, 3, 7]);
        }
        let mut found = Vec::new();
        for payload in definitions.payloads() {
            match Payload::new(payload).unwrap() {
                Payload::Strings(bytes) => strings(bytes, |id, text| {
                    found.push((id, vec![text.len() as u32]));
                })
                .unwrap(),
                Payload::Series(bytes) => {
                    series(bytes, |id, parts| found.push((id, parts.to_vec()))).unwrap();
                }
                _ => panic!("unexpected payload"),
            }
        }
        let length = long.len() as u32;
        assert_eq!(found[..3], [7, 3, 9].map(|id| (id, vec![length])));
        assert_eq!(found[3..], [7, 3, 9].map(|id| (id, vec![id, 3, 7])));
    }
}
