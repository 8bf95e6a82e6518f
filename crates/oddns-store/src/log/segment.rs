//! Segments: framing, appending, and reading past damage.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::payload::Payload;
use super::{LogDamage, MAX_PAYLOAD};
use crate::StoreError;
use crate::atomic::sync_folder;

/// The first bytes of a segment, with the version of the format.
const HEADER: &[u8; 8] = b"oddnsWA1";
/// Begins every record, so that reading can go on behind a damaged one. No text has these bytes.
const MARKER: [u8; 4] = [0xf5, 0x0d, 0xd9, 0x5a];
/// Marker, length, checksum.
const FRAME: usize = 12;
/// Bytes read from a file at once.
const CHUNK: usize = 1 << 18;

/// What a segment is written to; a file, but for tests.
pub(crate) trait SegmentFile: Send + Sync {
    /// Appends all of `bytes`.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    /// Takes back everything from `length` on.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Waits until everything is on disk.
    fn sync(&self) -> io::Result<()>;
}

impl SegmentFile for File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A segment that is being appended to.
pub(crate) struct SegmentWriter {
    path: PathBuf,
    file: Arc<dyn SegmentFile>,
    length: u64,
    /// Bytes of a record that could be neither finished nor taken back.
    is_broken: bool,
}

impl SegmentWriter {
    /// Starts segment `number` in the log folder `folder`.
    pub(crate) fn create(folder: &Path, number: u64) -> Result<Self, StoreError> {
        let path = segment_path(folder, number);
        // Appending, so that after taking back a half record the next one lands at the end.
        let file = File::options().append(true).create_new(true).open(&path);
        let file = file.map_err(StoreError::write(&path))?;
        sync_folder(folder).map_err(StoreError::write(folder))?;
        match Self::begin(path.clone(), Arc::new(file)) {
            Ok(segment) => Ok(segment),
            Err(source) => {
                let _ = fs::remove_file(&path);
                Err(StoreError::Write { path, source })
            }
        }
    }

    /// Writes the header of a segment into an empty file.
    pub(crate) fn begin(path: PathBuf, file: Arc<dyn SegmentFile>) -> io::Result<Self> {
        file.append(HEADER)?;
        Ok(Self { path, file, length: HEADER.len() as u64, is_broken: false })
    }

    /// Appends whole records, all or none of them.
    pub(crate) fn append(&mut self, records: &[u8]) -> Result<(), StoreError> {
        match self.file.append(records) {
            Ok(()) => {
                self.length += records.len() as u64;
                Ok(())
            }
            Err(source) => {
                self.is_broken = self.file.truncate(self.length).is_err();
                Err(StoreError::Write { path: self.path.clone(), source })
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Whether records may follow; otherwise the next ones go to another segment.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Whether it has no records.
    pub(crate) fn is_empty(&self) -> bool {
        self.length <= HEADER.len() as u64
    }

    /// To sync while others append.
    pub(crate) fn file(&self) -> Arc<dyn SegmentFile> {
        self.file.clone()
    }
}

/// Appends the record of `payload` to `records`.
pub(crate) fn frame(payload: &[u8], records: &mut Vec<u8>) {
    let length = (payload.len() as u32).to_le_bytes();
    records.extend_from_slice(&MARKER);
    records.extend_from_slice(&length);
    records.extend_from_slice(&checksum(length, payload).to_le_bytes());
    records.extend_from_slice(payload);
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), payload)
}

/// The file of segment `number`.
pub(crate) fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.log"))
}

