//! Real scrapes of three generations of CoreDNS.

use std::fs;
use std::io::Read;

use flate2::read::GzDecoder;
use oddns_collect::{Limits, Parser, ReplayError, ReplayOptions, replay_file};
use oddns_core::SeriesTable;
use proptest::prelude::*;

use crate::peer::data;

const CAPTURES: &[(&str, usize, &str)] = &[
    ("coredns-1.15.0.prom.gz", 440, "coredns_dns_requests_total"),
    ("coredns-1.10.1.prom.gz", 171, "coredns_dns_requests_total"),
    ("coredns-1.6.9.prom.gz", 252, "coredns_dns_request_count_total"),
];

fn text(name: &str) -> Vec<u8> {
    let mut text = Vec::new();
    GzDecoder::new(fs::File::open(data(name)).unwrap()).read_to_end(&mut text).unwrap();
    text
}

#[test]
fn every_line_of_a_capture_is_a_sample() {
    for (name, n_series, family) in CAPTURES {
        let recordings = replay_file(&data(name), &ReplayOptions::default()).unwrap();
        let [recording] = &recordings[..] else { panic!("{name} has one instance") };
        assert_eq!(recording.scrapes.len(), 2);
        for scrape in &recording.scrapes {
            assert!(scrape.up);
            assert_eq!(scrape.samples.len(), *n_series, "{name}");
            assert!(scrape.has_coredns(&recording.series));
        }
        assert_eq!(recording.series.len(), *n_series, "{name}: both scrapes have the same series");
        let step = recording.scrapes[1].time.seconds_since(recording.scrapes[0].time);
        assert!((step - 1.0).abs() < 0.01);
        let names = recording.scrapes[0]
            .samples
            .iter()
            .map(|sample| recording.series.get(sample.series).unwrap().name.as_str());
        assert!(names.into_iter().any(|name| name == *family), "{name}");
    }
}

#[test]
fn a_repeated_capture_is_recognised_line_by_line() {
    for (name, n_series, _) in CAPTURES {
        let text = text(name);
        let mut parser = Parser::new(Limits::default());
        let (mut table, mut out) = (SeriesTable::default(), Vec::new());
        parser.parse(&text, &mut table, &mut out).unwrap();
        let again = parser.parse(&text, &mut table, &mut out).unwrap();
        assert_eq!((again.samples, again.recognised), (*n_series, 2 * n_series), "{name}");
    }
}

#[test]
fn a_cut_file_is_told() {
    let whole = fs::read(data("coredns-1.6.9.prom.gz")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.prom.gz");
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = replay_file(&path, &ReplayOptions::default()).unwrap_err();
    assert!(matches!(error, ReplayError::Truncated { line: 1.., .. }), "{error}");
    let error = replay_file(&folder.path().join("none"), &ReplayOptions::default()).unwrap_err();
    assert!(error.to_string().starts_with("cannot open `"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One byte changed, or a stretch taken out: an answer, and never a sample too many.
    #[test]
    fn a_damaged_scrape_gets_an_answer(
        at in any::<prop::sample::Index>(), byte: u8, cut in 0_usize..200, warm: bool,
    ) {
        let mut text = text("coredns-1.10.1.prom.gz");
        let mut parser = Parser::new(Limits::default());
        let (mut table, mut out) = (SeriesTable::default(), Vec::new());
        if warm {
            parser.parse(&text, &mut table, &mut out).unwrap();
            out.clear();
        }
        let at = at.index(text.len());
        text[at] = byte;
        text.drain(at + 1..(at + 1 + cut).min(text.len()));
        match parser.parse(&text, &mut table, &mut out) {
            Ok(summary) => prop_assert_eq!(summary.samples, out.len()),
            Err(error) => {
                prop_assert!(out.is_empty());
                let lines = text.split(|byte| *byte == b'\n').count();
                prop_assert!(error.line <= lines && error.column >= 1);
            }
        }
    }
}
