//! The models of single servers, each in a registry of its own below that of the shared model.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oddns_core::{Timestamp, stable_hash};
use serde::{Deserialize, Serialize};

#[cfg(unix)]
use super::LINK;
use super::Registry;
use super::promotions::{DISMISSED, Promotion};
use crate::{StoreError, write_atomically};

/// The folder of them.
const OWN: &str = "own";
/// Says whose they are.
const SERVER: &str = "server.json";
/// Most bytes of that.
const MAX_SERVER_BYTES: u64 = 64 * 1024;
/// Letters of a server's name in the name of its folder.
const NAME_LETTERS: usize = 64;
/// Folders that are looked at.
const MOST_SERVERS: usize = 10_000;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    instance: String,
}

impl Registry {
    /// The registry of the models that the server called `instance` has for itself, which is made when it
    /// is not there.
    pub fn open_own(&self, instance: &str) -> Result<Self, StoreError> {
        let root = self.own_folder(instance);
        fs::create_dir_all(&root).map_err(StoreError::write(&root))?;
        let path = root.join(SERVER);
        if !path.is_file() {
            let server = Server { instance: instance.to_owned() };
            let text = serde_json::to_vec_pretty(&server)
                .map_err(|error| StoreError::write(&path)(error.into()))?;
            write_atomically(&path, &text)?;
        }
        self.existing_own(instance)
    }

    /// The same where it is there; makes nothing.
    ///
    /// # Errors
    /// When that server has no model of its own.
    pub fn existing_own(&self, instance: &str) -> Result<Self, StoreError> {
        let root = self.own_folder(instance);
        match read_server(&root.join(SERVER)) {
            Ok(server) if server.instance == instance => Ok(Self { root }),
            Ok(_) => Err(StoreError::kind(&root, "is of another server")),
            Err(StoreError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let reason = format!("has no models of the server `{instance}` alone");
                Err(StoreError::kind(&self.root, reason))
            }
            Err(error) => Err(error),
        }
    }

    /// The servers that have, or had, models of their own, by name; at most the first 10 000 that are
    /// found. A folder that cannot be read is left out.
    pub fn own_instances(&self) -> Result<Vec<String>, StoreError> {
        let folder = self.root.join(OWN);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(StoreError::read(&folder))?,
        };
        let mut found: Vec<String> = entries
            .take(MOST_SERVERS)
            .flatten()
            .filter_map(|entry| read_server(&entry.path().join(SERVER)).ok())
            .map(|server| server.instance)
            .collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Removes the models of a server; nothing where there are none.
    pub fn remove_own(&self, instance: &str) -> Result<(), StoreError> {
        let Ok(own) = self.existing_own(instance) else { return Ok(()) };
        let _lock = own.lock()?;
        // First what makes it one: what is removed half is nobody's.
        let server = own.root.join(SERVER);
        fs::remove_file(&server).map_err(StoreError::write(&server))?;
        fs::remove_dir_all(&own.root).map_err(StoreError::write(&own.root))
    }

    /// Lets no generation be champion any more, in one step: the shared model judges the server again.
    ///
    /// # Errors
    /// In a registry that is not of one server: somebody has to judge.
    pub fn dismiss(&self, at: Timestamp, by: &str, reason: &str) -> Result<(), StoreError> {
        if !self.is_own() {
            let reason = "is the registry of the shared model, which has to have a champion";
            return Err(StoreError::kind(&self.root, reason));
        }
        let _lock = self.lock()?;
        let (by, reason) = (by.to_owned(), reason.to_owned());
        self.note(Promotion { generation: DISMISSED, at, by, reason })?;
        #[cfg(unix)]
        // Whoever follows the link finds none; it is there for the champion alone.
        let _ = fs::remove_file(self.root.join(LINK));
        Ok(())
    }

    /// The folder that it is in.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn is_own(&self) -> bool {
        self.root.join(SERVER).is_file()
    }

    fn own_folder(&self, instance: &str) -> PathBuf {
        let safe = |letter: char| letter.is_ascii_alphanumeric() || ".-".contains(letter);
        let name: String = instance.chars().filter(|c| safe(*c)).take(NAME_LETTERS).collect();
        self.root.join(OWN).join(format!("{name}-{:016x}", stable_hash(instance.bytes())))
    }
}

fn read_server(path: &Path) -> Result<Server, StoreError> {
    let size = fs::metadata(path).map_err(StoreError::read(path))?.len();
    if size > MAX_SERVER_BYTES {
        return Err(StoreError::kind(path, format!("has {size} bytes: that is no name")));
    }
    let text = fs::read(path).map_err(StoreError::read(path))?;
    serde_json::from_slice(&text).map_err(StoreError::damaged(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GenerationRecord;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1000 * seconds)
    }

    fn promoted(registry: &Registry, model: &[u8]) -> u64 {
        let record = GenerationRecord::of(model, at(0));
        let generation = registry.add(model, &record).unwrap();
        let (by, reason) = ("test".to_owned(), "better".to_owned());
        registry.promote(Promotion { generation, at: at(1), by, reason }).unwrap();
        generation
    }

    #[test]
    fn a_server_has_generations_of_its_own_and_goes_back_to_the_shared_ones() {
        let folder = tempfile::tempdir().unwrap();
        let shared = Registry::open(folder.path()).unwrap();
        promoted(&shared, b"shared");
        assert_eq!(shared.own_instances().unwrap(), [""; 0]);
        assert!(shared.existing_own("dns/0:1").unwrap_err().to_string().contains("`dns/0:1`"));
        let own = shared.open_own("dns/0:1").unwrap();
        assert_eq!(promoted(&own, b"first"), 1);
        assert_eq!(promoted(&own, b"second"), 2);
        assert_eq!(own.rollback(at(2), "me").unwrap(), 1);
        own.dismiss(at(3), "me", "the shared model fits").unwrap();
        assert_eq!(own.champion().unwrap(), None);
        assert_eq!(own.list().unwrap().len(), 2);
        assert_eq!(own.rollback(at(4), "me").unwrap(), 1);
        let again = shared.existing_own("dns/0:1").unwrap();
        assert_eq!(again.champion().unwrap().unwrap().number, 1);
        assert_eq!(shared.own_instances().unwrap(), ["dns/0:1"]);
        assert_eq!(shared.champion().unwrap().unwrap().number, 1);
        assert_eq!(shared.list().unwrap().len(), 1);
        shared.remove_own("dns/0:1").unwrap();
        shared.remove_own("dns/0:1").unwrap();
        assert!(shared.own_instances().unwrap().is_empty() && !own.root().exists());
    }

    #[test]
    fn before_the_first_of_its_own_the_shared_model_judged() {
        let folder = tempfile::tempdir().unwrap();
        let shared = Registry::open(folder.path()).unwrap();
        let own = shared.open_own("a").unwrap();
        assert!(own.rollback(at(1), "me").is_err());
        promoted(&own, b"first");
        assert_eq!(own.rollback(at(2), "me").unwrap(), 0);
        assert_eq!(own.champion().unwrap(), None);
        assert_eq!(own.prune(0).unwrap(), 0, "the one before stays");
        promoted(&shared, b"shared");
        assert!(shared.rollback(at(2), "me").is_err());
        assert!(shared.dismiss(at(2), "me", "no").is_err());
        assert!(shared.champion().unwrap().is_some());
    }
}
