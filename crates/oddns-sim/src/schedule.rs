//! When which fault is in force on which server.

use oddns_core::Timestamp;

use crate::conditions::Conditions;
use crate::dice::Dice;
use crate::fault::{Dose, Fault, Reach};
use crate::scenario::{Campaign, Corefile, Scenario};

/// Chance for a campaign has a sequence of its own, apart from the servers'.
const STREAM: u64 = u64::MAX;

/// What was done to which server, from its beginning to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// Name in the table of faults.
    pub kind: &'static str,
    /// When it was applied.
    pub start: Timestamp,
    /// When it was taken back.
    pub end: Timestamp,
    /// Place of the server; `None` for all.
    pub server: Option<usize>,
    /// `false` for a benign change.
    pub anomalous: bool,
    /// In the unit of the fault.
    pub strength: f64,
}

/// A fault with its time, in milliseconds since the start.
#[derive(Debug, Clone, Copy)]
struct Entry {
    fault: &'static Fault,
    from: i64,
    until: i64,
    strength: f64,
    server: usize,
}

/// What is done to the servers of a scenario, in order of time.
pub fn labels(scenario: &Scenario) -> Vec<Label> {
    Schedule::new(scenario).labels(scenario.start)
}

/// All faults of a scenario in order of time, and how far it is played.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    entries: Vec<Entry>,
    /// The last scrape, in milliseconds since the start.
    end: i64,
    n_servers: usize,
    corefile: Corefile,
    lookups_per_second: f64,
    /// Entries before this one are over.
    first: usize,
}

impl Schedule {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let mut entries: Vec<Entry> = scenario
            .faults
            .iter()
            .map(|planned| Entry {
                fault: planned.fault,
                from: planned.at.millis(),
                until: planned.at.millis().saturating_add(planned.length.millis()),
                strength: planned.strength,
                server: planned.server,
            })
            .collect();
        if let Some(campaign) = &scenario.campaign {
            entries.extend(played(scenario, campaign));
        }
        let end = scenario.last_scrape_millis();
        entries.retain(|entry| entry.from < end);
        entries.sort_by_key(|entry| (entry.from, entry.until));
        Self {
            entries,
            end,
            n_servers: scenario.servers,
            corefile: scenario.corefile,
            lookups_per_second: scenario.traffic.lookups_per_second,
            first: 0,
        }
    }

    /// All labels, in order of time; what lasts longer than the scenario ends with its last scrape.
    pub(crate) fn labels(&self, start: Timestamp) -> Vec<Label> {
        let at = |millis: i64| Timestamp::from_millis(start.millis().saturating_add(millis));
        self.entries
            .iter()
            .map(|entry| Label {
                kind: entry.fault.name,
                start: at(entry.from),
                end: at(entry.until.min(self.end)),
                server: (entry.fault.reach == Reach::Server).then_some(entry.server),
                anomalous: entry.fault.anomalous,
                strength: entry.strength,
            })
            .collect()
    }

    /// When the first fault begins, in milliseconds since the start; `None` without faults.
    pub(crate) fn begins(&self) -> Option<i64> {
        self.entries.first().map(|entry| entry.from)
    }

    /// Goes on to the interval of milliseconds since the start, and says whether any fault is in
    /// force in it.
    pub(crate) fn advance(&mut self, from: i64, until: i64) -> bool {
        while self.entries.get(self.first).is_some_and(|entry| entry.until <= from) {
            self.first += 1;
        }
        self.in_force(from, until).next().is_some()
    }

    fn in_force(&self, from: i64, until: i64) -> impl Iterator<Item = &Entry> {
        let left = &self.entries[self.first..];
        let begun = left.partition_point(|entry| entry.from < until);
        left[..begun].iter().filter(move |entry| entry.until > from)
    }

    /// What the interval is like for a server.
    pub(crate) fn conditions(&self, from: i64, until: i64, server: usize) -> Conditions {
        let mut conditions = Conditions::usual(self.corefile);
        for entry in self.in_force(from, until) {
            if entry.fault.reach == Reach::Server && entry.server != server {
                continue;
            }
            let dose = Dose {
                strength: entry.strength,
                elapsed: (until - entry.from) as f64 / 1000.0,
                seconds: (until - from) as f64 / 1000.0,
                lasts: (entry.until - entry.from) as f64 / 1000.0,
                server,
                n_servers: self.n_servers,
                lookups_per_second: self.lookups_per_second,
            };
            (entry.fault.effect)(&mut conditions, &dose);
        }
        conditions
    }
}

