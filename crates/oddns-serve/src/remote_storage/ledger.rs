//! What remote storage is to be told: of each server the score and what explains it, and the end of
//! series that are no more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oddns_core::Timestamp;
use prometheus_client::registry::Registry;

use super::RemoteWriteConfig;
use super::counters::AllCounters;
use super::queue::Queue;

/// Prometheus's sign that a series has ended.
const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// A value of a server at some time.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) metric: &'static str,
    /// The label `feature`, where it is about one.
    pub(crate) feature: Option<Arc<str>>,
    pub(crate) value: f64,
}

/// What a server shows at some time.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) instance: Arc<str>,
    pub(super) time: Timestamp,
    pub(super) points: Vec<Point>,
}

/// The way to all destinations; there may be none.
#[derive(Debug)]
pub(crate) struct RemoteStorage {
    ledger: Mutex<Ledger>,
    counters: AllCounters,
}

#[derive(Debug, Default)]
struct Ledger {
    queues: Vec<Arc<Queue>>,
    /// What was last told of each server that has a score.
    told: HashMap<Arc<str>, Arc<Entry>>,
}

impl RemoteStorage {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        Self { ledger: Mutex::default(), counters: AllCounters::new(registry) }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A queue for each, the one that it had before if so. What waits for a name that is no more goes to
    /// a new name at the same place: its address was changed. Other queues are no more: their names, and
    /// how many samples are lost by that.
    pub(super) fn open(
        &self,
        configs: &[RemoteWriteConfig],
    ) -> (Vec<Arc<Queue>>, Vec<(String, usize)>) {
        let mut ledger = self.lock();
        let before = std::mem::take(&mut ledger.queues);
        let is_gone = |queue: &&Arc<Queue>| configs.iter().all(|config| config.name != queue.name);
        for (at, config) in configs.iter().enumerate() {
            let known = before.iter().find(|queue| queue.name == config.name);
            let queue = known.cloned().unwrap_or_else(|| {
                Arc::new(Queue::new(&config.name, self.counters.of(&config.name)))
            });
            queue.set_capacity(config.queue.capacity);
            if let (None, Some(replaced)) = (known, before.get(at).filter(is_gone)) {
                replaced.empty().iter().for_each(|entry| queue.push(entry));
            }
            ledger.queues.push(queue);
        }
        let gone = before.iter().filter(is_gone);
        let lost = gone.map(|queue| (queue.name.clone(), queue.give_up())).collect();
        before.iter().filter(is_gone).for_each(|queue| self.counters.forget(&queue.name));
        if ledger.queues.is_empty() {
            ledger.told.clear();
        }
        (ledger.queues.clone(), lost)
    }

    /// Notes what a server shows at `time`, which `points` tells if anybody wants to know. Series that
    /// it has shown before and shows no more end by that. What is not later than before is passed over.
    pub(crate) fn take(
        &self,
        instance: &str,
        time: Timestamp,
        points: impl FnOnce() -> Vec<Point>,
    ) {
        let mut ledger = self.lock();
        if ledger.queues.is_empty() {
            return;
        }
        let before = ledger.told.get(instance);
        if before.is_none_or(|before| before.time < time) {
            let entry = Entry { instance: instance.into(), time, points: points() };
            ledger.put(entry);
        }
    }

    /// Ends all series of a server, right after what was last told of it: what comes late may still
    /// follow.
    pub(crate) fn fell_silent(&self, instance: &str) {
        let mut ledger = self.lock();
        if let Some(Entry { instance, time, .. }) = ledger.told.get(instance).map(|last| &**last) {
            let time = Timestamp::from_millis(time.millis().saturating_add(1));
            let entry = Entry { instance: Arc::clone(instance), time, points: Vec::new() };
            ledger.put(entry);
        }
    }

    /// Gives up what waits, as there is nobody who would send it; how many samples that are.
    pub(crate) fn give_up(&self) -> usize {
        self.lock().queues.iter().map(|queue| queue.give_up()).sum()
    }
}

impl Ledger {
    /// Puts an entry into each queue, with the end of what is no more.
    fn put(&mut self, entry: Entry) {
        let before = self.told.remove(&entry.instance);
        let shown = |of: &Point| {
            let same = |p: &&Point| p.metric == of.metric && p.feature == of.feature;
            entry.points.iter().find(same).is_some()
        };
        let ended = before.iter().flat_map(|before| &before.points).filter(|point| !shown(point));
        let mut points: Vec<Point> =
            ended.map(|point| Point { value: STALE, ..point.clone() }).collect();
        points.extend(entry.points.iter().cloned());
        if !points.is_empty() {
            let sent = Arc::new(Entry { instance: Arc::clone(&entry.instance), points, ..entry });
            self.queues.iter().for_each(|queue| queue.push(&sent));
        }
        if !entry.points.is_empty() {
            self.told.insert(Arc::clone(&entry.instance), Arc::new(entry));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use oddns_collect::{HttpConfig, Secret};

    use super::*;
    use crate::remote_storage::QueueSettings;

    fn configs(names: &[&str]) -> Vec<RemoteWriteConfig> {
        let config = |name: &&str| RemoteWriteConfig {
            name: (*name).to_owned(),
            url: Secret::new(""),
            timeout: Duration::from_secs(1),
            headers: Vec::new(),
            http: HttpConfig::default(),
            relabel_rules: Vec::new(),
            queue: QueueSettings::default(),
        };
        names.iter().map(config).collect()
    }

    #[test]
    fn what_waits_goes_to_the_new_name_at_its_place_and_else_is_told_to_be_lost() {
        let storage = RemoteStorage::new(&mut Registry::default());
        assert_eq!(storage.open(&configs(&["a", "b"])).1, []);
        let point = Point { metric: "m", feature: None, value: 1.0 };
        storage.take("s:1", Timestamp::from_millis(1), || vec![point; 2]);
        // `b` is known, and `c` stands where `a` was.
        let (queues, lost) = storage.open(&configs(&["c", "b"]));
        let waiting = |queue: &Arc<Queue>| queue.begin(9).len();
        assert_eq!(queues.iter().map(waiting).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(lost, [("a".to_owned(), 0)]);
        // Nobody stands where `b` was.
        let (queues, lost) = storage.open(&configs(&["c"]));
        assert_eq!((waiting(&queues[0]), lost), (1, vec![("b".to_owned(), 2)]));
    }
}
