//! The Debian package.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::{has, program, said, xtask};

/// A package, and what it unpacks to.
struct Unpacked {
    folder: tempfile::TempDir,
    package: PathBuf,
}

impl Unpacked {
    fn make() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let told = xtask(&["deb", "--compression=gzip"], &program::oddns(false)?, folder.path())?;
        let package = PathBuf::from(told.trim());
        said(Command::new("dpkg-deb").arg("-x").arg(&package).arg(folder.path().join("root")))?;
        said(Command::new("dpkg-deb").arg("-e").arg(&package).arg(folder.path().join("control")))?;
        Ok(Self { folder, package })
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn control(&self, name: &str) -> PathBuf {
        self.folder.path().join("control").join(name)
    }

    fn field(&self, name: &str) -> Result<String> {
        let field = said(Command::new("dpkg-deb").arg("-f").arg(&self.package).arg(name))?;
        Ok(field.trim().to_owned())
    }
}

#[test]
fn the_package_holds_what_a_server_needs() -> Result<()> {
    if !has("the_package_holds_what_a_server_needs", "dpkg-deb") {
        return Ok(());
    }
    let package = Unpacked::make()?;
    let root = package.root();
    for file in [
        "usr/lib/systemd/system/oddns.service",
        "usr/lib/sysusers.d/oddns.conf",
        "usr/share/man/man1/oddns.1.gz",
        "usr/share/man/man1/oddns-watch.1.gz",
        "usr/share/bash-completion/completions/oddns",
        "usr/share/doc/oddns/copyright",
        "usr/share/oddns/prometheus/oddns.rules.yml",
        "usr/share/oddns/grafana/oddns.json",
    ] {
        assert!(root.join(file).is_file(), "{file}");
    }
    let conffiles = fs::read_to_string(package.control("conffiles"))?;
    assert_eq!(conffiles, "/etc/default/oddns\n/etc/oddns/oddns.yml\n");
    assert!(conffiles.lines().all(|file| root.join(&file[1..]).is_file()));
    let program = root.join("usr/bin/oddns");
    assert_eq!(fs::metadata(&program)?.permissions().mode() & 0o7777, 0o755);
    let version = said(Command::new(&program).arg("--version"))?;
    assert_eq!(version.trim(), format!("oddns {}", package.field("Version")?));
    let config = root.join("etc/oddns/oddns.yml");
    said(Command::new(&program).arg("check-config").arg(config))?;
    said(Command::new("md5sum").arg("-c").arg(package.control("md5sums")).current_dir(&root))?;
    assert!(package.field("Installed-Size")?.parse::<u64>()? > 1000);
    Ok(())
}

#[test]
fn its_scripts_are_scripts_and_it_makes_its_user() -> Result<()> {
    let test = "its_scripts_are_scripts_and_it_makes_its_user";
    if !has(test, "dpkg-deb") || !has(test, "systemd-sysusers") {
        return Ok(());
    }
    let package = Unpacked::make()?;
    for script in ["postinst", "prerm", "postrm"] {
        let script = package.control(script);
        assert_eq!(fs::metadata(&script)?.permissions().mode() & 0o111, 0o111);
        said(Command::new("sh").arg("-n").arg(&script))?;
    }
    let root = package.root();
    said(Command::new("systemd-sysusers").arg("--root").arg(&root).arg("oddns.conf"))?;
    let users = fs::read_to_string(root.join("etc/passwd"))?;
    let user: Vec<&str> = users.trim().split(':').collect();
    assert_eq!((user[0], user[5]), ("oddns", "/var/lib/oddns"));
    let number: u32 = user[2].parse()?;
    assert!(number > 0 && number < 1000, "{users}");
    assert!(user[6].ends_with("nologin"), "{users}");
    Ok(())
}

#[test]
fn the_same_input_makes_the_same_package() -> Result<()> {
    if !has("the_same_input_makes_the_same_package", "dpkg-deb") {
        return Ok(());
    }
    let (one, other) = (Unpacked::make()?, Unpacked::make()?);
    assert!(fs::read(&one.package)? == fs::read(&other.package)?);
    Ok(())
}

/// Tags that hold for the program of tests and not for the one that is shipped, which is static.
const OF_TESTS: &str = "missing-dependency-on-libc,mismatched-override";

#[test]
fn lintian_has_nothing_to_say() -> Result<()> {
    if !has("lintian_has_nothing_to_say", "lintian") {
        return Ok(());
    }
    let package = Unpacked::make()?;
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning", "--suppress-tags", OF_TESTS]);
    said(lintian.arg(&package.package))?;
    Ok(())
}

#[test]
fn scripts_end_at_the_first_failure() -> Result<()> {
    for script in ["postinst", "prerm", "postrm"] {
        let path = program::root().join("packaging/debian").join(script);
        let text = fs::read_to_string(&path)?;
        assert!(text.starts_with("#!/bin/sh\nset -e\n"), "{}", Path::new(script).display());
    }
    Ok(())
}
