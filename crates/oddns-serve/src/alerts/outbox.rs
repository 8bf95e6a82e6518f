//! What an Alertmanager has still to be told.

use std::collections::HashMap;

use oddns_core::{Timestamp, stable_hash};

use super::alert::Alert;
use crate::desk::is_recent;

/// An alert that goes on is told again after so many seconds, …
const RESEND_SECONDS: f64 = 60.0;
/// … and ends by itself after so many without being told: Alertmanager must not fire for ever when
/// we are gone.
pub(super) const LIFETIME_MILLIS: i64 = 240_000;

/// What one Alertmanager was told. It grows with the alerts, which are bounded.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    told: HashMap<String, Record>,
}

#[derive(Debug)]
struct Record {
    content: u64,
    is_firing: bool,
    at: Timestamp,
}

/// Of alerts with the same labels the one that goes on, else the latest; without those that were over
/// long ago.
pub(super) fn current(alerts: impl Iterator<Item = Alert>, now: Timestamp) -> Vec<Alert> {
    let mut by_labels: HashMap<String, Alert> = HashMap::new();
    for alert in alerts.filter(|alert| is_recent(alert.end, now)) {
        let key = key(&alert);
        let wins = by_labels.get(&key).is_none_or(|known| match (known.end, alert.end) {
            (None, Some(_)) => false,
            (Some(known), Some(end)) => end >= known,
            (_, None) => true,
        });
        if wins {
            by_labels.insert(key, alert);
        }
    }
    let mut alerts: Vec<Alert> = by_labels.into_values().collect();
    alerts.sort_by(|a, b| (a.start, &a.labels).cmp(&(b.start, &b.labels)));
    alerts
}

impl Outbox {
    /// Which of the current alerts are to be told now: news, and what goes on and was not told for a
    /// while.
    pub(super) fn due<'a>(&self, alerts: &'a [Alert], now: Timestamp) -> Vec<&'a Alert> {
        let is_due = |alert: &&Alert| match self.told.get(&key(alert)) {
            None => true,
            Some(record) => {
                // A clock that was set back does not keep us silent.
                let age = now.seconds_since(record.at);
                let is_fresh = (0.0..RESEND_SECONDS).contains(&age);
                record.content != content(alert) || (alert.end.is_none() && !is_fresh)
            }
        };
        alerts.iter().filter(is_due).collect()
    }

    /// Notes that an alert was told.
    pub(super) fn done(&mut self, alert: &Alert, now: Timestamp) {
        let is_firing = alert.end.is_none();
        let record = Record { content: content(alert), is_firing, at: now };
        self.told.insert(key(alert), record);
    }

    /// Forgets what is not current any more; gives how many of these were never told to be over.
    pub(super) fn forget_all_but(&mut self, alerts: &[Alert]) -> usize {
        let keys: Vec<String> = alerts.iter().map(key).collect();
        let mut n_lost = 0;
        self.told.retain(|key, record| {
            let stays = keys.contains(key);
            n_lost += usize::from(!stays && record.is_firing);
            stays
        });
        n_lost
    }
}

fn key(alert: &Alert) -> String {
    let pairs: Vec<String> =
        alert.labels.iter().map(|(name, value)| format!("{name}\u{1}{value}\u{2}")).collect();
    pairs.concat()
}

fn content(alert: &Alert) -> u64 {
    let texts = alert.annotations.values().flat_map(|text| text.bytes().chain([0]));
    let end = alert.end.map_or(0, Timestamp::millis);
    let times = alert.start.millis().to_le_bytes().into_iter().chain(end.to_le_bytes());
    stable_hash(texts.chain(times))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn alert(name: &str, start: i64, end: Option<i64>) -> Alert {
        Alert {
            labels: [("alertname".to_owned(), name.to_owned())].into(),
            annotations: [("summary", "x".to_owned())].into(),
            start: at(start),
            end: end.map(at),
            url: String::new(),
        }
    }

    #[test]
    fn an_alert_is_told_again_until_it_is_over() {
        let mut outbox = Outbox::default();
        let firing = [alert("a", 0, None)];
        assert_eq!(outbox.due(&firing, at(0)).len(), 1);
        // Not told: it stays due.
        assert_eq!(outbox.due(&firing, at(1)).len(), 1);
        outbox.done(&firing[0], at(1));
        assert_eq!(outbox.due(&firing, at(60)).len(), 0);
        assert_eq!(outbox.due(&firing, at(61)).len(), 1);
        let over = [alert("a", 0, Some(70))];
        assert_eq!(outbox.due(&over, at(70)).len(), 1);
        outbox.done(&over[0], at(70));
        assert_eq!(outbox.due(&over, at(500)).len(), 0);
        assert_eq!(outbox.forget_all_but(&[]), 0);
    }

    #[test]
    fn better_words_are_told_at_once() {
        let mut outbox = Outbox::default();
        let mut firing = [alert("a", 0, None)];
        outbox.done(&firing[0], at(0));
        firing[0].annotations.insert("summary", "y".to_owned());
        assert_eq!(outbox.due(&firing, at(1)).len(), 1);
    }

    #[test]
    fn the_end_of_one_does_not_resolve_another_with_its_labels() {
        let both = [alert("a", 0, Some(10)), alert("a", 5, None), alert("a", 0, Some(20))];
        let shown = current(both.into_iter(), at(20));
        assert_eq!(shown, [alert("a", 5, None)]);
        let old = current([alert("a", 0, Some(10))].into_iter(), at(2000));
        assert_eq!(old, []);
    }

    #[test]
    fn what_was_told_and_never_resolved_counts_as_lost() {
        let mut outbox = Outbox::default();
        outbox.done(&alert("a", 0, None), at(0));
        assert_eq!(outbox.forget_all_but(&[]), 1);
        assert_eq!(outbox.forget_all_but(&[]), 0);
    }
}
