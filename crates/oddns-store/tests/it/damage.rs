//! No bytes make a reader panic: they are data or a clear error.

use std::fs;
use std::sync::OnceLock;

use oddns_core::{Frame, Labels, Recording, Sample, Scrape, SeriesKey, Timestamp};
use oddns_store::{
    Dataset, HistoryFilter, read_frame, read_history_bytes, read_labels, read_scores, sniff,
    write_frame, write_history,
};
use proptest::prelude::*;

/// A small valid history file.
fn history() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let mut recording = Recording { instance: "a".into(), ..Recording::default() };
        let key = |name: &str| SeriesKey { name: name.into(), labels: Labels::default() };
        let ids = ["x", "y"].map(|name| recording.series.intern(&key(name)));
        recording.scrapes = (0..40)
            .map(|t| Scrape {
                time: Timestamp::from_millis(t * 1000),
                up: true,
                duration_seconds: 0.1,
                samples: ids.map(|series| Sample { series, value: t as f64 }).to_vec(),
            })
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("h");
        write_history(&root, &Dataset::default(), &[recording]).unwrap();
        fs::read(root.join("day=1970-01-01/part-0.parquet")).unwrap()
    })
}

/// A small valid frame in Parquet.
fn frame() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let mut frame = Frame::new(vec!["a".into(), "b".into()]);
        for t in 0..30 {
            frame.push(Timestamp::from_millis(t), &[t as f32, f32::NAN]).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.parquet");
        write_frame(&path, &frame, Some(&[true; 30])).unwrap();
        fs::read(path).unwrap()
    })
}

/// Changes to bytes: overwrite some, then cut the end.
fn damage() -> impl Strategy<Value = (Vec<(usize, u8)>, usize)> {
    (
        proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
        prop_oneof![Just(0), any::<usize>()],
    )
}

fn damaged(bytes: &[u8], (changes, cut): &(Vec<(usize, u8)>, usize)) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    // Most changes go to the last quarter, where the footer is: the rest is caught sooner.
    let from = if cut % 2 == 0 { bytes.len() * 3 / 4 } else { 0 };
    for (at, byte) in changes {
        let length = bytes.len() - from;
        bytes[from + at % length] = *byte;
    }
    bytes.truncate(bytes.len() - cut % bytes.len());
    bytes
}

fn read_every_way(bytes: &[u8]) {
    let _ = read_history_bytes("x", bytes.to_vec(), &HistoryFilter::default());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    fs::write(&path, bytes).unwrap();
    let _ = sniff(&path);
    let _ = read_frame(&path);
    let _ = read_scores(&path);
    let _ = read_labels(&path);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read_every_way(&bytes);
        read_every_way(&[b"PAR1".as_slice(), &bytes, b"PAR1"].concat());
        read_every_way(&[b"\x1f\x8b".as_slice(), &bytes].concat());
        read_every_way(&[b"timestamp,instance,score,alarm,top_features\n".as_slice(), &bytes].concat());
    }

    #[test]
    fn any_text(text in "(timestamp,a,Label|kind,start,end,instance,anomalous)\n([0-9a-z.,\"\n-]{0,60})") {
        read_every_way(text.as_bytes());
    }

    #[test]
    fn damaged_history(damage in damage()) {
        read_every_way(&damaged(history(), &damage));
    }

    #[test]
    fn damaged_frame(damage in damage()) {
        read_every_way(&damaged(frame(), &damage));
    }
}

#[test]
fn every_shortened_history_is_an_error() {
    let bytes = history();
    for length in (0..bytes.len()).step_by(7) {
        let read = read_history_bytes("x", bytes[..length].to_vec(), &HistoryFilter::default());
        assert!(read.is_err(), "{length} of {}", bytes.len());
    }
}
