//! Incidents of several servers that are one trouble to an operator.

use std::collections::HashSet;

use oddns_core::{Cause, Incident, Severity, Timestamp};

/// Seconds within which incidents of one job begin when they have one reason, whatever their causes
/// are taken for: two faults of their own within a minute are rarer than a first guess that is wrong.
const TOGETHER_SECONDS: f64 = 60.0;
/// The same where one cause is not known, or may be the other.
const NEAR_SECONDS: f64 = 300.0;
/// Seconds for which an alert is told to be over, as in Prometheus.
const RESOLVED_SECONDS: f64 = 900.0;
/// Most servers listed in one group.
const MAX_INCIDENTS: usize = 1000;
/// Most times that a group is told anew, as it grows, worsens or returns.
const MAX_FACES: usize = 16;
/// An incident that lasts so long …
const LONG_SECONDS: f64 = 3600.0;
/// … and is this far above the alarm line needs a person, even if it did not when it began.
const LONG_PEAK: f32 = 1.5;

/// Incidents of the servers of one job that have one reason, as far as can be told.
#[derive(Debug, Clone, PartialEq)]
pub struct IncidentGroup {
    /// The id of its first incident.
    pub id: String,
    /// The job of its servers.
    pub job: String,
    /// First anomalous instant.
    pub start: Timestamp,
    /// Last anomalous instant; `None` while it goes on.
    pub end: Option<Timestamp>,
    /// How urgent, by how bad, how long and how many. Rises only.
    pub severity: Severity,
    /// What most of its incidents say, with the mean of their confidence.
    pub cause: Cause,
    /// One or more for each server, the first one first.
    pub incidents: Vec<Incident>,
    /// How many servers the job had when this was last told.
    pub n_servers: usize,
    /// What it was told as, one after the other.
    pub(crate) faces: Vec<Face>,
}

/// What a group is known by outside, from when to when: the labels of its alert come from here, and
/// stay the same while it holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Face {
    pub severity: Severity,
    /// Name of the cause by then.
    pub cause: String,
    /// The server, while it is only one.
    pub instance: Option<String>,
    pub start: Timestamp,
    /// When another face, or nothing, took its place.
    pub end: Option<Timestamp>,
}

/// Whether what ended at `end`, if it did, is still told to be over.
pub(crate) fn is_recent(end: Option<Timestamp>, now: Timestamp) -> bool {
    end.is_none_or(|end| now.seconds_since(end) <= RESOLVED_SECONDS)
}

impl IncidentGroup {
    pub(super) fn new(job: &str, incident: Incident) -> Self {
        Self {
            id: incident.id.clone(),
            job: job.to_owned(),
            start: incident.start,
            end: None,
            severity: incident.severity,
            cause: incident.cause.clone(),
            incidents: vec![incident],
            n_servers: 1,
            faces: Vec::new(),
        }
    }

    /// Servers, each once, in the order in which they joined.
    pub fn servers(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        let names = self.incidents.iter().map(|incident| incident.instance.as_str());
        names.filter(|name| seen.insert(*name)).collect()
    }

    /// The incident with the highest score.
    pub fn strongest(&self) -> &Incident {
        // There is a first one: a group is made of an incident, and none is taken out.
        self.incidents.iter().fold(&self.incidents[0], |strongest, incident| {
            if incident.peak_score > strongest.peak_score { incident } else { strongest }
        })
    }

    /// Whether it goes on, or ended so lately that others are still told.
    pub(crate) fn is_recent(&self, now: Timestamp) -> bool {
        self.faces.last().is_some_and(|face| is_recent(face.end, now))
    }

    pub(super) fn incident_mut(&mut self, id: &str) -> Option<&mut Incident> {
        self.incidents.iter_mut().find(|incident| incident.id == id)
    }

