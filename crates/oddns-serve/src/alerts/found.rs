//! Alertmanagers that are found while the service runs, and go again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oddns_collect::{
    Discovery, DiscoveryError, HttpConfig, LabelMap, Poster, RelabelRule, Secret, SecretSource,
    Throttle, relabel, wall_clock,
};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use super::alert::Site;
use super::courier::Courier;
use super::outbox::Outbox;
use super::{Alertmanager, AlertmanagerConfig};
use crate::event::Event;
use crate::shared::Shared;
use crate::watch::chain;

/// Each costs a task, and is told everything; of a longer list the first ones by address.
const MOST: usize = 64;
/// Instead of a job, in the metrics of discovery.
const JOB: &str = "alertmanagers";

/// Where Alertmanagers are looked for, and how to speak to them.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertmanagerDiscovery {
    /// Each of them lists some.
    pub discoveries: Vec<Discovery>,
    /// `http` or `https`, where the label `__scheme__` says nothing else.
    pub scheme: String,
    /// Before `/api/v2/alerts`, without a slash at the end, where the label `__alerts_path__` does not
    /// give the whole path.
    pub path_prefix: String,
    /// What becomes of the labels of each.
    pub relabel_rules: Vec<RelabelRule>,
    /// Longest time for one request.
    pub timeout: Duration,
    /// How to speak to them.
    pub http: HttpConfig,
}

impl AlertmanagerDiscovery {
    /// Where the API of one with these labels is; `None` when the rules drop it, or they make no
    /// address.
    fn url(&self, mut labels: LabelMap) -> Option<String> {
        let mut default = |name: &str, value: String| {
            labels.entry(name.to_owned()).or_insert(value);
        };
        default("__scheme__", self.scheme.clone());
        default("__alerts_path__", format!("{}/api/v2/alerts", self.path_prefix));
        if !relabel(&mut labels, &self.relabel_rules) {
            return None;
        }
        let of = |name: &str| labels.get(name).map(String::as_str).unwrap_or_default();
        let (scheme, address, path) = (of("__scheme__"), of("__address__"), of("__alerts_path__"));
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || "/?#@\\".contains(c);
        let is_path = path.bytes().all(|b| b.is_ascii_graphic() && !b"?#".contains(&b));
        let is_one = matches!(scheme, "http" | "https")
            && !address.is_empty()
            && !address.contains(is_odd)
            && is_path;
        is_one.then(|| format!("{scheme}://{address}/{}", path.trim_start_matches('/')))
    }
}

/// Which configuration, and which discovery of it.
type Place = (usize, usize);

/// What came of looking, since somebody asked.
#[derive(Default)]
struct Look {
    targets: Option<Vec<LabelMap>>,
    errors: Vec<DiscoveryError>,
}

/// What all discoveries have to say: of each the latest.
#[derive(Default)]
struct Looks {
    waiting: Mutex<BTreeMap<Place, Look>>,
    news: Notify,
}

impl Looks {
    fn add(&self, place: Place, targets: Option<Vec<LabelMap>>, errors: Vec<DiscoveryError>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let look = waiting.entry(place).or_default();
        look.targets = targets.or(look.targets.take());
        look.errors = errors;
        self.news.notify_one();
    }

