//! What the page, the API and the charts show: a bounded memory of every server.

use std::collections::{BTreeMap, VecDeque};

use oddns_core::{Incident, Timestamp};

use crate::history::History;
use oddns::{Column, Detector, IncidentEvent, State, Step};

/// Most steps remembered of one server: 30 hours at one scrape each 15 seconds.
pub const MAX_STEPS: usize = 7200;
/// Memory for the readings of all servers together; with many servers each gets fewer steps.
const MAX_READING_BYTES: usize = 256 << 20;
/// A server always keeps this many steps: an hour at one scrape each 15 seconds.
const MIN_STEPS: usize = 240;
/// Most incidents remembered; the oldest go first.
const MAX_INCIDENTS: usize = 1000;
/// Most labelled intervals shown.
const MAX_TRUTHS: usize = 1000;

/// Everything that is shown, of one process.
#[derive(Debug, Clone)]
pub struct View {
    title: String,
    live: bool,
    model: Option<ModelInfo>,
    servers: BTreeMap<String, Server>,
    /// Oldest start first.
    incidents: VecDeque<Incident>,
    truths: Vec<Truth>,
    steps_each: usize,
    revision: u64,
}

/// The model that judges, in words.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelInfo {
    /// What tells it from every other model, such as a hash of its file.
    pub id: String,
    /// Identity of its feature schema, 16 hex digits.
    pub schema: String,
    /// First and last instant of the data it was trained on, if recorded.
    pub trained_on: Option<(Timestamp, Timestamp)>,
    /// Scrapes it looks at for one score.
    pub window: usize,
    /// Its features, in column order.
    pub features: Vec<FeatureInfo>,
}

/// One column of the model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeatureInfo {
    /// Column name.
    pub name: String,
    /// As written behind a value, such as `s`, `/s` or `B`; empty for plain numbers.
    pub unit: String,
    /// One sentence for an operator.
    pub doc: String,
}

/// One server as it stands.
#[derive(Debug, Clone)]
pub struct Server {
    /// The latest state; `None` before the first scrape.
    pub state: Option<State>,
    /// Since when this kind of state holds.
    pub since: Option<Timestamp>,
    /// Why the latest scrape failed; `None` when it worked.
    pub trouble: Option<String>,
    /// The latest steps.
    pub(crate) history: History,
}

/// What was really injected into a recording, to compare with what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    /// The fault or change in a few words.
    pub kind: String,
    /// First instant.
    pub start: Timestamp,
    /// Last instant.
    pub end: Timestamp,
    /// Which server; `None` for every one.
    pub instance: Option<String>,
    /// False marks a benign change, which should not alarm.
    pub anomalous: bool,
}

impl ModelInfo {
    /// Describes `detector`; `id` is what tells it from others.
    pub fn of(detector: &Detector, id: String) -> Self {
        let feature = |column: &Column| FeatureInfo {
            name: column.name.clone(),
            unit: column.unit.clone(),
            doc: column.doc.clone(),
        };
        Self {
            id,
            schema: detector.schema().id().to_string(),
            trained_on: detector.record().range,
            window: detector.warm_up_rows() + 1,
            features: detector.columns().iter().map(feature).collect(),
        }
    }
}

impl View {
    /// Nothing to see yet. `title` heads the page; `live` makes it refresh by itself.
    pub fn new(title: impl Into<String>, live: bool) -> Self {
        Self {
            title: title.into(),
            live,
            model: None,
            servers: BTreeMap::new(),
            incidents: VecDeque::new(),
            truths: Vec::new(),
            steps_each: MAX_STEPS,
            revision: 0,
        }
    }

    /// Names the model, which fixes the columns. What was remembered under another is forgotten.
    pub fn set_model(&mut self, model: ModelInfo) {
        let instances: Vec<String> = std::mem::take(&mut self.servers).into_keys().collect();
        self.model = Some(model);
        self.watch(instances);
    }

