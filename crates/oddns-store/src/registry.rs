//! Generations of models in a folder, and which of them is the champion.
//!
//! A generation is a folder that appears whole, by a rename, and is never changed. The champion is
//! named in a file that is replaced by a rename. So whoever looks, after a crash at any instant,
//! sees whole generations, and the champion of before or the new one.

mod generation;
mod own;
mod promotions;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use oddns_core::Timestamp;

use crate::StoreError;
use crate::atomic::sync_folder;

pub use generation::{GateFigure, GenerationRecord};
pub use promotions::Promotion;

use generation::{MODEL, RECORD};
use promotions::{DISMISSED, Promotions};

/// Generations that are kept beside the champion and the one before it, when nothing else is said.
pub const KEPT_GENERATIONS: usize = 10;
/// Generations in a folder at most: more is no registry.
const MOST_GENERATIONS: usize = 100_000;
/// A link to the champion's model.
#[cfg(unix)]
const LINK: &str = "champion.keras";
/// Most bytes of a model.
const MAX_MODEL_BYTES: u64 = 256 * 1024 * 1024;

/// A folder of generations.
#[derive(Debug, Clone)]
pub struct Registry {
    root: PathBuf,
}

/// One generation, without its model.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// Its number, from 1, higher is later.
    pub number: u64,
    /// Where it came from.
    pub record: GenerationRecord,
    /// Whether it is the champion.
    pub is_champion: bool,
}

/// Held while the registry is changed; ends with the process, however that ends.
struct Lock {
    _file: File,
}

