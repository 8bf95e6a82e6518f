//! What is wrong with a configuration, where, and what to write instead.

use std::fmt::Display;

use serde_saphyr::{Location, MessageFormatter, Spanned, UserMessageFormatter};

use super::keys::{FOREIGN, Foreign};

/// One thing wrong with a configuration, or worth knowing about it, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ConfigError {
    /// Line, from 1; 0 when the place is not known.
    pub line: u64,
    /// Column, from 1; 0 when the place is not known.
    pub column: u64,
    /// What is wrong and what to write instead.
    pub message: String,
}

pub(super) fn at(place: &Location, message: impl Into<String>) -> ConfigError {
    ConfigError { line: place.line(), column: place.column(), message: message.into() }
}

/// A mistake at a value.
pub(super) fn wrong<T>(written: &Spanned<T>, message: impl Display) -> ConfigError {
    at(&written.referenced, message.to_string())
}

/// The parser's own errors in the words of a configuration file.
pub(super) fn parse_error(error: &serde_saphyr::Error) -> ConfigError {
    use serde_saphyr::Error;
    let message = match error.without_snippet() {
        Error::SerdeUnknownField { field, expected, .. } => unknown_key(field, expected),
        Error::SerdeMissingField { field, .. } => format!("the key `{field}` is missing"),
        Error::SerdeInvalidType { unexpected, expected, .. } => {
            format!("expected {expected}, found {unexpected}")
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key `{key}` is written twice: keep one")
        }
        Error::Unexpected { expected, .. } => format!("expected {}", in_yaml(expected)),
        Error::InvalidScalar { ty, .. } => format!("expected {}", in_yaml(ty)),
        other => without_place(&UserMessageFormatter.format_message(other)),
    };
    error.location().map_or_else(
        || ConfigError { line: 0, column: 0, message: message.clone() },
        |place| at(&place, message.as_str()),
    )
}

/// What the parser names in its own terms, as one writes it.
fn in_yaml(kind: &str) -> &str {
    match kind {
        "string scalar" => "a text, found a list or keys",
        "sequence start" => "a list: begin each of its entries with `- `",
        "mapping start" | "mapping" => "keys, each with `: ` and its value",
        "scalar" => "one value, found a list or keys",
        "boolean" => "`true` or `false`",
        "floating point" | "f32" | "f64" => "a number",
        kind if kind.starts_with('u') => "a whole number that is not below zero",
        kind if kind.starts_with('i') => "a whole number",
        kind => kind,
    }
}

/// The key of an error about one that is not known where it stands.
pub(super) fn unknown_field(error: &serde_saphyr::Error) -> Option<String> {
    match error.without_snippet() {
        serde_saphyr::Error::SerdeUnknownField { field, .. } => Some(field.to_string()),
        _ => None,
    }
}

fn unknown_key(key: &str, allowed: &[&str]) -> String {
    if let Some(Foreign { advice, .. }) = FOREIGN.iter().find(|foreign| foreign.name == key) {
        return format!("`{key}` of Prometheus is not supported: {advice}");
    }
    let key: String = key.chars().take(60).collect();
    match nearest(&key, allowed) {
        Some(meant) => format!("unknown key `{key}`: did you mean `{meant}`?"),
        None => {
            let names: Vec<String> = allowed.iter().map(|name| format!("`{name}`")).collect();
            format!("unknown key `{key}`: allowed here are {}", names.join(", "))
        }
    }
}

/// The allowed key that `key` most likely was meant to be; `None` when none is like it.
fn nearest<'a>(key: &str, allowed: &[&'a str]) -> Option<&'a str> {
    let near = allowed.iter().map(|name| (distance(key, name), *name)).min()?;
    (near.0 <= key.chars().count().max(3) / 3).then_some(near.1)
}

/// How many characters have to be inserted, deleted, changed, or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// The first line, without the place that the parser appends: [`ConfigError`] has its own.
fn without_place(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.split_once(" at line ").map_or(line, |(message, _)| message).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_found() {
        let allowed = ["scrape_interval", "scrape_timeout", "scheme"];
        assert_eq!(nearest("scrap_interval", &allowed), Some("scrape_interval"));
        assert_eq!(nearest("scrape_intervals", &allowed), Some("scrape_interval"));
        assert_eq!(nearest("schemes", &allowed), Some("scheme"));
        assert_eq!(nearest("model", &allowed), None);
        assert_eq!(distance("xy", "yx"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}
