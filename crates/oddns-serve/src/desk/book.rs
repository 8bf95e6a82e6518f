//! All incidents as groups, and those of before a restart.

use std::collections::{HashMap, HashSet, VecDeque};

use oddns::IncidentEvent;
use oddns_core::{Incident, Severity, Timestamp};

use super::group::IncidentGroup;

/// Most groups remembered; those that ended go first, the oldest of them before others.
pub(super) const MAX_GROUPS: usize = 500;
/// Scores without an alarm after which an incident of before a restart is over, as without one.
const QUIET_SCORES: u32 = 15;
/// Seconds after which it is over when nothing was scored: the server is gone, or silent.
const PATIENCE_SECONDS: f64 = 1800.0;

/// Every incident that is remembered, in groups, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(super) groups: VecDeque<IncidentGroup>,
    /// Score above which a group may be critical; 0 for any.
    pub(super) page_line: f32,
    /// Servers of each job.
    servers: HashMap<String, HashSet<String>>,
    /// Incidents that went on before a restart, by server.
    before: HashMap<String, Before>,
    /// Incidents that go on under the name they had before a restart, by server.
    renamed: HashMap<String, Renamed>,
}

/// An incident of which it is not known yet whether it goes on.
#[derive(Debug)]
struct Before {
    incident: Incident,
    /// When we took over.
    since: Timestamp,
    n_quiet: u32,
}

#[derive(Debug)]
struct Renamed {
    id: String,
    before: Incident,
}

impl Book {
    /// Notes that a server belongs to a job.
    pub(super) fn meet(&mut self, job: &str, instance: &str) {
        if self.servers.get(job).is_some_and(|servers| servers.contains(instance)) {
            return;
        }
        self.servers.entry(job.to_owned()).or_default().insert(instance.to_owned());
    }

    /// Forgets a server that went away. Gives its incidents that were open, closed.
    pub(super) fn forget(&mut self, instance: &str, now: Timestamp) -> Vec<Incident> {
        self.servers.values_mut().for_each(|servers| {
            servers.remove(instance);
        });
        self.before.remove(instance);
        self.renamed.remove(instance);
        let is_open = |incident: &Incident| incident.instance == instance && incident.end.is_none();
        let open: Vec<(String, Incident)> = self
            .groups
            .iter()
            .flat_map(|group| group.incidents.iter().map(|i| (group.job.clone(), i)))
            .filter(|(_, incident)| is_open(incident))
            .map(|(job, incident)| (job, Incident { end: Some(now), ..incident.clone() }))
            .collect();
        for (job, incident) in &open {
            self.write(job, incident, now);
        }
        open.into_iter().map(|(_, incident)| incident).collect()
    }

    /// From now on, what is open is of before: those who follow the servers begin anew.
    pub(super) fn begin_anew(&mut self, now: Timestamp) {
        self.renamed.clear();
        for incident in self.groups.iter().flat_map(|group| &group.incidents) {
            if incident.end.is_none() {
                let before = Before { incident: incident.clone(), since: now, n_quiet: 0 };
                self.before.insert(incident.instance.clone(), before);
            }
        }
    }

    /// Whether some incident of before a restart is not known to go on, or to be over.
    pub(super) fn waits(&self) -> bool {
        !self.before.is_empty()
    }

    /// Takes news of an incident, and gives them under the name that it had before a restart.
    pub(super) fn take(
        &mut self,
        job: &str,
        event: IncidentEvent,
        now: Timestamp,
    ) -> IncidentEvent {
        let event = self.known(event);
        self.write(job, event.incident(), now);
        event
    }

