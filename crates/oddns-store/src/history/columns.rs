//! The five columns of a history file as plain slices, whatever types the writer chose.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Schema};

use super::COLUMNS;
use crate::StoreError;
use crate::numbers;
use crate::parquet_file::string_dictionary;

/// Fails unless `schema` has the columns of a history with types that can be read.
pub(crate) fn check(path: &Path, schema: &Schema) -> Result<(), StoreError> {
    for name in COLUMNS {
        let found = schema.field_with_name(name).ok().map(|field| field.data_type());
        if !found.is_some_and(|found| fits(name, found)) {
            return Err(StoreError::Column {
                path: path.to_owned(),
                column: name.to_owned(),
                expected: expected(name).to_owned(),
                found: found.map_or("no such column".to_owned(), |found| format!("`{found}`")),
            });
        }
    }
    Ok(())
}

fn fits(name: &str, found: &DataType) -> bool {
    match name {
        "timestamp" => matches!(found, DataType::Timestamp(..)),
        "value" => matches!(found, DataType::Float64 | DataType::Int64),
        _ => *found == DataType::Utf8 || *found == string_dictionary(),
    }
}

fn expected(name: &str) -> &'static str {
    match name {
        "timestamp" => "timestamp[ms, UTC]",
        "value" => "float64 or int64",
        _ => "string",
    }
}

/// One batch of rows. Rows with a null are left out by [`Columns::row`].
pub(crate) struct Columns<'a> {
    millis: Cow<'a, [i64]>,
    pub(super) instances: Strings<'a>,
    pub(super) names: Strings<'a>,
    pub(super) labels: Strings<'a>,
    values: Cow<'a, [f64]>,
    /// Columns that have nulls; most often none.
    with_nulls: Vec<&'a ArrayRef>,
}

/// A string column: a key for each row, a text for each key.
pub(super) struct Strings<'a> {
    keys: &'a [i32],
    texts: &'a StringArray,
}

/// One row, strings as keys.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) millis: i64,
    pub(crate) keys: [i32; 3],
    pub(crate) value: f64,
}

impl<'a> Columns<'a> {
    /// Looks at `batch`, which must have passed [`check`]; `None` when it has not.
    pub(crate) fn new(batch: &'a RecordBatch) -> Option<Self> {
        let column = |name: &str| batch.column_by_name(name);
        let all: Option<Vec<&ArrayRef>> = COLUMNS.iter().map(|name| column(name)).collect();
        Some(Self {
            millis: numbers::millis(column("timestamp")?)?,
            instances: Strings::new(column("instance")?)?,
            names: Strings::new(column("name")?)?,
            labels: Strings::new(column("labels")?)?,
            values: numbers::floats(column("value")?)?,
            with_nulls: all?.into_iter().filter(|array| array.null_count() > 0).collect(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.millis.len()
    }

    /// Instance, name and labels of row `at`; `None` when one of them is missing.
    pub(crate) fn series(&self, at: usize) -> Option<[String; 3]> {
        let row = self.row(at)?;
        let [instance, name, labels] = row.keys;
        let texts =
            [self.instances.text(instance), self.names.text(name), self.labels.text(labels)];
        Some(texts.map(str::to_owned))
    }

    /// Adds the samples of row `from` and of the rows behind it that are of the same series, and
    /// says where another series begins. Rows with a null are left out.
    pub(crate) fn take_run(&self, from: usize, samples: &mut Vec<(i64, f64)>) -> usize {
        let first = self.keys(from);
        let mut at = from;
        while at < self.len() && self.keys(at) == first {
            if let Some(row) = self.row(at) {
                samples.push((row.millis, row.value));
            }
            at += 1;
        }
        at
    }

    fn keys(&self, at: usize) -> [i32; 3] {
        [self.instances.keys[at], self.names.keys[at], self.labels.keys[at]]
    }

    /// Row `at`; `None` when a value of it is missing.
    pub(crate) fn row(&self, at: usize) -> Option<Row> {
        if self.with_nulls.iter().any(|array| array.is_null(at)) {
            return None;
        }
        Some(Row { millis: self.millis[at], keys: self.keys(at), value: self.values[at] })
    }
}

/// The distinct texts of a string column; `None` for another column.
pub(crate) fn texts(array: &ArrayRef) -> Option<Vec<&str>> {
    let Strings { keys, texts } = Strings::new(array)?;
    let used: BTreeSet<i32> = keys.iter().copied().collect();
    let text = |key: i32| usize::try_from(key).ok().filter(|at| *at < texts.len());
    Some(used.into_iter().filter_map(|key| Some(texts.value(text(key)?))).collect())
}

/// Strikes the rows of a string column out of `rows` that have another text or none; `None` for
/// another column.
pub(super) fn keep_equal(array: &ArrayRef, text: &str, rows: &mut [bool]) -> Option<()> {
    let Strings { keys, texts } = Strings::new(array)?;
    let is_it: Vec<bool> = texts.iter().map(|other| other == Some(text)).collect();
    for ((row, key), at) in rows.iter_mut().zip(keys).zip(0..) {
        let is_equal = usize::try_from(*key).is_ok_and(|key| is_it.get(key) == Some(&true));
        *row &= is_equal && !array.is_null(at);
    }
    Some(())
}

impl<'a> Strings<'a> {
    fn new(array: &'a ArrayRef) -> Option<Self> {
        let array: &DictionaryArray<Int32Type> = array.as_dictionary_opt()?;
        let texts = array.values().as_string_opt()?;
        Some(Self { keys: array.keys().values(), texts })
    }

    /// The text of `key`; empty for a key without one, which only a damaged file has.
    pub(super) fn text(&self, key: i32) -> &'a str {
        match usize::try_from(key) {
            Ok(at) if at < self.texts.len() => self.texts.value(at),
            _ => "",
        }
    }
}
