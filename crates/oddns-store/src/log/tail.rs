//! What the samples of one segment speak of.

use super::payload::{self, Payload};

/// Strings and series that a segment has defined so far, by the segment's own numbers.
#[derive(Debug)]
pub(crate) struct SegmentSeries<T> {
    strings: Vec<Option<Box<str>>>,
    series: Vec<Option<T>>,
    /// Samples of series whose definition is lost.
    pub(crate) n_unknown: u64,
}

/// Numbers above this are not believed: they would ask for gigabytes.
const MAX_NUMBER: u32 = 1 << 26;

impl<T> Default for SegmentSeries<T> {
    fn default() -> Self {
        Self { strings: Vec::new(), series: Vec::new(), n_unknown: 0 }
    }
}

impl<T: Copy> SegmentSeries<T> {
    /// Takes a record: `define` turns instance, name and labels of a new series into what `sample`
    /// gets with each sample (milliseconds and value) of it. Says whether the record was well
    /// formed; one that is not, yet has the right checksum, was written by another program.
    pub(crate) fn take(
        &mut self,
        payload: Payload<'_>,
        define: &mut impl FnMut([&str; 3]) -> T,
        sample: &mut impl FnMut(T, i64, f64),
    ) -> bool {
        let Self { strings, series, n_unknown } = self;
        let taken = match payload {
            Payload::Closed => Some(()),
            Payload::Strings(bytes) => payload::strings(bytes, |id, text| {
                put(strings, id, text.into());
            }),
            Payload::Series(bytes) => payload::series(bytes, |id, parts| {
                let text = |part: u32| strings.get(part as usize)?.as_deref();
                if let (Some(instance), Some(name), Some(labels)) =
                    (text(parts[0]), text(parts[1]), text(parts[2]))
                {
                    put(series, id, define([instance, name, labels]));
                }
            }),
            Payload::Samples(bytes) => {
                payload::samples(bytes, |id, millis, value| match series.get(id as usize) {
                    Some(Some(known)) => sample(*known, millis, value),
                    _ => *n_unknown += 1,
                })
            }
        };
        taken.is_some()
    }

    /// Gives the definitions away: what is still needed to read the samples once more.
    pub(crate) fn into_series(self) -> Vec<Option<T>> {
        self.series
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
