//! All series that are known, each by a number, in little memory.
//!
//! Servers of one kind have the same series but for their own labels, and label values repeat. So a
//! series is a target and a set of labels, a set is the numbers of its texts, and each text, set and
//! target is kept once.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::mem::take;
use std::sync::Arc;

use oddns_core::{Labels, SeriesKey};

use super::fingerprint::{AsItIs, Fingerprint};

/// A series of all that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WrittenSeries(pub u32);

/// A server, or whatever else was scraped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WrittenTarget(pub u32);

/// Series, targets and the last sample of each series.
#[derive(Debug, Default)]
pub struct Directory {
    numbers: HashMap<Fingerprint, u32, BuildHasherDefault<AsItIs>>,
    entries: Vec<Entry>,
    /// Numbers of series that were forgotten, to be given again.
    free: Vec<u32>,
    /// Instance and job.
    targets: Interner<(Box<str>, Box<str>)>,
    sets: Interner<[u32]>,
    texts: Interner<str>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    target: u32,
    set: u32,
    /// Time of the last sample; the smallest number before the first.
    pub(super) last_millis: i64,
    /// Bits of its value.
    pub(super) last_bits: u64,
}

impl Directory {
    pub(super) fn find(&self, fingerprint: Fingerprint) -> Option<WrittenSeries> {
        self.numbers.get(&fingerprint).copied().map(WrittenSeries)
    }

    pub(super) fn entry(&mut self, series: WrittenSeries) -> &mut Entry {
        &mut self.entries[series.0 as usize]
    }

    /// How many series are known.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// True before the first request.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many targets have ever been known; their numbers are below.
    pub fn n_targets(&self) -> usize {
        self.targets.items.len()
    }

    /// Whose series it is.
    pub fn target_of(&self, series: WrittenSeries) -> WrittenTarget {
        WrittenTarget(self.entries[series.0 as usize].target)
    }

    /// The label `instance`; empty where there was none.
    pub fn instance(&self, target: WrittenTarget) -> &str {
        &self.targets.items[target.0 as usize].0
    }

    /// The label `job`; empty where there was none.
    pub fn job(&self, target: WrittenTarget) -> &str {
        &self.targets.items[target.0 as usize].1
    }

    /// The metric name.
    pub fn name(&self, series: WrittenSeries) -> &str {
        let set = &self.sets.items[self.entries[series.0 as usize].set as usize];
        set.first().map_or("", |text| &self.texts.items[*text as usize])
    }

    /// Name and labels, without instance and job.
    pub fn key(&self, series: WrittenSeries) -> SeriesKey {
        let set = &self.sets.items[self.entries[series.0 as usize].set as usize];
        let text = |at: u32| self.texts.items[at as usize].to_string();
        let pairs = set.get(1..).unwrap_or_default().chunks_exact(2);
        let labels = pairs.map(|pair| (text(pair[0]), text(pair[1]))).collect();
        SeriesKey { name: self.name(series).to_owned(), labels: Labels::new(labels) }
    }

    /// Takes in a series that is not known. `pairs` are checked, sorted, and hold the name.
    pub(super) fn insert(
        &mut self,
        fingerprint: Fingerprint,
        pairs: &[(&str, &str)],
    ) -> WrittenSeries {
        let of = |wanted: &str| {
            pairs.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| *value)
        };
        let target = self.targets.intern_with(&(of("instance").into(), of("job").into()));
        let mut set = vec![self.texts.intern(of("__name__"))];
        for (name, value) in pairs {
            if !matches!(*name, "__name__" | "instance" | "job") {
                set.push(self.texts.intern(name));
                set.push(self.texts.intern(value));
            }
        }
        let set = self.sets.intern(&set);
        let entry = Entry { target, set, last_millis: i64::MIN, last_bits: 0 };
        let number = match self.free.pop() {
            Some(number) => {
                self.entries[number as usize] = entry;
                number
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        self.numbers.insert(fingerprint, number);
        WrittenSeries(number)
    }

    /// Lets a series be found by this fingerprint too.
    pub(super) fn alias(&mut self, fingerprint: Fingerprint, series: WrittenSeries) {
        self.numbers.insert(fingerprint, series.0);
    }

    /// Forgets every series without a sample since `millis` and says which these were; their
    /// numbers will be given again. Targets stay.
    pub fn forget_before(&mut self, millis: i64) -> Vec<WrittenSeries> {
        let mut gone = Vec::new();
        let entries = &self.entries;
        self.numbers.retain(|_, number| {
            let is_old = entries[*number as usize].last_millis < millis;
            if is_old {
                gone.push(*number);
            }
            !is_old
        });
        // Once for each fingerprint that led to it.
        gone.sort_unstable();
        gone.dedup();
        self.free.extend(&gone);
        self.compact();
        gone.into_iter().map(WrittenSeries).collect()
    }

    /// Makes sets and texts anew from those in use.
    fn compact(&mut self) {
        let (sets, texts) = (take(&mut self.sets), take(&mut self.texts));
        self.numbers.shrink_to_fit();
        let mut done = vec![false; self.entries.len()];
        for number in self.numbers.values() {
            if std::mem::replace(&mut done[*number as usize], true) {
                continue;
            }
            let entry = &mut self.entries[*number as usize];
            let set = sets.items[entry.set as usize].iter();
            let set: Vec<u32> =
                set.map(|text| self.texts.intern(&texts.items[*text as usize])).collect();
            entry.set = self.sets.intern(&set);
        }
    }
}

/// Gives each different item a number.
#[derive(Debug)]
struct Interner<T: ?Sized> {
    items: Vec<Arc<T>>,
    numbers: HashMap<Arc<T>, u32, ahash::RandomState>,
}

impl<T: ?Sized> Default for Interner<T> {
    fn default() -> Self {
        Self { items: Vec::new(), numbers: HashMap::default() }
    }
}

impl<T: ?Sized + Eq + std::hash::Hash> Interner<T> {
    fn add(&mut self, item: Arc<T>) -> u32 {
        let number = self.items.len() as u32;
        self.items.push(Arc::clone(&item));
        self.numbers.insert(item, number);
        number
    }

    fn intern<'a>(&mut self, item: &'a T) -> u32
    where
        Arc<T>: From<&'a T>,
    {
        match self.numbers.get(item) {
            Some(number) => *number,
            None => self.add(item.into()),
        }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Interner<T> {
    fn intern_with(&mut self, item: &T) -> u32 {
        match self.numbers.get(item) {
            Some(number) => *number,
            None => self.add(Arc::new(item.clone())),
        }
    }
}
