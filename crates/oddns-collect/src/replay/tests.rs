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

/// Three scrapes of one server and one of another, as `promtool tsdb dump` writes them.
const DUMP: &str = "{__name__=\"up\", instance=\"b\", job=\"dns\"} 1 10000\n\
    {__name__=\"up\", instance=\"b\", job=\"dns\"} 0 20500\n\
    {__name__=\"x\", instance=\"b\", job=\"dns\", zone=\".\"} 7 10000\n\
    {__name__=\"x\", instance=\"b\", job=\"dns\", zone=\".\"} NaN 20500\n\
    {__name__=\"x\", instance=\"b\", job=\"dns\", zone=\".\"} 9 30000\n\
    {__name__=\"x\", instance=\"a\", job=\"dns\"} 5 10001\n";

/// The same in OpenMetrics, seconds.
const OPEN_METRICS: &str = "# TYPE up gauge\nup{instance=\"b\",job=\"dns\"} 1 10.000\n\
    up{instance=\"b\",job=\"dns\"} 0 20.500\nx{instance=\"b\", job=\"dns\",zone=\".\"} 7 10\n\
    x{instance=\"b\", job=\"dns\",zone=\".\"} NaN 20.5\nx{instance=\"b\",zone=\".\"} 9 30.000\n\
    x{instance=\"a\"} 5 10.001\n# EOF\n";

/// The same as an answer of `query_range`, in two documents.
const ANSWERS: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[
    {"metric":{"__name__":"up","instance":"b","job":"dns"},"values":[[10,"1"],[20.5,"0"]]},
    {"metric":{"__name__":"x","instance":"a","job":"dns"},"values":[[10.001,"5"]]}]}}
    {"status":"success","data":{"resultType":"matrix","result":[
    {"metric":{"__name__":"x","instance":"b","job":"dns","zone":"."},"values":[[10,"7"],[30,"9"]]}]}}"#;

fn history() -> Vec<(&'static str, Vec<Outline>)> {
    let b = vec![(10_000, true, vec![7.0]), (20_500, false, vec![]), (30_000, true, vec![9.0])];
    vec![("a", vec![(10_001, true, vec![5.0])]), ("b", b)]
}

#[test]
fn dumps_and_answers_of_the_api_are_read() {
    for text in [DUMP, OPEN_METRICS, ANSWERS] {
        assert_eq!(outline(&read(text.as_bytes()).unwrap()), history(), "{text}");
        assert_eq!(outline(&read(&gzip(text.as_bytes())).unwrap()), history(), "{text}");
    }
    let recordings = read(DUMP.as_bytes()).unwrap();
    let key = recordings[1].series.get(oddns_core::SeriesId(0)).unwrap();
    assert_eq!(key.to_string(), "x{zone=\".\"}");
}

#[test]
fn a_text_of_one_time_of_its_own_is_a_scrape_of_that_time() {
    let text = b"x{instance=\"a\"} 1 7\ny{instance=\"a\"} 2 7\n";
    assert_eq!(outline(&read(text).unwrap()), [("a", vec![(7, true, vec![1.0, 2.0])])]);
    let time = Some(Timestamp::from_millis(9));
    let options = ReplayOptions { time, instance: "ns1".into(), ..ReplayOptions::default() };
    let recordings = read_recordings("x", &text[..], &options).unwrap();
    assert_eq!(outline(&recordings), [("ns1", vec![(9, true, vec![1.0, 2.0])])]);
}

#[test]
fn faults_of_dumps_say_where() {
    for (text, expected) in [
        (
            "a 1 1\na 1 2\na 1\n",
            "`scrapes.prom`, line 3, column 1: expected a timestamp after the value: the lines before have one",
        ),
        (
            "a 1 1\na 1 2\na x 3\n",
            "`scrapes.prom`, line 3, column 3: `x` is no value: expected a number, `NaN`, `+Inf` or `-Inf`",
        ),
        (
            "a 1 1.5\na 1 2\n",
            "`scrapes.prom`, line 3, column 1: the text does not end with `# EOF`: it was cut short",
        ),
        ("a 1 1\na 1 2\n# EOF\na 1 3\n", "`scrapes.prom`, line 4, column 1: text after `# EOF`"),
        (
            "a 1 1\na 1 1700000000000\n# EOF\n",
            "`scrapes.prom`, line 2, column 1: `1700000000000` is no timestamp: expected milliseconds in plain text, seconds in OpenMetrics",
        ),
        (
            "a 1 1\na 1 2\n# scrape 1 b\n",
            "`scrapes.prom`, line 3: a `# scrape` header after lines with times of their own: is this two files in one?",
        ),
        ("{\"status\": ", "cannot read `scrapes.prom`"),
        (
            r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
            "`scrapes.prom` holds no sample: Prometheus found nothing",
        ),
    ] {
        assert_eq!(message(text.as_bytes()), expected, "{text}");
    }
    let error = read(b"{\"status\": \"succ").unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    let cause = std::error::Error::source(source).unwrap().to_string();
    assert_eq!(cause, "EOF while parsing a string at line 1 column 16");
}

