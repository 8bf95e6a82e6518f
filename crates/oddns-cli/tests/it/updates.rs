//! Going on learning, and generations, as the user sees them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::made::{START, table};
use crate::oddns::{Ended, ODDNS, oddns};

/// A folder with a model as generation 1, and newer data.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        table(&site.path("normal.csv"), 400, None, false);
        // Two hours and more: a part of it is held out for the gate.
        table(&site.path("newer.csv"), 36_000, None, false);
        site.oddns(&["train", "--data", "@normal.csv", "--out", "@dns.keras", "--epochs", "20"])
            .well();
        site.oddns(&["model", "add", "--registry", "@models", "@dns.keras"]).well();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Arguments that begin with `@` are names in the folder.
    fn full(&self, arguments: &[&str]) -> Vec<std::ffi::OsString> {
        let full = |argument: &&str| match argument.strip_prefix('@') {
            Some(name) => self.path(name).into_os_string(),
            None => argument.into(),
        };
        arguments.iter().map(full).collect()
    }

    fn oddns(&self, arguments: &[&str]) -> Ended {
        oddns(&self.full(arguments))
    }

    fn update(&self, more: &[&str]) -> Ended {
        let update = ["update", "--registry", "@models", "--data", "@newer.csv"];
        self.oddns(&[&update, more].concat())
    }

    fn model(&self, arguments: &[&str]) -> Value {
        let (verb, rest) = arguments.split_first().unwrap();
        let json = ["--output=json", "--registry", "@models"];
        self.oddns(&[&["model", verb], &json[..], rest].concat()).well().json()
    }
}

fn numbers(listed: &Value) -> Vec<u64> {
    listed.as_array().unwrap().iter().map(|g| g["generation"].as_u64().unwrap()).collect()
}

#[test]
fn an_update_is_tried_kept_promoted_and_rolled_back() {
    let site = Site::new();
    let updated = site.update(&["--output=json"]).well().json();
    assert_eq!(
        (&updated["generation"], &updated["passed"]),
        (&2.into(), &true.into()),
        "{updated}"
    );
    let names: Vec<&str> = updated["gate"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["false_alarms_per_week", "incidents_found", "normal_alarmed", "injected_found"]
    );
    let shown = site.model(&["show"]);
    assert_eq!((&shown["generation"], &shown["parent"]), (&2.into(), &1.into()), "{shown}");
    assert_eq!(site.model(&["rollback"])["champion"], 1);
    assert_eq!(site.model(&["promote", "2"])["champion"], 2);
    let diff = site.model(&["diff", "1"]);
    assert_eq!(diff["features"].as_array().unwrap().len(), 2);
    assert_eq!(numbers(&site.model(&["list"])), [1, 2]);
    let text = site.oddns(&["model", "list", "--registry", "@models"]).well().stdout;
    assert!(text.lines().nth(1).unwrap().starts_with("*     2  "), "{text}");
}

#[test]
fn a_file_is_updated_with_feedback_and_wrong_use_is_told() {
    let site = Site::new();
    let feedback = |lines: &str| {
        fs::write(site.path("feedback.csv"), format!("start,end,instance,verdict\n{lines}"))
            .unwrap();
        let files = ["--model", "@dns.keras", "--out", "@newer.keras", "--data", "@newer.csv"];
        site.oddns(&[&["update"], &files[..], &["--feedback", "@feedback.csv"]].concat())
    };
    let (from, until) = (START + 500, START + 560);
    feedback(&format!("{from},{until},*,normal\n")).well();
    assert!(site.path("newer.keras").is_file());
    let both = feedback(&format!("{from},{until},*,normal\n{from},{until},*,right\n"));
    assert_eq!(both.code, Some(3), "{both:#?}");
    assert!(both.stderr.contains("feedback contradicts itself"), "{both:#?}");
    let word = feedback(&format!("{from},{until},*,fine\n"));
    assert!(word.stderr.contains("line 2, column `verdict`"), "{word:#?}");
    assert_eq!(word.code, Some(3));
    let neither = site.oddns(&["update", "--data", "@newer.csv"]);
    assert_eq!(neither.code, Some(2), "{neither:#?}");
    let none = site.oddns(&["model", "list", "--registry", "@nothing"]);
    assert_eq!(none.code, Some(3), "{none:#?}");
    assert!(!site.path("nothing").exists());
    fs::write(site.path("models/generation-000001/model.keras"), b"swapped").unwrap();
    let swapped = site.update(&[]);
    assert_eq!(swapped.code, Some(3), "{swapped:#?}");
    assert!(swapped.stderr.contains("is not the model that was kept"), "{swapped:#?}");
}

#[test]
fn what_is_all_odd_is_refused_and_the_champion_stays() {
    let site = Site::new();
    table(&site.path("odd.csv"), 2000, Some(0), false);
    let refused = site.oddns(&["update", "--registry", "@models", "--data", "@odd.csv"]);
    assert_eq!(refused.code, Some(3), "{refused:#?}");
    assert!(refused.stderr.contains("nothing quiet to learn from"), "{refused:#?}");
    assert_eq!(site.model(&["show"])["generation"], 1);
}

/// The program is killed while it trains, keeps and promotes; `ODDNS_KILLS=100` for the bar.
#[cfg(unix)]
#[test]
fn a_kill_at_any_instant_leaves_a_whole_champion() {
    let kills = std::env::var("ODDNS_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(4_u32);
    let site = Site::new();
    let start = Instant::now();
    site.update(&["--anyway"]).well();
    let whole = start.elapsed();
    for kill in 0..kills {
        let arguments =
            site.full(&["update", "--registry", "@models", "--data", "@newer.csv", "--anyway"]);
        let mut child = Command::new(ODDNS)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Late more often than early: what is written is written at the end.
        let part = 1.0 - (f64::from(kill * 37 % 100) / 100.0).powi(3);
        std::thread::sleep(Duration::from_secs_f64(whole.as_secs_f64() * part));
        let _ = child.kill();
        child.wait().unwrap();
        let champion = site.model(&["show"])["generation"].as_u64().unwrap();
        assert!(champion >= 2);
        assert!(numbers(&site.model(&["list"])).contains(&champion));
        check_whole(&site.path("models"), &site);
    }
    site.update(&["--anyway"]).well();
    assert!(!halves(&site.path("models")), "the next one clears up");
}

/// Every generation that is there loads.
fn check_whole(models: &Path, site: &Site) {
    for generation in numbers(&site.model(&["list"])) {
        let model = models.join(format!("generation-{generation:06}/model.keras"));
        oddns::Detector::decode(&fs::read(model).unwrap()).unwrap();
    }
}

fn halves(models: &Path) -> bool {
    let entries = fs::read_dir(models).unwrap();
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(".writing-"))
}
