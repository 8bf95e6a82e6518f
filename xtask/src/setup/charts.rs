//! Helm, and a check of manifests by the Go types of Kubernetes, both from their Go modules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Cache, ensure, publish};
use crate::process;

const FOLDER: &str = "charts";

/// Its sources by name; a copy lies beside the programs and says what they were built from.
const SOURCES: [(&str, &str); 3] = [
    ("main.go", include_str!("../../charts/main.go")),
    ("go.mod", include_str!("../../charts/go.mod")),
    ("go.sum", include_str!("../../charts/go.sum")),
];

/// What is built: the name of the program, and the package.
const PROGRAMS: [(&str, &str); 2] = [("helm", "helm.sh/helm/v3/cmd/helm"), ("manifests", ".")];

pub(super) fn install(cache: &Cache) -> Result<()> {
    let reason = missing(cache).map(|reason| reason + ", takes minutes");
    ensure("Helm", reason, || {
        if !process::on_path("go") {
            bail!("`go` is not on `PATH`: install Go 1.26 or later");
        }
        publish(&cache.entry(FOLDER), |scratch| {
            for (name, text) in SOURCES {
                fs::write(scratch.join(name), text)?;
            }
            PROGRAMS.iter().try_for_each(|(name, package)| build(scratch, name, package))
        })
    })
}

/// Why they have to be built, or nothing when they are what the sources say.
fn missing(cache: &Cache) -> Option<String> {
    let folder = cache.entry(FOLDER);
    let program = |(name, _): &(&str, &str)| -> PathBuf { folder.join(name) };
    if let Some(reason) = PROGRAMS.iter().map(program).find_map(|path| super::missing(&path)) {
        return Some(reason);
    }
    let differs = |(name, text): &(&str, &str)| {
        !fs::read_to_string(folder.join(name)).is_ok_and(|built| built == *text)
    };
    SOURCES.iter().any(differs).then(|| format!("`{}` is of other sources", folder.display()))
}

fn build(folder: &Path, name: &str, package: &str) -> Result<()> {
    let mut go = Command::new("go");
    go.args(["build", "-trimpath", "-ldflags=-s -w", "-o", name, package]).current_dir(folder);
    // Flags of the user's own projects, such as `-mod=vendor`, would break the build.
    go.env("GOFLAGS", "-buildvcs=false").env("CGO_ENABLED", "0");
    go.env_remove("GOOS").env_remove("GOARCH");
    process::run(&mut go).with_context(|| format!("cannot build `{package}` from its Go module"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_built_of_other_sources_is_built_again() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path());
        assert!(missing(&cache).is_some());
        let folder = cache.entry(FOLDER);
        fs::create_dir(&folder).unwrap();
        for (name, _) in PROGRAMS {
            fs::write(folder.join(name), "").unwrap();
        }
        for (name, text) in SOURCES {
            fs::write(folder.join(name), text).unwrap();
        }
        assert_eq!(missing(&cache), None);
        fs::write(folder.join("go.mod"), "module old\n").unwrap();
        assert!(missing(&cache).unwrap().ends_with("is of other sources"));
    }
}
