//! Who is champion, and who was.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use oddns_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{StoreError, write_atomically};

const FILE: &str = "champion.json";
/// Stands where no generation is champion any more: numbers of generations begin with 1.
pub(super) const DISMISSED: u64 = 0;
/// Promotions that are remembered.
const MOST: usize = 100;

/// One change of champions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotion {
    /// The new champion; 0 in the registry of one server where none of its own models judges any more.
    pub generation: u64,
    /// When.
    pub at: Timestamp,
    /// Who or what did it.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Newest last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Promotions(pub(super) Vec<Promotion>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// For people; the last promotion decides.
    champion: Option<u64>,
    promotions: Vec<WrittenPromotion>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPromotion {
    generation: u64,
    at_millis: i64,
    by: String,
    reason: String,
}

impl Promotions {
    /// The last one that was promoted; `None` also when it was dismissed.
    pub(super) fn champion(&self) -> Option<u64> {
        self.last().filter(|generation| *generation != DISMISSED)
    }

    fn last(&self) -> Option<u64> {
        self.0.last().map(|promotion| promotion.generation)
    }

    /// Champions before the present one, newest first, each once; [`DISMISSED`] where there was none in
    /// between.
    pub(super) fn earlier(&self) -> Vec<u64> {
        let mut found = Vec::new();
        for Promotion { generation, .. } in self.0.iter().rev() {
            if Some(*generation) != self.last() && !found.contains(generation) {
                found.push(*generation);
            }
        }
        found
    }

    pub(super) fn add(&mut self, promotion: Promotion) {
        self.0.push(promotion);
        self.0.drain(..self.0.len().saturating_sub(MOST));
    }

    /// None where there is no file yet.
    pub(super) fn read(root: &Path) -> Result<Self, StoreError> {
        let path = root.join(FILE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            read => read.map_err(StoreError::read(&path))?,
        };
        let written: Written = serde_json::from_slice(&text).map_err(StoreError::damaged(&path))?;
        let promotion = |WrittenPromotion { generation, at_millis, by, reason }| Promotion {
            generation,
            at: Timestamp::from_millis(at_millis),
            by,
            reason,
        };
        Ok(Self(written.promotions.into_iter().map(promotion).collect()))
    }

    pub(super) fn write(&self, root: &Path) -> Result<(), StoreError> {
        let path = root.join(FILE);
        let promotion = |promotion: &Promotion| WrittenPromotion {
            generation: promotion.generation,
            at_millis: promotion.at.millis(),
            by: promotion.by.clone(),
            reason: promotion.reason.clone(),
        };
        let promotions = self.0.iter().map(promotion).collect();
        let written = Written { champion: self.champion(), promotions };
        let text = serde_json::to_vec_pretty(&written)
            .map_err(|error| StoreError::write(&path)(error.into()))?;
        write_atomically(&path, &text)
    }
}
