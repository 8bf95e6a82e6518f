//! No changed byte of a Parquet file of ours goes unnoticed, and the rest can be kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use oddns_core::Timestamp;
use oddns_store::{
    HistoryFilter, HistoryStore, SeriesSample, StoreError, StoreSettings, read_history_bytes,
    read_series, validate,
};
use proptest::prelude::*;

const N_SERIES: i64 = 30;
const N_STEPS: i64 = 5000;
const N_SAMPLES: u64 = (2 * N_SERIES * N_STEPS) as u64;

/// A history of two servers, in two row groups of several pages.
fn part() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("h");
        let store = open(&root);
        for (instance, at) in ["a", "b"].iter().flat_map(|i| (0..N_SERIES).map(move |at| (i, at))) {
            let series = store.intern_text(instance, &format!("m{at}"), "").unwrap();
            let samples: Vec<_> = (0..N_STEPS)
                .map(|step| SeriesSample {
                    series,
                    time: Timestamp::from_millis(step * 15_000),
                    value: (step * at) as f64,
                })
                .collect();
            store.append(Timestamp::from_millis(0), &samples).unwrap();
        }
        store.finish().unwrap();
        fs::read(file_in(&root)).unwrap()
    })
}

fn open(root: &Path) -> HistoryStore {
    let settings = StoreSettings { max_ahead: None, ..StoreSettings::default() };
    HistoryStore::open(root, settings).unwrap()
}

fn file_in(root: &Path) -> PathBuf {
    root.join("day=1970-01-01/part-0.parquet")
}

/// A data set with that file alone.
fn data_set(bytes: &[u8]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("day=1970-01-01")).unwrap();
    fs::write(file_in(root.path()), bytes).unwrap();
    root
}

/// Where the footer begins.
fn footer(bytes: &[u8]) -> usize {
    let length: [u8; 4] = bytes[bytes.len() - 8..bytes.len() - 4].try_into().unwrap();
    bytes.len() - 8 - u32::from_le_bytes(length) as usize
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_changed_byte_is_noticed_by_readers(
        at in any::<proptest::sample::Index>(),
        is_footer in any::<bool>(),
        change in 1_u8..,
    ) {
        let mut bytes = part().to_vec();
        let from = if is_footer { footer(&bytes) - 12 } else { 0 };
        let at = from + at.index(bytes.len() - from);
        bytes[at] ^= change;
        prop_assert!(
            read_history_bytes("x", bytes, &HistoryFilter::default()).is_err(),
            "byte {at} of {}", part().len()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_page_is_told_with_its_place_and_the_rest_is_kept(
        at in any::<proptest::sample::Index>(),
        change in 1_u8..,
    ) {
        let mut bytes = part().to_vec();
        // Behind the pages are their bounds, which the seal covers.
        let at = 4 + at.index(bytes.len() * 9 / 10);
        bytes[at] ^= change;
        let root = data_set(&bytes);
        let found = validate(root.path()).unwrap();
        prop_assert_eq!(found.mistakes.len(), 1);
        let mistake = &found.mistakes[0];
        prop_assert_eq!(&mistake.path, &file_in(root.path()));
        let numbers: Vec<usize> = mistake
            .reason
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|word| word.parse().ok())
            .collect();
        let &[group, length, offset] = &numbers[..] else { panic!("{}", mistake.reason) };
        prop_assert!(group < 2 && (offset..offset + length).contains(&at), "{}", mistake.reason);

        let out = tempfile::tempdir().unwrap();
        let store = open(out.path());
        let refused = store.import_history(root.path(), &HistoryFilter::default());
        prop_assert!(matches!(refused, Err(StoreError::Page { .. })), "{:?}", refused);
        let kept = store.import_sound(root.path(), &HistoryFilter::default()).unwrap();
        prop_assert_eq!(&kept.damage, &found.mistakes);
        // The dictionaries of a row group, one of about half of the samples, have their own pages,
        // without which nothing of it is left.
        prop_assert!((N_SAMPLES * 2 / 5..N_SAMPLES).contains(&kept.samples), "{}", kept.samples);
        store.finish().unwrap();
        prop_assert_eq!(validate(out.path()).unwrap().mistakes, []);
    }
}

#[test]
fn the_error_names_the_page_and_says_how_to_go_on() {
    let mut bytes = part().to_vec();
    bytes[40] ^= 1;
    let root = data_set(&bytes);
    let key = oddns_core::SeriesKey { name: "m0".into(), labels: "".parse().unwrap() };
    let error = read_series(root.path(), "a", &key, &HistoryFilter::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("row group 0, column `timestamp`, byte 4: "), "{text}");
    assert!(text.contains("`oddns dataset import --skip-damaged`"), "{text}");
}

#[test]
fn a_file_that_lost_its_seal_is_refused() {
    let bytes = part();
    let at = footer(bytes) - 12;
    let unsealed = [&bytes[..at], &bytes[at + 12..]].concat();
    let error = read_history_bytes("x", unsealed, &HistoryFilter::default()).unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("lost its checksum"));
}
