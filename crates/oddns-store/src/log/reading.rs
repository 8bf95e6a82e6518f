//! What the samples of one segment speak of.

use std::path::Path;

use super::payload::{self, Payload};
use super::{LogDamage, Step, Steps};
use crate::StoreError;

/// Numbers above this are not believed: they would ask for gigabytes.
const MAX_NUMBER: u32 = 1 << 26;

/// Takes what a segment says.
pub(crate) trait LogReader {
    /// What a sample's series is to the reader.
    type Series: Copy;

    /// A series: instance, name and labels.
    fn series(&mut self, texts: [&str; 3]) -> Self::Series;

    /// A sample of a series: milliseconds and value.
    fn sample(&mut self, series: Self::Series, millis: i64, value: f64);

    /// A stretch that could not be read; whether it is the end of the segment.
    fn damage(&mut self, damage: LogDamage, is_end: bool);
}

/// What a segment held besides what its reader was given.
#[derive(Debug)]
pub(crate) struct SegmentRead<T> {
    /// The series by the segment's own numbers.
    pub(crate) series: Vec<Option<T>>,
    /// Samples of series whose definition is lost.
    pub(crate) n_unknown: u64,
    /// Whether the last record says that the log was closed in order.
    pub(crate) is_closed: bool,
}

/// Reads the segment `path` from the beginning.
pub(crate) fn read_segment<R: LogReader>(
    path: &Path,
    reader: &mut R,
) -> Result<SegmentRead<R::Series>, StoreError> {
    let mut steps = Steps::open(path)?;
    let mut strings = Vec::new();
    let mut read = SegmentRead { series: Vec::new(), n_unknown: 0, is_closed: false };
    while let Some(step) = steps.next()? {
        match step {
            Step::Record(payload) => {
                read.is_closed = matches!(payload, Payload::Closed);
                // A record with the right checksum that is not well formed was written by another
                // program: what it says up to there has been taken.
                let _ = read.take(payload, &mut strings, reader);
            }
            Step::Damage(damage, is_end) => {
                read.is_closed = false;
                reader.damage(damage, is_end);
            }
        }
    }
    Ok(read)
}

impl<T: Copy> SegmentRead<T> {
    fn take<R: LogReader<Series = T>>(
        &mut self,
        payload: Payload<'_>,
        strings: &mut Vec<Option<Box<str>>>,
        reader: &mut R,
    ) -> Option<()> {
        match payload {
            Payload::Closed => Some(()),
            Payload::Strings(bytes) => {
                payload::strings(bytes, |id, text| put(strings, id, text.into()))
            }
            Payload::Series(bytes) => payload::series(bytes, |id, parts| {
                let text = |part: u32| strings.get(part as usize)?.as_deref();
                if let (Some(instance), Some(name), Some(labels)) =
                    (text(parts[0]), text(parts[1]), text(parts[2]))
                {
                    put(&mut self.series, id, reader.series([instance, name, labels]));
                }
            }),
            Payload::Samples(bytes) => {
                payload::samples(bytes, |id, millis, value| match self.series.get(id as usize) {
                    Some(Some(known)) => reader.sample(*known, millis, value),
                    _ => self.n_unknown += 1,
                })
            }
        }
    }
}

fn put<T>(places: &mut Vec<Option<T>>, id: u32, value: T) {
    if id >= MAX_NUMBER {
        return;
    }
    let at = id as usize;
    if places.len() <= at {
        places.resize_with(at + 1, || None);
    }
    places[at] = Some(value);
}
