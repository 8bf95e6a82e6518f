//! What is taken goes into the log; what is known of the series so far.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use oddns_core::Timestamp;

use super::store::{Appended, SeriesRef, SeriesSample};
use super::{Identities, StoreSettings, StoreStatistics};
use crate::StoreError;
use crate::log::{Definitions, SampleEncoder, SegmentFile, SegmentWriter, frame};

/// Begins segment `number` in a folder.
pub(super) type Begin = Box<dyn Fn(&Path, u64) -> Result<SegmentWriter, StoreError> + Send + Sync>;

/// A segment that nothing is appended to any more.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) path: PathBuf,
    pub(super) n_bytes: u64,
}

/// The taking side of a store.
pub(super) struct Head {
    folder: PathBuf,
    begin: Begin,
    identities: Identities,
    /// By the number of the series.
    seen: Vec<Seen>,
    pub(super) began: Instant,
    segment: Option<Open>,
    next_number: u64,
    ended: VecDeque<Ended>,
    /// Files with appends that have not been synced.
    unsynced: Vec<Arc<dyn SegmentFile>>,
    pub(super) statistics: StoreStatistics,
}

/// What is known of a series besides its texts.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Time and value of its newest sample.
    newest: (i64, f64),
    /// When it was asked for, or had its first sample of a segment; seconds since the beginning.
    used: u32,
    /// How often its number has been given to another one.
    generation: u32,
}

impl Seen {
    fn new(generation: u32) -> Self {
        Self { newest: (i64::MIN, 0.0), used: 0, generation }
    }
}

/// The segment that is appended to.
struct Open {
    writer: SegmentWriter,
    since: Instant,
    is_synced: bool,
    /// Samples in it.
    n_samples: u64,
    strings: Defined,
    series: Defined,
    /// Series that it has defined once, each with the length that it has when they are defined once
    /// more, so that no damaged block takes both definitions.
    once: VecDeque<(u64, Vec<u32>)>,
}

/// Definitions come again after so many bytes; a block of a disk has 4096.
const REPEAT_AFTER: u64 = 16 << 10;
/// So many series are defined again at once.
const MAX_REPEATED: usize = 8192;
/// Series are forgotten when they are at least one in so many.
const WORTH_FORGETTING: usize = 8;

/// Which numbers a segment has defined.
#[derive(Default)]
struct Defined(Vec<bool>);

impl Defined {
    /// Marks `number`; false when it was marked before.
    fn mark(&mut self, number: u32) -> bool {
        let at = number as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, false);
        }
        !std::mem::replace(&mut self.0[at], true)
    }

    fn unmark(&mut self, number: u32) {
        self.0[number as usize] = false;
    }
}

/// What an append has changed so far, to be taken back when it cannot be written.
#[derive(Default)]
struct Changes {
    newest: Vec<(u32, (i64, f64))>,
    /// Places of samples whose series has been forgotten.
    forgotten: Vec<usize>,
    strings: Vec<u32>,
    series: Vec<u32>,
}

impl Head {
    /// Goes on after the segments `ended`, in the log folder `folder`.
    pub(super) fn new(folder: &Path, ended: Vec<Ended>, next_number: u64, begin: Begin) -> Self {
        let log_bytes = ended.iter().map(|ended| ended.n_bytes).sum();
        let statistics =
            StoreStatistics { log_segments: ended.len(), log_bytes, ..StoreStatistics::default() };
        Self {
            folder: folder.to_owned(),
            begin,
            identities: Identities::default(),
            seen: Vec::new(),
            began: Instant::now(),
            segment: None,
            next_number,
            ended: ended.into(),
            unsynced: Vec::new(),
            statistics,
        }
    }

    /// The reference of a series; `None` when there would be more than `limit`.
    pub(super) fn intern(&mut self, texts: [&str; 3], limit: usize) -> Option<SeriesRef> {
        let Some(number) = self.identities.intern(texts, limit) else {
            self.statistics.refused_series += 1;
            return None;
        };
        let at = number as usize;
        if self.seen.len() <= at {
            self.seen.resize(at + 1, Seen::new(0));
        }
        self.seen[at].used = self.seconds();
        self.statistics.series = self.identities.len();
        Some(SeriesRef { number, generation: self.seen[at].generation })
    }

