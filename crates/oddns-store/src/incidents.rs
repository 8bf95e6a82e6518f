//! Incidents as JSON, one object a line.

use std::path::Path;

use oddns_core::{Cause, Incident, Movement};
use serde_json::{Value, json};

use crate::{StoreError, write_atomically};

/// One incident as a JSON object: `id`, `instance`, `start`, `end` (null while it goes on),
/// `severity`, `peak_score`, `peak`, `movements` (each `feature`, `expected`, `observed`,
/// `deviation`, `share`), `cause` (`name`, `summary`, `confidence`, `next_steps`) and `alternatives`,
/// what else it may be, likeliest first (each `name`, `summary`, `confidence`). A confidence is a
/// probability. Times are RFC 3339 in UTC; a number that is NaN or infinite is null.
pub fn incident_json(incident: &Incident) -> Value {
    let cause = &incident.cause;
    json!({
        "id": incident.id,
        "instance": incident.instance,
        "start": incident.start.to_string(),
        "end": incident.end.map(|end| end.to_string()),
        "severity": incident.severity.as_str(),
        "peak_score": number(incident.peak_score),
        "peak": incident.peak.to_string(),
        "movements": incident.movements.iter().map(movement_json).collect::<Vec<_>>(),
        "cause": {
            "name": cause.name,
            "summary": cause.summary,
            "confidence": number(cause.confidence),
            "next_steps": cause.next_steps,
        },
        "alternatives": incident.alternatives.iter().map(alternative_json).collect::<Vec<_>>(),
    })
}

/// Writes incidents as JSON lines, in the order given; without any the file is empty.
pub fn write_incidents(path: &Path, incidents: &[Incident]) -> Result<(), StoreError> {
    let lines = incidents.iter().map(|incident| format!("{}\n", incident_json(incident)));
    write_atomically(path, lines.collect::<String>().as_bytes())
}

fn alternative_json(cause: &Cause) -> Value {
    json!({
        "name": cause.name,
        "summary": cause.summary,
        "confidence": number(cause.confidence),
    })
}

fn movement_json(movement: &Movement) -> Value {
    json!({
        "feature": movement.feature,
        "expected": number(movement.expected),
        "observed": number(movement.observed),
        "deviation": number(movement.deviation),
        "share": number(movement.share),
    })
}

/// The shortest decimal that means this float: widening 0.1 to 64 bits would print
/// 0.10000000149011612.
fn number(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use oddns_core::{Cause, Severity, Timestamp};

    use super::*;

    fn incident(end: Option<i64>) -> Incident {
        Incident {
            id: "sut0-1".into(),
            instance: "sut0".into(),
            start: Timestamp::from_millis(0),
            end: end.map(Timestamp::from_millis),
            severity: Severity::Critical,
            peak_score: 7.1,
            peak: Timestamp::from_millis(1500),
            movements: vec![Movement {
                feature: "cpu_per_query".into(),
                expected: 0.1,
                observed: f32::NAN,
                deviation: -3e-9,
                share: 1.0,
            }],
            cause: Cause {
                name: "restart",
                summary: "The server started anew.",
                confidence: 0.5,
                next_steps: &["look at the log"],
            },
            alternatives: vec![Cause {
                name: "reload",
                summary: "Another configuration.",
                confidence: 0.1,
                next_steps: &[],
            }],
        }
    }

    #[test]
    fn numbers_are_short_and_nan_is_null() {
        let value = incident_json(&incident(None));
        assert_eq!(value["end"], Value::Null);
        assert_eq!(value["movements"][0]["observed"], Value::Null);
        assert_eq!(value["peak_score"].to_string(), "7.1");
        assert_eq!(value["movements"][0]["deviation"].to_string(), "-3e-9");
        assert_eq!(value["cause"]["next_steps"][0], "look at the log");
        assert_eq!(value["alternatives"][0]["confidence"].to_string(), "0.1");
    }

    #[test]
    fn one_line_each() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("i.jsonl");
        write_incidents(&path, &[incident(None), incident(Some(9))]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["end"], "1970-01-01T00:00:00.009Z");
        write_incidents(&path, &[]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }
}
