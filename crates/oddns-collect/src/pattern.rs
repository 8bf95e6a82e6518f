//! Regular expressions as Prometheus's configuration writes them: Go's syntax, for the whole text.

use std::fmt;
use std::sync::LazyLock;

use regex::{Captures, Regex, RegexBuilder};

/// What a pattern may take when compiled; Prometheus bounds repetitions instead.
const MAX_COMPILED_BYTES: usize = 4 << 20;

/// How often something repeats, behind the brace; any other brace is a brace in Go, and a mistake in Rust.
static REPETITION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^[0-9]+(,[0-9]*)?\}").ok());

/// A regular expression of relabelling. It matches a whole value or not at all; a dot also matches
/// a line feed.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

/// A text that is no regular expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no regular expression: {reason}")]
pub struct ParsePatternError {
    text: String,
    reason: String,
}

impl Pattern {
    /// Compiles `text`, in the syntax of Go's RE2. Fails where Go fails, and on a pattern that
    /// would take more than 4 MiB.
    pub fn new(text: &str) -> Result<Self, ParsePatternError> {
        let wrong = |reason| ParsePatternError { text: text.chars().take(120).collect(), reason };
        let translated = Translation::of(text)
            .ok_or_else(|| wrong("a repetition of a repetition".to_owned()))?;
        let regex = RegexBuilder::new(&format!("^(?s:{translated})$"))
            .size_limit(MAX_COMPILED_BYTES)
            .build()
            .map_err(|error| wrong(reason(&error)))?;
        Ok(Self { text: text.to_owned(), regex })
    }

    /// Whether all of `value` matches.
    pub fn is_match(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Fills the groups of `value` into each of `templates`, `$1`, `${1}` and `${name}` as Go does;
    /// `None` when the value does not match.
    pub(crate) fn expand<const N: usize>(
        &self,
        value: &str,
        templates: [&str; N],
    ) -> Option<[String; N]> {
        let groups = self.regex.captures(value)?;
        Some(templates.map(|template| expand(template, &groups)))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The last line of the library's message: those before draw the pattern as it was translated.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// `regexp.Regexp.ExpandString` of Go.
fn expand(template: &str, groups: &Captures<'_>) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        match variable(after) {
            Some((name, after)) => {
                out.push_str(group(name, groups));
                rest = after;
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// The name behind a dollar and what follows; `None` when the dollar is just one.
fn variable(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('{');
    let name_and_rest = inner.unwrap_or(text);
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let end = name_and_rest.find(|c| !is_name(c)).unwrap_or(name_and_rest.len());
    let (name, rest) = name_and_rest.split_at(end);
    if name.is_empty() {
        return None;
    }
    match inner {
        Some(_) => Some((name, rest.strip_prefix('}')?)),
        None => Some((name, rest)),
    }
}

/// What a group matched; empty for one that did not, or is none.
fn group<'a>(name: &str, groups: &Captures<'a>) -> &'a str {
    let is_number =
        name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || name.as_bytes()[0] != b'0');
    let found = match name.parse::<usize>() {
        Ok(number) if is_number => groups.get(number),
        _ => groups.name(name),
    };
    found.map_or("", |found| found.as_str())
}

/// A pattern of Go as one of the `regex` crate.
struct Translation<'a> {
    rest: &'a str,
    out: String,
    /// Signs of repetition right before: `*` is one, `*?` are two.
    n_repeats: usize,
    /// Whether there was a third, or a second other than `?`, which Go refuses.
    is_nested: bool,
}

impl<'a> Translation<'a> {
    /// `None` for a repetition of a repetition.
    fn of(text: &'a str) -> Option<String> {
        let out = String::with_capacity(text.len() + 8);
        let mut translation = Self { rest: text, out, n_repeats: 0, is_nested: false };
        while let Some(next) = translation.next() {
            let n_repeats = std::mem::take(&mut translation.n_repeats);
            match next {
                '\\' => translation.escape(false),
                '[' => translation.class(),
                '{' => translation.brace(n_repeats),
                '*' | '+' | '?' => {
                    translation.out.push(next);
                    translation.repeat(n_repeats, next);
                }
                other => translation.out.push(other),
            }
        }
        (!translation.is_nested).then_some(translation.out)
    }

