//! Where the CoreDNS is that a lab runs, and the one it can be upgraded to.

use std::path::{Path, PathBuf};

use oddns_sim::Release;

use crate::args::CoreDnsBinaries;
use crate::exit::BadInput;

/// A name without a slash is looked for in `PATH`.
const IN_PATH: &str = "coredns";

/// Paths of CoreDNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binaries {
    /// The one to run.
    pub(crate) usual: PathBuf,
    /// Another release, where there is one.
    pub(crate) other: Option<PathBuf>,
}

impl Binaries {
    /// The binaries for servers of a release: what was named, or what lies in the folder that was
    /// named.
    pub(crate) fn find(args: &CoreDnsBinaries, release: Release) -> Result<Self, BadInput> {
        let Some(folder) = &args.folder else {
            let usual = args.binary.clone().unwrap_or_else(|| IN_PATH.into());
            return Ok(Self { usual, other: None });
        };
        let usual = within(folder, release);
        if !usual.is_file() {
            return Err(BadInput(missing(folder, release)));
        }
        // The one that the simulator upgrades to, else the newest that is there.
        let others = [release.other()].into_iter().chain(Release::ALL.into_iter().rev());
        let other = others.filter(|other| *other != release).map(|other| within(folder, other));
        Ok(Self { usual, other: other.into_iter().find(|path| path.is_file()) })
    }
}

fn within(folder: &Path, release: Release) -> PathBuf {
    folder.join(format!("coredns-{release}")).join("coredns")
}

fn missing(folder: &Path, release: Release) -> String {
    let there: Vec<&str> = Release::ALL
        .into_iter()
        .filter(|other| within(folder, *other).is_file())
        .map(Release::as_str)
        .collect();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    format!(
        "`{}` has no CoreDNS {release}, of the releases there is {there}: build it with `GOBIN={} go \
         install github.com/coredns/coredns@v{release}`",
        folder.display(),
        folder.join(format!("coredns-{release}")).display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_found_in_the_folder_with_another_to_upgrade_to() {
        let folder = tempfile::tempdir().unwrap();
        let args =
            CoreDnsBinaries { binary: None, folder: Some(folder.path().to_owned()), release: None };
        let error = Binaries::find(&args, Release::V1_15_0).unwrap_err().to_string();
        assert!(error.contains("has no CoreDNS 1.15.0, of the releases there is none"), "{error}");
        let put = |release| {
            let path = within(folder.path(), release);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            path
        };
        let newest = put(Release::V1_15_0);
        let found = Binaries::find(&args, Release::V1_15_0).unwrap();
        assert_eq!(found, Binaries { usual: newest.clone(), other: None });
        let old = put(Release::V1_6_9);
        let found = Binaries::find(&args, Release::V1_15_0).unwrap();
        assert_eq!(found, Binaries { usual: newest, other: Some(old) });
    }

    #[test]
    fn what_is_named_is_taken_as_it_is() {
        let mut args = CoreDnsBinaries { binary: None, folder: None, release: None };
        let usual = |args: &CoreDnsBinaries| Binaries::find(args, Release::V1_6_9).unwrap().usual;
        assert_eq!(usual(&args), Path::new("coredns"));
        args.binary = Some("./mine".into());
        assert_eq!(usual(&args), Path::new("./mine"));
    }
}
