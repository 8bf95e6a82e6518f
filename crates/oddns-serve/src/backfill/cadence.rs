//! Brings the scrapes of a Prometheus to the interval of the watch: counters that are read three times
//! as often say the same when every third reading is kept; ones that are read less often say less.

use std::collections::HashMap;
use std::time::Duration;

use oddns_core::Recording;

/// Pauses between scrapes without which an interval cannot be told.
const FEWEST_PAUSES: usize = 4;
/// How far from the interval of the watch the one of what is kept may lie, by ratio.
const TOLERANCE: f64 = 1.25;

/// What is known of the scrapes of each server.
#[derive(Debug)]
pub(super) struct Cadence {
    interval: f64,
    servers: HashMap<String, Pace>,
}

/// How often a server was scraped.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Scrapes for each of the watch.
    stride: f64,
    seconds: f64,
    /// Which interval of the clock the last scrape that was kept lies in. It is of the clock, so that a
    /// restart in the middle keeps the same ones.
    slot: Option<i64>,
}

/// Scrapes that cannot be brought to the interval of the watch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Misfit {
    /// Seconds between them.
    pub(super) seconds: f64,
}

impl Cadence {
    /// Of a watch that scrapes so often.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval: interval.as_secs_f64(), servers: HashMap::new() }
    }

    /// Leaves in the next part of a server's history scrapes as far apart as those of the watch, or a
    /// quarter more or less.
    ///
    /// # Errors
    /// When that cannot be done: it was scraped less often, or so that no multiple comes near.
    pub(super) fn fit(&mut self, recording: &mut Recording) -> Result<(), Misfit> {
        let found = usual_pause(recording);
        let known = self.servers.get(&recording.instance).copied();
        let mut pace = match (known, found) {
            (known, Some(seconds)) => {
                let stride = (self.interval / seconds).round().max(1.0);
                Pace { stride, seconds, slot: known.and_then(|known| known.slot) }
            }
            (Some(known), None) => known,
            // Too few to tell: as they are.
            (None, None) => return Ok(()),
        };
        let off = pace.stride * pace.seconds / self.interval;
        if !(1.0 / TOLERANCE..=TOLERANCE).contains(&off) {
            return Err(Misfit { seconds: pace.seconds });
        }
        if pace.stride > 1.0 {
            pace.thin(recording, self.interval);
        }
        self.servers.insert(recording.instance.clone(), pace);
        Ok(())
    }
}

impl Pace {
    /// Keeps the first scrape in each interval of the clock.
    fn thin(&mut self, recording: &mut Recording, interval: f64) {
        let millis = ((interval * 1000.0) as i64).max(1);
        recording.scrapes.retain(|scrape| {
            let slot = Some(scrape.time.millis().div_euclid(millis));
            let is_first = self.slot != slot;
            self.slot = slot;
            is_first
        });
    }
}

/// Seconds between two scrapes, in the median; `None` of a few scrapes.
fn usual_pause(recording: &Recording) -> Option<f64> {
    let times = recording.scrapes.iter().map(|scrape| scrape.time);
    let pauses = times.clone().skip(1).zip(times).map(|(later, time)| later.seconds_since(time));
    let mut pauses: Vec<f64> = pauses.filter(|seconds| *seconds > 0.0).collect();
    pauses.sort_by(f64::total_cmp);
    pauses.get(pauses.len() / 2).copied().filter(|_| pauses.len() >= FEWEST_PAUSES)
}

#[cfg(test)]
mod tests {
    use oddns_core::{Scrape, SeriesTable, Timestamp};

    use super::*;

    fn part(millis: impl Iterator<Item = i64>) -> Recording {
        let scrape = |millis| Scrape {
            time: Timestamp::from_millis(millis),
            up: true,
            duration_seconds: 0.1,
            samples: Vec::new(),
        };
        let scrapes = millis.map(scrape).collect();
        Recording { instance: "a".to_owned(), series: SeriesTable::default(), scrapes }
    }

    fn kept(parts: Vec<Recording>) -> Result<Vec<i64>, Misfit> {
        let mut cadence = Cadence::new(Duration::from_secs(15));
        let mut times = Vec::new();
        for mut part in parts {
            cadence.fit(&mut part)?;
            times.extend(part.scrapes.iter().map(|scrape| scrape.time.millis() / 1000));
        }
        Ok(times)
    }

    #[test]
    fn scrapes_at_the_interval_of_the_watch_stay_also_where_some_are_missing() {
        let times = [0, 15, 30, 45, 47, 75, 90, 180, 195];
        let same = kept(vec![part(times.iter().map(|s| s * 1000))]);
        assert_eq!(same, Ok(times.to_vec()));
    }

    #[test]
    fn of_scrapes_that_come_oftener_as_many_are_left_also_across_parts() {
        let five = |range: std::ops::Range<i64>| part(range.map(|n| 5000 * n + n % 3));
        assert_eq!(kept(vec![five(0..7), five(7..13)]), Ok(vec![0, 15, 30, 45, 60]));
        // The second part is too short to tell, and goes on as the first.
        assert_eq!(kept(vec![five(0..7), five(7..10)]), Ok(vec![0, 15, 30, 45]));
    }

    #[test]
    fn scrapes_that_fit_no_multiple_are_refused() {
        assert_eq!(kept(vec![part((0..9).map(|n| 30_000 * n))]), Err(Misfit { seconds: 30.0 }));
        assert_eq!(kept(vec![part((0..9).map(|n| 10_000 * n))]), Err(Misfit { seconds: 10.0 }));
        assert_eq!(kept(vec![part((0..3).map(|n| 30_000 * n))]), Ok(vec![0, 30, 60]));
        assert_eq!(kept(vec![part(std::iter::empty())]), Ok(vec![]));
    }
}
