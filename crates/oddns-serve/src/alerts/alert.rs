//! A group of incidents as the alert that others are told.

use std::collections::BTreeMap;

use oddns_core::{Cause, Labels, Movement, Severity, Timestamp};
use serde::Serialize;

use crate::desk::{Face, IncidentGroup};
use crate::words::{shown_feature, shown_probability, shown_span};

/// Name of every alert.
const NAME: &str = "CoreDNSOdd";
/// Most servers named in a text.
const NAMED_SERVERS: usize = 10;
/// Most movements told.
const TOLD_MOVEMENTS: usize = 4;
/// Most letters of a label or of a text; Alertmanager and chats take more.
const MAX_LETTERS: usize = 2000;
/// Another cause is worth telling when it is this likely.
const WORTH_TELLING: f32 = 0.1;

/// What is the same for all alerts of a process.
#[derive(Debug, Clone, Default)]
pub struct Site {
    /// Where others find our page, without a slash at the end.
    pub external_url: String,
    /// Labels that tell this site from others.
    pub external_labels: Labels,
}

/// An alert as Alertmanager knows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Alert {
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<&'static str, String>,
    pub start: Timestamp,
    /// When it was resolved.
    pub end: Option<Timestamp>,
    /// The page of the incident.
    pub url: String,
}

/// An alert in Alertmanager's API.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AlertJson<'a> {
    labels: &'a BTreeMap<String, String>,
    annotations: &'a BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
}

impl Alert {
    /// Every alert that a group is or was, oldest first.
    pub(crate) fn all_of(group: &IncidentGroup, site: &Site) -> Vec<Self> {
        let annotations = annotations(group);
        let alert = |face: &Face| Self {
            labels: labels(group, face, site),
            annotations: annotations.clone(),
            start: face.start,
            end: face.end,
            url: format!("{}/#incident-{}", site.external_url, group.id),
        };
        group.faces.iter().map(alert).collect()
    }

    /// In Alertmanager's API; one that goes on ends at `until`, unless it is told again.
    pub(crate) fn json(&self, until: Timestamp) -> AlertJson<'_> {
        AlertJson {
            labels: &self.labels,
            annotations: &self.annotations,
            starts_at: self.start.to_string(),
            ends_at: self.end.unwrap_or(until).to_string(),
            generator_url: &self.url,
        }
    }
}

fn labels(group: &IncidentGroup, face: &Face, site: &Site) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> =
        site.external_labels.iter().map(|(name, value)| (name.to_owned(), clean(value))).collect();
    let own = [
        ("alertname", NAME),
        ("job", group.job.as_str()),
        ("severity", face.severity.as_str()),
        ("cause", face.cause.as_str()),
        ("instance", face.instance.as_deref().unwrap_or_default()),
    ];
    // An empty label is none to Alertmanager.
    let own = own.into_iter().filter(|(_, value)| !value.is_empty());
    labels.extend(own.map(|(name, value)| (name.to_owned(), clean(value))));
    labels
}

fn annotations(group: &IncidentGroup) -> BTreeMap<&'static str, String> {
    let steps = group.cause.next_steps.join("\n");
    [
        ("summary", summary(group)),
        ("description", description(group)),
        ("next_steps", steps),
        ("servers", servers(group)),
        ("incident", group.id.clone()),
    ]
    .into_iter()
    .filter(|(_, text)| !text.is_empty())
    .map(|(name, text)| (name, clean(&text)))
    .collect()
}

/// One line: where, and what it looks like.
pub(crate) fn summary(group: &IncidentGroup) -> String {
    let names = group.servers();
    let (n_odd, n_servers) = (names.len(), group.n_servers);
    match names.as_slice() {
        [only] => format!("{only}: {}", group.cause.summary),
        _ => format!("{n_odd} of {n_servers} servers of {}: {}", group.job, group.cause.summary),
    }
}

