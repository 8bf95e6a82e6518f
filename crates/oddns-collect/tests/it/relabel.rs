//! Relabelling against what Prometheus itself made of the same rules and labels.

use std::collections::BTreeMap;

use oddns_collect::{LabelMap, RelabelRule, RuleText, relabel};
use serde::Deserialize;

/// Written by the program in `tests/data/relabel`, which says how.
const CASES: &str = include_str!("../data/relabel.jsonl");

#[derive(Debug, Deserialize)]
struct Case {
    rules: Vec<Rule>,
    labels: LabelMap,
    valid: bool,
    keep: bool,
    #[serde(default)]
    out: LabelMap,
}

#[derive(Debug, Clone, Deserialize)]
struct Rule {
    action: Option<String>,
    #[serde(default)]
    source_labels: Vec<String>,
    separator: Option<String>,
    regex: Option<String>,
    modulus: Option<u64>,
    target_label: Option<String>,
    replacement: Option<String>,
}

fn rule(rule: Rule) -> Option<RelabelRule> {
    RelabelRule::new(RuleText {
        source_labels: rule.source_labels,
        separator: rule.separator,
        regex: rule.regex,
        modulus: rule.modulus,
        target_label: rule.target_label,
        replacement: rule.replacement,
        action: rule.action,
    })
    .ok()
}

/// Whether the rules are taken, whether the labels are kept, and what they become.
fn ours(case: &Case) -> (bool, bool, LabelMap) {
    let rules: Option<Vec<RelabelRule>> = case.rules.iter().cloned().map(rule).collect();
    let Some(rules) = rules else { return (false, false, BTreeMap::new()) };
    let mut labels = case.labels.clone();
    let keep = relabel(&mut labels, &rules);
    (true, keep, if keep { labels } else { BTreeMap::new() })
}

#[test]
fn every_case_comes_out_as_in_prometheus() {
    let mut differ = Vec::new();
    for line in CASES.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let ours = ours(&case);
        if ours != (case.valid, case.keep, case.out.clone()) {
            differ.push(format!("{line}\n  ours: {ours:?}"));
        }
    }
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
    assert_eq!(CASES.lines().count(), 300);
}
