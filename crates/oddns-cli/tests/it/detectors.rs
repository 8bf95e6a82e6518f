//! Detectors other than the product's own, and all of them side by side.

use std::fs;
use std::path::Path;

use oddns::DetectorKind;
use serde_json::Value;
use tempfile::TempDir;

use crate::made::{START, names, table};
use crate::oddns::{Ended, oddns};

fn run(folder: &TempDir, arguments: &str) -> Ended {
    let at = format!("{}/", folder.path().display());
    oddns(&arguments.split(' ').map(|word| word.replace('@', &at)).collect::<Vec<_>>())
}

#[test]
fn a_baseline_is_trained_scored_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    table(&folder.path().join("normal.csv"), 400, None, false);
    table(&folder.path().join("odd.csv"), 200, Some(150), true);
    let train = "train --data @normal.csv --detector k_means_nearest --out @m.oddns";
    let json = run(&folder, &format!("{train} --alarms-per-week 2 --output=json")).well().json();
    assert_eq!(
        (&json["detector"], &json["loss"], &json["steps"], &json["alarms_per_week"]),
        (&"k_means_nearest".into(), &Value::Null, &0.into(), &2.0.into())
    );
    let text = run(&folder, train).well().stdout;
    assert!(text.contains(" s: k_means_nearest, without a network\n"), "{text}");

    let score = "score --model @m.oddns --data @odd.csv --out @s.csv --output=json";
    let json = run(&folder, score).well().json();
    assert!(json["alarmed_rows"].as_u64().unwrap() > 0, "{json}");
    let at = START + 151;
    let explain = format!("explain --model @m.oddns --data @odd.csv --at {at} --output=json");
    let json = run(&folder, &explain).well().json();
    let found = &json[0]["contributions"][0];
    assert_eq!((&found["feature"], &found["direction"]), (&"b".into(), &"up".into()));
    assert!(json[0]["score"].as_f64().unwrap() > 1.0, "{json}");

    // Going on from it is fitting it anew; another kind cannot be asked for.
    let on = "train --data @normal.csv --from @m.oddns --out @on.oddns --output=json";
    assert_eq!(run(&folder, on).well().json()["detector"], "k_means_nearest");
    let both = run(&folder, &format!("{on} --detector l2"));
    assert_eq!(both.code, Some(2), "{both:?}");
}

#[test]
fn a_budget_of_more_alarms_lowers_the_line() {
    let folder = tempfile::tempdir().unwrap();
    table(&folder.path().join("normal.csv"), 400, None, false);
    table(&folder.path().join("odd.csv"), 200, Some(150), true);
    let mut peaks = Vec::new();
    for alarms in ["0.5", "500"] {
        let train = "train --data @normal.csv --detector l2 --out @m.oddns --alarms-per-week";
        run(&folder, &format!("{train} {alarms}")).well();
        let score = "score --model @m.oddns --data @odd.csv --out @s.csv --output=json";
        let json = run(&folder, score).well().json();
        peaks.push(json["incidents"][0]["peak_score"].as_f64().unwrap());
    }
    assert!(peaks[1] > 1.05 * peaks[0], "{peaks:?}");
}

#[test]
fn a_model_of_elsewhere_is_calibrated_to_a_site_and_judged_there() {
    let folder = tempfile::tempdir().unwrap();
    servers(folder.path());
    table(&folder.path().join("normal.csv"), 300, None, false);
    let train = "train --data @normal.csv --detector masked_without_network --out @base.oddns";
    run(&folder, train).well();
    let until = format!("--until {}", START + 50);
    let calibrate = format!("train --base @base.oddns --data @servers/one/train.csv {until}");
    let json = run(&folder, &format!("{calibrate} --out @one.oddns --output=json")).well().json();
    assert_eq!((&json["rows"], &json["detector"]), (&50.into(), &"masked_without_network".into()));
    let text = run(&folder, &format!("{calibrate} --out @one.oddns")).well().stdout;
    assert!(text.starts_with("calibrated 2 features from 50 rows of 1 instance(s)"), "{text}");
    let few = format!("train --base @base.oddns --data @normal.csv --until {}", START + 9);
    let few = run(&folder, &format!("{few} --out @few.oddns"));
    assert_eq!(few.code, Some(3), "{few:?}");
    assert!(few.stderr.contains("9 rows in a row are too few"), "{}", few.stderr);

    let eval = "eval --suite frames --data @servers --detector l2 --base @base.oddns";
    let table = run(&folder, &format!("{eval} --base.calibrated-by 1m")).well().stdout;
    for row in ["| l2 |", "| base as it is |", "| base calibrated by 1m |"] {
        assert!(table.contains(row), "{table}");
    }
}

