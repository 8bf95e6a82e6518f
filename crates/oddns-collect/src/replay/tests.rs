use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

fn read(bytes: &[u8]) -> Result<Vec<Recording>, ReplayError> {
    read_recordings("scrapes.prom", bytes, &ReplayOptions::default())
}

fn message(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const TWO: &[u8] = b"# made by hand\n\n# scrape 20.5 b\nup 1\n# scrape 10 a a\nup 2\n\
    # scrape 10 b\n# scrape 5 a a\n# HELP up nothing today\n";

/// Milliseconds, whether up, values.
type Outline = (i64, bool, Vec<f64>);

fn outline(recordings: &[Recording]) -> Vec<(&str, Vec<Outline>)> {
    let scrape = |scrape: &Scrape| {
        let values = scrape.samples.iter().map(|sample| sample.value).collect();
        (scrape.time.millis(), scrape.up, values)
    };
    recordings
        .iter()
        .map(|each| (each.instance.as_str(), each.scrapes.iter().map(scrape).collect()))
        .collect()
}

#[test]
fn scrapes_are_sorted_by_instance_and_time() {
    let expected = vec![
        ("a a", vec![(5_000, true, vec![]), (10_000, true, vec![2.0])]),
        ("b", vec![(10_000, false, vec![]), (20_500, true, vec![1.0])]),
    ];
    assert_eq!(outline(&read(TWO).unwrap()), expected);
    assert_eq!(outline(&read(&gzip(TWO)).unwrap()), expected);
    let (head, tail) = TWO.split_at(33);
    assert_eq!(outline(&read(&[gzip(head), gzip(tail)].concat()).unwrap()), expected);
    assert!(read(TWO).unwrap()[0].scrapes[0].duration_seconds.is_nan());
}

#[test]
fn a_lone_scrape_takes_its_time_from_the_caller() {
    let options = ReplayOptions {
        time: Some(Timestamp::from_millis(7)),
        instance: "ns1".into(),
        ..ReplayOptions::default()
    };
    let recordings = read_recordings("x", &b"up 1\n"[..], &options).unwrap();
    assert_eq!(outline(&recordings), [("ns1", vec![(7, true, vec![1.0])])]);
    assert_eq!(
        message(b"# HELP up\nup 1\n"),
        "`scrapes.prom`, line 2: metrics before the first `# scrape <unix seconds>` line: when were they taken?"
    );
}

#[test]
fn of_two_scrapes_at_one_instant_the_first_stays() {
    let recordings = read(b"# scrape 1 a\nup 1\n# scrape 1 a\nup 2\n").unwrap();
    assert_eq!(outline(&recordings), [("a", vec![(1000, true, vec![1.0])])]);
}

#[test]
fn faults_say_where() {
    for (text, expected) in [
        (&b""[..], "`scrapes.prom` holds no scrape: it is empty"),
        (b"# nothing but words\n", "`scrapes.prom` holds no scrape: it is empty"),
        (
            b"# scrape 1 a\nup 1\nup x\n",
            "`scrapes.prom`, line 3, column 4: `x` is no value: expected a number, `NaN`, `+Inf` or `-Inf`",
        ),
        (
            b"# scrape soon a\nup 1\n",
            "`scrapes.prom`, line 1: `# scrape soon a` is no scrape header: write `# scrape <unix seconds> [instance]`",
        ),
        (
            b"# scrape NaN\nup 1\n",
            "`scrapes.prom`, line 1: `# scrape NaN` is no scrape header: write `# scrape <unix seconds> [instance]`",
        ),
        (
            b"<html>",
            "`scrapes.prom`, line 1, column 1: looks like an HTML page, not like metrics: check the address and the path",
        ),
        (
            b"PAR1\x15\x00",
            "`scrapes.prom`, line 1, column 1: looks like a Parquet file, not like metrics: check the address and the path",
        ),
    ] {
        assert_eq!(message(text), expected);
    }
}

#[test]
fn cut_and_damaged_gzip_is_told() {
    let whole = gzip(&TWO.repeat(50));
    let cut = message(&whole[..whole.len() - 9]);
    assert!(cut.starts_with("`scrapes.prom` ends in the middle of its gzip stream"), "{cut}");
    let mut damaged = whole.clone();
    let end = damaged.len() - 6;
    damaged[end] ^= 0xff;
    assert!(message(&damaged).starts_with("cannot read `scrapes.prom` after line"));
    assert!(message(&[&whole[..], b"tail"].concat()).contains("scrapes.prom"));
}

#[test]
fn sizes_are_bounded() {
    let options = ReplayOptions { max_scrape_bytes: 100, max_bytes: 300, ..Default::default() };
    let read = |bytes: &[u8]| read_recordings("x", bytes, &options).unwrap_err().to_string();
    let long = format!("# scrape 1\nup 1\n# scrape 2\n# {}\n", "x".repeat(200));
    assert_eq!(
        read(long.as_bytes()),
        "`x`, line 3: the scrape that begins here has more than 100 bytes"
    );
    let many = "# scrape 1\nup 1\n".repeat(20);
    assert_eq!(read(&gzip(many.as_bytes())), "`x` has more than 300 bytes of text: split it");
}

#[test]
fn what_would_not_read_back_is_not_written() {
    let mut out = Vec::new();
    let time = Timestamp::default();
    for (instance, body) in [("a\nb", "up 1"), (" a", "up 1"), ("a", "up 1\n# scrape 2\n")] {
        assert!(write_scrape(&mut out, time, instance, body.as_bytes()).is_err());
    }
    assert!(out.is_empty());
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        scrapes in prop::collection::btree_map(
            -1_000_000_000_000_i64..10_000_000_000_000, prop::option::of(0_u32..100), 1..20)
    ) {
        let mut bytes = Vec::new();
        for (millis, value) in scrapes.iter().rev() {
            let body = value.map_or(String::new(), |value| format!("up {value}"));
            let time = Timestamp::from_millis(*millis);
            write_scrape(&mut bytes, time, "ns1.example:9153", body.as_bytes()).unwrap();
        }
        let recordings = read(&bytes).unwrap();
        let expected = scrapes.iter().map(|(millis, value)| {
            (*millis, value.is_some(), value.iter().map(|value| f64::from(*value)).collect())
        });
        prop_assert_eq!(outline(&recordings), [("ns1.example:9153", expected.collect())]);
    }

    #[test]
    fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
        let _ = read(&[b"\x1f\x8b\x08\0\0\0\0\0\0\0", &bytes[..]].concat());
        let _ = read(&[b"# scrape 1 a\n", &bytes[..]].concat());
    }
}
