//! What the servers did of late, out of the history that the watch keeps, as features.
//!
//! One server after the other and half a day at a time: samples are many times larger than the
//! features that they become. How each differs from the others of its job is added afterwards.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use oddns::{Fleet, FleetExtractor};
use oddns_core::{Frame, Timestamp, stable_hash};
use oddns_store::{HistoryFilter, StoreError, read_history};

use super::succession::Named;

/// Rows of all servers together: 50 MiB of features.
const MOST_ROWS: usize = 120_000;
/// A server of a large fleet has as many rows of these at least; others wait for another update.
pub(super) const FEWEST_ROWS: usize = 20_000;
/// Servers that one update looks at.
pub(super) const MOST_SERVERS: usize = MOST_ROWS / FEWEST_ROWS;
/// Samples of so many seconds are read at once.
const PART_SECONDS: f64 = 43_200.0;

/// What to read.
#[derive(Debug)]
pub(crate) struct Past<'a> {
    /// The history.
    pub(crate) root: &'a Path,
    /// All servers, and their jobs.
    pub(crate) servers: Vec<Named>,
    pub(crate) until: Timestamp,
    pub(crate) look_back_seconds: f64,
    /// Seconds between rows.
    pub(crate) interval_seconds: f64,
    /// Which update it is for: of large fleets each one looks at other servers.
    pub(crate) turn: i64,
    /// A server of a large fleet has as many rows at least, above 0; others are left out.
    pub(crate) fewest_rows: usize,
}

/// The features of servers, by their names.
pub(crate) type Rows = Vec<(String, Frame)>;

/// Why there is none.
#[derive(Debug)]
pub(crate) enum NoPast {
    /// Whoever was asked whether to go on said no.
    Ended,
    Unreadable(StoreError),
}

impl Past<'_> {
    /// The features of the servers, by name. Those of which nothing is there are left out.
    pub(crate) fn read(&self, rest: &dyn Fn() -> ControlFlow<()>) -> Result<Rows, NoPast> {
        let chosen = self.chosen();
        let n_rows = MOST_ROWS / chosen.len().max(1);
        let mut jobs: BTreeMap<&str, Vec<(String, Frame)>> = BTreeMap::new();
        for (instance, job) in &chosen {
            let frame = self.one(instance, n_rows, rest)?;
            if !frame.is_empty() {
                jobs.entry(job).or_default().push((instance.clone(), frame));
            }
        }
        let mut found = Vec::new();
        for (_, servers) in jobs {
            found.extend(side_by_side(servers, rest)?);
        }
        Ok(found)
    }

    /// As many servers as there is room for, others at each turn.
    fn chosen(&self) -> Vec<Named> {
        let mut servers = self.servers.clone();
        let most = MOST_ROWS / self.fewest_rows.max(1);
        if servers.len() > most {
            let lot = |name: &str| stable_hash(format!("{} {name}", self.turn).bytes());
            // Servers without a job are not watched: they teach what there is room for.
            servers.sort_by_key(|(name, job)| (job.is_empty(), lot(name)));
            servers.truncate(most);
            servers.sort();
        }
        servers
    }

    /// The newest rows of one server, as if it were alone.
    fn one(
        &self,
        instance: &str,
        n_rows: usize,
        rest: &dyn Fn() -> ControlFlow<()>,
    ) -> Result<Frame, NoPast> {
        let wanted = (n_rows as f64 * self.interval_seconds.max(0.001)).max(PART_SECONDS);
        let seconds = wanted.min(self.look_back_seconds);
        let mut alone = FleetExtractor::default();
        let mut since = back(self.until, seconds);
        while since < self.until {
            if rest().is_break() {
                return Err(NoPast::Ended);
            }
            let until = back(since, -PART_SECONDS).min(self.until);
            let filter = HistoryFilter {
                since: Some(since),
                until: Some(until),
                instance: Some(instance.to_owned()),
            };
            let history = read_history(self.root, &filter).map_err(NoPast::Unreadable)?;
            alone.take(history.recordings);
            since = until;
        }
        let speaks = alone.servers().any(|(_, series)| series.has_coredns());
        let frame = alone.finish().map(|(_, rows)| rows.into_frame()).next().filter(|_| speaks);
        Ok(frame.map(|frame| newest(frame, n_rows)).unwrap_or_default())
    }
}

