//! The identity of a series: a metric name and a set of labels.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use hashbrown::HashTable;

/// Room for so many keys more is made at a time, at least.
const KEYS_AT_ONCE: usize = 64;
/// With fewer keys in a pool it is not worth looking for those that nobody has.
const LEAST_SWEPT: usize = 1024;

/// Label pairs, sorted by name, each name once, none with an empty value: to Prometheus such a label
/// is one that is not there, and CoreDNS writes `view=""`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Labels(Vec<(String, String)>);

/// A label text that is not `{a="b",c="d"}`.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is no label set: expected {{name=\"value\",…}} ({reason} at byte {offset})")]
pub struct ParseLabelsError {
    text: String,
    reason: &'static str,
    offset: usize,
}

impl Labels {
    /// From pairs in any order; of two pairs with one name the last stays. What has no value is left
    /// out.
    pub fn new(mut pairs: Vec<(String, String)>) -> Self {
        pairs.reverse();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|a, b| a.0 == b.0);
        pairs.retain(|(_, value)| !value.is_empty());
        Self(pairs)
    }

    /// The value of `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .binary_search_by(|(key, _)| key.as_str().cmp(name))
            .ok()
            .map(|at| self.0[at].1.as_str())
    }

    /// All pairs, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// True without labels.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Canonical form `{a="b",c="d"}` with the escapes of the exposition format; empty without labels.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        for (at, (name, value)) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "{" } else { "," })?;
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(f, "{name}=\"{value}\"")?;
        }
        f.write_str("}")
    }
}

impl FromStr for Labels {
    type Err = ParseLabelsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_labels(text).map_err(|(reason, offset)| ParseLabelsError {
            text: text.chars().take(120).collect(),
            reason,
            offset,
        })
    }
}

fn parse_labels(text: &str) -> Result<Labels, (&'static str, usize)> {
    if text.is_empty() {
        return Ok(Labels::default());
    }
    let inner = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .ok_or(("missing brace", 0))?;
    let mut pairs = Vec::new();
    let mut rest = inner;
    let offset = |rest: &str| 1 + inner.len() - rest.len();
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").ok_or(("missing =\"", offset(rest)))?;
        let (value, length) = unescape_until_quote(after).ok_or(("open quote", offset(after)))?;
        pairs.push((name.trim().to_owned(), value));
        rest = &after[length..];
        rest = match rest.strip_prefix(',') {
            Some(next) => next,
            None if rest.is_empty() => rest,
            None => return Err(("missing comma", offset(rest))),
        };
    }
    Ok(Labels::new(pairs))
}

/// The unescaped text up to the closing quote, and how many bytes it took with the quote.
fn unescape_until_quote(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, at + 1)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

/// A metric name with its labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// Metric name, such as `coredns_dns_requests_total`.
    pub name: String,
    /// Labels without `__name__`, `instance` and `job`.
    pub labels: Labels,
}

impl SeriesKey {
    /// Whether it is a metric of CoreDNS itself rather than of any Go process.
    pub fn is_coredns(&self) -> bool {
        self.name.starts_with("coredns_")
    }

    fn has_parts<T: AsRef<str>>(&self, name: &str, labels: &[(T, T)]) -> bool {
        let same = |(ours, theirs): (&(String, String), &(T, T))| {
            ours.0 == theirs.0.as_ref() && ours.1 == theirs.1.as_ref()
        };
        let own = &self.labels.0;
        self.name == name && own.len() == labels.len() && own.iter().zip(labels).all(same)
    }
}

impl fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, self.labels)
    }
}

/// The place of a series in its [`SeriesTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u32);

/// Gives each series a small number, so that a sample need not carry its labels.
///
/// Numbers are given once and for ever: a series that is in the table stays there.
#[derive(Debug, Default)]
pub struct SeriesTable {
    keys: Vec<Arc<SeriesKey>>,
    /// By the hash of name and labels.
    ids: HashTable<SeriesId>,
    hasher: RandomState,
    /// Where the keys come from, when they are shared.
    pool: Option<Arc<SeriesPool>>,
    tag: TableTag,
}

/// Names and labels that many tables have, each in memory once: the servers of a fleet show the same
/// series. A key that no table has any more is given up after a while.
#[derive(Debug, Default)]
pub struct SeriesPool {
    hasher: RandomState,
    keys: Mutex<PooledKeys>,
}

