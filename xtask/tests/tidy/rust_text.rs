//! Unfinished work and untested tests in Rust files.

use anyhow::Result;

use crate::repository;

// Written in two halves, so that this file does not break its own rule.
const UNFINISHED: &[(&str, &str)] = &[
    (concat!("FIX", "ME"), "fix it, or write an issue"),
    (concat!("XX", "X:"), "fix it, or write an issue"),
    (concat!("todo", "!("), "finish it"),
    (concat!("unimplemented", "!("), "finish it, or return an error"),
    (concat!("#[", "ignore"), "run it, or put it behind an environment variable"),
];

fn violations(path: &str, text: &str) -> Vec<String> {
    let mut violations = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (mark, instead) in UNFINISHED.iter().filter(|(mark, _)| line.contains(mark)) {
            violations.push(format!("{path}:{}: `{mark}`: {instead}", number + 1));
        }
    }
    violations
}

#[test]
fn rust_files_are_finished() -> Result<()> {
    let texts = repository::texts(".rs")?;
    repository::assert_none(texts.iter().flat_map(|(path, text)| violations(path, text)));
    Ok(())
}

#[test]
fn every_mark_is_found() {
    for (mark, _) in UNFINISHED {
        let found = violations("x.rs", &format!("fn f() {{\n    {mark} later\n}}\n"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("x.rs:2: "));
    }
    assert!(violations("x.rs", "fn todo() {}\n").is_empty());
}
