//! What the library promises to those who depend on it: a list that changes only on purpose.
//!
//! cargo-semver-checks needs a published version to hold the library against, which there is not yet.
//! Until then every public item of `oddns` stands in `crates/oddns/public-api.txt`, and a change of it
//! shows in the review. `ODDNS_UPDATE_DOCS=1` writes the list anew.

use std::fs;

use anyhow::{Context, Result};

use crate::repository;

const SOURCE: &str = "crates/oddns/src/";
const LIST: &str = "crates/oddns/public-api.txt";

/// Public items of a file, one a line each: behind the `impl` that they stand in, and of an enum its
/// variants.
fn items(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut of, mut variants_of) = (String::new(), None);
    let mut lines = text.lines().take_while(|line| *line != "#[cfg(test)]");
    while let Some(line) = lines.next() {
        let (start, indent) = (line.trim_start(), line.len() - line.trim_start().len());
        if indent == 0 {
            variants_of = None;
            of = start.strip_prefix("impl").map_or(String::new(), |_| header(start));
        }
        if start.starts_with("pub ") {
            let item = whole(start, &mut lines);
            if let Some(name) = item.strip_prefix("pub enum ") {
                variants_of = Some(name.to_owned());
            }
            let fields_of = item.strip_prefix("pub struct ").map(str::to_owned);
            found.push(if of.is_empty() { item } else { format!("{of}: {item}") });
            of = fields_of.unwrap_or(of);
        } else if let (Some(name), 4) = (&variants_of, indent)
            && start.starts_with(char::is_uppercase)
        {
            found.push(format!("{name}::{}", header(start).trim_end_matches(',')));
        }
    }
    found
}

/// An item up to its body, in one line.
fn whole<'a>(first: &str, lines: &mut impl Iterator<Item = &'a str>) -> String {
    let mut item = first.trim_end().to_owned();
    while !item.ends_with(['{', ';', ',', '}']) || is_open(&item) {
        let Some(line) = lines.next() else { break };
        item = format!("{item} {}", line.trim());
    }
    header(&item)
}

/// Whether a bracket is not closed yet.
fn is_open(item: &str) -> bool {
    let count = |sign: char| item.matches(sign).count();
    count('(') > count(')') || item.starts_with("pub use") && count('{') > count('}')
}

fn header(item: &str) -> String {
    let item =
        if item.starts_with("pub use") { item } else { item.split('{').next().unwrap_or("") };
    item.trim().trim_end_matches([';', ',']).to_owned()
}

#[test]
fn the_library_promises_what_the_list_says() -> Result<()> {
    let mut promised = String::new();
    for (path, text) in repository::texts(".rs")? {
        let Some(file) = path.strip_prefix(SOURCE) else { continue };
        for item in items(&text) {
            promised += &format!("{file}: {item}\n");
        }
    }
    let path = repository::root().join(LIST);
    if std::env::var_os("ODDNS_UPDATE_DOCS").is_some() {
        fs::write(&path, &promised).with_context(|| format!("cannot write `{LIST}`"))?;
    }
    let listed = fs::read_to_string(&path).with_context(|| format!("cannot read `{LIST}`"))?;
    let missing = |from: &str, other: &str, what: &str| {
        let lines: Vec<&str> = other.lines().collect();
        let missing = from.lines().filter(|line| !lines.contains(line));
        missing.map(|line| format!("{what} {line}")).collect::<Vec<_>>()
    };
    let gone = missing(&listed, &promised, "gone or changed, which breaks those who use it:");
    let new = missing(&promised, &listed, "new, write it down with ODDNS_UPDATE_DOCS=1:");
    repository::assert_none(gone.into_iter().chain(new));
    Ok(())
}

#[test]
fn public_items_are_found_whole() {
    let text = "\
pub use oddns_core as core;
pub use detector::{
    Detector,
};
pub(crate) fn hidden() {}
pub enum Kind {
    /// Words.
    One,
    Two { a: u8 },
}
impl Kind {
    pub fn name(
        self,
        n: usize,
    ) -> String {
        let x = One { a: 1 };
    }
}
pub struct Row {
    pub a: u8,
    b: u8,
}
#[cfg(test)]
pub fn not_this() {}
";
    let expected = [
        "pub use oddns_core as core",
        "pub use detector::{ Detector, }",
        "pub enum Kind",
        "Kind::One",
        "Kind::Two",
        "impl Kind: pub fn name( self, n: usize, ) -> String",
        "pub struct Row",
        "Row: pub a: u8",
    ];
    assert_eq!(items(text), expected);
}
