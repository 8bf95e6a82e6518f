//! `oddns lab run` with a real CoreDNS that comes to harm, and `oddns lab effects`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::child::Running;
use crate::oddns::{ODDNS, oddns};
use crate::peers;

/// Two minutes, with a fault from the second second on.
const SCENARIO: &str = "for: 2m\nevery: 1s\nservers: 1\ncorefile: zone_file\nfaults: [{kind: \
    upstream_servfail, at: 2s, for: 110s}]\n";

/// A lab that plays `scenario`, with temporary files of its own.
struct Labs {
    folder: tempfile::TempDir,
    peers: PathBuf,
}

impl Labs {
    fn new(test: &str, scenario: &str) -> Option<Self> {
        let (folder, peers) = (tempfile::tempdir().unwrap(), peers(test)?);
        fs::write(folder.path().join("scenario.yml"), scenario).unwrap();
        fs::create_dir(folder.path().join("temporary")).unwrap();
        Some(Self { folder, peers })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, out: &str) -> Command {
        let mut command = Command::new(ODDNS);
        command.args(["lab", "run"]).arg(self.path("scenario.yml"));
        command.arg("--out").arg(self.path(out)).arg("--coredns.folder").arg(&self.peers);
        command.env("TMPDIR", self.path("temporary"));
        command
    }

    /// The CoreDNS processes that run with a Corefile in the temporary files.
    fn servers(&self) -> Vec<u32> {
        let folder = self.path("temporary").display().to_string();
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let has_it = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains(&folder) && line.contains("Corefile")
        };
        pids.filter(has_it).collect()
    }

    fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the fault is being done and the clients have been seen.
    fn wait_for_fault(&self, out: &str) {
        let labels = self.path(out).join("labels.csv");
        self.wait("the fault", || {
            fs::read_to_string(&labels).is_ok_and(|text| text.contains("upstream_servfail"))
        });
    }
}

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

/// What was recorded can be read, with its label.
fn assert_kept(out: &Path) {
    let path = out.to_str().unwrap();
    let found = oddns(&["dataset", "describe", path, "--output=json"]).well().json();
    assert!(found["samples"].as_u64().unwrap() > 100, "{found}");
    let labels = fs::read_to_string(out.join("labels.csv")).unwrap();
    assert!(labels.lines().count() == 2 && labels.contains("upstream_servfail"), "{labels}");
    let clients = fs::read_to_string(out.join("client_stats.csv")).unwrap();
    assert!(clients.starts_with("second,sent,answered,"), "{clients}");
}

/// What a recording says of its end, with the exit code of checking it.
fn unfinished(out: &Path) -> Value {
    let path = out.to_str().unwrap();
    let checked = oddns(&["dataset", "validate", path, "--output=json"]).well();
    let found = checked.json();
    assert_eq!(found["unfinished"].is_object(), checked.stderr.contains("is unfinished: "));
    found["unfinished"].clone()
}

#[test]
fn a_server_that_dies_is_told_and_what_was_recorded_is_kept() {
    let Some(labs) = Labs::new("a server that dies", SCENARIO) else { return };
    let mut running = Running::start(&mut labs.command("out"));
    labs.wait_for_fault("out");
    kill(labs.servers()[0]);
    let status = running.end(Duration::from_secs(30));
    let error = running.stderr();
    assert_eq!(status.code(), Some(1), "{error}");
    assert!(error.contains("ended by itself (signal: 9 (SIGKILL))"), "{error}");
    assert_kept(&labs.path("out"));
    assert_eq!(unfinished(&labs.path("out"))["ended_by"], "failed");
    assert!(labs.servers().is_empty());
}

#[test]
fn a_server_that_hangs_is_told_and_its_trouble_is_not_normal() {
    let quiet = "for: 2m\nevery: 1s\nservers: 2\ncorefile: zone_file\n";
    let Some(labs) = Labs::new("a server that hangs", quiet) else { return };
    let mut running = Running::start(&mut labs.command("out"));
    let clients = labs.path("out").join("client_stats.csv");
    labs.wait("what clients feel", || {
        fs::read_to_string(&clients).is_ok_and(|text| text.lines().count() > 3)
    });
    let hung = labs.servers()[0].to_string();
    assert!(Command::new("kill").args(["-STOP", &hung]).status().unwrap().success());
    let stopped = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let status = running.end(Duration::from_secs(60));
    let error = running.stderr();
    assert_eq!(status.code(), Some(1), "{error}");
    assert!(error.contains("stopped answering by itself, for 10 s"), "{error}");
    assert_eq!(unfinished(&labs.path("out"))["ended_by"], "failed");
    let about = fs::read_to_string(labs.path("out").join("dataset.json")).unwrap();
    let about: Value = serde_json::from_str(&about).unwrap();
    let normal_until = about["normal_until"].as_f64().unwrap();
    assert!(normal_until <= stopped && stopped + 5.0 < about["end"].as_f64().unwrap(), "{about}");
    assert!(labs.servers().is_empty());
}

