//! What the history holds of the numbered answers, and of scrapes that failed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::server::NUMBER;
use crate::process;

/// What is known of each server, by its name.
pub(super) type Kept = BTreeMap<String, Known>;

/// What the history says of one server.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// How often each number is there.
    pub(super) numbers: BTreeMap<u64, usize>,
    /// When scrapes failed, since 1970; those that worked are not here.
    failed: BTreeSet<Duration>,
    /// How long each scrape took, in seconds, by its time.
    took: BTreeMap<Duration, f64>,
}

impl Known {
    /// When scrapes began that failed after at least this long, in order: whoever answered one of them
    /// was too late.
    pub(super) fn late(&self, least: Duration) -> Vec<Duration> {
        let took = |time: &Duration| self.took.get(time).copied().unwrap_or(0.0);
        let late = self.failed.iter().filter(|time| took(time) >= least.as_secs_f64());
        late.copied().collect()
    }

    #[cfg(test)]
    pub(super) fn failed_at(times: &[Duration], took: Duration) -> Self {
        let took = times.iter().map(|time| (*time, took.as_secs_f64())).collect();
        Self { failed: times.iter().copied().collect(), took, ..Self::default() }
    }

    fn note(&mut self, what: What, time: Duration, value: f64) {
        match what {
            What::Number => *self.numbers.entry(value as u64).or_default() += 1,
            What::Up if value == 0.0 => {
                self.failed.insert(time);
            }
            What::Up => {}
            What::Took => {
                self.took.insert(time, value);
            }
        }
    }
}

/// Which series a line is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Number,
    Up,
    Took,
}

const SERIES: [(&str, What); 3] =
    [(NUMBER, What::Number), ("up", What::Up), ("scrape_duration_seconds", What::Took)];

/// Reads the history in `folder` of a service that has ended.
///
/// # Errors
/// When `oddns` cannot read it.
pub(super) fn read(oddns: &Path, folder: &Path) -> Result<Kept> {
    let text = folder.join("history.om");
    let mut export = Command::new(oddns);
    export.args(["dataset", "export", "--format", "openmetrics", "--out"]).arg(&text);
    process::run(export.arg(folder.join("history")).stdout(Stdio::null()))?;
    let mut kept = Kept::new();
    for line in BufReader::new(File::open(&text)?).lines() {
        if let Some((what, server, value, time)) = sample(&line?) {
            kept.entry(server).or_default().note(what, time, value);
        }
    }
    std::fs::remove_file(&text).context("cannot remove the exported history")?;
    Ok(kept)
}

/// Series, server, value and time of a line; `None` for lines of other series.
fn sample(line: &str) -> Option<(What, String, f64, Duration)> {
    let (name, rest) = line.split_once('{')?;
    let (_, what) = SERIES.into_iter().find(|(known, _)| *known == name)?;
    let (_, instance) = rest.split_once("instance=\"")?;
    let (instance, rest) = instance.split_once('"')?;
    let mut words = rest.rsplit(' ');
    let time = Duration::try_from_secs_f64(words.next()?.parse().ok()?).ok()?;
    let value = words.next()?.parse().ok()?;
    // Thousandths, as they are written: a float does not hold them.
    let time = Duration::from_millis((time.as_secs_f64() * 1000.0).round() as u64);
    Some((what, instance.to_owned(), value, time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_series_server_value_and_time() {
        let line = "coredns_soak_answers_total{instance=\"127.0.0.1:1\"} 12 1795331512.034";
        let time = Duration::from_millis(1_795_331_512_034);
        assert_eq!(sample(line), Some((What::Number, "127.0.0.1:1".to_owned(), 12.0, time)));
        let up = "up{instance=\"a\",job=\"b c\"} 0 1.000";
        assert_eq!(sample(up), Some((What::Up, "a".to_owned(), 0.0, Duration::from_secs(1))));
        assert_eq!(sample("go_goroutines{instance=\"127.0.0.1:1\"} 1 2"), None);
        assert_eq!(sample("# TYPE coredns_soak_answers_total counter"), None);
    }

    #[test]
    fn only_what_failed_after_long_was_late() {
        let mut known = Known::default();
        for (seconds, up, took) in [(1, 0.0, 0.1), (2, 1.0, 0.2), (3, 0.0, 0.001), (4, 0.0, 0.3)] {
            let time = Duration::from_secs(seconds);
            known.note(What::Up, time, up);
            known.note(What::Took, time, took);
        }
        let late = known.late(Duration::from_millis(100));
        assert_eq!(late, [Duration::from_secs(1), Duration::from_secs(4)]);
    }
}
