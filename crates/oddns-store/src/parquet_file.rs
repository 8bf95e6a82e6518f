//! Parquet files read column by column, one row group at a time, and written in one go.

use std::any::Any;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{PageIndexPolicy, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::reader::{ChunkReader, Length};

use crate::{AtomicFile, StoreError};

/// Rows decoded at once: large enough to be fast, small enough to stay in the second-level cache.
const BATCH_ROWS: usize = 32_768;

/// The first and last four bytes of every Parquet file.
pub(crate) const MAGIC: &[u8; 4] = b"PAR1";

/// An open Parquet file whose footer has been read.
pub(crate) struct ParquetFile {
    path: PathBuf,
    source: Source,
    metadata: ArrowReaderMetadata,
}

/// Where the bytes are; cheap to clone.
#[derive(Clone)]
enum Source {
    Disk { file: Arc<File>, length: u64 },
    Memory(Bytes),
}

impl ParquetFile {
    /// Opens `path` and reads its footer.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_as(path, PageIndexPolicy::Skip)
    }

    /// Opens `path` and reads its footer with the bounds of each page. A file without them is read
    /// row group by row group.
    pub(crate) fn open_with_index(path: &Path) -> Result<Self, StoreError> {
        Self::open_as(path, PageIndexPolicy::Optional)
    }

    fn open_as(path: &Path, index: PageIndexPolicy) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(StoreError::read(path))?;
        let about = file.metadata().map_err(StoreError::read(path))?;
        if about.is_dir() {
            return Err(StoreError::kind(path, "is a folder: name a file in it"));
        }
        Self::new(path, Source::Disk { file: Arc::new(file), length: about.len() }, index)
    }

    /// Reads the footer of a whole file in memory; `path` is what errors call it.
    pub(crate) fn in_memory(path: &Path, bytes: Bytes) -> Result<Self, StoreError> {
        Self::new(path, Source::Memory(bytes), PageIndexPolicy::Skip)
    }

    fn new(path: &Path, source: Source, index: PageIndexPolicy) -> Result<Self, StoreError> {
        if source.len() == 0 {
            let expected = "a Parquet file";
            return Err(StoreError::Empty { path: path.to_owned(), expected });
        }
        let first = source.get_bytes(0, MAGIC.len().min(source.len() as usize));
        if !first.map_err(StoreError::damaged(path))?.starts_with(MAGIC) {
            return Err(StoreError::kind(
                path,
                "is no Parquet file: it does not begin with `PAR1`",
            ));
        }
        // The Arrow schema that a writer may have embedded asks for whatever in-memory types it
        // liked; without it the types are those of the file.
        let options =
            ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_page_index_policy(index);
        let metadata =
            ArrowReaderMetadata::load(&source, options).map_err(StoreError::damaged(path))?;
        if !metadata.metadata().row_groups().iter().all(has_sound_ranges) {
            return Err(StoreError::damaged(path)("a column lies outside the file"));
        }
        Ok(Self { path: path.to_owned(), source, metadata })
    }

    /// Decodes strings as dictionaries: one text for each distinct value, not for each row.
    pub(crate) fn with_string_dictionaries(mut self) -> Result<Self, StoreError> {
        let fields = self.metadata.schema().fields().iter().map(|field| {
            let field: &Field = field;
            match field.data_type() {
                DataType::Utf8 => field.clone().with_data_type(string_dictionary()),
                _ => field.clone(),
            }
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let options = ArrowReaderOptions::new().with_schema(schema);
        self.metadata = ArrowReaderMetadata::try_new(self.metadata.metadata().clone(), options)
            .map_err(StoreError::damaged(&self.path))?;
        Ok(self)
    }

    pub(crate) fn schema(&self) -> &Schema {
        self.metadata.schema()
    }

    pub(crate) fn row_groups(&self) -> &[RowGroupMetaData] {
        self.metadata.metadata().row_groups()
    }

    /// The leaf of the top-level column `name` in row group metadata; `None` for nested columns.
    pub(crate) fn leaf(&self, name: &str) -> Option<usize> {
        let leaves = self.metadata.parquet_schema().columns();
        leaves.iter().position(|leaf| leaf.path().parts() == [name])
    }

    /// Decodes the named columns of one row group, in batches.
    pub(crate) fn batches(
        &self,
        row_group: usize,
        columns: &[&str],
    ) -> Result<impl Iterator<Item = Result<RecordBatch, StoreError>> + '_, StoreError> {
        let reader = self.reader(columns).with_row_groups(vec![row_group]).build();
        let reader = reader.map_err(StoreError::damaged(&self.path))?;
        Ok(reader.map(|batch| batch.map_err(StoreError::damaged(&self.path))))
    }

    /// Like [`ParquetFile::batches`], but only some of the rows.
    pub(crate) fn selected_batches(
        &self,
        row_group: usize,
        columns: &[&str],
        rows: RowSelection,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, StoreError>> + '_, StoreError> {
        let reader = self.reader(columns).with_row_groups(vec![row_group]);
        let reader = reader.with_row_selection(rows).build();
        let reader = reader.map_err(StoreError::damaged(&self.path))?;
        Ok(reader.map(|batch| batch.map_err(StoreError::damaged(&self.path))))
    }

    /// Decodes the named columns from the first row to the last, or some of the rows.
    pub(crate) fn into_batches(
        self,
        columns: &[&str],
        rows: Option<RowSelection>,
    ) -> Result<Batches, StoreError> {
        let reader = self.reader(columns);
        let reader = if let Some(rows) = rows { reader.with_row_selection(rows) } else { reader };
        let reader = reader.build().map_err(StoreError::damaged(&self.path))?;
        Ok(Batches { path: self.path, reader })
    }

    fn reader(&self, columns: &[&str]) -> ParquetRecordBatchReaderBuilder<Source> {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
            self.source.clone(),
            self.metadata.clone(),
        );
        let schema = self.metadata.parquet_schema();
        let columns = ProjectionMask::columns(schema, columns.iter().copied());
        builder.with_projection(columns).with_batch_size(BATCH_ROWS)
    }

    /// The rows of a row group that may have all the `wanted` texts in their columns, by the bounds
    /// of the pages; `None` when there are none. All of them in a file without an index.
    pub(crate) fn pages(&self, row_group: usize, wanted: &[(&str, &[u8])]) -> Option<RowSelection> {
        let n_rows = usize::try_from(self.row_groups()[row_group].num_rows()).unwrap_or(0);
        let mut ranges = Vec::from([Range { start: 0, end: n_rows }]);
        for (column, text) in wanted {
            if let Some(found) = self.pages_with(row_group, column, text, n_rows) {
                ranges = intersection(&ranges, &found);
            }
        }
        (!ranges.is_empty())
            .then(|| RowSelection::from_consecutive_ranges(ranges.into_iter(), n_rows))
    }

    /// The rows of the file that may have `text` in `column`, by the bounds of the pages.
    pub(crate) fn rows_with(&self, column: &str, text: &[u8]) -> RowSelection {
        let mut first = 0;
        let mut ranges = Vec::new();
        for (number, group) in self.row_groups().iter().enumerate() {
            let n_rows = usize::try_from(group.num_rows()).unwrap_or(0);
            let found = self.pages_with(number, column, text, n_rows);
            let found = found.unwrap_or_else(|| Vec::from([Range { start: 0, end: n_rows }]));
            ranges.extend(found.into_iter().map(|range| range.start + first..range.end + first));
            first += n_rows;
        }
        RowSelection::from_consecutive_ranges(ranges.into_iter(), first)
    }

    /// The rows of the pages whose bounds enclose `text`; `None` without an index.
    fn pages_with(
        &self,
        row_group: usize,
        column: &str,
        text: &[u8],
        n_rows: usize,
    ) -> Option<Vec<Range<usize>>> {
        let leaf = self.leaf(column)?;
        let metadata = self.metadata.metadata();
        let bounds = metadata.column_index()?.get(row_group)?.get(leaf)?;
        let ColumnIndexMetaData::BYTE_ARRAY(bounds) = bounds else { return None };
        let pages = metadata.offset_index()?.get(row_group)?.get(leaf)?.page_locations();
        let starts = pages.iter().map(|page| usize::try_from(page.first_row_index).unwrap_or(0));
        let ends = starts.clone().skip(1).chain([n_rows]);
        let may_have = |page: usize| {
            bounds.min_value(page).is_none_or(|min| min <= text)
                && bounds.max_value(page).is_none_or(|max| text <= max)
        };
        if bounds.num_pages() != pages.len() as u64 {
            return None;
        }
        let pages = starts
            .zip(ends)
            .enumerate()
            .filter(|(page, (from, to))| from < to && *to <= n_rows && may_have(*page));
        Some(pages.map(|(_, (from, to))| from..to).collect())
    }
}

