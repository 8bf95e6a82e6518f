//! Numeric Parquet columns of any width as 64-bit floats.

use std::borrow::Cow;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Schema, TimeUnit};
use oddns_core::Timestamp;

use crate::StoreError;

/// A column of numbers or times.
pub(crate) struct Numbers<'a> {
    array: &'a ArrayRef,
    values: Values<'a>,
}

enum Values<'a> {
    /// Numbers; for a time, Unix seconds.
    Float(Cow<'a, [f64]>),
    /// Milliseconds since the Unix epoch.
    Millis(Cow<'a, [i64]>),
}

/// Fails unless every column is a number, the first one a number or a time.
pub(crate) fn check(path: &Path, schema: &Schema) -> Result<(), StoreError> {
    for (at, field) in schema.fields().iter().enumerate() {
        let found = field.data_type();
        let fits = found.is_numeric()
            && !matches!(
                found,
                DataType::Float16
                    | DataType::Decimal32(..)
                    | DataType::Decimal64(..)
                    | DataType::Decimal128(..)
                    | DataType::Decimal256(..)
            )
            || *found == DataType::Boolean
            || (at == 0 && matches!(found, DataType::Timestamp(..)));
        if !fits {
            return Err(StoreError::Column {
                path: path.to_owned(),
                column: field.name().clone(),
                expected: if at == 0 { "a time" } else { "numbers" }.to_owned(),
                found: format!("`{found}`"),
            });
        }
    }
    Ok(())
}

/// What a number means as a flag.
pub(crate) fn flag(value: f64) -> Option<bool> {
    (value == 0.0 || value == 1.0).then_some(value == 1.0)
}

impl<'a> Numbers<'a> {
    /// `None` for a type that [`check`] refuses.
    pub(crate) fn new(array: &'a ArrayRef) -> Option<Self> {
        Some(Self { array, values: values(array)? })
    }

    /// The number in row `at`, NaN for null.
    pub(crate) fn number(&self, at: usize) -> f64 {
        match &self.values {
            _ if self.array.is_null(at) => f64::NAN,
            Values::Float(values) => values[at],
            Values::Millis(values) => values[at] as f64 / 1000.0,
        }
    }

    /// The time in row `at`; otherwise what is there instead.
    pub(crate) fn time(&self, at: usize) -> Result<Timestamp, String> {
        if self.array.is_null(at) {
            return Err("null".to_owned());
        }
        match &self.values {
            Values::Float(values) => Timestamp::from_unix_seconds(values[at])
                .ok_or_else(|| format!("{} (Unix seconds)", values[at])),
            Values::Millis(values) => Ok(Timestamp::from_millis(values[at])),
        }
    }
}

fn values(array: &ArrayRef) -> Option<Values<'_>> {
    Some(match array.data_type() {
        DataType::Timestamp(..) => Values::Millis(millis(array)?),
        DataType::Boolean => {
            let flags = array.as_boolean_opt()?.values();
            Values::Float(flags.iter().map(|flag| f64::from(u8::from(flag))).collect())
        }
        _ => Values::Float(floats(array)?),
    })
}

/// A numeric column as 64-bit floats; `None` for other types.
pub(crate) fn floats(array: &ArrayRef) -> Option<Cow<'_, [f64]>> {
    match array.data_type() {
        DataType::Float64 => Some(slice::<Float64Type>(array)?.into()),
        DataType::Float32 => converted::<Float32Type, _>(array, f64::from),
        DataType::Int8 => converted::<Int8Type, _>(array, f64::from),
        DataType::Int16 => converted::<Int16Type, _>(array, f64::from),
        DataType::Int32 => converted::<Int32Type, _>(array, f64::from),
        DataType::Int64 => converted::<Int64Type, _>(array, |value| value as f64),
        DataType::UInt8 => converted::<UInt8Type, _>(array, f64::from),
        DataType::UInt16 => converted::<UInt16Type, _>(array, f64::from),
        DataType::UInt32 => converted::<UInt32Type, _>(array, f64::from),
        DataType::UInt64 => converted::<UInt64Type, _>(array, |value| value as f64),
        _ => None,
    }
}

/// A timestamp column of any unit in milliseconds; `None` for other types.
pub(crate) fn millis(array: &ArrayRef) -> Option<Cow<'_, [i64]>> {
    let DataType::Timestamp(unit, _) = array.data_type() else { return None };
    match unit {
        TimeUnit::Second => {
            converted::<TimestampSecondType, _>(array, |time| time.saturating_mul(1000))
        }
        TimeUnit::Millisecond => Some(slice::<TimestampMillisecondType>(array)?.into()),
        TimeUnit::Microsecond => {
            converted::<TimestampMicrosecondType, _>(array, |time| time.div_euclid(1000))
        }
        TimeUnit::Nanosecond => {
            converted::<TimestampNanosecondType, _>(array, |time| time.div_euclid(1_000_000))
        }
    }
}

fn slice<T: ArrowPrimitiveType>(array: &ArrayRef) -> Option<&[T::Native]> {
    Some(array.as_primitive_opt::<T>()?.values())
}

fn converted<T: ArrowPrimitiveType, U: Clone>(
    array: &ArrayRef,
    convert: impl Fn(T::Native) -> U,
) -> Option<Cow<'_, [U]>> {
    Some(slice::<T>(array)?.iter().map(|value| convert(*value)).collect::<Vec<_>>().into())
}
