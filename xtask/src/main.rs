#![doc = include_str!("../README.md")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "talking to a terminal is its job")]

mod base;
mod bench;
mod deb;
mod docs;
mod fuzz;
mod image;
mod lint;
mod process;
mod python;
mod setup;
mod static_binary;
mod test;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};

use setup::Group;

/// Automation of the oddns workspace.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what lint and tests need into the user's cache.
    Setup {
        /// Only these groups; none named means all.
        groups: Vec<Group>,
    },
    /// Run every static check and print a table of the results.
    Lint,
    /// Run unit, doc and integration tests, with the real peers installed.
    Test {
        /// Passed to `cargo test`, for example `-- -p oddns-core -- frame`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Write the pages that come from tables of the code.
    Docs {
        /// Write nothing, fail when a page is not up to date.
        #[arg(long)]
        check: bool,
    },
    /// Feed random bytes to every parser and decoder.
    Fuzz(fuzz::Options),
    /// Build the release wheel, install it into an environment of its own, and run its tests there.
    Wheel,
    /// Make the base models that the program brings along.
    Base(base::Options),
    /// Make the Debian package.
    Deb(deb::Options),
    /// Make the container image, without a registry.
    Image(image::Options),
    /// Measure, and print one JSON line for each comparison.
    Bench {
        #[arg(value_parser = PossibleValuesParser::new(bench::names()))]
        name: String,
        /// For `detectors` and `leaderboard`: a folder of labelled data; may be repeated.
        #[arg(long, value_name = "DIR")]
        data: Vec<PathBuf>,
        /// For `detectors`: how the data lie in it, as `oddns eval --suite` has it.
        #[arg(long, default_value = "frames")]
        layout: String,
        #[command(flatten)]
        soak: bench::Soak,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Setup { groups } if groups.is_empty() => setup::run(&Group::ALL).map(drop),
        Task::Setup { groups } => setup::run(&groups).map(drop),
        Task::Lint => lint::run(),
        Task::Test { arguments } => test::run(&arguments),
        Task::Docs { check } => docs::run(check),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Wheel => python::wheel(),
        Task::Base(options) => base::run(&options),
        Task::Deb(options) => deb::run(&options),
        Task::Image(options) => image::run(&options),
        Task::Bench { name, data, layout, soak } => {
            bench::run(&name, &bench::Suite { layout, data }, &soak)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_the_dashes_reaches_cargo_test_whole() {
        let line = ["xtask", "test", "--", "-p", "oddns-core", "--", "frame", "--nocapture"];
        let Task::Test { arguments } = Cli::parse_from(line).task else {
            panic!("not a test task")
        };
        assert_eq!(arguments, line[3..]);
    }
}
