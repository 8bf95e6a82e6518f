//! From rows of samples to scrapes.

use std::collections::{BTreeMap, HashMap};

use oddns_core::{
    Labels, ParseLabelsError, Recording, Sample, Scrape, SeriesId, SeriesKey, SeriesTable,
    Timestamp,
};

use super::columns::Columns;
use super::{SCRAPE_DURATION, UP};

/// Gathers rows, in any order, into one recording for each instance.
#[derive(Default)]
pub(super) struct Transposer {
    /// Only this instance, when given.
    only: Option<String>,
    recordings: Vec<Partial>,
    by_instance: BTreeMap<String, usize>,
    /// Where the last sample of the log went.
    last_scrape: usize,
    pub(super) skipped_rows: u64,
    pub(super) duplicate_rows: u64,
}

/// A recording in the making.
#[derive(Default)]
struct Partial {
    series: SeriesTable,
    scrapes: Vec<PartialScrape>,
    at: HashMap<i64, usize>,
}

struct PartialScrape {
    millis: i64,
    up: Option<f64>,
    duration_seconds: f64,
    samples: Vec<Sample>,
}

/// Where the rows of one series go.
#[derive(Clone, Copy)]
pub(super) enum Destination {
    Nowhere,
    Recording { index: usize, field: Field },
}

#[derive(Clone, Copy)]
pub(super) enum Field {
    Up,
    Duration,
    Sample(SeriesId),
}

impl Transposer {
    pub(super) fn new(only: Option<String>) -> Self {
        Self { only, ..Self::default() }
    }

    /// Takes the rows of a batch that are from `since` to before `until`, in milliseconds.
    ///
    /// Rows mostly come sorted by series and time, so the series of the row before and the scrape
    /// after the one before are tried first; anything else costs a look into a hash table.
    pub(super) fn add(
        &mut self,
        columns: &Columns<'_>,
        since: i64,
        until: i64,
    ) -> Result<(), ParseLabelsError> {
        let mut known = HashMap::new();
        let mut keys = [-1; 3];
        let mut destination = Destination::Nowhere;
        let mut scrape = 0;
        for at in 0..columns.len() {
            let Some(row) = columns.row(at) else {
                self.skipped_rows += 1;
                continue;
            };
            if row.millis < since || row.millis >= until {
                continue;
            }
            if row.keys != keys {
                keys = row.keys;
                destination = self.destination(columns, keys, &mut known)?;
            }
            if let Destination::Recording { index, field } = destination {
                let partial = &mut self.recordings[index];
                scrape = partial.scrape_at(row.millis, scrape);
                partial.scrapes[scrape].put(field, row.value);
            }
        }
        Ok(())
    }

    /// Where the samples of a series of the log go; nowhere when its labels cannot be read.
    pub(super) fn log_series(&mut self, texts: [&str; 3]) -> Destination {
        let Ok(labels) = texts[2].parse() else { return Destination::Nowhere };
        self.new_destination(texts[0], &SeriesKey { name: texts[1].to_owned(), labels })
    }

    /// Takes a sample of the log.
    pub(super) fn log_sample(&mut self, destination: Destination, millis: i64, value: f64) {
        if let Destination::Recording { index, field } = destination {
            let partial = &mut self.recordings[index];
            let scrape = partial.scrape_at(millis, self.last_scrape);
            partial.scrapes[scrape].put(field, value);
            self.last_scrape = scrape;
        }
    }

    fn destination(
        &mut self,
        columns: &Columns<'_>,
        keys: [i32; 3],
        known: &mut HashMap<[i32; 3], Destination>,
    ) -> Result<Destination, ParseLabelsError> {
        if let Some(destination) = known.get(&keys) {
            return Ok(*destination);
        }
        let [instance, name, labels] = keys;
        let key = SeriesKey {
            name: columns.names.text(name).to_owned(),
            labels: columns.labels.text(labels).parse()?,
        };
        let destination = self.new_destination(columns.instances.text(instance), &key);
        known.insert(keys, destination);
        Ok(destination)
    }

    fn new_destination(&mut self, instance: &str, key: &SeriesKey) -> Destination {
        if self.only.as_deref().is_some_and(|only| only != instance) {
            return Destination::Nowhere;
        }
        let index = self.index_of(instance);
        let field = match key.name.as_str() {
            UP if key.labels == Labels::default() => Field::Up,
            SCRAPE_DURATION if key.labels == Labels::default() => Field::Duration,
            _ => Field::Sample(self.recordings[index].series.intern(key)),
        };
        Destination::Recording { index, field }
    }

    fn index_of(&mut self, instance: &str) -> usize {
        if let Some(index) = self.by_instance.get(instance) {
            return *index;
        }
        let index = self.recordings.len();
        self.recordings.push(Partial::default());
        self.by_instance.insert(instance.to_owned(), index);
        index
    }

    /// The recordings, sorted by instance; an instance without rows in the time asked for has none.
    pub(super) fn finish(mut self) -> (Vec<Recording>, u64, u64) {
        let mut recordings = Vec::new();
        for (instance, index) in std::mem::take(&mut self.by_instance) {
            let partial = std::mem::take(&mut self.recordings[index]);
            let recording = partial.finish(instance, &mut self.duplicate_rows);
            if !recording.scrapes.is_empty() {
                recordings.push(recording);
            }
        }
        (recordings, self.skipped_rows, self.duplicate_rows)
    }
}

impl Partial {
    /// The scrape of this time, new if there is none; `near` is where the last row went.
    fn scrape_at(&mut self, millis: i64, near: usize) -> usize {
        for guess in [near + 1, near] {
            if self.scrapes.get(guess).is_some_and(|scrape| scrape.millis == millis) {
                return guess;
            }
        }
        let Self { scrapes, at, .. } = self;
        *at.entry(millis).or_insert_with(|| {
            scrapes.push(PartialScrape::new(millis));
            scrapes.len() - 1
        })
    }

    fn finish(mut self, instance: String, duplicate_rows: &mut u64) -> Recording {
        self.scrapes.sort_by_key(|scrape| scrape.millis);
        let scrapes = self.scrapes.into_iter().map(|scrape| scrape.finish(duplicate_rows));
        Recording { instance, scrapes: scrapes.collect(), series: self.series }
    }
}

impl PartialScrape {
    fn new(millis: i64) -> Self {
        Self { millis, up: None, duration_seconds: f64::NAN, samples: Vec::new() }
    }

    fn put(&mut self, field: Field, value: f64) {
        match field {
            Field::Up => self.up = Some(value),
            Field::Duration => self.duration_seconds = value,
            Field::Sample(series) => self.samples.push(Sample { series, value }),
        }
    }

    fn finish(mut self, duplicate_rows: &mut u64) -> Scrape {
        if !self.samples.is_sorted_by(|a, b| a.series < b.series) {
            *duplicate_rows += keep_first_of_each(&mut self.samples);
        }
        Scrape {
            time: Timestamp::from_millis(self.millis),
            up: self.up.map_or(!self.samples.is_empty(), |up| up > 0.0),
            duration_seconds: self.duration_seconds,
            samples: self.samples,
        }
    }
}

/// Sorts by series; of several values of one series the one read first stays. Says how many went.
fn keep_first_of_each(samples: &mut Vec<Sample>) -> u64 {
    let before = samples.len();
    samples.sort_by_key(|sample| sample.series);
    samples.dedup_by_key(|sample| sample.series);
    (before - samples.len()) as u64
}
