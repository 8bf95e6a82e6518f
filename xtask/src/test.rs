//! All tests, with the real peers at hand.

use anyhow::Result;

use crate::setup::{self, Group};
use crate::{process, python};

/// Installs the peers, then runs `cargo test` with `arguments` and `ODDNS_PEERS`, and pytest for the
/// Python package.
///
/// # Errors
/// When setup or a test fails.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let for_python = !names_packages(arguments) || arguments.iter().any(|a| a == "oddns-py");
    let groups: &[Group] =
        if for_python { &[Group::Peers, Group::Python] } else { &[Group::Peers] };
    let cache = setup::run(groups)?;
    let mut cargo = process::cargo();
    // One failing binary must not hide what the others would say.
    cargo.args(["test", "--no-fail-fast"]).env("ODDNS_PEERS", cache.root());
    if !names_packages(arguments) {
        cargo.arg("--workspace");
    }
    let tested = process::run(cargo.args(arguments));
    if for_python {
        python::test(&cache)?;
    }
    tested
}

/// Whether the user chose packages; `cargo test` would ignore that beside `--workspace`.
fn names_packages(arguments: &[String]) -> bool {
    let of_cargo = arguments.iter().take_while(|argument| *argument != "--");
    of_cargo
        .into_iter()
        .any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_looked_for_before_the_second_dashes_only() {
        let names =
            |line: &str| names_packages(&line.split(' ').map(String::from).collect::<Vec<_>>());
        assert!(names("-p oddns-core"));
        assert!(names("--test it --package=oddns-core -- frame"));
        assert!(!names("--test it -- -p"));
    }
}
