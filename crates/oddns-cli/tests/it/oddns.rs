//! Running the command to its end.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use serde_json::Value;

/// The program under test.
pub(crate) const ODDNS: &str = env!("CARGO_BIN_EXE_oddns");

/// What a run left behind on its channels.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The same, once it is sure that it ended well.
    pub(crate) fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// Its standard output as one JSON document in one line.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self:#?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// Runs `oddns` with these arguments.
pub(crate) fn oddns<A: AsRef<OsStr>>(arguments: &[A]) -> Ended {
    let output = Command::new(ODDNS)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("cargo has built the command");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
