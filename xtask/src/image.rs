//! The container image out of the last stage of `packaging/Containerfile`, around a program built here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;
use crate::{process, static_binary};

/// Where Debian and others keep the certificates that are trusted.
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";

/// Flags of `cargo xtask image`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The archive to write, as `podman load` takes it; `packages/oddns-image.tar` in the build folder when
    /// left out.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The static program; built when left out.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Builds the program where none is named, and the image from it, with buildah and without a registry.
///
/// # Errors
/// When the program does not build, or buildah is not there or fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !process::on_path("buildah") {
        bail!(
            "`buildah` is not on `PATH`: install it, or build `packaging/Containerfile` otherwise"
        );
    }
    let workspace = Workspace::find()?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => static_binary::build(&workspace)?,
    };
    let out =
        options.out.clone().unwrap_or_else(|| workspace.target.join("packages/oddns-image.tar"));
    let scratch = tempfile::tempdir().context("cannot make a scratch folder")?;
    stage(&workspace.root, &binary, &scratch.path().join("image"))?;
    build(&workspace.root, scratch.path(), &out)?;
    println!("{}", out.display());
    Ok(())
}

/// Lays out what the first stage of the Containerfile makes.
fn stage(root: &Path, binary: &Path, image: &Path) -> Result<()> {
    for folder in ["usr/bin", "etc/ssl/certs", "etc/oddns", "var/lib/oddns"] {
        fs::create_dir_all(image.join(folder))?;
    }
    fs::copy(binary, image.join("usr/bin/oddns"))
        .with_context(|| format!("cannot copy `{}`", binary.display()))?;
    let trusted = Path::new("/").join(CERTIFICATES);
    if trusted.is_file() {
        fs::copy(trusted, image.join(CERTIFICATES))?;
    }
    for (from, to) in [
        ("packaging/container/oddns.yml", "oddns.yml"),
        ("LICENSE", "LICENSE"),
        ("NOTICE", "NOTICE"),
    ] {
        fs::copy(root.join(from), image.join("etc/oddns").join(to))
            .with_context(|| format!("cannot copy `{from}`"))?;
    }
    Ok(())
}

/// Runs the last stage only, with the staged files in the place of the first one.
fn build(root: &Path, scratch: &Path, out: &Path) -> Result<()> {
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder)?;
    }
    let containerfile = scratch.join("Containerfile");
    let text = fs::read_to_string(root.join("packaging/Containerfile"))?;
    fs::write(&containerfile, last_stage(&text)?)?;
    let named = "localhost/oddns";
    let store = scratch.join("store");
    let mut bud = buildah(&store, scratch);
    bud.args(["build", "--isolation", "chroot", "--format", "docker", "--quiet", "--tag", named]);
    bud.arg("--build-context").arg(format!("build={}", scratch.display()));
    process::output(bud.arg("--file").arg(&containerfile).arg(scratch))?;
    let mut push = buildah(&store, scratch);
    process::output(push.args([
        "push",
        "--quiet",
        named,
        &format!("docker-archive:{}", out.display()),
    ]))?;
    Ok(())
}

/// With its storage in a scratch folder: nothing is left behind, and nothing of before is used.
fn buildah(store: &Path, scratch: &Path) -> Command {
    let mut command = Command::new("buildah");
    command.arg("--storage-driver").arg("vfs").arg("--root").arg(store.join("root"));
    command.arg("--runroot").arg(store.join("run")).env("TMPDIR", scratch);
    command
}

/// The text from the last `FROM` on.
fn last_stage(containerfile: &str) -> Result<&str> {
    let at = containerfile.rfind("\nFROM ").context("the Containerfile has one stage only")?;
    Ok(&containerfile[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stage_begins_with_its_from() {
        assert_eq!(
            last_stage("FROM a AS b\nRUN c\n\nFROM scratch\nUSER 1\n").unwrap(),
            "FROM scratch\nUSER 1\n"
        );
        assert!(last_stage("FROM a\n").is_err());
    }
}