/// The number of a segment, by its name; `None` for another file.
pub(crate) fn number_of(path: &Path) -> Option<u64> {
    if path.extension()? != "log" {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}

/// The segments in `folder`, oldest first; none when there is no such folder.
pub(crate) fn segments(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::read(folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(StoreError::read(folder))?.path();
        if let Some(number) = number_of(&path) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// What reading a segment meets.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// A record that is whole.
    Record(Payload<'a>),
    /// Bytes that are no record; reading goes on behind them. Whether they are the last ones.
    Damage(LogDamage, bool),
}

/// Reads a segment record by record, with bounded memory.
pub(crate) struct Steps<R> {
    path: PathBuf,
    source: R,
    /// Bytes read and not yet passed over begin at `at`.
    buffer: Vec<u8>,
    at: usize,
    /// Where in the file `buffer[at]` is.
    offset: u64,
    is_end: bool,
    has_begun: bool,
}

impl Steps<File> {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(StoreError::read(path))?;
        Ok(Self::new(path, file))
    }
}

impl<R: Read> Steps<R> {
    /// `path` is what damage and errors are told of.
    pub(crate) fn new(path: &Path, source: R) -> Self {
        let path = path.to_owned();
        let (buffer, at, offset) = (Vec::new(), 0, 0);
        Self { path, source, buffer, at, offset, is_end: false, has_begun: false }
    }

    /// The next record or damage; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Step<'_>>, StoreError> {
        if !self.has_begun {
            self.has_begun = true;
            if self.fill(HEADER.len())?.starts_with(HEADER) {
                self.pass(HEADER.len());
            }
        }
        if self.fill(1)?.is_empty() {
            return Ok(None);
        }
        match self.record(0)? {
            Some(length) => Ok(Some(self.take(length))),
            None => self.skip_damage().map(Some),
        }
    }

    /// A record that has been checked.
    fn take(&mut self, length: usize) -> Step<'_> {
        let (offset, from) = (self.offset, self.at + FRAME);
        self.pass(FRAME + length);
        match Payload::new(&self.buffer[from..from + length]) {
            Some(payload) => Step::Record(payload),
            None => Step::Damage(damage(&self.path, offset, FRAME + length), false),
        }
    }

    /// The length of the payload of the record that begins `from` bytes on; `None` when there is
    /// no whole and sound one.
    fn record(&mut self, from: usize) -> Result<Option<usize>, StoreError> {
        let Some(frame) = self.fill(from + FRAME)?.get(from..from + FRAME) else { return Ok(None) };
        let word = |at: usize| [frame[at], frame[at + 1], frame[at + 2], frame[at + 3]];
        let (length, sum) = (word(4), u32::from_le_bytes(word(8)));
        let n_bytes = u32::from_le_bytes(length) as usize;
        if !frame.starts_with(&MARKER) || n_bytes > MAX_PAYLOAD {
            return Ok(None);
        }
        let there = self.fill(from + FRAME + n_bytes)?;
        let payload = there.get(from + FRAME..from + FRAME + n_bytes);
        Ok(payload.filter(|payload| checksum(length, payload) == sum).map(<[u8]>::len))
    }

    /// Looks for the next whole record.
    fn skip_damage(&mut self) -> Result<Step<'_>, StoreError> {
        let (start, mut length) = (self.offset, 0_u64);
        let mut from = 1;
        loop {
            let there = self.fill(from + CHUNK)?;
            let found = there.get(from..).and_then(|rest| find(rest, &MARKER));
            let n_there = there.len();
            let Some(found) = found else {
                if self.is_end {
                    length += n_there as u64;
                    self.pass(n_there);
                    return Ok(Step::Damage(damage(&self.path, start, length as usize), true));
                }
                // A marker may begin in the last bytes that are there.
                let passed = n_there - MARKER.len();
                self.pass(passed);
                length += passed as u64;
                from = 1;
                continue;
            };
            from += found;
            if self.record(from)?.is_some() {
                self.pass(from);
                length += from as u64;
                return Ok(Step::Damage(damage(&self.path, start, length as usize), false));
            }
            from += 1;
        }
    }

    /// At least `wanted` bytes from here on, fewer only at the end of the file.
    fn fill(&mut self, wanted: usize) -> Result<&[u8], StoreError> {
        if self.buffer.len() - self.at < wanted && !self.is_end {
            self.buffer.drain(..self.at);
            self.at = 0;
            let missing = (wanted - self.buffer.len()).max(CHUNK) as u64;
            let mut limited = (&mut self.source).take(missing);
            let n = limited.read_to_end(&mut self.buffer).map_err(StoreError::read(&self.path))?;
            self.is_end = (n as u64) < missing;
        }
        Ok(&self.buffer[self.at..])
    }

    fn pass(&mut self, n_bytes: usize) {
        self.at += n_bytes;
        self.offset += n_bytes as u64;
    }
}

