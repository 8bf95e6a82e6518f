//! A story of scores, and what is told of it.

use std::fmt::Write;

use oddns_core::{Incident, Timestamp};
use oddns_detect::{
    Deviations, IncidentEvent, IncidentTracker, Observation, Persistence, PersistenceConfig,
    contributions,
};

/// The features of the made-up server, with their values when all is well.
const FEATURES: [(&str, f32); 6] = [
    ("request_rate", 100.0),
    ("servfail_ratio", 0.01),
    ("nxdomain_ratio", 0.4),
    ("upstream_per_miss_ratio", 1.0),
    ("upstream_all_broken_rate", 0.0),
    ("tcp_ratio", 0.0),
];

/// One server on its way through a story.
struct Server {
    tracker: IncidentTracker,
    persistence: Persistence,
    step: i64,
    told: String,
}

/// What is told of a story: a line for everything that was opened, updated and closed.
///
/// A line of the story is `<steps> <score> [feature=value@deviation …]`; a feature that is not
/// named is as ever. Steps are 15 seconds, the story begins at midnight.
pub(crate) fn verdicts(story: &str) -> String {
    verdicts_of("dns-0", story)
}

/// The same for a server of another name.
pub(crate) fn verdicts_of(instance: &str, story: &str) -> String {
    let features = FEATURES.map(|(name, _)| name.to_owned()).to_vec();
    let mut server = Server {
        tracker: IncidentTracker::new(instance.to_owned(), features),
        persistence: Persistence::new(PersistenceConfig {
            clear_after: 5,
            ..PersistenceConfig::default()
        }),
        step: 0,
        told: String::new(),
    };
    story.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(|line| server.live(line));
    if let Some(incident) = server.tracker.finish() {
        server.tell("unfinished", &incident);
    }
    server.told
}

impl Server {
    fn live(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let steps: usize = words.next().unwrap().parse().unwrap();
        let score: f32 = words.next().unwrap().parse().unwrap();
        let mut row = FEATURES.map(|(_, value)| value);
        let mut deviation = [0.0_f32; FEATURES.len()];
        for word in words {
            let (feature, rest) = word.split_once('=').unwrap();
            let (value, far) = rest.split_once('@').unwrap();
            let at = FEATURES.iter().position(|(name, _)| *name == feature).unwrap();
            (row[at], deviation[at]) = (value.parse().unwrap(), far.parse().unwrap());
        }
        for _ in 0..steps {
            self.step(score, &row, &deviation);
        }
    }

    fn step(&mut self, score: f32, row: &[f32], deviation: &[f32]) {
        let strength: Vec<f32> = deviation.iter().map(|far| far.abs()).collect();
        let expected = FEATURES.map(|(_, value)| value);
        let of = Deviations { strength: &strength, deviation, observed: row, expected: &expected };
        let contributions = contributions(of, 8);
        let time = Timestamp::from_millis(self.step * 15_000);
        self.step += 1;
        let alarm = self.persistence.push(score, true);
        let seen =
            Observation { time, score, alarm, row, deviation, contributions: &contributions };
        match self.tracker.push(seen) {
            Some(IncidentEvent::Opened(incident)) => self.tell("opened", &incident),
            Some(IncidentEvent::Updated(incident)) => self.tell("updated", &incident),
            Some(IncidentEvent::Closed(incident)) => self.tell("closed", &incident),
            None => {}
        }
    }

    fn tell(&mut self, what: &str, incident: &Incident) {
        let now = Timestamp::from_millis((self.step - 1) * 15_000).clock();
        let end = incident.end.map_or("…".to_owned(), Timestamp::clock);
        let Incident { severity, peak_score, cause, .. } = incident;
        let (severity, start) = (severity.as_str(), incident.start.clock());
        let told = &mut self.told;
        write!(told, "{now} {what} {start}–{end} {severity} {peak_score} {}:", cause.name).unwrap();
        for moved in &incident.movements {
            write!(told, " {} {:.1}→{:.1}", moved.feature, moved.expected, moved.observed).unwrap();
        }
        told.push('\n');
    }
}

/// The ids of the incidents of a story, oldest first.
pub(crate) fn ids(instance: &str, scores: &[(i64, f32)]) -> Vec<String> {
    let mut tracker = IncidentTracker::new(instance.to_owned(), vec!["load".into()]);
    let mut ids = Vec::new();
    for (second, score) in scores {
        let time = Timestamp::from_millis(second * 1000);
        let (score, alarm) = (*score, *score > 1.0);
        let seen = Observation {
            time,
            score,
            alarm,
            row: &[score],
            deviation: &[score],
            contributions: &[],
        };
        if let Some(IncidentEvent::Opened(incident)) = tracker.push(seen) {
            ids.push(incident.id);
        }
    }
    ids
}