/// All rows of a file, in batches.
pub(crate) struct Batches {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        Some(batch.map_err(StoreError::damaged(&self.path)))
    }
}

/// What two sorted lists of ranges have in common.
fn intersection(a: &[Range<usize>], b: &[Range<usize>]) -> Vec<Range<usize>> {
    let (mut at, mut bt, mut common) = (0, 0, Vec::new());
    while let (Some(x), Some(y)) = (a.get(at), b.get(bt)) {
        let both = x.start.max(y.start)..x.end.min(y.end);
        if !both.is_empty() {
            common.push(both);
        }
        if x.end <= y.end { at += 1 } else { bt += 1 }
    }
    common
}

/// The Parquet crate panics on negative offsets, the commonest damage of a footer; refusing them
/// here spares the user its message.
fn has_sound_ranges(group: &RowGroupMetaData) -> bool {
    group.columns().iter().all(|column| {
        column.data_page_offset() >= 0
            && column.dictionary_page_offset().is_none_or(|offset| offset >= 0)
            && column.compressed_size() >= 0
    })
}

/// Runs a decoder of untrusted bytes. The Parquet crate panics on some damaged files (such as a
/// data page that wants a dictionary where there is none); for us that is a damaged file like any other.
pub(crate) fn guarded<T>(
    path: &Path,
    decode: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|panic| Err(StoreError::damaged(path)(panic_text(panic.as_ref()))))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("decoder failed").to_owned()
}

