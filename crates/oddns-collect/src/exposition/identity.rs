//! Which bytes mean which series, so that a repeated scrape reads no labels.

use std::collections::HashMap;

use oddns_core::{SeriesId, SeriesTable};

/// Entries kept at most; a server with more series is read a little slower.
const MAX_ENTRIES: usize = 65_536;

/// Longer series are read anew each time; with the bound above at most 64 MiB are kept.
const MAX_BYTES: usize = 1024;

/// From the bytes of `name{…}` to the series they name, in one [`SeriesTable`].
#[derive(Default)]
pub(super) struct Identities {
    entries: HashMap<Box<[u8]>, Known, ahash::RandomState>,
    generation: u64,
    /// The last generation in which old entries were thrown out.
    pruned: u64,
}

struct Known {
    id: SeriesId,
    /// Address of the name in the table. It tells a table that is not the one of last time, where
    /// the number would mean another series.
    name_address: usize,
    generation: u64,
}

impl Identities {
    /// Tells that another text begins.
    pub(super) fn begin(&mut self, generation: u64) {
        self.generation = generation;
    }

    pub(super) fn get(&mut self, bytes: &[u8], table: &SeriesTable) -> Option<SeriesId> {
        let known = self.entries.get_mut(bytes)?;
        if name_address(table, known.id)? != known.name_address {
            return None;
        }
        known.generation = self.generation;
        Some(known.id)
    }

    pub(super) fn insert(&mut self, bytes: &[u8], id: SeriesId, table: &SeriesTable) {
        if bytes.len() > MAX_BYTES || !self.has_room() {
            return;
        }
        let Some(name_address) = name_address(table, id) else { return };
        self.entries.insert(bytes.into(), Known { id, name_address, generation: self.generation });
    }

    /// Makes room once a text at most, so that a server with endless series costs no more than
    /// one without a cache.
    fn has_room(&mut self) -> bool {
        if self.entries.len() >= MAX_ENTRIES && self.pruned != self.generation {
            self.pruned = self.generation;
            let oldest = self.generation.saturating_sub(1);
            self.entries.retain(|_, known| known.generation >= oldest);
        }
        self.entries.len() < MAX_ENTRIES
    }
}

fn name_address(table: &SeriesTable, id: SeriesId) -> Option<usize> {
    table.get(id).map(|key| key.name.as_ptr() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oddns_core::{Labels, SeriesKey};

    fn key(name: &str) -> SeriesKey {
        SeriesKey { name: name.into(), labels: Labels::default() }
    }

    #[test]
    fn another_table_is_noticed() {
        let mut first = SeriesTable::default();
        let id = first.intern(&key("a"));
        let mut second = SeriesTable::default();
        second.intern(&key("b"));
        let mut known = Identities::default();
        known.insert(b"a", id, &first);
        assert_eq!(known.get(b"a", &first), Some(id));
        assert_eq!(known.get(b"a", &second), None);
        assert_eq!(known.get(b"a", &SeriesTable::default()), None);
    }

    #[test]
    fn endless_series_do_not_grow_it_for_ever() {
        let mut table = SeriesTable::default();
        let id = table.intern(&key("a"));
        let mut known = Identities::default();
        for generation in 1..=4_u64 {
            known.begin(generation);
            for n in 0..MAX_ENTRIES {
                known.insert(format!("a{{n=\"{generation}-{n}\"}}").as_bytes(), id, &table);
            }
            assert!(known.entries.len() <= MAX_ENTRIES);
        }
        assert!(known.get(b"a{n=\"3-0\"}", &table).is_some());
    }
}
