//! How the program ends: 0 done, 1 failed, 2 wrong use, 3 bad input, 130 and 143 interrupted.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use oddns::DetectorError;
use oddns_collect::{AnswerError, HistoryError, ReplayError};
use oddns_eval::EvalError;
use oddns_lab::LabError;
use oddns_serve::ConfigError;
use oddns_sim::Misfit;
use oddns_store::StoreError;
use serde_json::json;

/// Whether errors are told as JSON; for all commands, and said once at the start.
static AS_JSON: AtomicBool = AtomicBool::new(false);

/// Exit codes that scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    BadInput = 3,
    /// By SIGINT: what shells say of a program that the signal has ended.
    Interrupted = 130,
    /// By SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// What scripts find in the JSON of an error.
    fn kind(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::BadInput => "bad_input",
            Self::Interrupted | Self::Terminated => "interrupted",
        }
    }
}

/// Tells errors as JSON when the `words` of the command line ask for it. They are looked at before
/// they are parsed, so that what is wrong with them is told in JSON as well.
pub(crate) fn choose_form(words: impl Iterator<Item = OsString>) {
    AS_JSON.store(asks_for_json(words), Ordering::Relaxed);
}

fn asks_for_json(words: impl Iterator<Item = OsString>) -> bool {
    let mut is_output = false;
    for word in words.take_while(|word| word != "--") {
        if word == "--output=json" || word == "--json" || (is_output && word == "json") {
            return true;
        }
        is_output = word == "--output";
    }
    false
}

/// Tells one error on standard error.
#[expect(clippy::print_stderr, reason = "the one place where errors are told")]
fn tell(exit: Exit, message: &str) {
    if AS_JSON.load(Ordering::Relaxed) {
        let about = json!({ "kind": exit.kind(), "exit_code": exit as u8, "message": message });
        eprintln!("{}", json!({ "error": about }));
    } else {
        eprintln!("error: {message}");
    }
}

/// Tells a mistake in an input before the one that ends the program, in the same form.
pub(crate) fn tell_mistake(message: &str) {
    tell(Exit::BadInput, message);
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

/// Work with an end of its own that a signal ended before, told in words.
#[derive(Debug)]
pub(crate) struct Interrupted {
    /// [`Exit::Interrupted`] or [`Exit::Terminated`].
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Interrupted {}

/// Prints what clap has to say; help and version are no failure.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && AS_JSON.load(Ordering::Relaxed) {
        let text = error.render().to_string();
        tell(Exit::Usage, text.strip_prefix("error: ").unwrap_or(&text).trim_end());
    } else if let Err(unprintable) = error.print() {
        tell(Exit::Failed, &unprintable.to_string());
    }
    if error.use_stderr() { ExitCode::from(Exit::Usage as u8) } else { ExitCode::SUCCESS }
}

/// Prints the whole chain of causes in one line and picks the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let code = code(error);
    tell(code, &format!("{error:#}"));
    ExitCode::from(code as u8)
}

/// Ends the program when standard output cannot be written.
pub(crate) fn unprintable(error: &std::io::Error) -> ! {
    tell(Exit::Failed, &format!("cannot write to standard output: {error}"));
    std::process::exit(i32::from(Exit::Failed as u8))
}

fn code(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if cause.is::<BadUse>() {
            return Exit::Usage;
        }
        if let Some(store) = cause.downcast_ref::<StoreError>() {
            return match store {
                StoreError::Write { .. }
                | StoreError::Exists { .. }
                | StoreError::Locked { .. }
                | StoreError::LogFull { .. } => Exit::Failed,
                StoreError::Dash => Exit::Usage,
                _ => Exit::BadInput,
            };
        }
        if let Some(interrupted) = cause.downcast_ref::<Interrupted>() {
            return interrupted.exit;
        }
        if let Some(lab) = cause.downcast_ref::<LabError>() {
            return of_lab(lab);
        }
        if let Some(history) = cause.downcast_ref::<HistoryError>() {
            return of_history(history);
        }
        let is_input = cause.is::<BadInput>()
            || cause.is::<DetectorError>()
            || cause.is::<ReplayError>()
            || cause.is::<ConfigError>()
            || cause.is::<Misfit>()
            || cause.is::<EvalError>();
        if is_input {
            return Exit::BadInput;
        }
    }
    Exit::Failed
}

/// What a scenario or a log says stays so; a server may start later.
fn of_lab(error: &LabError) -> Exit {
    match error {
        LabError::Read { .. }
        | LabError::Pods { .. }
        | LabError::Setting { .. }
        | LabError::Misfit(_)
        | LabError::Impossible { .. }
        | LabError::Overlap { .. } => Exit::BadInput,
        _ => Exit::Failed,
    }
}

/// A server may answer later; a selector that is none, and a file that is not there, stay so.
fn of_history(error: &HistoryError) -> Exit {
    match error {
        HistoryError::Auth { .. } | HistoryError::NothingFound { .. } => Exit::BadInput,
        HistoryError::Answer { status, source: AnswerError::Refused { kind, .. }, .. }
            if *status == 400 || kind == "bad_data" =>
        {
            Exit::BadInput
        }
        _ => Exit::Failed,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_whether_errors_are_json() {
        let asks = |words: &str| asks_for_json(words.split(' ').map(OsString::from));
        assert!(asks("oddns score --output json") && asks("oddns eval --json"));
        assert!(asks("oddns score --nonsense --output=json"));
        assert!(!asks("oddns score --output text json") && !asks("oddns score -- --output=json"));
    }
}
