//! Parquet files read column by column, one row group at a time, and written in one go.

use std::any::Any;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{KeyValue, PageIndexPolicy, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::reader::{ChunkReader, Length};

use crate::checksums::{self, PageChecksums, PageDamage, PageLedger, Seal, Sealing, seal_of};
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

/// Bytes of which every page that has a checksum is checked when it is read; cheap to clone.
#[derive(Clone)]
struct Source {
    bytes: Medium,
    checksums: Arc<PageChecksums>,
}

/// Where the bytes are.
#[derive(Clone)]
enum Medium {
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
        Self::new(path, Medium::Disk { file: Arc::new(file), length: about.len() }, index)
    }

    /// Reads the footer of a whole file in memory; `path` is what errors call it.
    pub(crate) fn in_memory(path: &Path, bytes: Bytes) -> Result<Self, StoreError> {
        Self::new(path, Medium::Memory(bytes), PageIndexPolicy::Skip)
    }

    fn new(path: &Path, bytes: Medium, index: PageIndexPolicy) -> Result<Self, StoreError> {
        if bytes.len() == 0 {
            let expected = "a Parquet file";
            return Err(StoreError::Empty { path: path.to_owned(), expected });
        }
        let mut source = Source { bytes, checksums: Arc::default() };
        let first = source.get_bytes(0, MAGIC.len().min(source.len() as usize));
        if !first.map_err(StoreError::damaged(path))?.starts_with(MAGIC) {
            return Err(StoreError::kind(
                path,
                "is no Parquet file: it does not begin with `PAR1`",
            ));
        }
        let seal = seal_of(source.len(), |at, length| source.get_bytes(at, length));
        let seal = seal.map_err(StoreError::damaged(path))?;
        if seal == Seal::Broken {
            return Err(StoreError::damaged(path)("the footer is not the one that was written"));
        }
        // The Arrow schema that a writer may have embedded asks for whatever in-memory types it
        // liked; without it the types are those of the file.
        let options = ArrowReaderOptions::new()
            .with_skip_arrow_metadata(true)
            .with_column_index_policy(index)
            .with_offset_index_policy(PageIndexPolicy::Optional);
        let metadata =
            ArrowReaderMetadata::load(&source, options).map_err(StoreError::damaged(path))?;
        if !metadata.metadata().row_groups().iter().all(has_sound_ranges) {
            return Err(StoreError::damaged(path)("a column lies outside the file"));
        }
        let checksums = PageChecksums::new(metadata.metadata());
        let fits = checksums.filter(|found| found.are_there() == (seal == Seal::Sound));
        let unsealed = || StoreError::damaged(path)("the footer has lost its checksum");
        source.checksums = Arc::new(fits.ok_or_else(unsealed)?);
        Ok(Self { path: path.to_owned(), source, metadata })
    }

    /// Whether the file says what the bytes of its pages should be.
    pub(crate) fn has_checksums(&self) -> bool {
        self.source.checksums.are_there()
    }

    /// All damaged pages; none in a file without checksums.
    pub(crate) fn damaged_pages(&self) -> Result<Vec<PageDamage>, StoreError> {
        Ok(self.damaged()?.into_iter().map(|(damage, _)| damage).collect())
    }

    /// The rows of the file that no damaged page holds a part of; `None` when there is no damage.
    pub(crate) fn sound_rows(&self) -> Result<Option<SelectedRows>, StoreError> {
        let damaged = self.damaged()?;
        if damaged.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.selected(|number, n_rows| {
            let mut sound = Vec::from([Range { start: 0, end: n_rows }]);
            for (_, rows) in damaged.iter().filter(|(damage, _)| damage.row_group == number) {
                let rest = [0..rows.start, rows.end..n_rows.max(rows.end)];
                sound = intersection(&sound, &rest.map(|range| range.start..range.end.min(n_rows)));
            }
            sound
        })))
    }

    /// Those rows of each row group, by its number and how many it has, that `of_group` names.
    fn selected(&self, of_group: impl Fn(usize, usize) -> Vec<Range<usize>>) -> SelectedRows {
        let (mut row_groups, mut ranges, mut first) = (Vec::new(), Vec::new(), 0);
        for number in 0..self.row_groups().len() {
            let n_rows = self.n_rows(number);
            let found = of_group(number, n_rows);
            // The decoder looks into the dictionaries of a row group of which all rows are passed over.
            if found.is_empty() {
                continue;
            }
            row_groups.push(number);
            ranges.extend(found.into_iter().map(|range| range.start + first..range.end + first));
            first += n_rows;
        }
        let rows = RowSelection::from_consecutive_ranges(ranges.into_iter(), first);
        SelectedRows { row_groups, rows }
    }

    fn damaged(&self) -> Result<Vec<(PageDamage, Range<usize>)>, StoreError> {
        let get = |at, length| self.source.bytes.get(at, length);
        self.source.checksums.damaged(get).map_err(StoreError::damaged(&self.path))
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
        let reader = reader.map_err(|error| self.error(error))?;
        Ok(reader.map(|batch| batch.map_err(|error| self.error(error))))
    }

    /// Like [`ParquetFile::batches`], but only some of the rows.
    pub(crate) fn selected_batches(
        &self,
        row_group: usize,
        columns: &[&str],
        rows: &[Range<usize>],
    ) -> Result<impl Iterator<Item = Result<RecordBatch, StoreError>> + '_, StoreError> {
        let n_rows = self.n_rows(row_group);
        let rows = RowSelection::from_consecutive_ranges(rows.iter().cloned(), n_rows);
        let reader = self.reader(columns).with_row_groups(vec![row_group]);
        let reader = reader.with_row_selection(rows).build();
        let reader = reader.map_err(|error| self.error(error))?;
        Ok(reader.map(|batch| batch.map_err(|error| self.error(error))))
    }

    /// Decodes the named columns from the first row to the last, or some of the rows.
    pub(crate) fn into_batches(
        self,
        columns: &[&str],
        rows: Option<SelectedRows>,
    ) -> Result<Batches, StoreError> {
        let mut reader = self.reader(columns);
        if let Some(SelectedRows { row_groups, rows }) = rows {
            reader = reader.with_row_groups(row_groups).with_row_selection(rows);
        }
        let reader = reader.build().map_err(|error| self.error(error))?;
        Ok(Batches { path: self.path, checksums: self.source.checksums, reader })
    }

    fn error(&self, error: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
        unreadable(&self.path, &self.source.checksums, error)
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
    /// of the pages, and the columns of which the bounds do not say that they have; all rows and
    /// columns in a file without an index.
    pub(crate) fn pages<'a>(
        &self,
        row_group: usize,
        wanted: &[(&'a str, &str)],
    ) -> (Vec<Range<usize>>, Vec<&'a str>) {
        let n_rows = self.n_rows(row_group);
        let (mut ranges, mut open) = (Vec::from([Range { start: 0, end: n_rows }]), Vec::new());
        for (column, text) in wanted {
            if let Some(found) = self.pages_with(row_group, column, text.as_bytes(), n_rows) {
                ranges = intersection(&ranges, &joined(&found));
            }
        }
        for (column, text) in wanted {
            let sure = self.pages_of(row_group, column, text.as_bytes(), n_rows);
            if sure.is_none_or(|sure| intersection(&ranges, &sure) != ranges) {
                open.push(*column);
            }
        }
        (ranges, open)
    }

    fn n_rows(&self, row_group: usize) -> usize {
        usize::try_from(self.row_groups()[row_group].num_rows()).unwrap_or(0)
    }

    /// The rows of the file that may have `text` in `column`, by the bounds of the pages.
    pub(crate) fn rows_with(&self, column: &str, text: &[u8]) -> SelectedRows {
        self.selected(|number, n_rows| {
            let found = self.pages_with(number, column, text, n_rows);
            found.unwrap_or_else(|| Vec::from([Range { start: 0, end: n_rows }]))
        })
    }

    /// The rows of the pages whose bounds enclose `text`; `None` without an index.
    fn pages_with(
        &self,
        row_group: usize,
        column: &str,
        text: &[u8],
        n_rows: usize,
    ) -> Option<Vec<Range<usize>>> {
        self.pages_where(row_group, column, n_rows, |min, max| {
            min.is_none_or(|min| min <= text) && max.is_none_or(|max| text <= max)
        })
    }

    /// The rows of the pages in which every row has `text`, joined where they touch; `None` without
    /// an index, or where values may be missing.
    fn pages_of(
        &self,
        row_group: usize,
        column: &str,
        text: &[u8],
        n_rows: usize,
    ) -> Option<Vec<Range<usize>>> {
        let leaf = self.metadata.parquet_schema().column(self.leaf(column)?);
        if leaf.max_def_level() > 0 {
            return None;
        }
        // A bound that was shortened is never equal to the text: the upper one is made larger.
        let is_it = |bound: Option<&[u8]>| bound == Some(text);
        let pages =
            self.pages_where(row_group, column, n_rows, |min, max| is_it(min) && is_it(max));
        pages.map(|pages| joined(&pages))
    }

    /// The rows of each page of which `is_wanted` likes the bounds; `None` without an index.
    fn pages_where(
        &self,
        row_group: usize,
        column: &str,
        n_rows: usize,
        is_wanted: impl Fn(Option<&[u8]>, Option<&[u8]>) -> bool,
    ) -> Option<Vec<Range<usize>>> {
        let leaf = self.leaf(column)?;
        let metadata = self.metadata.metadata();
        let bounds = metadata.column_index()?.get(row_group)?.get(leaf)?;
        let ColumnIndexMetaData::BYTE_ARRAY(bounds) = bounds else { return None };
        let pages = metadata.offset_index()?.get(row_group)?.get(leaf)?.page_locations();
        let starts = pages.iter().map(|page| usize::try_from(page.first_row_index).unwrap_or(0));
        let ends = starts.clone().skip(1).chain([n_rows]);
        if bounds.num_pages() != pages.len() as u64 {
            return None;
        }
        let pages = starts.zip(ends).enumerate().filter(|(page, (from, to))| {
            let (min, max) = (bounds.min_value(*page), bounds.max_value(*page));
            from < to && *to <= n_rows && is_wanted(min, max)
        });
        Some(pages.map(|(_, (from, to))| from..to).collect())
    }
}

/// Some rows of a file.
pub(crate) struct SelectedRows {
    /// The row groups that they are in.
    row_groups: Vec<usize>,
    /// Which rows of these row groups.
    rows: RowSelection,
}

/// All rows of a file, in batches.
pub(crate) struct Batches {
    path: PathBuf,
    checksums: Arc<PageChecksums>,
    reader: ParquetRecordBatchReader,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        Some(batch.map_err(|error| unreadable(&self.path, &self.checksums, error)))
    }
}

