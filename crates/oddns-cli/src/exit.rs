//! How the program ends: 0 done, 1 failed, 2 wrong use, 3 bad input.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use oddns::DetectorError;
use oddns_collect::ReplayError;
use oddns_eval::EvalError;
use oddns_serve::ConfigError;
use oddns_store::StoreError;

/// Exit codes that scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    BadInput = 3,
}

/// An input that cannot be used, told in words.
#[derive(Debug)]
pub(crate) struct BadInput(pub(crate) String);

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for BadInput {}

/// Arguments that contradict each other or lack something, told in words.
#[derive(Debug)]
pub(crate) struct BadUse(pub(crate) String);

impl fmt::Display for BadUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for BadUse {}

/// Prints what clap has to say; help and version are no failure.
#[expect(clippy::print_stderr, reason = "the last resort when even printing help fails")]
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if let Err(unprintable) = error.print() {
        eprintln!("error: {unprintable}");
    }
    if error.use_stderr() { ExitCode::from(Exit::Usage as u8) } else { ExitCode::SUCCESS }
}

/// Prints the whole chain of causes in one line and picks the exit code.
#[expect(clippy::print_stderr, reason = "the one place where errors are told")]
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(code(error) as u8)
}

/// Ends the program when standard output cannot be written.
#[expect(clippy::print_stderr, reason = "standard output is what failed")]
pub(crate) fn unprintable(error: &std::io::Error) -> ! {
    eprintln!("error: cannot write to standard output: {error}");
    std::process::exit(i32::from(Exit::Failed as u8))
}

fn code(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if cause.is::<BadUse>() {
            return Exit::Usage;
        }
        if let Some(store) = cause.downcast_ref::<StoreError>() {
            return match store {
                StoreError::Write { .. } | StoreError::Exists { .. } => Exit::Failed,
                _ => Exit::BadInput,
            };
        }
        let is_input = cause.is::<BadInput>()
            || cause.is::<DetectorError>()
            || cause.is::<ReplayError>()
            || cause.is::<ConfigError>()
            || cause.is::<EvalError>();
        if is_input {
            return Exit::BadInput;
        }
    }
    Exit::Failed
}

/// The decoders of damaged Parquet and HDF5 files may panic; that is caught and becomes an error
/// with the file's name, and the default message about a bug would only confuse. Panics of our own
/// code keep it.
pub(crate) fn keep_decoder_panics_quiet() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let file = panic.location().map_or("", std::panic::Location::file);
        if !["/parquet-", "/hdf5-pure-"].iter().any(|decoder| file.contains(decoder)) {
            default(panic);
        }
    }));
}
