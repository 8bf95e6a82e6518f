//! Tables of features read piece by piece, so that their size does not count.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use oddns_core::{Frame, FrameError, Timestamp, to_single};

use crate::frame::{LABEL, TIMESTAMP, begins_as_parquet};
use crate::numbers::{self, Numbers};
use crate::parquet_file::{Batches, ParquetFile, guarded};
use crate::table::{Table, parse_flag};
use crate::{Place, StoreError};

/// What a time has to be.
const TIME: &str = "a time: write RFC 3339 or Unix seconds, milliseconds divided by 1000";
const WHAT: &str = "a frame: a column `timestamp`, then one for each feature";
/// Rows of a piece of CSV; one of Parquet is what is decoded at once.
const PIECE_ROWS: usize = 8192;

/// Reads a table as [`crate::read_frame`] does, a piece at a time.
pub struct FrameReader {
    path: PathBuf,
    columns: Vec<String>,
    has_labels: bool,
    source: Source,
    n_rows: u64,
    last: Option<Timestamp>,
}

/// Some rows in a row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FramePiece {
    /// At least one row, later than all of the pieces before.
    pub frame: Frame,
    /// What the column `Label` says of each row, where there is one.
    pub labels: Option<Vec<bool>>,
}

enum Source {
    Csv(Box<Table<'static>>),
    Parquet(Box<Batches>),
}

impl FrameReader {
    /// Opens `path` and reads its header.
    ///
    /// # Errors
    /// When it cannot be read or is no table of features.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if begins_as_parquet(path)? {
            return guarded(path, || Self::over_parquet(path, ParquetFile::open(path)?));
        }
        Self::over_csv(path, Table::open(path)).map_err(|error| match error {
            StoreError::Empty { path, .. } => StoreError::Empty { path, expected: WHAT },
            error => error,
        })
    }

    fn over_csv(
        path: &Path,
        table: Result<Table<'static>, StoreError>,
    ) -> Result<Self, StoreError> {
        let table = table?;
        let header = table.header().to_vec();
        Self::new(path, &header, Source::Csv(Box::new(table)))
    }

    fn over_parquet(path: &Path, file: ParquetFile) -> Result<Self, StoreError> {
        let header: Vec<String> =
            file.schema().fields().iter().map(|field| field.name().clone()).collect();
        let names: Vec<&str> = header.iter().map(String::as_str).collect();
        let schema = file.schema().clone();
        let batches = file.into_batches(&names, None)?;
        let reader = Self::new(path, &header, Source::Parquet(Box::new(batches)))?;
        numbers::check(path, &schema)?;
        Ok(reader)
    }

    fn new(path: &Path, header: &[String], source: Source) -> Result<Self, StoreError> {
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        let (names, has_labels) = features(path, &header)?;
        let columns = names.into_iter().map(str::to_owned).collect();
        Ok(Self { path: path.to_owned(), columns, has_labels, source, n_rows: 0, last: None })
    }

    /// Names of the features.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Whether a column `Label` follows the features.
    pub fn has_labels(&self) -> bool {
        self.has_labels
    }

    /// The next rows; `None` at the end.
    ///
    /// # Errors
    /// A value, a time or the order of rows that is not as it has to be, with its place; a table
    /// without a single row. Nothing after it can be read.
    pub fn next_piece(&mut self) -> Result<Option<FramePiece>, StoreError> {
        let frame = Frame::new(self.columns.clone());
        let mut piece = FramePiece { frame, labels: self.has_labels.then(Vec::new) };
        let path = self.path.clone();
        guarded(&path, || match self.source {
            Source::Csv(_) => self.read_lines(&mut piece),
            Source::Parquet(_) => self.read_batch(&mut piece),
        })?;
        match (piece.frame.is_empty(), self.n_rows) {
            (true, 0) => Err(StoreError::Empty { path, expected: "at least one row" }),
            (empty, _) => Ok((!empty).then_some(piece)),
        }
    }

    fn read_lines(&mut self, piece: &mut FramePiece) -> Result<(), StoreError> {
        let Source::Csv(table) = &mut self.source else { return Ok(()) };
        let mut row = vec![0.0; self.columns.len()];
        while piece.frame.len() < PIECE_ROWS && table.advance()? {
            let time = table.value(0, TIME, |text| text.parse().ok())?;
            for (at, value) in row.iter_mut().enumerate() {
                *value = table.value(at + 1, "a number", parse_value)?;
            }
            if let Some(labels) = &mut piece.labels {
                labels.push(table.value(row.len() + 1, "0 or 1", parse_flag)?);
            }
            let pushed = push_after(self.last, piece, time, &row);
            pushed.map_err(|error| table.row_error(error.to_string()))?;
            (self.last, self.n_rows) = (Some(time), self.n_rows + 1);
        }
        Ok(())
    }

    fn read_batch(&mut self, piece: &mut FramePiece) -> Result<(), StoreError> {
        let Source::Parquet(batches) = &mut self.source else { return Ok(()) };
        let Some(batch) =
            batches.find(|batch| !matches!(batch, Ok(batch) if batch.num_rows() == 0))
        else {
            return Ok(());
        };
        self.take_batch(&batch?, piece)
    }

    fn take_batch(
        &mut self,
        batch: &RecordBatch,
        piece: &mut FramePiece,
    ) -> Result<(), StoreError> {
        let path = &self.path;
        let columns: Option<Vec<Numbers<'_>>> = batch.columns().iter().map(Numbers::new).collect();
        let columns =
            columns.ok_or_else(|| StoreError::damaged(path)("a column changed its type"))?;
        let width = self.columns.len();
        let mut row = vec![0.0; width];
        for at in 0..batch.num_rows() {
            self.n_rows += 1;
            let place = Place::Row(self.n_rows);
            let cell = |column: usize, value: String, expected| {
                let schema = batch.schema();
                StoreError::cell(path, place, schema.field(column).name(), &value, expected)
            };
            let time = columns[0].time(at).map_err(|value| cell(0, value, "a time"))?;
            for (value, column) in row.iter_mut().zip(&columns[1..]) {
                *value = to_single(column.number(at));
            }
            if let Some(labels) = &mut piece.labels {
                let value = columns[width + 1].number(at);
                let flag = numbers::flag(value);
                labels.push(flag.ok_or_else(|| cell(width + 1, value.to_string(), "0 or 1"))?);
            }
            let pushed = push_after(self.last, piece, time, &row);
            pushed.map_err(|error| StoreError::Row {
                path: path.clone(),
                place,
                reason: error.to_string(),
            })?;
            self.last = Some(time);
        }
        Ok(())
    }
}

