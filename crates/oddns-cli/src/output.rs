//! What people read on standard output.

use std::borrow::Cow;
use std::io::{self, Write};

use oddns::{Column, Detector};
use oddns_core::{Cause, Incident, Movement, Score, Timestamp};
use oddns_features::Transform;
pub(crate) use oddns_serve::{shown_span as span, shown_value as value};
use serde_json::Value;

use crate::exit;

/// Probability from which another cause is worth a word in a summary.
const WORTH_TELLING: f32 = 0.05;
/// Movements shown of an incident.
const SHOWN_MOVEMENTS: usize = 4;

/// Prints a line. When nobody reads any more (`oddns … | head`), the work goes on silently; when
/// the output cannot be written, as on a full disk, the program ends.
pub(crate) fn line(text: impl AsRef<str>) {
    let mut out = io::stdout().lock();
    match out
        .write_all(without_commands(text.as_ref()).as_bytes())
        .and_then(|()| out.write_all(b"\n"))
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => exit::unprintable(&error),
        _ => {}
    }
}

/// Names come from servers: none may give commands to the terminal.
fn without_commands(text: &str) -> Cow<'_, str> {
    let is_command = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(is_command) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace(is_command, "\u{fffd}"))
}

/// Tells what the caller should know beside the result, where it does not mix with it.
#[expect(clippy::print_stderr, reason = "a word beside the result")]
pub(crate) fn warning(text: impl AsRef<str>) {
    eprintln!("warning: {}", without_commands(text.as_ref()));
}

/// Tells how long work comes on, where no bar can show it.
#[expect(clippy::print_stderr, reason = "a word beside the result")]
pub(crate) fn progress(text: impl AsRef<str>) {
    eprintln!("{}", without_commands(text.as_ref()));
}

/// Prints one JSON document in one line.
pub(crate) fn json(value: &Value) {
    line(value.to_string());
}

/// The shortest decimal that means this float, as a JSON number: widening 0.1 to 64 bits would print
/// 0.10000000149011612. NaN and infinities are null.
pub(crate) fn number(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// A value of a column as people write it; a share of something in percent.
pub(crate) fn of_column(number: f32, column: &Column) -> String {
    // Only what the catalogue describes is known to be a share.
    let described = !column.doc.is_empty() && column.transform == Transform::Linear;
    if described && column.name.ends_with("_ratio") && !number.is_nan() {
        // What the model expects of a share that is always zero may be a hair less.
        return value(number.max(0.0) * 100.0, " %");
    }
    value(number, &column.unit)
}

/// `text`, or as much of its beginning as fits into `n` characters.
pub(crate) fn shortened(text: &str, n: i32) -> String {
    let n = usize::try_from(n).unwrap_or(0);
    match text.char_indices().nth(n) {
        None => text.to_owned(),
        Some(_) => text.chars().take(n.saturating_sub(1)).chain(['~']).collect(),
    }
}

/// Incidents of several servers that overlap in time, told as one.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    /// The one with the highest peak.
    pub(crate) strongest: &'a Incident,
    /// Servers, in order of their incidents.
    pub(crate) instances: Vec<&'a str>,
    pub(crate) start: Timestamp,
    /// `None` while one goes on.
    pub(crate) end: Option<Timestamp>,
}

/// Groups what overlaps, oldest first.
pub(crate) fn groups<'a>(incidents: impl Iterator<Item = &'a Incident>) -> Vec<Group<'a>> {
    let mut sorted: Vec<&Incident> = incidents.collect();
    sorted.sort_by_key(|incident| (incident.start, incident.instance.clone()));
    let mut groups: Vec<Group<'a>> = Vec::new();
    for incident in sorted {
        match groups.last_mut() {
            Some(last) if last.end.is_none_or(|end| incident.start <= end) => last.add(incident),
            _ => groups.push(Group {
                strongest: incident,
                instances: vec![&incident.instance],
                start: incident.start,
                end: incident.end,
            }),
        }
    }
    groups
}

impl<'a> Group<'a> {
    fn add(&mut self, incident: &'a Incident) {
        if incident.peak_score > self.strongest.peak_score {
            self.strongest = incident;
        }
        if !self.instances.contains(&incident.instance.as_str()) {
            self.instances.push(&incident.instance);
        }
        self.end = self.end.zip(incident.end).map(|(a, b)| a.max(b));
    }

    /// Prints when, where, why, what moved and what to do.
    pub(crate) fn print(&self, detector: &Detector) {
        self.print_when();
        print_cause(self.strongest);
        self.print_moved(detector);
        if let Some(step) = self.strongest.cause.next_steps.first() {
            line(format!("  next:   {step}"));
        }
    }

    /// Prints when, where and how grave.
    pub(crate) fn print_when(&self) {
        let incident = self.strongest;
        let until = self.end.map_or("now".to_owned(), Timestamp::clock);
        let lasted = self
            .end
            .map_or(String::new(), |end| format!(", {}", span(end.seconds_since(self.start))));
        let servers = self.instances.join(", ");
        let on = if servers.is_empty() { String::new() } else { format!("  on {servers}") };
        line(format!(
            "{} – {until}{lasted}{on}  {}, peak {:.1} times the alarm line",
            self.start.clock(),
            incident.severity.as_str(),
            incident.peak_score
        ));
    }

    /// Prints what moved from what to what.
    pub(crate) fn print_moved(&self, detector: &Detector) {
        let moved: Vec<String> = self
            .strongest
            .movements
            .iter()
            .take(SHOWN_MOVEMENTS)
            .map(|movement| moved(movement, detector.columns()))
            .collect();
        line(format!("  moved:  {}", moved.join("; ")));
    }
}

fn print_cause(incident: &Incident) {
    let cause = &incident.cause;
    line(format!("  likely: {} – {}", likely(cause), cause.summary));
    let others = incident.alternatives.iter().filter(|other| other.confidence >= WORTH_TELLING);
    let others: Vec<String> = others.map(likely).collect();
    if !others.is_empty() {
        line(format!("  or:     {}", others.join(", ")));
    }
}

/// `upstream slow (98 %)`: a cause with its probability.
pub(crate) fn likely(cause: &Cause) -> String {
    let percent = match (100.0 * cause.confidence).round() {
        0.0 => "<1".to_owned(),
        // Nothing is certain that is only inferred.
        percent => percent.min(99.0).to_string(),
    };
    format!("{} ({percent} %)", cause.name.replace('_', " "))
}

/// `servfail_ratio 0 % → 18 %`.
pub(crate) fn moved(movement: &Movement, columns: &[Column]) -> String {
    let column = columns.iter().find(|column| column.name == movement.feature);
    let shown = |number| column.map_or(value(number, ""), |column| of_column(number, column));
    format!("{} {} → {}", movement.feature, shown(movement.expected), shown(movement.observed))
}

/// Names of the features that contribute most.
pub(crate) fn top_features(score: &Score, columns: &[Column], n: usize) -> Vec<String> {
    let top = score.contributions.iter().take(n);
    top.filter_map(|c| columns.get(c.feature)).map(|column| column.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_short() {
        assert_eq!(number(0.3).to_string(), "0.3");
        assert_eq!(number(f32::NAN), Value::Null);
        assert_eq!(shortened("servfail_ratio", 14), "servfail_ratio");
        assert_eq!(shortened("servfail_ratio", 9), "servfail~");
    }
}
