//! The unit of systemd, as systemd sees it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{has, program, said};

/// Most exposure that `systemd-analyze security` may find, in tenths; 100 is a unit without any
/// protection. What is left: it reaches the network.
const MOST_EXPOSURE: &str = "15";

/// A root folder in which the unit and its program lie where they are installed.
fn installed(folder: &Path) -> Result<()> {
    let units = folder.join("usr/lib/systemd/system");
    fs::create_dir_all(&units)?;
    let unit = program::root().join("packaging/systemd/oddns.service");
    fs::copy(unit, units.join("oddns.service"))?;
    for program in ["usr/bin", "bin"].map(|bin| folder.join(bin)) {
        fs::create_dir_all(&program)?;
        for name in ["oddns", "kill"].map(|name| program.join(name)) {
            fs::write(&name, "#!/bin/sh\n")?;
            fs::set_permissions(&name, fs::Permissions::from_mode(0o755))?;
        }
    }
    // What it waits for.
    for unit in ["network-online", "sysinit", "basic", "shutdown", "multi-user", "network"] {
        fs::write(units.join(format!("{unit}.target")), "[Unit]\nDescription=x\n")?;
    }
    for slice in ["-", "system"] {
        fs::write(units.join(format!("{slice}.slice")), "[Unit]\nDescription=x\n")?;
    }
    Ok(())
}

#[test]
fn systemd_finds_the_unit_good_and_locked_in() -> Result<()> {
    if !has("systemd_finds_the_unit_good_and_locked_in", "systemd-analyze") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    installed(folder.path())?;
    let analyze = |words: &[&str]| {
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(words).arg("--root").arg(folder.path()).arg("oddns.service");
        analyze
    };
    let verified = analyze(&["verify", "--man=no"]).output()?;
    let complaints = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && !complaints.contains("oddns"), "{complaints}");
    let threshold = ["security", "--offline=true", "--no-pager", "--threshold", MOST_EXPOSURE];
    let told = said(&mut analyze(&threshold))?;
    println!("{}", told.lines().last().unwrap_or_default());
    Ok(())
}
