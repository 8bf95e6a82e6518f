//! What the clients felt, second by second.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Seconds kept for a caller that does not collect them: one day.
const MAX_SECONDS_KEPT: usize = 86_400;
/// A lookup that takes longer is felt by people.
const SLOW_LOOKUP: Duration = Duration::from_millis(500);

/// One second of all clients together. Times are good to a millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ClientSecond {
    /// Unix time of its start.
    pub second: i64,
    /// Questions sent, retries and TCP included.
    pub sent: u64,
    /// Replies received in this second, truncated ones included.
    pub answered: u64,
    /// Questions given up waiting for, or refused by a dead port over TCP.
    pub timeouts: u64,
    /// Questions not sent because too many were unanswered.
    pub unsent: u64,
    /// Replies that said they were cut.
    pub truncated: u64,
    /// Replies by response code, 0 to 15.
    pub rcodes: [u64; 16],
    /// Sum of the times from question to reply.
    pub latency_sum_seconds: f64,
    /// Longest time from question to reply; 0 without replies.
    pub latency_max_seconds: f64,
    /// Lookups ended: a lookup asks as many questions as the search path makes necessary.
    pub lookups: u64,
    /// Lookups that ended without an answer although some server did not answer or failed.
    pub failed_lookups: u64,
    /// Lookups that took longer than half a second, failed or not.
    pub slow_lookups: u64,
}

/// Names of what [`client_seconds_csv`] writes.
const CSV_HEADER: &str = "second,sent,answered,timeouts,unsent,truncated,noerror,servfail,nxdomain,\
    refused,lookups,failed_lookups,slow_lookups,latency_sum_seconds,latency_max_seconds\n";

/// Seconds as CSV: a header, then a line each, with the fields of [`ClientSecond`] and the replies of
/// the commonest codes.
pub fn client_seconds_csv(seconds: &[ClientSecond]) -> String {
    let rows: String = seconds.iter().map(ClientSecond::csv_row).collect();
    format!("{CSV_HEADER}{rows}")
}

impl ClientSecond {
    /// Adds the counts of another second; keeps the start of `self`.
    pub fn absorb(&mut self, other: &Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.timeouts += other.timeouts;
        self.unsent += other.unsent;
        self.truncated += other.truncated;
        for (mine, theirs) in self.rcodes.iter_mut().zip(other.rcodes) {
            *mine += theirs;
        }
        self.latency_sum_seconds += other.latency_sum_seconds;
        self.latency_max_seconds = self.latency_max_seconds.max(other.latency_max_seconds);
        self.lookups += other.lookups;
        self.failed_lookups += other.failed_lookups;
        self.slow_lookups += other.slow_lookups;
    }

    fn csv_row(&self) -> String {
        let Self { second, sent, answered, timeouts, unsent, truncated, rcodes, .. } = self;
        let [noerror, _, servfail, nxdomain, _, refused, ..] = rcodes;
        let (lookups, failed, slow) = (self.lookups, self.failed_lookups, self.slow_lookups);
        let (sum, max) = (self.latency_sum_seconds, self.latency_max_seconds);
        format!(
            "{second},{sent},{answered},{timeouts},{unsent},{truncated},{noerror},{servfail},\
             {nxdomain},{refused},{lookups},{failed},{slow},{sum:.6},{max:.6}\n"
        )
    }

    /// All of `seconds` together, with the start of the first; zeros when there are none.
    pub fn total(seconds: &[Self]) -> Self {
        let second = seconds.first().map_or(0, |first| first.second);
        let mut total = Self { second, ..Self::default() };
        seconds.iter().for_each(|one| total.absorb(one));
        total
    }

    pub(crate) fn reply(&mut self, rcode: u8, truncated: bool, latency: Duration) {
        self.answered += 1;
        self.rcodes[usize::from(rcode & 0x0F)] += 1;
        self.truncated += u64::from(truncated);
        self.latency_sum_seconds += latency.as_secs_f64();
        self.latency_max_seconds = self.latency_max_seconds.max(latency.as_secs_f64());
    }

    pub(crate) fn lookup(&mut self, failed: bool, took: Duration) {
        self.lookups += 1;
        self.failed_lookups += u64::from(failed);
        self.slow_lookups += u64::from(took > SLOW_LOOKUP);
    }
}

/// Finished seconds, shared between the sender and whoever collects them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seconds(Arc<Mutex<VecDeque<ClientSecond>>>);

impl Seconds {
    pub(crate) fn push(&self, second: ClientSecond) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(second);
        if kept.len() > MAX_SECONDS_KEPT {
            kept.pop_front();
        }
    }

    pub(crate) fn take(&self) -> Vec<ClientSecond> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_adds_counts_and_keeps_the_worst() {
        let mut first = ClientSecond { second: 10, ..ClientSecond::default() };
        first.reply(3, false, Duration::from_millis(20));
        let mut second = ClientSecond { second: 11, ..ClientSecond::default() };
        second.reply(0, true, Duration::from_millis(40));
        second.lookup(true, Duration::from_secs(2));
        let total = ClientSecond::total(&[first, second]);
        assert_eq!((total.second, total.answered, total.truncated), (10, 2, 1));
        assert_eq!((total.rcodes[0], total.rcodes[3]), (1, 1));
        assert_eq!((total.failed_lookups, total.slow_lookups), (1, 1));
        assert_eq!(total.latency_max_seconds, 0.04);
    }

    #[test]
    fn seconds_are_taken_once() {
        let seconds = Seconds::default();
        seconds.push(ClientSecond::default());
        assert_eq!((seconds.take().len(), seconds.take().len()), (1, 0));
    }
}