    fn seconds(&self) -> u32 {
        u32::try_from(self.began.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    /// Takes samples into the log, or none of them. The places of those whose series has been
    /// forgotten go to `forgotten`.
    pub(super) fn append(
        &mut self,
        now: Timestamp,
        samples: &[SeriesSample],
        settings: &StoreSettings,
        forgotten: &mut Vec<usize>,
    ) -> Result<Appended, StoreError> {
        match self.try_append(now, samples, settings) {
            Ok((appended, gone)) => {
                self.statistics.refusing = None;
                self.count(appended);
                forgotten.extend(gone);
                Ok(appended)
            }
            Err(error) => {
                self.statistics.refusing = Some(error_text(&error));
                self.statistics.unwritten += samples.len() as u64;
                Err(error)
            }
        }
    }

    fn try_append(
        &mut self,
        now: Timestamp,
        samples: &[SeriesSample],
        settings: &StoreSettings,
    ) -> Result<(Appended, Vec<usize>), StoreError> {
        if self.statistics.log_bytes >= settings.max_log_bytes {
            let path = self.folder.clone();
            return Err(StoreError::LogFull { path, n_bytes: settings.max_log_bytes });
        }
        let range = accepted(now, settings);
        if self.segment.is_none() {
            self.forget_idle(samples, settings);
        }
        let mut open = self.open_segment()?;
        let mut changes = Changes::default();
        let is_due = open.once.front().is_some_and(|(at, _)| open.writer.length() >= *at);
        let mut records = if is_due { self.repeated(&open) } else { Vec::new() };
        let appended = self.encode(samples, range, &mut open, &mut changes, &mut records);
        let written = if records.is_empty() { Ok(()) } else { open.writer.append(&records) };
        match written {
            Ok(()) => {
                self.statistics.log_bytes += records.len() as u64;
                open.is_synced &= records.is_empty();
                open.n_samples += appended.taken;
                open.note_definitions(is_due, &changes.series);
            }
            Err(_) => self.take_back(&changes, &mut open),
        }
        self.put_back(open);
        written.map(|()| (appended, changes.forgotten))
    }

    /// Forgets series that have had no sample for long, unless they have one now.
    fn forget_idle(&mut self, samples: &[SeriesSample], settings: &StoreSettings) {
        let now = self.seconds();
        for sample in samples {
            if let Some(seen) = self.seen_of(sample.series) {
                seen.used = now;
            }
        }
        // What has a sample in every segment was used at most the age of a segment ago.
        let most = settings.forget_after.saturating_add(settings.segment_age).as_secs();
        let is_idle = |seen: &Seen| u64::from(now.saturating_sub(seen.used)) > most;
        let known = (0..).zip(&self.seen).filter(|(at, _)| self.identities.parts(*at).is_some());
        let n_idle = known.filter(|(_, seen)| is_idle(seen)).count();
        if n_idle == 0 || n_idle * WORTH_FORGETTING < self.identities.len() {
            return;
        }
        let gone = self.identities.retain(|number| !is_idle(&self.seen[number as usize]));
        for number in &gone {
            let seen = &mut self.seen[*number as usize];
            *seen = Seen::new(seen.generation.wrapping_add(1));
        }
        self.statistics.series = self.identities.len();
        self.statistics.forgotten_series += gone.len() as u64;
    }

    /// What is known of a series; `None` for a reference from elsewhere, or to a forgotten one.
    fn seen_of(&mut self, series: SeriesRef) -> Option<&mut Seen> {
        let seen = self.seen.get_mut(series.number as usize)?;
        (seen.generation == series.generation).then_some(seen)
    }

    /// Records that define once more what comes first in [`Open::once`], with all texts for it.
    fn repeated(&self, open: &Open) -> Vec<u8> {
        let (mut definitions, mut strings) = (Definitions::default(), HashSet::new());
        for number in open.once.front().into_iter().flat_map(|(_, series)| series) {
            let Some(parts) = self.identities.parts(*number) else { continue };
            for part in parts {
                if strings.insert(part) {
                    definitions.string(part, self.identities.strings().get(part));
                }
            }
            definitions.series(*number, parts);
        }
        let mut records = Vec::new();
        for payload in definitions.payloads() {
            frame(payload, &mut records);
        }
        records
    }

    /// Adds records of the definitions that the segment lacks and of the samples that are taken.
    fn encode(
        &mut self,
        samples: &[SeriesSample],
        range: (i64, i64),
        open: &mut Open,
        changes: &mut Changes,
        records: &mut Vec<u8>,
    ) -> Appended {
        let mut appended = Appended::default();
        let chunks = samples.chunks(SampleEncoder::MAX_SAMPLES);
        for (samples, first) in chunks.zip((0..).step_by(SampleEncoder::MAX_SAMPLES)) {
            let mut definitions = Definitions::default();
            let before = appended.taken;
            let mut encoder = SampleEncoder::new(open.n_samples + before);
            for (sample, place) in samples.iter().zip(first..) {
                let number = sample.series.number;
                if self.judge(sample, place, range, &mut appended, changes) {
                    self.define(number, open, &mut definitions, changes);
                    encoder.push(number, sample.time.millis(), sample.value);
                }
            }
            for payload in definitions.payloads() {
                frame(payload, records);
            }
            if appended.taken > before {
                frame(encoder.payload(), records);
            }
        }
        appended
    }

    /// Whether a sample, the one at `place`, is taken.
    fn judge(
        &mut self,
        sample: &SeriesSample,
        place: usize,
        (from, until): (i64, i64),
        appended: &mut Appended,
        changes: &mut Changes,
    ) -> bool {
        let millis = sample.time.millis();
        let Some(Seen { newest, .. }) = self.seen_of(sample.series) else {
            appended.unknown_series += 1;
            changes.forgotten.push(place);
            return false;
        };
        if millis > until {
            appended.too_far_ahead += 1;
            return false;
        }
        if millis < from {
            appended.too_far_behind += 1;
            return false;
        }
        if millis == newest.0 {
            appended.duplicates += 1;
            appended.conflicts += u64::from(newest.1.to_bits() != sample.value.to_bits());
            return false;
        }
        if millis < newest.0 {
            appended.out_of_order += 1;
        } else {
            changes.newest.push((sample.series.number, *newest));
            *newest = (millis, sample.value);
        }
        appended.taken += 1;
        true
    }

    fn define(
        &mut self,
        series: u32,
        open: &mut Open,
        definitions: &mut Definitions,
        changes: &mut Changes,
    ) {
        let Some(parts) = self.identities.parts(series) else { return };
        if !open.series.mark(series) {
            return;
        }
        changes.series.push(series);
        self.seen[series as usize].used = self.seconds();
        for part in parts {
            if open.strings.mark(part) {
                changes.strings.push(part);
                definitions.string(part, self.identities.strings().get(part));
            }
        }
        definitions.series(series, parts);
    }

    fn take_back(&mut self, changes: &Changes, open: &mut Open) {
        for (series, newest) in changes.newest.iter().rev() {
            self.seen[*series as usize].newest = *newest;
        }
        for number in &changes.strings {
            open.strings.unmark(*number);
        }
        for number in &changes.series {
            open.series.unmark(*number);
        }
    }

    fn count(&mut self, appended: Appended) {
        let statistics = &mut self.statistics;
        statistics.samples += appended.taken;
        statistics.duplicates += appended.duplicates;
        statistics.conflicts += appended.conflicts;
        statistics.out_of_order += appended.out_of_order;
        statistics.too_far_ahead += appended.too_far_ahead;
        statistics.too_far_behind += appended.too_far_behind;
    }

    /// The segment to append to, taken out of its place; a new one when there is none.
    fn open_segment(&mut self) -> Result<Open, StoreError> {
        if let Some(open) = self.segment.take() {
            return Ok(open);
        }
        let writer = (self.begin)(&self.folder, self.next_number)?;
        self.next_number += 1;
        self.statistics.log_segments += 1;
        self.statistics.log_bytes += writer.length();
        Ok(Open::new(writer))
    }

    fn put_back(&mut self, open: Open) {
        let is_broken = open.writer.is_broken();
        self.segment = Some(open);
        if is_broken {
            self.end_segment();
        }
    }

    /// Says in the log that nothing will follow.
    pub(super) fn write_closed(&mut self) -> Result<(), StoreError> {
        self.repeat_rest();
        let Some(open) = &mut self.segment else { return Ok(()) };
        let mut records = Vec::new();
        frame(&crate::log::Payload::closed(), &mut records);
        open.writer.append(&records)?;
        open.is_synced = false;
        Ok(())
    }

    /// Defines all series of the present segment once more that it has defined only once. A
    /// failure costs nothing as long as there is no damage.
    fn repeat_rest(&mut self) {
        let Some(mut open) = self.segment.take() else { return };
        while !open.once.is_empty() && !open.writer.is_broken() {
            let records = self.repeated(&open);
            if open.writer.append(&records).is_err() {
                break;
            }
            self.statistics.log_bytes += records.len() as u64;
            open.is_synced = false;
            open.note_definitions(true, &[]);
        }
        self.segment = Some(open);
    }

    /// Whether the present segment is older or longer than the settings say.
    pub(super) fn is_due(&self, settings: &StoreSettings) -> bool {
        self.segment.as_ref().is_some_and(|open| {
            open.writer.length() >= settings.segment_bytes
                || open.since.elapsed() >= settings.segment_age
        })
    }

    /// Ends the present segment; one without records is gone on with.
    pub(super) fn end_segment(&mut self) {
        self.repeat_rest();
        let Some(open) = self.segment.take_if(|open| !open.writer.is_empty()) else { return };
        if !open.is_synced {
            self.unsynced.push(open.writer.file());
        }
        let (path, n_bytes) = (open.writer.path().to_owned(), open.writer.length());
        self.ended.push_back(Ended { path, n_bytes });
    }

    /// What has to be synced so that all that has been taken is on disk. The caller syncs it, and
    /// takes the list as done.
    pub(super) fn take_unsynced(&mut self) -> Vec<Arc<dyn SegmentFile>> {
        let mut files = std::mem::take(&mut self.unsynced);
        if let Some(open) = self.segment.as_mut().filter(|open| !open.is_synced) {
            open.is_synced = true;
            files.push(open.writer.file());
        }
        files
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Segments that can become Parquet: all that have ended, up to `n_bytes`, but one at least.
    pub(super) fn ended(&self, n_bytes: u64) -> Vec<Ended> {
        let mut total = 0;
        let fits = |ended: &&Ended| {
            let is_first = total == 0;
            total += ended.n_bytes;
            is_first || total <= n_bytes
        };
        self.ended.iter().take_while(fits).cloned().collect()
    }

    /// Forgets the first `n` segments that have ended: they are gone.
    pub(super) fn forget_ended(&mut self, n: usize) {
        for ended in self.ended.drain(..n) {
            self.statistics.log_segments -= 1;
            self.statistics.log_bytes -= ended.n_bytes;
        }
    }

    /// Removes the present segment when it has no records.
    pub(super) fn remove_empty_segment(&mut self) {
        if let Some(open) = self.segment.take_if(|open| open.writer.is_empty()) {
            // Left behind it is an empty segment, which is harmless.
            let _ = fs::remove_file(open.writer.path());
        }
    }
}

impl Open {
    fn new(writer: SegmentWriter) -> Self {
        Self {
            writer,
            since: Instant::now(),
            is_synced: true,
            n_samples: 0,
            strings: Defined::default(),
            series: Defined::default(),
            once: VecDeque::new(),
        }
    }

    /// Notes whether the first ones of `once` have been defined again, and which others once.
    fn note_definitions(&mut self, is_repeated: bool, defined: &[u32]) {
        if is_repeated {
            self.once.pop_front();
        }
        let due = self.writer.length() + REPEAT_AFTER;
        self.once.extend(defined.chunks(MAX_REPEATED).map(|series| (due, series.to_vec())));
    }
}

/// First and last time that is taken, in milliseconds.
fn accepted(now: Timestamp, settings: &StoreSettings) -> (i64, i64) {
    let millis = |limit: std::time::Duration| i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
    let until =
        settings.max_ahead.map_or(i64::MAX, |limit| now.millis().saturating_add(millis(limit)));
    let from =
        settings.max_behind.map_or(i64::MIN, |limit| now.millis().saturating_sub(millis(limit)));
    // The smallest number stands for a series without samples.
    (from.max(i64::MIN + 1), until)
}

/// An error with its cause, in one line.
pub(super) fn error_text(error: &StoreError) -> String {
    use std::error::Error;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
