//! CSV with a header, where every error says line and column.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use csv::{Reader, ReaderBuilder, StringRecord};

use crate::{Place, StoreError};

/// Bytes read at once from a file.
const BUFFER_BYTES: usize = 1 << 17;
/// The longest line of a file, in bytes: some hundred thousand features.
const MAX_LINE_BYTES: usize = 8 << 20;

/// A CSV text read record by record.
pub(crate) struct Table<'a> {
    path: PathBuf,
    reader: Reader<Box<dyn Read + Send + 'a>>,
    header: Vec<String>,
    record: StringRecord,
}

impl Table<'static> {
    /// Reads the header of the file `path`, of which never more than a line is in memory.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(StoreError::read(path))?;
        Self::over(path, Box::new(Lines { source: file, line_bytes: 0 }))
    }
}

impl<'a> Table<'a> {
    /// Reads the header of `text`.
    pub(crate) fn new(path: &Path, text: &'a [u8]) -> Result<Self, StoreError> {
        Self::over(path, Box::new(text))
    }

    fn over(path: &Path, text: Box<dyn Read + Send + 'a>) -> Result<Self, StoreError> {
        let mut reader = ReaderBuilder::new().buffer_capacity(BUFFER_BYTES).from_reader(text);
        let header = reader.headers().map_err(|error| csv_error(path, &error))?;
        let header: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        if header.iter().all(String::is_empty) {
            let expected = "a CSV file with a header";
            return Err(StoreError::Empty { path: path.to_owned(), expected });
        }
        Ok(Self { path: path.to_owned(), reader, header, record: StringRecord::new() })
    }

    pub(crate) fn header(&self) -> &[String] {
        &self.header
    }

    /// Where the columns called `names` are; the header may have others and another order.
    pub(crate) fn columns<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[usize; N], StoreError> {
        let mut places = [0; N];
        for (place, name) in places.iter_mut().zip(names) {
            *place = self.header.iter().position(|column| column == name).ok_or_else(|| {
                StoreError::Column {
                    path: self.path.clone(),
                    column: name.to_owned(),
                    expected: format!("a header with `{}`", names.join(",")),
                    found: format!("`{}`", self.header.join(",")),
                }
            })?;
        }
        Ok(places)
    }

    /// Goes to the next record; false at the end.
    pub(crate) fn advance(&mut self) -> Result<bool, StoreError> {
        self.reader.read_record(&mut self.record).map_err(|error| csv_error(&self.path, &error))
    }

    pub(crate) fn place(&self) -> Place {
        Place::Line(self.record.position().map_or(0, csv::Position::line))
    }

    /// The trimmed text in `column` of the present record.
    pub(crate) fn text(&self, column: usize) -> &str {
        self.record.get(column).unwrap_or_default().trim()
    }

    /// The value in `column` as `parse` reads it; what it gives `None` for is an error.
    pub(crate) fn value<T>(
        &self,
        column: usize,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        let text = self.text(column);
        parse(text).ok_or_else(|| {
            let name = self.header.get(column).map_or("", String::as_str);
            StoreError::cell(&self.path, self.place(), name, text, expected)
        })
    }

    pub(crate) fn row_error(&self, reason: impl Into<String>) -> StoreError {
        StoreError::Row { path: self.path.clone(), place: self.place(), reason: reason.into() }
    }
}

/// A text without endless lines: a record is in memory as a whole.
struct Lines<R> {
    source: R,
    /// Bytes since the last end of a line.
    line_bytes: usize,
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.source.read(buffer)?;
        let ended = buffer[..n_bytes].iter().rposition(|byte| *byte == b'\n');
        self.line_bytes = match ended {
            Some(at) => n_bytes - at,
            None => self.line_bytes + n_bytes,
        };
        if self.line_bytes > MAX_LINE_BYTES {
            let reason = format!("a line is longer than {} MiB", MAX_LINE_BYTES >> 20);
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(n_bytes)
    }
}

/// The bytes of `path`, at least one.
pub(crate) fn read_bytes(path: &Path, expected: &'static str) -> Result<Vec<u8>, StoreError> {
    let bytes = fs::read(path).map_err(StoreError::read(path))?;
    if bytes.is_empty() {
        return Err(StoreError::Empty { path: path.to_owned(), expected });
    }
    Ok(bytes)
}

/// What a flag column says; whole-number floats as other tools write them are fine.
pub(crate) fn parse_flag(text: &str) -> Option<bool> {
    match text {
        "0" | "0.0" | "false" | "False" => Some(false),
        "1" | "1.0" | "true" | "True" => Some(true),
        _ => None,
    }
}

fn csv_error(path: &Path, error: &csv::Error) -> StoreError {
    let line = error.position().map_or(1, csv::Position::line);
    let reason = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} fields, but the header has {expected_len}: is the file cut short?")
        }
        csv::ErrorKind::Utf8 { .. } => "not UTF-8 text".to_owned(),
        csv::ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    };
    StoreError::Row { path: path.to_owned(), place: Place::Line(line), reason }
}
