#![doc = include_str!("../README.md")]

mod args;
mod base;
mod commands;
mod data;
mod effects;
mod exit;
mod fidelity;
mod generations;
mod heat_map;
mod model_file;
mod output;
mod picture;
mod progress;
mod signals;
mod suite;
mod trial;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Arguments, Command};

fn main() -> ExitCode {
    exit::keep_decoder_panics_quiet();
    exit::choose_form(std::env::args_os());
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return exit::usage(&error),
    };
    match signals::keep_file_size_an_error().and_then(|()| run(arguments.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Demo(args) => commands::demo::run(&args),
        Command::Watch(args) => commands::watch::run(&args),
        Command::Collect(args) => commands::collect::run(&args),
        Command::Train(args) => commands::train::run(&args),
        Command::Update(args) => commands::update::run(&args),
        Command::Model(command) => commands::model::run(&command),
        Command::Score(args) => commands::score::run(&args),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Import(args) => commands::import::run(&args),
        Command::Export(args) => commands::export::run(&args),
        Command::Simulate(args) => commands::simulate::run(&args),
        Command::Lab(command) => commands::lab::run(&command),
        Command::CheckConfig(args) => commands::check_config::run(&args),
        Command::Dataset(command) => commands::dataset::run(&command),
        Command::CheckHealth(args) => commands::check_health::run(&args),
        Command::Completions(args) => commands::completions::run(&args),
        Command::Man(args) => commands::man::run(&args),
    }
}
