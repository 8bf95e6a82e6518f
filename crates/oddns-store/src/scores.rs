//! Scores on disk: one row for each instance and step.

use std::io::{self, BufWriter};
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, Float32Array, Int32Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow_schema::DataType;
use oddns_core::Timestamp;

use crate::frame::{Format, begins_as_parquet, commit_csv, into_io};
use crate::numbers::{self, Numbers};
use crate::parquet_file::{self, ParquetFile, guarded};
use crate::table::{Table, parse_flag, read_bytes};
use crate::{AtomicFile, Place, StoreError};

pub(crate) const HEADER: [&str; 5] = ["timestamp", "instance", "score", "alarm", "top_features"];

/// The verdict on one instant of one server, as scripts read it.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreRow {
    /// The instant.
    pub time: Timestamp,
    /// Which server; empty for a frame that has none.
    pub instance: String,
    /// Above 1 is anomalous, higher is more anomalous; never NaN.
    pub score: f32,
    /// Whether the alarm holds.
    pub alarm: bool,
    /// The features that contribute most, strongest first. A `;` within a name is written as `,`.
    pub top_features: Vec<String>,
}

/// Reads scores from CSV or Parquet, whichever the content is. Columns may be in any order and
/// others may be among them; a score that is no number, NaN included, is an error with its line.
pub fn read_scores(path: &Path) -> Result<Vec<ScoreRow>, StoreError> {
    if begins_as_parquet(path)? {
        return guarded(path, || read_parquet(path, &ParquetFile::open(path)?));
    }
    let text = read_bytes(path, "a header `timestamp,instance,score,alarm,top_features`")?;
    read_csv(path, &text)
}

/// Writes scores, as Parquet when `path` ends in `.parquet` and as CSV when it ends in `.csv`. A
/// NaN score is an error.
pub fn write_scores(path: &Path, rows: &[ScoreRow]) -> Result<(), StoreError> {
    if let Some(row) = rows.iter().find(|row| row.score.is_nan()) {
        let reason = format!("cannot hold the score NaN (at {})", row.time);
        return Err(StoreError::kind(path, reason));
    }
    match Format::of(path)? {
        Format::Csv => write_csv(path, rows).map_err(StoreError::write(path)),
        Format::Parquet => write_parquet(path, rows),
    }
}

fn read_csv(path: &Path, text: &[u8]) -> Result<Vec<ScoreRow>, StoreError> {
    let mut table = Table::new(path, text)?;
    let [time, instance, score, alarm, top_features] = table.columns(HEADER)?;
    let mut rows = Vec::new();
    while table.advance()? {
        let number = |text: &str| text.parse().ok().filter(|score: &f32| !score.is_nan());
        rows.push(ScoreRow {
            time: table.value(time, "a time (RFC 3339 or Unix seconds)", |t| t.parse().ok())?,
            instance: table.text(instance).to_owned(),
            score: table.value(score, "a number", number)?,
            alarm: table.value(alarm, "0 or 1", parse_flag)?,
            top_features: split_features(table.text(top_features)),
        });
    }
    Ok(rows)
}

fn split_features(text: &str) -> Vec<String> {
    text.split(';').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn join_features(row: &ScoreRow) -> String {
    let names: Vec<String> = row.top_features.iter().map(|name| name.replace(';', ",")).collect();
    names.join(";")
}

fn write_csv(path: &Path, rows: &[ScoreRow]) -> io::Result<()> {
    let file = AtomicFile::create(path).map_err(into_io)?;
    let mut csv = csv::Writer::from_writer(BufWriter::new(file));
    csv.write_record(HEADER)?;
    for row in rows {
        csv.write_field(row.time.to_string())?;
        csv.write_field(&row.instance)?;
        csv.write_field(row.score.to_string())?;
        csv.write_field(if row.alarm { "1" } else { "0" })?;
        csv.write_field(join_features(row))?;
        csv.write_record(None::<&[u8]>)?;
    }
    commit_csv(csv)
}

fn write_parquet(path: &Path, rows: &[ScoreRow]) -> Result<(), StoreError> {
    let millis = rows.iter().map(|row| row.time.millis());
    let times = TimestampMillisecondArray::from_iter_values(millis).with_timezone("UTC");
    let instances = StringArray::from_iter_values(rows.iter().map(|row| &row.instance));
    let scores = Float32Array::from_iter_values(rows.iter().map(|row| row.score));
    let alarms = Int32Array::from_iter_values(rows.iter().map(|row| i32::from(row.alarm)));
    let features = StringArray::from_iter_values(rows.iter().map(join_features));
    let columns: [ArrayRef; 5] = [
        Arc::new(times),
        Arc::new(instances),
        Arc::new(scores),
        Arc::new(alarms),
        Arc::new(features),
    ];
    parquet_file::write(path, HEADER.into_iter().zip(columns).collect())
}

fn read_parquet(path: &Path, file: &ParquetFile) -> Result<Vec<ScoreRow>, StoreError> {
    for name in HEADER {
        let found = file.schema().field_with_name(name).ok().map(|field| field.data_type());
        if !found.is_some_and(|found| fits(name, found)) {
            return Err(StoreError::Column {
                path: path.to_owned(),
                column: name.to_owned(),
                expected: expected(name).to_owned(),
                found: found.map_or("no such column".to_owned(), |found| format!("`{found}`")),
            });
        }
    }
    let mut rows = Vec::new();
    for group in 0..file.row_groups().len() {
        for batch in file.batches(group, &HEADER)? {
            append_batch(path, &batch?, &mut rows)?;
        }
    }
    Ok(rows)
}

fn fits(name: &str, found: &DataType) -> bool {
    match name {
        "instance" | "top_features" => *found == DataType::Utf8,
        "timestamp" => found.is_numeric() || matches!(found, DataType::Timestamp(..)),
        _ => found.is_numeric() || *found == DataType::Boolean,
    }
}

fn expected(name: &str) -> &'static str {
    match name {
        "instance" | "top_features" => "string",
        "timestamp" => "a time",
        _ => "numbers",
    }
}

