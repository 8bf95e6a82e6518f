//! Cargo tools of `cargo xtask lint` and `cargo xtask fuzz`, built once.
//!
//! On two cores cargo-machete takes 70 seconds to build and cargo-deny 150. That is cheap enough
//! once per machine to prefer cargo-deny over a licence check of our own.

use std::path::PathBuf;

use anyhow::Result;

use super::{Cache, ensure, missing, publish, python};
use crate::process;

struct Tool {
    name: &'static str,
    version: &'static str,
}

const MACHETE: Tool = Tool { name: "cargo-machete", version: "0.9.2" };
const FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2" };
const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };

/// Where the programs of the lint group lie.
#[derive(Debug)]
pub(crate) struct LintTools {
    pub(crate) deny: PathBuf,
    pub(crate) machete: PathBuf,
    pub(crate) taplo: PathBuf,
    pub(crate) typos: PathBuf,
}

impl LintTools {
    pub(crate) fn of(cache: &Cache) -> Self {
        Self {
            deny: DENY.program(cache),
            machete: MACHETE.program(cache),
            taplo: python::LINT.program(cache, "taplo"),
            typos: python::LINT.program(cache, "typos"),
        }
    }
}

impl Tool {
    fn folder(&self, cache: &Cache) -> PathBuf {
        cache.entry(&format!("{}-{}", self.name, self.version))
    }

    fn program(&self, cache: &Cache) -> PathBuf {
        self.folder(cache).join("bin").join(self.name)
    }

    fn install(&self, cache: &Cache) -> Result<()> {
        let reason = missing(&self.program(cache)).map(|reason| reason + ", takes minutes");
        ensure(&format!("{} {}", self.name, self.version), reason, || {
            publish(&self.folder(cache), |scratch| {
                let mut cargo = process::cargo();
                cargo.args(["install", "--quiet", "--locked", "--no-track", "--version"]);
                cargo.args([self.version, self.name, "--root"]).arg(scratch);
                // Else the tools' own dependencies would fill the workspace's build folder.
                process::run(cargo.env_remove("CARGO_TARGET_DIR"))
            })
        })
    }
}

pub(super) fn install(cache: &Cache) -> Result<()> {
    MACHETE.install(cache)?;
    DENY.install(cache)
}

/// cargo-fuzz alone, for the task that needs no other tool.
pub(crate) fn require_cargo_fuzz() -> Result<PathBuf> {
    let cache = Cache::open()?;
    let _lock = cache.lock()?;
    FUZZ.install(&cache)?;
    Ok(FUZZ.program(&cache))
}
