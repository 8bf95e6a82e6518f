//! `oddns simulate` and `oddns lab faults`.

use std::fs;
use std::path::Path;

use crate::oddns::{Ended, oddns};

fn simulate(scenario: &Path, out: &Path, more: &[&str]) -> Ended {
    let (scenario, out) = (scenario.to_str().unwrap(), out.to_str().unwrap());
    let arguments = ["simulate", "--scenario", scenario, "--out", out, "--output=json"];
    oddns(&[&arguments[..], more].concat())
}

/// Every file of a data set by its path within, but for the description, which has the name.
fn files(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(inner, b)| (format!("{name}/{inner}"), b)));
        } else if name != "dataset.json" {
            found.push((name, fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn the_same_seed_makes_the_same_bytes_that_are_a_data_set() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = "for: 30m\nfaults: [{kind: upstream_outage, at: 20m, for: 5m}]\n";
    fs::write(at("a.yml"), text).unwrap();
    let made = simulate(&at("a.yml"), &at("one"), &["--seed", "3"]).well().json();
    assert_eq!(
        (&made["servers"], &made["scrapes"], &made["labels"]),
        (&2.into(), &240.into(), &1.into())
    );
    simulate(&at("a.yml"), &at("two"), &["--seed", "3"]).well();
    simulate(&at("a.yml"), &at("other"), &["--seed", "4"]).well();
    assert_eq!(files(&at("one")), files(&at("two")));
    assert_ne!(files(&at("one")), files(&at("other")));
    let labels = fs::read_to_string(at("one/labels.csv")).unwrap();
    assert_eq!(
        labels,
        "kind,start,end,instance,anomalous\nupstream_outage,1767572400,1767572700,*,1\n"
    );
    let data = [at("one"), at("two")].map(|path| path.to_str().unwrap().to_owned());
    let fidelity =
        ["eval", "--suite", "fidelity", "--json", "--data", &data[0], "--data", &data[1]];
    let fidelity = oddns(&fidelity).well().json();
    assert_eq!((&fidelity["alike_ratio"], &fidelity["agreeing_ratio"]), (&1.0.into(), &1.0.into()));
}

#[test]
fn what_is_wrong_with_a_scenario_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("bad.yml"), "servers: 2\nfaults: [{kind: restrat, at: 1m, for: 1m}]\n").unwrap();
    let ended = simulate(&at("bad.yml"), &at("out"), &[]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("bad.yml: line 2, column 17"), "{}", ended.stderr);
    assert!(ended.stderr.contains("did you mean `restart`?"), "{}", ended.stderr);
    assert!(!at("out").exists());
    let ended = simulate(Path::new("fault"), &at("out"), &[]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("did you mean `faults`?"), "{}", ended.stderr);
}

#[test]
fn help_of_both_parts_of_the_lab_has_an_example() {
    for part in ["faults", "run"] {
        let help = oddns(&["lab", part, "--help"]).well().stdout;
        assert!(help.contains(&format!("Example:\n  oddns lab {part} ")), "{help}");
    }
}

#[test]
fn the_table_of_faults_is_for_machines_too() {
    let faults = oddns(&["lab", "faults", "--output=json"]).well().json();
    let faults = faults.as_array().unwrap();
    let n = |anomalous: bool| faults.iter().filter(|fault| fault["anomalous"] == anomalous).count();
    assert!(n(true) >= 35 && n(false) >= 8, "{} {}", n(true), n(false));
    let outage = faults.iter().find(|fault| fault["name"] == "upstream_outage").unwrap();
    assert_eq!(
        (&outage["lab"], &outage["features"]["upstream_rate"]),
        (&true.into(), &(-1).into())
    );
    let text = oddns(&["lab", "faults"]).well().stdout;
    assert_eq!(text.lines().count(), faults.len() + 1);
}
