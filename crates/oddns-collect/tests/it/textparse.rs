//! Prometheus's own parser, of its Go module, as the judge of every format a scrape may have.
//!
//! `xtask/textparse` answers what a scrape by Prometheus would take of a text. Differences on
//! purpose are listed here with their reasons.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use flate2::read::GzDecoder;
use oddns_collect::{Format, Limits, Parser, SampleLines};
use oddns_core::SeriesTable;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use serde_json::Value;

use crate::peer::{data, peers};

/// The program, which answers one text after the other.
struct Textparse {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Labels with the name among them, sorted; value by its bits; time.
type Read = Option<Vec<(Vec<(String, String)>, u64, Option<i64>)>>;

impl Textparse {
    /// `None`, said in one line, where there are no peers.
    fn start(test: &str) -> Option<Self> {
        let program = peers(test)?.join("textparse/textparse");
        let mut child = Command::new(&program)
            .arg("read")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`cargo xtask setup` builds the program");
        let questions = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Some(Self { child, questions, answers })
    }

    /// What Prometheus takes `text` for; `None` when it refuses it.
    fn read(&mut self, format: &str, text: &[u8]) -> Read {
        writeln!(self.questions, "{format} {}", text.len()).unwrap();
        self.questions.write_all(text).unwrap();
        self.questions.flush().unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        let samples = answer["samples"].as_array()?;
        Some(samples.iter().map(sample).collect())
    }
}

impl Drop for Textparse {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sample(sample: &Value) -> (Vec<(String, String)>, u64, Option<i64>) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let labels = sample["labels"].as_array().unwrap().iter();
    let labels = labels.map(|pair| (text(&pair[0]), text(&pair[1]))).map(normal).collect();
    (sorted(labels), canonical(text(&sample["bits"]).parse().unwrap()), sample["time"].as_i64())
}

/// Prometheus spells bounds anew, as in OpenMetrics: `1.0` for `1`.
fn normal((name, value): (String, String)) -> (String, String) {
    let number = match name.as_str() {
        "le" | "quantile" => value.parse::<f64>().ok(),
        _ => None,
    };
    (name, number.map_or(value, |number| number.to_string()))
}

fn sorted(mut labels: Vec<(String, String)>) -> Vec<(String, String)> {
    labels.sort();
    labels
}

/// There is one NaN, whatever its further bits are.
fn canonical(bits: u64) -> u64 {
    if f64::from_bits(bits).is_nan() { f64::NAN.to_bits() } else { bits }
}

/// What we take `text` for.
fn ours(format: Format, text: &[u8]) -> Read {
    let mut lines = SampleLines::new(format, text, Limits::default());
    let mut found = Vec::new();
    loop {
        let Some(sample) = lines.next_sample().ok()? else { return Some(found) };
        let own = |(name, value): &(_, _)| (String::from(name), String::from(value));
        let labels = sample.labels.iter().map(|(n, v)| own(&(n.as_ref(), v.as_ref())));
        let name = ("__name__".to_owned(), sample.name.to_owned());
        let labels = labels.chain([name]).map(normal).collect();
        found.push((sorted(labels), canonical(sample.value.to_bits()), sample.time_millis));
    }
}

const FORMATS: [(&str, Format); 2] = [("text", Format::Text), ("openmetrics", Format::OpenMetrics)];

/// A run of a property that asks the program, with the same cases each time.
fn holds<T: std::fmt::Debug>(
    strategy: impl Strategy<Value = T>,
    cases: u32,
    test: impl Fn(T) -> Result<(), TestCaseError>,
) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    match TestRunner::new_with_rng(config, rng).run(&strategy, test) {
        Ok(()) => {}
        Err(TestError::Fail(reason, value)) => panic!("{reason}\n{value:?}"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn real_scrapes_are_read_as_prometheus_reads_them() {
    let test = "real_scrapes_are_read_as_prometheus_reads_them";
    let Some(mut go) = Textparse::start(test) else { return };
    for name in ["coredns-1.15.0", "coredns-1.10.1", "coredns-1.6.9"] {
        let file = std::fs::File::open(data(&format!("{name}.prom.gz"))).unwrap();
        let text = std::io::read_to_string(GzDecoder::new(file)).unwrap();
        for scrape in text.split("# scrape ").skip(1) {
            let (_, scrape) = scrape.split_once('\n').unwrap();
            let read = ours(Format::Text, scrape.as_bytes());
            assert!(read.as_ref().is_some_and(|samples| samples.len() > 100));
            assert_eq!(read, go.read("text", scrape.as_bytes()), "{name}");
        }
    }
}

/// A text in a format that both read alike.
fn exposition() -> impl Strategy<Value = (usize, String)> {
    let name = "[a-zA-Z_:][a-zA-Z0-9_:]{0,8}";
    let label = "[a-z][a-zA-Z0-9_]{0,4}";
    let quoted = "[^\\n\\\\\"\\r\\x00]{1,6}|(\\\\\\\\|\\\\n|\\\\\"|é){1,3}";
    let value = "([^\\n\\\\\"\\x00]|\\\\\\\\|\\\\n|\\\\\"|\\\\x){0,8}";
    let number = "-?[0-9]{1,20}|[0-9]{0,3}\\.[0-9]{1,9}(e[+-]?[0-9]{1,3})?|NaN|[+-]?Inf|0x1p|1_0";
    let pairs = prop::collection::vec((prop_oneof![label, format!("\"({quoted})\"")], value), 0..4);
    let named = prop_oneof![(name, Just(None)), (Just(String::new()), quoted.prop_map(Some)),];
    let sample = (named, pairs, number, prop::option::of("[0-9]{1,12}"), any::<bool>());
    let line = prop_oneof![
        9 => (0_usize..2, sample).prop_map(|(format, sample)| (format, line(&sample))),
        1 => (0_usize..2, name).prop_map(|(at, n)| (at, format!("# TYPE {n} gauge\n"))),
        1 => (0_usize..2, name).prop_map(|(at, n)| (at, format!("# HELP {n} a \\ b\n"))),
    ];
    (0_usize..2, prop::collection::vec(line, 0..6)).prop_map(|(format, lines)| {
        let lines: String = lines.into_iter().map(|(_, line)| line).collect();
        (format, if format == 1 { lines + "# EOF\n" } else { lines })
    })
}

type Sample = ((String, Option<String>), Vec<(String, String)>, String, Option<String>, bool);

fn line(((name, inside), pairs, number, time, exemplar): &Sample) -> String {
    let mut inner: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    inner.extend(inside.iter().map(|name| format!("\"{name}\"")));
    let braces = if inner.is_empty() && *exemplar { "{}".into() } else { inner.join(",") };
    let braces = if inner.is_empty() { braces } else { format!("{{{braces}}}") };
    let time = time.as_ref().map_or(String::new(), |time| format!(" {time}"));
    format!("{name}{braces} {number}{time}\n")
}

/// What only we take, with the reason: texts on which we and Prometheus part, seen from the line.
fn is_known_difference(format: &str, text: &[u8], ours: &Read, theirs: &Read) -> bool {
    let text = String::from_utf8_lossy(text);
    let only_we = ours.is_some() && theirs.is_none();
    let only_they = ours.is_none() && theirs.is_some();
    // `strconv.ParseFloat` of Go goes on; a server that writes a NUL or a CR is broken.
    let is_broken = text.contains(['\0', '\r']);
    // They end the text at a NUL, and take a line feed between quotes.
    let multiline = text.lines().any(|line| line.matches('"').count() % 2 == 1);
    // expfmt, which the text format comes from, takes times before 1970 and blanks around a type.
    let lenient = format == "text" && only_we && (text.contains(" -") || text.contains("# TYPE"));
    // They take a value that follows a bare name at once, as in `up+1`.
    let glued = format == "text" && only_they;
    is_broken || multiline || lenient || glued
}

#[test]
fn random_expositions_mean_the_same() {
    let Some(go) = Textparse::start("random_expositions_mean_the_same") else { return };
    let go = std::cell::RefCell::new(go);
    holds(exposition(), 1500, |(format, text)| {
        let (name, format) = FORMATS[format];
        let (ours, theirs) =
            (ours(format, text.as_bytes()), go.borrow_mut().read(name, text.as_bytes()));
        if ours != theirs {
            let known = is_known_difference(name, text.as_bytes(), &ours, &theirs);
            prop_assert!(known, "{name} {text:?}\nours: {ours:?}\ntheirs: {theirs:?}");
        }
        Ok(())
    });
}

#[test]
fn damaged_expositions_are_taken_or_refused_alike() {
    let test = "damaged_expositions_are_taken_or_refused_alike";
    let Some(go) = Textparse::start(test) else { return };
    let go = std::cell::RefCell::new(go);
    let damage =
        (exposition(), any::<prop::sample::Index>(), "[ \t\n\"\\\\{}=,#a0.:é+-]", 0_usize..3);
    holds(damage, 3000, |((format, mut text), at, with, cut)| {
        let (name, format) = FORMATS[format];
        let at = at.index(text.len() + 1);
        if !text.is_char_boundary(at) {
            return Ok(());
        }
        let end = (at..text.len()).find(|end| *end >= at + cut && text.is_char_boundary(*end));
        text.replace_range(at..end.unwrap_or(text.len()), &with);
        let (ours, theirs) =
            (ours(format, text.as_bytes()), go.borrow_mut().read(name, text.as_bytes()));
        if ours != theirs {
            let known = is_known_difference(name, text.as_bytes(), &ours, &theirs);
            prop_assert!(known, "{name} {text:?}\nours: {ours:?}\ntheirs: {theirs:?}");
        }
        Ok(())
    });
}
