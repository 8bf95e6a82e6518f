//! What the page, the API and the charts show: a bounded memory of every server.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use oddns_core::{Frame, Incident, Timestamp};

use crate::history::{History, Limits};
use crate::origin::Origin;
use oddns::{Column, Detector, State, Step};

/// Most steps remembered of one server: 30 hours at one scrape each 15 seconds.
pub const MAX_STEPS: usize = 7200;
/// Memory for the scores of all servers together; with many servers each gets fewer steps, …
const MAX_STEP_BYTES: usize = 32 << 20;
/// … but always this many: an hour at one scrape each 15 seconds.
const MIN_STEPS: usize = 240;
/// Memory for what the features of all servers did, which is remembered of fewer steps …
const MAX_READING_BYTES: usize = 64 << 20;
/// … and always of some.
const MIN_ROWS: usize = 4;
/// A server that alarmed keeps so many rows all the same: somebody will look at it, …
const ODD_ROWS: usize = 240;
/// … unless so many servers did before it.
const MAX_ODD_SERVERS: usize = 64;
/// Most incidents remembered; the oldest go first.
const MAX_INCIDENTS: usize = 1000;
/// Seconds without a step after which a server is stale, …
const STALE_SECONDS: f64 = 120.0;
/// … or so many intervals, where that is longer.
const STALE_INTERVALS: f64 = 5.0;
/// Most labelled intervals shown.
const MAX_TRUTHS: usize = 1000;

