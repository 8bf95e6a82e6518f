//! The Debian package: what is in it is a table, `dpkg-deb` packs it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;
use crate::{process, static_binary};

/// Flags of `cargo xtask deb`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The folder to write the package to; `packages` in the build folder when left out.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The program; built static when left out.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// How `dpkg-deb` compresses it.
    #[arg(long, value_name = "NAME", default_value = "xz")]
    compression: String,
}

/// A file of the package that lies in the repository.
struct Shipped {
    from: &'static str,
    to: &'static str,
    mode: u32,
}

const fn shipped(from: &'static str, to: &'static str) -> Shipped {
    Shipped { from, to, mode: 0o644 }
}

const fn script(from: &'static str, to: &'static str) -> Shipped {
    Shipped { from, to, mode: 0o755 }
}

const FILES: &[Shipped] = &[
    shipped("packaging/systemd/oddns.service", "usr/lib/systemd/system/oddns.service"),
    shipped("packaging/systemd/oddns.sysusers", "usr/lib/sysusers.d/oddns.conf"),
    shipped("packaging/debian/oddns.yml", "etc/oddns/oddns.yml"),
    shipped("packaging/debian/default", "etc/default/oddns"),
    shipped("packaging/debian/copyright", "usr/share/doc/oddns/copyright"),
    shipped("packaging/debian/changelog", "usr/share/doc/oddns/changelog"),
    shipped("CHANGELOG.md", "usr/share/doc/oddns/CHANGELOG.md"),
    shipped("NOTICE", "usr/share/doc/oddns/NOTICE"),
    shipped("packaging/debian/lintian-overrides", "usr/share/lintian/overrides/oddns"),
    shipped("packaging/prometheus/oddns.rules.yml", "usr/share/oddns/prometheus/oddns.rules.yml"),
    shipped("packaging/grafana/oddns.json", "usr/share/oddns/grafana/oddns.json"),
    shipped("packaging/debian/control", "DEBIAN/control"),
    shipped("packaging/debian/conffiles", "DEBIAN/conffiles"),
    script("packaging/debian/postinst", "DEBIAN/postinst"),
    script("packaging/debian/prerm", "DEBIAN/prerm"),
    script("packaging/debian/postrm", "DEBIAN/postrm"),
];

/// Where the shells of Debian look for completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/oddns"),
    ("zsh", "usr/share/zsh/vendor-completions/_oddns"),
    ("fish", "usr/share/fish/vendor_completions.d/oddns.fish"),
];

/// Files that policy wants compressed; folders mean all that lies in them.
const COMPRESSED: [&str; 3] =
    ["usr/share/man/man1", "usr/share/doc/oddns/changelog", "usr/share/doc/oddns/CHANGELOG.md"];

/// Builds the program where none is named, and packs it.
///
/// # Errors
/// When it does not build, a file is not there, or a program of Debian that packs is missing.
pub(crate) fn run(options: &Options) -> Result<()> {
    for program in ["dpkg-deb", "strip", "gzip"] {
        if !process::on_path(program) {
            bail!("`{program}` is not on `PATH`: install `dpkg`, `binutils` and `gzip`");
        }
    }
    let workspace = Workspace::find()?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => static_binary::build(&workspace)?,
    };
    let out = options.out.clone().unwrap_or_else(|| workspace.target.join("packages"));
    fs::create_dir_all(&out)
        .with_context(|| format!("cannot create folder `{}`", out.display()))?;
    let package = pack(&workspace, &binary, &out, &options.compression)?;
    println!("{}", package.display());
    Ok(())
}

fn pack(workspace: &Workspace, binary: &Path, out: &Path, compression: &str) -> Result<PathBuf> {
    let scratch = tempfile::tempdir().context("cannot make a scratch folder")?;
    let root = scratch.path().join("oddns");
    install_program(&root, binary)?;
    let version = version(binary)?;
    let architecture = process::output(Command::new("dpkg").arg("--print-architecture"))?;
    let marks = [("@VERSION@", version.as_str()), ("@ARCHITECTURE@", architecture.trim())];
    for file in FILES {
        install(&root, file, &workspace.root, &marks)?;
    }
    made_by_program(&root, binary)?;
    for path in COMPRESSED {
        compress(&root.join(path))?;
    }
    set_size(&root)?;
    sum(&root)?;
    let package = out.join(format!("oddns_{version}_{}.deb", architecture.trim()));
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.args(["--root-owner-group", &format!("-Z{compression}"), "--build"]);
    dpkg.arg(&root).arg(&package);
    process::run(dpkg.stdout(std::process::Stdio::null()))?;
    Ok(package)
}