#[test]
fn an_interrupted_lab_says_how_far_it_came() {
    // Nothing is done for long: what the clients feel is told all the same.
    let quiet = SCENARIO.replace("at: 2s, for: 110s", "at: 100s, for: 10s");
    let Some(labs) = Labs::new("a lab that is interrupted", &quiet) else { return };
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut running = Running::start(&mut labs.command(signal));
        let clients = labs.path(signal).join("client_stats.csv");
        labs.wait("what clients feel", || {
            fs::read_to_string(&clients).is_ok_and(|text| text.lines().count() > 3)
        });
        running.signal(signal);
        let status = running.end(Duration::from_secs(30));
        let error = running.stderr();
        assert_eq!(status.code(), Some(code), "{error}");
        assert!(error.contains("is unfinished: interrupted after"), "{error}");
        assert!(error.contains("of 120 seconds; what was recorded is kept"), "{error}");
        let about = unfinished(&labs.path(signal));
        assert_eq!(about["ended_by"], "interrupted");
        assert!(about["done_seconds"].as_f64().unwrap() < 100.0, "{about}");
        assert!(labs.servers().is_empty());
    }
}

#[test]
fn the_next_lab_sweeps_what_a_killed_one_left() {
    let Some(labs) = Labs::new("a lab that is killed", SCENARIO) else { return };
    let mut running = Running::start(&mut labs.command("killed"));
    labs.wait_for_fault("killed");
    let left = labs.servers();
    running.signal("KILL");
    running.end(Duration::from_secs(10));
    assert_eq!(labs.servers(), left, "a killed lab can end nothing");
    assert_kept(&labs.path("killed"));
    let about = unfinished(&labs.path("killed"));
    assert_eq!((&about["ended_by"], &about["planned_seconds"]), (&Value::Null, &120.0.into()));
    // What mends it is said, and does.
    let [killed, mended] =
        [labs.path("killed"), labs.path("mended")].map(|path| path.display().to_string());
    let advice = oddns(&["dataset", "validate", &killed]).well();
    let command = format!("oddns dataset import {killed} --out NEW");
    assert!(advice.stderr.contains(&command), "{}", advice.stderr);
    oddns(&["dataset", "import", &killed, "--out", &mended]).well();
    let about = unfinished(Path::new(&mended));
    assert!(about["ended_by"].as_str().unwrap().starts_with("killed"), "{about}");
    let sound = oddns(&["dataset", "validate", &mended]).well().stdout;
    assert!(sound.contains("rows in 1 files\n"), "{sound}");

    fs::write(labs.path("scenario.yml"), "for: 2s\nevery: 1s\nservers: 1\ncorefile: eks\n")
        .unwrap();
    let next = labs.command("next").output().unwrap();
    let error = String::from_utf8_lossy(&next.stderr);
    assert!(next.status.success(), "{error}");
    assert!(error.contains("swept what a killed lab left: 1 server"), "{error}");
    assert_eq!(unfinished(&labs.path("next")), Value::Null);
    assert!(labs.servers().is_empty());
    assert_eq!(fs::read_dir(labs.path("temporary")).unwrap().count(), 0);
}

#[test]
fn a_wrapper_around_coredns_leaves_nothing() {
    let short = "for: 3s\nevery: 1s\nservers: 1\ncorefile: zone_file\n";
    let Some(labs) = Labs::new("a wrapper around CoreDNS", short) else { return };
    let (wrapper, real) = (labs.path("wrapper"), labs.peers.join("coredns-1.15.0/coredns"));
    fs::write(&wrapper, format!("#!/bin/sh\n'{}' \"$@\"\n", real.display())).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(ODDNS);
    command.args(["lab", "run"]).arg(labs.path("scenario.yml")).arg("--out").arg(labs.path("out"));
    command.arg("--coredns.binary").arg(&wrapper).env("TMPDIR", labs.path("temporary"));
    let mut running = Running::start(&mut command);
    labs.wait("both processes", || labs.servers().len() == 2);
    let status = running.end(Duration::from_secs(60));
    assert!(status.success(), "{}", running.stderr());
    labs.wait("their end", || labs.servers().is_empty());
}

