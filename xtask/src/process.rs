//! Child processes: started without stdin, and named in full when they fail.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The cargo that runs us, so that children use the same toolchain.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs `command` to its end, streaming what it prints.
///
/// # Errors
/// When it does not start or does not end with status 0; the message holds the command line.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("cannot run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed with {status}");
    }
    Ok(())
}

/// Runs `command` to its end and returns what it wrote to stdout; stderr streams.
///
/// # Errors
/// As [`run`], and when stdout is not UTF-8.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed with {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("output of `{line}` is not UTF-8"))
}

/// Whether a program of this name can be found on `PATH`.
pub(crate) fn on_path(program: &str) -> bool {
    let folders = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().map(PathBuf::from);
    let words = command.get_args().map(OsStr::to_string_lossy);
    let program = program.unwrap_or_default().to_string_lossy().into_owned();
    words.fold(program, |line, word| line + " " + &word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_names_the_command_line_and_the_status() {
        let error = run(Command::new("/bin/sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c exit 3` failed with exit status: 3");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = output(&mut Command::new("no-such-program-here")).unwrap_err();
        assert_eq!(error.to_string(), "cannot run `no-such-program-here`");
    }

    #[test]
    fn children_have_no_stdin() {
        assert_eq!(output(&mut Command::new("cat")).unwrap(), "");
    }
}