#[test]
fn dumps_and_answers_are_bounded() {
    let options = ReplayOptions { max_samples: 5, max_bytes: 600, ..Default::default() };
    let read = |text: &str| read_recordings("x", text.as_bytes(), &options).unwrap_err();
    assert!(read(DUMP).to_string().ends_with("line 6, column 1: more than 5 samples: raise the sample limit if the server really has that many"));
    assert_eq!(
        read(&DUMP.repeat(2)).to_string(),
        "`x`, line 6, column 1: more than 5 samples: raise the sample limit if the server really has that many"
    );
    let options = ReplayOptions { max_bytes: 300, ..Default::default() };
    let error = read_recordings("x", ANSWERS.as_bytes(), &options).unwrap_err();
    assert_eq!(error.to_string(), "`x` has more than 300 bytes of text: split it");
}

/// Gives one byte at a time.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = buffer.len().min(1);
        self.0.read(&mut buffer[..n])
    }
}

impl BufRead for Trickle<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(&self.0[..self.0.len().min(1)])
    }

    fn consume(&mut self, n: usize) {
        self.0 = &self.0[n..];
    }
}

#[test]
fn how_the_bytes_arrive_plays_no_part() {
    for text in
        [DUMP.as_bytes(), OPEN_METRICS.as_bytes(), ANSWERS.as_bytes(), &gzip(DUMP.as_bytes())]
    {
        let recordings = read_recordings("x", Trickle(text), &ReplayOptions::default()).unwrap();
        assert_eq!(outline(&recordings), history());
    }
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
    fn what_is_dumped_reads_back(
        points in prop::collection::btree_map((0_i64..4_000_000_000_000, 0_usize..3), 0_u32..100, 2..40)
    ) {
        let (mut millis, mut seconds) = (String::new(), String::new());
        let mut expected = BTreeMap::<i64, Vec<(usize, f64)>>::new();
        for ((time, series), value) in points.iter().rev() {
            millis += &format!("{{__name__=\"x{series}\", instance=\"ns1\"}} {value} {time}\n");
            seconds += &format!("x{series}{{instance=\"ns1\"}} {value} {}.{:03}\n", time / 1000, time % 1000);
            expected.entry(*time).or_default().push((*series, f64::from(*value)));
        }
        seconds += "# EOF\n";
        for text in [millis, seconds] {
            let recordings = read(text.as_bytes()).unwrap();
            let [recording] = &recordings[..] else { panic!("one instance") };
            prop_assert_eq!(recording.scrapes.len(), expected.len());
            for (scrape, (time, samples)) in recording.scrapes.iter().zip(&expected) {
                prop_assert_eq!(scrape.time.millis(), *time);
                let mut read: Vec<_> = scrape.samples.iter().map(|sample| {
                    let name = &recording.series.get(sample.series).unwrap().name;
                    (name[1..].parse::<usize>().unwrap(), sample.value)
                }).collect();
                read.sort_by_key(|(series, _)| std::cmp::Reverse(*series));
                prop_assert_eq!(&read, samples);
            }
        }
    }

    #[test]
    fn damaged_dumps_and_answers_get_an_answer(
        which in 0_usize..3, at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()
    ) {
        let mut text = [DUMP, OPEN_METRICS, ANSWERS][which].as_bytes().to_vec();
        let at = at.index(text.len());
        text[at] = byte;
        if cut {
            text.truncate(at);
        }
        let _ = read(&text);
    }

    #[test]
    fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
        let _ = read(&[b"\x1f\x8b\x08\0\0\0\0\0\0\0", &bytes[..]].concat());
        let _ = read(&[b"# scrape 1 a\n", &bytes[..]].concat());
    }
}
