//! Tables of features over time, in the layout of TSB-AD: `timestamp`, features, maybe `Label`.

use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::path::Path;
use std::sync::Arc;

use arrow_array::types::{Float32Type, TimestampMillisecondType};
use arrow_array::{ArrayRef, Int32Array, PrimitiveArray};
use oddns_core::Frame;

use crate::parquet_file::{self, MAGIC};
use crate::{AtomicFile, FrameReader, StoreError};

pub(crate) const TIMESTAMP: &str = "timestamp";
pub(crate) const LABEL: &str = "Label";

/// Reads a frame from CSV or Parquet, whichever the content is.
///
/// The first column is `timestamp` (RFC 3339 or Unix seconds; in Parquet also a timestamp type),
/// rising. A last column `Label`, in any case, becomes the second value: true where it is 1. An
/// empty field, `null` or `NaN` is a missing value, and so is what does not fit a 32-bit float.
/// Errors name file, line (row in Parquet) and column; a frame without rows is an error.
pub fn read_frame(path: &Path) -> Result<(Frame, Option<Vec<bool>>), StoreError> {
    let mut reader = FrameReader::open(path)?;
    let mut frame = Frame::new(reader.columns().to_vec());
    let mut labels = reader.has_labels().then(Vec::new);
    while let Some(piece) = reader.next_piece()? {
        for (time, row) in piece.frame.rows() {
            // The reader has checked width and order.
            frame.push(time, row).map_err(|error| StoreError::kind(path, error.to_string()))?;
        }
        if let (Some(labels), Some(more)) = (&mut labels, piece.labels) {
            labels.extend(more);
        }
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
    use super::*;

    #[test]
    fn labels_must_fit() {
        let frame = Frame::new(vec!["a".into()]);
        let error = write_frame(Path::new("f.csv"), &frame, Some(&[true])).unwrap_err();
        assert!(error.to_string().contains("1 labels for 0 rows"), "{error}");
        let error = write_frame(Path::new("f.txt"), &frame, None).unwrap_err();
        assert!(error.to_string().contains("`.csv` or `.parquet`"), "{error}");
    }
}