/// Everything that is shown, of one process.
#[derive(Debug, Clone)]
pub struct View {
    title: String,
    live: bool,
    model: Option<ModelInfo>,
    origin: Origin,
    servers: BTreeMap<String, Server>,
    /// Oldest start first.
    incidents: VecDeque<Incident>,
    truths: Vec<Truth>,
    limits: Limits,
    /// Servers that keep more, since they alarmed.
    odd: Vec<String>,
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
    /// Which detector it is.
    pub kind: String,
    /// Rows that it learned from, over all servers.
    pub n_rows: usize,
    /// Seconds between them; NaN when not known.
    pub interval_seconds: f32,
    /// Weights of its network; 0 without one.
    pub n_parameters: usize,
    /// False alarms that a server may have in a week, as it was trained.
    pub alarms_per_week: f64,
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
    /// Whether nothing came for so long that what is shown says nothing of now.
    pub(crate) stale: bool,
    /// Whether the model cannot judge it; `trouble` says why.
    pub(crate) unfit: bool,
    /// Whether somebody follows it, since it was last asked.
    pub(crate) followed: bool,
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
            kind: detector.kind().to_string(),
            n_rows: detector.record().n_rows,
            interval_seconds: detector.record().interval_seconds,
            n_parameters: detector.record().n_parameters,
            alarms_per_week: detector.record().alarms_per_week,
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
            origin: Origin::default(),
            servers: BTreeMap::new(),
            incidents: VecDeque::new(),
            truths: Vec::new(),
            limits: Limits { steps: MAX_STEPS, rows: MAX_STEPS },
            odd: Vec::new(),
            revision: 0,
        }
    }

    /// Names the model, which fixes the columns. What was remembered under one with other columns is
    /// forgotten.
    pub fn set_model(&mut self, model: ModelInfo) {
        let known = self.model.as_ref();
        if known.is_some_and(|known| known.features == model.features) {
            self.revision += u64::from(known != Some(&model));
            self.model = Some(model);
            return;
        }
        let instances: Vec<String> = std::mem::take(&mut self.servers).into_keys().collect();
        self.model = Some(model);
        self.watch(instances);
    }

    /// Names the servers that steps will be pushed of, so that each is shown from the start and
    /// the memory is shared out among them. A server with a past keeps what it has.
    pub fn watch(&mut self, instances: impl IntoIterator<Item = String>) {
        let width = self.width();
        for instance in instances {
            let limits = self.limits;
            let server = self.servers.entry(instance).or_insert_with(|| Server {
                state: None,
                since: None,
                trouble: None,
                stale: false,
                unfit: false,
                followed: true,
                history: History::new(limits, width),
            });
            server.followed = true;
        }
        self.share_out();
        self.revision += 1;
    }

    /// Shares the memory out among the servers. Not anew for each that comes: that is far more work
    /// than there are servers.
    fn share_out(&mut self) {
        let limits = affordable(self.servers.len(), self.width());
        let little = |now: usize, then: usize| now <= then && then <= now + now / 4;
        let same = self.limits == limits
            || (little(limits.steps, self.limits.steps) && little(limits.rows, self.limits.rows));
        if !same {
            self.limits = limits;
            let quiet = self.servers.iter_mut().filter(|(name, _)| !self.odd.contains(name));
            quiet.for_each(|(_, server)| server.history.set_limits(limits));
        }
    }

    /// Lets a server that alarms keep more.
    fn note_odd(&mut self, instance: &str) {
        if self.limits.rows >= ODD_ROWS
            || self.odd.len() >= MAX_ODD_SERVERS
            || self.odd.iter().any(|known| known == instance)
        {
            return;
        }
        let limits = Limits { rows: ODD_ROWS, ..self.limits };
        if let Some(server) = self.servers.get_mut(instance) {
            server.history.set_limits(limits);
            self.odd.push(instance.to_owned());
        }
    }

    /// Forgets a server that went away, but not its incidents. Those that were open are closed at
    /// `time`.
    pub fn forget(&mut self, instance: &str, time: Timestamp) {
        self.servers.remove(instance);
        self.odd.retain(|odd| odd != instance);
        self.revision += 1;
        let of_it = self.incidents.iter_mut().filter(|incident| incident.instance == instance);
        for incident in of_it.filter(|incident| incident.end.is_none()) {
            incident.end = Some(time);
        }
    }

    /// Marks the servers of which nothing came for long. Gives the names of those that were not marked.
    pub(crate) fn mark_stale(&mut self, now: Timestamp) -> Vec<String> {
        let mut stale = Vec::new();
        for (instance, server) in self.servers.iter_mut().filter(|(_, server)| !server.stale) {
            let Some(last) = server.history.last() else { continue };
            if now.seconds_since(last.time) > server.silence_seconds() {
                server.stale = true;
                stale.push(instance.clone());
            }
        }
        if !stale.is_empty() {
            self.revision += 1;
        }
        stale
    }

    /// Says that the model cannot judge a known server, and why.
    pub(crate) fn set_unfit(&mut self, instance: &str, why: String) {
        if let Some(server) = self.servers.get_mut(instance) {
            (server.unfit, server.trouble) = (true, Some(why));
            self.revision += 1;
        }
    }

    /// Nobody follows a server, until it is named again or has a step.
    pub(crate) fn begin_anew(&mut self) {
        self.servers.values_mut().for_each(|server| server.followed = false);
    }

    /// Whether somebody follows a server: an earlier configuration's server may wait for somebody.
    pub(crate) fn is_followed(&self, instance: &str) -> bool {
        self.servers.get(instance).is_some_and(|server| server.followed)
    }

    /// Servers that nobody follows since then.
    pub(crate) fn unfollowed(&self) -> Vec<String> {
        let unfollowed = self.servers.iter().filter(|(_, server)| !server.followed);
        unfollowed.map(|(instance, _)| instance.clone()).collect()
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
        if step.score.as_ref().is_some_and(|score| score.alarm) {
            self.note_odd(instance);
        }
        if let Some(event) = &step.incident {
            self.remember(event.incident());
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

    /// Remembers an incident, instead of what was known of it.
    pub(crate) fn remember(&mut self, incident: &Incident) {
        self.revision += 1;
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

    /// Where the model comes from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Says where the model comes from.
    pub(crate) fn set_origin(&mut self, origin: Origin) {
        self.revision += u64::from(self.origin != origin);
        self.origin = origin;
    }

    /// The model's features; empty until it is loaded.
    pub fn features(&self) -> &[FeatureInfo] {
        self.model.as_ref().map_or(&[], |model| &model.features)
    }

    /// Servers by name.
    pub fn servers(&self) -> impl Iterator<Item = (&str, &Server)> {
        self.servers.iter().map(|(name, server)| (name.as_str(), server))
    }

    /// How many servers there are.
    pub(crate) fn n_servers(&self) -> usize {
        self.servers.len()
    }

    /// One server.
    pub fn server(&self, instance: &str) -> Option<&Server> {
        self.servers.get(instance)
    }

    /// One server, with the name that is kept of it.
    pub(crate) fn named(&self, instance: &str) -> Option<(&str, &Server)> {
        self.servers.get_key_value(instance).map(|(name, server)| (name.as_str(), server))
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

    /// The latest rows of features of a server, at most `n` steps of them, in the model's columns.
    pub(crate) fn recent(&self, instance: &str, n: usize) -> Frame {
        let names = self.features().iter().map(|feature| feature.name.clone());
        let mut frame = Frame::new(names.collect());
        let Some(Server { history, .. }) = self.servers.get(instance) else { return frame };
        for at in history.len().saturating_sub(n)..history.len() {
            let observed = |feature| history.reading(at, feature).observed;
            let row: Vec<f32> = (0..self.width()).map(observed).collect();
            // A step of which nothing was seen had no row.
            if row.iter().any(|value| !value.is_nan()) {
                // Times of a history rise.
                let _ = frame.push(history.step(at).time, &row);
            }
        }
        frame
    }

    /// Keeps more rows of the first `n` servers that speak CoreDNS, and says how many there are of
    /// each.
    pub(crate) fn look_closer(&mut self, n: usize) -> Vec<(String, usize)> {
        let speaks = |server: &Server| {
            matches!(server.state, Some(State::WarmingUp { .. } | State::Scoring))
        };
        let chosen = self.servers.iter().filter(|(_, server)| server.followed && speaks(server));
        let chosen: Vec<(String, usize)> = chosen
            .take(n)
            .map(|(name, server)| (name.clone(), server.history.with_readings().len()))
            .collect();
        chosen.iter().for_each(|(name, _)| self.note_odd(name));
        chosen
    }

    /// As [`View::recent`], but without rows that alarmed. A model that a third of all rows alarms does
    /// not know what is usual here: then all of them.
    pub(crate) fn usual_rows(&self, instance: &str, n: usize) -> Frame {
        let recent = self.recent(instance, n);
        let Some(Server { history, .. }) = self.servers.get(instance) else { return recent };
        let alarmed: BTreeSet<Timestamp> = (0..history.len())
            .map(|at| history.step(at))
            .filter(|step| step.alarm)
            .map(|step| step.time)
            .collect();
        let mut usual = Frame::new(recent.columns().to_vec());
        for (time, row) in recent.rows().filter(|(time, _)| !alarmed.contains(time)) {
            // Times rise as they did.
            let _ = usual.push(time, row);
        }
        if usual.len() * 3 < recent.len() * 2 { recent } else { usual }
    }

    /// Rises with every change; equal revisions show the same.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    fn width(&self) -> usize {
        self.features().len()
    }
}

/// What can be remembered of each of so many servers.
fn affordable(n_servers: usize, width: usize) -> Limits {
    let each = |bytes: usize, size: usize| bytes / (n_servers.max(1) * size);
    let steps = each(MAX_STEP_BYTES, size_of::<crate::history::Past>());
    let rows = each(MAX_READING_BYTES, width.max(1) * size_of::<[f32; 2]>());
    let steps = steps.clamp(MIN_STEPS, MAX_STEPS);
    Limits { steps, rows: rows.clamp(MIN_ROWS, steps) }
}

impl Server {
    /// The name of its state in labels and JSON, one of [`STATE_NAMES`].
    pub fn state_name(&self) -> &'static str {
        match (self.unfit, self.stale) {
            (true, _) => "schema_mismatch",
            (_, true) => "stale",
            _ => state_name(self.state.as_ref()),
        }
    }

    /// Seconds until the first score, as far as can be told; `None` when that is not known, or past.
    pub fn eta_seconds(&self) -> Option<f64> {
        match self.state {
            Some(State::WarmingUp { seen, needed }) if !self.stale && !self.unfit => {
                Some(self.history.interval_seconds()? * needed.saturating_sub(seen) as f64)
            }
            _ => None,
        }
    }

    fn silence_seconds(&self) -> f64 {
        STALE_SECONDS.max(STALE_INTERVALS * self.history.interval_seconds().unwrap_or_default())
    }

    fn push(&mut self, step: &Step) {
        let same = self.state.as_ref().is_some_and(|state| {
            std::mem::discriminant(state) == std::mem::discriminant(&step.state)
        });
        if !same {
            self.since = Some(step.time);
        }
        (self.followed, self.stale) = (true, false);
        self.state = Some(step.state.clone());
        self.history.push(step);
    }
}

/// The name of a state in labels and JSON; `waiting` before the first scrape.
pub fn state_name(state: Option<&State>) -> &'static str {
    state.map_or("waiting", State::name)
}

