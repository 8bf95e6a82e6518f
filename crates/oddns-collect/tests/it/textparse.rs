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
    // A time beyond 64 bits is the last that fits, in Go the first.
    let time = sample["time"].as_i64().map(|time| if time == i64::MIN { i64::MAX } else { time });
    (sorted(labels), canonical(text(&sample["bits"]).parse().unwrap()), time)
}

/// Prometheus spells bounds anew, as in OpenMetrics: `1.0` for `1`.
fn normal((name, value): (String, String)) -> (String, String) {
    let number = match name.as_str() {
        "le" | "quantile" => value.parse::<f64>().ok(),
        _ => None,
    };
    (name, number.map_or(value, |number| number.to_string()))
}

/// A label without a value is none, which Prometheus's scraper says behind its parser.
fn sorted(mut labels: Vec<(String, String)>) -> Vec<(String, String)> {
    labels.retain(|(_, value)| !value.is_empty());
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
        let labels = sample.labels.iter().map(|(n, v)| (n.to_string(), v.to_string()));
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

const NAME: &str = "[a-zA-Z_:][a-zA-Z0-9_:]{0,8}";
const LABEL: &str = "[a-z][a-zA-Z0-9_]{0,4}";
const QUOTED: &str = "[a-z .é{},=#]{1,6}|(\\\\\\\\|\\\\n|\\\\\"|é){1,3}";
const VALUE: &str = "([^\\n\\\\\"\\x00\\r]|\\\\\\\\|\\\\n|\\\\\"|\\\\x){0,8}";
const NUMBER: &str =
    "-?[0-9]{1,20}|[0-9]{0,3}\\.[0-9]{1,9}(e[+-]?[0-9]{1,3})?|NaN|[+-]?Inf|0x1p|1_0";

/// Which format, and a text that is, but for a few numbers and double names, right in it.
fn exposition() -> impl Strategy<Value = (usize, String)> {
    let comment =
        |word: &'static str| NAME.prop_map(move |name| format!("# {word}\n").replace('N', &name));
    let line = prop_oneof![8 => sample_line(), 1 => comment("TYPE N gauge"), 1 => comment("HELP N a \\ b")];
    (0_usize..2, prop::collection::vec(line, 0..6)).prop_map(|(format, lines)| {
        (format, lines.concat() + if format == 1 { "# EOF\n" } else { "" })
    })
}

fn sample_line() -> impl Strategy<Value = String> {
    let quoted = || QUOTED.prop_map(|text| format!("\"{text}\""));
    let pair = (prop_oneof![4 => LABEL.boxed(), 1 => quoted().boxed()], VALUE)
        .prop_map(|(name, value)| format!("{name}=\"{value}\""));
    let braces = (prop::collection::vec(pair, 0..4), prop::option::weighted(0.2, quoted()))
        .prop_map(|(pairs, name)| name.into_iter().chain(pairs).collect::<Vec<_>>().join(","));
    let time = prop::option::of("[0-9]{1,12}");
    (prop::option::weighted(0.8, NAME), prop::option::of(braces), NUMBER, time).prop_map(
        |(name, braces, number, time)| {
            let braces = braces.map_or(String::new(), |inner| format!("{{{inner}}}"));
            let time = time.map_or(String::new(), |time| format!(" {time}"));
            format!("{}{braces} {number}{time}\n", name.unwrap_or_default())
        },
    )
}

/// Where we part from Prometheus on purpose.
fn is_known_difference(format: Format, text: &[u8], ours: &Read, theirs: &Read) -> bool {
    let text = String::from_utf8_lossy(text);
    let lines = || text.lines().filter(|line| !line.starts_with('#'));
    let only_we = ours.is_some() && theirs.is_none();
    let only_they = ours.is_none() && theirs.is_some();
    // A label or name in quotes that a line feed breaks: no server writes it.
    let has_open_quote = lines().any(|line| line.replace("\\\"", "").matches('"').count() % 2 == 1);
    let in_text = format == Format::Text && {
        // `expfmt`, where the format comes from, takes times before 1970, and blanks around a type.
        let is_lenient = only_we && (text.contains(" -") || text.contains("# TYPE"));
        // Prometheus makes blanks before a name a part of it.
        let is_indented = lines().any(|line| line.starts_with([' ', '\t']));
        // They cut a help text after its first byte, not its first character.
        let is_cut =
            only_we && text.lines().any(|line| !line.is_ascii() && line.contains("# HELP"));
        // `up+1` is a typing error rather than a sample.
        let is_glued = only_they;
        is_lenient || is_indented || is_cut || is_glued
    };
    has_open_quote || in_text
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
            let known = is_known_difference(format, text.as_bytes(), &ours, &theirs);
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
            let known = is_known_difference(format, text.as_bytes(), &ours, &theirs);
            prop_assert!(known, "{name} {text:?}\nours: {ours:?}\ntheirs: {theirs:?}");
        }
        Ok(())
    });
}

