//! A history that is being written.

use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;
use std::{fs, thread};

use oddns_core::{SeriesKey, Timestamp};
use oddns_store::{
    Appended, Dataset, HistoryFilter, HistoryStore, SeriesRef, SeriesSample, StoreError,
    StoreSettings, read_history, read_series,
};

const NOON: i64 = 1_795_348_800_000;

fn settings() -> StoreSettings {
    // Nothing happens by itself: tests say when.
    StoreSettings {
        fsync_interval: Duration::from_secs(3600),
        segment_age: Duration::from_secs(3600),
        ..StoreSettings::default()
    }
}

fn open(root: &Path) -> HistoryStore {
    HistoryStore::open(root, settings()).unwrap()
}

fn series(store: &HistoryStore, instance: &str, name: &str) -> SeriesRef {
    let key = SeriesKey { name: name.into(), labels: r#"{zone="."}"#.parse().unwrap() };
    store.intern(instance, &key).unwrap()
}

fn sample(series: SeriesRef, millis: i64, value: f64) -> SeriesSample {
    SeriesSample { series, time: Timestamp::from_millis(millis), value }
}

fn append(store: &HistoryStore, samples: &[SeriesSample]) -> Appended {
    store.append(Timestamp::from_millis(NOON), samples).unwrap()
}

/// Instance, name, milliseconds and value of every sample, sorted.
fn contents(root: &Path) -> Vec<(String, String, i64, f64)> {
    let history = read_history(root, &HistoryFilter::default()).unwrap();
    assert_eq!(history.duplicate_rows, 0);
    let mut found = Vec::new();
    for recording in &history.recordings {
        for scrape in &recording.scrapes {
            for sample in &scrape.samples {
                let key = recording.series.get(sample.series).unwrap();
                let millis = scrape.time.millis();
                found.push((recording.instance.clone(), key.name.clone(), millis, sample.value));
            }
        }
    }
    found.sort_by(|a, b| a.partial_cmp(b).unwrap());
    found
}

#[test]
fn what_is_appended_becomes_parquet_sorted_and_by_day() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("history");
    let store = open(&root);
    let b = series(&store, "b", "m");
    let a = series(&store, "a", "m");
    assert_eq!(series(&store, "a", "m"), a);
    let midnight = NOON - NOON.rem_euclid(86_400_000);
    let appended = append(
        &store,
        &[sample(b, NOON, 1.0), sample(a, NOON, 0.1), sample(a, midnight - 1, -2.5)],
    );
    assert_eq!((appended.taken, appended.out_of_order), (3, 1));
    store.close().unwrap();
    let expected = [("a", midnight - 1, -2.5), ("a", NOON, 0.1), ("b", NOON, 1.0)]
        .map(|(instance, millis, value)| (instance.to_owned(), "m".to_owned(), millis, value));
    assert_eq!(contents(&root), expected);
    assert!(!root.join("_wal").exists(), "nothing is left of the log");
}

#[test]
fn a_dropped_store_leaves_its_log_for_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let a = series(&store, "a", "m");
    append(&store, &[sample(a, NOON, 1.0)]);
    drop(store);
    let store = open(folder.path());
    let recovery = store.recovery();
    assert!(recovery.was_closed);
    assert_eq!((recovery.segments, recovery.samples), (1, 1));
    assert_eq!(recovery.newest, Some(Timestamp::from_millis(NOON)));
    let a = series(&store, "a", "m");
    append(&store, &[sample(a, NOON + 1, 2.0)]);
    store.close().unwrap();
    assert_eq!(contents(folder.path()).len(), 2);
}

#[test]
fn a_second_writer_is_refused_and_told_who_the_first_is() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let error = HistoryStore::open(folder.path(), settings()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }));
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    drop(first);
    open(folder.path());
}

#[test]
fn of_several_that_begin_a_history_one_does() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("new");
        // Whoever begins it keeps it until the others have tried.
        let tried = Barrier::new(4);
        let outcomes: Vec<_> = thread::scope(|scope| {
            let begin = || {
                let store = HistoryStore::create(&root, &Dataset::default(), settings());
                tried.wait();
                store.map(drop)
            };
            let starts: Vec<_> = (0..4).map(|_| scope.spawn(begin)).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        let refused: Vec<_> = refused.collect();
        assert_eq!(refused.len(), 3);
        for error in refused {
            assert!(matches!(error, StoreError::Locked { .. }), "{error}");
        }
        assert!(Dataset::read(&root).unwrap().is_some());
    }
}