/// The faults of a campaign with their times, until the scenario ends.
fn played(scenario: &Scenario, campaign: &Campaign) -> Vec<Entry> {
    let mut dice = Dice::new(scenario.seed, STREAM);
    let (mut entries, mut at) = (Vec::new(), campaign.after.millis());
    let mut order = campaign.faults.clone();
    while at < scenario.length.millis() && !order.is_empty() {
        if campaign.shuffled {
            shuffle(&mut dice, &mut order);
        }
        for fault in &order {
            let (share, pause, server) = (dice.share(), 0.5 + dice.share(), dice.share());
            let by_chance = campaign.shuffled;
            let until = at.saturating_add(campaign.lasts.millis());
            entries.push(Entry {
                fault,
                from: at,
                until,
                strength: if by_chance { fault.strength.at(share) } else { fault.strength.usual },
                server: if by_chance { (server * scenario.servers as f64) as usize } else { 0 },
            });
            let rest = campaign.pause.millis() as f64 * if by_chance { pause } else { 1.0 };
            at = until.saturating_add(rest as i64);
        }
        if !campaign.repeats {
            break;
        }
    }
    entries
}

/// Fisher and Yates's.
fn shuffle<T>(dice: &mut Dice, list: &mut [T]) {
    for last in (1..list.len()).rev() {
        let other = (dice.share() * (last + 1) as f64) as usize;
        list.swap(last, other.min(last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(text: &str) -> Schedule {
        Schedule::new(&Scenario::parse(text).unwrap())
    }

    #[test]
    fn a_fault_is_in_force_from_its_beginning_to_its_end() {
        let text = "faults: [{kind: traffic_spike, at: 1m, for: 30s, strength: 7}]";
        let mut schedule = schedule(text);
        let lookups: Vec<f64> = (0..8)
            .map(|step| {
                schedule.advance(step * 15_000, (step + 1) * 15_000);
                schedule.conditions(step * 15_000, (step + 1) * 15_000, 1).lookups
            })
            .collect();
        assert_eq!(lookups, [1.0, 1.0, 1.0, 1.0, 7.0, 7.0, 1.0, 1.0]);
        let labels = schedule.labels(Timestamp::from_millis(0));
        assert_eq!((labels[0].kind, labels[0].server), ("traffic_spike", None));
        assert_eq!(labels[0].end, Timestamp::from_millis(90_000));
    }

    #[test]
    fn no_label_is_later_than_the_last_scrape() {
        let faults = "{kind: restart, at: 9m, for: 5m}, {kind: reload, at: 605s, for: 1m}";
        let schedule = schedule(&format!("for: 10m10s\nevery: 15s\nfaults: [{faults}]"));
        let labels = schedule.labels(Timestamp::from_millis(0));
        let times: Vec<_> = labels.iter().map(|it| (it.start.millis(), it.end.millis())).collect();
        assert_eq!(times, [(540_000, 600_000)]);
        assert!(schedule.in_force(599_000, 600_000).all(|entry| entry.until == 840_000));
    }

    #[test]
    fn what_happens_to_one_server_does_not_happen_to_another() {
        let text = "faults: [{kind: process_freeze, at: 1s, for: 1m, server: 1}]";
        let schedule = schedule(text);
        let frozen = |server| schedule.conditions(15_000, 30_000, server).frozen;
        assert_eq!([frozen(0), frozen(1)], [false, true]);
    }

    #[test]
    fn a_campaign_plays_every_fault_and_is_the_same_for_a_seed() {
        let text = "for: 30d\ncampaign: {after: 1h, lasts: 5m, pause: 20m}\nseed: 5";
        let labels = schedule(text).labels(Timestamp::from_millis(0));
        for fault in crate::FAULTS {
            assert!(labels.iter().any(|label| label.kind == fault.name), "{}", fault.name);
        }
        assert_eq!(labels, schedule(text).labels(Timestamp::from_millis(0)));
        let other = text.replace("seed: 5", "seed: 6");
        assert_ne!(labels, schedule(&other).labels(Timestamp::from_millis(0)));
    }
}
