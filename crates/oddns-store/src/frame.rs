//! Tables of features over time, in the layout of TSB-AD: `timestamp`, features, maybe `Label`.

use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::path::Path;
use std::sync::Arc;

use arrow_array::types::{Float32Type, TimestampMillisecondType};
use arrow_array::{ArrayRef, Int32Array, PrimitiveArray, RecordBatch};
use oddns_core::Frame;

use crate::numbers::{self, Numbers};
use crate::parquet_file::{self, MAGIC, ParquetFile, guarded};
use crate::table::{Table, parse_flag, read_bytes};
use crate::{AtomicFile, Place, StoreError};

const TIMESTAMP: &str = "timestamp";
const LABEL: &str = "Label";
const WHAT: &str = "a frame: a column `timestamp`, then one for each feature";

/// Reads a frame from CSV or Parquet, whichever the content is.
///
/// The first column is `timestamp` (RFC 3339 or Unix seconds; in Parquet also a timestamp type),
/// rising. A last column `Label`, in any case, becomes the second value: true where it is 1. An
/// empty field, `null` or `NaN` is a missing value, and so is what does not fit a 32-bit float.
/// Errors name file, line (row in Parquet) and column; a frame without rows is an error.
pub fn read_frame(path: &Path) -> Result<(Frame, Option<Vec<bool>>), StoreError> {
    let (frame, labels) = if begins_as_parquet(path)? {
        guarded(path, || read_parquet(path, ParquetFile::open(path)?))?
    } else {
        read_csv(path, &read_bytes(path, WHAT)?)?
    };
    if frame.is_empty() {
        return Err(StoreError::Empty { path: path.to_owned(), expected: "at least one row" });
    }
    Ok((frame, labels))
}

/// Writes a frame, as Parquet when `path` ends in `.parquet` and as CSV when it ends in `.csv`.
/// Missing values become empty fields or nulls. `labels` has one value for each row.
pub fn write_frame(path: &Path, frame: &Frame, labels: Option<&[bool]>) -> Result<(), StoreError> {
    if let Some(labels) = labels
        && labels.len() != frame.len()
    {
        let reason = format!("cannot hold {} labels for {} rows", labels.len(), frame.len());
        return Err(StoreError::kind(path, reason));
    }
    match Format::of(path)? {
        Format::Csv => write_csv(path, frame, labels).map_err(StoreError::write(path)),
        Format::Parquet => write_parquet(path, frame, labels),
    }
}

/// How a table is written, by the extension of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    Parquet,
}

impl Format {
    pub(crate) fn of(path: &Path) -> Result<Self, StoreError> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => Ok(Self::Csv),
            Some("parquet") => Ok(Self::Parquet),
            // A device or pipe has no extension to choose; text suits it.
            _ if path.exists() && !path.is_file() && !path.is_dir() => Ok(Self::Csv),
            _ => Err(StoreError::kind(path, "does not end in `.csv` or `.parquet`: name it so")),
        }
    }
}

pub(crate) fn begins_as_parquet(path: &Path) -> Result<bool, StoreError> {
    let mut first = [0; MAGIC.len()];
    let mut file = File::open(path).map_err(StoreError::read(path))?;
    match file.read_exact(&mut first) {
        Ok(()) => Ok(first == *MAGIC),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(StoreError::read(path)(error)),
    }
}

/// Feature names, and whether a label column follows them.
fn features<'a>(path: &Path, header: &[&'a str]) -> Result<(Vec<&'a str>, bool), StoreError> {
    let fail = |column: &str, expected: &str, found: String| {
        let (path, expected) = (path.to_owned(), expected.to_owned());
        Err(StoreError::Column { path, column: column.to_owned(), expected, found })
    };
    let first = header.first().copied().unwrap_or_default();
    if first != TIMESTAMP {
        let expected = "it first, with the time of each row (RFC 3339 or Unix seconds): add it";
        return fail(TIMESTAMP, expected, format!("`{first}` first"));
    }
    let mut names = header[1..].to_vec();
    let has_label = names.last().is_some_and(|last| last.eq_ignore_ascii_case(LABEL));
    if has_label {
        names.pop();
    }
    if names.is_empty() {
        return fail("", "at least one feature after `timestamp`", "none".to_owned());
    }
    for (at, name) in names.iter().enumerate() {
        if name.eq_ignore_ascii_case(LABEL) {
            return fail(name, "it last, so that it is no feature", format!("it at {}", at + 2));
        }
        if name.is_empty() || *name == TIMESTAMP || names[..at].contains(name) {
            return fail(name, "a name that no other column has", format!("it at {}", at + 2));
        }
    }
    Ok((names, has_label))
}