/// Why a batch cannot be read: the decoder passes on what the checksums found, as text only.
fn unreadable(
    path: &Path,
    checksums: &PageChecksums,
    error: impl Into<Box<dyn Error + Send + Sync>>,
) -> StoreError {
    match checksums.met() {
        None => StoreError::damaged(path)(error),
        Some(damage) => StoreError::Page {
            path: path.to_owned(),
            row_group: damage.row_group,
            column: damage.column.clone(),
            offset: damage.offset,
        },
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

/// Sorted ranges, those that touch as one.
fn joined(ranges: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut joined: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match joined.last_mut().filter(|last| last.end == range.start) {
            Some(last) => last.end = range.end,
            None => joined.push(range.clone()),
        }
    }
    joined
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
    let file = AtomicFile::create(path)?;
    let properties = properties(path)?.build();
    let mut writer = ParquetWriter::new(path, file, batch.schema(), properties)?;
    writer.write(&batch)?;
    writer.finish()?.commit()
}

/// Writes a Parquet file in which every byte is under a checksum.
pub(crate) struct ParquetWriter<W: Write + Send> {
    path: PathBuf,
    writer: ArrowWriter<Sealing<W>>,
    ledger: PageLedger,
}

impl<W: Write + Send> ParquetWriter<W> {
    /// Writes to `file`; `path` is what errors call it.
    pub(crate) fn new(
        path: &Path,
        file: W,
        schema: SchemaRef,
        properties: WriterProperties,
    ) -> Result<Self, StoreError> {
        let ledger = PageLedger::default();
        let options = ArrowWriterOptions::new()
            .with_properties(properties)
            .with_page_store_factory(Arc::new(ledger.clone()))
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Sealing::new(file), schema, options);
        Ok(Self { path: path.to_owned(), writer: writer.map_err(write_error(path))?, ledger })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        self.writer.write(batch).map_err(write_error(&self.path))
    }

    /// Rows of the row group that has not ended yet.
    pub(crate) fn in_progress_rows(&self) -> usize {
        self.writer.in_progress_rows()
    }

    pub(crate) fn end_row_group(&mut self) -> Result<(), StoreError> {
        self.writer.flush().map_err(write_error(&self.path))
    }

    /// Writes the footer and gives the file back, not yet synced.
    pub(crate) fn finish(mut self) -> Result<W, StoreError> {
        self.end_row_group()?;
        let digits = self.ledger.digits();
        self.writer.append_key_value_metadata(KeyValue::new(checksums::KEY.to_owned(), digits));
        // All pages go to the file before it holds back what is sealed.
        self.writer.sync().map_err(StoreError::write(&self.path))?;
        self.writer.inner_mut().hold();
        let sealing = self.writer.into_inner().map_err(write_error(&self.path))?;
        sealing.seal().map_err(StoreError::write(&self.path))
    }
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
        self.bytes.len()
    }
}

impl ChunkReader for Source {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        self.bytes.check(start, 0)?;
        match &self.bytes {
            Medium::Disk { file, .. } => Ok(Box::new(file.get_read(start)?)),
            Medium::Memory(bytes) => Ok(Box::new(bytes.get_read(start)?)),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let bytes = self.bytes.get(start, length)?;
        self.checksums.check(start, &bytes)?;
        Ok(bytes)
    }
}

impl Medium {
    fn len(&self) -> u64 {
        match self {
            Self::Disk { length, .. } => *length,
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }

    fn get(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
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
