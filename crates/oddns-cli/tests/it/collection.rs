//! `oddns dataset make`, and `oddns dataset validate` of the whole.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::child::Running;
use crate::oddns::{Ended, ODDNS, oddns};

fn make(out: &Path, more: &[&str]) -> Ended {
    let out = out.to_str().unwrap();
    let arguments = ["dataset", "make", "--all", out, "--only", "simulated", "--hours", "1"];
    oddns(&[&arguments[..], more].concat())
}

fn validate(out: &Path) -> Ended {
    oddns(&["dataset", "validate", out.to_str().unwrap()])
}

#[test]
fn what_is_finished_stays_and_the_rest_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("all");
    let made = make(&out, &["--output=json"]).well().json();
    assert_eq!(made["parts"], 20);
    assert!(validate(&out).well().stdout.contains("is sound"));
    let sums = fs::read_to_string(out.join("SHA256SUMS")).unwrap();
    let splits = fs::read_to_string(out.join("splits.csv")).unwrap();
    assert_eq!(splits.lines().count(), 21);
    assert!(splits.contains("simulated/fleet-17,test,"), "{splits}");

    // A part that is not finished is made again, and comes out the same.
    fs::remove_file(out.join("simulated/fleet-03/dataset.json")).unwrap();
    let kept = out.join("simulated/fleet-04/dataset.json");
    let before = fs::metadata(&kept).unwrap().modified().unwrap();
    make(&out, &[]).well();
    assert_eq!(fs::metadata(&kept).unwrap().modified().unwrap(), before);
    assert_eq!(fs::read_to_string(out.join("SHA256SUMS")).unwrap(), sums);

    // What is finished is not replaced by something else.
    for other in [["--seed", "9"], ["--hours", "2"]] {
        let path = out.to_str().unwrap();
        let asked = ["dataset", "make", "--all", path, "--only", "simulated"];
        let refused = oddns(&[&asked[..], &other].concat());
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains("is finished with 1h of seed "), "{refused:?}");
    }
    assert_eq!(fs::read_to_string(out.join("SHA256SUMS")).unwrap(), sums);

    fs::write(out.join("simulated/fleet-05/labels.csv"), "kind,start,end\n").unwrap();
    let ended = validate(&out);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stdout.contains("fleet-05/labels.csv`: not the bytes"), "{}", ended.stdout);

    // Splits that hold nothing, with checksums that are right.
    let path = out.join("splits.csv");
    let emptied = splits.replacen(",validation,", ",train,", 9);
    fs::write(&path, &emptied).unwrap();
    let ended = validate(&out);
    assert!(ended.stdout.contains("splits.csv`: no fleet is for `validation`"), "{ended:?}");
    fs::write(&path, &splits).unwrap();

    // Every mistake is told, also when a fleet is not there, or is not listed.
    fs::remove_dir_all(out.join("simulated/fleet-06")).unwrap();
    fs::write(out.join("simulated/fleet-07/notes.txt"), "mine\n").unwrap();
    let ended = validate(&out);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    for told in ["fleet-05/labels.csv`: not the bytes", "fleet-06`", "notes.txt`: is not listed"] {
        assert!(ended.stdout.contains(told), "{told}: {}", ended.stdout);
    }
    for (file, text, told) in [
        ("SHA256SUMS", None, "SHA256SUMS`: No such file"),
        ("collection.json", Some("{}"), "names no parts"),
        ("collection.json", Some("{"), "names no parts"),
        ("collection.json", None, "collection.json`: No such file"),
    ] {
        let (path, kept) = (out.join(file), fs::read(out.join(file)).unwrap());
        match text {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let ended = validate(&out);
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
        fs::write(&path, kept).unwrap();
    }
}

#[test]
fn a_folder_of_somebody_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let readme = folder.path().join("README.md");
    fs::write(&readme, "mine\n").unwrap();
    let ended = make(folder.path(), &[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("is already there"), "{}", ended.stderr);
    assert_eq!(fs::read_to_string(&readme).unwrap(), "mine\n");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_the_real_half_lacks_is_told_first() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("all");
    let path = out.to_str().unwrap();
    for (more, code, told) in [
        (&["--only", "real"][..], 2, "the real half needs `--coredns.folder`"),
        (&["--coredns.folder", "/nowhere"], 3, "has no CoreDNS 1.15.0"),
        (&["--real.for", "10s"], 2, "`--real.for` must be at least 4m"),
    ] {
        let ended = oddns(&[&["dataset", "make", "--all", path][..], more].concat());
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.stderr.contains(told), "{}", ended.stderr);
        assert!(!out.exists());
    }
}

#[test]
fn what_was_interrupted_says_what_goes_on_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("all");
    let path = out.to_str().unwrap();
    let mut command = Command::new(ODDNS);
    command.args(["dataset", "make", "--only", "simulated", "--hours", "48", "--seed", "5"]);
    let mut running = Running::start(command.args(["--all", path]));
    while !out.join("simulated/fleet-01").exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    running.signal("INT");
    assert_eq!(running.end(Duration::from_secs(60)).code(), Some(130));
    let ended = validate(&out);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let flags = "--only simulated --hours 48 --real.for 40m --seed 5";
    let told = format!("`oddns dataset make --all {path} {flags}` goes on with it");
    assert!(ended.stderr.contains(&told), "{}", ended.stderr);
    assert!(ended.stderr.contains("has not finished, with "), "{}", ended.stderr);
}
