//! What waits for one destination.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::counters::Counters;
use super::ledger::Entry;

/// Entries in the order of their coming; the oldest are dropped when there are too many.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) counters: Counters,
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Arc<Entry>>,
    n_samples: usize,
    /// Samples there is room for.
    capacity: usize,
    /// Entries at the front that are being sent, and so are not dropped.
    n_under_way: usize,
    /// Samples that were dropped, and nobody was told of.
    n_untold: usize,
}

impl Queue {
    pub(super) fn new(name: &str, counters: Counters) -> Self {
        let (waiting, news) = (Mutex::default(), Notify::new());
        Self { name: name.to_owned(), counters, waiting, news }
    }

    /// Changes what is waiting, and shows how much that is.
    fn change<T>(&self, change: impl FnOnce(&mut Waiting) -> T) -> T {
        let mut waiting: MutexGuard<'_, Waiting> =
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut waiting);
        self.counters.pending.set(waiting.n_samples as f64);
        changed
    }

    pub(super) fn set_capacity(&self, capacity: usize) {
        self.dropping(|waiting| {
            waiting.capacity = capacity;
            waiting.make_room(0)
        });
    }

    /// Makes a change that drops so many samples as it gives.
    fn dropping(&self, change: impl FnOnce(&mut Waiting) -> usize) {
        let n_dropped = self.change(|waiting| {
            let n_dropped = change(waiting);
            waiting.n_untold += n_dropped;
            n_dropped
        });
        self.counters.dropped.inc_by(n_dropped as u64);
    }

    /// How many samples were dropped since [`Queue::told`].
    pub(super) fn n_untold(&self) -> usize {
        self.change(|waiting| waiting.n_untold)
    }

    /// Notes that people know of so many dropped samples.
    pub(super) fn told(&self, n_samples: usize) {
        self.change(|waiting| waiting.n_untold = waiting.n_untold.saturating_sub(n_samples));
    }

    /// Adds an entry; what there is no room for is counted.
    pub(super) fn push(&self, entry: &Arc<Entry>) {
        self.dropping(|waiting| {
            let n_dropped = waiting.make_room(entry.points.len());
            if waiting.n_samples + entry.points.len() > waiting.capacity {
                return n_dropped + entry.points.len();
            }
            waiting.n_samples += entry.points.len();
            waiting.entries.push_back(Arc::clone(entry));
            n_dropped
        });
        self.news.notify_one();
    }

    /// Waits until there are so many samples.
    pub(super) async fn filled(&self, n_samples: usize) {
        while self.change(|waiting| waiting.n_samples < n_samples) {
            self.news.notified().await;
        }
    }

    /// The oldest entries, of so many samples together or a single one; they stay until
    /// [`Queue::done`]. Empty when nothing waits. What was begun and is not done comes again as it was: it
    /// may have been taken, and a receiver refuses the whole of what repeats a part.
    pub(super) fn begin(&self, max_samples: usize) -> Vec<Arc<Entry>> {
        self.change(|waiting| {
            if waiting.n_under_way > 0 {
                return waiting.entries.iter().take(waiting.n_under_way).map(Arc::clone).collect();
            }
            let mut n_samples = 0;
            let fits = |entry: &&Arc<Entry>| {
                n_samples += entry.points.len();
                n_samples <= max_samples || n_samples == entry.points.len()
            };
            let batch: Vec<Arc<Entry>> =
                waiting.entries.iter().take_while(fits).map(Arc::clone).collect();
            waiting.n_under_way = batch.len();
            batch
        })
    }

    /// Takes out what was begun.
    pub(super) fn done(&self) {
        self.change(|waiting| {
            for entry in waiting.entries.drain(..waiting.n_under_way) {
                waiting.n_samples -= entry.points.len();
            }
            waiting.n_under_way = 0;
        });
    }

    /// Takes all out.
    pub(super) fn empty(&self) -> VecDeque<Arc<Entry>> {
        self.change(|waiting| {
            (waiting.n_under_way, waiting.n_samples) = (0, 0);
            std::mem::take(&mut waiting.entries)
        })
    }

    /// Drops all; how many samples nobody was told of are lost by that and were before.
    pub(super) fn give_up(&self) -> usize {
        let n_waited: usize = self.empty().iter().map(|entry| entry.points.len()).sum();
        self.dropping(|_| n_waited);
        self.change(|waiting| std::mem::take(&mut waiting.n_untold))
    }
}

impl Waiting {
    /// Drops the oldest that are not under way until so many samples more fit; how many samples.
    fn make_room(&mut self, n_samples: usize) -> usize {
        let mut n_dropped = 0;
        while self.n_samples + n_samples > self.capacity {
            let Some(oldest) = self.entries.remove(self.n_under_way) else { break };
            self.n_samples -= oldest.points.len();
            n_dropped += oldest.points.len();
        }
        n_dropped
    }
}

#[cfg(test)]
mod tests {
    use oddns_core::Timestamp;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::remote_storage::Point;
    use crate::remote_storage::counters::AllCounters;

    fn queue(capacity: usize) -> Queue {
        let queue = Queue::new("a", AllCounters::new(&mut Registry::default()).of("a"));
        queue.set_capacity(capacity);
        queue
    }

    fn entry(seconds: i64, n_points: usize) -> Arc<Entry> {
        let point = Point { metric: "a", feature: None, value: 0.0 };
        let time = Timestamp::from_millis(seconds * 1000);
        Arc::new(Entry { instance: "a:1".into(), time, points: vec![point; n_points] })
    }

    fn seconds(entries: &[Arc<Entry>]) -> Vec<i64> {
        entries.iter().map(|entry| entry.time.millis() / 1000).collect()
    }

    #[test]
    fn the_oldest_that_is_not_under_way_makes_room() {
        let queue = queue(10);
        (0..5).for_each(|at| queue.push(&entry(at, 2)));
        assert_eq!(seconds(&queue.begin(5)), [0, 1]);
        queue.push(&entry(5, 2));
        queue.push(&entry(6, 1));
        assert_eq!((queue.counters.dropped.get(), queue.counters.pending.get()), (4, 9.0));
        queue.done();
        assert_eq!(seconds(&queue.begin(100)), [4, 5, 6]);
        // Nothing can make room for what is larger than the queue.
        queue.push(&entry(7, 11));
        assert_eq!((queue.counters.dropped.get(), queue.counters.pending.get()), (15, 5.0));
        // All that nobody was told of.
        queue.told(4);
        assert_eq!((queue.n_untold(), queue.give_up(), queue.begin(9).len()), (11, 16, 0));
        assert_eq!((queue.n_untold(), queue.counters.dropped.get()), (0, 20));
    }

    #[test]
    fn a_batch_has_an_entry_at_least_and_stays_until_it_is_done() {
        let queue = queue(100);
        queue.push(&entry(0, 7));
        queue.push(&entry(1, 1));
        assert_eq!(seconds(&queue.begin(3)), [0]);
        // A request that was given up is the same when it is made again.
        assert_eq!(seconds(&queue.begin(8)), [0]);
        queue.done();
        assert_eq!(seconds(&queue.begin(8)), [1]);
        queue.done();
        assert_eq!((queue.begin(8).len(), queue.counters.pending.get()), (0, 0.0));
    }

    #[test]
    fn less_room_drops_the_oldest() {
        let queue = queue(10);
        (0..5).for_each(|at| queue.push(&entry(at, 2)));
        queue.set_capacity(5);
        assert_eq!(seconds(&queue.begin(100)), [3, 4]);
        assert_eq!(queue.counters.dropped.get(), 6);
    }
}