impl Registry {
    /// The registry in the folder `root`, which is made when it is not there.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(root).map_err(StoreError::write(root))?;
        Ok(Self { root: root.to_owned() })
    }

    /// The registry in a folder that is there; makes nothing.
    pub fn existing(root: &Path) -> Result<Self, StoreError> {
        if root.is_dir() {
            return Ok(Self { root: root.to_owned() });
        }
        Err(StoreError::kind(root, "is no folder of models: `oddns model add` makes one"))
    }

    /// All generations, oldest first; none in a new registry. A folder that is not one is left out.
    pub fn list(&self) -> Result<Vec<Generation>, StoreError> {
        let champion = self.promotions()?.champion();
        let numbers = self.numbers()?;
        let generation = |number: &u64| {
            let record = generation::read(&self.folder(*number))?;
            Ok(Generation { number: *number, record, is_champion: champion == Some(*number) })
        };
        numbers.iter().map(generation).collect()
    }

    /// One generation.
    pub fn generation(&self, number: u64) -> Result<Generation, StoreError> {
        let folder = self.folder(number);
        if !folder.is_dir() {
            return Err(StoreError::kind(
                &self.root,
                format!("has no generation {number}: `oddns model list` names all"),
            ));
        }
        let is_champion = self.promotions()?.champion() == Some(number);
        Ok(Generation { number, record: generation::read(&folder)?, is_champion })
    }

    /// The champion; `None` before the first promotion.
    pub fn champion(&self) -> Result<Option<Generation>, StoreError> {
        let champion = self.promotions()?.champion();
        champion.map(|number| self.generation(number)).transpose()
    }

    /// The bytes of a model, checked against the hash in its record: a file that was swapped or cut
    /// short is an error.
    pub fn load(&self, number: u64) -> Result<Vec<u8>, StoreError> {
        let record = self.generation(number)?.record;
        let path = self.folder(number).join(MODEL);
        let size = fs::metadata(&path).map_err(StoreError::read(&path))?.len();
        let bytes = match size <= MAX_MODEL_BYTES {
            true => fs::read(&path).map_err(StoreError::read(&path))?,
            false => Vec::new(),
        };
        let found = generation::hash(&bytes);
        if found == record.sha256 {
            return Ok(bytes);
        }
        Err(StoreError::kind(
            &path,
            format!(
                "is not the model that was kept: its SHA-256 is {found}, the record says {}; \
                 `oddns model rollback` goes back to the one before",
                record.sha256
            ),
        ))
    }

    /// Keeps a model as the next generation, whole or not at all, and gives its number. It is not
    /// the champion by that.
    pub fn add(&self, model: &[u8], record: &GenerationRecord) -> Result<u64, StoreError> {
        let _lock = self.lock()?;
        self.remove_halves()?;
        let number = self.numbers()?.last().map_or(1, |last| last + 1);
        let half = self.root.join(format!(".writing-{number}"));
        let written = generation::write(&half, model, record)
            .and_then(|()| fs::rename(&half, self.folder(number)).map_err(StoreError::write(&half)))
            .and_then(|()| sync_folder(&self.root).map_err(StoreError::write(&self.root)));
        if written.is_err() {
            // A full disk has no room for halves.
            let _ = fs::remove_dir_all(&half);
        }
        written.map(|()| number)
    }

    /// Makes a generation the champion, in one step. Its model must be whole.
    pub fn promote(&self, promotion: Promotion) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        self.load(promotion.generation)?;
        let generation = promotion.generation;
        self.note(promotion)?;
        self.link(generation)
    }

    /// Writes a change of champions down, which makes it one.
    fn note(&self, promotion: Promotion) -> Result<(), StoreError> {
        let mut promotions = self.promotions()?;
        promotions.add(promotion);
        promotions.write(&self.root)
    }

    /// Lets `champion.keras` lead to the champion's model, for programs that read one file.
    #[cfg(unix)]
    fn link(&self, number: u64) -> Result<(), StoreError> {
        let (new, link) = (self.root.join(".writing-link"), self.root.join(LINK));
        let target = format!("generation-{number:06}/{MODEL}");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::write(&new)(error));
            }
            _ => {}
        }
        std::os::unix::fs::symlink(target, &new)
            .and_then(|()| fs::rename(&new, &link))
            .map_err(StoreError::write(&link))
    }

    #[cfg(not(unix))]
    fn link(&self, _number: u64) -> Result<(), StoreError> {
        Ok(())
    }

    /// Makes the champion before the present one the champion again, and gives its number. Whose
    /// model is not whole is passed over. In the registry of one server 0 is the shared model, which
    /// judged before all of its own.
    pub fn rollback(&self, at: Timestamp, by: &str) -> Result<u64, StoreError> {
        let promotions = self.promotions()?;
        let mut earlier = promotions.earlier();
        if self.is_own() && promotions.champion().is_some() {
            earlier.push(DISMISSED);
        }
        let whole = |number: &&u64| **number == DISMISSED || self.load(**number).is_ok();
        let Some(generation) = earlier.iter().find(whole).copied() else {
            return Err(StoreError::kind(&self.root, "has no champion to go back to"));
        };
        let reason = "rolled back".to_owned();
        if generation == DISMISSED {
            return self.dismiss(at, by, &reason).map(|()| generation);
        }
        self.promote(Promotion { generation, at, by: by.to_owned(), reason })?;
        Ok(generation)
    }

    /// Who was champion when, newest last; the last hundred.
    pub fn history(&self) -> Result<Vec<Promotion>, StoreError> {
        Ok(self.promotions()?.0)
    }

    /// Removes the oldest generations until `n` are left beside the champion and the champion before
    /// it, which stay. Gives how many were removed.
    pub fn prune(&self, n: usize) -> Result<usize, StoreError> {
        let _lock = self.lock()?;
        let promotions = self.promotions()?;
        let before = promotions.earlier().into_iter().find(|number| *number != DISMISSED);
        let stays =
            |number: &u64| promotions.champion() == Some(*number) || before == Some(*number);
        let others: Vec<u64> = self.numbers()?.into_iter().filter(|n| !stays(n)).collect();
        let old = &others[..others.len().saturating_sub(n)];
        for number in old {
            // Out of sight first: what is removed half is no generation.
            let (folder, half) =
                (self.folder(*number), self.root.join(format!(".writing-{number}")));
            fs::rename(&folder, &half).map_err(StoreError::write(&folder))?;
            fs::remove_dir_all(&half).map_err(StoreError::write(&half))?;
        }
        Ok(old.len())
    }

    fn promotions(&self) -> Result<Promotions, StoreError> {
        Promotions::read(&self.root)
    }

    fn folder(&self, number: u64) -> PathBuf {
        self.root.join(format!("generation-{number:06}"))
    }

    /// Numbers of all generations, rising.
    fn numbers(&self) -> Result<Vec<u64>, StoreError> {
        let entries = fs::read_dir(&self.root).map_err(StoreError::read(&self.root))?;
        let mut found = Vec::new();
        for entry in entries.take(MOST_GENERATIONS) {
            let name = entry.map_err(StoreError::read(&self.root))?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("generation-"));
            found.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        found.retain(|number| self.folder(*number).join(RECORD).is_file());
        found.sort_unstable();
        Ok(found)
    }

    /// Removes what a crash left behind.
    fn remove_halves(&self) -> Result<(), StoreError> {
        let entries = fs::read_dir(&self.root).map_err(StoreError::read(&self.root))?;
        for entry in entries.take(MOST_GENERATIONS).flatten() {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(".writing-")) {
                let path = entry.path();
                let removed =
                    if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.map_err(StoreError::write(&path))?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> Result<Lock, StoreError> {
        let path = self.root.join("lock");
        let options =
            File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = options.map_err(StoreError::write(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => {
                let owner = "another process".to_owned();
                Err(StoreError::Locked { path: self.root.clone(), owner })
            }
            Err(TryLockError::Error(source)) => Err(StoreError::Write { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promotion(generation: u64) -> Promotion {
        let at = Timestamp::from_millis(1000 * generation as i64);
        Promotion { generation, at, by: "test".into(), reason: "better".into() }
    }

    fn registry(n: u8) -> (tempfile::TempDir, Registry) {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(&folder.path().join("models")).unwrap();
        for number in 0..n {
            let record = GenerationRecord::of(&[number], Timestamp::default());
            assert_eq!(registry.add(&[number], &record).unwrap(), u64::from(number) + 1);
        }
        (folder, registry)
    }

    #[test]
    fn generations_are_kept_promoted_and_rolled_back() {
        let (_folder, registry) = registry(3);
        assert_eq!(registry.champion().unwrap(), None);
        [1, 3].into_iter().for_each(|number| registry.promote(promotion(number)).unwrap());
        assert_eq!(registry.champion().unwrap().unwrap().number, 3);
        assert_eq!(registry.load(3).unwrap(), [2]);
        assert_eq!(registry.rollback(Timestamp::default(), "me").unwrap(), 1);
        assert_eq!(registry.champion().unwrap().unwrap().number, 1);
        #[cfg(unix)]
        assert_eq!(fs::read(registry.root.join(LINK)).unwrap(), [0]);
        let champions: Vec<u64> =
            registry.history().unwrap().iter().map(|p| p.generation).collect();
        assert_eq!(champions, [1, 3, 1]);
        let listed = registry.list().unwrap();
        assert_eq!(listed.iter().filter(|generation| generation.is_champion).count(), 1);
        assert!(registry.generation(9).unwrap_err().to_string().contains("no generation 9"));
    }

    #[test]
    fn the_last_ones_the_champion_and_the_one_before_stay() {
        let (_folder, registry) = registry(9);
        [1, 2].into_iter().for_each(|number| registry.promote(promotion(number)).unwrap());
        assert_eq!(registry.prune(3).unwrap(), 4);
        let left: Vec<u64> = registry.list().unwrap().iter().map(|g| g.number).collect();
        assert_eq!(left, [1, 2, 7, 8, 9]);
        assert_eq!(
            registry.add(&[1], &GenerationRecord::of(&[1], Timestamp::default())).unwrap(),
            10
        );
    }

    #[test]
    fn a_model_that_was_swapped_is_refused_and_passed_over() {
        let (_folder, registry) = registry(3);
        [1, 2, 3].into_iter().for_each(|number| registry.promote(promotion(number)).unwrap());
        for number in [2, 3] {
            fs::write(registry.folder(number).join(MODEL), b"other").unwrap();
        }
        let message = registry.load(3).unwrap_err().to_string();
        assert!(message.contains("is not the model that was kept"), "{message}");
        assert!(registry.promote(promotion(2)).is_err());
        assert_eq!(registry.rollback(Timestamp::default(), "me").unwrap(), 1);
    }

    #[test]
    fn what_a_crash_left_is_no_generation_and_goes_with_the_next() {
        let (_folder, registry) = registry(1);
        fs::create_dir(registry.root.join(".writing-2")).unwrap();
        fs::write(registry.root.join(".writing-2").join(MODEL), b"half").unwrap();
        fs::write(registry.root.join("notes.txt"), b"mine").unwrap();
        assert_eq!(registry.list().unwrap().len(), 1);
        registry.add(&[2], &GenerationRecord::of(&[2], Timestamp::default())).unwrap();
        assert!(!registry.root.join(".writing-2").exists());
        assert!(registry.root.join("notes.txt").exists());
    }

    #[test]
    fn two_do_not_change_it_at_once() {
        let (_folder, registry) = registry(1);
        let held = registry.lock().unwrap();
        let error = registry.promote(promotion(1)).unwrap_err();
        assert!(matches!(error, StoreError::Locked { .. }), "{error}");
        drop(held);
        registry.promote(promotion(1)).unwrap();
    }

    #[test]
    fn damage_is_told_with_the_file() {
        let (_folder, registry) = registry(1);
        fs::write(registry.root.join("champion.json"), b"{").unwrap();
        let message = registry.champion().unwrap_err().to_string();
        assert!(message.contains("champion.json"), "{message}");
        let none = registry.root.join("none");
        assert!(Registry::existing(&none).is_err() && !none.exists());
    }
}
