//! Relabelling: rules that rewrite the labels of a target or a series, or drop it.

use std::collections::BTreeMap;
use std::str::FromStr;

use md5::{Digest, Md5};

use crate::pattern::{ParsePatternError, Pattern};

/// Labels by name while they are rewritten; a label with an empty value is as good as none.
pub type LabelMap = BTreeMap<String, String>;

/// What a rule does. The names are those of Prometheus, written in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Sets the target label to the replacement when the pattern matches.
    Replace,
    /// Goes on only when the pattern matches.
    Keep,
    /// Goes on only when the pattern does not match.
    Drop,
    /// Goes on only when the value is that of the target label.
    KeepEqual,
    /// Goes on only when the value is not that of the target label.
    DropEqual,
    /// Sets the target label to a hash of the value, modulo `modulus`.
    HashMod,
    /// Copies labels whose name matches to the name that the replacement makes.
    LabelMap,
    /// Removes labels whose name matches.
    LabelDrop,
    /// Removes labels whose name does not match.
    LabelKeep,
    /// Sets the target label to the value in lower case.
    Lowercase,
    /// Sets the target label to the value in upper case.
    Uppercase,
}

/// Every action with its name.
const ACTIONS: &[(&str, Action)] = &[
    ("replace", Action::Replace),
    ("keep", Action::Keep),
    ("drop", Action::Drop),
    ("keepequal", Action::KeepEqual),
    ("dropequal", Action::DropEqual),
    ("hashmod", Action::HashMod),
    ("labelmap", Action::LabelMap),
    ("labeldrop", Action::LabelDrop),
    ("labelkeep", Action::LabelKeep),
    ("lowercase", Action::Lowercase),
    ("uppercase", Action::Uppercase),
];

impl Action {
    fn name(self) -> &'static str {
        ACTIONS.iter().find(|(_, action)| *action == self).map_or("", |(name, _)| name)
    }

    fn needs_target(self) -> bool {
        !matches!(
            self,
            Self::Keep | Self::Drop | Self::LabelMap | Self::LabelDrop | Self::LabelKeep
        )
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_lowercase();
        let found = ACTIONS.iter().find(|(name, _)| *name == lower);
        found.map(|(_, action)| *action).ok_or_else(|| {
            let known: Vec<String> = ACTIONS.iter().map(|(name, _)| format!("`{name}`")).collect();
            format!("action `{text}` is not known: write one of {}", known.join(", "))
        })
    }
}

/// A rule as written: `None` for what was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleText {
    /// `source_labels`; empty when left out.
    pub source_labels: Vec<String>,
    /// `separator`, by default `;`.
    pub separator: Option<String>,
    /// `regex`, by default `(.*)`.
    pub regex: Option<String>,
    /// `modulus`, only for `hashmod`.
    pub modulus: Option<u64>,
    /// `target_label`.
    pub target_label: Option<String>,
    /// `replacement`, by default `$1`.
    pub replacement: Option<String>,
    /// `action`, by default `replace`.
    pub action: Option<String>,
}

/// A rule that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RuleError {
    /// The key at fault, such as `regex`; it may be one that is missing.
    pub key: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

/// One checked rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelabelRule {
    source_labels: Vec<String>,
    separator: String,
    pattern: Pattern,
    /// Not 0 for [`Action::HashMod`].
    modulus: u64,
    /// Not empty where [`Action::needs_target`].
    target_label: String,
    replacement: String,
    action: Action,
}

impl RelabelRule {
    /// Checks a rule as Prometheus does.
    pub fn new(text: RuleText) -> Result<Self, RuleError> {
        let fault = |key, message| RuleError { key, message };
        let action = text.action.as_deref().map_or(Ok(Action::Replace), str::parse);
        let action = action.map_err(|message| fault("action", message))?;
        check_keys(action, &text)?;
        let pattern = Pattern::new(text.regex.as_deref().unwrap_or("(.*)"))
            .map_err(|error: ParsePatternError| fault("regex", error.to_string()))?;
        Ok(Self {
            source_labels: text.source_labels,
            separator: text.separator.unwrap_or_else(|| ";".to_owned()),
            pattern,
            modulus: text.modulus.unwrap_or_default(),
            target_label: text.target_label.unwrap_or_default(),
            replacement: text.replacement.unwrap_or_else(|| "$1".to_owned()),
            action,
        })
    }