/// What we take a body in protobuf for.
fn ours_of_protobuf(body: &[u8]) -> Read {
    let mut parser = Parser::new(Limits::default());
    let (mut table, mut out) = (SeriesTable::default(), Vec::new());
    parser.parse_protobuf(body, &mut table, &mut out).ok()?;
    let mut times = vec![None; out.len()];
    for (at, time) in parser.times() {
        times[*at] = Some(time.millis());
    }
    let read = |(sample, time): (&oddns_core::Sample, Option<i64>)| {
        let key = table.get(sample.series).unwrap();
        let labels = key.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let name = ("__name__".to_owned(), key.name.clone());
        (
            sorted(labels.chain([name]).map(normal).collect()),
            canonical(sample.value.to_bits()),
            time,
        )
    };
    Some(out.iter().zip(times).map(read).collect())
}

/// Without the buckets that native histograms are given, which Prometheus keeps as they are.
fn without_made_up(ours: Read, theirs: &Read) -> Read {
    let (mut ours, theirs) = (ours?, theirs.as_ref()?);
    let theirs: std::collections::BTreeSet<_> = theirs.iter().map(|(labels, ..)| labels).collect();
    let has_bound = |labels: &[(String, String)]| {
        labels.iter().any(|(name, bound)| name == "le" && bound != "inf")
    };
    ours.retain(|(labels, ..)| theirs.contains(labels) || !has_bound(labels));
    Some(ours)
}

/// Bodies of every kind of metric, which are also where fuzzing begins.
fn bodies() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/exposition_protobuf");
    let files = std::fs::read_dir(folder).unwrap();
    files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn protobuf_means_the_same() {
    let Some(mut go) = Textparse::start("protobuf_means_the_same") else { return };
    let bodies = bodies();
    assert!(bodies.len() > 4);
    for body in bodies {
        let read = ours_of_protobuf(&body);
        assert!(read.as_ref().is_some_and(|samples| !samples.is_empty()));
        let theirs = go.read("protobuf", &body);
        assert_eq!(without_made_up(read, &theirs), theirs);
    }
}

#[test]
fn damaged_protobuf_means_the_same_where_both_take_it() {
    let test = "damaged_protobuf_means_the_same_where_both_take_it";
    let Some(go) = Textparse::start(test) else { return };
    let (go, bodies) = (std::cell::RefCell::new(go), bodies());
    let damage = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>());
    holds(damage, 3000, |(body, at, byte)| {
        let mut body = bodies[body.index(bodies.len())].clone();
        let at = at.index(body.len());
        body[at] = byte;
        let read = (ours_of_protobuf(&body), go.borrow_mut().read("protobuf", &body));
        if let (ours @ Some(_), theirs @ Some(_)) = read {
            let ours = without_made_up(ours, &theirs);
            prop_assert!(ours == theirs, "{body:?}\nours: {ours:?}\ntheirs: {theirs:?}");
        }
        Ok(())
    });
}
