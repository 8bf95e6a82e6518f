//! A history that is being written.

use std::fs;
use std::path::Path;
use std::time::Duration;

use oddns_core::{SeriesKey, Timestamp};
use oddns_store::{
    Appended, HistoryFilter, HistoryStore, SeriesRef, SeriesSample, StoreError, StoreSettings,
    read_history,
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
    assert_eq!(fs::read_dir(root.join("_wal")).unwrap().count(), 1, "the lock is left");
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
