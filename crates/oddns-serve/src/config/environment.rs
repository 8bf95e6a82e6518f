//! `${NAME}` in the values of a configuration: what the environment has under that name.

use std::cell::Cell;
use std::ops::Range;

use super::mistake::ConfigError;
use super::outline::Outline;

/// Rules in which `${1}` and `${name}` are groups of the pattern.
const RULES: [&str; 2] = ["relabel_configs", "metric_relabel_configs"];

/// The text of a configuration file with each `${NAME}` in a value replaced by what `lookup` has for that
/// name, whatever it holds: it stays one value. `$${NAME}` is `${NAME}` itself. Keys, comments, relabelling
/// rules and values of several lines stay as they are, and so does a text that is no YAML. What stands on the
/// same line behind such a value may be told at another column later.
///
/// # Errors
/// Names that `lookup` has nothing for, with their places.
pub fn with_environment(
    text: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<String, Vec<ConfigError>> {
    let outline = if text.contains("${") { Outline::of(text) } else { None };
    let Some(outline) = outline else { return Ok(text.to_owned()) };
    let (mut chars, mut mistakes) = (text.chars().collect::<Vec<char>>(), Vec::new());
    for (range, entry) in outline.values().iter().rev() {
        let written: String = chars.get(range.clone()).unwrap_or_default().iter().collect();
        let is_rule = entry.is_some_and(|entry| RULES.iter().any(|of| outline.is_in(entry, of)));
        if is_rule || !written.contains("${") || written.contains('\n') {
            continue;
        }
        match replaced(&written, &lookup) {
            Ok(value) => drop(chars.splice(range.clone(), value.chars())),
            Err(name) => mistakes.push(unknown(&chars, range, &name)),
        }
    }
    // From the last one to the first.
    mistakes.reverse();
    if mistakes.is_empty() { Ok(chars.into_iter().collect()) } else { Err(mistakes) }
}

fn unknown(chars: &[char], range: &Range<usize>, name: &str) -> ConfigError {
    let before = chars.get(..range.start).unwrap_or_default();
    let line = before.iter().filter(|c| **c == '\n').count() as u64 + 1;
    let column = before.iter().rev().take_while(|c| **c != '\n').count() as u64 + 1;
    let message = format!(
        "the environment has no `{name}`: set it, or write `$${{{name}}}` for the text itself"
    );
    ConfigError { line, column, message }
}

/// A value as it is to be written, or a name that is not known.
fn replaced(written: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let quotes = |mark| written.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark));
    if quotes('"').is_some() {
        return expanded(written, lookup, &escaped);
    }
    if let Some(content) = quotes('\'') {
        let content = expanded(&content.replace("''", "'"), lookup, &str::to_owned)?;
        return Ok(format!("\"{}\"", escaped(&content)));
    }
    let is_plain = Cell::new(true);
    let plain = expanded(written, lookup, &|value| {
        is_plain.set(is_plain.get() && is_tame(value));
        value.to_owned()
    })?;
    Ok(if is_plain.get() { plain } else { format!("\"{}\"", escaped(&plain)) })
}

/// Whether a text means nothing to YAML, wherever it stands.
fn is_tame(value: &str) -> bool {
    let is_tame = |c: char| c.is_ascii_alphanumeric() || "._/+".contains(c);
    !value.is_empty() && value.chars().all(is_tame)
}

/// A text within double quotes: those of JSON are those of YAML.
fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// With each `${NAME}` replaced by what `shown` makes of its value.
fn expanded(
    written: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    shown: &dyn Fn(&str) -> String,
) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), written);
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        let body = &from[2..];
        let name = body.split_once('}').map(|(name, _)| name).filter(|name| is_name(name));
        let Some(name) = name else {
            out.push_str(&rest[..at + 2]);
            rest = body;
            continue;
        };
        match before.strip_suffix('$') {
            Some(before) => out.push_str(&format!("{before}${{{name}}}")),
            None => {
                out.push_str(before);
                out.push_str(&shown(&lookup(name).ok_or_else(|| name.to_owned())?));
            }
        }
        rest = &body[name.len() + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn is_name(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.chars().next().is_some_and(is_letter)
        && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        let value = match name {
            "HOST" => "10.0.0.1",
            "N" => "7",
            "PASSWORD" => "a: 'b' \"c\" #d\n{${HOST}",
            "EMPTY" => "",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn with(text: &str) -> String {
        with_environment(text, environment).unwrap()
    }

    #[test]
    fn a_value_is_replaced_whatever_it_holds_and_stays_one_value() {
        assert_eq!(with("a: ${HOST}:9153\nb: ['${N}']"), "a: 10.0.0.1:9153\nb: [\"7\"]");
        let password = environment("PASSWORD").unwrap();
        for written in ["${PASSWORD}", "'${PASSWORD}'", "\"${PASSWORD}\""] {
            let text = with(&format!("a:\n  b: {written} # ${{NONE}}\n  c: '${{HOST}}'\n"));
            let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(
                (&read["a"]["b"], &read["a"]["c"]),
                (&password.as_str().into(), &"10.0.0.1".into())
            );
        }
        let read: serde_json::Value = serde_saphyr::from_str(&with("a: ${EMPTY}")).unwrap();
        assert_eq!(read["a"], "");
    }

    #[test]
    fn keys_groups_and_what_is_no_name_stay_as_they_are() {
        for text in [
            "${HOST}: 1",
            "a: $HOST ${} ${1} ${no name} ${HOST",
            "relabel_configs: [{replacement: '${HOST}:${1}'}]",
            "scrape_configs:\n- metric_relabel_configs:\n  - replacement: ${HOST}\n",
            "a: [${HOST}",
        ] {
            assert_eq!(with(text), text);
        }
        assert_eq!(with("a: $${HOST} '${N}'"), "a: ${HOST} '7'");
    }

    #[test]
    fn names_that_are_not_there_are_told_with_their_places() {
        let mistakes =
            with_environment("a: 1\nb: {c: 'x${NONE}', d: '${N}'}\ne: '${NO}'\n", environment);
        let told: Vec<String> = mistakes.unwrap_err().iter().map(ToString::to_string).collect();
        assert!(
            told[0].starts_with("line 2, column 8: the environment has no `NONE`: set it"),
            "{told:?}"
        );
        assert!(told[1].starts_with("line 3, column 4: ") && told.len() == 2, "{told:?}");
    }
}