#[test]
fn where_something_is_no_history_is_begun_and_nothing_left() {
    let folder = tempfile::tempdir().unwrap();
    let begin = || HistoryStore::create(folder.path(), &Dataset::default(), settings());
    fs::write(folder.path().join("mine"), "").unwrap();
    assert!(matches!(begin().unwrap_err(), StoreError::Exists { .. }));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    fs::remove_file(folder.path().join("mine")).unwrap();
    let store = begin().unwrap();
    let a = series(&store, "a", "m");
    append(&store, &[sample(a, NOON, 1.0)]);
    drop(store);
    // A log that was interrupted is something, too.
    fs::remove_file(folder.path().join("dataset.json")).unwrap();
    assert!(matches!(begin().unwrap_err(), StoreError::Exists { .. }));
    assert_eq!(contents(folder.path()).len(), 1);
}

#[test]
fn samples_of_a_wrong_time_and_second_ones_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let behind = Some(Duration::from_secs(3600));
    let settings = StoreSettings { max_behind: behind, ..settings() };
    let store = HistoryStore::open(folder.path(), settings).unwrap();
    let a = series(&store, "a", "m");
    let hour = 3_600_000;
    let appended = append(
        &store,
        &[
            sample(a, NOON, 1.0),
            sample(a, NOON, 2.0),
            sample(a, NOON + hour, 3.0),
            sample(a, NOON - hour, 4.0),
            sample(a, NOON - hour - 1, 5.0),
            sample(a, i64::MAX, 6.0),
        ],
    );
    let expected = Appended {
        taken: 2,
        duplicates: 1,
        conflicts: 1,
        out_of_order: 1,
        too_far_ahead: 2,
        too_far_behind: 1,
        unknown_series: 0,
    };
    assert_eq!(appended, expected);
    let statistics = store.statistics();
    assert_eq!((statistics.samples, statistics.too_far_ahead), (2, 2));
    store.close().unwrap();
    let values: Vec<f64> = contents(folder.path()).into_iter().map(|sample| sample.3).collect();
    assert_eq!(values, [4.0, 1.0]);
}

#[test]
fn the_log_is_read_while_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let a = series(&store, "a", "m");
    append(&store, &[sample(a, NOON, 1.0)]);
    assert_eq!(contents(folder.path()).len(), 1);
    store.flush().unwrap();
    append(&store, &[sample(a, NOON + 1, 2.0)]);
    assert_eq!(contents(folder.path()).len(), 2);
    let since = Some(Timestamp::from_millis(NOON + 1));
    let filter = HistoryFilter { since, ..HistoryFilter::default() };
    assert_eq!(read_history(folder.path(), &filter).unwrap().recordings[0].scrapes.len(), 1);
}

#[test]
fn one_series_is_read_from_parquet_and_log() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let names: Vec<String> = (0..40).map(|at| format!("m{at:02}")).collect();
    for step in 0..20 {
        for instance in ["a", "b"] {
            let samples: Vec<SeriesSample> = names
                .iter()
                .map(|name| sample(series(&store, instance, name), NOON + step, step as f64))
                .collect();
            append(&store, &samples);
        }
        if step % 5 == 4 && step < 19 {
            store.flush().unwrap();
        }
    }
    let key = SeriesKey { name: "m07".into(), labels: r#"{zone="."}"#.parse().unwrap() };
    let until = Some(Timestamp::from_millis(NOON + 18));
    let filter = HistoryFilter { until, ..HistoryFilter::default() };
    let found = read_series(folder.path(), "b", &key, &filter).unwrap();
    let expected: Vec<_> = (0..18).map(|t| (Timestamp::from_millis(NOON + t), t as f64)).collect();
    assert_eq!(found, expected);
    assert_eq!(read_series(folder.path(), "c", &key, &filter).unwrap(), []);
}

#[test]
fn small_parts_are_joined() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let a = series(&store, "a", "m");
    for step in 0..20 {
        append(&store, &[sample(a, NOON + step, step as f64)]);
        // Again what is there already: the earlier value stays.
        if step > 0 {
            append(&store, &[sample(a, NOON + step - 1, -1.0)]);
        }
        store.flush().unwrap();
    }
    let day = fs::read_dir(folder.path().join("day=2026-11-22")).unwrap();
    assert!(day.count() < 8);
    store.close().unwrap();
    let key = SeriesKey { name: "m".into(), labels: r#"{zone="."}"#.parse().unwrap() };
    let found = read_series(folder.path(), "a", &key, &HistoryFilter::default()).unwrap();
    let values: Vec<f64> = found.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, (0..20).map(f64::from).collect::<Vec<_>>());
}

