//! Prometheus's own parser of the exposition formats, as a program of a page around its Go module.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Cache, ensure, publish};
use crate::process;

/// Its sources by name; a copy lies beside the program and says what it was built from.
const SOURCES: [(&str, &str); 3] = [
    ("main.go", include_str!("../../textparse/main.go")),
    ("go.mod", include_str!("../../textparse/go.mod")),
    ("go.sum", include_str!("../../textparse/go.sum")),
];

/// Where the program lies once it is installed.
fn binary(cache: &Cache) -> PathBuf {
    cache.entry("textparse").join("textparse")
}

/// Builds it alone, for a task that needs no other peer.
pub(crate) fn require() -> Result<PathBuf> {
    let cache = Cache::open()?;
    let _lock = cache.lock()?;
    install(&cache)?;
    Ok(binary(&cache))
}

pub(super) fn install(cache: &Cache) -> Result<()> {
    ensure("Prometheus's parser", missing(cache), || {
        if !process::on_path("go") {
            bail!("`go` is not on `PATH`: install Go 1.26 or later");
        }
        publish(&cache.entry("textparse"), |scratch| {
            for (name, text) in SOURCES {
                fs::write(scratch.join(name), text)?;
            }
            build(scratch)
        })
    })
}

/// Why it has to be built, or nothing when it is what the sources say.
fn missing(cache: &Cache) -> Option<String> {
    let folder = cache.entry("textparse");
    if let Some(reason) = super::missing(&binary(cache)) {
        return Some(reason);
    }
    let differs = |(name, text): &(&str, &str)| {
        !fs::read_to_string(folder.join(name)).is_ok_and(|built| built == *text)
    };
    SOURCES.iter().any(differs).then(|| format!("`{}` is of other sources", folder.display()))
}

fn build(folder: &Path) -> Result<()> {
    let mut go = Command::new("go");
    go.args(["build", "-o", "textparse", "."]).current_dir(folder);
    // Flags of the user's own projects, such as `-mod=vendor`, would break the build.
    go.env("GOFLAGS", "-buildvcs=false").env_remove("GOOS").env_remove("GOARCH");
    process::run(&mut go).context("cannot build it from its Go module")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_the_sources_means_a_new_build() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        assert!(missing(&cache).unwrap().contains("is not there"));
        fs::create_dir(folder.path().join("textparse")).unwrap();
        for (name, text) in SOURCES {
            fs::write(folder.path().join("textparse").join(name), text).unwrap();
        }
        fs::write(binary(&cache), "").unwrap();
        assert_eq!(missing(&cache), None);
        fs::write(folder.path().join("textparse/main.go"), "package main").unwrap();
        assert!(missing(&cache).unwrap().contains("other sources"));
    }
}
