//! Debian's `promtool check metrics` as the judge of what is exposition text.
//!
//! Its reader (`expfmt`) is not the one of Prometheus's scraper, which ours follows. Where the two
//! differ the case says so. Quoted UTF-8 names are younger than 2.42 and are left out. The command
//! also lints (no HELP text, names of counters): a complaint of that kind ends with status 3, a
//! text it cannot read with status 1.

use std::io::Write;
use std::process::{Command, Stdio};

use oddns_collect::{Format, Limits, Parser};
use oddns_core::SeriesTable;

use crate::peer::peers;

/// Text, and whether promtool and we differ: `Same`, or who accepts.
const CASES: &[(&str, Verdict)] = &[
    ("up 1\n", Same),
    ("\n\n  up  1\n\n", Same),
    ("up{} 1\n", Same),
    ("up{}1\n", Same),
    ("up { a = \"b\" , } 1 123\n", Same),
    ("up{a=\"b\",} 1 -5\n", Same),
    ("a:b{c=\"\\\\ \\\" \\n } {\"} 1e-3\n", Same),
    ("a NaN\nb +Inf\nc -Inf\nd inf\ne nan\nf .5\ng 1.\n", Same),
    ("# a comment\n#\n# HELP up is up\n# TYPE up gauge\nup 1\n", Same),
    ("# TYPE up  untyped\nup 1\n", Same),
    ("a +NaN\n", Same),
    ("a 0x1p-2x\n", Same),
    ("a 1_0_\n", Same),
    ("a 1e999\n", Same),
    ("a 1,5\n", Same),
    ("a\n", Same),
    ("a{b=\"c\"\n", Same),
    ("a{b=\"c} 1\n", Same),
    ("a{b=\"c\nd\"} 1\n", Same),
    ("a{b=c} 1\n", Same),
    ("a{b} 1\n", Same),
    ("a{1=\"c\"} 1\n", Same),
    ("a{b:c=\"d\"} 1\n", Same),
    ("a{,} 1\n", Same),
    ("a{__name__=\"b\"} 1\n", Same),
    ("a{b=\"1\",b=\"2\"} 1\n", Same),
    ("a-b 1\n", Same),
    ("9a 1\n", Same),
    ("a 1 2.5\n", Same),
    ("a 1 99999999999999999999\n", Same),
    ("a 1 2 3\n", Same),
    ("a 1 # {b=\"c\"} 1\n", Same),
    ("a 1\r\n", Same),
    ("# TYPE a enum\n", Same),
    ("<html>\n", Same),
    ("{\"a\":1}\n", Same),
    // Blanks behind the value make expfmt look for a timestamp.
    ("up 1 \n", OnlyWe),
    // The scraper reads a last line without its line feed; expfmt takes it for a cut one.
    ("up 1", OnlyWe),
    // The scraper keeps an unknown escape and needs no comma; expfmt refuses both.
    ("a{b=\"\\x\"} 1\n", OnlyWe),
    ("a{b=\"1\" c=\"2\"} 1\n", OnlyWe),
    // expfmt wants one TYPE line a family, before its samples; the scraper does not care.
    ("# TYPE a gauge\n# TYPE a gauge\na 1\n", OnlyWe),
    ("a 1\n# TYPE a gauge\n", OnlyWe),
    // expfmt makes histograms of the lines, so `le` must be a number there.
    ("# TYPE h histogram\nh_bucket{le=\"x\"} 1\n", OnlyWe),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    Same,
    OnlyWe,
}
use Verdict::{OnlyWe, Same};

fn promtool_reads(text: &str) -> bool {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("promtool is installed where ODDNS_PEERS is set");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let status = child.wait().unwrap().code();
    assert!(matches!(status, Some(0 | 1 | 3)), "{text:?}: {status:?}");
    status != Some(1)
}

fn we_read(text: &str) -> bool {
    let (mut table, mut out) = (SeriesTable::default(), Vec::new());
    let mut parser = Parser::new(Limits::default());
    parser.parse_as(Format::Text, text.as_bytes(), &mut table, &mut out).is_ok()
}

#[test]
fn promtool_and_we_agree_what_is_exposition_text() {
    if peers("promtool_and_we_agree_what_is_exposition_text").is_none() {
        return;
    }
    let verdict = |text: &str| (promtool_reads(text), we_read(text));
    let surprises = CASES.iter().filter(|(text, expected)| match expected {
        Same => verdict(text).0 != verdict(text).1,
        OnlyWe => verdict(text) != (false, true),
    });
    let surprises: Vec<_> = surprises.map(|(text, _)| (text, verdict(text))).collect();
    assert!(surprises.is_empty(), "(text, (promtool reads it, we read it)): {surprises:#?}");
}