/// Writes whole columns as a Parquet file at `path`, over what is there.
pub(crate) fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) -> Result<(), StoreError> {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .map_err(write_error(path))?;
    let options = ArrowWriterOptions::new()
        .with_properties(properties(path)?.build())
        .with_skip_arrow_metadata(true);
    let file = AtomicFile::create(path)?;
    let mut writer = ArrowWriter::try_new_with_options(file, batch.schema(), options)
        .map_err(write_error(path))?;
    writer.write(&batch).map_err(write_error(path))?;
    writer.into_inner().map_err(write_error(path))?.commit()
}

/// What every file of ours has in common: zstd, level 3.
pub(crate) fn properties(path: &Path) -> Result<WriterPropertiesBuilder, StoreError> {
    let level = ZstdLevel::try_new(3).map_err(write_error(path))?;
    Ok(WriterProperties::builder().set_compression(Compression::ZSTD(level)))
}

/// The encoder wraps what the disk said; a full disk should still read as one.
pub(crate) fn write_error<E>(path: &Path) -> impl FnOnce(E) -> StoreError + '_
where
    E: Into<Box<dyn Error + Send + Sync>>,
{
    |error| StoreError::Write { path: path.to_owned(), source: io::Error::other(error) }
}

pub(crate) fn string_dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

impl Length for Source {
    fn len(&self) -> u64 {
        match self {
            Self::Disk { length, .. } => *length,
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }
}

impl ChunkReader for Source {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        self.check(start, 0)?;
        match self {
            Self::Disk { file, .. } => Ok(Box::new(file.get_read(start)?)),
            Self::Memory(bytes) => Ok(Box::new(bytes.get_read(start)?)),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        self.check(start, length)?;
        match self {
            Self::Disk { file, .. } => {
                let mut file: &File = file;
                let mut buffer = vec![0; length];
                file.seek(SeekFrom::Start(start))?;
                file.read_exact(&mut buffer)?;
                Ok(buffer.into())
            }
            Self::Memory(bytes) => bytes.get_bytes(start, length),
        }
    }
}

impl Source {
    /// A damaged footer may name any range; memory for it is only taken when the file has it.
    fn check(&self, start: u64, length: usize) -> ParquetResult<()> {
        match start.checked_add(length as u64) {
            Some(end) if end <= self.len() => Ok(()),
            _ => Err(ParquetError::EOF(format!(
                "the footer points at byte {start} and {length} more, the file has {}",
                self.len()
            ))),
        }
    }
}