/// What moved, how sure the cause is, since when and where, in an operator's words.
pub(crate) fn description(group: &IncidentGroup) -> String {
    let strongest = group.strongest();
    let since = format!("{} {} UTC", group.start.day(), group.start.clock());
    let lasted = group.end.map_or_else(
        || format!("Since {since}"),
        |end| format!("From {since}, for {}", shown_span(end.seconds_since(group.start))),
    );
    let mut lines = vec![
        format!("{lasted}, {:.1} times the alarm line at most.", strongest.peak_score),
        likely(&group.cause, &strongest.alternatives),
    ];
    let moved: Vec<String> = strongest.movements.iter().take(TOLD_MOVEMENTS).map(moved).collect();
    if !moved.is_empty() {
        lines.push(format!("Moved: {}.", moved.join("; ")));
    }
    if group.servers().len() > 1 {
        lines.push(format!("Servers: {}.", servers(group)));
    }
    lines.join("\n")
}

fn likely(cause: &Cause, alternatives: &[Cause]) -> String {
    let named = |cause: &Cause| {
        format!("{} ({})", cause.name.replace('_', " "), shown_probability(cause.confidence))
    };
    let others: Vec<String> = alternatives
        .iter()
        .filter(|other| other.confidence >= WORTH_TELLING && other.name != cause.name)
        .map(named)
        .collect();
    let first = match cause.name {
        "unknown" => "The cause is not known".to_owned(),
        _ => format!("Likely: {}", named(cause)),
    };
    match others.is_empty() {
        true => format!("{first}."),
        false => format!("{first}; or {}.", others.join(", ")),
    }
}

fn moved(movement: &Movement) -> String {
    let shown = |value| shown_feature(&movement.feature, value);
    format!("{} {} → {}", movement.feature, shown(movement.expected), shown(movement.observed))
}

fn servers(group: &IncidentGroup) -> String {
    let names = group.servers();
    let mut text = names.iter().take(NAMED_SERVERS).copied().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED_SERVERS {
        text.push_str(&format!(" and {} more", names.len() - NAMED_SERVERS));
    }
    text
}

/// Names come from targets: no control character of theirs reaches a terminal or a log.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n').take(MAX_LETTERS).collect()
}

/// How urgent, with a sign that is seen in a list of messages.
pub(crate) fn sign(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "⚠️",
        Severity::Critical => "🔥",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::samples::{group_of, incident};

    #[test]
    fn an_alert_says_what_an_operator_asks() {
        let site = Site {
            external_url: "http://oddns:8753".into(),
            external_labels: Labels::new(vec![("cluster".into(), "eu\u{1b}[31m".into())]),
        };
        let group = group_of(&[incident("a:1", 60, 3.0)]);
        let [alert] = Alert::all_of(&group, &site).try_into().unwrap();
        let labels: Vec<String> = alert.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let expected = [
            "alertname=CoreDNSOdd",
            "cause=upstream_failure",
            "cluster=eu[31m",
            "instance=a:1",
            "job=dns",
            "severity=critical",
        ];
        assert_eq!(labels, expected);
        assert!(alert.url.starts_with("http://oddns:8753/#incident-"));
        let description = &alert.annotations["description"];
        let expected = "Since 1970-01-01 00:01:00 UTC, 3.0 times the alarm line at most.\n\
                        Likely: upstream failure (90 %).\nMoved: request_latency_mean_seconds 10.0 ms → 2 s.";
        assert_eq!(description, expected);
        assert!(alert.annotations["summary"].starts_with("a:1: "), "{alert:?}");
        assert!(!alert.annotations["next_steps"].is_empty());
        let until = Timestamp::from_millis(300_000);
        let json = serde_json::to_value(alert.json(until)).unwrap();
        assert_eq!(json["startsAt"], "1970-01-01T00:01:00.000Z");
        assert_eq!(json["endsAt"], "1970-01-01T00:05:00.000Z");
    }

    #[test]
    fn many_servers_are_counted() {
        let incidents: Vec<_> = (0..40).map(|n| incident(&format!("s{n}:1"), n, 1.2)).collect();
        let group = group_of(&incidents);
        let alert = Alert::all_of(&group, &Site::default()).pop().unwrap();
        assert!(!alert.labels.contains_key("instance"));
        assert_eq!(alert.labels["severity"], "critical");
        assert!(alert.annotations["summary"].starts_with("40 of 40 servers of dns: "));
        assert!(alert.annotations["servers"].ends_with("s9:1 and 30 more"));
    }
}