/// Every name that [`Server::state_name`] gives.
pub const STATE_NAMES: &[&str] =
    &["waiting", "warming_up", "no_data", "not_coredns", "stale", "schema_mismatch", "scoring"];

#[cfg(test)]
mod tests {
    use super::*;
    use oddns::IncidentEvent;
    use oddns_core::{Cause, Score, Severity};

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
    fn the_first_score_is_foretold() {
        let mut view = View::new("t", true);
        view.set_model(ModelInfo {
            features: vec![FeatureInfo::default()],
            ..ModelInfo::default()
        });
        let warm = |seen| State::WarmingUp { seen, needed: 33 };
        view.push("a:1", &step(0, warm(0), None));
        assert_eq!(view.server("a:1").unwrap().eta_seconds(), None);
        view.push("a:1", &step(15, warm(1), None));
        assert_eq!(view.server("a:1").unwrap().eta_seconds(), Some(480.0));
        view.push("a:1", &step(30, State::Scoring, None));
        assert_eq!(view.server("a:1").unwrap().eta_seconds(), None);
    }

    #[test]
    fn a_silent_server_is_stale_until_it_speaks() {
        let mut view = View::new("t", true);
        view.push("a:1", &step(0, State::Scoring, None));
        view.push("a:1", &step(60, State::Scoring, None));
        assert_eq!(view.mark_stale(at(360)), [""; 0]);
        assert_eq!(view.mark_stale(at(361)), ["a:1"]);
        assert_eq!(view.mark_stale(at(900)), [""; 0]);
        assert_eq!(view.server("a:1").unwrap().state_name(), "stale");
        view.push("a:1", &step(901, State::Scoring, None));
        assert_eq!(view.server("a:1").unwrap().state_name(), "scoring");
        view.set_unfit("a:1", "other features".into());
        assert_eq!(view.server("a:1").unwrap().state_name(), "schema_mismatch");
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
        view.forget("b:1", at(2));
        assert_eq!(view.incidents().next().unwrap().end, None);
        view.forget("a:1", at(3));
        assert!(view.server("a:1").is_none());
        assert_eq!(view.incidents().next().unwrap().end, Some(at(3)));
    }