    /// Names the servers that steps will be pushed of, so that each is shown from the start and
    /// the memory is shared out among them. A server with a past keeps what it has.
    pub fn watch(&mut self, instances: impl IntoIterator<Item = String>) {
        for instance in instances {
            let (limit, width) = (self.steps_each, self.width());
            self.servers.entry(instance).or_insert_with(|| Server {
                state: None,
                since: None,
                trouble: None,
                history: History::new(limit, width),
            });
        }
        let readings = self.servers.len().max(1) * self.width().max(1);
        let affordable = MAX_READING_BYTES / (readings * size_of::<crate::history::Reading>());
        let limit = affordable.clamp(MIN_STEPS, MAX_STEPS);
        if limit != self.steps_each {
            self.steps_each = limit;
            let width = self.width();
            for server in self.servers.values_mut().filter(|server| server.history.is_empty()) {
                server.history = History::new(limit, width);
            }
        }
        self.revision += 1;
    }

    /// Forgets a server that went away, but not its incidents. Those that were open are closed at
    /// `time`, and given back.
    pub fn forget(&mut self, instance: &str, time: Timestamp) -> Vec<Incident> {
        self.servers.remove(instance);
        self.revision += 1;
        let is_open =
            |incident: &&mut Incident| incident.instance == instance && incident.end.is_none();
        let close = |incident: &mut Incident| {
            incident.end = Some(time);
            incident.clone()
        };
        self.incidents.iter_mut().filter(is_open).map(close).collect()
    }

    /// Sets what was really injected; at most the first 1000 are kept.
    pub fn set_truths(&mut self, mut truths: Vec<Truth>) {
        truths.truncate(MAX_TRUTHS);
        self.truths = truths;
        self.revision += 1;
    }

    /// Remembers a step of a server. A server not named to [`View::watch`] is added.
    pub fn push(&mut self, instance: &str, step: &Step) {
        if !self.servers.contains_key(instance) {
            self.watch([instance.to_owned()]);
        }
        if let Some(server) = self.servers.get_mut(instance) {
            server.push(step);
        }
        if let Some(event) = &step.incident {
            self.remember(event);
        }
        self.revision += 1;
    }

    /// Says why the latest scrape of a known server failed, or `None` that it worked.
    pub fn set_trouble(&mut self, instance: &str, trouble: Option<String>) {
        if let Some(server) = self.servers.get_mut(instance)
            && server.trouble != trouble
        {
            server.trouble = trouble;
            self.revision += 1;
        }
    }

    fn remember(&mut self, event: &IncidentEvent) {
        let incident = event.incident();
        if let Some(known) = self.incidents.iter_mut().rfind(|known| known.id == incident.id) {
            known.clone_from(incident);
            return;
        }
        let at = self.incidents.partition_point(|known| known.start <= incident.start);
        self.incidents.insert(at, incident.clone());
        if self.incidents.len() > MAX_INCIDENTS {
            self.incidents.pop_front();
        }
    }

    /// Heads the page.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Whether more steps will come.
    pub fn live(&self) -> bool {
        self.live
    }

    /// The model; `None` until it is loaded.
    pub fn model(&self) -> Option<&ModelInfo> {
        self.model.as_ref()
    }

    /// The model's features; empty until it is loaded.
    pub fn features(&self) -> &[FeatureInfo] {
        self.model.as_ref().map_or(&[], |model| &model.features)
    }

    /// Servers by name.
    pub fn servers(&self) -> impl Iterator<Item = (&str, &Server)> {
        self.servers.iter().map(|(name, server)| (name.as_str(), server))
    }

    /// One server.
    pub fn server(&self, instance: &str) -> Option<&Server> {
        self.servers.get(instance)
    }

    /// Incidents, latest start first.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.iter().rev()
    }

    /// What was injected into `instance`.
    pub fn truths<'a>(&'a self, instance: &'a str) -> impl Iterator<Item = &'a Truth> {
        self.truths.iter().filter(move |truth| {
            truth.instance.as_deref().is_none_or(|of| of == "*" || of == instance)
        })
    }

    /// Rises with every change; equal revisions show the same.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    fn width(&self) -> usize {
        self.features().len()
    }
}

