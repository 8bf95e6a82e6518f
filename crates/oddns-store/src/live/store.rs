//! The store as its users see it, and the two threads that do its work.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fs, io, thread};

use oddns_core::{SeriesKey, Timestamp};

use super::head::{Begin, Ended, Head, error_text};
use super::lock::WriterLock;
use super::{Recovery, StoreSettings, StoreStatistics};
use crate::commit::Commit;
use crate::keeper::{Done, Keeper};
use crate::log::{FOLDER, SegmentWriter, number_of, segments};
use crate::{Dataset, StoreError};

/// How often the log is looked at for segments to be made into Parquet.
const COMPACTION_CHECK: Duration = Duration::from_secs(1);
/// After a failure, such as on a full disk, the next try comes after this long.
const COMPACTION_RETRY: Duration = Duration::from_secs(15);
/// So much of the log becomes Parquet at once.
const COMPACTION_BYTES: u64 = 512 << 20;

/// A series of a [`HistoryStore`]; valid for the store that gave it, until the store is dropped or
/// forgets the series, see [`StoreSettings::forget_after`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesRef {
    pub(super) number: u32,
    pub(super) generation: u32,
}

/// One value of one series at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeriesSample {
    /// From [`HistoryStore::intern`].
    pub series: SeriesRef,
    /// When.
    pub time: Timestamp,
    /// Any f64, NaN and infinities included; kept to the bit.
    pub value: f64,
}

/// What became of the samples of one append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Taken; out-of-order ones are among them.
    pub taken: u64,
    /// Left out: the newest sample of the series has the same time.
    pub duplicates: u64,
    /// Of these, how many had another value.
    pub conflicts: u64,
    /// Taken although older than the newest sample of their series.
    pub out_of_order: u64,
    /// Refused, see [`StoreSettings::max_ahead`].
    pub too_far_ahead: u64,
    /// Refused, see [`StoreSettings::max_behind`].
    pub too_far_behind: u64,
    /// Left out: the reference is of another store, or the series has been forgotten.
    pub unknown_series: u64,
}

/// A metric history that is being written, by any number of threads.
///
/// What is appended goes to a write-ahead log, is brought to disk every
/// [`StoreSettings::fsync_interval`], and becomes Parquet when a segment of the log has ended.
/// Readers see it all the time, see [`crate::read_history`]. One process at a time can have a
/// history open for writing. Dropped, the store syncs and leaves its log for the next one;
/// [`HistoryStore::close`] makes Parquet of it.
pub struct HistoryStore {
    shared: Arc<Shared>,
    recovery: Recovery,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    settings: StoreSettings,
    head: Mutex<Head>,
    /// Held while files are made, merged or removed.
    keeper: Mutex<Keeper>,
    is_stopping: Mutex<bool>,
    stopping: Condvar,
    lock: WriterLock,
}

impl HistoryStore {
    /// Opens the history in the folder `root`, which is made when it is not there. What a process
    /// before has left in the log is kept, see [`HistoryStore::recovery`].
    ///
    /// Fails with [`StoreError::Locked`] when another process is writing it.
    pub fn open(root: &Path, settings: StoreSettings) -> Result<Self, StoreError> {
        Self::open_with(root, settings, Box::new(SegmentWriter::create))
    }

    /// Begins a history that `dataset` describes in the folder `root`, which must not exist or be
    /// empty. Times and instances of the description are kept true later on.
    ///
    /// Fails with [`StoreError::Locked`] when another process is writing it, also when that one has
    /// only just begun it, and else with [`StoreError::Exists`] when something is there.
    pub fn create(
        root: &Path,
        dataset: &Dataset,
        settings: StoreSettings,
    ) -> Result<Self, StoreError> {
        StoreError::refuse_dash(root)?;
        let folder = root.join(FOLDER);
        // Where there is a log by now, the lock says whose it is.
        if let Err(error) = refuse_existing(root, &[&folder])
            && !folder.is_dir()
        {
            return Err(error);
        }
        // Before anything is written: of several that begin the same history, one does.
        let lock = WriterLock::take(root, &folder)?;
        let begun = refuse_existing(root, &[&folder]).and_then(|()| {
            let log = segments(&folder)?;
            if !log.is_empty() {
                return Err(StoreError::Exists { path: root.to_owned() });
            }
            dataset.write(root)
        });
        if let Err(error) = begun {
            lock.remove_empty_folder();
            return Err(error);
        }
        Self::open_locked(root, settings, lock, Box::new(SegmentWriter::create))
    }