    fn known(&mut self, event: IncidentEvent) -> IncidentEvent {
        let incident = event.incident();
        let instance = incident.instance.clone();
        // Whoever follows this server did not begin anew.
        if self.before.get(&instance).is_some_and(|before| before.incident.id == incident.id) {
            self.before.remove(&instance);
        }
        if matches!(event, IncidentEvent::Opened(_))
            && let Some(Before { incident: before, .. }) = self.before.remove(&instance)
        {
            let id = incident.id.clone();
            self.renamed.insert(instance.clone(), Renamed { id, before });
        }
        let renamed = self.renamed.get(&instance).filter(|renamed| renamed.id == incident.id);
        let Some(Renamed { before, .. }) = renamed else { return event };
        let incident = joined(before, incident);
        match event {
            IncidentEvent::Closed(_) => {
                self.renamed.remove(&instance);
                IncidentEvent::Closed(incident)
            }
            // It was told before the restart that it began.
            _ => IncidentEvent::Updated(incident),
        }
    }

    /// Takes a score of a server: after enough without an alarm, an incident of before is over.
    pub(super) fn scored(
        &mut self,
        job: &str,
        instance: &str,
        alarm: bool,
        now: Timestamp,
    ) -> Option<IncidentEvent> {
        let before = self.before.get_mut(instance)?;
        before.n_quiet = if alarm { 0 } else { before.n_quiet + 1 };
        if before.n_quiet < QUIET_SCORES {
            return None;
        }
        let Before { incident, since, .. } = self.before.remove(instance)?;
        let closed = Incident { end: Some(since), ..incident };
        self.write(job, &closed, now);
        Some(IncidentEvent::Closed(closed))
    }

    /// Lets time pass: what is not heard of any more ends, what lasts long gets more urgent. Gives
    /// the incidents that ended.
    pub(super) fn tick(&mut self, now: Timestamp) -> Vec<Incident> {
        let is_lost = |before: &Before| now.seconds_since(before.since) >= PATIENCE_SECONDS;
        let lost: Vec<String> = self
            .before
            .iter()
            .filter(|(_, before)| is_lost(before))
            .map(|(instance, _)| instance.clone())
            .collect();
        let closed = lost.iter().flat_map(|instance| self.forget(instance, now)).collect();
        for group in self.groups.iter_mut().filter(|group| group.end.is_none()) {
            let n_servers = self.servers.get(&group.job).map_or(0, HashSet::len);
            group.settle(n_servers, now, self.page_line);
        }
        closed
    }

    /// Puts an incident where it belongs: into its group, one that has the same reason, or a new one.
    fn write(&mut self, job: &str, incident: &Incident, now: Timestamp) {
        let at = self.place(job, incident);
        let n_servers = self.servers.get(job).map_or(0, HashSet::len);
        let group = &mut self.groups[at];
        match group.incident_mut(&incident.id) {
            Some(known) => known.clone_from(incident),
            None => group.incidents.push(incident.clone()),
        }
        group.settle(n_servers, now, self.page_line);
        self.make_room();
    }

    fn place(&mut self, job: &str, incident: &Incident) -> usize {
        let has = |group: &IncidentGroup| group.incidents.iter().any(|i| i.id == incident.id);
        let known = self.groups.iter().rposition(has);
        let found = known.or_else(|| self.groups.iter().rposition(|g| g.takes(job, incident)));
        found.unwrap_or_else(|| {
            self.groups.push_back(IncidentGroup::new(job, incident.clone()));
            self.groups.len() - 1
        })
    }

    fn make_room(&mut self) {
        while self.groups.len() > MAX_GROUPS {
            let ended = self.groups.iter().position(|group| group.end.is_some());
            self.groups.remove(ended.unwrap_or(0));
        }
    }
}

/// An incident that goes on after a restart, as one with what was known of it before.
fn joined(before: &Incident, now: &Incident) -> Incident {
    let severity: Severity = before.severity.max(now.severity);
    let is_higher = before.peak_score > now.peak_score;
    let (peak_score, peak) =
        if is_higher { (before.peak_score, before.peak) } else { (now.peak_score, now.peak) };
    let id = before.id.clone();
    Incident { id, start: before.start, severity, peak_score, peak, ..now.clone() }
}