    /// Applies the rule; false when the target or series is dropped.
    pub fn apply(&self, labels: &mut LabelMap) -> bool {
        let value = self.value(labels);
        match self.action {
            Action::Keep => return self.pattern.is_match(&value),
            Action::Drop => return !self.pattern.is_match(&value),
            Action::KeepEqual => return get(labels, &self.target_label) == value,
            Action::DropEqual => return get(labels, &self.target_label) != value,
            Action::Replace => self.replace(&value, labels),
            Action::Lowercase => set(labels, &self.target_label, value.to_lowercase()),
            Action::Uppercase => set(labels, &self.target_label, value.to_uppercase()),
            Action::HashMod => {
                let bucket = hash(&value) % self.modulus.max(1);
                set(labels, &self.target_label, bucket.to_string());
            }
            Action::LabelMap => self.map_names(labels),
            Action::LabelDrop => labels.retain(|name, _| !self.pattern.is_match(name)),
            Action::LabelKeep => labels.retain(|name, _| self.pattern.is_match(name)),
        }
        true
    }

    fn value(&self, labels: &LabelMap) -> String {
        let values: Vec<&str> = self.source_labels.iter().map(|name| get(labels, name)).collect();
        values.join(&self.separator)
    }

    fn replace(&self, value: &str, labels: &mut LabelMap) {
        let templates = [self.target_label.as_str(), self.replacement.as_str()];
        if let Some([target, replacement]) = self.pattern.expand(value, templates)
            && !target.is_empty()
        {
            set(labels, &target, replacement);
        }
    }

    fn map_names(&self, labels: &mut LabelMap) {
        let copy = |(name, value): (&String, &String)| {
            let [new] = self.pattern.expand(name, [self.replacement.as_str()])?;
            Some((new, value.clone()))
        };
        let copies: Vec<(String, String)> = labels.iter().filter_map(copy).collect();
        for (name, value) in copies.into_iter().filter(|(name, _)| !name.is_empty()) {
            set(labels, &name, value);
        }
    }
}

/// Applies `rules` one after the other; false when one of them drops the target or series, whose
/// labels are then of no meaning.
pub fn relabel(labels: &mut LabelMap, rules: &[RelabelRule]) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

fn get<'a>(labels: &'a LabelMap, name: &str) -> &'a str {
    labels.get(name).map_or("", String::as_str)
}

fn set(labels: &mut LabelMap, name: &str, value: String) {
    if value.is_empty() {
        labels.remove(name);
    } else {
        labels.insert(name.to_owned(), value);
    }
}

/// The last eight bytes of the MD5 digest, as every version of Prometheus took them.
fn hash(value: &str) -> u64 {
    let digest: [u8; 16] = Md5::digest(value.as_bytes()).into();
    let mut last = [0; 8];
    last.copy_from_slice(&digest[8..]);
    u64::from_be_bytes(last)
}

