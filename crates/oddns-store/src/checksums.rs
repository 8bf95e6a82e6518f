//! Checksums within a Parquet file, so that no changed byte of it goes unnoticed.
//!
//! The format has a place for the checksum of a page, which the Parquet crate reads but does not
//! write, and none for headers and footer. So ours stand where other readers do not look: those of
//! the pages, headers included, as the value of [`KEY`] in the footer, and that of page index and
//! footer in a seal right before the footer.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use parquet::arrow::arrow_writer::{
    InMemoryPageStore, PageKey, PageStore, PageStoreArgs, PageStoreFactory,
};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::page_index::offset_index::PageLocation;

/// In the footer: a CRC-32C of each page with its header, eight hexadecimal digits each, in the
/// order of the file.
pub(crate) const KEY: &str = "oddns.page_crc32c";

/// Begins the seal. Behind it stand the length of the page index before it, and a CRC-32C of page
/// index, footer and what follows the footer; both little-endian, 32 bits.
const MARK: &[u8; 4] = b"oCRC";
const SEAL: usize = 12;
/// Length of the footer, and `PAR1`.
const TAIL: usize = 8;

/// Digits of a checksum.
const DIGITS: usize = 8;

/// The checksums of the pages that have been written so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct PageLedger(Arc<Mutex<Ledger>>);

#[derive(Debug, Default)]
struct Ledger {
    digits: String,
    /// The checksum of a page's header whose data comes next.
    header: Option<u32>,
}

impl PageLedger {
    /// The value of [`KEY`].
    pub(crate) fn digits(&self) -> String {
        self.lock().digits.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// The encoder hands out a page as two pieces, header and data.
    fn note(&mut self, piece: &[u8]) {
        match self.header.take() {
            None => self.header = Some(crc32c::crc32c(piece)),
            Some(header) => {
                let sum = crc32c::crc32c_append(header, piece);
                // Writing to a string does not fail.
                let _ = write!(self.digits, "{sum:08x}");
            }
        }
    }
}

impl PageStoreFactory for PageLedger {
    fn create(&self, _args: &PageStoreArgs<'_>) -> ParquetResult<Box<dyn PageStore>> {
        Ok(Box::new(NotedPages { pages: InMemoryPageStore::default(), ledger: self.clone() }))
    }
}

/// Pages on their way into the file; they are taken in the order of the file.
struct NotedPages {
    pages: InMemoryPageStore,
    ledger: PageLedger,
}

impl PageStore for NotedPages {
    fn put(&mut self, value: Bytes) -> ParquetResult<PageKey> {
        self.pages.put(value)
    }

    fn take(&mut self, key: PageKey) -> ParquetResult<Bytes> {
        let piece = self.pages.take(key)?;
        self.ledger.lock().note(&piece);
        Ok(piece)
    }

    fn memory_size(&self) -> usize {
        self.pages.memory_size()
    }
}

/// Passes bytes on, but holds back page index and footer until they can be sealed.
pub(crate) struct Sealing<W> {
    file: W,
    held: Option<Vec<u8>>,
}

impl<W: Write> Sealing<W> {
    pub(crate) fn new(file: W) -> Self {
        Self { file, held: None }
    }

    /// From here on nothing is passed on.
    pub(crate) fn hold(&mut self) {
        self.held = Some(Vec::new());
    }

