//! A history as OpenMetrics text with timestamps.

use std::io::{self, Write};
use std::path::Path;

use oddns_core::Labels;

use crate::StoreError;
use crate::history::{HistoryFilter, MetricSample};
use crate::walk::{Rows, SeriesWalk, WholeHistory};

const INSTANCE: &str = "instance";

/// Writes the history `root` as OpenMetrics 1.0, the form that
/// `promtool tsdb create-blocks-from openmetrics` takes.
///
/// Every name is a family of its own, of unknown type: types are not kept. The instance is a label; a
/// label of that name that the server itself has becomes `exported_instance`, as in Prometheus. Names
/// that OpenMetrics 1.0 has no spelling for are quoted, as Prometheus 3 reads them.
/// Memory does not grow with the history; each family is read in a pass of its own. Says how many
/// samples were written. An error of `output` is [`StoreError::Write`].
pub fn write_openmetrics(
    root: &Path,
    filter: &HistoryFilter,
    output: &mut impl Write,
) -> Result<u64, StoreError> {
    let history = WholeHistory::open(root, filter)?;
    let mut n_samples = 0;
    for name in history.names()? {
        let mut walk = SeriesWalk::open(&history.parts, Rows::Named(&name))?;
        let mut has_begun = false;
        while let Some(([instance, _, labels], samples)) = walk.next()? {
            let samples = filter.cut(&instance, samples);
            if samples.is_empty() {
                continue;
            }
            let head = if has_begun {
                String::new()
            } else {
                format!("# TYPE {} unknown\n", metric_name(&name))
            };
            has_begun = true;
            let series = series_text(&name, &instance, &labels);
            write_samples(output, &head, &series, samples).map_err(StoreError::write(root))?;
            n_samples += samples.len() as u64;
        }
    }
    output.write_all(b"# EOF\n").map_err(StoreError::write(root))?;
    Ok(n_samples)
}

fn write_samples(
    output: &mut impl Write,
    head: &str,
    series: &str,
    samples: &[MetricSample],
) -> io::Result<()> {
    output.write_all(head.as_bytes())?;
    for (millis, value) in samples {
        let (sign, millis) = (if *millis < 0 { "-" } else { "" }, millis.unsigned_abs());
        let (seconds, rest) = (millis / 1000, millis % 1000);
        writeln!(output, "{series} {} {sign}{seconds}.{rest:03}", number(*value))?;
    }
    Ok(())
}

/// The series with its instance as one more label.
fn series_text(name: &str, instance: &str, labels: &str) -> String {
    let labels: Labels = labels.parse().unwrap_or_default();
    let own = labels.iter().map(|(label, value)| match label {
        INSTANCE => (exported(&labels), value),
        label => (label.to_owned(), value),
    });
    let pairs: Vec<String> = std::iter::once((INSTANCE.to_owned(), instance))
        .chain(own)
        .map(|(label, value)| format!("{}={}", label_name(&label), quoted(value)))
        .collect();
    if is_plain(name, true) {
        return format!("{name}{{{}}}", pairs.join(","));
    }
    format!("{{{},{}}}", quoted(name), pairs.join(","))
}

/// What a server's own label `instance` is called beside ours.
fn exported(labels: &Labels) -> String {
    let mut name = format!("exported_{INSTANCE}");
    while labels.get(&name).is_some() {
        name.insert_str(0, "exported_");
    }
    name
}

fn metric_name(name: &str) -> String {
    if is_plain(name, true) { name.to_owned() } else { quoted(name) }
}

fn label_name(name: &str) -> String {
    if is_plain(name, false) { name.to_owned() } else { quoted(name) }
}

/// Whether a name is one without quotes; colons are for metrics alone.
fn is_plain(name: &str, colons: bool) -> bool {
    let may_begin = |c: char| c.is_ascii_alphabetic() || c == '_' || (colons && c == ':');
    name.starts_with(may_begin) && name.chars().all(|c| may_begin(c) || c.is_ascii_digit())
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value if value.is_nan() => "NaN".to_owned(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_and_numbers_are_spelled_as_the_standard_wants() {
        assert_eq!(series_text("m", "a\"b", ""), r#"m{instance="a\"b"}"#);
        assert_eq!(series_text("m", "a", r#"{x="1"}"#), r#"m{instance="a",x="1"}"#);
        assert_eq!(
            series_text("dns.requests", "a", r#"{http.status="x"}"#),
            r#"{"dns.requests",instance="a","http.status"="x"}"#
        );
        assert_eq!(series_text("a\nb", "a", ""), r#"{"a\nb",instance="a"}"#);
        assert_eq!(
            series_text("m", "a", r#"{exported_instance="b",instance="c"}"#),
            r#"m{instance="a",exported_instance="b",exported_exported_instance="c"}"#
        );
        let numbers = [0.1, -3.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN].map(number);
        assert_eq!(numbers, ["0.1", "-3", "+Inf", "-Inf", "NaN"]);
        let mut text = Vec::new();
        write_samples(&mut text, "", "m", &[(-1, 1.0), (1_795_331_512_034, 2.5)]).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "m 1 -0.001\nm 2.5 1795331512.034\n");
    }
}
