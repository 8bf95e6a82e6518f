//! The pure middle: crates that take values, seeds and the time, and return values.

use anyhow::Result;

use crate::repository;

const PURE: &[&str] =
    &["oddns", "oddns-core", "oddns-features", "oddns-model", "oddns-detect", "oddns-sim"];

/// What reaches for the world outside, and what to do instead.
const IMPURE: &[(&str, &str)] = &[
    ("std::fs", "take a reader, a writer or bytes"),
    ("std::net", "take bytes"),
    ("std::env", "take the value as an argument"),
    ("std::process", "return an error"),
    ("SystemTime", "take the time as an argument"),
    ("Instant::now", "take the time as an argument"),
    ("Timestamp::now", "take the time as an argument"),
    ("File::open", "take a reader"),
    ("File::create", "take a writer"),
    ("tokio::", "leave waiting to the caller"),
];

fn violations(path: &str, text: &str) -> Vec<String> {
    // By our order of a file, tests are last.
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut violations = Vec::new();
    for (number, line) in code.lines().enumerate().filter(|(_, line)| !is_comment(line)) {
        for (name, instead) in IMPURE.iter().filter(|(name, _)| line.contains(name)) {
            violations.push(format!("{path}:{}: `{name}` in a pure crate: {instead}", number + 1));
        }
    }
    violations
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

fn is_pure(path: &str) -> bool {
    let is_in = |krate: &&str| path.starts_with(&format!("crates/{krate}/src/"));
    PURE.iter().any(is_in) && !path.ends_with("/tests.rs")
}

#[test]
fn pure_crates_do_not_reach_outside() -> Result<()> {
    let texts = repository::texts(".rs")?;
    let pure: Vec<_> = texts.iter().filter(|(path, _)| is_pure(path)).collect();
    assert!(!pure.is_empty());
    repository::assert_none(pure.iter().flat_map(|(path, text)| violations(path, text)));
    Ok(())
}

#[test]
fn reaching_outside_is_found_but_not_in_comments_and_tests() {
    let text =
        "// std::fs is not for us\nuse std::fs;\n\n#[cfg(test)]\nmod tests { use std::env; }\n";
    let expected = ["x.rs:2: `std::fs` in a pure crate: take a reader, a writer or bytes"];
    assert_eq!(violations("x.rs", text), expected);
}

#[test]
fn the_rim_is_not_pure() {
    assert!(is_pure("crates/oddns/src/lib.rs"));
    assert!(is_pure("crates/oddns-core/src/frame.rs"));
    assert!(!is_pure("crates/oddns-store/src/lib.rs"));
    assert!(!is_pure("crates/oddns-core/tests/it/main.rs"));
    assert!(!is_pure("crates/oddns-core/src/frame/tests.rs"));
}
