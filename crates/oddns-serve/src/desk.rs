//! The desk that every incident comes to: it groups them, keeps them over a restart, and says when
//! there is news for those who are to be told.

mod book;
mod group;
mod kept;

use std::collections::vec_deque::Iter;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use oddns::{IncidentEvent, Step};
use oddns_core::{Incident, Timestamp};
use tokio::sync::watch;

use book::Book;
pub use group::IncidentGroup;
pub(crate) use group::{Face, is_recent};

/// The file in the folder of states.
const FILE: &str = "incidents.json";

/// What a webhook was told of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Told {
    /// How many of its faces were told.
    pub face: usize,
    /// Whether it was told to be over.
    pub over: bool,
}

/// What webhooks were told, by their names and the groups' ids.
pub(crate) type ToldOf = BTreeMap<String, BTreeMap<String, Told>>;

/// All incidents of one process.
#[derive(Debug)]
pub(crate) struct Desk {
    open: Mutex<Open>,
    /// Whether there are incidents of before a restart, so that every score has to be looked at.
    waits: AtomicBool,
    /// Rises with all news.
    news: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Open {
    book: Book,
    told: ToldOf,
    /// Where all is kept; `None` for nowhere.
    file: Option<PathBuf>,
    /// Whether something is not in the file yet.
    is_dirty: bool,
}

impl Default for Desk {
    fn default() -> Self {
        Self { open: Mutex::default(), waits: AtomicBool::new(false), news: watch::Sender::new(0) }
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Open> {
        // What a task that panicked left behind is whole: no method stops half-way.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on with what is kept in `folder`, and keeps it there from now on. Gives the incidents
    /// that are remembered, and why the file cannot be used, if so.
    pub(crate) fn open(&self, folder: &Path, now: Timestamp) -> (Vec<Incident>, Option<String>) {
        let file = folder.join(FILE);
        let (found, trouble) = match kept::read(&file) {
            Ok(found) => (found, None),
            Err(why) => (Default::default(), Some(format!("`{}`: {why}", file.display()))),
        };
        let mut open = self.lock();
        let (groups, told) = found;
        open.book.groups = groups.into();
        (open.told, open.file) = (told, Some(file));
        open.book.begin_anew(now);
        self.waits.store(open.book.waits(), Ordering::Relaxed);
        let incidents = open.book.groups.iter().flat_map(|group| group.incidents.clone());
        let incidents = incidents.collect();
        drop(open);
        self.tell();
        (incidents, trouble)
    }

    /// From now on servers are followed anew, as after a restart.
    pub(crate) fn begin_anew(&self, now: Timestamp) {
        let mut open = self.lock();
        open.book.begin_anew(now);
        self.waits.store(open.book.waits(), Ordering::Relaxed);
    }

    /// Takes what a step says of a server of `job`, and gives it as it is to be told.
    pub(crate) fn take(&self, job: &str, instance: &str, step: &Step) -> Option<IncidentEvent> {
        let waits = self.waits.load(Ordering::Relaxed);
        let mut open = self.lock();
        open.book.meet(job, instance);
        let news = match (&step.incident, &step.score) {
            (Some(event), _) => Some(open.book.take(job, event.clone(), step.time)),
            (None, Some(score)) if waits => open.book.scored(job, instance, score.alarm, step.time),
            _ => None,
        };
        self.waits.store(open.book.waits(), Ordering::Relaxed);
        if news.is_some() {
            open.is_dirty = true;
            drop(open);
            self.tell();
        }
        news
    }

    /// Forgets a server that went away; gives its incidents that were open, closed.
    pub(crate) fn forget(&self, instance: &str, now: Timestamp) -> Vec<Incident> {
        let mut open = self.lock();
        let closed = open.book.forget(instance, now);
        open.is_dirty |= !closed.is_empty();
        drop(open);
        if !closed.is_empty() {
            self.tell();
        }
        closed
    }

    /// Lets time pass; gives incidents that ended by that.
    pub(crate) fn tick(&self, now: Timestamp) -> Vec<Incident> {
        let mut open = self.lock();
        let faces = |open: &Open| open.book.groups.iter().map(|g| g.faces.len()).sum::<usize>();
        let before = faces(&open);
        let closed = open.book.tick(now);
        let is_news = faces(&open) != before || !closed.is_empty();
        open.is_dirty |= is_news;
        self.waits.store(open.book.waits(), Ordering::Relaxed);
        drop(open);
        if is_news {
            self.tell();
        }
        closed
    }

    /// From now on only a group whose highest score is above `line`, or that has most servers of a job,
    /// is critical.
    pub(crate) fn set_page_line(&self, line: f32) {
        self.lock().book.page_line = line;
    }

    fn tell(&self) {
        self.news.send_modify(|number| *number += 1);
    }

    /// Wakes whoever waits for news.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Reads the groups, oldest first; writers wait, so `read` must be short.
    pub(crate) fn groups<T>(&self, read: impl FnOnce(Iter<'_, IncidentGroup>) -> T) -> T {
        read(self.lock().book.groups.iter())
    }

    /// Every incident's group, by the incident's id, with how many servers are in it.
    pub(crate) fn places(&self) -> HashMap<String, (String, usize)> {
        self.groups(|groups| {
            let of = |group: &IncidentGroup| {
                let place = (group.id.clone(), group.servers().len());
                let ids = group.incidents.iter().map(|incident| incident.id.clone());
                ids.map(|id| (id, place.clone())).collect::<Vec<_>>()
            };
            groups.flat_map(of).collect()
        })
    }

    /// All incidents of the group that this one is in; none when it is not known.
    pub(crate) fn group_of(&self, id: &str) -> Vec<Incident> {
        self.groups(|mut groups| {
            let group = groups.find(|group| group.incidents.iter().any(|known| known.id == id));
            group.map_or(Vec::new(), |group| group.incidents.clone())
        })
    }

    /// What the webhook `name` was told of a group.
    pub(crate) fn told(&self, name: &str, id: &str) -> Told {
        let open = self.lock();
        open.told.get(name).and_then(|of| of.get(id)).copied().unwrap_or_default()
    }

    /// Notes what the webhook `name` was told of a group.
    pub(crate) fn set_told(&self, name: &str, id: &str, told: Told) {
        let mut open = self.lock();
        let open = &mut *open;
        let of = open.told.entry(name.to_owned()).or_default();
        of.insert(id.to_owned(), told);
        of.retain(|id, _| open.book.groups.iter().any(|group| group.id == *id));
        open.is_dirty = true;
    }

    /// What is to be written where, if something changed since the last time. It is for the caller to
    /// write it, without a lock.
    pub(crate) fn unsaved(&self) -> Option<(PathBuf, Vec<u8>)> {
        let mut open = self.lock();
        let file = open.file.clone()?;
        if !std::mem::take(&mut open.is_dirty) {
            return None;
        }
        let groups: Vec<&IncidentGroup> = open.book.groups.iter().collect();
        Some((file, kept::text(&groups, &open.told)))
    }

    /// Notes that what was to be written was not.
    pub(crate) fn not_saved(&self) {
        self.lock().is_dirty = true;
    }
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