#[test]
fn another_release_than_its_folder_says_is_told() {
    let short = "for: 2s\nevery: 1s\nservers: 1\ncorefile: zone_file\n";
    let Some(labs) = Labs::new("a folder of another release", short) else { return };
    let folder = labs.path("releases/coredns-1.15.0");
    fs::create_dir_all(&folder).unwrap();
    symlink(labs.peers.join("coredns-1.10.1/coredns"), folder.join("coredns")).unwrap();
    let mut command = Command::new(ODDNS);
    command.args(["lab", "run"]).arg(labs.path("scenario.yml")).arg("--out").arg(labs.path("out"));
    command
        .arg("--coredns.folder")
        .arg(labs.path("releases"))
        .env("TMPDIR", labs.path("temporary"));
    let ended = command.output().unwrap();
    let error = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{error}");
    assert!(
        error.contains("says that it is CoreDNS 1.10.1, where the scenario has 1.15.0"),
        "{error}"
    );
    let about = fs::read_to_string(labs.path("out/dataset.json")).unwrap();
    assert!(about.contains("\"coredns_version\": \"1.10.1\""), "{about}");
}

#[test]
fn what_cannot_be_run_is_told_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("old.yml"), "coredns: 1.8.4\ncorefile: kubeadm_new\n").unwrap();
    let (out, peers) = (path("out"), folder.path().display().to_string());
    for (arguments, code, told) in [
        (vec!["lab", "--coredns.folder", &peers], 3, "has no CoreDNS 1.15.0"),
        (vec!["lab", "--corefile", "kubeadm"], 2, "did you mean `kubeadm_old`?"),
        (vec!["lab", "--coredns", "1.6.9"], 2, "--coredns.folder"),
        (vec!["lab", "--coredns.binary", "/nowhere/coredns"], 1, "cannot run CoreDNS at"),
        (vec![&path("old.yml")], 3, "`kubeadm_new` needs CoreDNS 1.10.1 or later"),
    ] {
        let ended = oddns(&[&["lab", "run", "--out", &out][..], &arguments].concat());
        assert_eq!(ended.code, Some(code), "{arguments:?} {ended:?}");
        assert!(ended.stderr.contains(told), "{arguments:?} {}", ended.stderr);
        assert!(!Path::new(&out).exists());
    }
    // The simulator refuses the same.
    let ended = oddns(&["simulate", "--scenario", &path("old.yml"), "--out", &out]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("needs CoreDNS 1.10.1 or later"), "{}", ended.stderr);
    let simulated =
        ["simulate", "--scenario", "cluster", "--corefile", "node_local", "--out", &out];
    let ended = oddns(&simulated);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("is not simulated"), "{}", ended.stderr);
}

#[test]
fn the_effects_of_the_faults_of_a_recording_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (scenario, out) = (folder.path().join("a.yml"), folder.path().join("out"));
    let faults = "faults: [{kind: upstream_servfail, at: 20m, for: 3m}, {kind: conntrack_race, at: \
                  25m, for: 3m}]\n";
    fs::write(&scenario, format!("for: 30m\nevery: 5s\n{faults}")).unwrap();
    let (scenario, out) = (scenario.to_str().unwrap(), out.to_str().unwrap());
    oddns(&["simulate", "--scenario", scenario, "--out", out]).well();
    let found = oddns(&["lab", "effects", out, "--output=json"]).well().json();
    assert_eq!((&found["kept"], &found["visible"]), (&1.into(), &1.into()), "{found}");
    let first = &found["faults"][0];
    assert_eq!((&first["fault"], &first["holds"]), (&"upstream_servfail".into(), &true.into()));
    assert_eq!(first["features"].as_array().unwrap().len(), 4);
    let text = oddns(&["lab", "effects", out]).well().stdout;
    assert!(text.contains("| conntrack_race | hidden | 1 |  |  |"), "{text}");
    assert!(text.contains("1 of 1 visible faults move a declared feature by 6 or more"), "{text}");
}
