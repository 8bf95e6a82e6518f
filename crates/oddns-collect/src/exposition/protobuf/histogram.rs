//! Histograms, classic and native.

use std::collections::BTreeMap;

use super::{double, signed, whole};
use crate::exposition::Fault;
use crate::protobuf::{Message, Value};

/// Resolutions of which the formulas below hold: a bucket grows by 2^(2^-schema).
const SCHEMAS: std::ops::RangeInclusive<i64> = -4..=52;

/// The largest power of two that is not yet infinite.
const MAX_EXPONENT: i64 = 1023;
/// The smallest power of two that is not yet zero.
const MIN_EXPONENT: i64 = -1074;

/// What one histogram counted.
#[derive(Debug, Default)]
pub(super) struct Histogram<'a> {
    pub(super) count: f64,
    pub(super) sum: f64,
    /// Its message once more, for the buckets.
    fields: Option<Message<'a>>,
    has_classic_buckets: bool,
    schema: i64,
    zero_threshold: f64,
    zero_count: f64,
}

/// One side of a native histogram, gathered into powers of two.
#[derive(Debug)]
struct Side {
    /// How many buckets lie between a power of two and the next, or the other way round.
    schema: i64,
    is_negative: bool,
    /// Exponents of the size of the upper bound, with what was counted up to it from the one before.
    counts: BTreeMap<i64, f64>,
}

/// Called with upper bound and cumulative count of each bucket, rising.
type TakeBucket<'t> = dyn FnMut(f64, f64) -> Result<(), Fault> + 't;

impl<'a> Histogram<'a> {
    pub(super) fn read(message: Option<Message<'a>>) -> Result<Self, Fault> {
        let Some(mut fields) = message else { return Ok(Self::default()) };
        let mut found = Self { fields: message, ..Self::default() };
        let (mut count, mut zero_count) = (0, 0);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => count = whole(value),
                2 => found.sum = double(value),
                3 => found.has_classic_buckets = true,
                4 => found.count = double(value),
                5 => found.schema = signed(whole(value)),
                6 => found.zero_threshold = double(value),
                7 => zero_count = whole(value),
                8 => found.zero_count = double(value),
                _ => {}
            }
        }
        // A histogram of whole numbers leaves the other fields out.
        if found.count == 0.0 {
            found.count = count as f64;
        }
        if found.zero_count == 0.0 {
            found.zero_count = zero_count as f64;
        }
        Ok(found)
    }

    /// Calls `take` with each bucket, the last of them `+Inf`.
    pub(super) fn for_each_bucket(&self, take: &mut TakeBucket<'_>) -> Result<(), Fault> {
        if self.has_classic_buckets {
            return self.for_each_classic_bucket(take);
        }
        if SCHEMAS.contains(&self.schema) {
            self.for_each_power_of_two(take)?;
        }
        take(f64::INFINITY, self.count)
    }

    fn for_each_classic_bucket(&self, take: &mut TakeBucket<'_>) -> Result<(), Fault> {
        let Some(mut fields) = self.fields else { return Ok(()) };
        while let Some((number, value)) = fields.next()? {
            let (3, Value::Bytes(bucket)) = (number, value) else { continue };
            let (bound, count) = read_bucket(bucket)?;
            take(bound, count)?;
            // As in Prometheus, for which nothing can follow.
            if bound == f64::INFINITY {
                return Ok(());
            }
        }
        take(f64::INFINITY, self.count)
    }

    /// Bounds are the powers of two between which the native histogram has buckets of its own, and
    /// the edge of its zero bucket.
    fn for_each_power_of_two(&self, take: &mut TakeBucket<'_>) -> Result<(), Fault> {
        let Some(fields) = self.fields else { return Ok(()) };
        let negative = Side::new(self.schema, true).read(fields, [9, 10, 11])?;
        let positive = Side::new(self.schema, false).read(fields, [12, 13, 14])?;
        let mut cumulative = 0.0;
        // The largest are the lowest.
        for (exponent, count) in negative.counts.iter().rev() {
            cumulative += count;
            take(-power_of_two(*exponent), cumulative)?;
        }
        if self.zero_count > 0.0 || self.zero_threshold > 0.0 {
            cumulative += self.zero_count;
            take(self.zero_threshold, cumulative)?;
        }
        for (exponent, count) in &positive.counts {
            cumulative += count;
            if *exponent <= MAX_EXPONENT {
                take(power_of_two(*exponent), cumulative)?;
            }
        }
        Ok(())
    }
}

