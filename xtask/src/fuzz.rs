//! Random bytes for every parser and decoder, for a while each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process;
use crate::setup;
use crate::workspace::Workspace;

/// The longest input that is tried; `fuzz/src/memory.rs` bounds what one of this length may take.
const MAX_INPUT_BYTES: usize = 1 << 20;

/// The whole process, which also keeps the inputs it has found.
const MAX_PROCESS_MIB: usize = 2048;

/// What one input may take.
const MAX_INPUT_SECONDS: u32 = 10;

#[derive(Args)]
pub(crate) struct Options {
    /// Only these targets; none named means all.
    targets: Vec<String>,
    /// How long to try new inputs, for each target; 0 tries the kept ones only.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Look for wrong memory accesses in libraries as well, at a fifth of the speed.
    #[arg(long)]
    address_sanitizer: bool,
}

/// Builds the targets and runs one after the other, all of them even when one fails. Those that were
/// named are built one by one, which is soon done.
///
/// # Errors
/// When there is no such target, it does not build, or an input makes it fail.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::find()?;
    let known = targets(&workspace.root)?;
    let chosen = choose(&known, &options.targets)?;
    let fuzz = CargoFuzz { program: setup::require_cargo_fuzz()?, workspace, options };
    if options.targets.is_empty() {
        fuzz.build()?;
    }
    let failed: Vec<&str> = chosen.into_iter().filter(|target| fuzz.run(target).is_err()).collect();
    if !failed.is_empty() {
        bail!("an input was found that fails, see above: {}", failed.join(", "));
    }
    Ok(())
}

/// Every target, sorted: the files of `fuzz/fuzz_targets`.
fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let files = fs::read_dir(&folder)
        .with_context(|| format!("cannot read the folder `{}`", folder.display()))?;
    let mut targets = Vec::new();
    for file in files {
        let path = file?.path();
        targets.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    targets.sort();
    Ok(targets)
}

fn choose<'a>(known: &'a [String], named: &'a [String]) -> Result<Vec<&'a str>> {
    if let Some(unknown) = named.iter().find(|target| !known.contains(target)) {
        bail!("there is no fuzz target `{unknown}`; there are: {}", known.join(", "));
    }
    let chosen = if named.is_empty() { known } else { named };
    Ok(chosen.iter().map(String::as_str).collect())
}

struct CargoFuzz<'a> {
    program: PathBuf,
    workspace: Workspace,
    options: &'a Options,
}

impl CargoFuzz<'_> {
    fn build(&self) -> Result<()> {
        process::run(&mut self.command("build"))
    }

    fn run(&self, target: &str) -> Result<()> {
        eprintln!("\n== {target}");
        // What is found goes into the first folder.
        let found = self.workspace.target.join("fuzz/corpus").join(target);
        let kept = self.workspace.root.join("fuzz/corpus").join(target);
        for folder in [&found, &kept] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create folder `{}`", folder.display()))?;
        }
        let mut command = self.command("run");
        command.arg(target).args([found, kept]).arg("--").args(self.limits());
        process::run(&mut command)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = match (self.options.address_sanitizer, has_nightly()) {
            (false, _) => Command::new(&self.program),
            // The sanitizer's options are unstable ones.
            (true, true) => {
                let mut rustup = Command::new("rustup");
                rustup.args(["run", "nightly"]).arg(&self.program);
                rustup
            }
            (true, false) => {
                let mut stable = Command::new(&self.program);
                stable.env("RUSTC_BOOTSTRAP", "1");
                stable
            }
        };
        let sanitizer = if self.options.address_sanitizer { "address" } else { "none" };
        command.args(["fuzz", verb, "--sanitizer", sanitizer, "--target-dir"]);
        command.arg(self.workspace.target.join("fuzz"));
        // Those of the cargo that runs us would choose its toolchain for the build.
        command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
        // Looking up the names of a backtrace takes more memory than an input may.
        command.env("RUST_BACKTRACE", "0");
        command.current_dir(self.workspace.root.join("fuzz"));
        command
    }

    fn limits(&self) -> Vec<String> {
        let seconds = self.options.seconds;
        let mut limits = vec![
            format!("-max_len={MAX_INPUT_BYTES}"),
            format!("-rss_limit_mb={MAX_PROCESS_MIB}"),
            format!("-timeout={MAX_INPUT_SECONDS}"),
            "-print_final_stats=1".to_owned(),
            "-verbosity=0".to_owned(),
        ];
        // No time at all would mean for ever.
        limits.push(match seconds {
            0 => "-runs=0".to_owned(),
            seconds => format!("-max_total_time={seconds}"),
        });
        limits
    }
}

fn has_nightly() -> bool {
    let list = process::output(Command::new("rustup").args(["toolchain", "list"]));
    list.is_ok_and(|list| list.lines().any(|line| line.starts_with("nightly")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_its_binary_and_small_inputs() {
        let manifest = std::env::var("CARGO_MANIFEST_DIR").unwrap();
        let root = Path::new(&manifest).join("..");
        let targets = targets(&root).unwrap();
        assert!(targets.len() > 10);
        let text = fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
        for target in targets {
            assert!(text.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target}");
            let corpus = fs::read_dir(root.join("fuzz/corpus").join(&target));
            let sizes: Vec<u64> =
                corpus.unwrap().map(|file| file.unwrap().metadata().unwrap().len()).collect();
            assert!(!sizes.is_empty(), "{target} has no input to begin with");
            assert!(sizes.iter().sum::<u64>() <= 32 * 1024, "{target} has large inputs");
        }
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_right_ones() {
        let known = ["frame_csv".to_owned(), "words".to_owned()];
        assert_eq!(choose(&known, &[]).unwrap(), ["frame_csv", "words"]);
        assert_eq!(choose(&known, &known[1..]).unwrap(), ["words"]);
        let error = choose(&known, &["word".to_owned()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no fuzz target `word`; there are: frame_csv, words"
        );
    }
}
