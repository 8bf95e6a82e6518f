//! Keeping what is received in a metric history.

use std::collections::HashMap;
use std::sync::Arc;

use oddns_collect::{Directory, WrittenSample, WrittenSeries};
use oddns_core::{Labels, Timestamp};
use oddns_store::{HistoryStore, SeriesRef, SeriesSample};

use super::{Keep, KeepError};

/// Keeps samples in a [`HistoryStore`].
///
/// A history tells servers apart by `instance` alone. So of an instance with several jobs the first
/// one is taken for the server's own, and the series of the others keep their label `job`.
#[derive(Debug)]
pub struct StoreKeep {
    /// `None` once it is closed.
    store: Option<Arc<HistoryStore>>,
    /// By the number of the series.
    known: Vec<Known>,
    /// The first job of each instance.
    own_jobs: HashMap<String, String>,
    samples: Vec<SeriesSample>,
    /// Of which series each of `samples` is.
    series: Vec<WrittenSeries>,
}

/// What is known of a series.
#[derive(Debug, Clone, Copy, Default)]
enum Known {
    #[default]
    Nothing,
    Series(SeriesRef),
    /// The store has no room for more series.
    NoRoom,
}

impl StoreKeep {
    /// Keeps samples in `store`, and closes it at the end unless others hold it too.
    pub fn new(store: impl Into<Arc<HistoryStore>>) -> Self {
        let (known, own_jobs) = (Vec::new(), HashMap::new());
        let store = Some(store.into());
        Self { store, known, own_jobs, samples: Vec::new(), series: Vec::new() }
    }

    fn meet(
        own_jobs: &mut HashMap<String, String>,
        store: &HistoryStore,
        directory: &Directory,
        series: WrittenSeries,
    ) -> Known {
        let target = directory.target_of(series);
        let (instance, job) = (directory.instance(target), directory.job(target));
        let instance = if instance.is_empty() { "unknown" } else { instance };
        let own_job = own_jobs.entry(instance.to_owned()).or_insert_with(|| job.to_owned());
        let mut key = directory.key(series);
        if own_job != job {
            let pairs = key.labels.iter().chain([("job", job)]);
            key.labels = Labels::new(pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).collect());
        }
        store.intern(instance, &key).map_or(Known::NoRoom, Known::Series)
    }

    /// The samples at these places, whose series come back after so long a time that the store has
    /// forgotten them; without those that it has no room for.
    fn met_again(
        &mut self,
        store: &HistoryStore,
        directory: &Directory,
        places: &[usize],
    ) -> Vec<SeriesSample> {
        let mut back = Vec::new();
        for place in places {
            let series = self.series[*place];
            let met = Self::meet(&mut self.own_jobs, store, directory, series);
            self.known[series.0 as usize] = met;
            if let Known::Series(series) = met {
                back.push(SeriesSample { series, ..self.samples[*place] });
            }
        }
        back
    }
}

impl Keep for StoreKeep {
    fn keep(
        &mut self,
        now: Timestamp,
        directory: &Directory,
        samples: &[WrittenSample],
    ) -> Result<u64, KeepError> {
        let Some(store) = &self.store else {
            return Err(KeepError::new("the history is closed".into()));
        };
        let mut n_left_out = 0;
        self.samples.clear();
        self.series.clear();
        for sample in samples {
            let at = sample.series.0 as usize;
            if self.known.len() <= at {
                self.known.resize(at + 1, Known::Nothing);
            }
            if matches!(self.known[at], Known::Nothing) {
                self.known[at] = Self::meet(&mut self.own_jobs, store, directory, sample.series);
            }
            match self.known[at] {
                Known::Series(series) => {
                    let time = Timestamp::from_millis(sample.millis);
                    self.samples.push(SeriesSample { series, time, value: sample.value });
                    self.series.push(sample.series);
                }
                _ => n_left_out += 1,
            }
        }
        let mut forgotten = Vec::new();
        let appended = store.append_known(now, &self.samples, &mut forgotten);
        appended.map_err(|error| KeepError::new(error.into()))?;
        if !forgotten.is_empty() {
            let store = Arc::clone(store);
            let back = self.met_again(&store, directory, &forgotten);
            n_left_out += (forgotten.len() - back.len()) as u64;
            store.append(now, &back).map_err(|error| KeepError::new(error.into()))?;
        }
        Ok(n_left_out)
    }

    fn forget(&mut self, series: &[WrittenSeries]) {
        for series in series {
            if let Some(known) = self.known.get_mut(series.0 as usize) {
                *known = Known::Nothing;
            }
        }
    }

    fn finish(&mut self) -> Result<(), KeepError> {
        let last = self.store.take().and_then(Arc::into_inner);
        let closed = last.map_or(Ok(()), HistoryStore::close);
        closed.map_err(|error| KeepError::new(error.into()))
    }
}