    /// Writes what was held, with the seal before the footer.
    pub(crate) fn seal(self) -> io::Result<W> {
        let Self { mut file, held } = self;
        let held = held.unwrap_or_default();
        let footer = footer_length(&held).and_then(|length| held.len().checked_sub(TAIL + length));
        let Some(footer) = footer else {
            file.write_all(&held)?;
            return Ok(file);
        };
        let (index, footer) = held.split_at(footer);
        file.write_all(index)?;
        file.write_all(MARK)?;
        file.write_all(&(index.len() as u32).to_le_bytes())?;
        file.write_all(&crc32c::crc32c(&held).to_le_bytes())?;
        file.write_all(footer)?;
        Ok(file)
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.held {
            Some(held) => held.write(bytes),
            None => self.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.held.is_some() { Ok(()) } else { self.file.flush() }
    }
}

/// The length of a footer, by the end of the file.
fn footer_length(end: &[u8]) -> Option<usize> {
    let tail = end.last_chunk::<TAIL>()?;
    let [a, b, c, d, ..] = *tail;
    Some(u32::from_le_bytes([a, b, c, d]) as usize)
}

/// What a file's seal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seal {
    /// There is none: the file is of another program.
    Missing,
    /// Page index and footer are as they were written.
    Sound,
    /// They are not.
    Broken,
}

/// Looks at the seal of a file of `length` bytes, of which `get` reads some at an offset.
pub(crate) fn seal_of(
    length: u64,
    get: impl Fn(u64, usize) -> ParquetResult<Bytes>,
) -> ParquetResult<Seal> {
    let Some(tail) = length.checked_sub(TAIL as u64) else { return Ok(Seal::Missing) };
    let footer = footer_length(&get(tail, TAIL)?).unwrap_or(0);
    let Some(at) = tail.checked_sub((footer + SEAL) as u64) else { return Ok(Seal::Missing) };
    let seal = get(at, SEAL)?;
    let (Some(index), Some(sum)) = (seal.get(4..8), seal.get(8..SEAL)) else {
        return Ok(Seal::Missing);
    };
    if !seal.starts_with(MARK) {
        return Ok(Seal::Missing);
    }
    let index = u32::from_le_bytes([index[0], index[1], index[2], index[3]]) as usize;
    let Some(from) = at.checked_sub(index as u64) else { return Ok(Seal::Broken) };
    let found = crc32c::crc32c(&get(from, index)?);
    let found = crc32c::crc32c_append(found, &get(at + SEAL as u64, footer + TAIL)?);
    Ok(if found.to_le_bytes() == *sum { Seal::Sound } else { Seal::Broken })
}

/// A page whose bytes are not those that were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageDamage {
    /// Counted from 0.
    pub(crate) row_group: usize,
    pub(crate) column: String,
    /// First byte of the page in the file.
    pub(crate) offset: u64,
    pub(crate) length: usize,
}

impl fmt::Display for PageDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row_group, column, offset, length } = self;
        write!(
            f,
            "row group {row_group}, column `{column}`: {length} bytes from byte {offset} on are \
             not those that were written"
        )
    }
}

impl Error for PageDamage {}

/// Where a page is and what its checksum is.
#[derive(Debug, Clone)]
struct Page {
    offset: u64,
    length: usize,
    sum: u32,
    row_group: usize,
    column: usize,
    /// First row in its row group; `None` for a dictionary, which all rows need.
    first_row: Option<usize>,
}

/// The checksums of all pages of a file that is being read.
#[derive(Debug, Default)]
pub(crate) struct PageChecksums {
    /// Whether the file speaks of checksums at all.
    is_there: bool,
    /// Sorted by offset.
    pages: Vec<Page>,
    columns: Vec<String>,
    /// The first damage that a reader has met.
    met: OnceLock<PageDamage>,
}

impl PageChecksums {
    /// Takes them from the footer; `None` when they are there but do not fit the pages.
    pub(crate) fn new(metadata: &ParquetMetaData) -> Option<Self> {
        let Some(digits) = digits(metadata) else { return Some(Self::default()) };
        let mut pages = pages(metadata)?;
        if digits.len() != pages.len() * DIGITS {
            return None;
        }
        for (at, page) in pages.iter_mut().enumerate() {
            let text = digits.get(at * DIGITS..(at + 1) * DIGITS)?;
            page.sum = u32::from_str_radix(text, 16).ok()?;
        }
        pages.sort_by_key(|page| page.offset);
        let leaves = metadata.file_metadata().schema_descr().columns().iter();
        let columns = leaves.map(|leaf| leaf.path().string()).collect();
        Some(Self { is_there: true, pages, columns, met: OnceLock::new() })
    }