/// Which keys an action needs and which it does not take.
fn check_keys(action: Action, text: &RuleText) -> Result<(), RuleError> {
    let name = action.name();
    let fault = |key, message: String| Err(RuleError { key, message });
    if action == Action::HashMod && text.modulus.unwrap_or_default() == 0 {
        return fault("modulus", "action `hashmod` needs a `modulus` above 0".to_owned());
    }
    if action.needs_target() && text.target_label.as_deref().unwrap_or_default().is_empty() {
        return fault("target_label", format!("action `{name}` needs a `target_label`"));
    }
    let replacement = text.replacement.as_deref();
    if action == Action::LabelMap && replacement == Some("") {
        return fault("replacement", "the `replacement` of `labelmap` is empty".to_owned());
    }
    let given = [
        ("source_labels", !text.source_labels.is_empty()),
        ("target_label", text.target_label.is_some()),
        ("separator", text.separator.as_deref().is_some_and(|separator| separator != ";")),
        ("regex", text.regex.as_deref().is_some_and(|regex| regex != "(.*)")),
        ("modulus", text.modulus.is_some_and(|modulus| modulus != 0)),
        ("replacement", replacement.is_some_and(|replacement| replacement != "$1")),
    ];
    let not_taken: &[&str] = match action {
        Action::LabelDrop | Action::LabelKeep => {
            &["source_labels", "target_label", "separator", "modulus", "replacement"]
        }
        Action::KeepEqual | Action::DropEqual => &["separator", "regex", "modulus", "replacement"],
        Action::Lowercase | Action::Uppercase => &["replacement"],
        _ => &[],
    };
    match given.iter().find(|(key, given)| *given && not_taken.contains(key)) {
        Some((key, _)) => {
            fault(key, format!("action `{name}` does not take `{key}`: leave it out"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(pairs: &[(&str, &str)]) -> LabelMap {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn rule(action: &str, source: &[&str], regex: &str, target: &str, with: &str) -> RelabelRule {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        RelabelRule::new(RuleText {
            source_labels: source.iter().map(|name| (*name).to_owned()).collect(),
            regex: given(regex),
            target_label: given(target),
            replacement: given(with),
            action: Some(action.to_owned()),
            modulus: (action == "hashmod").then_some(8),
            ..RuleText::default()
        })
        .unwrap()
    }

    #[test]
    fn the_usual_rules_of_a_cluster() {
        let mut found = labels(&[
            ("__address__", "10.2.0.11:53"),
            ("__meta_kubernetes_pod_label_k8s_app", "kube-dns"),
            ("__meta_kubernetes_pod_name", "coredns-0"),
        ]);
        let rules = [
            rule("keep", &["__meta_kubernetes_pod_label_k8s_app"], "kube-dns|coredns", "", ""),
            rule("replace", &["__address__"], r"([^:]+)(?::\d+)?", "__address__", "$1:9153"),
            rule("labelmap", &[], "__meta_kubernetes_pod_(name)", "", "pod_$1"),
            rule("labeldrop", &[], "__meta_.+", "", ""),
            rule("Uppercase", &["pod_name"], "", "upper", ""),
        ];
        assert!(relabel(&mut found, &rules));
        let expected =
            [("__address__", "10.2.0.11:9153"), ("pod_name", "coredns-0"), ("upper", "COREDNS-0")];
        assert_eq!(found, labels(&expected));
        let other = rule("drop", &["pod_name", "nothing"], "coredns-0;", "", "");
        assert!(!other.apply(&mut found));
    }

    #[test]
    fn an_empty_value_is_no_label() {
        let mut found = labels(&[("a", "x"), ("b", "y")]);
        assert!(rule("replace", &["nothing"], "", "a", "").apply(&mut found));
        assert_eq!(found, labels(&[("b", "y")]));
        // Without a match nothing happens.
        assert!(rule("replace", &["b"], "z", "b", "new").apply(&mut found));
        assert_eq!(found, labels(&[("b", "y")]));
    }

    #[test]
    fn rules_that_cannot_be_name_the_key() {
        let text =
            |action: &str| RuleText { action: Some(action.to_owned()), ..RuleText::default() };
        for (text, key, message) in [
            (text("replaces"), "action", "action `replaces` is not known: write one of `replace`"),
            (text("replace"), "target_label", "action `replace` needs a `target_label`"),
            (text("hashmod"), "modulus", "action `hashmod` needs a `modulus` above 0"),
            (
                RuleText { regex: Some("(".to_owned()), ..text("keep") },
                "regex",
                "`(` is no regular expression",
            ),
            (
                RuleText { target_label: Some("a".to_owned()), ..text("labeldrop") },
                "target_label",
                "action `labeldrop` does not take `target_label`: leave it out",
            ),
        ] {
            let error = RelabelRule::new(text).unwrap_err();
            assert_eq!(error.key, key);
            assert!(error.to_string().starts_with(message), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_hash_is_below_its_modulus(value in ".{0,40}") {
            let mut found = labels(&[("a", &value)]);
            prop_assert!(rule("hashmod", &["a"], "", "b", "").apply(&mut found));
            prop_assert!(found["b"].parse::<u64>().unwrap() < 8);
        }
    }
}
