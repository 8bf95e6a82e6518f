//! `${NAME}` in the values of a configuration: what the environment has under that name.

use std::cell::Cell;
use std::ops::Range;

use super::mistake::ConfigError;
use super::outline::{Outline, Value};

/// Rules in which `${1}` and `${name}` are groups of the pattern.
const RULES: [&str; 2] = ["relabel_configs", "metric_relabel_configs"];
/// Stand for the braces of `${…}`, which within brackets would mean something to YAML. Nobody writes them.
const MASKS: [char; 2] = ['\u{E0F0}', '\u{E0F1}'];

/// The text of a configuration file with each `${NAME}` in a value replaced by what `lookup` has for that
/// name, whatever it holds: it stays one value. `$${NAME}` is `${NAME}` itself. Keys, comments and relabelling
/// rules stay as they are, and so does a text that is no YAML. What stands on the same line behind such a
/// value may be told at another column later.
///
/// # Errors
/// Names that `lookup` has nothing for, with the places of their values.
pub fn with_environment(
    text: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<String, Vec<ConfigError>> {
    let outline = if text.contains("${") { Outline::of(&masked(text)) } else { None };
    let Some(outline) = outline else { return Ok(text.to_owned()) };
    let (mut chars, mut mistakes) = (text.chars().collect::<Vec<char>>(), Vec::new());
    for value in outline.values().iter().rev().filter(|value| value.text.contains(MASKS)) {
        let is_rule =
            value.entry.is_some_and(|entry| RULES.iter().any(|of| outline.is_in(entry, of)));
        let lookup: &dyn Fn(&str) -> Option<String> =
            if is_rule { &|name| Some(format!("${{{name}}}")) } else { &lookup };
        let written: String = chars.get(value.range.clone()).unwrap_or_default().iter().collect();
        match replaced(value, &written, is_rule, lookup) {
            Ok(new) => drop(chars.splice(value.range.clone(), new.chars())),
            Err(name) => mistakes.push(unknown(&chars, &value.range, &name)),
        }
    }
    // From the last one to the first.
    mistakes.reverse();
    if mistakes.is_empty() { Ok(chars.into_iter().collect()) } else { Err(mistakes) }
}

/// With other characters for the braces of each `${…}` around a word; as many as before.
fn masked(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, from)) = rest.split_once("${") {
        out.push_str(before);
        let word = from.split_once('}').map(|(word, _)| word).filter(|word| is_word(word));
        match word {
            Some(word) => out.extend(["$", &MASKS[0].to_string(), word, &MASKS[1].to_string()]),
            None => out.push_str("${"),
        }
        rest = &from[word.map_or(0, |word| word.len() + 1)..];
    }
    out.push_str(rest);
    out
}

fn unmasked(text: &str) -> String {
    text.replace(MASKS[0], "{").replace(MASKS[1], "}")
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

/// A value as it is to be written, on as many lines as before, or a name that is not known.
fn replaced(
    value: &Value,
    written: &str,
    is_rule: bool,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let text = unmasked(&value.text);
    let is_plain = Cell::new(value.is_plain && !written.contains('\n'));
    let known = |name: &str| {
        let found = lookup(name)?;
        is_plain.set(is_plain.get() && is_tame(&found));
        Some(found)
    };
    let whole = if is_rule { text.clone() } else { expanded(&text, &known)? };
    let is_read_alike = !(value.is_plain && value.is_flow && whole.contains(['{', '}']));
    if is_read_alike && whole == text {
        return Ok(written.to_owned());
    }
    if is_read_alike && is_plain.get() && !whole.eq_ignore_ascii_case("null") {
        return Ok(whole);
    }
    let body = written.trim_end();
    let lines = "\n".repeat(body.matches('\n').count());
    Ok(format!("\"{}\"{lines}{}", escaped(&whole), &written[body.len()..]))
}

/// Whether a text means nothing to YAML, wherever it stands.
fn is_tame(value: &str) -> bool {
    let is_tame = |c: char| c.is_ascii_alphanumeric() || "._/+".contains(c);
    !value.is_empty() && value.chars().all(is_tame)
}

/// A text within double quotes: those of JSON are those of YAML, which takes fewer characters as they
/// are.
fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    let mut out = String::new();
    for c in quoted[1..quoted.len() - 1].chars() {
        match c {
            '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => out.push(c),
        }
    }
    out
}

/// With each `${NAME}` replaced by its value, or a name that is not known.
fn expanded(written: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), written);
    while let Some((before, from)) = rest.split_once("${") {
        let name = from.split_once('}').map(|(name, _)| name).filter(|name| is_name(name));
        match (name, before.strip_suffix('$')) {
            (None, _) => out.extend([before, "${"]),
            (Some(name), Some(before)) => out.extend([before, "${", name, "}"]),
            (Some(name), None) => {
                out.push_str(before);
                out.push_str(&lookup(name).ok_or_else(|| name.to_owned())?);
            }
        }
        rest = &from[name.map_or(0, |name| name.len() + 1)..];
    }
    out.push_str(rest);
    Ok(out)
}

fn is_name(name: &str) -> bool {
    is_word(name) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        let value = match name {
            "HOST" => "10.0.0.1",
            "N" => "7",
            "PASSWORD" => "a: 'b' \"c\" #d\n{${HOST}, ] \\ \t\r\u{7f}\u{85}\u{2028}\u{feff}é\n",
            "NULL" => "null",
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
    fn however_a_value_is_written_it_is_replaced_and_nothing_else_moves() {
        let password = environment("PASSWORD").unwrap();
        for name in ["PASSWORD", "HOST", "EMPTY", "NULL", "N"] {
            let value = environment(name).unwrap();
            for (text, shown) in [
                ("a: [x, {b: ${V}}, c]", value.clone()),
                ("a: [x, {b: ${V} , c: 1}, c]", value.clone()),
                ("a: [x, {b: y${V}z}, c]", format!("y{value}z")),
                ("a:\n- x\n- b: |\n    1 ${V}\n    $${N}\n\n- c", format!("1 {value}\n${{N}}\n")),
                ("a:\n- x\n- b: >- # ${NONE}\n    1\n    ${V}\n- c", format!("1 {value}")),
                ("a:\n- x\n- b: |+\n    ${V}\n\n  d: 1\n- c", format!("{value}\n\n")),
                ("a:\n- x\n- b: 1\n    ${V}\n  d: 1\n- c", format!("1 {value}")),
                ("a: [x, {b: \"1\n ${V}\"\n }, c]", format!("1 {value}")),
            ] {
                let text = text.replace("${V}", &format!("${{{name}}}"));
                let whole = with(&text);
                assert_eq!(whole.matches('\n').count(), text.matches('\n').count(), "{whole}");
                let read: serde_json::Value = serde_saphyr::from_str(&whole).unwrap();
                let got = &read["a"][1]["b"];
                let got = got.as_str().map_or_else(|| got.to_string(), str::to_owned);
                assert_eq!((&got, &read["a"][2]), (&shown, &"c".into()), "{text}\n{whole}");
            }
        }
        let read: serde_json::Value =
            serde_saphyr::from_str(&with("[${HOST}, ${PASSWORD}, $${HOST}, ${1}]")).unwrap();
        assert_eq!(read, serde_json::json!(["10.0.0.1", password, "${HOST}", "${1}"]));
        let rule = with("relabel_configs: [{replacement: ${HOST}:${1}}]");
        let read: serde_json::Value = serde_saphyr::from_str(&rule).unwrap();
        assert_eq!(read["relabel_configs"][0]["replacement"], "${HOST}:${1}");
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