    /// Whether the history `root` has a log that [`HistoryStore::open`] would go on with: it is
    /// being written, or the one who wrote it was interrupted.
    pub fn has_log(root: &Path) -> bool {
        root.join(FOLDER).is_dir()
    }

    pub(super) fn open_with(
        root: &Path,
        settings: StoreSettings,
        begin: Begin,
    ) -> Result<Self, StoreError> {
        StoreError::refuse_dash(root)?;
        let lock = WriterLock::take(root, &root.join(FOLDER))?;
        Self::open_locked(root, settings, lock, begin)
    }

    fn open_locked(
        root: &Path,
        settings: StoreSettings,
        lock: WriterLock,
        begin: Begin,
    ) -> Result<Self, StoreError> {
        let folder = root.join(FOLDER);
        Commit::resume(root)?;
        let keeper = Keeper::open(root)?;
        let recovery = Recovery::read(&folder)?;
        let paths = segments(&folder)?;
        let next_number = paths.last().and_then(|path| number_of(path)).map_or(0, |last| last + 1);
        let ended = paths.into_iter().map(ended).collect::<Result<_, _>>()?;
        let head = Head::new(&folder, ended, next_number, begin);
        let shared = Arc::new(Shared {
            settings,
            head: Mutex::new(head),
            keeper: Mutex::new(keeper),
            is_stopping: Mutex::new(false),
            stopping: Condvar::new(),
            lock,
        });
        let threads = start(&shared).map_err(StoreError::write(root))?;
        Ok(Self { shared, recovery, threads })
    }

    /// What was found in the log when the store was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The reference of the series `key` of `instance`. Asking again is cheap; keeping it is
    /// cheaper. `None` when there are more series than [`StoreSettings::max_series`].
    pub fn intern(&self, instance: &str, key: &SeriesKey) -> Option<SeriesRef> {
        self.intern_text(instance, &key.name, &key.labels.to_string())
    }

    /// Like [`HistoryStore::intern`], with the labels in their canonical form `{a="b",c="d"}`:
    /// sorted by name, without `instance`, empty when there are none. The form is not checked.
    pub fn intern_text(&self, instance: &str, name: &str, labels: &str) -> Option<SeriesRef> {
        let limit = self.shared.settings.max_series;
        self.shared.head().intern([instance, name, labels], limit)
    }

    /// Takes samples in any order. `now` is the clock, by which samples from a wrong time are told.
    ///
    /// On success they are in the log and survive the end of this process; after the next sync
    /// they survive a power cut. On an error, such as a full disk, none of them is taken, and the
    /// next append tries anew.
    pub fn append(&self, now: Timestamp, samples: &[SeriesSample]) -> Result<Appended, StoreError> {
        self.append_known(now, samples, &mut Vec::new())
    }

    /// Like [`HistoryStore::append`], for those who keep references for long. The places in
    /// `samples` of those that were left out because their series has been forgotten are added to
    /// `forgotten`: they can be taken after another [`HistoryStore::intern`].
    pub fn append_known(
        &self,
        now: Timestamp,
        samples: &[SeriesSample],
        forgotten: &mut Vec<usize>,
    ) -> Result<Appended, StoreError> {
        let settings = &self.shared.settings;
        let appended = self.shared.head().append(now, samples, settings, forgotten)?;
        if self.shared.settings.fsync_interval.is_zero() {
            self.sync()?;
        }
        Ok(appended)
    }

    /// Waits until all that has been appended is on disk for good.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.shared.sync()
    }

    /// Makes Parquet of all that has been appended, now.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.shared.head().end_segment();
        while self.shared.compact()? {}
        Ok(())
    }

    /// How things stand.
    pub fn statistics(&self) -> StoreStatistics {
        self.shared.head().statistics.clone()
    }

    /// Makes Parquet of all that has been appended, and ends. On an error everything is in the log,
    /// and becomes Parquet when the history is opened again.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.stop();
        self.flush()
    }

    /// Like [`HistoryStore::close`], and joins the files of each day: for a data set that is
    /// complete.
    /// Says what became of everything.
    pub fn finish(mut self) -> Result<StoreStatistics, StoreError> {
        self.stop();
        self.flush()?;
        let joined = lock(&self.shared.keeper).join_all();
        self.shared.note(joined, 0)?;
        Ok(self.statistics())
    }

    fn stop(&mut self) {
        *lock(&self.shared.is_stopping) = true;
        self.shared.stopping.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing to say; what it did not do is done next time.
            let _ = thread.join();
        }
    }
}

