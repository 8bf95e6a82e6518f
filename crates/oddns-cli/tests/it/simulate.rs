//! `oddns simulate` and `oddns lab faults`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::child::Running;
use crate::oddns::{Ended, ODDNS, oddns};

fn simulate(scenario: &Path, out: &Path, more: &[&str]) -> Ended {
    let (scenario, out) = (scenario.to_str().unwrap(), out.to_str().unwrap());
    let arguments = ["simulate", "--scenario", scenario, "--out", out, "--output=json"];
    oddns(&[&arguments[..], more].concat())
}

/// Every file of a data set by its path within.
fn files(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(inner, b)| (format!("{name}/{inner}"), b)));
        } else {
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
    assert!(files(&at("one")).iter().any(|(name, _)| name == "dataset.json"));
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
fn a_scenario_is_judged_on_each_release() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.yml");
    let text = "name: short\nfor: 70m\ncampaign: {after: 45m, lasts: 5m, pause: 7m, \
                faults: [upstream_outage, reload]}\n";
    fs::write(&path, text).unwrap();
    let data = path.to_str().unwrap();
    let judged = ["eval", "--suite", "simulated", "--data", data, "--detector", "l2", "--json"];
    let judged = oddns(&judged).well().json();
    let suite = &judged["suites"][0];
    assert_eq!((&suite["suite"], suite["series"].as_array().unwrap().len()), (&"short".into(), 5));
    let measures = &suite["detectors"][0]["measures"];
    assert!(measures["event_recall"]["mean"].as_f64().unwrap() > 0.5);
    assert!(measures["benign_alarmed_ratio"]["mean"].is_number());
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
fn what_makes_no_sense_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("empty.yml"), "# nothing\n\n").unwrap();
    fs::write(at("binary.yml"), [0xff, 0xfe, 0, 1]).unwrap();
    fs::write(at("hour.yml"), "version: 1\nfor: 1h\n").unwrap();
    fs::write(at("none.yml"), "version: 1\ncampaign: {faults: []}\n").unwrap();
    for (scenario, more, code, told) in [
        ("empty.yml", &[][..], 3, "is empty: a scenario begins with `version: 1`"),
        ("binary.yml", &[], 3, "is not a text"),
        ("none.yml", &[], 3, "line 2, column 20: `faults` of the campaign is empty"),
        ("gremlins.yml", &[], 3, "no scenario of that name; there are cluster, "),
        ("hour.yml", &["--for", "1ms"], 3, "has no scrape when there is one every 15s"),
        ("hour.yml", &["--every", "2h"], 3, "a scenario of 1h has no scrape"),
        ("hour.yml", &["--for", "1000y"], 2, "is too long: the longest is 10y"),
        ("hour.yml", &["--seed", "-1"], 2, "must be a whole number from 0 to 18446744073709551615"),
    ] {
        let ended = oddns(
            &[
                &["simulate", "--out", at("out").to_str().unwrap(), "--scenario"][..],
                &[at(scenario).to_str().unwrap()],
                more,
            ]
            .concat(),
        );
        assert_eq!(ended.code, Some(code), "{scenario} {ended:?}");
        assert!(ended.stderr.contains(told), "{scenario} {}", ended.stderr);
        assert!(!ended.stderr.contains("_wal"), "{}", ended.stderr);
        assert!(!at("out").exists());
    }
}

#[test]
fn what_nobody_will_see_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text =
        "for: 1h\nfaults: [{kind: restart, at: 30m, for: 1m}, {kind: reload, at: 2h, for: 1m}]\n";
    fs::write(at("late.yml"), text).unwrap();
    let made = simulate(&at("late.yml"), &at("out"), &[]).well();
    assert_eq!(made.json()["labels"], 1);
    assert!(made.stderr.contains("says no `version`"), "{}", made.stderr);
    assert!(made.stderr.contains("before 1 of its 2 faults begin"), "{}", made.stderr);
    let about = fs::read_to_string(at("out/dataset.json")).unwrap();
    assert!(about.contains("\"description\": \"Made by"), "{about}");
    // What cannot be written is named as it was given.
    for out in [PathBuf::from("/proc/nowhere"), at("late.yml/out")] {
        let ended = simulate(&at("late.yml"), &out, &[]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let told = format!("cannot write `{}`", out.display());
        assert!(ended.stderr.contains(&told), "{}", ended.stderr);
    }
    let made = simulate(Path::new("faults"), &at("quiet"), &["--for", "1h"]).well();
    assert!(made.stderr.contains("before its campaign begins"), "{}", made.stderr);
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

#[test]
fn clients_come_and_go_as_the_pods_of_a_log() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("quiet.yml"), "for: 20m\ntraffic: {unrest: 0}\n").unwrap();
    // One pod for an hour, and nineteen more in its second half.
    let pod = |number: u32, start: u32| format!("default/web-{number},{start},3600\n");
    let late: String = (1..20).map(|number| pod(number, 1800)).collect();
    fs::write(at("pods.csv"), format!("name,start,end\n{}{late}", pod(0, 0))).unwrap();
    let log = at("pods.csv");
    let pods = ["--pods", log.to_str().unwrap(), "--pods.speed", "3"];
    simulate(&at("quiet.yml"), &at("out"), &pods).well();
    let data = at("out");
    let rows = data_rows(&data);
    let mean = |rows: &[f64]| rows.iter().sum::<f64>() / rows.len() as f64;
    let (first, second) = (mean(&rows[10..35]), mean(&rows[45..75]));
    assert!((10.0..30.0).contains(&(second / first)), "{first} {second}");

    fs::write(at("pods.csv"), "name,start,end\nweb-1,10,5\n").unwrap();
    let ended = simulate(&at("quiet.yml"), &at("other"), &pods);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let told = format!("`{}`: line 2: the pod ends before it starts", log.display());
    assert!(ended.stderr.contains(&told), "{}", ended.stderr);
    assert!(!at("other").exists());
}

