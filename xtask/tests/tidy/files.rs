//! Size of files, and names of folders that exist on one machine only.

use anyhow::Result;

use crate::repository::{self, Tracked};

const MAX_BYTES: u64 = 1 << 20;

// Written in two halves, so that this file does not break its own rule.
const MACHINE_FOLDERS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/tm", "p/"),
];

fn too_large(file: &Tracked) -> Option<String> {
    let large = file.size > MAX_BYTES && !is_data(&file.path);
    large.then(|| {
        format!("{}: {} bytes, more than {MAX_BYTES} outside of `data`", file.path, file.size)
    })
}

fn is_data(path: &str) -> bool {
    let mut folders = path.split('/');
    match folders.next() {
        Some("data") => true,
        Some("crates") => folders.nth(1) == Some("data"),
        _ => false,
    }
}

fn machine_paths(path: &str, text: &str) -> Vec<String> {
    let mut violations = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for folder in MACHINE_FOLDERS.iter().filter(|folder| names_absolutely(line, folder)) {
            violations.push(format!("{path}:{}: names the folder `{folder}`", number + 1));
        }
    }
    violations
}

/// Whether `folder` stands in `line` at the start of a path and not within one.
fn names_absolutely(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || ".-_}])~*/".contains(before))
    })
}

#[test]
fn files_are_small_outside_of_data() -> Result<()> {
    repository::assert_none(repository::tracked()?.iter().filter_map(too_large));
    Ok(())
}

#[test]
fn no_file_names_a_folder_of_one_machine() -> Result<()> {
    let texts = repository::texts("")?;
    let ours = texts.iter().filter(|(path, _)| !is_data(path));
    repository::assert_none(ours.flat_map(|(path, text)| machine_paths(path, text)));
    Ok(())
}

#[test]
fn a_large_file_is_found_outside_of_data_only() {
    let file = |path: &str, size| Tracked { path: path.into(), size };
    assert!(too_large(&file("docs/film.gif", MAX_BYTES + 1)).is_some());
    assert!(too_large(&file("crates/oddns/src/data/x.bin", MAX_BYTES + 1)).is_some());
    assert!(too_large(&file("docs/film.gif", MAX_BYTES)).is_none());
    assert!(too_large(&file("data/x.parquet", MAX_BYTES + 1)).is_none());
    assert!(too_large(&file("crates/oddns-cli/data/demo/x.parquet", MAX_BYTES + 1)).is_none());
}

#[test]
fn a_machine_path_is_found_at_the_start_of_a_path_only() {
    let found = |line: &str| !machine_paths("x.md", line).is_empty();
    assert!(MACHINE_FOLDERS.iter().all(|folder| found(&format!("see `{folder}x`"))));
    assert!(MACHINE_FOLDERS.iter().all(|folder| found(&format!("{folder}x"))));
    assert!(!MACHINE_FOLDERS.iter().any(|folder| found(&format!("see `crates{folder}x`"))));
}
