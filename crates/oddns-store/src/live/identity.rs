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

    /// The number of `text`; `None` if it is not known.
    fn find(&self, text: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(text);
        self.numbers.find(hash, |number| self.get(*number) == text).copied()
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

/// In the place of a series that has been forgotten.
const FORGOTTEN: [u32; 3] = [u32::MAX; 3];

/// Distinct series, numbered from 0.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    strings: Strings,
    /// Numbers of instance, name and labels.
    series: Vec<[u32; 3]>,
    /// Numbers of forgotten series, to be given out again.
    free: Vec<u32>,
    numbers: HashTable<u32>,
    hasher: RandomState,
}

impl Identities {
    /// The number of a series, new if it was not known and there are fewer than `limit`.
    pub(crate) fn intern(&mut self, texts: [&str; 3], limit: usize) -> Option<u32> {
        if self.len() >= limit {
            return self.find(texts);
        }
        let parts = texts.map(|text| self.strings.intern(text));
        if let Some(number) = self.number_of(parts) {
            return Some(number);
        }
        let number = self.free.pop().unwrap_or(self.series.len() as u32);
        if self.series.len() == number as usize {
            self.series.push(parts);
        }
        self.series[number as usize] = parts;
        self.number(number);
        Some(number)
    }

    /// The number of a series that is known.
    fn find(&self, texts: [&str; 3]) -> Option<u32> {
        let [instance, name, labels] = texts.map(|text| self.strings.find(text));
        self.number_of([instance?, name?, labels?])
    }

    fn number_of(&self, parts: [u32; 3]) -> Option<u32> {
        let same = |number: &u32| self.series[*number as usize] == parts;
        self.numbers.find(self.hasher.hash_one(parts), same).copied()
    }

    /// Makes a series findable.
    fn number(&mut self, number: u32) {
        let Self { series, numbers, hasher, .. } = self;
        let hash = |number: &u32| hasher.hash_one(series[*number as usize]);
        numbers.insert_unique(hash(&number), number, hash);
    }

    /// Forgets all series but those that `is_kept` wants, and the texts that no other one has; says
    /// which ones. The others keep their numbers.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(u32) -> bool) -> Vec<u32> {
        let all = 0..self.series.len() as u32;
        let is_known = |number: &u32| self.series[*number as usize] != FORGOTTEN;
        let (kept, gone): (Vec<u32>, Vec<u32>) =
            all.filter(is_known).partition(|number| is_kept(*number));
        for number in &gone {
            self.series[*number as usize] = FORGOTTEN;
        }
        self.free.extend(&gone);
        // Texts lie in blocks, which only go as a whole.
        let known = std::mem::take(&mut self.strings);
        self.numbers = HashTable::with_capacity(kept.len());
        for number in kept {
            let parts = self.series[number as usize].map(|part| known.get(part));
            self.series[number as usize] = parts.map(|text| self.strings.intern(text));
            self.number(number);
        }
        gone
    }

    /// The numbers of the texts of a series.
    pub(crate) fn parts(&self, series: u32) -> Option<[u32; 3]> {
        self.series.get(series as usize).copied().filter(|parts| *parts != FORGOTTEN)
    }

    /// Instance, name and labels of a series.
    pub(crate) fn texts(&self, series: u32) -> [&str; 3] {
        let parts = self.parts(series).unwrap_or([u32::MAX; 3]);
        parts.map(|part| self.strings.get(part))
    }

    pub(crate) fn strings(&self) -> &Strings {
        &self.strings
    }

    /// How many series are known.
    pub(crate) fn len(&self) -> usize {
        self.series.len() - self.free.len()
    }

    /// All series, none of which may have been forgotten, in the order of a history: by instance, name, labels.
    pub(crate) fn in_order(&self) -> Vec<u32> {
        let ranks = self.strings.ranks();
        let mut order: Vec<u32> = (0..self.series.len() as u32).collect();
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
    fn what_is_forgotten_leaves_its_number_to_others() {
        let mut identities = Identities::default();
        for name in ["m", "n", "o"] {
            identities.intern(["a", name, ""], 9);
        }
        assert_eq!(identities.retain(|number| number != 1), [1]);
        assert_eq!((identities.len(), identities.strings().len()), (2, 4));
        assert_eq!((identities.parts(1), identities.texts(2)), (None, ["a", "o", ""]));
        assert_eq!(identities.intern(["b", "p", ""], 3), Some(1));
        assert_eq!(identities.intern(["a", "n", ""], 3), None);
        assert_eq!(identities.strings().len(), 6, "refused ones leave no texts");
        assert_eq!(identities.intern(["a", "o", ""], 3), Some(2));
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
