//! What was learned since training, kept over a restart: one file a server.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use oddns::{Detector, DetectorError, Follower, Pipeline};
use oddns_core::{Frame, Timestamp, stable_hash};

use crate::error::ServeError;

/// Most bytes of a state; ours have tens of KiB.
const MAX_BYTES: u64 = 16 << 20;
/// Seconds of scrapes between two states.
const SAVE_SECONDS: f64 = 300.0;
/// Letters of a server's name in the name of its file.
const NAME_LETTERS: usize = 64;

/// Where states are kept. Nobody else should write there.
#[derive(Debug, Clone)]
pub struct StateFolder {
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Folder(PathBuf),
    /// States of servers that nobody follows at the moment, by their names.
    Memory(Arc<Mutex<HashMap<String, Vec<u8>>>>),
}

impl StateFolder {
    /// Uses the folder at `path`, which is made where it is missing.
    pub fn open(path: &Path) -> Result<Self, ServeError> {
        let made = fs::create_dir_all(path);
        made.map_err(|source| ServeError::States { path: path.to_owned(), source })?;
        Ok(Self { place: Place::Folder(path.to_owned()) })
    }

    /// Keeps states in memory, so that they outlive a reload but not the process.
    pub fn in_memory() -> Self {
        Self { place: Place::Memory(Arc::default()) }
    }

    /// Where it is; `None` in memory.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Folder(path) => Some(path),
            Place::Memory(_) => None,
        }
    }

    /// The file that keeps the state of the server called `instance`, whether or not it is there;
    /// `None` in memory.
    pub fn file_of(&self, instance: &str) -> Option<PathBuf> {
        self.path().map(|folder| Self::file(folder, instance))
    }

    /// Where the state of a server is.
    fn file(folder: &Path, instance: &str) -> PathBuf {
        let safe = |letter: char| letter.is_ascii_alphanumeric() || ".-".contains(letter);
        let name: String = instance.chars().filter(|c| safe(*c)).take(NAME_LETTERS).collect();
        folder.join(format!("{name}-{:016x}.state", stable_hash(instance.bytes())))
    }

    /// The state of a server; `None` when none was kept.
    fn read(&self, instance: &str) -> io::Result<Option<Vec<u8>>> {
        let folder = match &self.place {
            Place::Folder(folder) => folder,
            Place::Memory(states) => {
                return Ok(states.lock().unwrap_or_else(PoisonError::into_inner).remove(instance));
            }
        };
        let file = match File::open(Self::file(folder, instance)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn write(&self, instance: &str, state: Vec<u8>) -> Result<(), String> {
        match &self.place {
            Place::Folder(folder) => write(&Self::file(folder, instance), &state)
                .map_err(|error| format!("the state cannot be kept: {error}")),
            Place::Memory(states) => {
                let mut states = states.lock().unwrap_or_else(PoisonError::into_inner);
                states.insert(instance.to_owned(), state);
                Ok(())
            }
        }
    }
}

/// Whoever reads sees the old file or the new one. It is not forced to the disk, which for thousands of
/// servers takes minutes: one that a crash of the machine damaged is noticed when it is read, and then
/// learning begins anew.
fn write(path: &Path, state: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("writing");
    fs::write(&beside, state)?;
    fs::rename(&beside, path)
}

/// When a server is saved for the first time, in seconds from its first scrape: all at one time would
/// hold up everything else.
fn first_save(instance: &str) -> f64 {
    SAVE_SECONDS * (1.0 + (stable_hash(instance.bytes()) % 1000) as f64 / 1000.0)
}

/// The pipeline of a server whose state is kept: from time to time, and when it is dropped.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) pipeline: Pipeline,
    instance: String,
    folder: Option<StateFolder>,
    /// When it is to be saved next, and how many seconds that was ahead when it was set.
    due: Option<(Timestamp, f64)>,
    /// Whether something was judged since.
    moved: bool,
    /// Whether the last state could not be written, which is told once.
    failed: bool,
}

impl Kept {
    /// Goes on from what is kept, if there is any. Says why it does not, when it was there and cannot
    /// be used: it begins anew then.
    pub(crate) fn open(
        detector: Arc<Detector>,
        instance: &str,
        folder: Option<StateFolder>,
    ) -> Result<(Self, Option<String>), DetectorError> {
        let read = folder.as_ref().map(|folder| folder.read(instance)).transpose();
        let (state, mut trouble) = match read {
            Ok(state) => (state.flatten(), None),
            Err(error) => (None, Some(format!("the saved state cannot be read: {error}"))),
        };
        let resumed =
            state.map(|state| Pipeline::resume(Arc::clone(&detector), instance.to_owned(), &state));
        let pipeline = match resumed {
            Some(Ok(pipeline)) => pipeline,
            Some(Err(error @ DetectorError::State { .. })) => {
                trouble = Some(error.to_string());
                Pipeline::new(detector, instance.to_owned())?
            }
            Some(Err(error)) => return Err(error),
            None => Pipeline::new(detector, instance.to_owned())?,
        };
        let instance = instance.to_owned();
        Ok((Self { pipeline, instance, folder, due: None, moved: false, failed: false }, trouble))
    }

    /// Notes that a scrape was judged, and saves when it is time. Gives why that fails, the first
    /// time that it does.
    pub(crate) fn judged(&mut self, time: Timestamp) -> Option<String> {
        self.moved = true;
        let first = first_save(&self.instance);
        let (due, ahead) = *self.due.get_or_insert((later(time, first), first));
        // A clock that was set back starts the time anew.
        let left = due.seconds_since(time);
        if left > 0.0 && left <= ahead {
            return None;
        }
        self.due = Some((later(time, SAVE_SECONDS), SAVE_SECONDS));
        if self.folder.as_ref().is_none_or(|folder| folder.path().is_none()) {
            // What is in memory ends with the process: the end of this server is soon enough.
            return None;
        }
        let failure = self.save().err();
        let news = failure.is_some() && !self.failed;
        self.failed = failure.is_some();
        failure.filter(|_| news)
    }

