use oddns_core::SeriesTable;

use crate::exposition::{Limits, Parser};
use crate::protobuf::{put_bytes, put_number};

/// Fields of a message, written one after the other.
#[derive(Default, Clone)]
struct Fields(Vec<u8>);

impl Fields {
    fn text(self, number: u8, text: &str) -> Self {
        self.bytes(number, text.as_bytes())
    }

    fn bytes(mut self, number: u8, bytes: &[u8]) -> Self {
        put_bytes(&mut self.0, number, bytes);
        self
    }

    fn message(self, number: u8, message: Fields) -> Self {
        self.bytes(number, &message.0)
    }

    fn number(mut self, number: u8, value: u64) -> Self {
        put_number(&mut self.0, number, value);
        self
    }

    fn signed(self, number: u8, value: i64) -> Self {
        self.number(number, (value << 1 ^ value >> 63) as u64)
    }

    fn double(mut self, number: u8, value: f64) -> Self {
        self.0.push(number << 3 | 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn label(self, name: &str, value: &str) -> Self {
        self.message(1, fields().text(1, name).text(2, value))
    }
}

fn fields() -> Fields {
    Fields::default()
}

fn family(name: &str, kind: u64, metrics: &[Fields]) -> Fields {
    let start = fields().text(1, name).text(2, "help").number(3, kind);
    metrics.iter().fold(start, |family, metric| family.message(4, metric.clone()))
}

fn body(families: &[Fields]) -> Vec<u8> {
    let mut body = Vec::new();
    for family in families {
        // A field of number 0 has the tag that this takes off.
        let mut delimited = Vec::new();
        put_bytes(&mut delimited, 0, &family.0);
        body.extend_from_slice(&delimited[1..]);
    }
    body
}

fn read(body: &[u8]) -> String {
    let mut parser = Parser::new(Limits::default());
    let (mut table, mut out) = (SeriesTable::default(), Vec::new());
    match parser.parse_protobuf(body, &mut table, &mut out) {
        Ok(_) => out
            .iter()
            .map(|sample| format!("{} {}", table.get(sample.series).unwrap(), sample.value))
            .collect::<Vec<_>>()
            .join("\n"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn simple_metrics_are_read() {
    let counter = fields().label("z", "1").label("a", "ä").message(3, fields().double(1, 2.0));
    let gauge = fields().message(2, fields().double(1, f64::NAN)).number(6, 5);
    let untyped = fields().message(5, fields().double(1, -1.5));
    let body = body(&[
        family("c_total", 0, &[counter, fields()]),
        family("g", 1, &[gauge]),
        family("u", 3, &[untyped]),
        family("", 0, &[]),
    ]);
    assert_eq!(read(&body), "c_total{a=\"ä\",z=\"1\"} 2\nc_total 0\ng NaN\nu -1.5");
    let mut parser = Parser::new(Limits::default());
    let (mut table, mut out) = (SeriesTable::default(), vec![]);
    let summary = parser.parse_protobuf(&body, &mut table, &mut out).unwrap();
    assert_eq!((summary.samples, summary.timestamps), (4, 1));
    assert_eq!(
        parser.times().iter().map(|(at, time)| (*at, time.millis())).collect::<Vec<_>>(),
        [(2, 5)]
    );
}

#[test]
fn type_and_name_may_stand_behind_the_metrics() {
    let metric = fields().message(2, fields().double(1, 1.0));
    let family = fields().message(4, metric).number(3, 1).text(1, "g");
    assert_eq!(read(&body(&[family])), "g 1");
}

#[test]
fn summaries_and_classic_histograms_have_the_names_of_the_text_format() {
    let quantile = |at, value| fields().double(1, at).double(2, value);
    let summary = fields().number(1, 3).double(2, 1.5);
    let summary = summary.message(3, quantile(0.5, 1.0)).message(3, quantile(1.0, f64::NAN));
    let bucket = |count, bound| fields().number(1, count).double(2, bound);
    let histogram = fields().number(1, 9).double(2, 0.25);
    let histogram = histogram.message(3, bucket(4, 0.00025)).message(3, bucket(6, 1.0));
    let body = body(&[
        family("s", 2, &[fields().label("a", "b").message(4, summary)]),
        family("h", 4, &[fields().label("z", ".").message(7, histogram)]),
        family("e", 4, &[fields()]),
    ]);
    assert_eq!(
        read(&body),
        "s_count{a=\"b\"} 3\ns_sum{a=\"b\"} 1.5\ns{a=\"b\",quantile=\"0.5\"} 1\n\
         s{a=\"b\",quantile=\"1\"} NaN\nh_count{z=\".\"} 9\nh_sum{z=\".\"} 0.25\n\
         h_bucket{le=\"0.00025\",z=\".\"} 4\nh_bucket{le=\"1\",z=\".\"} 6\n\
         h_bucket{le=\"+Inf\",z=\".\"} 9\ne_count 0\ne_sum 0\ne_bucket{le=\"+Inf\"} 0"
    );
}

/// A span of buckets behind the one before.
fn span(offset: i64, length: u64) -> Fields {
    fields().signed(1, offset).number(2, length)
}

#[test]
fn native_histograms_become_buckets_of_powers_of_two() {
    // Four buckets between a power of two and the next: 2 and 3 end at 2^0.5 and 2^0.75, 4 at 2,
    // and 9 is the first of those up to 8.
    let histogram = fields().number(1, 20).double(2, 3.5).signed(5, 2);
    let histogram = histogram.double(6, 0.001).number(7, 1);
    let histogram = histogram.message(12, span(2, 3)).message(12, span(4, 1));
    // Differences: 2, 3, 1 and then 4.
    let packed = [2_i64, 1, -2, 3].map(|n| (n << 1 ^ n >> 63) as u8);
    let histogram = histogram.bytes(13, &packed);
    // One bucket of sizes above 1 up to 2^0.25.
    let histogram = histogram.message(9, span(1, 1)).signed(10, 5);
    let body = body(&[family("h", 5, &[fields().message(7, histogram)])]);
    assert_eq!(
        read(&body),
        "h_count 20\nh_sum 3.5\nh_bucket{le=\"-1\"} 5\nh_bucket{le=\"0.001\"} 6\n\
         h_bucket{le=\"2\"} 12\nh_bucket{le=\"8\"} 16\nh_bucket{le=\"+Inf\"} 20"
    );
}

#[test]
fn native_histograms_of_any_resolution_keep_their_counts() {
    let of = |schema, offset| {
        let histogram = fields().double(4, 2.5).signed(5, schema);
        let histogram = histogram.message(12, span(offset, 2)).double(14, 0.5).double(14, 1.5);
        let text = read(&body(&[family("h", 4, &[fields().message(7, histogram)])]));
        text.lines().skip(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(of(0, -1), r#"h_bucket{le="0.5"} 0.5 h_bucket{le="1"} 2 h_bucket{le="+Inf"} 2.5"#);
    assert_eq!(of(-2, 0), r#"h_bucket{le="1"} 0.5 h_bucket{le="16"} 2 h_bucket{le="+Inf"} 2.5"#);
    assert_eq!(of(8, 0), r#"h_bucket{le="1"} 0.5 h_bucket{le="2"} 2 h_bucket{le="+Inf"} 2.5"#);
    // Bounds of its own, and one that nobody knows.
    assert_eq!(of(-53, 0), r#"h_bucket{le="+Inf"} 2.5"#);
    assert_eq!(of(60, 0), r#"h_bucket{le="+Inf"} 2.5"#);
    // Beyond what a number holds.
    assert_eq!(of(0, 5000), r#"h_bucket{le="+Inf"} 2.5"#);
    assert!(of(0, -5000).starts_with("h_bucket{le=\"5e-324\"} 2 "));
}

#[test]
fn classic_buckets_count_before_native_ones() {
    let histogram = fields().number(1, 1).message(3, fields().number(1, 1).double(2, 0.5));
    let histogram = histogram.message(12, span(0, 1)).signed(13, 1);
    let text = read(&body(&[family("h", 4, &[fields().message(7, histogram)])]));
    assert!(text.ends_with("h_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 1"), "{text}");
}

#[test]
fn faults_say_where() {
    let gauge = |metric: Fields| body(&[family("g", 1, &[metric])]);
    for (body, expected) in [
        (
            vec![5, 1],
            "byte 1: the protobuf message is damaged: the field goes on behind the end of its message",
        ),
        (
            body(&[family("", 0, &[fields()])]),
            "byte 2: expected a metric name after HELP, TYPE or UNIT",
        ),
        (body(&[family("a", 9, &[])]), "byte 2: there is no metric type 9"),
        (gauge(fields().label("", "b")), "byte 17: `` cannot be a name here"),
        (gauge(fields().label("__name__", "b")), "byte 17: `__name__` cannot be a name here"),
        (
            gauge(fields().label("a", "b").label("a", "c")),
            "byte 25: label `a` stands twice in this series",
        ),
        (
            body(&[family("h", 4, &[fields().label("le", "b")])]),
            "byte 15: label `le` stands twice in this series",
        ),
        (
            b"<html>".to_vec(),
            "line 1, column 1: looks like an HTML page, not like metrics: check the address and the path",
        ),
    ] {
        assert_eq!(read(&body), expected);
    }
    let text = read(&body(&[fields().bytes(1, b"a\xff")]));
    assert_eq!(text, "byte 5: the protobuf message is damaged: not valid UTF-8");
}

#[test]
fn limits_hold_and_nothing_is_half_done() {
    let limits = Limits { max_samples: 2, max_labels: 1, max_name_bytes: 4, max_value_bytes: 3 };
    let metric = |name: &str, value: &str| fields().label(name, value);
    for (family, expected) in [
        (family("h", 4, &[fields()]), "more than 2 samples"),
        (family("abcde", 0, &[fields()]), "a name of more than 4 bytes"),
        (family("a", 0, &[metric("abcde", "")]), "a name of more than 4 bytes"),
        (family("a", 0, &[metric("a", "1234")]), "a label value of more than 3 bytes"),
        (family("a", 0, &[metric("a", "1").label("b", "2")]), "more than 1 labels in one series"),
    ] {
        let (mut table, mut out) = (SeriesTable::default(), vec![]);
        let error =
            Parser::new(limits).parse_protobuf(&body(&[family]), &mut table, &mut out).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(out.is_empty());
    }
}

#[test]
fn long_labels_and_many_buckets_do_not_multiply_without_end() {
    let bucket = |n: u32| fields().number(1, 1).double(2, f64::from(n));
    let histogram = (0..10_000).fold(fields(), |all, n| all.message(3, bucket(n)));
    let long = "x".repeat(10_000);
    let body = body(&[family("h", 4, &[fields().label("a", &long).message(7, histogram)])]);
    let (mut table, mut out) = (SeriesTable::default(), vec![]);
    let error = Parser::default().parse_protobuf(&body, &mut table, &mut out).unwrap_err();
    assert!(error.to_string().contains("more than 50331648 bytes"), "{error}");
    assert!(out.is_empty() && table.len() < 6_000);
}

proptest::proptest! {
    #[test]
    fn any_bytes_get_an_answer(body in proptest::collection::vec(0_u8..40, 0..200)) {
        let _ = read(&body);
    }
}