impl Drop for HistoryStore {
    /// Says in the log that it ends in order, and syncs. A failure shows when it is opened again.
    fn drop(&mut self) {
        self.stop();
        let mut head = self.shared.head();
        head.remove_empty_segment();
        let _ = head.write_closed();
        drop(head);
        let _ = self.shared.sync();
        self.shared.lock.remove_empty_folder();
    }
}

impl std::fmt::Debug for HistoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HistoryStore").field("statistics", &self.statistics()).finish()
    }
}

impl Shared {
    fn head(&self) -> MutexGuard<'_, Head> {
        lock(&self.head)
    }

    fn sync(&self) -> Result<(), StoreError> {
        let files = self.head().take_unsynced();
        if files.is_empty() {
            return Ok(());
        }
        let synced = files.iter().try_for_each(|file| file.sync());
        let mut head = self.head();
        if let Err(source) = synced {
            // After a failed sync nobody knows what of the file is on disk: go on with another one.
            head.statistics.failed_syncs += 1;
            head.end_segment();
            return Err(StoreError::Write { path: head.folder().to_owned(), source });
        }
        head.statistics.syncs += 1;
        Ok(())
    }

    /// Makes Parquet of segments that have ended, and sees to what is there. Says whether there may
    /// be more to do.
    fn compact(&self) -> Result<bool, StoreError> {
        let mut keeper = lock(&self.keeper);
        let ended = self.head().ended(COMPACTION_BYTES);
        let segments: Vec<PathBuf> = ended.iter().map(|ended| ended.path.clone()).collect();
        self.note(keeper.compact(&segments), ended.len())?;
        self.note(keeper.tidy(&self.settings), 0)?;
        Ok(!ended.is_empty())
    }

    /// Counts what has been done; `n_segments` are gone when it worked.
    fn note(&self, done: Result<Done, StoreError>, n_segments: usize) -> Result<(), StoreError> {
        let mut head = self.head();
        let statistics = &mut head.statistics;
        statistics.compaction_error = done.as_ref().err().map(error_text);
        statistics.failed_compactions += u64::from(done.is_err());
        let done = done?;
        statistics.parts_written += done.parts_written;
        statistics.damaged_stretches += done.damaged_stretches;
        statistics.expired_files += done.expired_files;
        statistics.repeated += done.surplus.duplicates;
        statistics.conflicts += done.surplus.conflicts;
        head.forget_ended(n_segments);
        Ok(())
    }

    /// Waits; true when it is time to end.
    fn is_stopped_within(&self, time: Duration) -> bool {
        let is_stopping = lock(&self.is_stopping);
        if *is_stopping {
            return true;
        }
        let waited = self.stopping.wait_timeout(is_stopping, time);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn keep_synced(&self) {
        let interval = self.settings.fsync_interval.max(Duration::from_millis(10));
        while !self.is_stopped_within(interval) {
            // Counted, and tried again with what comes next.
            let _ = self.sync();
        }
    }

    fn keep_compacted(&self) {
        let mut wait = COMPACTION_CHECK;
        while !self.is_stopped_within(wait) {
            let mut head = self.head();
            if head.is_due(&self.settings) {
                head.end_segment();
            }
            drop(head);
            wait = match self.compact() {
                Ok(true) => Duration::ZERO,
                Ok(false) => COMPACTION_CHECK,
                Err(_) => COMPACTION_RETRY,
            };
        }
    }
}

