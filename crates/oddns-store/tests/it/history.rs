//! Metric history on disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use oddns_core::{Recording, Sample, Scrape, SeriesId, SeriesKey, SeriesTable, Timestamp};
use oddns_store::{
    Dataset, HistoryFilter, HistoryStore, ScrapeAppender, StoreError, StoreSettings, read_history,
    read_history_bytes, write_history,
};
use proptest::prelude::*;

const DAY: i64 = 86_400_000;

/// A sample as series text and bits, so that NaN can be compared.
type Samples = BTreeMap<String, u64>;

/// What is in a recording, in a form that does not depend on series numbers.
fn contents(recording: &Recording) -> Vec<(i64, bool, u64, Samples)> {
    let samples = |scrape: &Scrape| {
        let pairs = scrape.samples.iter().map(|sample| {
            let key = recording.series.get(sample.series).unwrap();
            (key.to_string(), sample.value.to_bits())
        });
        pairs.collect()
    };
    let scrapes = recording.scrapes.iter();
    scrapes.map(|s| (s.time.millis(), s.up, s.duration_seconds.to_bits(), samples(s))).collect()
}

fn table() -> SeriesTable {
    let mut table = SeriesTable::default();
    for (name, labels) in [
        ("b_total", r#"{zone="."}"#),
        ("b_total", r#"{zone="quote \" back \\ line \n,}"}"#),
        ("a", ""),
        ("up", r#"{other="x"}"#),
        ("ü", r#"{le="+Inf"}"#),
    ] {
        table.intern(&SeriesKey { name: name.into(), labels: labels.parse().unwrap() });
    }
    table
}

fn recording(instance: &str, scrapes: Vec<Scrape>) -> Recording {
    Recording { instance: instance.into(), series: table(), scrapes }
}

fn scrape(millis: i64, samples: &[(u32, f64)]) -> Scrape {
    let sample = |&(series, value)| Sample { series: SeriesId(series), value };
    Scrape {
        time: Timestamp::from_millis(millis),
        up: true,
        duration_seconds: 0.5,
        samples: samples.iter().map(sample).collect(),
    }
}

fn open(root: &Path) -> HistoryStore {
    let settings = StoreSettings { max_ahead: None, ..StoreSettings::default() };
    HistoryStore::open(root, settings).unwrap()
}

fn write(recordings: &[Recording]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("history");
    write_history(&root, &Dataset::default(), recordings).unwrap();
    (folder, root)
}

fn all(root: &Path) -> Vec<Recording> {
    let history = read_history(root, &HistoryFilter::default()).unwrap();
    assert_eq!((history.skipped_rows, history.duplicate_rows), (0, 0));
    history.recordings
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        Just(f64::from_bits(0x7ff0_0000_0000_0002)), // Prometheus's mark of a stale series
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(-0.0),
    ]
}

fn any_scrapes() -> impl Strategy<Value = Vec<Scrape>> {
    let samples = proptest::collection::btree_map(0_u32..5, any_value(), 0..5);
    let scrape = (any::<bool>(), proptest::option::of(0.0..10.0), samples);
    let times = -3 * DAY..3 * DAY;
    proptest::collection::btree_map(times, scrape, 0..12).prop_map(|scrapes| {
        let scrapes = scrapes.into_iter().map(|(millis, (up, duration, samples))| Scrape {
            time: Timestamp::from_millis(millis),
            up,
            duration_seconds: duration.unwrap_or(f64::NAN),
            samples: samples
                .into_iter()
                .rev()
                .map(|(series, value)| Sample { series: SeriesId(series), value })
                .collect(),
        });
        scrapes.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn saved_is_loaded(a in any_scrapes(), b in any_scrapes(), flush_every in 1_usize..9) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("history");
        let store = open(&root);
        let given = [recording("a", a), recording("b", b)];
        for recording in &given {
            let mut appender = ScrapeAppender::new(&recording.instance);
            for (at, scrape) in recording.scrapes.iter().enumerate() {
                appender.append(&store, &recording.series, scrape).unwrap();
                if at % flush_every == 0 {
                    store.flush().unwrap();
                }
            }
        }
        store.finish().unwrap();
        let wanted: Vec<_> = given.iter().filter(|r| !r.scrapes.is_empty()).collect();
        if !wanted.is_empty() {
            let found = all(&root);
            prop_assert_eq!(found.len(), wanted.len());
            for (found, wanted) in found.iter().zip(wanted) {
                prop_assert_eq!(&found.instance, &wanted.instance);
                prop_assert_eq!(contents(found), contents(wanted));
            }
        }
    }
}

#[test]
fn a_filter_gives_what_cutting_afterwards_gives() {
    let scrapes = || (0..50).map(|t| scrape(t * DAY / 16, &[(0, t as f64), (2, 1.0)])).collect();
    let (_folder, root) = write(&[recording("a", scrapes()), recording("b", scrapes())]);
    let whole = all(&root);
    for (since, until) in
        [(None, None), (Some(DAY), None), (Some(5), Some(2 * DAY)), (None, Some(0))]
    {
        let filter = HistoryFilter {
            since: since.map(Timestamp::from_millis),
            until: until.map(Timestamp::from_millis),
            instance: Some("b".into()),
        };
        let mut wanted = contents(&whole[1]);
        wanted.retain(|s| since.is_none_or(|t| s.0 >= t) && until.is_none_or(|t| s.0 < t));
        let found = read_history(&root, &filter).unwrap().recordings;
        let found: Vec<_> = found.iter().flat_map(contents).collect();
        assert_eq!(found, wanted, "{since:?} {until:?}");
    }
}

#[test]
fn files_are_laid_out_as_documented() {
    let (_folder, root) = write(&[recording("a", vec![scrape(-1, &[]), scrape(0, &[(0, 1.0)])])]);
    for part in ["day=1969-12-31/part-0.parquet", "day=1970-01-01/part-1.parquet", "dataset.json"] {
        assert!(root.join(part).is_file(), "{part}");
    }
    assert_eq!(fs::read_dir(&root).unwrap().count(), 3);
    let dataset = Dataset::read(&root).unwrap().unwrap();
    assert_eq!(dataset.instances, ["a"]);
    assert_eq!(dataset.start, Some(Timestamp::from_millis(-1)));
    assert_eq!(dataset.end, Some(Timestamp::from_millis(0)));
}

#[test]
fn one_file_reads_like_a_folder_and_from_memory() {
    let (_folder, root) = write(&[recording("a", vec![scrape(7, &[(1, 2.5)])])]);
    let part = root.join("day=1970-01-01/part-0.parquet");
    let bytes = fs::read(&part).unwrap();
    let from_memory = read_history_bytes("demo", bytes, &HistoryFilter::default()).unwrap();
    assert_eq!(contents(&all(&part)[0]), contents(&all(&root)[0]));
    assert_eq!(contents(&from_memory.recordings[0]), contents(&all(&root)[0]));
}

#[test]
fn an_existing_data_set_is_not_overwritten_but_can_be_continued() {
    let (_folder, root) = write(&[recording("a", vec![scrape(7, &[(1, 2.5)])])]);
    let dataset = Dataset::default();
    assert!(matches!(write_history(&root, &dataset, &[]), Err(StoreError::Exists { .. })));
    let store = open(&root);
    ScrapeAppender::new("a").append(&store, &table(), &scrape(8, &[(1, 3.5)])).unwrap();
    store.close().unwrap();
    assert!(root.join("day=1970-01-01/part-1.parquet").is_file());
    assert_eq!(all(&root)[0].scrapes.len(), 2);
}

#[test]
fn the_first_of_two_values_of_one_series_stays() {
    let (_folder, root) = write(&[recording("a", vec![scrape(7, &[(1, 1.0), (0, 5.0)])])]);
    let store = open(&root);
    ScrapeAppender::new("a").append(&store, &table(), &scrape(7, &[(1, 2.0)])).unwrap();
    store.close().unwrap();
    let history = read_history(&root, &HistoryFilter::default()).unwrap();
    let values: Vec<f64> =
        history.recordings[0].scrapes[0].samples.iter().map(|s| s.value).collect();
    assert_eq!((values, history.duplicate_rows), (vec![5.0, 1.0], 1));
}

#[test]
fn labels_and_description_come_with_the_folder() {
    let (_folder, root) = write(&[recording("a", vec![scrape(7, &[])])]);
    let text = "kind,start,end,instance,anomalous\nrestart,1,2,*,1\n";
    fs::write(root.join("labels.csv"), text).unwrap();
    let history = read_history(&root, &HistoryFilter::default()).unwrap();
    assert_eq!(history.labels.unwrap()[0].kind, "restart");
    assert!(history.dataset.is_some());
}

#[test]
fn what_is_no_history_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let read = |path: &Path| read_history(path, &HistoryFilter::default()).unwrap_err().to_string();
    assert!(read(folder.path()).contains("has no folder `day=YYYY-MM-DD`"));
    assert!(read(&folder.path().join("none")).starts_with("cannot read `"));
    fs::create_dir(folder.path().join("day=2026-11-22")).unwrap();
    assert!(read(folder.path()).contains("is empty: expected `day=YYYY-MM-DD/*.parquet`"));
    let part = folder.path().join("day=2026-11-22/part-0.parquet");
    fs::write(&part, "").unwrap();
    assert!(read(folder.path()).contains("is empty: expected a Parquet file"));
    fs::write(&part, "<html>").unwrap();
    assert!(read(folder.path()).contains("is no Parquet file"));
    let mut frame = oddns_core::Frame::new(vec!["value".into()]);
    frame.push(Timestamp::from_millis(0), &[1.0]).unwrap();
    oddns_store::write_frame(&part, &frame, None).unwrap();
    assert!(read(&part).contains("column `instance`: expected string, found no such column"));
}
