//! Scrapes, recordings and other histories into a history.

use std::path::Path;

use oddns_core::{Labels, Recording, Scrape, SeriesId, SeriesKey, SeriesTable};

use crate::history::{History, HistoryFilter, SCRAPE_DURATION, UP, read_history};
use crate::live::{Appended, HistoryStore, SeriesRef, SeriesSample, StoreSettings};
use crate::walk::{Rows, SeriesWalk, WholeHistory};
use crate::{Dataset, Mistake, StoreError};

/// Appends the scrapes of one server to a [`HistoryStore`], with `up` and
/// `scrape_duration_seconds` as series of their own.
#[derive(Debug, Clone)]
pub struct ScrapeAppender {
    instance: String,
    /// The store's references of up and duration.
    own: Option<(SeriesRef, SeriesRef)>,
    /// The store's references of the caller's series, as far as they have been asked for.
    known: Vec<Option<Option<SeriesRef>>>,
}

impl ScrapeAppender {
    /// For the scrapes of `instance`.
    pub fn new(instance: &str) -> Self {
        Self { instance: instance.to_owned(), own: None, known: Vec::new() }
    }

    /// Appends a scrape, whose samples speak of `series`: the same table at every call. Its own
    /// time counts as the clock. Series beyond [`crate::StoreSettings::max_series`] are left out.
    pub fn append(
        &mut self,
        store: &HistoryStore,
        series: &SeriesTable,
        scrape: &Scrape,
    ) -> Result<Appended, StoreError> {
        let mut forgotten = Vec::new();
        let samples = self.samples(store, series, scrape);
        let appended = store.append_known(scrape.time, &samples, &mut forgotten)?;
        if forgotten.is_empty() {
            return Ok(appended);
        }
        // Series that come back after a long time have other references.
        (self.own, self.known) = (None, Vec::new());
        let samples = self.samples(store, series, scrape);
        let back: Vec<SeriesSample> =
            forgotten.iter().filter_map(|place| samples.get(*place)).copied().collect();
        let more = store.append(scrape.time, &back)?;
        Ok(Appended { taken: appended.taken + more.taken, unknown_series: 0, ..appended })
    }

    fn samples(
        &mut self,
        store: &HistoryStore,
        series: &SeriesTable,
        scrape: &Scrape,
    ) -> Vec<SeriesSample> {
        let mut samples = Vec::with_capacity(scrape.samples.len() + 2);
        let time = scrape.time;
        let mut add = |series, value| samples.push(SeriesSample { series, time, value });
        if let Some((up, duration)) = self.own(store) {
            add(up, f64::from(u8::from(scrape.up)));
            if !scrape.duration_seconds.is_nan() {
                add(duration, scrape.duration_seconds);
            }
        }
        for sample in &scrape.samples {
            if let Some(series) = self.reference(store, series, sample.series) {
                add(series, sample.value);
            }
        }
        samples
    }

    fn own(&mut self, store: &HistoryStore) -> Option<(SeriesRef, SeriesRef)> {
        if self.own.is_none() {
            let own = |name| store.intern_text(&self.instance, name, "");
            self.own = own(UP).zip(own(SCRAPE_DURATION));
        }
        self.own
    }

    fn reference(
        &mut self,
        store: &HistoryStore,
        series: &SeriesTable,
        id: SeriesId,
    ) -> Option<SeriesRef> {
        let at = id.0 as usize;
        if self.known.len() <= at {
            self.known.resize(series.len().max(at + 1), None);
        }
        let intern = |key: &SeriesKey| store.intern(&self.instance, key);
        *self.known[at].get_or_insert_with(|| series.get(id).and_then(intern))
    }
}

/// Writes whole recordings as a new data set in the folder `root`, which must not exist or be
/// empty. With nothing to write, only the description is there.
pub fn write_history(
    root: &Path,
    dataset: &Dataset,
    recordings: &[Recording],
) -> Result<(), StoreError> {
    let settings = StoreSettings { max_ahead: None, ..StoreSettings::default() };
    let store = HistoryStore::create(root, dataset, settings)?;
    for recording in recordings {
        store.import_recording(recording, &HistoryFilter::default())?;
    }
    store.finish().map(drop)
}

/// What was taken out of another history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    /// Samples taken.
    pub samples: u64,
    /// Samples left out because the other history has one of the series at that time.
    pub duplicates: u64,
    /// Of these, how many had another value.
    pub conflicts: u64,
    /// What could not be read: of the log always, of Parquet files where damage was to be skipped.
    pub damage: Vec<Mistake>,
}

impl HistoryStore {
    /// Appends what passes the filter of the data set folder or Parquet file `path`. Memory does
    /// not grow with the data when it is sorted as the format says. A damaged file is an error.
    pub fn import_history(
        &self,
        path: &Path,
        filter: &HistoryFilter,
    ) -> Result<Imported, StoreError> {
        let history = WholeHistory::open(path, filter)?;
        match self.import_days(&history, filter, Rows::All) {
            Err(StoreError::Unsorted { .. }) => {
                let History { recordings, duplicate_rows, .. } = read_history(path, filter)?;
                let taken = recordings.iter().map(|one| self.import_recording(one, filter));
                let samples = taken.sum::<Result<u64, _>>()?;
                let duplicates = duplicate_rows;
                Ok(Imported { samples, duplicates, ..Imported::default() })
            }
            done => done,
        }
    }

    /// Like [`HistoryStore::import_history`], but leaves out damaged files, of files with checksums
    /// only the rows of damaged pages, and says what was left out.
    pub fn import_sound(
        &self,
        path: &Path,
        filter: &HistoryFilter,
    ) -> Result<Imported, StoreError> {
        let mut history = WholeHistory::open(path, filter)?;
        let damage = history.retain_readable();
        let mut imported = self.import_days(&history, filter, Rows::Sound)?;
        imported.damage.splice(0..0, damage);
        Ok(imported)
    }

    fn import_days(
        &self,
        history: &WholeHistory,
        filter: &HistoryFilter,
        rows: Rows<'_>,
    ) -> Result<Imported, StoreError> {
        let damage = history.log_damage.iter().map(Mistake::of_log).collect();
        let mut imported = Imported { damage, ..Imported::default() };
        for parts in history.days() {
            let mut walk = SeriesWalk::open(parts, rows)?;
            while let Some(([instance, name, labels], samples)) = walk.next()? {
                let samples = filter.cut(&instance, samples);
                if samples.is_empty() {
                    continue;
                }
                // Other writers do not sort labels.
                let canonical = labels.parse::<Labels>().map(|labels| labels.to_string());
                let labels = canonical.unwrap_or(labels);
                if let Some(series) = self.intern_text(&instance, &name, &labels) {
                    imported.samples += self.append_series(series, samples)?;
                }
            }
            imported.duplicates += walk.surplus.duplicates;
            imported.conflicts += walk.surplus.conflicts;
        }
        Ok(imported)
    }

    /// Appends what passes the filter of a recording; says how many samples.
    pub fn import_recording(
        &self,
        recording: &Recording,
        filter: &HistoryFilter,
    ) -> Result<u64, StoreError> {
        let mut appender = ScrapeAppender::new(&recording.instance);
        if filter.instance.as_ref().is_some_and(|wanted| *wanted != recording.instance) {
            return Ok(0);
        }
        let (since, until) = filter.millis();
        let mut n_samples = 0;
        for scrape in &recording.scrapes {
            if (since..until).contains(&scrape.time.millis()) {
                n_samples += appender.append(self, &recording.series, scrape)?.taken;
            }
        }
        Ok(n_samples)
    }
}
