//! Alertmanager from its Go module.

use std::process::Command;

use anyhow::Result;

use super::{Cache, ensure, missing, publish};
use crate::process;

const MODULE: &str = "github.com/prometheus/alertmanager/cmd/alertmanager";
const VERSION: &str = "0.28.1";

pub(super) fn install(cache: &Cache) -> Result<()> {
    let folder = cache.entry(&format!("alertmanager-{VERSION}"));
    let reason = missing(&folder.join("alertmanager")).map(|reason| reason + ", takes minutes");
    ensure(&format!("Alertmanager {VERSION}"), reason, || {
        publish(&folder, |scratch| {
            let mut go = Command::new("go");
            go.args(["install", &format!("{MODULE}@v{VERSION}")]);
            // Flags of the user's own projects, such as `-mod=vendor`, would break the build.
            go.env("GOBIN", scratch).env("GOFLAGS", "").env_remove("GOOS").env_remove("GOARCH");
            process::run(go.current_dir(scratch))
        })
    })
}
