//! `relabel_configs` and `metric_relabel_configs`.

use oddns_collect::{RelabelRule, RuleText};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::mistake::{ConfigError, wrong};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenRule {
    source_labels: Option<Spanned<Vec<String>>>,
    separator: Option<Spanned<String>>,
    regex: Option<Spanned<String>>,
    modulus: Option<Spanned<u64>>,
    target_label: Option<Spanned<String>>,
    replacement: Option<Spanned<String>>,
    action: Option<Spanned<String>>,
}

/// Checks every rule; a mistake is told at its key, or where the rule begins when that is missing.
pub(super) fn rules(
    written: Option<Vec<Spanned<WrittenRule>>>,
) -> Result<Vec<RelabelRule>, ConfigError> {
    written.unwrap_or_default().iter().map(rule).collect()
}

fn rule(written: &Spanned<WrittenRule>) -> Result<RelabelRule, ConfigError> {
    let rule = &written.value;
    let text = |value: &Option<Spanned<String>>| value.as_ref().map(|text| text.value.clone());
    let checked = RelabelRule::new(RuleText {
        source_labels: rule.source_labels.as_ref().map_or(Vec::new(), |names| names.value.clone()),
        separator: text(&rule.separator),
        regex: text(&rule.regex),
        modulus: rule.modulus.as_ref().map(|modulus| modulus.value),
        target_label: text(&rule.target_label),
        replacement: text(&rule.replacement),
        action: text(&rule.action),
    });
    checked.map_err(|error| {
        let place = match error.key {
            "source_labels" => rule.source_labels.as_ref().map(|at| wrong(at, &error)),
            "separator" => rule.separator.as_ref().map(|at| wrong(at, &error)),
            "regex" => rule.regex.as_ref().map(|at| wrong(at, &error)),
            "modulus" => rule.modulus.as_ref().map(|at| wrong(at, &error)),
            "target_label" => rule.target_label.as_ref().map(|at| wrong(at, &error)),
            "replacement" => rule.replacement.as_ref().map(|at| wrong(at, &error)),
            _ => rule.action.as_ref().map(|at| wrong(at, &error)),
        };
        place.unwrap_or_else(|| wrong(written, &error))
    })
}
