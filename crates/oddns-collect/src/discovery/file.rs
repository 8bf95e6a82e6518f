//! `file_sd_configs`: lists of targets in files that others write.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use super::{DiscoveryError, MAX_LIST_BYTES, Report, Reporter, flatten, parse_json, parse_yaml};
use crate::relabel::LabelMap;
use crate::secret::read_bounded;

/// Files are compared by what is in them, this often at least: notifications get lost on mounted
/// volumes and network file systems.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Lists of targets in JSON or YAML files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDiscovery {
    /// Files; the last part of a path may have one `*`.
    pub patterns: Vec<PathBuf>,
    /// The longest time until a change is seen; it is never more than 5 seconds.
    pub refresh_interval: Duration,
}

/// What a file held when it was last good.
struct Known {
    /// Hash of the text that was last read, good or not.
    hash: u64,
    targets: Vec<LabelMap>,
}

/// The files that there are, and whether the last look changed anything.
#[derive(Default)]
struct Files {
    known: BTreeMap<PathBuf, Known>,
    hasher: ahash::RandomState,
}

impl FileDiscovery {
    pub(crate) async fn follow(&self, reporter: Reporter) {
        let mut files = Files::default();
        let mut is_first = true;
        loop {
            let patterns = self.patterns.clone();
            let looked = tokio::task::spawn_blocking(move || {
                let (changed, errors) = files.look(&patterns);
                (files, changed, errors)
            });
            let Ok((back, changed, errors)) = looked.await else { return };
            files = back;
            let targets = (changed || is_first).then(|| files.targets());
            is_first = false;
            let is_news = targets.is_some() || !errors.is_empty();
            if is_news && !reporter.send(Report { targets, errors }).await {
                return;
            }
            sleep(self.refresh_interval.min(LOOK_EVERY)).await;
        }
    }
}

impl Files {
    /// Looks at every file; whether the targets are others now, and what went wrong. A file with
    /// a mistake keeps what it last had, and is told once.
    fn look(&mut self, patterns: &[PathBuf]) -> (bool, Vec<DiscoveryError>) {
        let mut errors = Vec::new();
        let mut present = Vec::new();
        for pattern in patterns {
            match matching_files(pattern) {
                Ok(files) => present.extend(files),
                Err(error) => errors.push(error),
            }
        }
        let n_before = self.known.len();
        if errors.is_empty() {
            self.known.retain(|path, _| present.contains(path));
        }
        let mut changed = self.known.len() != n_before;
        for path in present {
            match self.read(&path) {
                Ok(is_new) => changed |= is_new,
                Err(error) => errors.push(error),
            }
        }
        (changed, errors)
    }

    fn read(&mut self, path: &Path) -> Result<bool, DiscoveryError> {
        let text = text(path)?;
        let hash = self.hasher.hash_one(&text);
        if self.known.get(path).is_some_and(|known| known.hash == hash) {
            return Ok(false);
        }
        let known = self.known.entry(path.to_owned());
        let known = known.or_insert(Known { hash, targets: Vec::new() });
        known.hash = hash;
        known.targets = parse(path, &text)?;
        Ok(true)
    }

    fn targets(&self) -> Vec<LabelMap> {
        self.known.values().flat_map(|known| known.targets.iter().cloned()).collect()
    }
}

/// The targets that a file lists, to check it. An empty file lists none.
pub fn read_targets(path: &Path) -> Result<Vec<LabelMap>, DiscoveryError> {
    parse(path, &text(path)?)
}

fn text(path: &Path) -> Result<String, DiscoveryError> {
    read_bounded(path, MAX_LIST_BYTES as u64)
        .map_err(|source| DiscoveryError::Read { path: path.to_owned(), source })
}

fn parse(path: &Path, text: &str) -> Result<Vec<LabelMap>, DiscoveryError> {
    let place = path.display().to_string();
    let is_json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let groups = match is_json {
        true => parse_json(text.as_bytes(), &place)?,
        false => parse_yaml(text, &place)?,
    };
    Ok(flatten(groups, ("__meta_filepath", &place)))
}

/// The files that a pattern names now, sorted; a path without a `*` names itself, if it is there.
pub fn matching_files(pattern: &Path) -> Result<Vec<PathBuf>, DiscoveryError> {
    let name = pattern.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let Some((start, end)) = name.split_once('*') else {
        return Ok(if pattern.is_file() { vec![pattern.to_owned()] } else { Vec::new() });
    };
    let folder = pattern.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let failed = |source| DiscoveryError::Read { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let file = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        let matches =
            file.len() >= start.len() + end.len() && file.starts_with(start) && file.ends_with(end);
        if matches {
            found.push(folder.join(file));
        }
    }
    found.retain(|path| path.is_file());
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(files: &Files) -> Vec<String> {
        files.targets().iter().map(|labels| labels["__address__"].clone()).collect()
    }

    #[test]
    fn files_come_change_break_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let patterns = [path("dns-*.yml"), path("one.json")];
        let mut files = Files::default();
        assert!(!files.look(&patterns).0);
        std::fs::write(path("dns-a.yml"), "- targets: [a:1, b:1]\n  labels: {zone: eu}\n").unwrap();
        std::fs::write(path("one.json"), r#"[{"targets": ["c:1"]}]"#).unwrap();
        std::fs::write(path("other.yml"), "- targets: [x:1]").unwrap();
        let (changed, errors) = files.look(&patterns);
        assert!(changed && errors.is_empty(), "{errors:?}");
        assert_eq!(addresses(&files), ["a:1", "b:1", "c:1"]);
        assert_eq!(files.targets()[0]["zone"], "eu");
        let from = path("dns-a.yml").display().to_string();
        assert_eq!(files.targets()[0]["__meta_filepath"], from);
        assert!(!files.look(&patterns).0);
        // Broken: told once, and the last good list stays.
        std::fs::write(path("dns-a.yml"), "- targets: [a:1]\n  label: {}\n").unwrap();
        let (changed, errors) = files.look(&patterns);
        assert!(!changed);
        assert!(errors[0].to_string().contains("line 2, column 3"), "{}", errors[0]);
        assert_eq!(addresses(&files), ["a:1", "b:1", "c:1"]);
        assert!(files.look(&patterns).1.is_empty());
        std::fs::write(path("dns-a.yml"), "- targets: [a:2]").unwrap();
        std::fs::remove_file(path("one.json")).unwrap();
        assert!(files.look(&patterns).0);
        assert_eq!(addresses(&files), ["a:2"]);
    }
}