#[derive(Debug, Default)]
struct PooledKeys {
    known: HashTable<Weak<SeriesKey>>,
    /// With so many, those that nobody has are looked for.
    sweep_at: usize,
}

fn hash<T: AsRef<str>>(hasher: &RandomState, name: &str, labels: &[(T, T)]) -> u64 {
    let mut hasher = hasher.build_hasher();
    name.hash(&mut hasher);
    for (name, value) in labels {
        name.as_ref().hash(&mut hasher);
        value.as_ref().hash(&mut hasher);
    }
    hasher.finish()
}

fn hash_of(hasher: &RandomState, key: &SeriesKey) -> u64 {
    hash(hasher, &key.name, &key.labels.0)
}

impl SeriesPool {
    /// The one that all have, which becomes `key` when it was not there; `hash` is its hash.
    fn shared(&self, hash: u64, key: SeriesKey) -> Arc<SeriesKey> {
        // What a thread that panicked left behind is whole: keys are added and removed at once.
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &Weak<SeriesKey>| known.upgrade().is_some_and(|known| *known == key);
        if let Some(known) = keys.known.find(hash, same).and_then(Weak::upgrade) {
            return known;
        }
        keys.sweep();
        let key = Arc::new(key);
        // Where one that nobody has lies does not matter: it is found by nobody.
        let place =
            |known: &Weak<SeriesKey>| known.upgrade().map_or(0, |key| hash_of(&self.hasher, &key));
        keys.known.insert_unique(hash, Arc::downgrade(&key), place);
        key
    }
}

impl PooledKeys {
    /// Removes keys that nobody has, once as many as there were have come.
    fn sweep(&mut self) {
        if self.known.len() >= self.sweep_at {
            self.known.retain(|known| known.strong_count() > 0);
            self.sweep_at = LEAST_SWEPT.max(2 * self.known.len());
        }
    }
}

/// Tells one table from every other one, also from its clones, which go ways of their own.
#[derive(Debug, Clone, Default)]
pub struct TableTag(Arc<()>);

impl PartialEq for TableTag {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Clone for SeriesTable {
    fn clone(&self) -> Self {
        Self {
            keys: self.keys.clone(),
            ids: self.ids.clone(),
            hasher: self.hasher.clone(),
            pool: self.pool.clone(),
            tag: TableTag::default(),
        }
    }
}

impl SeriesTable {
    /// An empty table whose keys are shared with all other tables of `pool`.
    pub fn sharing(pool: &Arc<SeriesPool>) -> Self {
        let (hasher, pool) = (pool.hasher.clone(), Some(Arc::clone(pool)));
        Self { hasher, pool, ..Self::default() }
    }

    /// The number of `key`, new if it was not known.
    pub fn intern(&mut self, key: &SeriesKey) -> SeriesId {
        let hash = hash_of(&self.hasher, key);
        match self.place(hash, &key.name, &key.labels.0) {
            Some(id) => id,
            None => self.add(hash, key.clone()),
        }
    }

    /// As [`SeriesTable::intern`], of a name and labels in parts; the labels are sorted by name,
    /// each name once, none with an empty value. Copies nothing of a series that is known.
    pub fn intern_parts<T: AsRef<str>>(&mut self, name: &str, labels: &[(T, T)]) -> SeriesId {
        let hash = hash(&self.hasher, name, labels);
        if let Some(id) = self.place(hash, name, labels) {
            return id;
        }
        let owned = |(name, value): &(T, T)| (name.as_ref().into(), value.as_ref().into());
        let labels = Labels(labels.iter().map(owned).collect());
        self.add(hash, SeriesKey { name: name.into(), labels })
    }

    fn place<T: AsRef<str>>(&self, hash: u64, name: &str, labels: &[(T, T)]) -> Option<SeriesId> {
        let same = |id: &SeriesId| self.keys[id.0 as usize].has_parts(name, labels);
        self.ids.find(hash, same).copied()
    }

