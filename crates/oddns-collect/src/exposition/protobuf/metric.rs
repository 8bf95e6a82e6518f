//! A metric family and its metrics.

use std::borrow::Cow;

use super::histogram::Histogram;
use super::{Found, Take, double, whole};
use crate::exposition::series::{self, LabelPair};
use crate::exposition::{Fault, Limits, Reason};
use crate::protobuf::{Message, Value};

/// `MetricType`, as far as it makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Counters, gauges and what has no type: the field of a metric that holds the value.
    Simple {
        field: u64,
    },
    Summary,
    /// Also of gauges.
    Histogram,
}

/// What all metrics of a family share.
pub(super) struct Family<'a> {
    name: &'a str,
    kind: Kind,
}

/// One metric with its labels.
struct Metric<'m, 'a> {
    family: &'m Family<'a>,
    /// Where it begins in the body.
    at: usize,
    labels: Vec<LabelPair<'a>>,
    time: Option<i64>,
    /// The message that holds its values, if there is one.
    values: Option<Message<'a>>,
}

impl Kind {
    fn of(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::Simple { field: 3 },
            1 => Self::Simple { field: 2 },
            2 => Self::Summary,
            3 => Self::Simple { field: 5 },
            4 | 5 => Self::Histogram,
            _ => return None,
        })
    }

    /// The field of a metric with its values.
    fn field(self) -> u64 {
        match self {
            Self::Simple { field } => field,
            Self::Summary => 4,
            Self::Histogram => 7,
        }
    }
}

impl<'a> Family<'a> {
    pub(super) fn read(mut message: Message<'a>, limits: &Limits) -> Result<Self, Fault> {
        let start = message.range().start;
        let (mut name, mut kind, mut has_metrics) = ("", 0, false);
        while let Some((number, value)) = message.next()? {
            match (number, value) {
                (1, Value::Bytes(text)) => name = text.as_text()?,
                // The help text is passed over, but has to be one.
                (2, Value::Bytes(text)) => drop(text.as_text()?),
                (3, Value::Varint(number)) => kind = number,
                (1..=3, _) => message.wrong_type()?,
                (4, _) => has_metrics = true,
                _ => {}
            }
        }
        if has_metrics && name.is_empty() {
            return Err(Fault { at: start, reason: Reason::MetadataName });
        }
        series::check_length(name, start, limits)?;
        let unknown = Fault { at: start, reason: Reason::TypeNumber(kind) };
        Ok(Self { name, kind: Kind::of(kind).ok_or(unknown)? })
    }

    pub(super) fn read_metric(
        &self,
        message: Message<'a>,
        limits: &Limits,
        take: &mut Take<'_>,
    ) -> Result<(), Fault> {
        let mut metric = Metric::read(self, message, limits)?;
        match (self.kind, metric.values) {
            (Kind::Simple { .. }, values) => {
                let value = values.map_or(Ok(0.0), first_double)?;
                metric.give("", value, take)
            }
            (Kind::Summary, values) => metric.give_summary(values, take),
            (Kind::Histogram, values) => metric.give_histogram(&Histogram::read(values)?, take),
        }
    }
}

/// The field 1 of a message, a number.
fn first_double(mut message: Message<'_>) -> Result<f64, Fault> {
    let mut found = 0.0;
    while let Some((number, value)) = message.next()? {
        if number == 1 {
            found = double(value);
        }
    }
    Ok(found)
}

impl<'m, 'a> Metric<'m, 'a> {
    fn read(
        family: &'m Family<'a>,
        mut message: Message<'a>,
        limits: &Limits,
    ) -> Result<Self, Fault> {
        let at = message.range().start;
        let mut metric = Self { family, at, labels: Vec::new(), time: None, values: None };
        while let Some((number, value)) = message.next()? {
            match (number, value) {
                (1, Value::Bytes(label)) => metric.add_label(label, limits)?,
                // Unset and zero are the same.
                (6, Value::Varint(time)) => metric.time = Some(time as i64).filter(|at| *at != 0),
                (number, Value::Bytes(values)) if number == family.kind.field() => {
                    metric.values = Some(values);
                }
                (1 | 6, _) => message.wrong_type()?,
                _ => {}
            }
        }
        Ok(metric)
    }

