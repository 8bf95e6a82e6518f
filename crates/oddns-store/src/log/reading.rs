//! What the samples of one segment speak of.

use std::collections::HashMap;
use std::fs::File;
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
    /// Samples that are there, but whose series no undamaged record defines.
    pub(crate) n_unknown: u64,
    /// Whether the last record says that the log was closed in order.
    pub(crate) is_closed: bool,
}

/// Reads the segment `path` from the beginning. Series whose first definition is damaged are found
/// by a later one; their samples then come after all others.
pub(crate) fn read_segment<R: LogReader>(
    path: &Path,
    reader: &mut R,
) -> Result<SegmentRead<R::Series>, StoreError> {
    let mut reading = Reading::default();
    let mut steps = Steps::open(path)?;
    while let Some(step) = steps.next()? {
        match step {
            // A record with the right checksum that is not well formed was written by another
            // program: what it says up to there has been taken.
            Step::Record(payload) => {
                let _ = reading.take(payload, reader);
            }
            Step::Damage(damage, is_end) => {
                reading.is_closed = false;
                reading.damage.push((damage, is_end));
            }
        }
    }
    reading.tell(None, reader);
    if !reading.missed.is_empty() {
        reading.define_late(reader);
        reading.read_missed(&mut Steps::open(path)?, reader)?;
    }
    let Reading { series, n_unknown, is_closed, .. } = reading;
    Ok(SegmentRead { series, n_unknown, is_closed })
}

/// How far the reading of a segment has come.
struct Reading<T> {
    strings: Vec<Option<Box<str>>>,
    series: Vec<Option<T>>,
    /// Series of which a text is not known yet.
    incomplete: HashMap<u32, [u32; 3]>,
    /// Series that had samples before they were known, and the record with which they became so.
    missed: HashMap<u32, Option<u64>>,
    /// Damage of which it is not known yet how many samples it has cost.
    damage: Vec<(LogDamage, bool)>,
    n_records: u64,
    /// Samples so far, those in damaged stretches included.
    n_samples: u64,
    n_unknown: u64,
    is_closed: bool,
}

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Self {
            strings: Vec::new(),
            series: Vec::new(),
            incomplete: HashMap::new(),
            missed: HashMap::new(),
            damage: Vec::new(),
            n_records: 0,
            n_samples: 0,
            n_unknown: 0,
            is_closed: false,
        }
    }
}

impl<T: Copy> Reading<T> {
    fn take<R: LogReader<Series = T>>(
        &mut self,
        payload: Payload<'_>,
        reader: &mut R,
    ) -> Option<()> {
        self.n_records += 1;
        self.is_closed = matches!(payload, Payload::Closed);
        match payload {
            Payload::Closed => Some(()),
            Payload::Strings(bytes) => {
                payload::strings(bytes, |id, text| put(&mut self.strings, id, text.into()))
            }
            Payload::Series(bytes) => {
                payload::series(bytes, |id, parts| self.define(id, parts, reader))
            }
            Payload::Samples { before, body } => {
                self.tell(before, reader);
                payload::samples(body, |id, millis, value| {
                    self.n_samples += 1;
                    match self.series.get(id as usize) {
                        Some(Some(known)) => reader.sample(*known, millis, value),
                        _ => self.miss(id),
                    }
                })
            }
        }
    }

    fn miss(&mut self, id: u32) {
        self.n_unknown += 1;
        self.missed.insert(id, None);
    }

    fn define<R: LogReader<Series = T>>(&mut self, id: u32, parts: [u32; 3], reader: &mut R) {
        if self.series.get(id as usize).is_some_and(Option::is_some) {
            return;
        }
        let text = |part: u32| self.strings.get(part as usize)?.as_deref();
        if let (Some(instance), Some(name), Some(labels)) =
            (text(parts[0]), text(parts[1]), text(parts[2]))
        {
            let series = reader.series([instance, name, labels]);
            put(&mut self.series, id, series);
            if let Some(since) = self.missed.get_mut(&id) {
                *since = Some(self.n_records);
            }
        } else if id < MAX_NUMBER {
            self.incomplete.insert(id, parts);
        }
    }

    /// Defines the series whose texts came after them.
    fn define_late<R: LogReader<Series = T>>(&mut self, reader: &mut R) {
        self.n_records += 1;
        for (id, parts) in std::mem::take(&mut self.incomplete) {
            self.define(id, parts, reader);
        }
    }

    /// Tells the damage before a record that comes after `before` samples.
    fn tell<R: LogReader<Series = T>>(&mut self, before: Option<u64>, reader: &mut R) {
        let missing = before.and_then(|before| before.checked_sub(self.n_samples));
        // Of several stretches in a row nobody knows which one had the samples.
        let missing = missing.filter(|n| *n == 0 || self.damage.len() == 1);
        for (damage, is_end) in self.damage.drain(..) {
            reader.damage(LogDamage { samples: missing, ..damage }, is_end);
        }
        self.n_samples = before.unwrap_or(self.n_samples);
    }