    fn repeat(&mut self, n_before: usize, sign: char) {
        self.is_nested |= n_before > 1 || (n_before == 1 && sign != '?');
        self.n_repeats = n_before + 1;
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    /// The backslash is taken. Go's classes are of ASCII, those of Rust of Unicode.
    fn escape(&mut self, in_class: bool) {
        let Some(next) = self.next() else { return self.out.push('\\') };
        let class = match next {
            'd' => "0-9",
            's' => r"\t\n\f\r ",
            'w' => "0-9A-Za-z_",
            'D' => "^0-9",
            'S' => r"^\t\n\f\r ",
            'W' => "^0-9A-Za-z_",
            'b' if !in_class => return self.out.push_str(r"(?-u:\b)"),
            'Q' => return self.literal(),
            // Rust has word boundaries of this spelling.
            '<' | '>' => return self.out.push(next),
            _ => {
                self.out.push('\\');
                return self.out.push(next);
            }
        };
        if in_class && !class.starts_with('^') {
            self.out.push_str(class);
        } else {
            self.out.push_str(&format!("[{class}]"));
        }
    }

    /// Up to `\E`, or the end, everything stands for itself.
    fn literal(&mut self) {
        let (text, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
        self.out.push_str(&regex::escape(text));
        self.rest = rest;
    }

    /// The opening brace is taken.
    fn brace(&mut self, n_before: usize) {
        let found = REPETITION.as_ref().and_then(|repetition| repetition.find(self.rest));
        let Some(found) = found else { return self.out.push_str(r"\{") };
        self.out.push_str(&format!("{{{}", found.as_str()));
        self.rest = &self.rest[found.end()..];
        self.repeat(n_before, '{');
    }

    /// The opening bracket is taken. Rust has operators and nested classes where Go has characters.
    fn class(&mut self) {
        self.out.push('[');
        for first in ['^', ']'] {
            if self.rest.starts_with(first) {
                self.out.push_str(if first == '^' { "^" } else { r"\]" });
                self.rest = &self.rest[1..];
            }
        }
        while let Some(next) = self.next() {
            match next {
                ']' => return self.out.push(']'),
                '\\' => self.escape(true),
                '[' if self.named_class() => {}
                '[' | '&' | '~' => {
                    self.out.push('\\');
                    self.out.push(next);
                }
                '-' if self.out.ends_with('-') => self.out.push_str(r"\-"),
                other => self.out.push(other),
            }
        }
    }

    /// Takes `[:alpha:]` and the like, whose bracket is taken.
    fn named_class(&mut self) -> bool {
        let Some((name, rest)) = self.rest.strip_prefix(':').and_then(|r| r.split_once(":]"))
        else {
            return false;
        };
        if !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'^') {
            return false;
        }
        self.out.push_str(&format!("[:{name}:]"));
        self.rest = rest;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn matches_the_whole_value_in_the_syntax_of_go() {
        for (pattern, yes, no) in [
            ("(.*)", "a\nb", None),
            ("", "", Some("a")),
            ("kube-dns|coredns", "coredns", Some("coredns-2")),
            (r"\d+", "0915", Some("٣")),
            (r"[\w-]+", "a-b_9", Some("ä")),
            (r"[^\D]", "7", Some("x")),
            (r"[a&&b[]+", "a&b[", Some("c")),
            (r"[[:alpha:]]+", "abc", Some("ab1")),
            (r"{__name__}", "{__name__}", Some("x")),
            (r"a{2}", "aa", Some("a{2}")),
            (r"\Qa.b[\E.", "a.b[x", Some("axb[x")),
            (r"\Qa+", "a+", Some("aa")),
            (r"[]a]+", "]a", Some("b")),
            (r"a)|(b", "b", Some("c")),
            (r"\bdns\b", "dns", Some("dnsx")),
            (r"(?i)kube-DNS", "KUBE-dns", Some("kube")),
        ] {
            let pattern = Pattern::new(pattern).unwrap();
            assert!(pattern.is_match(yes), "{pattern} {yes}");
            assert!(no.is_none_or(|no| !pattern.is_match(no)), "{pattern} {no:?}");
        }
    }

    #[test]
    fn a_mistake_is_told_in_one_line() {
        let error = Pattern::new("a(b").unwrap_err().to_string();
        assert_eq!(error, "`a(b` is no regular expression: unclosed group");
        assert!(Pattern::new("((a{100}){100}){100}").is_err());
        for (text, is_fine) in [("a*?", true), ("a**", false), ("a{2}?", true), ("a{2}+", false)] {
            assert_eq!(Pattern::new(text).is_ok(), is_fine, "{text}");
        }
    }

    #[test]
    fn groups_are_filled_in_as_go_does() {
        let pattern = Pattern::new(r"(?P<host>[^:]+):(\d+)(x)?").unwrap();
        for (template, expected) in [
            ("$1", "dns"),
            ("${1}:9153", "dns:9153"),
            ("$host-$2", "dns-53"),
            ("$1x", ""),
            ("${host}x", "dnsx"),
            ("$$1", "$1"),
            ("$", "$"),
            ("${", "${"),
            ("${host.x}", "${host.x}"),
            ("$3$9", ""),
            ("$01", ""),
            ("$0", "dns:53"),
            ("a-$-b", "a-$-b"),
        ] {
            assert_eq!(
                pattern.expand("dns:53", [template]),
                Some([expected.to_owned()]),
                "{template}"
            );
        }
        assert_eq!(pattern.expand("dns", ["$1"]), None);
    }

    proptest! {
        #[test]
        fn any_text_gets_an_answer(text in r"[\\\[\]\^&~\-{}(),0-9a-zQE|?:$.*+ä]{0,30}", value in ".{0,20}") {
            if let Ok(pattern) = Pattern::new(&text) {
                let _ = pattern.expand(&value, [text.as_str()]);
            }
        }

        #[test]
        fn a_quoted_text_matches_itself(text in "[^\\\\]{0,30}") {
            let pattern = Pattern::new(&format!(r"\Q{text}\E")).unwrap();
            prop_assert!(pattern.is_match(&text));
        }
    }
}
