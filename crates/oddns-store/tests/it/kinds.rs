//! Telling files apart.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use oddns_core::{Frame, Recording, Scrape, Timestamp};
use oddns_store::{DataKind, Dataset, sniff, write_frame, write_history, write_scores};

fn gzip(path: &Path, text: &str) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    fs::write(path, encoder.finish().unwrap()).unwrap();
}

#[test]
fn every_kind_is_told_by_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let time = Timestamp::from_millis(0);
    let scrape = Scrape { time, up: true, duration_seconds: 0.1, samples: Vec::new() };
    let recording = Recording { scrapes: vec![scrape], ..Recording::default() };
    write_history(&at("history"), &Dataset::default(), &[recording]).unwrap();
    let mut frame = Frame::new(vec!["a".into()]);
    frame.push(time, &[1.0]).unwrap();
    write_frame(&at("frame.csv"), &frame, None).unwrap();
    write_frame(&at("frame.parquet"), &frame, None).unwrap();
    gzip(&at("metrics.gz"), &"# scrape 1 a\nup 1\n".repeat(100_000));
    gzip(&at("range.json"), r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#);
    for (name, kind) in [
        ("history", DataKind::HistoryFolder),
        ("history/day=1970-01-01/part-0.parquet", DataKind::HistoryParquet),
        ("frame.csv", DataKind::FrameCsv),
        ("frame.parquet", DataKind::FrameParquet),
        ("metrics.gz", DataKind::Exposition),
        ("range.json", DataKind::PrometheusJson),
    ] {
        assert_eq!(sniff(&at(name)).unwrap(), kind, "{name}");
    }
}

#[test]
fn what_cannot_be_used_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("empty"), "").unwrap();
    fs::write(at("cut.gz"), [0x1f, 0x8b, 8]).unwrap();
    fs::write(at("short"), "PAR").unwrap();
    fs::write(at("cut.parquet"), "PAR1").unwrap();
    write_scores(&at("scores.parquet"), &[]).unwrap();
    for (name, message) in [
        ("empty", "is empty"),
        ("cut.gz", "has nothing in it"),
        ("short", "is neither"),
        ("cut.parquet", "is damaged or cut short"),
        ("scores.parquet", "holds scores"),
        ("none", "cannot read"),
        (".", "has no folder `day="),
    ] {
        let error = sniff(&at(name)).unwrap_err().to_string();
        assert!(error.contains(message), "{name}: {error}");
    }
}
