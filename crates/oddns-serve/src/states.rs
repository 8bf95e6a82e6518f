//! What was learned since training, kept over a restart: one file a server.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oddns::{Detector, DetectorError, Pipeline};
use oddns_core::{Timestamp, stable_hash};

use crate::error::ServeError;

/// Most bytes of a state; ours have tens of KiB.
const MAX_BYTES: u64 = 16 << 20;
/// Seconds of scrapes between two states.
const SAVE_SECONDS: f64 = 300.0;
/// Letters of a server's name in the name of its file.
const NAME_LETTERS: usize = 64;

/// A folder of states. Nobody else should write there.
#[derive(Debug, Clone)]
pub struct StateFolder {
    path: PathBuf,
}

impl StateFolder {
    /// Uses the folder at `path`, which is made where it is missing.
    pub fn open(path: &Path) -> Result<Self, ServeError> {
        let made = fs::create_dir_all(path);
        made.map_err(|source| ServeError::States { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned() })
    }

    /// Where the state of a server is.
    fn file(&self, instance: &str) -> PathBuf {
        let safe = |letter: char| letter.is_ascii_alphanumeric() || ".-".contains(letter);
        let name: String = instance.chars().filter(|c| safe(*c)).take(NAME_LETTERS).collect();
        self.path.join(format!("{name}-{:016x}.state", stable_hash(instance.bytes())))
    }

    /// The state of a server; `None` when none was kept.
    fn read(&self, instance: &str) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.file(instance)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }
}

/// The pipeline of a server whose state is kept: from time to time, and when it is dropped.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) pipeline: Pipeline,
    instance: String,
    folder: Option<StateFolder>,
    saved: Option<Timestamp>,
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
        Ok((Self { pipeline, instance, folder, saved: None, moved: false, failed: false }, trouble))
    }

    /// Notes that a scrape was judged, and saves when it is time. Gives why that fails, the first
    /// time that it does.
    pub(crate) fn judged(&mut self, time: Timestamp) -> Option<String> {
        self.moved = true;
        let saved = *self.saved.get_or_insert(time);
        // A clock that was set back starts the time anew.
        if (0.0..SAVE_SECONDS).contains(&time.seconds_since(saved)) {
            return None;
        }
        self.saved = Some(time);
        let failure = self.save().err();
        let news = failure.is_some() && !self.failed;
        self.failed = failure.is_some();
        failure.filter(|_| news)
    }

    fn save(&mut self) -> Result<(), String> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let state = self.pipeline.state().map_err(|error| error.to_string())?;
        let written = oddns_store::write_atomically(&folder.file(&self.instance), &state);
        self.moved = false;
        written.map_err(|error| format!("the state cannot be kept: {error}"))
    }
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
mod tests {
    use std::ops::ControlFlow;

    use oddns::{FEATURES, TrainOptions};
    use oddns_core::Frame;

    use super::*;

    fn detector() -> Arc<Detector> {
        let mut frame = Frame::new(FEATURES.iter().map(|f| f.name.to_owned()).collect());
        for t in 0..200_i64 {
            let value = |n: i64| 1.0 + ((t * 7 + n * 3) % 11) as f32 / 11.0;
            let row: Vec<f32> = (0..FEATURES.len() as i64).map(value).collect();
            frame.push(Timestamp::from_millis(t * 15_000), &row).unwrap();
        }
        let kind = "masked_without_network".parse().unwrap();
        let options = TrainOptions { detector: kind, ..TrainOptions::default() };
        Arc::new(Detector::fit(&[&frame], &options, &mut |_| ControlFlow::Continue(())).unwrap())
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
        assert_eq!(kept.judged(at(299)), None);
        assert_eq!(folder.read("dns:9153/../x").unwrap(), None);
        assert_eq!(kept.judged(at(300)), None);
        let file = folder.file("dns:9153/../x");
        assert_eq!(file.parent(), Some(root.path().join("a/b").as_path()));
        fs::remove_file(&file).unwrap();
        kept.judged(at(301));
        drop(kept);
        assert!(file.is_file());
        assert_eq!(open().1, None);

        fs::write(&file, b"oddns state 001\nrubbish").unwrap();
        let reason = open().1.unwrap();
        assert!(reason.starts_with("the saved state cannot be used: "), "{reason}");
    }

    #[test]
    fn a_folder_that_is_gone_is_told_once() {
        let root = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(&root.path().join("states")).unwrap();
        let (mut kept, _) = Kept::open(detector(), "dns", Some(folder.clone())).unwrap();
        fs::remove_dir(&folder.path).unwrap();
        kept.judged(at(0));
        assert!(kept.judged(at(400)).unwrap().starts_with("the state cannot be kept: "));
        assert_eq!(kept.judged(at(800)), None);
        fs::write(&folder.path, "").unwrap();
        assert!(matches!(StateFolder::open(&folder.path), Err(ServeError::States { .. })));
    }
}
