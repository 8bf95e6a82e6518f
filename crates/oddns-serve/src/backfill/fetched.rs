//! Where fetched history goes: to the history that the watch keeps, or as features into memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use oddns::FleetExtractor;
use oddns_collect::HistoryPart;
use oddns_core::{Frame, Recording, SeriesTable};
use oddns_store::{HistoryFilter, HistoryStore, StoreError, describe};

use super::cadence::{Cadence, Misfit};
use super::note::{MOST_SERVERS, Note};
use crate::learning::Succession;

/// Servers whose features are held in memory: two stretches each of 4096 rows, 3.5 MiB.
const MOST_HELD: usize = 16;
/// Values of features of all of them together: 32 MiB.
const MOST_VALUES: usize = 8 << 20;

/// Where it goes.
pub(super) enum Place {
    /// Into the history that is kept in a folder.
    Kept { store: Arc<HistoryStore>, root: PathBuf },
    /// Into memory, by the jobs of the servers.
    Held(BTreeMap<String, FleetExtractor>),
}

/// What was fetched so far.
pub(super) struct Fetched {
    pub(super) place: Place,
    pub(super) note: Note,
    cadence: Cadence,
    pub(super) n_samples: u64,
    /// Servers that were left out because of their interval, the last one with its misfit, …
    pub(super) misfits: BTreeMap<String, Misfit>,
    /// … and parts of servers because there are too many.
    pub(super) n_refused: usize,
    /// What the server has warned of.
    pub(super) warnings: BTreeSet<String>,
}

impl Fetched {
    /// Goes on from `note`.
    pub(super) fn new(place: Place, note: Note, interval: Duration) -> Self {
        let cadence = Cadence::new(interval);
        Self {
            place,
            note,
            cadence,
            n_samples: 0,
            misfits: BTreeMap::new(),
            n_refused: 0,
            warnings: BTreeSet::new(),
        }
    }

    /// Takes the next part; false when `rest`, which is called between servers, said to end: then it
    /// comes again.
    ///
    /// # Errors
    /// When it cannot be kept; then it comes again, too.
    pub(super) fn take(
        &mut self,
        part: HistoryPart,
        succession: &Succession,
        rest: &dyn Fn() -> ControlFlow<()>,
    ) -> Result<bool, StoreError> {
        let mut held: BTreeMap<String, Vec<Recording>> = BTreeMap::new();
        for mut recording in part.recordings {
            if rest().is_break() {
                return Ok(false);
            }
            if !self.admit(&mut recording, succession) {
                continue;
            }
            match &self.place {
                Place::Kept { store, .. } => {
                    let filter = HistoryFilter::default();
                    self.n_samples += store.import_recording(&recording, &filter)?;
                }
                Place::Held(_) => {
                    self.n_samples +=
                        recording.scrapes.iter().map(|s| s.samples.len() as u64).sum::<u64>();
                    let job = succession.job_of(&recording.instance).unwrap_or_default();
                    held.entry(job).or_default().push(recording);
                }
            }
        }
        self.note.advance(part.until);
        match &mut self.place {
            Place::Kept { store, root } => {
                store.sync()?;
                self.note.write(root)?;
            }
            Place::Held(jobs) => hold(jobs, held),
        }
        Ok(true)
    }

    /// Leaves of a recording what is wanted; false when that is nothing.
    fn admit(&mut self, recording: &mut Recording, succession: &Succession) -> bool {
        let instance = recording.instance.clone();
        let most = match &self.place {
            Place::Kept { .. } => MOST_SERVERS,
            // Room is left for those that are watched.
            Place::Held(_) if succession.job_of(&instance).is_some() => MOST_HELD,
            Place::Held(_) => MOST_HELD / 2,
        };
        if let Some(own) = self.note.own_millis.get(&instance) {
            recording.scrapes.retain(|scrape| scrape.time.millis() < *own);
        }
        if let Err(misfit) = self.cadence.fit(recording) {
            self.misfits.insert(instance, misfit);
            return false;
        }
        if recording.scrapes.is_empty() {
            return false;
        }
        let is_admitted = self.note.admit(&instance, most);
        self.n_refused += usize::from(!is_admitted);
        is_admitted
    }

    /// The features of what is held in memory, by the names of servers; dropped from there.
    pub(super) fn frames(&mut self) -> Vec<(String, Frame)> {
        let Place::Held(jobs) = &mut self.place else { return Vec::new() };
        let mut frames = Vec::new();
        for job in std::mem::take(jobs).into_values() {
            let speaks = |series: &SeriesTable| series.has_coredns();
            let names = job.servers().filter(|(_, series)| speaks(series));
            let names: BTreeSet<String> = names.map(|(name, _)| name.to_owned()).collect();
            let servers = job.finish().filter(|(name, _)| names.contains(name));
            frames.extend(servers.map(|(name, rows)| (name, rows.into_frame())));
        }
        frames
    }
}

fn hold(jobs: &mut BTreeMap<String, FleetExtractor>, held: BTreeMap<String, Vec<Recording>>) {
    for (job, recordings) in held {
        jobs.entry(job).or_default().take(recordings);
    }
    let most_values = MOST_VALUES / jobs.len().max(1);
    jobs.values_mut().for_each(|job| job.limit(most_values));
}

/// The first samples of servers that a history has already, before anything was fetched into it.
pub(super) fn own(root: &Path) -> Result<BTreeMap<String, i64>, StoreError> {
    let known = match describe(root, &HistoryFilter::default()) {
        Err(StoreError::Empty { .. }) => return Ok(BTreeMap::new()),
        known => known?,
    };
    let servers = known.instances.into_iter();
    Ok(servers.map(|server| (server.instance, server.first.millis())).collect())
}

#[cfg(test)]
mod tests {
    use oddns_store::StoreSettings;

    use super::*;

    #[test]
    fn a_history_that_has_just_begun_has_no_servers() {
        let root = tempfile::tempdir().unwrap();
        let store = HistoryStore::open(root.path(), StoreSettings::default()).unwrap();
        assert_eq!(own(root.path()).unwrap(), BTreeMap::new());
        drop(store);
        assert!(own(&root.path().join("none")).is_err());
    }
}