fn append_batch(
    path: &Path,
    batch: &RecordBatch,
    rows: &mut Vec<ScoreRow>,
) -> Result<(), StoreError> {
    let changed = || StoreError::damaged(path)("a column has a type that cannot be read");
    let array = |name| batch.column_by_name(name);
    let numbers = |name| array(name).and_then(Numbers::new).ok_or_else(changed);
    let text =
        |name| array(name).and_then(|array| array.as_string_opt::<i32>()).ok_or_else(changed);
    let (times, scores, alarms) = (numbers("timestamp")?, numbers("score")?, numbers("alarm")?);
    let (instances, features) = (text("instance")?, text("top_features")?);
    for at in 0..batch.num_rows() {
        let place = Place::Row(rows.len() as u64 + 1);
        let fail =
            |column, value: &str, expected| StoreError::cell(path, place, column, value, expected);
        let score = scores.number(at) as f32;
        if score.is_nan() {
            return Err(fail("score", "NaN", "a number"));
        }
        let alarm = alarms.number(at);
        rows.push(ScoreRow {
            time: times.time(at).map_err(|value| fail("timestamp", &value, "a time"))?,
            instance: text_or_empty(instances, at).to_owned(),
            score,
            alarm: numbers::flag(alarm)
                .ok_or_else(|| fail("alarm", &alarm.to_string(), "0 or 1"))?,
            top_features: split_features(text_or_empty(features, at)),
        });
    }
    Ok(())
}

fn text_or_empty(array: &StringArray, at: usize) -> &str {
    if array.is_null(at) { "" } else { array.value(at) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<ScoreRow> {
        let row = |millis, instance: &str, score, alarm, features: &[&str]| ScoreRow {
            time: Timestamp::from_millis(millis),
            instance: instance.into(),
            score,
            alarm,
            top_features: features.iter().map(|name| (*name).to_owned()).collect(),
        };
        vec![
            row(1_795_331_512_000, "10.0.0.1:9153", 0.1, false, &[]),
            row(1_795_331_513_250, "a,\"b\"", 3.25e7, true, &["servfail_ratio", "cpu, per query"]),
            row(-1, "", f32::INFINITY, false, &["x"]),
        ]
    }

    #[test]
    fn saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["s.csv", "s.parquet"] {
            let path = folder.path().join(name);
            write_scores(&path, &rows()).unwrap();
            assert_eq!(read_scores(&path).unwrap(), rows(), "{name}");
        }
    }

    #[test]
    fn csv_is_as_documented() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.csv");
        write_scores(&path, &rows()[..1]).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "timestamp,instance,score,alarm,top_features\n\
             2026-11-22T07:11:52.000Z,10.0.0.1:9153,0.1,0,\n"
        );
    }

    #[test]
    fn errors_say_where() {
        let header = "timestamp,instance,score,alarm,top_features\n";
        for (text, message) in [
            ("1,a,NaN,0,\n", "line 2, column `score`: `NaN` is not a number"),
            ("1,a,1,0,\n1,a,1,maybe,\n", "line 3, column `alarm`: `maybe` is not 0 or 1"),
            ("never,a,1,0,\n", "line 2, column `timestamp`: `never` is not a time"),
        ] {
            let text = format!("{header}{text}");
            let error = read_csv(Path::new("s.csv"), text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
        let error = read_csv(Path::new("s.csv"), b"timestamp,score\n").unwrap_err();
        assert!(error.to_string().contains("column `instance`: expected a header"), "{error}");
    }

    #[test]
    fn nan_is_not_written() {
        let mut rows = rows();
        rows[0].score = f32::NAN;
        assert!(write_scores(Path::new("s.csv"), &rows).is_err());
    }
}