    #[test]
    fn many_servers_share_the_memory() {
        let mut view = View::new("t", true);
        let feature = FeatureInfo::default();
        view.set_model(ModelInfo { features: vec![feature; 50], ..ModelInfo::default() });
        for n in 0..1000 {
            view.watch([format!("s{n}:1")]);
            view.push("s0:1", &step(n, State::Scoring, None));
        }
        let most = affordable(1000, 50);
        assert!(view.limits.rows <= most.rows * 5 / 4 && view.limits.rows >= most.rows);
        assert!(view.server("s0:1").unwrap().history.with_readings().len() <= view.limits.rows);
        assert!(affordable(10_000, 107).rows * 107 * 8 * 10_000 <= MAX_READING_BYTES);
        assert_eq!(affordable(1, 107), Limits { steps: MAX_STEPS, rows: MAX_STEPS });
    }

    #[test]
    fn a_server_that_alarms_keeps_more_than_the_others() {
        let mut view = View::new("t", true);
        let feature = FeatureInfo::default();
        view.set_model(ModelInfo { features: vec![feature; 107], ..ModelInfo::default() });
        view.watch((0..5000).map(|n| format!("s{n}:1")));
        let odd = |seconds| {
            let score = Score { time: at(seconds), score: 2.0, alarm: true, contributions: vec![] };
            Step { score: Some(score), ..step(seconds, State::Scoring, None) }
        };
        for seconds in 0..300 {
            view.push("s1:1", &odd(seconds));
            view.push("s2:1", &step(seconds, State::Scoring, None));
        }
        let rows = |name: &str| view.server(name).unwrap().history.with_readings().len();
        assert_eq!((rows("s1:1"), rows("s2:1")), (ODD_ROWS, affordable(5000, 107).rows));
        assert_eq!(view.server("s2:1").unwrap().history.len(), 300);
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
