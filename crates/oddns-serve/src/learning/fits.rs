//! How well the shared model fits each server, kept over a restart.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oddns::FitHistory;
use oddns_core::Timestamp;
use oddns_store::{StoreError, write_atomically};
use serde::{Deserialize, Serialize};

/// The file beside the generations of the shared model.
const FILE: &str = "fits.json";
/// Most bytes of it: some ten thousand servers.
const MAX_BYTES: u64 = 4 << 20;

/// Of one server.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Fit {
    /// The last that was found; `None` before.
    pub(super) misfit: Option<f32>,
    pub(super) history: FitHistory,
    /// When it was last there.
    pub(super) seen_millis: i64,
}

/// Of all servers, by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Fits {
    pub(super) servers: BTreeMap<String, Fit>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    misfit: Option<f32>,
    bad: u32,
    good: u32,
    seen_millis: i64,
}

impl Fits {
    /// What is beside the generations in `root`; nothing when there is nothing that can be read: then
    /// measuring begins anew, which costs some updates.
    pub(super) fn read(root: &Path) -> Self {
        let path = file(root);
        let is_small = fs::metadata(&path).is_ok_and(|about| about.len() <= MAX_BYTES);
        let text = fs::read(&path).ok().filter(|_| is_small).unwrap_or_default();
        let written: BTreeMap<String, Written> = serde_json::from_slice(&text).unwrap_or_default();
        let fit = |(instance, written): (String, Written)| {
            let Written { misfit, bad, good, seen_millis } = written;
            (instance, Fit { misfit, history: FitHistory { bad, good }, seen_millis })
        };
        Self { servers: written.into_iter().map(fit).collect() }
    }

    pub(super) fn write(&self, root: &Path) -> Result<(), StoreError> {
        let path = file(root);
        let written = |fit: &Fit| Written {
            misfit: fit.misfit.filter(|misfit| misfit.is_finite()),
            bad: fit.history.bad,
            good: fit.history.good,
            seen_millis: fit.seen_millis,
        };
        let all: BTreeMap<&String, Written> =
            self.servers.iter().map(|(instance, fit)| (instance, written(fit))).collect();
        let text = serde_json::to_vec_pretty(&all).map_err(|error| StoreError::Write {
            path: path.clone(),
            source: io::Error::other(error),
        })?;
        write_atomically(&path, &text)
    }

    /// Servers that have not been there for longer.
    pub(super) fn gone(&self, now: Timestamp, seconds: f64) -> Vec<String> {
        let silent = |fit: &Fit| now.seconds_since(Timestamp::from_millis(fit.seen_millis));
        let gone = self.servers.iter().filter(|(_, fit)| silent(fit) > seconds);
        gone.map(|(instance, _)| instance.clone()).collect()
    }
}

fn file(root: &Path) -> PathBuf {
    root.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_outlive_the_process_and_damage_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Fits::read(folder.path()), Fits::default());
        let mut fits = Fits::default();
        let history = FitHistory { bad: 1, good: 0 };
        fits.servers.insert("a:1".into(), Fit { misfit: Some(0.25), history, seen_millis: 5 });
        fits.servers.insert("b:1".into(), Fit::default());
        fits.write(folder.path()).unwrap();
        assert_eq!(Fits::read(folder.path()), fits);
        let now = Timestamp::from_millis(10_004);
        assert_eq!(fits.gone(now, 10.0), ["b:1"]);
        fs::write(folder.path().join(FILE), b"{\"a").unwrap();
        assert_eq!(Fits::read(folder.path()), Fits::default());
    }
}
