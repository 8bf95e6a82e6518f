//! A program that measures one thing after the other on request.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::demo::Running;

/// A child that said `ready`; it ends with this value.
#[derive(Debug)]
pub(super) struct Worker {
    name: String,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    _process: Running,
}

impl Worker {
    /// Starts `command` and waits until it says that it is ready.
    ///
    /// # Errors
    /// When it cannot be started or ends before; what it has to say is on stderr then.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = Running(child.with_context(|| format!("cannot start `{name}`"))?);
        let questions = process.0.stdin.take().context("a worker has no stdin")?;
        let answers = process.0.stdout.take().context("a worker has no stdout")?;
        let answers = BufReader::new(answers);
        let mut worker = Self { name, questions, answers, _process: process };
        while worker.line()?.trim() != "ready" {}
        Ok(worker)
    }

    /// The numbers, at least one, that answer `question`.
    ///
    /// # Errors
    /// When the worker ends or answers something else.
    pub(super) fn ask(&mut self, question: &str) -> Result<Vec<f64>> {
        let asked = writeln!(self.questions, "{question}").and_then(|()| self.questions.flush());
        asked.with_context(|| format!("`{}` has ended before `{question}`", self.name))?;
        let answer = self.line()?;
        let numbers: Result<Vec<f64>, _> = answer.split_whitespace().map(str::parse).collect();
        match numbers {
            Ok(numbers) if !numbers.is_empty() => Ok(numbers),
            _ => bail!("`{}` answered `{}` to `{question}`", self.name, answer.trim()),
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        if read.with_context(|| format!("cannot read from `{}`", self.name))? == 0 {
            bail!("`{}` has ended: what it wrote to stderr says why", self.name);
        }
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<Worker> {
        Worker::start(Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn a_worker_answers_with_numbers() {
        let mut worker =
            shell("echo warming; echo ready; while read a; do echo 0.5 $a; done").unwrap();
        assert_eq!(worker.ask("7").unwrap(), [0.5, 7.0]);
        assert!(worker.ask("x").unwrap_err().to_string().contains("answered `0.5 x` to `x`"));
    }

    #[test]
    fn a_worker_that_ends_is_reported() {
        assert!(shell("exit 1").unwrap_err().to_string().contains("`sh` has ended"));
    }
}