fn read_csv(path: &Path, text: &[u8]) -> Result<(Frame, Option<Vec<bool>>), StoreError> {
    let mut table = Table::new(path, text)?;
    let header: Vec<String> = table.header().to_vec();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let (names, has_label) = features(path, &header)?;
    let width = names.len();
    let mut frame = Frame::new(names.into_iter().map(str::to_owned).collect());
    let mut labels = has_label.then(Vec::new);
    let mut row = vec![0.0; width];
    while table.advance()? {
        let time = table.value(0, "a time (RFC 3339 or Unix seconds)", |text| text.parse().ok())?;
        for (at, value) in row.iter_mut().enumerate() {
            *value = table.value(at + 1, "a number", parse_value)?;
        }
        if let Some(labels) = &mut labels {
            labels.push(table.value(width + 1, "0 or 1", parse_flag)?);
        }
        frame.push(time, &row).map_err(|error| table.row_error(error.to_string()))?;
    }
    Ok((frame, labels))
}

/// NaN for a missing value, `None` for what is no number.
fn parse_value(text: &str) -> Option<f32> {
    match text {
        "" | "null" | "NULL" => Some(f32::NAN),
        _ => text.parse().ok(),
    }
}

fn read_parquet(path: &Path, file: ParquetFile) -> Result<(Frame, Option<Vec<bool>>), StoreError> {
    let fields = file.schema().fields().clone();
    let header: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
    let (names, has_label) = features(path, &header)?;
    let width = names.len();
    numbers::check(path, file.schema())?;
    let mut frame = Frame::new(names.into_iter().map(str::to_owned).collect());
    let mut labels = has_label.then(Vec::new);
    for group in 0..file.row_groups().len() {
        for batch in file.batches(group, &header)? {
            append_batch(path, &batch?, width, &mut frame, labels.as_mut())?;
        }
    }
    Ok((frame, labels))
}

fn append_batch(
    path: &Path,
    batch: &RecordBatch,
    width: usize,
    frame: &mut Frame,
    mut labels: Option<&mut Vec<bool>>,
) -> Result<(), StoreError> {
    let columns: Option<Vec<Numbers<'_>>> = batch.columns().iter().map(Numbers::new).collect();
    let columns = columns.ok_or_else(|| StoreError::damaged(path)("a column changed its type"))?;
    let mut row = vec![0.0; width];
    for at in 0..batch.num_rows() {
        let place = Place::Row(frame.len() as u64 + 1);
        let cell = |column: usize, value: String, expected| {
            let schema = batch.schema();
            StoreError::cell(path, place, schema.field(column).name(), &value, expected)
        };
        let time = columns[0].time(at).map_err(|value| cell(0, value, "a time"))?;
        for (value, column) in row.iter_mut().zip(&columns[1..]) {
            *value = column.number(at) as f32;
        }
        if let Some(labels) = labels.as_deref_mut() {
            let value = columns[width + 1].number(at);
            let flag = numbers::flag(value);
            labels.push(flag.ok_or_else(|| cell(width + 1, value.to_string(), "0 or 1"))?);
        }
        frame.push(time, &row).map_err(|error| StoreError::Row {
            path: path.to_owned(),
            place,
            reason: error.to_string(),
        })?;
    }
    Ok(())
}

fn write_csv(path: &Path, frame: &Frame, labels: Option<&[bool]>) -> io::Result<()> {
    let file = AtomicFile::create(path).map_err(into_io)?;
    let mut csv = csv::Writer::from_writer(BufWriter::new(file));
    let label = labels.map(|_| LABEL);
    let columns = frame.columns().iter().map(String::as_str);
    csv.write_record(std::iter::once(TIMESTAMP).chain(columns).chain(label))?;
    for (at, (time, row)) in frame.rows().enumerate() {
        csv.write_field(time.to_string())?;
        for value in row {
            csv.write_field(if value.is_nan() { String::new() } else { value.to_string() })?;
        }
        if let Some(labels) = labels {
            csv.write_field(if labels[at] { "1" } else { "0" })?;
        }
        csv.write_record(None::<&[u8]>)?;
    }
    commit_csv(csv)
}

