//! Connections that are open. When there are too many, the one that has been silent for longest goes, so
//! that those who open connections and say nothing keep nobody out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Guests {
    open: Mutex<HashMap<u64, (Arc<Guest>, AbortHandle)>>,
    /// Counts what guests do, to tell who did something last.
    clock: AtomicU64,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Guest {
    /// Whether it waits for an answer of ours.
    waits: AtomicBool,
    /// When it was last heard of.
    heard: AtomicU64,
}

impl Guests {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, (Arc<Guest>, AbortHandle)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// Somebody who just came; enter it once it has a task.
    pub(crate) fn guest(&self) -> Arc<Guest> {
        Arc::new(Guest { waits: AtomicBool::new(false), heard: AtomicU64::new(self.now()) })
    }

    /// Notes the task of a guest, and forgets those whose tasks have ended.
    pub(crate) fn enter(&self, guest: Arc<Guest>, task: AbortHandle) {
        let mut open = self.lock();
        open.retain(|_, (_, task)| !task.is_finished());
        open.insert(guest.heard.load(Ordering::Relaxed), (guest, task));
    }

    /// Notes that a guest asks for something.
    pub(crate) fn asked(&self, guest: &Guest) {
        guest.heard.store(self.now(), Ordering::Relaxed);
        guest.waits.store(true, Ordering::Relaxed);
    }

    /// Notes that a guest has its answer.
    pub(crate) fn answered(&self, guest: &Guest) {
        guest.heard.store(self.now(), Ordering::Relaxed);
        guest.waits.store(false, Ordering::Relaxed);
    }

    /// Sends the guest away that has been silent for longest; false when all wait for answers.
    pub(crate) fn send_one_away(&self) -> bool {
        let mut open = self.lock();
        let silent = open.iter().filter(|(_, (guest, task))| {
            !guest.waits.load(Ordering::Relaxed) && !task.is_finished()
        });
        let longest = silent.min_by_key(|(_, (guest, _))| guest.heard.load(Ordering::Relaxed));
        let Some(number) = longest.map(|(number, _)| *number) else { return false };
        if let Some((_, task)) = open.remove(&number) {
            task.abort();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_one_that_was_silent_for_longest_goes_first() {
        let guests = Guests::default();
        let tasks: Vec<_> = (0..3).map(|_| tokio::spawn(std::future::pending::<()>())).collect();
        let all: Vec<Arc<Guest>> = tasks.iter().map(|_| guests.guest()).collect();
        for (guest, task) in all.iter().zip(&tasks) {
            guests.enter(Arc::clone(guest), task.abort_handle());
        }
        guests.asked(&all[0]);
        guests.asked(&all[1]);
        guests.answered(&all[1]);
        assert!(guests.send_one_away() && guests.send_one_away());
        assert!(!guests.send_one_away(), "who waits for an answer stays");
        let mut tasks = tasks.into_iter();
        let waits = tasks.next().unwrap();
        for task in tasks {
            assert!(task.await.unwrap_err().is_cancelled());
        }
        assert!(!waits.is_finished());
    }
}