fn back(time: Timestamp, seconds: f64) -> Timestamp {
    Timestamp::from_millis(time.millis().saturating_sub((seconds * 1000.0) as i64))
}

fn newest(frame: Frame, n_rows: usize) -> Frame {
    match frame.len().checked_sub(n_rows).filter(|n| *n > 0) {
        Some(first) => frame.between(frame.timestamps().get(first).copied(), None),
        None => frame,
    }
}

/// Adds to the rows of each server how it differs from the others, as the watch does.
fn side_by_side(
    servers: Vec<(String, Frame)>,
    rest: &dyn Fn() -> ControlFlow<()>,
) -> Result<Vec<(String, Frame)>, NoPast> {
    if servers.len() < 2 {
        return Ok(servers);
    }
    let mut fleet = Fleet::default();
    let mut made: Vec<Frame> =
        servers.iter().map(|(_, frame)| Frame::new(frame.columns().to_vec())).collect();
    let mut next = vec![0; servers.len()];
    while let Some(at) = earliest(&servers, &next) {
        let (name, frame) = &servers[at];
        let time = frame.timestamps()[next[at]];
        let mut row = frame.row(next[at]).to_vec();
        fleet.compare(name, time, &mut row);
        // Rows of a frame are in order and of its width.
        let _ = made[at].push(time, &row);
        next[at] += 1;
        if rest().is_break() {
            return Err(NoPast::Ended);
        }
    }
    Ok(servers.into_iter().map(|(name, _)| name).zip(made).collect())
}

/// The server whose next row is the earliest; `None` at the end.
fn earliest(servers: &[(String, Frame)], next: &[usize]) -> Option<usize> {
    let heads = servers.iter().zip(next).enumerate().filter_map(|(at, ((_, frame), next))| {
        frame.timestamps().get(*next).map(|time| (*time, at))
    });
    heads.min().map(|(_, at)| at)
}

#[cfg(test)]
mod tests {
    use oddns::FEATURES;

    use super::*;

    fn past(n_servers: usize, turn: i64) -> Past<'static> {
        let named = |at| (format!("dns-{at:02}"), "dns".to_owned());
        Past {
            root: Path::new("nowhere"),
            servers: (0..n_servers).map(named).collect(),
            until: Timestamp::from_millis(0),
            look_back_seconds: 1.0,
            interval_seconds: 15.0,
            turn,
            fewest_rows: FEWEST_ROWS,
        }
    }

    #[test]
    fn of_a_large_fleet_each_update_looks_at_others() {
        assert_eq!(past(4, 1).chosen().len(), 4);
        let chosen: Vec<Vec<Named>> = (0..2).map(|turn| past(40, turn).chosen()).collect();
        assert_eq!(chosen[0].len(), MOST_ROWS / FEWEST_ROWS);
        assert!(chosen[0].is_sorted());
        assert_ne!(chosen[0], chosen[1]);
        let mut some = past(40, 1);
        some.servers.iter_mut().skip(2).for_each(|(_, job)| job.clear());
        let n_watched = some.chosen().iter().filter(|(_, job)| !job.is_empty()).count();
        assert_eq!(n_watched, 2, "who is watched comes first");
    }

    #[test]
    fn servers_are_compared_as_in_the_watch() {
        let columns: Vec<String> = FEATURES.iter().map(|f| f.name.to_owned()).collect();
        let frame = |value: f32| {
            let mut frame = Frame::new(columns.clone());
            for at in 0..4_i64 {
                let row = vec![value; columns.len()];
                frame.push(Timestamp::from_millis(15_000 * at), &row).unwrap();
            }
            frame
        };
        let servers = vec![("a".to_owned(), frame(1.0)), ("b".to_owned(), frame(2.0))];
        let found = side_by_side(servers, &|| ControlFlow::Continue(())).unwrap();
        let at = FEATURES.iter().position(|feature| feature.is_divergence()).unwrap();
        assert!(found[0].1.row(0)[at].is_nan());
        assert!(found[0].1.row(3)[at].is_finite());
        assert_ne!(found[0].1.row(3)[at], found[1].1.row(3)[at]);
        assert_eq!(newest(frame(1.0), 3).len(), 3);
    }
}