fn damage(path: &Path, offset: u64, length: usize) -> LogDamage {
    let path = path.to_owned();
    LogDamage { path, offset, length: length as u64, is_torn_end: false, samples: None }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::super::payload::{SampleEncoder, samples};
    use super::*;
    use proptest::prelude::*;

    fn segment(values: &[f64]) -> Vec<u8> {
        let mut bytes = HEADER.to_vec();
        for (at, value) in values.iter().enumerate() {
            let mut encoder = SampleEncoder::new(at as u64);
            encoder.push(at as u32, 1000, *value);
            frame(encoder.payload(), &mut bytes);
        }
        bytes
    }

    /// Values read and damage as (offset, length, whether at the end).
    fn read(bytes: &[u8]) -> (Vec<f64>, Vec<(u64, u64, bool)>) {
        let mut steps = Steps::new(Path::new("s.log"), bytes);
        let (mut values, mut holes) = (Vec::new(), Vec::new());
        while let Some(step) = steps.next().unwrap() {
            match step {
                Step::Record(Payload::Samples { body, .. }) => {
                    samples(body, |_, _, value| values.push(value)).unwrap();
                }
                Step::Record(..) => panic!("another record"),
                Step::Damage(damage, end) => holes.push((damage.offset, damage.length, end)),
            }
        }
        (values, holes)
    }

    proptest! {
        #[test]
        fn a_cut_log_is_a_prefix_of_it(
            values in proptest::collection::vec(-1e9_f64..1e9, 0..40),
            cut in any::<proptest::sample::Index>(),
        ) {
            let whole = segment(&values);
            let cut = cut.index(whole.len() + 1);
            let (found, holes) = read(&whole[..cut]);
            prop_assert_eq!(&found[..], &values[..found.len()]);
            let next = segment(&values[..found.len()]).len();
            let is_whole = cut == next || cut == 0;
            prop_assert_eq!(holes.is_empty(), is_whole);
            prop_assert!(holes.iter().all(|hole| hole.2));
        }

        #[test]
        fn a_damaged_byte_costs_one_record(
            values in proptest::collection::vec(1e9_f64..2e9, 2..40),
            at in any::<proptest::sample::Index>(),
            change in 1_u8..,
        ) {
            let mut bytes = segment(&values);
            let at = HEADER.len() + at.index(bytes.len() - HEADER.len());
            bytes[at] ^= change;
            let (found, holes) = read(&bytes);
            prop_assert_eq!(found.len(), values.len() - 1);
            prop_assert_eq!(holes.len(), 1);
            let (offset, length, _) = holes[0];
            prop_assert!((offset..offset + length).contains(&(at as u64)));
        }
    }

    #[test]
    fn garbage_of_any_length_is_one_hole() {
        for length in [1, 11, 12, 13, CHUNK - 1, CHUNK, 3 * CHUNK + 7] {
            let mut bytes = segment(&[1.0]);
            let offset = bytes.len() as u64;
            bytes.extend(std::iter::repeat_n(0xf5, length));
            bytes.extend(&segment(&[2.0])[HEADER.len()..]);
            assert_eq!(read(&bytes), (vec![1.0, 2.0], vec![(offset, length as u64, false)]));
        }
    }

    #[test]
    fn a_lying_length_takes_no_memory_and_hides_nothing() {
        let mut bytes = HEADER.to_vec();
        bytes.extend(MARKER);
        bytes.extend(u32::MAX.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&segment(&[2.0])[HEADER.len()..]);
        assert_eq!(read(&bytes).0, [2.0]);
    }

    #[test]
    fn a_foreign_file_has_no_records() {
        assert_eq!(read(b"<html>"), (vec![], vec![(0, 6, true)]));
        assert_eq!(read(b""), (vec![], vec![]));
    }
}
