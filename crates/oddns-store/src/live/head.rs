//! What is taken goes into the log; what is known of the series so far.

use std::collections::VecDeque;
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
    /// Time of the newest sample of each series.
    newest: Vec<i64>,
    segment: Option<Open>,
    next_number: u64,
    ended: VecDeque<Ended>,
    /// Files with appends that have not been synced.
    unsynced: Vec<Arc<dyn SegmentFile>>,
    pub(super) statistics: StoreStatistics,
}

/// The segment that is appended to.
struct Open {
    writer: SegmentWriter,
    since: Instant,
    is_synced: bool,
    strings: Defined,
    series: Defined,
}

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
    newest: Vec<(u32, i64)>,
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
            newest: Vec::new(),
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
        self.newest.resize(self.identities.len(), i64::MIN);
        self.statistics.series = self.identities.len();
        Some(SeriesRef(number))
    }

    /// Takes samples into the log, or none of them.
    pub(super) fn append(
        &mut self,
        now: Timestamp,
        samples: &[SeriesSample],
        settings: &StoreSettings,
    ) -> Result<Appended, StoreError> {
        match self.try_append(now, samples, settings) {
            Ok(appended) => {
                self.statistics.refusing = None;
                self.count(appended);
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
    ) -> Result<Appended, StoreError> {
        if self.statistics.log_bytes >= settings.max_log_bytes {
            let path = self.folder.clone();
            return Err(StoreError::LogFull { path, n_bytes: settings.max_log_bytes });
        }
        let range = accepted(now, settings);
        let mut open = self.open_segment()?;
        let mut changes = Changes::default();
        let (records, appended) = self.encode(samples, range, &mut open, &mut changes);
        let written = if records.is_empty() { Ok(()) } else { open.writer.append(&records) };
        match written {
            Ok(()) => {
                self.statistics.log_bytes += records.len() as u64;
                open.is_synced &= records.is_empty();
            }
            Err(_) => self.take_back(&changes, &mut open),
        }
        self.put_back(open);
        written.map(|()| appended)
    }

    /// Records of the definitions that the segment lacks and of the samples that are taken.
    fn encode(
        &mut self,
        samples: &[SeriesSample],
        range: (i64, i64),
        open: &mut Open,
        changes: &mut Changes,
    ) -> (Vec<u8>, Appended) {
        let mut records = Vec::new();
        let mut appended = Appended::default();
        for samples in samples.chunks(SampleEncoder::MAX_SAMPLES) {
            let mut definitions = Definitions::default();
            let mut encoder = SampleEncoder::new();
            let before = appended.taken;
            for sample in samples {
                if self.judge(sample, range, &mut appended, changes) {
                    self.define(sample.series.0, open, &mut definitions, changes);
                    encoder.push(sample.series.0, sample.time.millis(), sample.value);
                }
            }
            for payload in definitions.payloads() {
                frame(payload, &mut records);
            }
            if appended.taken > before {
                frame(encoder.payload(), &mut records);
            }
        }
        (records, appended)
    }

    /// Whether a sample is taken.
    fn judge(
        &mut self,
        sample: &SeriesSample,
        (from, until): (i64, i64),
        appended: &mut Appended,
        changes: &mut Changes,
    ) -> bool {
        let millis = sample.time.millis();
        let Some(newest) = self.newest.get_mut(sample.series.0 as usize) else {
            appended.unknown_series += 1;
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
        if millis == *newest {
            appended.duplicates += 1;
            return false;
        }
        if millis < *newest {
            appended.out_of_order += 1;
        } else {
            changes.newest.push((sample.series.0, *newest));
            *newest = millis;
        }
        appended.taken += 1;
        true
    }

    fn define(
        &self,
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
            self.newest[*series as usize] = *newest;
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
        let (strings, series) = (Defined::default(), Defined::default());
        Ok(Open { writer, since: Instant::now(), is_synced: true, strings, series })
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
        let Some(open) = &mut self.segment else { return Ok(()) };
        let mut records = Vec::new();
        frame(&crate::log::Payload::closed(), &mut records);
        open.writer.append(&records)?;
        open.is_synced = false;
        Ok(())
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
