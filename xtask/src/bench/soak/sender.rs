//! A real Prometheus that sends by remote write, and goes away when told to.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::demo::Running;
use super::losses::Span;
use super::watching::{free_address, since_1970};

/// What a Prometheus scraped so shortly before its end it may not have sent, …
const UNSENT: Duration = Duration::from_secs(12);
/// … and it sends nothing that it scraped so shortly after its start: after its first scrape, as a
/// busy machine takes its time until then.
const STARTING: Duration = Duration::from_secs(8);

/// A Prometheus, or the place of one.
#[derive(Debug)]
pub(super) struct Sender {
    folder: PathBuf,
    interval: Duration,
    running: Option<Running>,
    /// From when to when it was not there, since 1970; the last without an end while it is away.
    away: Vec<(Duration, Option<Duration>)>,
}

impl Sender {
    /// Begins to send what `from` answers to the receiver at `to`.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) fn start(
        folder: &Path,
        from: SocketAddr,
        to: SocketAddr,
        interval: Duration,
    ) -> Result<Self> {
        let interval = interval.max(Duration::from_secs(1));
        let millis = interval.as_millis();
        let text = format!(
            "global: {{scrape_interval: {millis}ms, scrape_timeout: {millis}ms}}\n\
             scrape_configs:\n  - job_name: dns\n    static_configs: [{{targets: ['{from}']}}]\n\
             remote_write:\n  - url: http://{to}/api/v1/write\n    \
             queue_config: {{batch_send_deadline: 500ms, max_backoff: 1s}}\n"
        );
        let folder = folder.join("prometheus");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("prometheus.yml"), text)?;
        let away = vec![(since_1970(), None)];
        let mut sender = Self { folder, interval, running: None, away };
        sender.be_there(true)?;
        Ok(sender)
    }

    /// Between its scrapes, and the longest time that one may take.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Starts or ends it, where it is otherwise.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) fn be_there(&mut self, is_there: bool) -> Result<()> {
        match (is_there, self.running.is_some()) {
            (true, false) => {
                self.running = Some(self.run()?);
                if let Some((_, to)) = self.away.last_mut() {
                    *to = Some(since_1970());
                }
            }
            (false, true) => {
                self.running = None;
                self.away.push((since_1970(), None));
            }
            _ => {}
        }
        Ok(())
    }

    fn run(&self) -> Result<Running> {
        let log = self.folder.join("log.txt");
        let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let mut prometheus = Command::new("prometheus");
        prometheus.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
        prometheus.arg(format!("--web.listen-address={}", free_address()?));
        prometheus.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(Running(prometheus.spawn().context("cannot start `prometheus`")?))
    }

    /// When what it scraped may be lost, by its own doing. `answered` is when it was answered.
    pub(super) fn gone(&self, answered: &[(u64, Duration)]) -> Vec<Span> {
        let first_after = |to: Duration| {
            let later = answered.iter().map(|(_, at)| *at).find(|at| *at >= to);
            later.map_or(Duration::MAX, |first| first + STARTING)
        };
        let span = |(from, to): &(Duration, Option<Duration>)| {
            (from.saturating_sub(UNSENT), to.map_or(Duration::MAX, first_after))
        };
        self.away.iter().map(span).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_gone_from_before_its_end_until_after_its_first_scrape() {
        let at = Duration::from_secs;
        let away = vec![(at(0), Some(at(20))), (at(100), None)];
        let (folder, interval) = (PathBuf::new(), at(1));
        let sender = Sender { folder, interval, running: None, away };
        let gone = sender.gone(&[(1, at(5)), (2, at(30)), (3, at(31))]);
        assert_eq!(gone, [(at(0), at(38)), (at(88), Duration::MAX)]);
    }
}
