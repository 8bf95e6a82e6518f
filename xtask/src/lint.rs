//! Every static check, all of them even when one fails.
//!
//! Each check is a program of its own with its own configuration file in the root; what they hold
//! is written there. Advisories are not among the checks: they need a database from the network,
//! and would fail a change for something that it did not do.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process;
use crate::setup::{self, Group, LintTools};
use crate::workspace::Workspace;

struct Check {
    name: &'static str,
    command: Command,
}

struct Outcome {
    name: &'static str,
    ok: bool,
    took: Duration,
}

/// Runs all checks in the workspace and prints a table.
///
/// # Errors
/// When a check failed, naming it.
pub(crate) fn run() -> Result<()> {
    let tools = LintTools::of(&setup::run(&[Group::Lint])?);
    let workspace = Workspace::find()?;
    let outcomes: Vec<Outcome> =
        checks(&tools).into_iter().map(|check| check.run(&workspace.root)).collect();
    print!("\n{}", table(&outcomes));
    let failed: Vec<&str> =
        outcomes.iter().filter(|outcome| !outcome.ok).map(|outcome| outcome.name).collect();
    if !failed.is_empty() {
        bail!("lint failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Quick checks first: most failures show within seconds.
fn checks(tools: &LintTools) -> Vec<Check> {
    let tool = |path: &Path, arguments: &[&str]| {
        let mut command = Command::new(path);
        command.args(arguments);
        command
    };
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    let licences = ["--log-level", "error", "check", "bans", "licenses", "sources"];
    let mut doc = cargo(&["doc", "--workspace", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    // A workspace of its own, built by no other check.
    let fuzz = ["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"];
    vec![
        Check { name: "rustfmt", command: cargo(&["fmt", "--all", "--check"]) },
        Check { name: "fuzz", command: cargo(&fuzz) },
        Check { name: "taplo", command: tool(&tools.taplo, &["fmt", "--check", "--diff"]) },
        Check { name: "typos", command: tool(&tools.typos, &[]) },
        Check { name: "machete", command: tool(&tools.machete, &["--skip-target-dir"]) },
        Check { name: "deny", command: tool(&tools.deny, &licences) },
        Check { name: "clippy", command: cargo(&clippy) },
        Check { name: "rustdoc", command: doc },
    ]
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = process::cargo();
    command.args(arguments);
    command
}

impl Check {
    fn run(mut self, root: &Path) -> Outcome {
        println!("\n== {}", self.name);
        let start = Instant::now();
        let result = process::run(self.command.current_dir(root));
        if let Err(error) = &result {
            eprintln!("{error:#}");
        }
        Outcome { name: self.name, ok: result.is_ok(), took: start.elapsed() }
    }
}

fn table(outcomes: &[Outcome]) -> String {
    let mut table = format!("{:<10} {:<8} {:>8}\n", "check", "result", "seconds");
    for Outcome { name, ok, took } in outcomes {
        let result = if *ok { "ok" } else { "FAILED" };
        table += &format!("{name:<10} {result:<8} {:>8.1}\n", took.as_secs_f64());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &'static str, program: &str) -> Outcome {
        Check { name, command: Command::new(program) }.run(Path::new("."))
    }

    #[test]
    fn the_table_says_what_failed() {
        let mut outcomes =
            [outcome("good", "true"), outcome("bad", "false"), outcome("gone", "no-such-program")];
        for outcome in &mut outcomes {
            outcome.took = Duration::from_millis(1_250);
        }
        let expected = "check      result    seconds\n\
                        good       ok            1.2\n\
                        bad        FAILED        1.2\n\
                        gone       FAILED        1.2\n";
        assert_eq!(table(&outcomes), expected);
    }
}