    fn add(&mut self, hash: u64, key: SeriesKey) -> SeriesId {
        let id = SeriesId(self.keys.len() as u32);
        if self.keys.len() == self.keys.capacity() {
            // Doubling would leave half of it empty.
            self.keys.reserve_exact(KEYS_AT_ONCE.max(self.keys.len() / 4));
        }
        self.keys.push(match &self.pool {
            Some(pool) => pool.shared(hash, key),
            None => Arc::new(key),
        });
        let (hasher, keys) = (&self.hasher, &self.keys);
        self.ids.insert_unique(hash, id, |id| hash_of(hasher, &keys[id.0 as usize]));
        id
    }

    /// What tells this table from every other one.
    pub fn tag(&self) -> &TableTag {
        &self.tag
    }

    /// The series with number `id`; `None` when `id` is of another table.
    pub fn get(&self, id: SeriesId) -> Option<&SeriesKey> {
        self.keys.get(id.0 as usize).map(|key| &**key)
    }

    /// Whether any known series is of CoreDNS itself.
    pub fn has_coredns(&self) -> bool {
        self.keys.iter().any(|key| key.is_coredns())
    }

    /// How many series are known.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True when no series is known.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_round_trip_through_their_canonical_text() {
        let labels = Labels::new(vec![
            ("zone".into(), ".".into()),
            ("a".into(), "quote \" back \\ line \n end,}".into()),
        ]);
        let text = labels.to_string();
        assert_eq!(text, r#"{a="quote \" back \\ line \n end,}",zone="."}"#);
        assert_eq!(text.parse::<Labels>().unwrap(), labels);
        assert_eq!("".parse::<Labels>().unwrap(), Labels::default());
    }

    fn key(name: &str, pairs: &[(&str, &str)]) -> SeriesKey {
        let own = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        SeriesKey { name: name.into(), labels: Labels::new(pairs.iter().map(own).collect()) }
    }

    #[test]
    fn a_series_has_one_number_however_it_is_named() {
        let mut table = SeriesTable::default();
        let first = table.intern(&key("a", &[("b", "c"), ("d", "e"), ("f", "")]));
        assert_eq!(table.intern_parts("a", &[("b", "c"), ("d", "e")]), first);
        let others =
            [table.intern_parts("a", &[("b", "cd")]), table.intern_parts("ab", &[("", "b")])];
        assert_eq!(others, [SeriesId(1), SeriesId(2)]);
        assert_eq!(table.intern(&key("a", &[("b", "cd")])), SeriesId(1));
        assert_eq!(table.get(first).unwrap().to_string(), r#"a{b="c",d="e"}"#);
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn series_of_one_hash_are_told_apart() {
        let mut table = SeriesTable::default();
        let (one, other) = (key("a", &[]), key("b", &[]));
        let place = hash_of(&table.hasher, &other);
        // As if `a` had the hash of `b`.
        let first = table.add(place, one);
        let second = table.intern(&other);
        assert_ne!(first, second);
        assert_eq!(table.intern(&other), second);
    }

    #[test]
    fn tables_of_one_pool_share_their_keys_and_give_them_up() {
        let pool = Arc::new(SeriesPool::default());
        let (mut one, mut other) = (SeriesTable::sharing(&pool), SeriesTable::sharing(&pool));
        let ids = [&mut one, &mut other].map(|table| table.intern(&key("a", &[("b", "c")])));
        assert!(Arc::ptr_eq(&one.keys[ids[0].0 as usize], &other.keys[ids[1].0 as usize]));
        drop((one, other));
        let mut later = SeriesTable::sharing(&pool);
        for n in 0..2 * LEAST_SWEPT {
            later.intern(&key("x", &[("n", &n.to_string())]));
            later = SeriesTable::sharing(&pool);
        }
        let n_known = pool.keys.lock().unwrap().known.len();
        assert!(n_known <= LEAST_SWEPT + 1, "{n_known}");
    }

    #[test]
    fn a_clone_is_another_table() {
        let table = SeriesTable::default();
        let tag = table.tag().clone();
        assert_eq!(*table.tag(), tag);
        let copy = table.clone();
        assert!(*copy.tag() != tag && *table.tag() == tag);
        let moved = table;
        assert_eq!(*moved.tag(), tag);
    }

    #[test]
    fn bad_labels_say_where() {
        for (text, where_) in [("a=\"b\"", "byte 0"), ("{a=b}", "byte 1"), ("{a=\"b}", "byte 4")] {
            let error = text.parse::<Labels>().unwrap_err().to_string();
            assert!(error.contains(where_), "{text}: {error}");
        }
    }
}
