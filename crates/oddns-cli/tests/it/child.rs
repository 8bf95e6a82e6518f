//! A program that runs beside the test and is killed with it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a wait for the end looks again.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running program whose lines can be waited for.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

impl Running {
    /// Starts it with both output channels taken.
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let errors = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Self { child, lines, errors: Some(errors) }
    }

    /// The next line of its standard output; `None` when none comes until `deadline`. Panics when
    /// it has ended.
    pub(crate) fn line_until(&mut self, deadline: Instant) -> Option<String> {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait().unwrap();
                panic!("it ended by itself, {status}: {}", self.stderr());
            }
        }
    }

    /// A line that it has said already, if there is one left.
    pub(crate) fn try_line(&mut self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// Every line from here to its end.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        self.lines.iter().collect()
    }

    /// The first line that `wanted` says something about, with what it says.
    pub(crate) fn find<T>(&mut self, within: Duration, wanted: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + within;
        let mut seen = String::new();
        while let Some(line) = self.line_until(deadline) {
            if let Some(found) = wanted(&line) {
                return found;
            }
            seen.push_str(&line);
            seen.push('\n');
        }
        panic!("waited {within:?} in vain, it said:\n{seen}");
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let kill = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(kill.unwrap().success(), "{name} to {id}");
    }

    /// Waits for its end; panics when it does not end in time.
    pub(crate) fn end(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        panic!("it did not end within {within:?}");
    }

    /// What it said on standard error, once it has ended.
    pub(crate) fn stderr(&mut self) -> String {
        self.errors.take().map_or_else(String::new, |errors| errors.join().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