#[test]
fn damage_costs_its_record_only_and_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let a = series(&store, "a", "m");
    let segment = folder.path().join("_wal/0000000000.log");
    let mut lengths = Vec::new();
    for step in 0..3 {
        append(&store, &[sample(a, NOON + step, 1.0)]);
        lengths.push(fs::metadata(&segment).unwrap().len());
    }
    drop(store);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[lengths[1] as usize - 1] ^= 1;
    bytes.truncate(bytes.len() - 1);
    fs::write(&segment, &bytes).unwrap();

    let store = open(folder.path());
    let recovery = store.recovery().clone();
    assert!(!recovery.was_closed);
    assert_eq!(recovery.samples, 2);
    let damage = &recovery.damage;
    assert_eq!((damage[0].offset, damage[0].length), (lengths[0], lengths[1] - lengths[0]));
    assert_eq!((damage[0].is_torn_end, &damage[0].path), (false, &segment));
    assert_eq!((damage[0].samples, damage[1].samples), (Some(1), None));
    // The record that says that it was closed, one byte of which is missing.
    assert_eq!((damage[1].offset, damage[1].is_torn_end), (bytes.len() as u64 - 12, true));
    assert_eq!(read_history(folder.path(), &HistoryFilter::default()).unwrap().log_damage.len(), 1);
    store.flush().unwrap();
    assert_eq!(store.statistics().damaged_stretches, 2);
    drop(store);
    assert_eq!(contents(folder.path()).len(), 2);
    assert_eq!(fs::read(segment.with_extension("log.damaged")).unwrap(), bytes, "kept to look at");
}

#[test]
fn old_days_go_by_age_and_by_size() {
    let folder = tempfile::tempdir().unwrap();
    let day = Duration::from_secs(86_400);
    let settings = StoreSettings { retention_time: Some(2 * day), max_ahead: None, ..settings() };
    let store = HistoryStore::open(folder.path(), settings.clone()).unwrap();
    let a = series(&store, "a", "m");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    for days in [10, 5, 1, 0] {
        append(&store, &[sample(a, (now - days * day).as_millis() as i64, 1.0)]);
    }
    store.flush().unwrap();
    assert_eq!(store.statistics().expired_files, 2);
    drop(store);
    assert_eq!(contents(folder.path()).len(), 2);
    let settings = StoreSettings { retention_bytes: Some(1), ..settings };
    let store = HistoryStore::open(folder.path(), settings).unwrap();
    store.flush().unwrap();
    assert_eq!(contents(folder.path()).len(), 1);
}

#[test]
fn damaged_segments_count_and_go_first() {
    let folder = tempfile::tempdir().unwrap();
    let day = Duration::from_secs(86_400);
    let settings = StoreSettings { max_ahead: None, ..settings() };
    let mut millis = NOON;
    let mut keep = |settings: StoreSettings| {
        let store = HistoryStore::open(folder.path(), settings).unwrap();
        let a = series(&store, "a", "m");
        append(&store, &[sample(a, millis, 1.0)]);
        millis += 1;
        store.close().unwrap();
    };
    keep(settings.clone());
    let damaged = folder.path().join("_wal/0000000007.log.damaged");
    fs::create_dir_all(folder.path().join("_wal")).unwrap();
    fs::write(&damaged, [0; 100_000]).unwrap();
    keep(StoreSettings { retention_bytes: Some(200_000), ..settings });
    assert!(damaged.exists(), "all fits");
    keep(StoreSettings { retention_bytes: Some(50_000), ..settings });
    assert!(!damaged.exists());
    assert_eq!(contents(folder.path()).len(), 3, "the data fits without it");

    fs::create_dir_all(folder.path().join("_wal")).unwrap();
    fs::write(&damaged, "x").unwrap();
    let old = std::time::SystemTime::now() - 5 * day;
    fs::File::options().write(true).open(&damaged).unwrap().set_modified(old).unwrap();
    keep(StoreSettings { retention_time: Some(36_500 * day), ..settings });
    assert!(damaged.exists());
    keep(StoreSettings { retention_time: Some(2 * day), ..settings });
    assert!(!damaged.exists());
}

#[test]
fn a_reader_beside_a_busy_writer_sees_every_sample_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let a = series(&store, "a", "m");
    append(&store, &[sample(a, NOON, 0.0)]);
    let n_samples = std::sync::atomic::AtomicI64::new(1);
    thread::scope(|scope| {
        let (store, n_samples) = (&store, &n_samples);
        let writer = scope.spawn(move || {
            for step in 1..60 {
                append(store, &[sample(a, NOON + step, 0.0)]);
                n_samples.store(step + 1, std::sync::atomic::Ordering::SeqCst);
                if step % 3 == 0 {
                    store.flush().unwrap();
                }
            }
        });
        while !writer.is_finished() {
            let before = n_samples.load(std::sync::atomic::Ordering::SeqCst);
            let found = contents(folder.path());
            assert!(found.len() as i64 >= before, "{} of {before}", found.len());
            assert!(found.iter().enumerate().all(|(at, sample)| sample.2 == NOON + at as i64));
        }
    });
}