/// Brings a CSV file that was written through a buffer to its place.
pub(crate) fn commit_csv(csv: csv::Writer<BufWriter<AtomicFile>>) -> io::Result<()> {
    let buffer = csv.into_inner().map_err(|error| error.into_error())?;
    let file = buffer.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.commit().map_err(into_io)
}

/// The operating system's words alone: the caller adds the path.
pub(crate) fn into_io(error: StoreError) -> io::Error {
    match error {
        StoreError::Write { source, .. } => source,
        other => io::Error::other(other),
    }
}

fn write_parquet(path: &Path, frame: &Frame, labels: Option<&[bool]>) -> Result<(), StoreError> {
    let times = frame.timestamps().iter().map(|time| time.millis());
    let times = PrimitiveArray::<TimestampMillisecondType>::from_iter_values(times);
    let mut columns: Vec<(&str, ArrayRef)> =
        vec![(TIMESTAMP, Arc::new(times.with_timezone("UTC")))];
    for (at, name) in frame.columns().iter().enumerate() {
        let values = frame.rows().map(|(_, row)| Some(row[at]).filter(|value| !value.is_nan()));
        columns.push((name, Arc::new(values.collect::<PrimitiveArray<Float32Type>>())));
    }
    if let Some(labels) = labels {
        let flags = Int32Array::from_iter_values(labels.iter().map(|label| i32::from(*label)));
        columns.push((LABEL, Arc::new(flags)));
    }
    parquet_file::write(path, columns)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn csv(text: &str) -> Result<(Frame, Option<Vec<bool>>), String> {
        read_csv(Path::new("f.csv"), text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_what_people_write() {
        let (frame, labels) = csv(
            "\u{feff}timestamp,a,b,Label\r\n2026-11-22T07:11:52Z,1,,0\n1795331513.5, -2e3 ,nan,1\n",
        )
        .unwrap();
        assert_eq!(frame.columns(), ["a", "b"]);
        assert_eq!(frame.timestamps()[1].millis(), 1_795_331_513_500);
        assert_eq!((frame.row(1)[0], frame.row(0)[1].is_nan()), (-2000.0, true));
        assert_eq!(labels, Some(vec![false, true]));
    }

    #[test]
    fn errors_say_where_and_what_to_do() {
        for (text, message) in [
            ("a,b\n1,2\n", "column `timestamp`: expected it first"),
            ("timestamp\n1\n", "at least one feature"),
            ("timestamp,Label\n1,0\n", "at least one feature"),
            ("timestamp,a,a\n1,2,3\n", "column `a`: expected a name that no other column has"),
            ("timestamp,Label,a\n1,0,3\n", "column `Label`: expected it last"),
            ("timestamp,a\n1,x\n", "line 2, column `a`: `x` is not a number"),
            ("timestamp,a\n1,2\nsoon,2\n", "line 3, column `timestamp`: `soon` is not a time"),
            ("timestamp,a\n2,2\n1,2\n", "line 3: row at 1970-01-01T00:00:01.000Z is not later"),
            ("timestamp,a,Label\n1,2,2\n", "line 2, column `Label`: `2` is not 0 or 1"),
            ("timestamp,a\n1,2\n2\n", "line 3: 1 fields, but the header has 2"),
            ("\n\n", "is empty"),
        ] {
            let error = csv(text).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn labels_must_fit() {
        let frame = Frame::new(vec!["a".into()]);
        let error = write_frame(Path::new("f.csv"), &frame, Some(&[true])).unwrap_err();
        assert!(error.to_string().contains("1 labels for 0 rows"), "{error}");
        let error = write_frame(Path::new("f.txt"), &frame, None).unwrap_err();
        assert!(error.to_string().contains("`.csv` or `.parquet`"), "{error}");
    }

    #[test]
    fn damaged_parquet_is_an_error() {
        let path = Path::new("f.parquet");
        let bytes = Bytes::from_static(b"PAR1xxxxxxxxxxxxPAR1");
        let file = ParquetFile::in_memory(path, bytes);
        assert!(matches!(file.map(|_| ()), Err(StoreError::Damaged { .. })));
    }
}