/// Appends a row that has to be later than the `last` one, which may be of the piece before.
fn push_after(
    last: Option<Timestamp>,
    piece: &mut FramePiece,
    time: Timestamp,
    row: &[f32],
) -> Result<(), FrameError> {
    if let Some(previous) = last.filter(|last| time <= *last) {
        return Err(FrameError::Order { time, previous });
    }
    piece.frame.push(time, row)
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
    let mut seen = HashSet::new();
    for (at, name) in names.iter().enumerate() {
        if name.eq_ignore_ascii_case(LABEL) {
            return fail(name, "it last, so that it is no feature", format!("it at {}", at + 2));
        }
        if name.is_empty() || *name == TIMESTAMP || !seen.insert(*name) {
            return fail(name, "a name that no other column has", format!("it at {}", at + 2));
        }
    }
    Ok((names, has_label))
}

/// NaN for a missing value, `None` for what is no number.
fn parse_value(text: &str) -> Option<f32> {
    match text {
        "" | "null" | "NULL" => Some(f32::NAN),
        _ => text.parse().ok().map(to_single),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bytes::Bytes;

    use super::*;
    use crate::read_frame;

    fn csv(text: &str) -> Result<(Frame, Option<Vec<bool>>), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.csv");
        fs::write(&path, text).unwrap();
        read_frame(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn what_32_bits_cannot_hold_is_far_out_and_not_missing() {
        let text = "timestamp,a\n0,1e300\n1,-1e39\n2,inf\n3,1e-60\n";
        let (frame, _) = csv(text).unwrap();
        let values: Vec<f32> = (0..4).map(|row| frame.row(row)[0]).collect();
        assert_eq!(values[..2], [f32::MAX, f32::MIN]);
        assert!(values[2].is_nan());
        assert_eq!(values[3], 0.0);
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
    fn pieces_are_in_order_across_their_borders() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.csv");
        let mut text = "timestamp,a\n".to_owned();
        (0..=PIECE_ROWS).for_each(|at| text.push_str(&format!("{at},1\n")));
        fs::write(&path, &text).unwrap();
        let mut reader = FrameReader::open(&path).unwrap();
        assert_eq!(reader.next_piece().unwrap().unwrap().frame.len(), PIECE_ROWS);
        assert_eq!(reader.next_piece().unwrap().unwrap().frame.len(), 1);
        assert_eq!(reader.next_piece().unwrap(), None);
        let back = text.replace(&format!("\n{PIECE_ROWS},"), "\n3,");
        fs::write(&path, back).unwrap();
        let error = read_frame(&path).unwrap_err().to_string();
        assert!(
            error.contains("line 8194: row at 1970-01-01T00:00:03.000Z is not later"),
            "{error}"
        );
    }

    #[test]
    fn an_endless_line_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.csv");
        fs::write(&path, "timestamp,a\n1,".to_owned() + &"1".repeat(9 << 20)).unwrap();
        let error = read_frame(&path).unwrap_err().to_string();
        assert!(error.contains("a line is longer than 8 MiB"), "{error}");
    }

    #[test]
    fn damaged_parquet_is_an_error() {
        let path = Path::new("f.parquet");
        let bytes = Bytes::from_static(b"PAR1xxxxxxxxxxxxPAR1");
        let file = ParquetFile::in_memory(path, bytes);
        assert!(matches!(file.map(|_| ()), Err(StoreError::Damaged { .. })));
    }
}
