//! The fleet: one clock, the same clients and upstreams for all, and a server after the other.

use oddns_core::{Recording, Scrape, SeriesTable, Timestamp};

use crate::conditions::Conditions;
use crate::dice::Dice;
use crate::scenario::{Scenario, Traffic};
use crate::schedule::{Label, Schedule};
use crate::server::{Server, Share};

/// Chance for what all servers feel alike has a sequence of its own.
const STREAM: u64 = u64::MAX - 1;
/// Seconds after which the unrest of the clients is another.
const UNREST_SECONDS: f64 = 60.0;
const DAY_MILLIS: i64 = 86_400_000;
const WEEK_DAYS: i64 = 7;
/// 1970-01-01 was a Thursday: so many days after a Monday.
const EPOCH_WEEKDAY: i64 = 3;

/// A scenario that is being simulated, one scrape of every server after the other.
///
/// The same scenario gives the same scrapes, to the bit.
#[derive(Debug, Clone)]
pub struct Simulation {
    scenario: Scenario,
    schedule: Schedule,
    servers: Vec<Server>,
    dice: Dice,
    unrest: f64,
    /// Scrapes made so far.
    step: i64,
    quiet: Conditions,
}

impl Simulation {
    /// Prepares the servers: their caches are filled when the scenario starts.
    pub fn new(mut scenario: Scenario) -> Self {
        scenario.machine = scenario.machine.run_by(scenario.coredns);
        let mut servers: Vec<Server> =
            (0..scenario.servers).map(|index| Server::new(&scenario, index)).collect();
        let rate = rate_at(&scenario.traffic, scenario.start, 0) / scenario.servers as f64;
        let share = Share {
            seconds: 0.0,
            until: scenario.start,
            lookups_per_second: rate,
            part: 1.0 / scenario.servers as f64,
            changes_per_second: scenario.traffic.changes_per_second,
        };
        servers.iter_mut().for_each(|server| server.warm_up(share));
        Self {
            schedule: Schedule::new(&scenario),
            servers,
            dice: Dice::new(scenario.seed, STREAM),
            unrest: 0.0,
            step: 0,
            quiet: Conditions::usual(scenario.corefile),
            scenario,
        }
    }

    /// What is simulated.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// What is done to the servers, in order of time, whether or not it is simulated yet.
    pub fn labels(&self) -> Vec<Label> {
        self.schedule.labels(self.scenario.start)
    }

    /// Until when nothing is wrong: the beginning of the first fault, or the end.
    pub fn normal_until(&self) -> Timestamp {
        let quiet = self.schedule.begins().unwrap_or_else(|| self.scenario.length.millis());
        Timestamp::from_millis(self.scenario.start.millis().saturating_add(quiet))
    }

    /// Scrapes of each server that a whole simulation makes.
    pub fn n_scrapes(&self) -> u64 {
        (self.scenario.length.millis() / self.scenario.every.millis()).max(0) as u64
    }

    /// How a server is called, as Prometheus would: `coredns-0:9153`.
    pub fn instance(&self, server: usize) -> String {
        format!("coredns-{server}:9153")
    }

    /// The series that the scrapes of a server speak of. It grows when a server shows new ones.
    /// Panics when `server` is not below [`Scenario::servers`].
    pub fn table(&self, server: usize) -> &SeriesTable {
        self.servers[server].table()
    }

    /// Goes on by one interval, and calls `take` with each server's place, table and scrape, which
    /// is overwritten for the next. False at the end of the scenario, when nothing was done.
    pub fn advance(
        &mut self,
        scrape: &mut Scrape,
        mut take: impl FnMut(usize, &SeriesTable, &Scrape),
    ) -> bool {
        let every = self.scenario.every.millis();
        let (from, until) = (self.step * every, (self.step + 1) * every);
        if until > self.scenario.length.millis() {
            return false;
        }
        self.step += 1;
        let share = self.share(from, until);
        let faulty = self.schedule.advance(from, until);
        for (place, server) in self.servers.iter_mut().enumerate() {
            let worse;
            let conditions = if faulty {
                worse = self.schedule.conditions(from, until, place);
                &worse
            } else {
                &self.quiet
            };
            server.live(&share, conditions);
            server.scrape(conditions, share.until, scrape);
            take(place, server.table(), scrape);
        }
        true
    }