    /// Whether an incident of `job` that begins has the same reason, as far as can be told.
    pub(super) fn takes(&self, job: &str, incident: &Incident) -> bool {
        if self.job != job
            || self.incidents.len() >= MAX_INCIDENTS
            || self.faces.len() >= MAX_FACES
            || self.has_open(&incident.instance)
        {
            return false;
        }
        let since_end = self.end.map_or(0.0, |end| incident.start.seconds_since(end));
        if since_end > TOGETHER_SECONDS {
            return false;
        }
        let apart = self
            .incidents
            .iter()
            .map(|known| incident.start.seconds_since(known.start).abs())
            .fold(f64::INFINITY, f64::min);
        apart <= TOGETHER_SECONDS
            || self.is_caused_by(incident.cause.name)
            || (apart <= NEAR_SECONDS && self.may_be_caused_as(incident))
    }

    fn has_open(&self, instance: &str) -> bool {
        self.incidents.iter().any(|known| known.end.is_none() && known.instance == instance)
    }

    fn is_caused_by(&self, cause: &str) -> bool {
        cause != "unknown"
            && (self.cause.name == cause
                || self.faces.last().is_some_and(|face| face.cause == cause))
    }

    fn may_be_caused_as(&self, incident: &Incident) -> bool {
        let names = |causes: &[Cause], name: &str| causes.iter().any(|cause| cause.name == name);
        self.cause.name == "unknown"
            || incident.cause.name == "unknown"
            || names(&incident.alternatives, self.cause.name)
            || names(&self.strongest().alternatives, incident.cause.name)
    }

    /// Brings everything that follows from the incidents up to date.
    pub(super) fn settle(&mut self, n_servers: usize, now: Timestamp, page_line: f32) {
        self.n_servers = n_servers.max(self.servers().len());
        let goes_on = self.incidents.iter().any(|incident| incident.end.is_none());
        let last = self.incidents.iter().filter_map(|incident| incident.end).max();
        self.end = if goes_on { None } else { last };
        self.cause = self.likeliest();
        self.severity = self.severity.max(self.judged(now, page_line));
        self.face(goes_on, now);
    }

    fn likeliest(&self) -> Cause {
        let mut sums: Vec<(&Cause, f32)> = Vec::new();
        for Incident { cause, .. } in &self.incidents {
            match sums.iter_mut().find(|(known, _)| known.name == cause.name) {
                Some((_, sum)) => *sum += cause.confidence,
                None => sums.push((cause, cause.confidence)),
            }
        }
        let first = (&self.incidents[0].cause, f32::NEG_INFINITY);
        let (cause, sum) =
            sums.into_iter().fold(first, |best, next| if next.1 > best.1 { next } else { best });
        Cause { confidence: sum / self.incidents.len() as f32, ..cause.clone() }
    }

    /// Most servers at once are far beyond what chance does to each of them; a few have to be above
    /// `page_line` to be urgent.
    fn judged(&self, now: Timestamp, page_line: f32) -> Severity {
        let open = || self.incidents.iter().filter(|incident| incident.end.is_none());
        let worst = open().map(|incident| incident.severity).max().unwrap_or(Severity::Warning);
        let n_open = open().count();
        let many = n_open >= 2 && 2 * n_open > self.n_servers;
        let long = n_open > 0
            && now.seconds_since(self.start) >= LONG_SECONDS
            && self.strongest().peak_score >= LONG_PEAK;
        match self.strongest().peak_score >= page_line {
            true if many || long => Severity::Critical,
            true => worst,
            false if many => Severity::Critical,
            false => Severity::Warning,
        }
    }

    fn face(&mut self, goes_on: bool, now: Timestamp) {
        let servers = self.servers();
        let instance = (servers.len() == 1).then(|| servers[0].to_owned());
        let severity = self.severity;
        let room = self.faces.len() < MAX_FACES;
        if let Some(face) = self.faces.last_mut().filter(|face| face.end.is_none()) {
            let same = face.severity == severity && face.instance == instance;
            if goes_on && (same || !room) {
                return;
            }
            face.end = Some(now);
        }
        if goes_on && room {
            let start = if self.faces.is_empty() { self.start } else { now };
            let cause = self.cause.name.to_owned();
            self.faces.push(Face { severity, cause, instance, start, end: None });
        }
    }
}
