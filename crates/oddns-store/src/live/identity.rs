//! Millions of series in little memory: every text once, every series as three numbers.

use ahash::RandomState;
use hashbrown::HashTable;

/// Texts are kept in blocks of this size.
const BLOCK: usize = 1 << 20;

/// Distinct texts, numbered from 0.
#[derive(Debug, Default)]
pub(crate) struct Strings {
    blocks: Vec<String>,
    /// Block, first byte and length of each text.
    places: Vec<(u32, u32, u32)>,
    numbers: HashTable<u32>,
    hasher: RandomState,
}

impl Strings {
    /// The number of `text`, new if it was not known.
    pub(crate) fn intern(&mut self, text: &str) -> u32 {
        let hash = self.hasher.hash_one(text);
        let Self { blocks, places, numbers, hasher } = self;
        let same = |number: &u32| get(blocks, places, *number) == text;
        if let Some(number) = numbers.find(hash, same) {
            return *number;
        }
        let number = places.len() as u32;
        places.push(store(blocks, text));
        numbers.insert_unique(hash, number, |number| hasher.hash_one(get(blocks, places, *number)));
        number
    }

    /// The text with this number; empty for an unknown one.
    pub(crate) fn get(&self, number: u32) -> &str {
        get(&self.blocks, &self.places, number)
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// The place of every text in the order of all, by number.
    pub(crate) fn ranks(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.sort_unstable_by(|a, b| self.get(*a).cmp(self.get(*b)));
        let mut ranks = vec![0; order.len()];
        for (rank, number) in order.into_iter().enumerate() {
            ranks[number as usize] = rank as u32;
        }
        ranks
    }
}

fn get<'a>(blocks: &'a [String], places: &[(u32, u32, u32)], number: u32) -> &'a str {
    let Some((block, from, length)) = places.get(number as usize) else { return "" };
    let text = blocks[*block as usize].get(*from as usize..(from + length) as usize);
    text.unwrap_or_default()
}

fn store(blocks: &mut Vec<String>, text: &str) -> (u32, u32, u32) {
    let has_room = |block: &String| block.capacity() - block.len() >= text.len();
    if !blocks.last().is_some_and(has_room) {
        blocks.push(String::with_capacity(BLOCK.max(text.len())));
    }
    let at = blocks.len() - 1;
    let from = blocks[at].len();
    blocks[at].push_str(text);
    (at as u32, from as u32, text.len() as u32)
}

/// Distinct series, numbered from 0.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    strings: Strings,
    /// Numbers of instance, name and labels.
    series: Vec<[u32; 3]>,
    numbers: HashTable<u32>,
    hasher: RandomState,
}

impl Identities {
    /// The number of a series, new if it was not known and there are fewer than `limit`.
    pub(crate) fn intern(&mut self, texts: [&str; 3], limit: usize) -> Option<u32> {
        let parts = texts.map(|text| self.strings.intern(text));
        let hash = self.hasher.hash_one(parts);
        let Self { series, numbers, hasher, .. } = self;
        if let Some(number) = numbers.find(hash, |number| series[*number as usize] == parts) {
            return Some(*number);
        }
        if series.len() >= limit {
            return None;
        }
        let number = series.len() as u32;
        series.push(parts);
        numbers.insert_unique(hash, number, |number| hasher.hash_one(series[*number as usize]));
        Some(number)
    }

    /// The numbers of the texts of a series.
    pub(crate) fn parts(&self, series: u32) -> Option<[u32; 3]> {
        self.series.get(series as usize).copied()
    }

    /// Instance, name and labels of a series.
    pub(crate) fn texts(&self, series: u32) -> [&str; 3] {
        let parts = self.parts(series).unwrap_or([u32::MAX; 3]);
        parts.map(|part| self.strings.get(part))
    }

    pub(crate) fn strings(&self) -> &Strings {
        &self.strings
    }

    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    /// All series in the order of a history: by instance, name, labels.
    pub(crate) fn in_order(&self) -> Vec<u32> {
        let ranks = self.strings.ranks();
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.sort_unstable_by_key(|series| {
            self.series[*series as usize].map(|part| ranks[part as usize])
        });
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_series_share_a_number_and_the_order_is_that_of_the_texts() {
        let mut identities = Identities::default();
        let given = [["b", "m", ""], ["a", "n", "{x=\"1\"}"], ["a", "m", "{x=\"1\"}"]];
        let numbers = given.map(|texts| identities.intern(texts, 9).unwrap());
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!(identities.intern(given[1], 0), Some(1));
        assert_eq!(identities.texts(1), given[1]);
        assert_eq!(identities.in_order(), [2, 1, 0]);
        assert_eq!(identities.strings().len(), 6);
    }

    #[test]
    fn the_limit_holds_for_new_series_only() {
        let mut identities = Identities::default();
        assert_eq!(identities.intern(["a", "m", ""], 1), Some(0));
        assert_eq!(identities.intern(["b", "m", ""], 1), None);
        assert_eq!(identities.intern(["a", "m", ""], 1), Some(0));
    }

    #[test]
    fn texts_of_any_length_are_kept() {
        let mut strings = Strings::default();
        let long = "x".repeat(3 * BLOCK);
        let numbers = ["", "a", &long, "b"].map(|text| strings.intern(text));
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert_eq!(strings.get(2).len(), 3 * BLOCK);
        assert_eq!((strings.get(3), strings.get(9)), ("b", ""));
    }
}