fn install_program(root: &Path, binary: &Path) -> Result<()> {
    let target = root.join("usr/bin/oddns");
    place(&target, &fs::read(binary).with_context(|| format!("no `{}`", binary.display()))?)?;
    fs::set_permissions(&target, fs::Permissions::from_mode(0o755))?;
    process::run(Command::new("strip").arg("--strip-unneeded").arg(&target))
}

fn version(binary: &Path) -> Result<String> {
    let told = process::output(Command::new(binary).arg("--version"))?;
    let version =
        told.trim().strip_prefix("oddns ").context("`oddns --version` says no version")?;
    Ok(version.to_owned())
}

fn install(root: &Path, file: &Shipped, source: &Path, marks: &[(&str, &str)]) -> Result<()> {
    let text = fs::read_to_string(source.join(file.from))
        .with_context(|| format!("cannot read `{}`", file.from))?;
    let text = marks.iter().fold(text, |text, (mark, value)| text.replace(mark, value));
    let target = root.join(file.to);
    place(&target, text.as_bytes())?;
    Ok(fs::set_permissions(&target, fs::Permissions::from_mode(file.mode))?)
}

/// Completions and manual pages come from the program itself.
fn made_by_program(root: &Path, binary: &Path) -> Result<()> {
    for (shell, to) in COMPLETIONS {
        let script = process::output(Command::new(binary).args(["completions", shell]))?;
        place(&root.join(to), script.as_bytes())?;
    }
    process::output(Command::new(binary).arg("man").arg(root.join("usr/share/man/man1")))?;
    Ok(())
}

fn place(target: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(target, bytes).with_context(|| format!("cannot write `{}`", target.display()))
}

fn compress(path: &Path) -> Result<()> {
    let mut gzip = Command::new("gzip");
    // Without name and time, so that the same input packs to the same bytes.
    process::run(gzip.args(["-9", "-n", "-r"]).arg(path))
}

/// Tells the installed size, in KiB.
fn set_size(root: &Path) -> Result<()> {
    let n_bytes: u64 = files(root)?.iter().map(|(_, n_bytes)| n_bytes).sum();
    let control = root.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    Ok(fs::write(control, text.replace("@SIZE@", &n_bytes.div_ceil(1024).to_string()))?)
}

fn sum(root: &Path) -> Result<()> {
    let mut md5sum = Command::new("md5sum");
    let names: Vec<String> = files(root)?.into_iter().map(|(name, _)| name).collect();
    let sums = process::output(md5sum.args(names).current_dir(root))?;
    Ok(fs::write(root.join("DEBIAN/md5sums"), sums)?)
}

/// Names relative to `root` and sizes of all files but those for dpkg, sorted.
fn files(root: &Path) -> Result<Vec<(String, u64)>> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                let path = entry.path();
                let name = path.strip_prefix(root)?.display().to_string();
                found.push((name, entry.metadata()?.len()));
            }
        }
    }
    found.retain(|(name, _)| !name.starts_with("DEBIAN/"));
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_filled_and_modes_are_set() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "version @VERSION@\n").unwrap();
        let file = script("a", "b/c");
        install(folder.path(), &file, folder.path(), &[("@VERSION@", "1.2")]).unwrap();
        let made = folder.path().join("b/c");
        assert_eq!(fs::read_to_string(&made).unwrap(), "version 1.2\n");
        assert_eq!(fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o755);
    }

    #[test]
    fn what_is_for_dpkg_is_not_among_the_files() {
        let root = tempfile::tempdir().unwrap();
        place(&root.path().join("DEBIAN/control"), b"x").unwrap();
        place(&root.path().join("usr/bin/oddns"), b"four").unwrap();
        assert_eq!(files(root.path()).unwrap(), [("usr/bin/oddns".to_owned(), 4)]);
    }
}