    /// Gives the samples that were there before their series were known.
    fn read_missed<R: LogReader<Series = T>>(
        &mut self,
        steps: &mut Steps<File>,
        reader: &mut R,
    ) -> Result<(), StoreError> {
        let mut record = 0;
        while let Some(step) = steps.next()? {
            let Step::Record(payload) = step else { continue };
            record += 1;
            let Payload::Samples { body, .. } = payload else { continue };
            let was_missed = |id: &u32| {
                self.missed.get(id).is_some_and(|since| since.is_some_and(|since| record < since))
            };
            payload::samples(body, |id, millis, value| {
                if let Some(Some(known)) = self.series.get(id as usize)
                    && was_missed(&id)
                {
                    reader.sample(*known, millis, value);
                    self.n_unknown -= 1;
                }
            });
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::sync::OnceLock;

    use oddns_core::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::{HistoryStore, SeriesSample, StoreSettings};

    /// What a reader is given: name of the series and time of each sample, sorted.
    #[derive(Default)]
    struct Given {
        names: Vec<String>,
        samples: Vec<(String, i64)>,
        damage: Vec<LogDamage>,
    }

    impl LogReader for Given {
        type Series = usize;

        fn series(&mut self, [_, name, _]: [&str; 3]) -> usize {
            self.names.push(name.to_owned());
            self.names.len() - 1
        }

        fn sample(&mut self, series: usize, millis: i64, _value: f64) {
            self.samples.push((self.names[series].clone(), millis));
        }

        fn damage(&mut self, damage: LogDamage, _is_end: bool) {
            self.damage.push(damage);
        }
    }

    /// A segment in which series come as time goes on, and whose definitions are repeated within.
    fn segment() -> &'static [u8] {
        static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
        BYTES.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let settings = StoreSettings { max_ahead: None, ..StoreSettings::default() };
            let store = HistoryStore::open(folder.path(), settings).unwrap();
            for step in 0..120 {
                let series = 0..30 + step / 2;
                let samples: Vec<SeriesSample> = series
                    .map(|at| SeriesSample {
                        series: store.intern_text("a", &format!("m{at}"), "").unwrap(),
                        time: Timestamp::from_millis(step),
                        value: 0.1,
                    })
                    .collect();
                store.append(Timestamp::from_millis(0), &samples).unwrap();
            }
            drop(store);
            fs::read(folder.path().join("_wal/0000000000.log")).unwrap()
        })
    }

    fn read(bytes: &[u8]) -> (Given, SegmentRead<usize>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        let mut given = Given::default();
        let read = read_segment(file.path(), &mut given).unwrap();
        given.samples.sort();
        (given, read)
    }

    /// Where the records of a sound segment lie.
    fn records(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
        let mut found = Vec::new();
        let mut at = 8;
        while at < bytes.len() {
            let length: [u8; 4] = bytes[at + 4..at + 8].try_into().unwrap();
            let end = at + 12 + u32::from_le_bytes(length) as usize;
            found.push(at..end);
            at = end;
        }
        found
    }

    /// The samples of the records that have not changed, as far as these define their series.
    fn expected(whole: &[u8], damaged: &[u8]) -> (Vec<(String, i64)>, u64) {
        let (mut texts, mut parts) = (BTreeMap::new(), BTreeMap::new());
        let (mut found, mut n_unknown) = (Vec::new(), 0);
        for is_second in [false, true] {
            for range in
                records(whole).into_iter().filter(|r| whole[r.clone()] == damaged[r.clone()])
            {
                match Payload::new(&whole[range.start + 12..range.end]).unwrap() {
                    Payload::Strings(body) => {
                        payload::strings(body, |id, text| {
                            texts.insert(id, text.to_owned());
                        });
                    }
                    Payload::Series(body) => {
                        payload::series(body, |id, three| {
                            parts.insert(id, three);
                        });
                    }
                    Payload::Samples { body, .. } if is_second => {
                        payload::samples(body, |id, millis, _| {
                            let three = parts.get(&id).map(|three| three.map(|at| texts.get(&at)));
                            match three {
                                Some([Some(_), Some(name), Some(_)]) => {
                                    found.push((name.clone(), millis));
                                }
                                _ => n_unknown += 1,
                            }
                        });
                    }
                    _ => {}
                }
            }
        }
        found.sort();
        (found, n_unknown)
    }

    fn check(damaged: &[u8]) {
        let whole = segment();
        let (given, read) = read(damaged);
        let (wanted, n_unknown) = expected(whole, damaged);
        assert_eq!(given.samples, wanted);
        assert_eq!(read.n_unknown, n_unknown);
        let all = expected(whole, whole).0.len() as u64;
        let lost: Option<u64> = given.damage.iter().map(|damage| damage.samples).sum();
        if let Some(lost) = lost {
            assert_eq!(given.samples.len() as u64 + n_unknown + lost, all);
        }
        assert_eq!(given.damage.is_empty(), damaged == whole);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

        #[test]
        fn a_changed_byte_costs_its_record_and_no_series(
            at in any::<proptest::sample::Index>(),
            change in 1_u8..,
        ) {
            let mut bytes = segment().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            check(&bytes);
            let (given, read) = read(&bytes);
            prop_assert_eq!((given.damage.len(), read.n_unknown), (1, 0));
            let LogDamage { offset, length, .. } = given.damage[0];
            prop_assert!((offset..offset + length).contains(&(at as u64)));
        }

        #[test]
        fn zeros_cost_the_records_that_they_touch(
            from in any::<proptest::sample::Index>(),
            length in 1_usize..20_000,
        ) {
            let mut bytes = segment().to_vec();
            let from = from.index(bytes.len());
            let to = (from + length).min(bytes.len());
            bytes[from..to].fill(0);
            check(&bytes);
        }
    }

    #[test]
    fn a_sound_segment_is_read_in_one_go() {
        let (given, read) = read(segment());
        check(segment());
        assert!(read.is_closed && read.n_unknown == 0);
        assert_eq!(given.names.len(), 89, "each series is told once, though defined twice");
    }

    #[test]
    fn a_lost_first_record_costs_nothing_but_its_samples() {
        let mut bytes = segment().to_vec();
        let first = records(&bytes)[2].end;
        bytes[8..first].fill(0);
        let (given, read) = read(&bytes);
        let LogDamage { offset, length, samples, .. } = given.damage[0];
        assert_eq!((offset, length, samples), (8, first as u64 - 8, Some(30)));
        assert_eq!(read.n_unknown, 0);
    }
}
