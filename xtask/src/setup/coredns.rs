//! CoreDNS from its Go module, one folder for each version.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use super::{Cache, ensure, missing, publish};
use crate::process;

/// The version that everything but the bridging of metric names is tested with.
pub(crate) const CURRENT: &str = "1.15.0";

/// The current version and the two older generations of metric names, see the catalogue in
/// `oddns-features`.
pub(super) const VERSIONS: [&str; 3] = [CURRENT, "1.10.1", "1.6.9"];

/// Those and the releases that brought further changes of names, which `oddns lab` can run.
pub(super) const RELEASES: [&str; 5] = [CURRENT, "1.11.4", "1.10.1", "1.8.4", "1.6.9"];

/// Where the server of `version` lies once it is installed.
pub(crate) fn binary(cache: &Cache, version: &str) -> PathBuf {
    cache.entry(&format!("coredns-{version}")).join("coredns")
}

/// Builds one version alone, for a task that needs no other peer.
pub(crate) fn require(version: &str) -> Result<PathBuf> {
    let cache = Cache::open()?;
    let _lock = cache.lock()?;
    check_go(&cache, &[version])?;
    install(&cache, version)?;
    Ok(binary(&cache, version))
}

/// Says early, and only if one of `versions` has to be built, that Go is missing.
pub(super) fn check_go(cache: &Cache, versions: &[&str]) -> Result<()> {
    let all_built = versions.iter().all(|version| binary(cache, version).is_file());
    if !all_built && !process::on_path("go") {
        bail!("`go` is not on `PATH`: install Go 1.26 or later, CoreDNS is built from its module");
    }
    Ok(())
}

pub(super) fn install(cache: &Cache, version: &str) -> Result<()> {
    let reason = missing(&binary(cache, version)).map(|reason| reason + ", takes minutes");
    ensure(&format!("CoreDNS {version}"), reason, || {
        publish(&cache.entry(&format!("coredns-{version}")), |scratch| {
            let mut go = Command::new("go");
            go.args(["install", &format!("github.com/coredns/coredns@v{version}")]);
            // Flags of the user's own projects, such as `-mod=vendor`, would break the build.
            go.env("GOBIN", scratch).env("GOFLAGS", "").env_remove("GOOS").env_remove("GOARCH");
            process::run(go.current_dir(scratch))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_version_in_the_cache_needs_no_build() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        for version in VERSIONS {
            fs::create_dir(folder.path().join(format!("coredns-{version}"))).unwrap();
            fs::write(binary(&cache, version), "").unwrap();
            install(&cache, version).unwrap();
        }
        check_go(&cache, &VERSIONS).unwrap();
    }
}
