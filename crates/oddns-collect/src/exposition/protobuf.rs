//! The protobuf exposition, read in place: no message becomes a value of its own, so that a body
//! cannot take many times its size.

mod histogram;
mod metric;

use super::series::LabelPair;
use super::{Fault, Limits, ParseError, Reason};
use crate::protobuf::{Damage, Message, Value};
use metric::Family;

/// One sample of a body.
pub(super) struct Found<'a> {
    pub(super) name: &'a str,
    /// Each name once.
    pub(super) labels: &'a [LabelPair<'a>],
    pub(super) value: f64,
    /// In milliseconds since 1970.
    pub(super) time: Option<i64>,
}

/// How much memory the new series of a body may take.
///
/// A body says the labels of a histogram once, however many buckets follow, and the name of a family
/// once; a table of series has them for each. A few real servers come to forty times the body.
pub(super) struct Room {
    limit: usize,
    left: usize,
}

impl Room {
    pub(super) fn of(body: &[u8]) -> Self {
        let limit = body.len().saturating_mul(48).max(48 << 20);
        Self { limit, left: limit }
    }

    /// Takes what one series needs: its texts, and what holds them.
    pub(super) fn take(&mut self, found: &Found<'_>) -> Result<(), Reason> {
        let label = |(name, value): &LabelPair<'_>| 64 + name.len() + value.len();
        let needed = 160 + found.name.len() + found.labels.iter().map(label).sum::<usize>();
        match self.left.checked_sub(needed) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Reason::TooManyBytes(self.limit)),
        }
    }
}

/// Takes samples, and may refuse one.
pub(super) type Take<'t> = dyn FnMut(Found<'_>) -> Result<(), Reason> + 't;

/// Calls `take` with every sample of a body of metric families, each behind its length.
pub(super) fn decode(body: &[u8], limits: &Limits, take: &mut Take<'_>) -> Result<(), ParseError> {
    let mut families = Message::new(body);
    while !families.is_empty() {
        families
            .delimited()
            .map_err(Fault::from)
            .and_then(|family| read_family(family, limits, take))
            .map_err(|fault| locate(body, fault))?;
    }
    Ok(())
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Self { at: damage.at, reason: Reason::Message(damage.what) }
    }
}

fn locate(body: &[u8], fault: Fault) -> ParseError {
    match super::foreign(body) {
        Some(what) => ParseError { line: 1, column: 1, reason: Reason::NotMetrics(what) },
        None => ParseError { line: 0, column: fault.at + 1, reason: fault.reason },
    }
}

fn read_family(message: Message<'_>, limits: &Limits, take: &mut Take<'_>) -> Result<(), Fault> {
    // Name and type may stand behind the metrics.
    let family = Family::read(message, limits)?;
    let mut fields = message;
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (4, Value::Bytes(metric)) => family.read_metric(metric, limits, take)?,
            (4, _) => fields.wrong_type()?,
            _ => {}
        }
    }
    Ok(())
}

/// A number of 64 bits, by its bits; 0 where the field has another type, as for one that is missing.
fn double(value: Value<'_>) -> f64 {
    match value {
        Value::Fixed64(bits) => f64::from_bits(bits),
        _ => 0.0,
    }
}

fn whole(value: Value<'_>) -> u64 {
    match value {
        Value::Varint(number) => number,
        _ => 0,
    }
}

/// A number written with its sign in the last bit.
fn signed(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests;