/// Upper bound and cumulative count.
fn read_bucket(mut message: Message<'_>) -> Result<(f64, f64), Fault> {
    let (mut bound, mut whole_count, mut count) = (0.0, 0, 0.0);
    while let Some((number, value)) = message.next()? {
        match number {
            1 => whole_count = whole(value),
            2 => bound = double(value),
            4 => count = double(value),
            _ => {}
        }
    }
    Ok((bound, if count == 0.0 { whole_count as f64 } else { count }))
}

fn power_of_two(exponent: i64) -> f64 {
    // Two steps, for the smallest numbers have no reciprocal.
    let exponent = exponent.clamp(MIN_EXPONENT, MAX_EXPONENT) as i32;
    2_f64.powi(exponent / 2) * 2_f64.powi(exponent - exponent / 2)
}

impl Side {
    fn new(schema: i64, is_negative: bool) -> Self {
        Self { schema, is_negative, counts: BTreeMap::new() }
    }

    /// Gathers the buckets of one side, whose spans, differences and absolute counts have the field
    /// numbers `fields`.
    fn read(mut self, message: Message<'_>, fields: [u64; 3]) -> Result<Self, Fault> {
        let [spans, differences, absolutes] = fields;
        let mut places = Places::new(message, spans);
        let (mut whole_count, mut numbers) = (0_i64, message);
        while let Some((number, value)) = numbers.next()? {
            if number == differences {
                for_each(value, |number| {
                    whole_count = whole_count.saturating_add(signed(number));
                    self.add(places.next()?, whole_count as f64);
                    Ok(())
                })?;
            } else if number == absolutes {
                for_each_double(value, |count| {
                    self.add(places.next()?, count);
                    Ok(())
                })?;
            }
        }
        Ok(self)
    }

    /// Counts for the bucket at `place`, which is dropped when the spans have no place for it.
    fn add(&mut self, place: Option<i64>, count: f64) {
        let Some(place) = place else { return };
        *self.counts.entry(self.exponent(place)).or_default() += count;
    }

    /// A bucket at place n holds sizes above 2^((n - 1) / 2^schema) up to 2^(n / 2^schema); on the
    /// negative side the smaller one is the upper bound.
    fn exponent(&self, place: i64) -> i64 {
        let place = if self.is_negative { place.saturating_sub(1) } else { place };
        let exponent = match (self.schema, self.is_negative) {
            (0.., true) => place >> self.schema,
            (0.., false) => place.saturating_add((1 << self.schema) - 1) >> self.schema,
            (..0, _) => place.saturating_mul(1 << -self.schema),
        };
        exponent.clamp(MIN_EXPONENT, MAX_EXPONENT + 1)
    }
}

/// Calls `take` with the number, or the numbers of a packed field.
fn for_each(value: Value<'_>, mut take: impl FnMut(u64) -> Result<(), Fault>) -> Result<(), Fault> {
    match value {
        Value::Varint(number) => take(number),
        Value::Bytes(mut packed) => {
            while !packed.is_empty() {
                take(packed.varint()?)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn for_each_double(
    value: Value<'_>,
    mut take: impl FnMut(f64) -> Result<(), Fault>,
) -> Result<(), Fault> {
    match value {
        Value::Fixed64(bits) => take(f64::from_bits(bits)),
        Value::Bytes(packed) => {
            let (numbers, _) = packed.as_bytes().as_chunks::<8>();
            numbers.iter().try_for_each(|bytes| take(f64::from_le_bytes(*bytes)))
        }
        _ => Ok(()),
    }
}

/// Places of the buckets one after the other: spans of them, with gaps between.
struct Places<'a> {
    fields: Message<'a>,
    number: u64,
    next: i64,
    n_left: u64,
}

impl<'a> Places<'a> {
    fn new(fields: Message<'a>, number: u64) -> Self {
        Self { fields, number, next: 0, n_left: 0 }
    }

    fn next(&mut self) -> Result<Option<i64>, Fault> {
        while self.n_left == 0 {
            let Some((number, value)) = self.fields.next()? else { return Ok(None) };
            if let (true, Value::Bytes(span)) = (number == self.number, value) {
                self.begin(span)?;
            }
        }
        self.n_left -= 1;
        self.next = self.next.saturating_add(1);
        Ok(Some(self.next - 1))
    }

    fn begin(&mut self, mut span: Message<'_>) -> Result<(), Fault> {
        let mut offset = 0;
        while let Some((number, value)) = span.next()? {
            match number {
                1 => offset = signed(whole(value)),
                2 => self.n_left = whole(value),
                _ => {}
            }
        }
        self.next = self.next.saturating_add(offset);
        Ok(())
    }
}
