//! A sender of remote write 2.0 made of Prometheus's own client library.

use std::process::Command;

use anyhow::Result;

use super::{Cache, ensure, missing, publish};
use crate::process;
use crate::workspace::Workspace;

/// Rises with the program, since the cache is shared by checkouts of any age.
const ENTRY: &str = "remote-write-sender-1";

pub(super) fn install(cache: &Cache) -> Result<()> {
    let folder = cache.entry(ENTRY);
    ensure("remote-write sender", missing(&folder.join("sender")), || {
        let source = Workspace::find()?.root.join("crates/oddns-serve/tests/sender");
        publish(&folder, |scratch| {
            let mut go = Command::new("go");
            go.args(["build", "-buildvcs=false", "-o"]).arg(scratch.join("sender")).arg(".");
            go.env("GOFLAGS", "").env_remove("GOOS").env_remove("GOARCH");
            process::run(go.current_dir(source))
        })
    })
}