#[test]
fn wrong_use_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, message) in [
        (
            "train --data @a.csv --out @m --detector mask",
            "there is no detector `mask`: take one of `masked`, `masked_without_network`, ",
        ),
        ("train --data @a.csv --out @m --alarms-per-week 0", "must be a number above zero"),
        ("train --data @a.csv --out @m --alarms-per-week=-1", "must be a number above zero"),
        ("train --data @a.csv --out @m --alarms-per-week inf", "must be a number above zero"),
        ("train --data @a.csv --out @m --alarms-per-week NaN", "must be a number above zero"),
        ("eval --suite frames --data @ --detector k-means", "there is no detector `k-means`"),
        (
            "eval --suite elsewhere --data @",
            "[possible values: frames, coredns, simulated, fidelity]",
        ),
        ("train --data @a.csv --out @m --base @b --seed 2", "cannot be used with"),
        ("train --data @a.csv --out @m --base @b --from @b", "cannot be used with"),
        ("eval --suite frames --data @ --base.calibrated-by 5m", "--base <FILE>"),
        ("eval --suite frames", "--data <DIR>"),
        ("eval --suite frames --data @ --scores @s.csv --labels @l.csv", "cannot be used with"),
        ("eval --detector l2 --scores @s.csv --labels @l.csv", "--suite <SUITE>"),
        ("eval", "--scores <FILE>"),
        ("eval --suite frames --data @ --seeds one", "invalid digit"),
        (
            "eval --suite frames --data @ --detector l2 --against masked",
            "`--against masked` is not judged: add `--detector masked`",
        ),
    ] {
        let ended = run(&folder, arguments);
        assert_eq!(ended.code, Some(2), "{arguments}: {ended:#?}");
        assert!(ended.stderr.contains(message), "{arguments}: {}", ended.stderr);
    }
    assert!(names(folder.path()).is_empty());
}

/// Two servers of one kind.
fn servers(folder: &Path) {
    for (name, odd) in [("one", 150), ("two", 120)] {
        let server = folder.join("servers").join(name);
        fs::create_dir_all(&server).unwrap();
        table(&server.join("train.csv"), 300, None, false);
        table(&server.join("test.csv"), 200, Some(odd), true);
    }
}

#[test]
fn detectors_are_compared_by_one_command() {
    let folder = tempfile::tempdir().unwrap();
    servers(folder.path());
    let eval =
        "eval --suite frames --data @servers --detector static_pca --detector l2 --seeds 1,2";
    let json = run(&folder, &format!("{eval} --json")).well().json();
    let suite = &json["suites"][0];
    assert_eq!(
        (&suite["suite"], &suite["series"]),
        (&"servers".into(), &serde_json::json!(["one", "two"]))
    );
    let detectors = suite["detectors"].as_array().unwrap();
    let found: Vec<&str> = detectors.iter().map(|d| d["detector"].as_str().unwrap()).collect();
    assert_eq!(found, ["static_pca", "l2"]);
    let measures = &detectors[1]["measures"];
    // The seed changes nothing about the distance from the mean.
    assert_eq!(
        (&measures["vus_pr"]["n"], &measures["vus_pr"]["deviation"]),
        (&2.into(), &0.0.into())
    );
    assert!(measures["vus_pr"]["mean"].as_f64().unwrap() > 0.5, "{measures}");
    assert!(measures["train_seconds"]["mean"].as_f64().unwrap() > 0.0, "{measures}");
    assert_eq!(suite["vus_pr_pairs"].as_array().unwrap().len(), 2);

    let text = run(&folder, &format!("{eval} --against l2")).well().stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("| servers (2 series) | VUS-PR | AUC-PR | best event F1 |"),
        "{text}"
    );
    assert!(lines[2].starts_with("| static_pca | ") && lines[2].contains(" ± "), "{text}");
    assert!(lines[5].starts_with("| VUS-PR of l2 ahead of | by |"), "{text}");
    assert!(lines[7].starts_with("| static_pca | ") && lines.len() == 8, "{text}");
}

#[test]
fn every_detector_is_compared_when_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    servers(folder.path());
    // A single server is a folder too.
    let text = run(&folder, "eval --suite frames --data @servers/one").well().stdout;
    let rows = text.lines().skip(2).take_while(|line| !line.is_empty());
    let found: Vec<&str> = rows.map(|line| line.split(' ').nth(1).unwrap()).collect();
    let known: Vec<&str> = DetectorKind::all().map(DetectorKind::name).collect();
    assert_eq!(found, known);
}

#[test]
fn folders_of_another_layout_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    servers(folder.path());
    let refused = |arguments: &str, message: &str| {
        let ended = run(&folder, arguments);
        assert_eq!(ended.code, Some(3), "{arguments}: {ended:#?}");
        assert!(ended.stderr.contains(message), "{arguments}: {}", ended.stderr);
    };
    refused(
        "eval --suite frames --data @",
        "has no folder with train.parquet and test.parquet (or .csv)",
    );
    refused("eval --suite coredns --data @servers", "has no data set with labels.csv");
    refused("eval --suite frames --data @nowhere", "cannot read `");
    table(&folder.path().join("servers/two/test.csv"), 200, None, false);
    refused(
        "eval --suite frames --data @servers",
        "test.csv` has no column `Label`: say what was wrong",
    );
    table(&folder.path().join("servers/two/test.csv"), 200, Some(120), true);
    table(&folder.path().join("servers/two/train.csv"), 50, None, false);
    refused(
        "eval --suite frames --data @servers --detector l2",
        "l2 on `two`: 50 rows in a row are too few",
    );
}

#[test]
fn recordings_are_judged_by_their_own_past_and_by_each_other() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let folder = tempfile::tempdir().unwrap();
    let sets = ["coredns-faults", "coredns-normal"].map(|name| data.join(name));
    let labelled = sets.iter().filter(|set| set.join("labels.csv").is_file()).count();
    let eval = format!("eval --suite coredns --data {} --detector l2 --json", data.display());
    let json = run(&folder, &eval).well().json();
    let series = json["suites"][0]["series"].as_array().unwrap();
    assert_eq!(series.len(), labelled * labelled, "{series:?}");
    assert_eq!(json["suites"][0]["suite"], "coredns");
}
