//! PromQL series selectors.

use std::collections::BTreeMap;

use crate::remote_read::{Comparison, Matcher};

/// Metrics that say how a CoreDNS is doing, its own and those of its process, as scraping it gives
/// them; and how scraping it went. A regular expression, matched as a whole.
const METRICS: &str = "coredns_.+|process_.+|go_.+|up|scrape_duration_seconds";

/// Series that only a CoreDNS has, of these jobs; of all when none is named.
pub(super) fn coredns_of(jobs: &[String]) -> String {
    match jobs {
        [] => "{__name__=~\"coredns_.+\"}".to_owned(),
        jobs => format!("{{job=~\"{}\",__name__=~\"coredns_.+\"}}", any_of(jobs)),
    }
}

/// All that is worth having of these servers.
pub(super) fn metrics_of(jobs: &[String], instances: &[String]) -> String {
    let (jobs, instances) = (any_of(jobs), any_of(instances));
    format!("{{job=~\"{jobs}\",instance=~\"{instances}\",__name__=~\"{METRICS}\"}}")
}

/// `selector` narrowed to `names`; `None` when there is no place for that, so that it can only be
/// asked as it is.
pub(super) fn narrowed(selector: &str, names: &[String]) -> Option<String> {
    let inner = selector.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    // A quoted name in front is a metric name, and no second may stand beside it.
    if inner.starts_with('"') {
        return None;
    }
    let comma = if inner.is_empty() || inner.ends_with(',') { "" } else { "," };
    Some(format!("{{{inner}{comma}__name__=~\"{}\"}}", any_of(names)))
}

/// The conditions of a selector `name{…}`, of which a remote read takes nothing else; `None` when it
/// is something else, or written in a way that is rare.
pub(super) fn matchers(selector: &str) -> Option<Vec<Matcher>> {
    let selector = selector.trim();
    let (name, inner) = match selector.split_once('{') {
        Some((name, inner)) => (name.trim(), inner.strip_suffix('}')?),
        None => (selector, ""),
    };
    let mut matchers = Vec::new();
    if !name.is_empty() {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        name.chars().all(is_name).then_some(())?;
        matchers.push(equal("__name__", name));
    }
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let (matcher, behind) = matcher(rest)?;
        matchers.push(matcher);
        let behind = behind.trim_start();
        rest = match behind.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if behind.is_empty() => behind,
            None => return None,
        };
    }
    Some(matchers)
}

fn equal(name: &str, value: &str) -> Matcher {
    Matcher { comparison: Comparison::Equal, name: name.to_owned(), value: value.to_owned() }
}

/// The first condition, and what is behind it.
fn matcher(text: &str) -> Option<(Matcher, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
    let (name, rest) = text.split_at(end);
    let rest = rest.trim_start();
    if name.is_empty() {
        return None;
    }
    let signs = [
        ("=~", Comparison::Matches),
        ("!~", Comparison::MatchesNot),
        ("!=", Comparison::NotEqual),
        ("=", Comparison::Equal),
    ];
    let (comparison, rest) = signs
        .into_iter()
        .find_map(|(sign, comparison)| Some((comparison, rest.strip_prefix(sign)?)))?;
    let (value, behind) = quoted(rest.trim_start())?;
    Some((Matcher { comparison, name: name.to_owned(), value }, behind))
}

/// A text in double quotes with the usual escapes, and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &inner[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                c @ ('\\' | '"') => value.push(c),
                _ => return None,
            },
            '\n' => return None,
            c => value.push(c),
        }
    }
    None
}

/// Names with how many series each has, packed so that a pack has at most `max_series`, or one name
/// only.
pub(super) fn packs(counts: &BTreeMap<String, usize>, max_series: usize) -> Vec<Vec<String>> {
    let mut packs: Vec<Vec<String>> = Vec::new();
    let mut n_series = usize::MAX;
    for (name, count) in counts {
        n_series = n_series.saturating_add(*count);
        match packs.last_mut() {
            Some(pack) if n_series <= max_series => pack.push(name.clone()),
            _ => {
                packs.push(vec![name.clone()]);
                n_series = *count;
            }
        }
    }
    packs
}

/// An expression that matches exactly `texts`, fit to stand between quotes.
fn any_of(texts: &[String]) -> String {
    texts.iter().map(|text| escaped(text)).collect::<Vec<_>>().join("|")
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            // Once for the expression and once for the quotes around it.
            '\\' => out.push_str("\\\\\\\\"),
            '"' => out.push_str("\\\""),
            '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' => {
                out.push_str("\\\\");
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn names_are_matched_literally() {
        let jobs = owned(&["kube-dns", "a.b\"\\"]);
        assert_eq!(coredns_of(&jobs), r#"{job=~"kube-dns|a\\.b\"\\\\",__name__=~"coredns_.+"}"#);
        let all = metrics_of(&owned(&["dns"]), &owned(&["10.0.0.1:9153", "[::1]:9153"]));
        let start =
            r#"{job=~"dns",instance=~"10\\.0\\.0\\.1:9153|\\[::1\\]:9153",__name__=~"coredns_.+|"#;
        assert!(all.starts_with(start), "{all}");
    }

    #[test]
    fn selectors_are_narrowed() {
        let names = owned(&["a", "b"]);
        for (selector, expected) in [
            ("{job=\"x\"}", Some(r#"{job="x",__name__=~"a|b"}"#)),
            (" { job=\"x,\", } ", Some(r#"{job="x,",__name__=~"a|b"}"#)),
            ("{}", Some(r#"{__name__=~"a|b"}"#)),
            ("up", None),
            ("up{job=\"x\"}", None),
            ("{\"up\",job=\"x\"}", None),
            ("", None),
            ("{", None),
        ] {
            assert_eq!(narrowed(selector, &names).as_deref(), expected, "{selector}");
        }
    }

    #[test]
    fn selectors_become_conditions() {
        let shown = |selector: &str| {
            let matchers = matchers(selector)?;
            let shown = |m: &Matcher| format!("{} {:?} {}", m.name, m.comparison, m.value);
            Some(matchers.iter().map(shown).collect::<Vec<_>>().join(", "))
        };
        for (selector, expected) in [
            ("up", Some("__name__ Equal up")),
            (
                " a:b { x = \"1\" , y!~\"a|b\", } ",
                Some("__name__ Equal a:b, x Equal 1, y MatchesNot a|b"),
            ),
            ("{x!=\"a\\\\.b\\\"}\"}", Some("x NotEqual a\\.b\"}")),
            ("{}", Some("")),
            ("rate(up[5m])", None),
            ("{x='1'}", None),
            ("{\"up\"}", None),
            ("{x=\"1\" y=\"2\"}", None),
            ("up offset 5m", None),
            ("{x=\"1}", None),
        ] {
            assert_eq!(shown(selector).as_deref(), expected, "{selector}");
        }
        let written = metrics_of(&owned(&["a.b\"\\"]), &owned(&["n:1"]));
        let read = matchers(&written).unwrap();
        assert_eq!((read[0].value.as_str(), read[1].value.as_str()), (r#"a\.b"\\"#, "n:1"));
    }

    #[test]
    fn small_names_are_asked_together() {
        let counts = [("a", 3), ("b", 3), ("c", 9), ("d", 1), ("e", 1)];
        let counts = counts.map(|(name, count)| (name.to_owned(), count)).into();
        let expected = vec![owned(&["a", "b"]), owned(&["c"]), owned(&["d", "e"])];
        assert_eq!(packs(&counts, 6), expected);
        assert!(packs(&BTreeMap::new(), 6).is_empty());
    }
}
