//! The files that a configuration names.

use std::path::{Path, PathBuf};

use oddns_collect::{matching_files, read_targets};
use serde_saphyr::Spanned;

use super::mistake::ConfigError;

/// What a file is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The model.
    Model,
    /// A password, token, certificate or key; or a kubeconfig.
    Secret,
    /// A list of targets; may be a pattern.
    Targets,
}

/// A file and where it is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedFile {
    key: &'static str,
    kind: Kind,
    path: PathBuf,
    line: u64,
    column: u64,
}

/// Gathers the files of a configuration, relative ones to its folder.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    pub(super) named: Vec<NamedFile>,
}

impl Files {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), named: Vec::new() }
    }

    /// The path to use for a written folder, which may be made later.
    pub(super) fn folder(&self, written: &Spanned<PathBuf>) -> PathBuf {
        self.folder.join(&written.value)
    }

    /// The path to use for a written one.
    pub(super) fn name(
        &mut self,
        key: &'static str,
        kind: Kind,
        written: &Spanned<PathBuf>,
    ) -> PathBuf {
        let path = self.folder.join(&written.value);
        let (line, column) = (written.referenced.line(), written.referenced.column());
        self.named.push(NamedFile { key, kind, path: path.clone(), line, column });
        path
    }
}

/// Looks at every file: whether it is there and can be read, and for a list of targets whether it
/// is one. A list that does not exist yet is a warning, for another program may write it later, and
/// so is the model, for the command line may name another.
pub(super) fn check(named: &[NamedFile]) -> Result<Vec<ConfigError>, Vec<ConfigError>> {
    let (mut warnings, mut mistakes) = (Vec::new(), Vec::new());
    for file in named {
        let found = match file.kind {
            Kind::Secret => file.open(),
            Kind::Model => {
                warnings.extend(file.open().err().map(|message| file.mistake(message)));
                Ok(())
            }
            Kind::Targets => file.read_lists(&mut warnings),
        };
        mistakes.extend(found.err().map(|message| file.mistake(message)));
    }
    if mistakes.is_empty() { Ok(warnings) } else { Err(mistakes) }
}

impl NamedFile {
    fn mistake(&self, message: String) -> ConfigError {
        ConfigError { line: self.line, column: self.column, message }
    }

    fn open(&self) -> Result<(), String> {
        let opened = std::fs::File::open(&self.path).and_then(|file| file.metadata());
        match opened {
            Ok(metadata) if metadata.is_file() => Ok(()),
            Ok(_) => Err(format!("`{}` of `{}` is no file", self.path.display(), self.key)),
            Err(error) => {
                Err(format!("cannot read `{}` of `{}`: {error}", self.path.display(), self.key))
            }
        }
    }

    fn read_lists(&self, warnings: &mut Vec<ConfigError>) -> Result<(), String> {
        let files = matching_files(&self.path).map_err(|error| told(&error))?;
        if files.is_empty() {
            let message = format!("no file `{}` is there yet", self.path.display());
            warnings.push(self.mistake(message));
        }
        for file in files {
            read_targets(&file).map_err(|error| told(&error))?;
        }
        Ok(())
    }
}

/// An error with its cause.
fn told(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}