    /// Whether the file has checksums; one of another program has none.
    pub(crate) fn are_there(&self) -> bool {
        self.is_there
    }

    /// The first damage that [`PageChecksums::check`] has met.
    pub(crate) fn met(&self) -> Option<&PageDamage> {
        self.met.get()
    }

    /// Fails when `bytes` are a page that has another checksum.
    pub(crate) fn check(&self, offset: u64, bytes: &[u8]) -> ParquetResult<()> {
        let Ok(at) = self.pages.binary_search_by_key(&offset, |page| page.offset) else {
            return Ok(());
        };
        let page = &self.pages[at];
        if page.length != bytes.len() || crc32c::crc32c(bytes) == page.sum {
            return Ok(());
        }
        let damage = self.damage(page);
        // Only the first one is told.
        let _ = self.met.set(damage.clone());
        Err(ParquetError::External(Box::new(damage)))
    }

    fn damage(&self, page: &Page) -> PageDamage {
        PageDamage {
            row_group: page.row_group,
            column: self.columns.get(page.column).cloned().unwrap_or_default(),
            offset: page.offset,
            length: page.length,
        }
    }

    /// All damaged pages, each with the rows of its row group that it takes with it: from the first
    /// one to before the last one, which may lie behind the end. `get` reads some bytes at an offset.
    pub(crate) fn damaged(
        &self,
        get: impl Fn(u64, usize) -> ParquetResult<Bytes>,
    ) -> ParquetResult<Vec<(PageDamage, std::ops::Range<usize>)>> {
        let mut found = Vec::new();
        for (at, page) in self.pages.iter().enumerate() {
            if crc32c::crc32c(&get(page.offset, page.length)?) != page.sum {
                found.push((self.damage(page), self.rows(at)));
            }
        }
        Ok(found)
    }

    fn rows(&self, at: usize) -> std::ops::Range<usize> {
        let page = &self.pages[at];
        let Some(first) = page.first_row else { return 0..usize::MAX };
        let next = self.pages.get(at + 1);
        let next =
            next.filter(|next| (next.row_group, next.column) == (page.row_group, page.column));
        first..next.and_then(|next| next.first_row).unwrap_or(usize::MAX)
    }
}

fn digits(metadata: &ParquetMetaData) -> Option<&str> {
    let pairs = metadata.file_metadata().key_value_metadata()?;
    pairs.iter().find(|pair| pair.key == KEY)?.value.as_deref()
}

/// All pages in the order of the file, without checksums; `None` when the footer does not say where
/// they are.
fn pages(metadata: &ParquetMetaData) -> Option<Vec<Page>> {
    let mut pages = Vec::new();
    if metadata.row_groups().is_empty() {
        return Some(pages);
    }
    let index = metadata.offset_index()?;
    for (row_group, group) in metadata.row_groups().iter().enumerate() {
        for (column, chunk) in group.columns().iter().enumerate() {
            let locations = index.get(row_group)?.get(column)?.page_locations();
            let place = (row_group, column);
            pages.extend(dictionary(chunk, locations, place)?);
            for location in locations {
                let first_row = Some(usize::try_from(location.first_row_index).ok()?);
                let offset = u64::try_from(location.offset).ok()?;
                let length = usize::try_from(location.compressed_page_size).ok()?;
                pages.push(Page { offset, length, sum: 0, row_group, column, first_row });
            }
        }
    }
    Some(pages)
}

/// The dictionary lies before the first page that the index names, if there is one.
fn dictionary(
    chunk: &ColumnChunkMetaData,
    locations: &[PageLocation],
    (row_group, column): (usize, usize),
) -> Option<Option<Page>> {
    let (Some(offset), Some(first)) = (chunk.dictionary_page_offset(), locations.first()) else {
        return Some(None);
    };
    let length = usize::try_from(first.offset.checked_sub(offset)?).ok()?;
    let offset = u64::try_from(offset).ok()?;
    Some(Some(Page { offset, length, sum: 0, row_group, column, first_row: None }))
}