#[test]
fn what_is_wrong_with_a_log_of_pods_is_told_once_and_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("hour.yml"), "version: 1\nfor: 1h\n").unwrap();
    fs::write(at("short.csv"), "\u{feff}\"name\",\"start\",\"end\"\n\"a, b-1\",0,\nb,5,600\n")
        .unwrap();
    fs::write(at("none.csv"), "name,start,end\n").unwrap();
    let run = |log: &str, speed: &str| {
        let log = at(log).display().to_string();
        simulate(&at("hour.yml"), &at("out"), &["--pods", &log, "--pods.speed", speed])
    };
    let missing = run("missing.csv", "1");
    assert_eq!(missing.code, Some(3), "{missing:?}");
    assert_eq!(missing.stderr.matches("missing.csv").count(), 1, "{}", missing.stderr);
    let none = run("none.csv", "1");
    assert!(none.stderr.contains("none.csv`: there is no pod in it"), "{none:?}");
    for speed in ["inf", "nan", "0"] {
        let ended = run("short.csv", speed);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains("must be a number above zero"), "{}", ended.stderr);
    }
    assert!(!at("out").exists());
    let made = run("short.csv", "2").well();
    assert!(made.stderr.contains("short.csv` lasts 5m, "), "{}", made.stderr);
    assert!(made.stderr.contains("and the scenario 1h: then its pods begin anew"), "{made:?}");
}

/// Requests of the first server between scrapes.
fn data_rows(data: &Path) -> Vec<f64> {
    let history = oddns_store::read_history(data, &oddns_store::HistoryFilter::default()).unwrap();
    let recording = &history.recordings[0];
    let total = |scrape: &oddns_core::Scrape| -> f64 {
        let of_requests = |sample: &&oddns_core::Sample| {
            recording
                .series
                .get(sample.series)
                .is_some_and(|key| key.name == "coredns_dns_requests_total")
        };
        scrape.samples.iter().filter(of_requests).map(|sample| sample.value).sum()
    };
    let totals: Vec<f64> = recording.scrapes.iter().map(total).collect();
    totals.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn help_and_page_name_every_scenario() {
    let help = oddns(&["simulate", "--help"]).well().stdout;
    let page = include_str!("../../../../docs/simulate.md");
    for scenario in oddns_sim::BUILT_IN {
        let words = || help.split(|c: char| !c.is_alphanumeric() && c != '_');
        assert!(words().any(|word| word == scenario.name), "{} in the help", scenario.name);
        assert!(
            page.contains(&format!("| `{}` |", scenario.name)),
            "{} in the page",
            scenario.name
        );
    }
}

#[test]
fn an_interrupted_simulation_keeps_what_there_is_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("long");
    let scenario = folder.path().join("long.yml");
    let faults = "{kind: restart, at: 1h, for: 1m}, {kind: restart, at: 9998h, for: 1h}";
    let text = format!("version: 1\nfor: 9999h\nevery: 15s\nservers: 2\nfaults: [{faults}]\n");
    fs::write(&scenario, text).unwrap();
    let mut command = Command::new(ODDNS);
    command.args(["simulate", "--output=json"]);
    command.arg("--scenario").arg(&scenario).arg("--out").arg(&out);
    let mut running = Running::start(&mut command);
    while fs::read_dir(&out).map_or(0, Iterator::count) < 4 {
        std::thread::sleep(Duration::from_millis(20));
    }
    running.signal("INT");
    assert_eq!(running.end(Duration::from_secs(60)).code(), Some(130));
    let told: Value = serde_json::from_str(running.stderr().trim()).unwrap();
    assert_eq!(told["error"]["kind"], "interrupted", "{told}");
    let about: Value =
        serde_json::from_slice(&fs::read(out.join("dataset.json")).unwrap()).unwrap();
    assert_eq!(about["unfinished"]["ended_by"], "interrupted", "{about}");
    assert!(about["unfinished"]["done_seconds"].as_f64().unwrap() > 3600.0, "{about}");
    let labels = fs::read_to_string(out.join("labels.csv")).unwrap();
    assert_eq!(labels.lines().count(), 2, "{labels}");
    let found = oddns(&["dataset", "validate", out.to_str().unwrap()]).well();
    assert!(
        found.stdout.contains("is sound") && found.stderr.contains("is unfinished"),
        "{found:?}"
    );
}

#[test]
fn a_file_that_may_not_grow_is_told_as_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut command = Command::new("bash");
    command.args(["-c", "ulimit -f 100; exec \"$@\"", "bash", ODDNS, "simulate"]);
    command.args(["--scenario", "faults", "--for", "12h", "--out"]).arg(&out);
    let ended = command.output().unwrap();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{told}");
    assert!(told.contains("error: cannot write `") && told.contains("File too large"), "{told}");
}

#[test]
fn no_label_ends_after_the_recording() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("a.yml"), "for: 30m\nfaults: [{kind: reload, at: 28m, for: 5m}]\n").unwrap();
    simulate(&at("a.yml"), &at("out"), &[]).well();
    let labels = fs::read_to_string(at("out/labels.csv")).unwrap();
    assert!(labels.ends_with("\nreload,1767572880,1767573000,coredns-0:9153,0\n"), "{labels}");
    let about: Value = serde_json::from_slice(&fs::read(at("out/dataset.json")).unwrap()).unwrap();
    assert_eq!(about["end"], 1_767_573_000.0);
}
