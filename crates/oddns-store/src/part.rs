//! One Parquet file of a history, written series by series.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{Float64Builder, Int32Builder, TimestampMillisecondBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit};
use parquet::basic::Encoding;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::StoreError;
use crate::parquet_file::{self, ParquetWriter, string_dictionary, write_error};

/// Rows given to the encoder at once.
const BATCH_ROWS: usize = 32_768;

/// After at least so many rows a row group ends with its instance, so that readers of one instance
/// can skip the others.
const ROW_GROUP_ROWS: usize = 65_536;

/// Rows of a page at most. The series of a server share their timestamps, and counters of one
/// histogram look alike: a page of a dozen series takes half the bytes of two pages of six.
const PAGE_ROWS: usize = 65_536;

/// A part being written. Rows must come sorted by instance, name, labels and time.
pub(crate) struct PartWriter<W: Write + Send> {
    path: PathBuf,
    writer: ParquetWriter<W>,
    batch: Batch,
}

/// Rows that the encoder does not have yet.
#[derive(Default)]
struct Batch {
    /// Texts of the series that have rows in the batch: instance, name, labels.
    texts: [Vec<String>; 3],
    series: Int32Builder,
    millis: TimestampMillisecondBuilder,
    values: Float64Builder,
    n_rows: usize,
}

impl<W: Write + Send> PartWriter<W> {
    /// Writes to `file`; `path` is what errors call it.
    pub(crate) fn new(path: &Path, file: W) -> Result<Self, StoreError> {
        let writer = ParquetWriter::new(path, file, Arc::new(schema()), properties(path)?)?;
        Ok(Self { path: path.to_owned(), writer, batch: Batch::default() })
    }

    /// Adds samples of a series (instance, name, labels), oldest first; milliseconds and value.
    pub(crate) fn add(
        &mut self,
        series: [&str; 3],
        samples: &[(i64, f64)],
    ) -> Result<(), StoreError> {
        self.end_row_group_before(series[0])?;
        let mut rest = samples;
        while !rest.is_empty() {
            let room = BATCH_ROWS - self.batch.n_rows;
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.batch.push(series, now);
            rest = later;
            if self.batch.n_rows >= BATCH_ROWS {
                self.write_batch()?;
            }
        }
        Ok(())
    }

    /// Starts another row group when `instance` is another one and the row group is large enough.
    fn end_row_group_before(&mut self, instance: &str) -> Result<(), StoreError> {
        let is_other = self.batch.texts[0].last().is_some_and(|last| last != instance);
        if is_other && self.writer.in_progress_rows() + self.batch.n_rows >= ROW_GROUP_ROWS {
            self.write_batch()?;
            self.batch = Batch::default();
            self.writer.end_row_group()?;
        }
        Ok(())
    }

    fn write_batch(&mut self) -> Result<(), StoreError> {
        if self.batch.n_rows > 0 {
            let batch = self.batch.finish().map_err(write_error(&self.path))?;
            self.writer.write(&batch)?;
        }
        Ok(())
    }

    /// Writes the footer and gives the file back, not yet synced.
    pub(crate) fn finish(mut self) -> Result<W, StoreError> {
        self.write_batch()?;
        self.writer.finish()
    }
}

impl Batch {
    fn push(&mut self, series: [&str; 3], samples: &[(i64, f64)]) {
        let [instances, names, labels] = &mut self.texts;
        let same = |texts: &[String], text| texts.last().is_some_and(|last| last == text);
        if !(same(labels, series[2]) && same(names, series[1]) && same(instances, series[0])) {
            for (texts, text) in self.texts.iter_mut().zip(series) {
                texts.push(text.to_owned());
            }
        }
        let key = self.texts[0].len() as i32 - 1;
        for (millis, value) in samples {
            self.series.append_value(key);
            self.millis.append_value(*millis);
            self.values.append_value(*value);
        }
        self.n_rows += samples.len();
    }

    /// The rows as a batch; the last series stays known, since it may go on.
    fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let keys = self.series.finish();
        let strings = |texts: &[String]| -> Result<ArrayRef, ArrowError> {
            let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
            Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys.clone(), texts)?))
        };
        let [instances, names, labels] = &self.texts;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.millis.finish().with_timezone("UTC")),
            strings(instances)?,
            strings(names)?,
            strings(labels)?,
            Arc::new(self.values.finish()),
        ];
        for texts in &mut self.texts {
            texts.drain(..texts.len().saturating_sub(1));
        }
        self.n_rows = 0;
        RecordBatch::try_new(Arc::new(schema()), columns)
    }
}

fn schema() -> Schema {
    let utc = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    Schema::new(vec![
        Field::new("timestamp", utc, false),
        Field::new("instance", string_dictionary(), false),
        Field::new("name", string_dictionary(), false),
        Field::new("labels", string_dictionary(), false),
        Field::new("value", DataType::Float64, false),
    ])
}

fn properties(path: &Path) -> Result<WriterProperties, StoreError> {
    let column = |name: &str| ColumnPath::from(name);
    Ok(parquet_file::properties(path)?
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_column_dictionary_enabled(column("timestamp"), false)
        .set_column_encoding(column("timestamp"), Encoding::DELTA_BINARY_PACKED)
        .set_column_dictionary_enabled(column("value"), false)
        .set_column_encoding(column("value"), Encoding::BYTE_STREAM_SPLIT)
        .set_column_statistics_enabled(column("value"), EnabledStatistics::None)
        .build())
}