    fn add_label(&mut self, mut message: Message<'a>, limits: &Limits) -> Result<(), Fault> {
        let at = message.range().start;
        if self.labels.len() == limits.max_labels {
            return Err(Fault { at, reason: Reason::TooManyLabels(limits.max_labels) });
        }
        let (mut name, mut text) = ("", "");
        while let Some((number, value)) = message.next()? {
            match (number, value) {
                (1, Value::Bytes(bytes)) => name = bytes.as_text()?,
                (2, Value::Bytes(bytes)) => text = bytes.as_text()?,
                (1 | 2, _) => message.wrong_type()?,
                _ => {}
            }
        }
        if name.is_empty() || name == "__name__" {
            return Err(Fault { at, reason: Reason::ReservedName(name.to_owned()) });
        }
        series::check_length(name, at, limits)?;
        series::check_value_length(text, at, limits)?;
        if self.labels.iter().any(|(known, _)| known == name) {
            return Err(Fault { at, reason: Reason::DuplicateLabel(name.to_owned()) });
        }
        self.labels.push((Cow::Borrowed(name), Cow::Borrowed(text)));
        Ok(())
    }

    fn give(&self, suffix: &str, value: f64, take: &mut Take<'_>) -> Result<(), Fault> {
        let name = match suffix {
            "" => Cow::Borrowed(self.family.name),
            suffix => Cow::Owned(format!("{}{suffix}", self.family.name)),
        };
        self.give_as(&name, &self.labels, value, take)
    }

    fn give_as(
        &self,
        name: &str,
        labels: &[LabelPair<'_>],
        value: f64,
        take: &mut Take<'_>,
    ) -> Result<(), Fault> {
        // As in text, where a NaN has no further bits.
        let value = if value.is_nan() { f64::NAN } else { value };
        take(Found { name, labels, value, time: self.time })
            .map_err(|reason| Fault { at: self.at, reason })
    }

    fn give_summary(
        &mut self,
        values: Option<Message<'a>>,
        take: &mut Take<'_>,
    ) -> Result<(), Fault> {
        let (mut count, mut sum) = (0, 0.0);
        let mut fields = values.unwrap_or(Message::new(b""));
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => count = whole(value),
                2 => sum = double(value),
                _ => {}
            }
        }
        self.give("_count", count as f64, take)?;
        self.give("_sum", sum, take)?;
        let at = self.insert_label("quantile")?;
        let mut fields = values.unwrap_or(Message::new(b""));
        while let Some((number, value)) = fields.next()? {
            let (3, Value::Bytes(quantile)) = (number, value) else { continue };
            let (quantile, value) = pair(quantile)?;
            self.labels[at].1 = Cow::Owned(spelled(quantile));
            self.give("", value, take)?;
        }
        Ok(())
    }

    fn give_histogram(
        &mut self,
        histogram: &Histogram<'a>,
        take: &mut Take<'_>,
    ) -> Result<(), Fault> {
        self.give("_count", histogram.count, take)?;
        self.give("_sum", histogram.sum, take)?;
        let name = format!("{}_bucket", self.family.name);
        let at = self.insert_label("le")?;
        let mut labels = std::mem::take(&mut self.labels);
        histogram.for_each_bucket(&mut |bound, count| {
            labels[at].1 = Cow::Owned(spelled(bound));
            self.give_as(&name, &labels, count, take)
        })
    }

    /// Makes room for a label that the format adds; where it is.
    fn insert_label(&mut self, name: &'static str) -> Result<usize, Fault> {
        if self.labels.iter().any(|(known, _)| known == name) {
            return Err(Fault { at: self.at, reason: Reason::DuplicateLabel(name.to_owned()) });
        }
        let at = self.labels.partition_point(|(known, _)| known.as_ref() < name);
        self.labels.insert(at, (Cow::Borrowed(name), Cow::Borrowed("")));
        Ok(at)
    }
}

/// The fields 1 and 2 of a message, both numbers.
fn pair(mut message: Message<'_>) -> Result<(f64, f64), Fault> {
    let mut found = (0.0, 0.0);
    while let Some((number, value)) = message.next()? {
        match number {
            1 => found.0 = double(value),
            2 => found.1 = double(value),
            _ => {}
        }
    }
    Ok(found)
}

/// A bound or quantile as Go writes it in the text format: the shortest digits that mean the number,
/// with an exponent of two digits at least below 1e-4 and from 1e+06 on.
fn spelled(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if number == 0.0 {
        return "0".to_owned();
    }
    if (-4..6).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelled_as_go_spells_them() {
        for (number, expected) in [
            (1.0, "1"),
            (0.0, "0"),
            (-0.0, "0"),
            (0.00025, "0.00025"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (-123_456.5, "-123456.5"),
            (1_000_000.0, "1e+06"),
            (2_345_678.0, "2.345678e+06"),
            (-2.5e300, "-2.5e+300"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(spelled(number), expected);
        }
    }
}
