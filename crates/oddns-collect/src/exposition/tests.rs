use oddns_core::{Labels, SeriesKey};
use proptest::prelude::*;

use super::*;

/// Parses `text` and prints what came out, one sample a line, or the error.
fn read_as(format: Format, text: impl AsRef<[u8]>) -> String {
    let mut parser = Parser::new(Limits::default());
    let (mut table, mut out) = (SeriesTable::default(), Vec::new());
    match parser.parse_as(format, text.as_ref(), &mut table, &mut out) {
        Ok(_) => out
            .iter()
            .map(|sample| format!("{:?} {}", key(&table, sample), sample.value))
            .collect::<Vec<_>>()
            .join("\n"),
        Err(error) => error.to_string(),
    }
}

fn key(table: &SeriesTable, sample: &Sample) -> String {
    table.get(sample.series).unwrap().to_string()
}

fn plain(text: impl AsRef<[u8]>) -> String {
    read_as(Format::Text, text)
}

fn open(text: &str) -> String {
    read_as(Format::OpenMetrics, text)
}

#[test]
fn plain_text_is_read_as_prometheus_reads_it() {
    for (text, expected) in [
        ("", ""),
        ("\n\n  \n", ""),
        ("up 1", r#""up" 1"#),
        ("up 1\n", r#""up" 1"#),
        ("  up\t 1 \t 1395066363000 \n", r#""up" 1"#),
        ("up{} -0.5", r#""up" -0.5"#),
        ("up{}1", r#""up" 1"#),
        ("up 1 -5", r#""up" 1"#),
        ("a:b NaN", r#""a:b" NaN"#),
        ("a +Inf", r#""a" inf"#),
        (r#"a { z = "1" , b="2",} 3"#, r#""a{b=\"2\",z=\"1\"}" 3"#),
        (r#"a{z="1" b="2"} 3"#, r#""a{b=\"2\",z=\"1\"}" 3"#),
        (r#"a{b="} 1 {"} 3"#, r#""a{b=\"} 1 {\"}" 3"#),
        (r#"{"name with.dots","x y"="1",a="b"} 2"#, r#""name with.dots{a=\"b\",x y=\"1\"}" 2"#),
        (r#"{a="b","späť"} 2"#, r#""späť{a=\"b\"}" 2"#),
        (
            "# just a comment\n#\n#x\n# HELPless\n# HELP a any \\ text\n# TYPE a  gauge \na 1",
            r#""a" 1"#,
        ),
        ("# HELP \"a b\" text\n# TYPE \"a b\" counter\n# EOF\n", ""),
        (
            "h_bucket{le=\"+Inf\"} 3\nh_sum 1\nh_count 3",
            "\"h_bucket{le=\\\"+Inf\\\"}\" 3\n\"h_sum\" 1\n\"h_count\" 3",
        ),
    ] {
        assert_eq!(plain(text), expected, "{text:?}");
    }
}

#[test]
fn escapes_are_undone_once() {
    let mut table = SeriesTable::default();
    let mut out = Vec::new();
    let text = br#"a{b="q\" s\\n l\n u\x end\\"} 1"#;
    Parser::new(Limits::default()).parse(text, &mut table, &mut out).unwrap();
    let labels = &table.get(out[0].series).unwrap().labels;
    assert_eq!(labels.get("b"), Some("q\" s\\n l\n u\\x end\\"));
}

#[test]
fn faults_of_plain_text_say_where() {
    for (text, expected) in [
        ("up", "line 1, column 3: expected a value after the series"),
        ("up 1\nup{a=\"b\"}", "line 2, column 10: expected a value after the series"),
        ("a 1\n\n 9x 1", "line 3, column 2: expected a metric name, `{` or `#`"),
        (
            "a-b 1",
            "line 1, column 2: expected a blank or `{` after the metric name: quote other names as `{\"name\"}`",
        ),
        (
            "a 1,5",
            "line 1, column 3: `1,5` is no value: expected a number, `NaN`, `+Inf` or `-Inf`",
        ),
        (
            "a 1 2.5",
            "line 1, column 5: `2.5` is no timestamp: expected milliseconds in plain text, seconds in OpenMetrics",
        ),
        ("a 1 2 3", "line 1, column 7: expected the end of the line"),
        ("a 1 # {} 1", "line 1, column 5: expected the end of the line"),
        ("a{b} 1", "line 1, column 4: expected `=` after the label name"),
        ("a{b=c} 1", "line 1, column 5: expected `\"`: label values are quoted"),
        ("a{1=\"c\"} 1", "line 1, column 3: expected a label name or `}`"),
        ("a{,} 1", "line 1, column 3: expected a label name or `}`"),
        ("a{b=\"c} 1", "line 1, column 5: the quote opened here does not close on this line"),
        ("a{b=\"c\nd\"} 1", "line 1, column 5: the quote opened here does not close on this line"),
        ("a{b=\"c\"", "line 1, column 8: expected `,` or `}`"),
        ("a{b=\"1\",b=\"2\"} 1", "line 1, column 9: label `b` stands twice in this series"),
        ("a{__name__=\"c\"} 1", "line 1, column 3: `__name__` cannot be a name here"),
        ("{} 1", "line 1, column 1: no metric name before or inside the braces"),
        ("{\"\"} 1", "line 1, column 2: `` cannot be a name here"),
        (
            "a{\"b\"} 1",
            "line 1, column 3: a second metric name: a label needs `=\"value\"` after its name",
        ),
        (
            "a 1\r\nb 2\r\n",
            "line 1, column 4: a carriage return ends the line: metrics end their lines with a line feed only",
        ),
        (
            "# TYPE a gauge\r\n",
            "line 1, column 15: a carriage return ends the line: metrics end their lines with a line feed only",
        ),
        ("# TYPE a\n", "line 1, column 9: `` is no metric type"),
        ("# TYPE a enum", "line 1, column 10: `enum` is no metric type"),
        ("# HELP 1a x", "line 1, column 8: expected a metric name after HELP, TYPE or UNIT"),
    ] {
        assert_eq!(plain(text), expected, "{text:?}");
    }
    assert_eq!(plain(b"a{b=\"x\xff\"} 1"), "line 1, column 7: not valid UTF-8");
    assert_eq!(plain(b"# HELP a \xff"), "line 1, column 10: not valid UTF-8");
}

#[test]
fn other_files_are_named() {
    for (text, what) in [
        (&b"\n <!DOCTYPE html><html>"[..], "an HTML page"),
        (b"\x1f\x8b\x08rest", "a gzip file"),
        (b"{\"status\":\"success\"}", "JSON"),
        (b"{\n  \"a\": 1\n}", "JSON"),
        (b"[1,2]", "JSON"),
        (b"PAR1....", "a Parquet file"),
        (b"\xef\xbb\xbfup 1", "a text with a byte order mark"),
        (b"\xff\xfeu\0p\0", "a UTF-16 text"),
    ] {
        let message = format!(
            "line 1, column 1: looks like {what}, not like metrics: check the address and the path"
        );
        assert_eq!(plain(text), message);
    }
}

#[test]
fn open_metrics_is_read_as_prometheus_reads_it() {
    let text = "# HELP a_seconds text\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
        a_seconds_bucket{le=\"1.0\"} 3 # {trace_id=\"a } b\"} 0.67 1520879607.789\n\
        a_seconds_bucket{le=\"+Inf\"} 4 1520879607.5 # {} 2\n\
        a_seconds_count 4 1e3\n{\"x y\"} 1\n# EOF\n";
    let mut parser = Parser::new(Limits::default());
    let (mut table, mut out) = (SeriesTable::default(), Vec::new());
    let first = parser.parse(text.as_bytes(), &mut table, &mut out).unwrap();
    let expected = Summary { samples: 4, timestamps: 2, exemplars: 2, ..Summary::default() };
    assert_eq!(first, expected);
    let second = parser.parse(text.as_bytes(), &mut table, &mut out).unwrap();
    assert_eq!(second, Summary { recognised: 4, ..expected });
    assert_eq!(out[..4], out[4..]);
    assert_eq!(key(&table, &out[0]), "a_seconds_bucket{le=\"1.0\"}");
}

#[test]
fn faults_of_open_metrics_say_where() {
    for (text, expected) in [
        ("", "line 1, column 1: the text does not end with `# EOF`: it was cut short"),
        ("a 1\n", "line 2, column 1: the text does not end with `# EOF`: it was cut short"),
        ("# EOF\na 1\n", "line 2, column 1: text after `# EOF`"),
        ("a  1\n# EOF", "line 1, column 3: expected a value after the series"),
        ("a\t1\n# EOF", "line 1, column 2: expected a value after the series"),
        (
            "a{} 1 \n# EOF",
            "line 1, column 7: `` is no timestamp: expected milliseconds in plain text, seconds in OpenMetrics",
        ),
        (
            "a 1 NaN\n# EOF",
            "line 1, column 5: `NaN` is no timestamp: expected milliseconds in plain text, seconds in OpenMetrics",
        ),
        ("a 1 # {\"x\"} 1\n# EOF", "line 1, column 11: expected `=` after the label name"),
        (
            "a 1 # {} x\n# EOF",
            "line 1, column 10: `x` is no value: expected a number, `NaN`, `+Inf` or `-Inf`",
        ),
        ("a{b=\"1\" c=\"2\"} 1\n# EOF", "line 1, column 8: expected `,` or `}`"),
        (" a 1\n# EOF", "line 1, column 1: expected a metric name, `{` or `#`"),
        ("\n# EOF", "line 1, column 1: expected a metric name, `{` or `#`"),
        (
            "# hello\n# EOF",
            "line 1, column 1: expected `# HELP`, `# TYPE`, `# UNIT` or `# EOF`: OpenMetrics has no other comments",
        ),
        ("# HELP a\n# EOF", "line 1, column 9: expected one space after the metric name"),
        ("# TYPE a untyped\n# EOF", "line 1, column 10: `untyped` is no metric type"),
        (
            "# UNIT a_seconds bytes\n# EOF",
            "line 1, column 18: unit `bytes` is not the last part of the metric's name",
        ),
    ] {
        assert_eq!(open(text), expected, "{text:?}");
    }
}

#[test]
fn the_first_of_duplicates_counts() {
    let mut parser = Parser::new(Limits::default());
    let (mut table, mut out) = (SeriesTable::default(), Vec::new());
    let text = b"a{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 2\na{ x=\"1\",y=\"2\"} 3\nb 4\n";
    for _ in 0..2 {
        out.clear();
        let summary = parser.parse(text, &mut table, &mut out).unwrap();
        assert_eq!((summary.samples, summary.duplicates), (2, 2));
        assert_eq!(out.iter().map(|sample| sample.value).collect::<Vec<_>>(), [1.0, 4.0]);
    }
}

#[test]
fn limits_hold_and_nothing_is_half_done() {
    let limits = Limits { max_samples: 2, max_labels: 1, max_name_bytes: 4, max_value_bytes: 3 };
    for (text, expected) in [
        (
            "a 1\nb 2\nc 3",
            "line 3, column 1: more than 2 samples: raise the sample limit if the server really has that many",
        ),
        ("a{b=\"1\",c=\"2\"} 1", "line 1, column 9: more than 1 labels in one series"),
        ("abcde 1", "line 1, column 1: a name of more than 4 bytes"),
        ("a{abcde=\"\"} 1", "line 1, column 3: a name of more than 4 bytes"),
        ("a{b=\"1234\"} 1", "line 1, column 5: a label value of more than 3 bytes"),
    ] {
        let mut out = vec![Sample { series: SeriesId(7), value: 0.5 }];
        let error = Parser::new(limits)
            .parse(text.as_bytes(), &mut SeriesTable::default(), &mut out)
            .unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(out, [Sample { series: SeriesId(7), value: 0.5 }]);
    }
    let fits = b"a 1\na 2\nabcd{b=\"123\"} 2";
    let result = Parser::new(limits).parse(fits, &mut SeriesTable::default(), &mut Vec::new());
    assert_eq!(result.unwrap().samples, 2);
}

#[test]
fn a_new_table_gets_its_own_numbers() {
    let mut parser = Parser::new(Limits::default());
    let (mut first, mut second) = (SeriesTable::default(), SeriesTable::default());
    let (mut out, text) = (Vec::new(), b"a 1\nb 2\n");
    parser.parse(text, &mut first, &mut out).unwrap();
    second.intern(&SeriesKey { name: "z".into(), labels: Labels::default() });
    parser.parse(text, &mut second, &mut out).unwrap();
    assert_eq!(out.iter().map(|sample| sample.series.0).collect::<Vec<_>>(), [0, 1, 1, 2]);
    assert_eq!(key(&second, &out[3]), "b");
}

/// Samples of a text as they stand there, or the error.
fn borrowed(text: &str) -> Result<Vec<String>, ParseError> {
    let mut lines = SampleLines::new(Format::Text, text.as_bytes(), Limits::default());
    let mut found = Vec::new();
    while let Some(sample) = lines.next_sample()? {
        found.push(format!("{sample:?}"));
    }
    Ok(found)
}

#[test]
fn borrowed_lines_are_as_the_text_has_them() {
    let text = "# TYPE a gauge\na{z=\"1\",b=\"\\n\"} 1 5\na{z=\"1\",b=\"2\"} 2\nz 3\nz 4";
    let mut lines = SampleLines::new(Format::Text, text.as_bytes(), Limits::default());
    let mut found = Vec::new();
    while let Some(sample) = lines.next_sample().unwrap() {
        let labels: Vec<_> = sample.labels.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
        found.push(format!("{}{labels:?} {} {:?}", sample.name, sample.value, sample.time_millis));
    }
    let expected = [
        r#"a["z=\"1\"", "b=\"\\n\""] 1 Some(5)"#,
        r#"a["z=\"1\"", "b=\"2\""] 2 None"#,
        "z[] 3 None",
        "z[] 4 None",
    ];
    assert_eq!(found, expected);
}

fn arbitrary_key() -> impl Strategy<Value = SeriesKey> {
    let name = prop_oneof!["[a-zA-Z_:][a-zA-Z0-9_:]{0,12}", "\\PC{1,8}"];
    let label = prop_oneof!["[a-zA-Z_][a-zA-Z0-9_]{0,8}", "\\PC{1,6}"];
    let labels = prop::collection::vec((label, any::<String>()), 0..4);
    (name, labels).prop_map(|(name, labels)| SeriesKey { name, labels: Labels::new(labels) })
}

fn arbitrary_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        any::<u32>().prop_map(f64::from),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
    ]
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn render(key: &SeriesKey, value: f64) -> String {
    let labels =
        key.labels.iter().map(|(name, value)| format!(",{}={}", quote(name), quote(value)));
    format!("{{{}{}}} {value}\n", quote(&key.name), labels.collect::<String>())
}

proptest! {
    #[test]
    fn what_is_rendered_reads_back(
        series in prop::collection::btree_map(arbitrary_key(), arbitrary_value(), 0..12),
        is_open in any::<bool>(),
    ) {
        prop_assume!(!series.keys().any(|key| key.labels.get("__name__").is_some()));
        let mut text: String = series.iter().map(|(key, value)| render(key, *value)).collect();
        text.push_str(if is_open { "# EOF\n" } else { "" });
        let mut parser = Parser::new(Limits::default());
        let (mut table, mut out) = (SeriesTable::default(), Vec::new());
        for n_seen in [0, series.len()] {
            out.clear();
            let summary = parser.parse(text.as_bytes(), &mut table, &mut out).unwrap();
            prop_assert_eq!((summary.samples, summary.recognised), (series.len(), n_seen));
            for (sample, (key, value)) in out.iter().zip(&series) {
                prop_assert_eq!(table.get(sample.series), Some(key));
                prop_assert!(sample.value == *value || (sample.value.is_nan() && value.is_nan()));
            }
        }
    }

    #[test]
    fn any_bytes_get_an_answer(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (plain(&text), read_as(Format::OpenMetrics, &text));
    }

    #[test]
    fn any_text_of_the_grammar_s_own_characters_gets_an_answer(
        text in "[a{}\"\\\\=, \t\n#0-9.:EOFTYPHL\r]{0,60}"
    ) {
        let _ = (plain(&text), open(&text));
    }

    /// What a line has in common with the one before is not read again; it must mean the same.
    #[test]
    fn lines_mean_the_same_together_and_alone(
        lines in prop::collection::vec("(a|b|ab)(\\{([xy\"]=\"[\\\\\"n}]{0,9}\"[,}]?){0,3}\\}?)?[ }]?[0-9]", 1..12)
    ) {
        let mut expected = Ok(vec![]);
        for (number, line) in lines.iter().enumerate() {
            match (borrowed(line), &mut expected) {
                (Ok(found), Ok(all)) => all.extend(found),
                (Err(error), Ok(_)) => expected = Err(ParseError { line: number + 1, ..error }),
                (_, Err(_)) => {}
            }
        }
        prop_assert_eq!(borrowed(&lines.join("\n")), expected);
    }

    /// The cache must never see what a fresh parser would not.
    #[test]
    fn a_parser_with_memory_agrees_with_a_fresh_one(
        texts in prop::collection::vec("(a|b)(\\{[xy]=\"[\\\\\"n}]{0,3}\"[,}]){0,2}[ }]{0,2}[0-9]( # \\{\\} 1)?\n(# EOF\n)?", 1..20)
    ) {
        let mut parser = Parser::new(Limits::default());
        let mut table = SeriesTable::default();
        for text in &texts {
            let mut out = Vec::new();
            let known = parser.parse(text.as_bytes(), &mut table, &mut out).map(|_| {
                out.iter().map(|s| (key(&table, s), s.value)).collect::<Vec<_>>()
            });
            let (mut table, mut out) = (SeriesTable::default(), Vec::new());
            let fresh = Parser::new(Limits::default())
                .parse(text.as_bytes(), &mut table, &mut out)
                .map(|_| out.iter().map(|s| (key(&table, s), s.value)).collect::<Vec<_>>());
            prop_assert_eq!(known, fresh, "{}", text);
        }
    }
}