    /// Goes on with another detector, after `recent` rows, and saves with the next scrape: what is
    /// kept belongs to the detector of before.
    pub(crate) fn succeed(
        &mut self,
        detector: Arc<Detector>,
        recent: &Frame,
    ) -> Result<(), DetectorError> {
        self.pipeline.succeed(detector, recent)?;
        self.save_soon();
        Ok(())
    }

    /// The same as a stream that has judged the history of this server.
    pub(crate) fn hand_over(
        &mut self,
        stream: Follower,
        recent: &Frame,
    ) -> Result<(), DetectorError> {
        self.pipeline.hand_over(stream, recent)?;
        self.save_soon();
        Ok(())
    }

    fn save_soon(&mut self) {
        self.due = self.due.map(|_| (Timestamp::from_millis(0), 0.0));
    }

    fn save(&mut self) -> Result<(), String> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let state = self.pipeline.state().map_err(|error| error.to_string())?;
        self.moved = false;
        folder.write(&self.instance, state)
    }
}

fn later(time: Timestamp, seconds: f64) -> Timestamp {
    Timestamp::from_millis(time.millis().saturating_add((seconds * 1000.0) as i64))
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.moved {
            // Nobody is left to tell.
            let _ = self.save();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use oddns::{FEATURES, TrainOptions};

    fn rows(n: i64, more: f32) -> Frame {
        let mut frame = Frame::new(FEATURES.iter().map(|f| f.name.to_owned()).collect());
        for t in 0..n {
            let value = |n: i64| more + ((t * 7 + n * 3) % 11) as f32 / 11.0;
            let row: Vec<f32> = (0..FEATURES.len() as i64).map(value).collect();
            frame.push(Timestamp::from_millis(t * 15_000), &row).unwrap();
        }
        frame
    }

    pub(crate) fn detector() -> Arc<Detector> {
        detector_of(&rows(200, 1.0))
    }

    fn detector_of(frame: &Frame) -> Arc<Detector> {
        let kind = "masked_without_network".parse().unwrap();
        let options = TrainOptions { detector: kind, ..TrainOptions::default() };
        Arc::new(Detector::fit(&[frame], &options, &mut |_| ControlFlow::Continue(())).unwrap())
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_state_is_kept_from_time_to_time_and_at_the_end() {
        let (detector, root) = (detector(), tempfile::tempdir().unwrap());
        let folder = StateFolder::open(&root.path().join("a/b")).unwrap();
        let open = || {
            let folder = Some(folder.clone());
            Kept::open(Arc::clone(&detector), "dns:9153/../x", folder).unwrap()
        };
        let (mut kept, trouble) = open();
        assert_eq!((trouble, folder.read("dns:9153/../x").unwrap()), (None, None));
        assert_eq!(kept.judged(at(0)), None);
        let first = first_save("dns:9153/../x") as i64;
        assert!((300..600).contains(&first), "{first}");
        assert_eq!(kept.judged(at(first - 1)), None);
        assert_eq!(folder.read("dns:9153/../x").unwrap(), None);
        assert_eq!(kept.judged(at(first + 1)), None);
        let file = StateFolder::file(folder.path().unwrap(), "dns:9153/../x");
        assert_eq!(file.parent(), Some(root.path().join("a/b").as_path()));
        fs::remove_file(&file).unwrap();
        kept.judged(at(first + 2));
        drop(kept);
        assert!(file.is_file());
        assert_eq!(open().1, None);

        fs::write(&file, b"oddns state 001\nrubbish").unwrap();
        let reason = open().1.unwrap();
        assert!(reason.starts_with("the saved state cannot be used: "), "{reason}");
    }

    #[test]
    fn what_is_kept_after_a_change_is_of_the_new_detector() {
        let (old, new) = (detector(), detector_of(&rows(300, 3.0)));
        let root = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(root.path()).unwrap();
        let open = |detector: &Arc<Detector>| {
            Kept::open(Arc::clone(detector), "dns", Some(folder.clone())).unwrap()
        };
        let (mut kept, _) = open(&old);
        kept.judged(at(0));
        kept.succeed(Arc::clone(&new), &rows(100, 3.0)).unwrap();
        assert_eq!(kept.judged(at(15)), None);
        assert_eq!(open(&new).1, None, "it was saved at once");
        assert!(open(&old).1.unwrap().contains("another model"));
    }

    #[test]
    fn in_memory_states_outlive_their_servers() {
        let states = StateFolder::in_memory();
        let open = || Kept::open(detector(), "dns", Some(states.clone())).unwrap();
        let (mut kept, _) = open();
        kept.judged(at(0));
        drop(kept);
        let (kept, trouble) = open();
        assert_eq!(trouble, None);
        assert!(states.read("dns").unwrap().is_none(), "it was taken out");
        drop(kept);
        assert!(states.read("dns").unwrap().is_none(), "nothing was learned since");
    }

    #[test]
    fn a_folder_that_is_gone_is_told_once() {
        let root = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(&root.path().join("states")).unwrap();
        let (mut kept, _) = Kept::open(detector(), "dns", Some(folder.clone())).unwrap();
        let path = folder.path().unwrap();
        fs::remove_dir(path).unwrap();
        kept.judged(at(0));
        assert!(kept.judged(at(700)).unwrap().starts_with("the state cannot be kept: "));
        assert_eq!(kept.judged(at(1400)), None);
        fs::write(path, "").unwrap();
        assert!(matches!(StateFolder::open(path), Err(ServeError::States { .. })));
    }
}