    fn take(&self) -> BTreeMap<Place, Look> {
        std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// All Alertmanagers that are found at present.
pub(super) struct Found {
    configs: Vec<AlertmanagerDiscovery>,
    /// Those that stand in the configuration, which are told without this.
    at_once: BTreeSet<String>,
    site: Site,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    throttle: Throttle,
    /// What each discovery listed last.
    lists: BTreeMap<Place, Vec<LabelMap>>,
    /// What ends each of those that are told.
    told: BTreeMap<String, watch::Sender<bool>>,
    /// Each gives its address when it ends.
    tasks: JoinSet<String>,
}

impl Found {
    pub(super) fn new(
        configs: Vec<AlertmanagerDiscovery>,
        at_once: BTreeSet<String>,
        site: &Site,
        shared: &Arc<Shared>,
        events: &mpsc::Sender<Event>,
    ) -> Self {
        Self {
            configs,
            at_once,
            site: site.clone(),
            shared: Arc::clone(shared),
            events: events.clone(),
            throttle: Throttle::default(),
            lists: BTreeMap::new(),
            told: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Tells whoever is found, until it is stopped; then what is not sent yet is sent.
    pub(super) async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let looks = Arc::<Looks>::default();
        let mut looking = self.look(&looks);
        loop {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => break,
                () = looks.news.notified() => {
                    looks.take().into_iter().for_each(|(place, look)| self.note(place, look));
                    self.update();
                }
                Some(ended) = self.tasks.join_next() => self.ended(ended.ok()),
            }
        }
        looking.abort_all();
        for stop in self.told.values() {
            let _ = stop.send(true);
        }
        while self.tasks.join_next().await.is_some() {}
    }

    /// Follows every discovery in a task of its own.
    fn look(&self, looks: &Arc<Looks>) -> JoinSet<()> {
        let mut looking = JoinSet::new();
        for (at, config) in self.configs.iter().enumerate() {
            for (part, discovery) in config.discoveries.iter().cloned().enumerate() {
                let looks = Arc::clone(looks);
                looking.spawn(async move {
                    discovery.each(|targets, errors| looks.add((at, part), targets, errors)).await;
                });
            }
        }
        looking
    }

    fn note(&mut self, place: Place, look: Look) {
        for error in &look.errors {
            self.shared.metrics().discovery_failed(JOB, error.kind());
            self.warn(error.kind(), format!("Alertmanagers are looked for: {}", chain(error)));
        }
        if let Some(targets) = look.targets {
            self.lists.insert(place, targets);
        }
    }

    /// Ends and begins to tell whoever went and came.
    fn update(&mut self) {
        let mut wanted = self.wanted();
        if wanted.len() > MOST {
            let n = wanted.len();
            self.warn("too_many", format!("{n} Alertmanagers are found, {MOST} are told"));
            wanted = wanted.into_iter().take(MOST).collect();
        }
        self.shared.metrics().discovered(JOB, wanted.len());
        self.told.retain(|url, stop| {
            let stays = wanted.contains_key(url);
            if !stays {
                let _ = stop.send(true);
            }
            stays
        });
        for (url, at) in wanted {
            if !self.told.contains_key(&url) {
                self.begin(url, at);
            }
        }
    }

    /// The address of each, with which configuration says how to speak to it.
    fn wanted(&self) -> BTreeMap<String, usize> {
        let mut wanted = BTreeMap::new();
        for ((at, _), targets) in &self.lists {
            let urls = targets.iter().filter_map(|labels| self.configs[*at].url(labels.clone()));
            for url in urls.filter(|url| !self.at_once.contains(url)) {
                wanted.entry(url).or_insert(*at);
            }
        }
        wanted
    }

    fn begin(&mut self, url: String, at: usize) {
        let AlertmanagerDiscovery { timeout, http, .. } = &self.configs[at];
        let config = AlertmanagerConfig { url, timeout: *timeout, http: http.clone() };
        let alertmanager = alertmanager(&config, &self.site, &self.shared, &self.events);
        self.shared.metrics().alerts().appears(&config.url);
        let (stop, stopped) = watch::channel(false);
        let url = config.url.clone();
        self.tasks.spawn(async move {
            alertmanager.run(stopped).await;
            url
        });
        self.told.insert(config.url, stop);
    }

    /// Shows one no more that has said its last word, unless it was found again meanwhile.
    fn ended(&self, url: Option<String>) {
        if let Some(url) = url.filter(|url| !self.told.contains_key(url)) {
            self.shared.metrics().alerts().vanishes(&url);
        }
    }

    fn warn(&mut self, cause: &'static str, text: String) {
        let time = wall_clock();
        if self.throttle.allows(JOB, cause, time)
            && let Err(mpsc::error::TrySendError::Full(_)) =
                self.events.try_send(Event::Warning { time, text })
        {
            self.shared.metrics().event_dropped();
        }
    }
}

/// Whoever tells one.
fn alertmanager(
    config: &AlertmanagerConfig,
    site: &Site,
    shared: &Arc<Shared>,
    events: &mpsc::Sender<Event>,
) -> Alertmanager {
    let url = SecretSource::Inline(Secret::new(config.url.clone()));
    let poster = Poster::new(url, config.http.clone());
    let name = config.url.clone();
    let courier = Courier::new(name, poster, config.timeout, Arc::clone(shared), events.clone());
    Alertmanager { courier, outbox: Outbox::default(), site: site.clone() }
}

#[cfg(test)]
mod tests {
    use oddns_collect::RuleText;

    use super::*;

    fn discovery(rules: &[(&str, &str, &str)]) -> AlertmanagerDiscovery {
        let rule = |(source, regex, action): &(&str, &str, &str)| {
            let text = RuleText {
                source_labels: vec![(*source).to_owned()],
                regex: Some((*regex).to_owned()),
                action: Some((*action).to_owned()),
                ..RuleText::default()
            };
            RelabelRule::new(text).unwrap()
        };
        AlertmanagerDiscovery {
            discoveries: Vec::new(),
            scheme: "http".to_owned(),
            path_prefix: "/am".to_owned(),
            relabel_rules: rules.iter().map(rule).collect(),
            timeout: Duration::from_secs(1),
            http: HttpConfig::default(),
        }
    }

    fn labels(pairs: &[(&str, &str)]) -> LabelMap {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn labels_make_an_address_or_none() {
        let of = |pairs: &[(&str, &str)]| discovery(&[]).url(labels(pairs));
        let found = of(&[("__address__", "a:9093")]);
        assert_eq!(found.as_deref(), Some("http://a:9093/am/api/v2/alerts"));
        let found = of(&[("__address__", "a"), ("__scheme__", "https"), ("__alerts_path__", "/x")]);
        assert_eq!(found.as_deref(), Some("https://a/x"));
        for wrong in ["", "a/b", "user@a", "a b", "a#", "a\\b"] {
            assert_eq!(of(&[("__address__", wrong)]), None, "{wrong}");
        }
        assert_eq!(of(&[("__address__", "a"), ("__scheme__", "file")]), None);
        assert_eq!(of(&[("__address__", "a"), ("__alerts_path__", "/x?y")]), None);
        let kept = discovery(&[("app", "alertmanager", "keep")]);
        assert_eq!(kept.url(labels(&[("__address__", "a"), ("app", "other")])), None);
        assert!(kept.url(labels(&[("__address__", "a"), ("app", "alertmanager")])).is_some());
    }
}
