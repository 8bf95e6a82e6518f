//! Incidents for tests.

use oddns_core::{Cause, Incident, Movement, Severity, Timestamp};
use oddns_detect::CAUSES;

use super::group::IncidentGroup;

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// A cause of the table, or `unknown`.
pub(crate) fn cause(name: &str) -> Cause {
    let confidence = 0.9;
    match CAUSES.iter().find(|entry| entry.name == name) {
        Some(entry) => Cause {
            name: entry.name,
            summary: entry.summary,
            confidence,
            next_steps: entry.next_steps,
        },
        None => Cause { confidence, ..oddns_detect::diagnose(&[]).cause },
    }
}

/// An open incident that begins at `start`.
pub(crate) fn incident(instance: &str, start: i64, peak_score: f32) -> Incident {
    let severity = if peak_score >= 2.0 { Severity::Critical } else { Severity::Warning };
    Incident {
        id: format!("{instance}-{start}"),
        instance: instance.to_owned(),
        start: at(start),
        end: None,
        severity,
        peak_score,
        peak: at(start),
        movements: vec![Movement {
            feature: "request_latency_mean_seconds".into(),
            expected: 0.01,
            observed: 2.0,
            deviation: f32::NAN,
            share: 1.0,
        }],
        cause: cause("upstream_failure"),
        alternatives: Vec::new(),
    }
}

/// All of `incidents` as one group of a job whose servers these are.
pub(crate) fn group_of(incidents: &[Incident]) -> IncidentGroup {
    let mut group = IncidentGroup::new("dns", incidents[0].clone());
    group.incidents = incidents.to_vec();
    group.settle(incidents.len(), incidents[0].start, 0.0);
    group
}
