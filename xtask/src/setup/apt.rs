//! What comes from Debian: installed as root, named otherwise.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use super::ensure;
use crate::process;

/// A Debian package and how to see that what it brings is there, wherever it came from.
#[derive(Debug)]
pub(super) struct Package {
    name: &'static str,
    probe: Probe,
}

#[derive(Debug)]
enum Probe {
    /// Programs on `PATH`.
    Programs(&'static [&'static str]),
    /// A module that `python3` can import.
    Python(&'static str),
}

// Debian keeps `ensurepip`, without which no venv can be made, out of its Python.
const PYTHON_VENV: Package = Package { name: "python3-venv", probe: Probe::Python("ensurepip") };

pub(super) const LINT: &[Package] = &[PYTHON_VENV];

const PROMETHEUS_PACKAGE: Package =
    Package { name: "prometheus", probe: Probe::Programs(&["prometheus", "promtool"]) };

pub(super) const PROMETHEUS: &[Package] = &[PROMETHEUS_PACKAGE];

pub(super) const PEERS: &[Package] = &[
    PYTHON_VENV,
    PROMETHEUS_PACKAGE,
    Package { name: "victoria-metrics", probe: Probe::Programs(&["victoria-metrics"]) },
    Package { name: "chromium", probe: Probe::Programs(&["chromium"]) },
    Package { name: "chromium-driver", probe: Probe::Programs(&["chromedriver"]) },
    Package { name: "buildah", probe: Probe::Programs(&["buildah"]) },
    Package { name: "lintian", probe: Probe::Programs(&["lintian"]) },
    Package { name: "groff-base", probe: Probe::Programs(&["groff"]) },
];

/// Who we are, as far as installing packages goes.
#[derive(Clone, Copy, Debug)]
struct Machine {
    has_apt: bool,
    is_root: bool,
}

/// Installs the packages whose probes fail.
///
/// # Errors
/// When packages are missing and we are not root on a Debian system; the message names them.
pub(super) fn install(packages: &[Package]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .filter(|package| !package.probe.holds())
        .map(|package| package.name)
        .collect();
    let reason = (!missing.is_empty()).then(|| format!("missing: {}", missing.join(", ")));
    ensure("Debian packages", reason, || {
        refuse(&missing, Machine::look())?;
        process::run(apt_get().args(["update", "-qq"]))?;
        let options = ["install", "-y", "-qq", "--no-install-recommends"];
        process::run(apt_get().args(options).args(&missing))
    })
}

impl Probe {
    fn holds(&self) -> bool {
        match self {
            Self::Programs(programs) => programs.iter().all(|program| process::on_path(program)),
            Self::Python(module) => imports(module),
        }
    }
}

impl Machine {
    fn look() -> Self {
        // The owner of our own process entry is our effective user.
        let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        Self { has_apt: process::on_path("apt-get"), is_root }
    }
}

fn imports(module: &str) -> bool {
    let mut python = Command::new("python3");
    python.args(["-c", &format!("import {module}")]).stdin(Stdio::null());
    let status = python.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn refuse(missing: &[&str], machine: Machine) -> Result<()> {
    let packages = missing.join(" ");
    let command = format!("apt-get update && apt-get install --no-install-recommends {packages}");
    match machine {
        Machine { has_apt: true, is_root: true } => Ok(()),
        Machine { has_apt: true, is_root: false } => {
            bail!("only root may install packages, run this and try again: sudo sh -c '{command}'")
        }
        Machine { has_apt: false, .. } => bail!(
            "this system has no `apt-get`; install what these Debian packages hold so that it is \
             on `PATH`, and try again: {packages} (on Debian: sudo sh -c '{command}')"
        ),
    }
}

fn apt_get() -> Command {
    let mut apt_get = Command::new("apt-get");
    apt_get.env("DEBIAN_FRONTEND", "noninteractive");
    apt_get
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(has_apt: bool, is_root: bool) -> String {
        let machine = Machine { has_apt, is_root };
        refuse(&["prometheus", "chromium"], machine)
            .map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn only_root_on_debian_may_go_on() {
        assert_eq!(message(true, true), "");
        assert!(message(true, false).starts_with("only root"));
        assert!(message(false, false).starts_with("this system has no `apt-get`"));
        assert!(message(false, true).starts_with("this system has no `apt-get`"));
    }

    #[test]
    fn whoever_cannot_install_gets_the_exact_command() {
        let command = "sudo sh -c 'apt-get update && \
                       apt-get install --no-install-recommends prometheus chromium'";
        assert!(message(true, false).contains(command));
        assert!(message(false, false).contains(command));
    }

    #[test]
    fn a_package_is_missing_when_one_of_its_programs_is() {
        assert!(Probe::Programs(&["sh"]).holds());
        assert!(!Probe::Programs(&["sh", "no-such-program-here"]).holds());
        assert!(!Probe::Python("no_such_module_here").holds());
    }
}