    /// Everything at once, for scenarios that fit into memory: one recording a server.
    pub fn record(mut self) -> Vec<Recording> {
        let mut recordings: Vec<Recording> = (0..self.servers.len())
            .map(|place| Recording { instance: self.instance(place), ..Recording::default() })
            .collect();
        let mut scrape = empty_scrape();
        while self.advance(&mut scrape, |place, _, scrape| {
            recordings[place].scrapes.push(scrape.clone());
        }) {}
        for (recording, server) in recordings.iter_mut().zip(&self.servers) {
            recording.series = server.table().clone();
        }
        recordings
    }

    /// What each server gets in an interval.
    fn share(&mut self, from: i64, until: i64) -> Share {
        let traffic = &self.scenario.traffic;
        let seconds = (until - from) as f64 / 1000.0;
        let keep = (-seconds / UNREST_SECONDS).exp();
        self.unrest = keep * self.unrest + (1.0 - keep * keep).sqrt() * self.dice.normal();
        let load = traffic.load.as_ref();
        let load = load.map(|load| load.mean(from as f64 / 1000.0, until as f64 / 1000.0));
        let busy = load.map_or(1.0, |load| load.rate_ratio);
        let rate = busy * rate_at(traffic, self.scenario.start, (from + until) / 2);
        let n = self.scenario.servers as f64;
        Share {
            seconds,
            until: Timestamp::from_millis(self.scenario.start.millis() + until),
            lookups_per_second: rate * (traffic.unrest * self.unrest).exp() / n,
            part: 1.0 / n,
            changes_per_second: traffic.changes_per_second
                + load.map_or(0.0, |load| load.changes_per_second),
        }
    }
}

/// A scrape to be overwritten.
pub fn empty_scrape() -> Scrape {
    Scrape {
        time: Timestamp::default(),
        up: false,
        duration_seconds: f64::NAN,
        samples: Vec::new(),
    }
}

/// Lookups a second of the fleet, by the clock, so many milliseconds after the start.
fn rate_at(traffic: &Traffic, start: Timestamp, millis: i64) -> f64 {
    let mut rate = traffic.lookups_per_second;
    if let Some(day) = traffic.day {
        let turn = (millis as f64 / 1000.0 - day.rises_after_seconds) / day.period.as_seconds();
        rate *= 1.0 + day.amplitude_ratio * (std::f64::consts::TAU * turn).sin();
    }
    let year = millis as f64 / (365 * DAY_MILLIS) as f64;
    rate *= traffic.yearly_growth.powf(year);
    rate *= 1.0 + traffic.season_ratio * (std::f64::consts::TAU * year).sin();
    let days = start.millis().saturating_add(millis).div_euclid(DAY_MILLIS);
    if (days + EPOCH_WEEKDAY).rem_euclid(WEEK_DAYS) >= 5 {
        rate *= traffic.weekend_ratio;
    }
    if let Some(cron) = traffic.cron
        && millis.rem_euclid(cron.every.millis()) < cron.lasts.millis()
    {
        rate *= cron.times;
    }
    rate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_makes_days_weeks_and_bursts() {
        let text = "traffic: {lookups_per_second: 100, weekend_ratio: 0.5, \
                    day: {amplitude_ratio: 0.5, rises_after: 8h}, cron: {every: 1h, lasts: 1m, times: 2}}";
        let scenario = Scenario::parse(text).unwrap();
        let hour = 3_600_000;
        let rate = |hours: i64| rate_at(&scenario.traffic, scenario.start, hours * hour + hour / 2);
        assert!((rate(13) - 149.6).abs() < 1.0 && (rate(1) - 50.4).abs() < 1.0, "{}", rate(1));
        // Saturday.
        assert!((rate(5 * 24 + 13) - 74.8).abs() < 1.0);
        let grown = Traffic { yearly_growth: 4.0, season_ratio: 0.2, ..scenario.traffic.clone() };
        let later = |hours: i64| rate_at(&grown, scenario.start, hours * hour + hour / 2);
        let ratio = later(365 * 12 + 13) / rate(365 * 12 + 13);
        assert!((1.9..2.1).contains(&ratio), "{ratio}");
        let burst = rate_at(&scenario.traffic, scenario.start, 8 * hour + 30_000);
        assert!((burst - 200.0).abs() < 2.0, "{burst}");
    }
}