/// A lock that a panicked thread held is still good: every change under it is small and whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fails when in `root` is something `but` these.
fn refuse_existing(root: &Path, but: &[&Path]) -> Result<(), StoreError> {
    let is_empty = match fs::read_dir(root) {
        Ok(entries) => entries.flatten().all(|entry| but.contains(&entry.path().as_path())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory && root.exists() => false,
        Err(error) => return Err(StoreError::write(root)(error)),
    };
    if is_empty { Ok(()) } else { Err(StoreError::Exists { path: root.to_owned() }) }
}

fn ended(path: PathBuf) -> Result<Ended, StoreError> {
    let about = fs::metadata(&path).map_err(StoreError::read(&path))?;
    Ok(Ended { path, n_bytes: about.len() })
}

fn start(shared: &Arc<Shared>) -> io::Result<Vec<JoinHandle<()>>> {
    let syncing = shared.clone();
    let sync = thread::Builder::new().name("oddns-sync".into());
    let sync = sync.spawn(move || syncing.keep_synced())?;
    let compacting = shared.clone();
    let compact = thread::Builder::new().name("oddns-compact".into());
    let compact = compact.spawn(move || compacting.keep_compacted())?;
    Ok(vec![sync, compact])
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::log::SegmentFile;
    use crate::{HistoryFilter, ScrapeAppender, read_history};
    use oddns_core::{Labels, Sample, Scrape, SeriesTable};

    /// A file on a disk that has room for so many bytes.
    struct Disk {
        file: fs::File,
        room: Arc<AtomicU64>,
    }

    impl SegmentFile for Disk {
        fn append(&self, bytes: &[u8]) -> io::Result<()> {
            let room = self.room.load(Ordering::Relaxed) as usize;
            self.file.append(&bytes[..room.min(bytes.len())])?;
            if room < bytes.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room.fetch_sub(bytes.len() as u64, Ordering::Relaxed);
            Ok(())
        }

        fn truncate(&self, length: u64) -> io::Result<()> {
            self.file.truncate(length)
        }

        fn sync(&self) -> io::Result<()> {
            self.file.sync()
        }
    }

    fn small_disk(room: &Arc<AtomicU64>) -> Begin {
        let room = room.clone();
        Box::new(move |folder, number| {
            let path = crate::log::segment_path(folder, number);
            let file = fs::File::options().append(true).create_new(true).open(&path).unwrap();
            let disk = Arc::new(Disk { file, room: room.clone() });
            SegmentWriter::begin(path.clone(), disk).map_err(StoreError::write(&path))
        })
    }

    fn batch(store: &HistoryStore, millis: i64) -> Vec<SeriesSample> {
        let time = Timestamp::from_millis(millis);
        let name = |at: i32| format!("m{at}");
        let series = (0..50).map(|at| store.intern_text("a", &name(at), "").unwrap());
        series.map(|series| SeriesSample { series, time, value: 0.1 }).collect()
    }

    #[test]
    fn a_full_disk_is_told_and_when_there_is_room_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let room = Arc::new(AtomicU64::new(2000));
        let begin = small_disk(&room);
        let settings = StoreSettings {
            fsync_interval: Duration::from_secs(3600),
            max_ahead: None,
            ..StoreSettings::default()
        };
        let store = HistoryStore::open_with(folder.path(), settings, begin).unwrap();
        let now = Timestamp::from_millis(0);
        let mut taken = 0;
        let error = loop {
            match store.append(now, &batch(&store, 1000 * taken)) {
                Ok(appended) => taken += i64::from(appended.taken == 50),
                Err(error) => break error,
            }
        };
        assert!(taken > 0);
        assert!(error.to_string().starts_with("cannot write `"), "{error}");
        let refusing = store.statistics().refusing.unwrap();
        assert!(refusing.contains("storage") || refusing.contains("space"), "{refusing}");
        room.store(100_000, Ordering::Relaxed);
        let again = store.append(now, &batch(&store, 1000 * taken)).unwrap();
        assert_eq!((again.taken, again.duplicates), (50, 0), "nothing of it had been taken");
        assert_eq!(store.statistics().refusing, None);
        assert_eq!(store.statistics().unwritten, 50);
        store.close().unwrap();
        let history = read_history(folder.path(), &HistoryFilter::default()).unwrap();
        assert_eq!(history.recordings[0].scrapes.len() as i64, taken + 1);
        assert_eq!(history.duplicate_rows, 0);
    }

    #[test]
    fn a_log_that_is_too_long_takes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let settings = StoreSettings { max_log_bytes: 10, ..StoreSettings::default() };
        let store = HistoryStore::open(folder.path(), settings).unwrap();
        let now = Timestamp::from_millis(0);
        store.append(now, &batch(&store, 0)).unwrap();
        let error = store.append(now, &batch(&store, 1)).unwrap_err();
        assert!(matches!(error, StoreError::LogFull { .. }));
        store.flush().unwrap();
        store.append(now, &batch(&store, 1)).unwrap();
    }

    #[test]
    fn series_that_are_gone_are_forgotten_and_may_come_back() {
        const GONE: usize = 100_000;
        let folder = tempfile::tempdir().unwrap();
        let settings = StoreSettings { max_ahead: None, ..StoreSettings::default() };
        let store = HistoryStore::open(folder.path(), settings).unwrap();
        let sample = |series, millis| SeriesSample {
            series,
            time: Timestamp::from_millis(millis),
            value: 1.0,
        };
        let kept = store.intern_text("a", "kept", "").unwrap();
        let gone: Vec<SeriesRef> = (0..GONE)
            .map(|at| store.intern_text("a", &format!("gone_{at}"), "").unwrap())
            .collect();
        let samples: Vec<SeriesSample> = gone.iter().map(|series| sample(*series, 0)).collect();
        let now = Timestamp::from_millis(0);
        store.append(now, &samples).unwrap();
        store.flush().unwrap();
        let long = Duration::from_secs(2 * 3600);
        store.shared.head().began -= long;
        // Those with a sample now stay, however long they were away.
        store.append(now, &[sample(kept, 0), sample(gone[7], 1)]).unwrap();
        let statistics = store.statistics();
        assert_eq!((statistics.series, statistics.forgotten_series), (2, GONE as u64 - 1));

        let mut forgotten = Vec::new();
        let both = [sample(kept, 2), sample(gone[3], 2)];
        let appended = store.append_known(now, &both, &mut forgotten).unwrap();
        assert_eq!((appended.taken, appended.unknown_series, &forgotten[..]), (1, 1, &[1][..]));
        let again = store.intern_text("a", "gone_3", "").unwrap();
        assert_eq!(store.append(now, &[sample(again, 2)]).unwrap().taken, 1);
        store.close().unwrap();
        let history = read_history(folder.path(), &HistoryFilter::default()).unwrap();
        let scrapes = &history.recordings[0].scrapes;
        let counts: Vec<usize> = scrapes.iter().map(|scrape| scrape.samples.len()).collect();
        assert_eq!(counts, [GONE + 1, 1, 2]);
        let names = &history.recordings[0].series;
        let name = |sample: &Sample| names.get(sample.series).unwrap().name.clone();
        let mut last: Vec<String> = scrapes[2].samples.iter().map(name).collect();
        last.sort();
        assert_eq!(last, ["gone_3", "kept"], "a number given out again is another series");
    }

    #[test]
    fn a_server_that_comes_back_after_long_is_taken_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let settings = StoreSettings { max_ahead: None, ..StoreSettings::default() };
        let store = HistoryStore::open(folder.path(), settings).unwrap();
        let mut table = SeriesTable::default();
        let key = |at: i32| SeriesKey { name: format!("m{at}"), labels: Labels::default() };
        let ids: Vec<_> = (0..9).map(|at| table.intern(&key(at))).collect();
        let scrape = |millis: i64| Scrape {
            time: Timestamp::from_millis(millis),
            up: true,
            duration_seconds: 0.1,
            samples: ids.iter().map(|id| Sample { series: *id, value: 1.0 }).collect(),
        };
        let mut appender = ScrapeAppender::new("b");
        appender.append(&store, &table, &scrape(0)).unwrap();
        store.flush().unwrap();
        let long = Duration::from_secs(2 * 3600);
        store.shared.head().began -= long;
        store.append(Timestamp::from_millis(0), &batch(&store, 0)).unwrap();
        assert_eq!(store.statistics().forgotten_series, 11);
        let appended = appender.append(&store, &table, &scrape(1)).unwrap();
        assert_eq!((appended.taken, appended.unknown_series), (11, 0));
        assert_eq!(appender.append(&store, &table, &scrape(2)).unwrap().taken, 11);
    }

    #[test]
    fn too_many_series_are_refused_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let settings = StoreSettings { max_series: 1, ..StoreSettings::default() };
        let store = HistoryStore::open(folder.path(), settings).unwrap();
        assert!(store.intern_text("a", "m", "").is_some());
        assert_eq!(store.intern_text("a", "n", ""), None);
        assert_eq!(store.statistics().refused_series, 1);
    }
}