impl Server {
    fn push(&mut self, step: &Step) {
        let same = self.state.as_ref().is_some_and(|state| {
            std::mem::discriminant(state) == std::mem::discriminant(&step.state)
        });
        if !same {
            self.since = Some(step.time);
        }
        self.state = Some(step.state.clone());
        self.history.push(step);
    }
}

/// The name of a state in labels and JSON; `waiting` before the first scrape.
pub fn state_name(state: Option<&State>) -> &'static str {
    state.map_or("waiting", State::name)
}

/// Every name that [`state_name`] gives.
pub const STATE_NAMES: &[&str] = &["waiting", "warming_up", "no_data", "not_coredns", "scoring"];

#[cfg(test)]
mod tests {
    use super::*;
    use oddns_core::{Cause, Severity};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn incident(id: usize) -> Incident {
        Incident {
            id: id.to_string(),
            instance: "a:1".into(),
            start: at(id as i64),
            end: None,
            severity: Severity::Warning,
            peak_score: 2.0,
            peak: at(id as i64),
            movements: vec![],
            cause: Cause { name: "unknown", summary: "", confidence: 0.0, next_steps: &[] },
            alternatives: Vec::new(),
        }
    }

    fn step(seconds: i64, state: State, incident: Option<IncidentEvent>) -> Step {
        Step { time: at(seconds), row: vec![], expected: vec![], state, score: None, incident }
    }

    #[test]
    fn state_lasts_while_only_its_details_change() {
        let mut view = View::new("t", true);
        for seen in 0..5 {
            view.push(
                "a:1",
                &step(seen, State::WarmingUp { seen: seen as usize, needed: 9 }, None),
            );
        }
        assert_eq!(view.server("a:1").unwrap().since, Some(at(0)));
        view.push("a:1", &step(5, State::Scoring, None));
        assert_eq!(view.server("a:1").unwrap().since, Some(at(5)));
    }

    #[test]
    fn incidents_are_replaced_by_id_and_bounded() {
        let mut view = View::new("t", true);
        for id in 0..MAX_INCIDENTS + 5 {
            let opened = IncidentEvent::Opened(incident(id));
            view.push("a:1", &step(id as i64, State::Scoring, Some(opened)));
        }
        let mut closed = incident(MAX_INCIDENTS + 4);
        closed.end = Some(at(9999));
        view.push("a:1", &step(9999, State::Scoring, Some(IncidentEvent::Closed(closed.clone()))));
        assert_eq!(view.incidents().count(), MAX_INCIDENTS);
        assert_eq!(view.incidents().next(), Some(&closed));
    }

    #[test]
    fn a_server_that_went_leaves_its_incidents() {
        let mut view = View::new("t", true);
        let opened = |id| Some(IncidentEvent::Opened(incident(id)));
        view.push("a:1", &step(1, State::Scoring, opened(1)));
        assert_eq!(view.forget("b:1", at(2)), []);
        let closed = view.forget("a:1", at(3));
        assert_eq!(closed.iter().map(|incident| incident.end).collect::<Vec<_>>(), [Some(at(3))]);
        assert!(view.server("a:1").is_none());
        assert_eq!(view.incidents().next(), closed.first());
    }

    #[test]
    fn many_servers_share_the_memory() {
        let mut view = View::new("t", true);
        let feature = FeatureInfo::default();
        view.set_model(ModelInfo { features: vec![feature; 50], ..ModelInfo::default() });
        view.watch((0..1000).map(|n| format!("s{n}:1")));
        let bytes = view.steps_each * 1000 * 50 * size_of::<crate::history::Reading>();
        assert!(bytes <= MAX_READING_BYTES, "{bytes}");
    }

    #[test]
    fn truths_belong_to_one_server_or_to_all() {
        let truth = |instance: Option<&str>| Truth {
            kind: "upstream".into(),
            start: at(0),
            end: at(1),
            instance: instance.map(str::to_owned),
            anomalous: true,
        };
        let mut view = View::new("t", false);
        view.set_truths(vec![
            truth(None),
            truth(Some("*")),
            truth(Some("a:1")),
            truth(Some("b:1")),
        ]);
        assert_eq!(view.truths("a:1").count(), 3);
    }
}
