//! `oddns dataset`.

use std::fs;
use std::path::PathBuf;

use crate::made::normal_recording;
use crate::oddns::{Ended, oddns};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs `oddns dataset` with words; `@` stands for the folder, `%` for the bundled recording.
    fn dataset(&self, arguments: &str) -> Ended {
        let folder = format!("{}/", self.0.path().display());
        let recording = normal_recording().display().to_string();
        let words = arguments.split(' ');
        let words = words.map(|word| word.replace('@', &folder).replace('%', &recording));
        oddns(&["dataset".to_owned()].into_iter().chain(words).collect::<Vec<_>>())
    }
}

const SCRAPES: &str = "# scrape 1795331512 dns-0\ncoredns_panics_total 1\n\
                       # scrape 1795331527 dns-0\ncoredns_panics_total 2\n";

#[test]
fn saved_scrapes_become_a_data_set_that_is_sound() {
    let folder = Folder::new();
    fs::write(folder.path("scrapes.txt"), SCRAPES).unwrap();
    let said = folder.dataset("import @scrapes.txt --out @set --output=json").well().json();
    assert!(said["samples"].as_u64().unwrap() >= 2, "{said}");
    let said = folder.dataset("validate @set --output=json").well().json();
    assert_eq!(said["mistakes"].as_array().unwrap().len(), 0, "{said}");
    let said = folder.dataset("describe @set --output=json").well().json();
    assert_eq!(said["instances"][0]["instance"], "dns-0");
    assert_eq!(said["instances"][0]["interval_seconds"], 15.0);
    // Again, and what was there stays once.
    folder.dataset("import @scrapes.txt --out @set").well();
    let again = folder.dataset("describe @set --output=json").well().json();
    assert_eq!(again["samples"], said["samples"]);
    folder.dataset("export @set --format openmetrics --out @set.om").well();
    let text = fs::read_to_string(folder.path("set.om")).unwrap();
    assert!(text.contains("coredns_panics_total{instance=\"dns-0\"} 2 1795331527.000\n"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn an_anonymous_copy_has_the_same_features() {
    let folder = Folder::new();
    let until = "--until 2026-11-22T08:30:00Z";
    folder.dataset(&format!("import % --out @set {until}")).well();
    fs::copy(normal_recording().join("labels.csv"), folder.path("set/labels.csv")).unwrap();
    folder.dataset("anonymise @set --out @hidden --salt-file @salt").well();
    for name in ["set", "hidden"] {
        folder.dataset(&format!("export @{name} --format tsb-ad --out @{name}-frames")).well();
    }
    let frames = |name: &str| {
        let entries = fs::read_dir(folder.path(name)).unwrap();
        let mut texts: Vec<String> =
            entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
        texts.sort();
        texts
    };
    let (plain, hidden) = (frames("set-frames"), frames("hidden-frames"));
    assert!(!plain.is_empty() && plain[0].lines().count() > 10);
    assert!(plain == hidden, "features differ");
}

#[test]
fn mistakes_end_with_3_and_their_place() {
    let folder = Folder::new();
    fs::write(folder.path("scrapes.txt"), SCRAPES).unwrap();
    folder.dataset("import @scrapes.txt --out @set").well();
    let part = fs::read_dir(folder.path("set/day=2026-11-22")).unwrap().next().unwrap().unwrap();
    let bytes = fs::read(part.path()).unwrap();
    fs::write(part.path(), &bytes[..bytes.len() - 10]).unwrap();
    let ended = folder.dataset("validate @set");
    assert_eq!(ended.code, Some(3), "{ended:#?}");
    assert!(ended.stdout.contains(".parquet`: is damaged or cut short"), "{ended:#?}");
    fs::write(folder.path("table.csv"), "timestamp,a\n1,2\n").unwrap();
    let ended = folder.dataset("import @table.csv --out @other");
    assert_eq!(ended.code, Some(3));
    assert!(ended.stderr.contains("is a table of features"), "{ended:#?}");
    assert!(!folder.path("other").exists());
}

/// Two servers at the same times; of one a second value for one time.
const OTHERS: &str = "# scrape 1795331512 dns-0\ncoredns_panics_total 7\n\
                      # scrape 1795331512 dns-1\ncoredns_panics_total 1\n";

#[test]
fn samples_that_contradict_each_other_are_counted() {
    let folder = Folder::new();
    fs::write(folder.path("scrapes.txt"), SCRAPES).unwrap();
    fs::write(folder.path("others.txt"), OTHERS).unwrap();
    let said = folder.dataset("import @scrapes.txt --out @set --output=json").well().json();
    assert_eq!(said["conflicts"], 0, "{said}");
    let n_samples = said["samples"].as_u64().unwrap();
    // What is there already is no second sample.
    let again = folder.dataset("import @scrapes.txt --out @set --output=json").well().json();
    let counts = [&again["samples"], &again["duplicates"], &again["conflicts"]];
    assert_eq!(counts.map(|count| count.as_u64().unwrap()), [0, n_samples, 0], "{again}");
    let described = folder.dataset("describe @set --output=json").well().json();
    assert_eq!(described["samples"], n_samples, "{described}");
    let said = folder.dataset("import @scrapes.txt @others.txt --out @both").well().stdout;
    let told = "\nleft out 1 sample: the series has another value at that time\n";
    assert!(said.ends_with(told), "{said}");
    // One data set against another one.
    folder.dataset("import @others.txt --out @other-set").well();
    let said = folder.dataset("import @scrapes.txt @other-set --out @third --output=json").well();
    assert_eq!(said.json()["conflicts"], 1);
}

#[test]
fn what_data_sets_say_beside_their_samples_comes_along() {
    let folder = Folder::new();
    fs::write(folder.path("scrapes.txt"), SCRAPES).unwrap();
    fs::write(folder.path("others.txt"), OTHERS).unwrap();
    let header = "kind,start,end,instance,anomalous\n";
    for (name, text, label) in [
        ("one", "scrapes", "restart,1795331512,1795331513,dns-0,1\n"),
        ("two", "others", "benign_deploy,1795331512,1795331514,*,0\n"),
    ] {
        folder.dataset(&format!("import @{text}.txt --out @{name}")).well();
        fs::write(folder.path(&format!("{name}/labels.csv")), format!("{header}{label}")).unwrap();
        let said = format!(r#"{{"name":"{name}","licence":"MIT","speed":72}}"#);
        fs::write(folder.path(&format!("{name}/dataset.json")), said).unwrap();
    }
    let said = |name: &str| {
        let text = fs::read_to_string(folder.path(&format!("{name}/dataset.json"))).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let labels = |name: &str| fs::read_to_string(folder.path(&format!("{name}/labels.csv")));
    folder.dataset("import @one --out @copy").well();
    assert_eq!(said("copy")["name"], "one");
    assert!(labels("copy").unwrap().contains("restart"));
    folder.dataset("import @one @two --out @both").well();
    let both = said("both");
    assert_eq!((&both["licence"], &both["speed"]), (&"MIT".into(), &72.into()), "{both}");
    assert!(both.get("name").is_none() && both.get("start").is_some(), "{both}");
    assert_eq!(labels("both").unwrap().lines().count(), 3);
    // Again, nothing is there twice.
    folder.dataset("import @two --out @both").well();
    assert_eq!(labels("both").unwrap().lines().count(), 3);
    folder.dataset("import @one @two --instance dns-1 --out @cut").well();
    assert_eq!(labels("cut").unwrap().lines().count(), 2);
    folder.dataset("import @scrapes.txt --out @unlabelled").well();
    assert!(labels("unlabelled").is_err());
}

#[test]
fn an_import_that_fails_leaves_nothing_new_behind() {
    let folder = Folder::new();
    fs::write(folder.path("scrapes.txt"), SCRAPES).unwrap();
    fs::write(folder.path("broken.txt"), format!("{SCRAPES}what is this?\n")).unwrap();
    let ended = folder.dataset("import @scrapes.txt @broken.txt --out @set");
    assert_eq!(ended.code, Some(3), "{ended:#?}");
    assert!(!folder.path("set").exists());
    folder.dataset("import @scrapes.txt --out @set").well();
    let ended = folder.dataset("import @scrapes.txt @broken.txt --out @set");
    assert_eq!(ended.code, Some(3), "{ended:#?}");
    assert!(ended.stderr.contains("run the same again to go on"), "{ended:#?}");
    folder.dataset("validate @set").well();
    let ended = folder.dataset("import @scrapes.txt --out @new --since 2030-01-01T00:00:00Z");
    assert_eq!((ended.code, folder.path("new").exists()), (Some(3), false), "{ended:#?}");
}

#[test]
fn a_server_that_is_not_there_is_told_with_those_that_are() {
    let folder = Folder::new();
    fs::write(folder.path("others.txt"), OTHERS).unwrap();
    folder.dataset("import @others.txt --out @set").well();
    for command in [
        "describe @set --instance nope",
        "export @set --format openmetrics --out @set.om --instance nope",
        "export @set --format tsb-ad --out @frames --instance nope",
        "import @set --out @new --instance nope",
        "import @others.txt --out @new --instance nope",
    ] {
        let ended = folder.dataset(command);
        assert_eq!(ended.code, Some(3), "{command}: {ended:#?}");
        let told = "has no instance `nope`: it has `dns-0`, `dns-1`\n";
        assert!(ended.stderr.ends_with(told), "{command}: {ended:#?}");
    }
    assert_eq!(fs::read_dir(folder.path("")).unwrap().count(), 2, "nothing is left behind");
    let ended =
        folder.dataset("describe @set --since 2027-01-01T00:00:00Z --until 2026-01-01T00:00:00Z");
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(ended.stderr.contains("is not before"), "{ended:#?}");
}

#[test]
fn places_that_cannot_be_written_are_told() {
    let folder = Folder::new();
    fs::write(folder.path("others.txt"), OTHERS).unwrap();
    folder.dataset("import @others.txt --out @set").well();
    let dash = "error: `-` is the name of no file here: for standard output say `/dev/stdout`, for \
                a file of that name `./-`\n";
    for command in [
        "export @set --format openmetrics --out -",
        "export @set --format tsb-ad --out -",
        "import @others.txt --out -",
        "anonymise @set --out - --salt-file @salt",
    ] {
        let ended = folder.dataset(command);
        assert_eq!((ended.code, &ended.stderr[..]), (Some(2), dash), "{command}");
    }
    let ended = folder.dataset("export @set --format openmetrics --out @nodir/x");
    assert_eq!(ended.code, Some(1));
    let path = folder.path("nodir");
    let told = format!("the folder `{}` does not exist, make it first\n", path.display());
    assert!(ended.stderr.ends_with(&told), "{ended:#?}");
    let whole = folder.dataset("export @set --format openmetrics --out /dev/stdout").well().stdout;
    assert!(whole.starts_with("# TYPE "), "{whole}");
}

#[test]
fn errors_are_json_where_results_are() {
    let folder = Folder::new();
    for (command, kind, exit_code) in [
        ("validate @nothing --output=json", "bad_input", 3),
        ("import @nothing --out @set --output json", "bad_input", 3),
        ("describe --output=json", "usage", 2),
        ("describe x --nonsense --output=json", "usage", 2),
    ] {
        let ended = folder.dataset(command);
        let error: serde_json::Value = serde_json::from_str(&ended.stderr).unwrap();
        let error = &error["error"];
        assert_eq!(
            (error["kind"].as_str(), ended.code),
            (Some(kind), Some(exit_code)),
            "{ended:#?}"
        );
        assert_eq!(error["exit_code"], exit_code);
        assert!(!error["message"].as_str().unwrap().starts_with("error"), "{error}");
    }
}

#[test]
fn what_is_not_damaged_can_be_kept() {
    let folder = Folder::new();
    folder.dataset("import % --out @set --until 2026-11-22T08:40:00Z").well();
    let whole = folder.dataset("describe @set --output=json").well().json();
    let part = folder.path("set/day=2026-11-22/part-0.parquet");
    let part = if part.is_file() {
        part
    } else {
        fs::read_dir(folder.path("set/day=2026-11-22")).unwrap().next().unwrap().unwrap().path()
    };
    let mut bytes = fs::read(&part).unwrap();
    bytes[1000] ^= 0x10;
    fs::write(&part, bytes).unwrap();
    let ended = folder.dataset("validate @set");
    assert_eq!(ended.code, Some(3), "{ended:#?}");
    assert!(ended.stdout.contains("row group 0, column `"), "{ended:#?}");
    let ended = folder.dataset("import @set --out @rest");
    assert_eq!(ended.code, Some(3));
    assert!(ended.stderr.contains("`oddns dataset import --skip-damaged`"), "{ended:#?}");
    let said = folder.dataset("import @set --out @rest --skip-damaged").well().stdout;
    assert!(said.starts_with("left out `") && said.contains("row group 0, column `"), "{said}");
    folder.dataset("validate @rest").well();
    let rest = folder.dataset("describe @rest --output=json").well().json();
    let samples = |said: &serde_json::Value| said["samples"].as_u64().unwrap();
    assert!(samples(&rest) > 0 && samples(&rest) < samples(&whole));
    let bytes = fs::read(&part).unwrap();
    fs::write(&part, &bytes[..bytes.len() - 10]).unwrap();
    let ended = folder.dataset("import @set --out @nothing --skip-damaged");
    assert_eq!((ended.code, folder.path("nothing").exists()), (Some(3), false), "{ended:#?}");
    assert!(ended.stderr.contains("nothing is left without what is damaged"), "{ended:#?}");
}

/// Fifteen minutes of two servers of the simulator; all fleets call them alike.
fn simulated(folder: &Folder, name: &str, seed: &str, scenario: &str) {
    let (path, out) = (folder.path(&format!("{name}.yml")), folder.path(name));
    fs::write(&path, format!("version: 1\nfor: 15m\n{scenario}")).unwrap();
    let (path, out) = (path.to_str().unwrap(), out.to_str().unwrap());
    oddns(&["simulate", "--scenario", path, "--seed", seed, "--out", out]).well();
}

#[test]
fn servers_of_one_name_that_are_not_one_are_refused() {
    let folder = Folder::new();
    simulated(&folder, "one", "1", "");
    simulated(&folder, "other", "2", "");
    simulated(&folder, "often", "3", "every: 7s\n");
    simulated(&folder, "later", "2", "start: 2026-01-05T00:15:00Z\n");
    folder.dataset("export @other --format openmetrics --out @other.om").well();
    for (sources, of) in [
        ("@one @other", ["one", "other"]),
        ("@one @often", ["one", "often"]),
        ("@one @one @other", ["one", "other"]),
        ("@one @other.om", ["one", "other.om"]),
    ] {
        let ended = folder.dataset(&format!("import {sources} --out @both"));
        assert_eq!((ended.code, folder.path("both").exists()), (Some(3), false), "{ended:#?}");
        let [one, other] = of.map(|name| folder.path(name).display().to_string());
        let told = format!(
            "`{one}` and `{other}` both have the server `coredns-0:9153` and 1 more, with other samples"
        );
        assert!(ended.stderr.contains(&told), "{told}: {}", ended.stderr);
        assert!(ended.stderr.contains("import each into a folder of its own"), "{}", ended.stderr);
    }
    // What is there already stays as it is.
    folder.dataset("import @one --out @kept").well();
    let before = folder.dataset("describe @kept --output=json").well().stdout;
    let ended = folder.dataset("import @other --out @kept");
    assert_eq!(ended.code, Some(3), "{ended:#?}");
    assert!(ended.stderr.contains("kept` and `"), "{}", ended.stderr);
    assert_eq!(folder.dataset("describe @kept --output=json").well().stdout, before);
    // One server: a copy, parts of it, and what was recorded later.
    folder.dataset("import @one --out @kept").well();
    folder.dataset("import @one --until 2026-01-05T00:10:00Z --out @first").well();
    folder.dataset("import @one --since 2026-01-05T00:05:00Z --out @last").well();
    folder.dataset("import @first @last @later --out @joined").well();
    let joined = folder.dataset("describe @joined --instance coredns-0:9153 --output=json").well();
    assert_eq!(joined.json()["instances"][0]["scrapes"], 120, "{joined:#?}");
    // What does not pass cannot be mixed.
    folder.dataset("import @one @other --instance coredns-7:9153 --out @none");
    let ended = folder.dataset("import @one @other --instance coredns-1:9153 --out @cut");
    assert!(ended.stderr.contains("the server `coredns-1:9153`, with"), "{}", ended.stderr);
}

#[test]
fn what_labels_and_clients_say_of_nothing_is_found() {
    let folder = Folder::new();
    simulated(&folder, "set", "1", "");
    let write = |name: &str, text: &str| fs::write(folder.path("set").join(name), text).unwrap();
    // From 00:00:00 to 00:15:00.
    let header = "kind,start,end,instance,anomalous\n";
    let sound = "restart,1767571260,1767571320,coredns-0:9153,1\n";
    write("labels.csv", &format!("{header}{sound}"));
    folder.dataset("validate @set").well();
    for (label, told) in [
        ("gremlins,1767571260,1767571320,*,1", "line 3: there is no fault `gremlins`"),
        (
            "restart,1767571260,1767571320,dns-9,1",
            "line 3: no samples are of server `dns-9`: there are `coredns-0:9153`, `coredns-1:9153`",
        ),
        ("restart,1767471260,1767471320,*,1", "line 3: `restart`, from 2026-01-03T"),
        (
            "restart,1767671260,1767671320,*,1",
            "lies outside of the recording, 2026-01-05T00:00:15.000Z to 2026-01-05T00:15:00.000Z",
        ),
    ] {
        write("labels.csv", &format!("{header}{sound}{label}\n"));
        let ended = folder.dataset("validate @set");
        assert_eq!(ended.code, Some(3), "{label}: {ended:#?}");
        assert!(
            ended.stdout.contains(&format!("labels.csv`, {told}")) || ended.stdout.contains(told),
            "{told}: {ended:#?}"
        );
        assert!(ended.stderr.contains("has 1 mistake\n"), "{ended:#?}");
    }
    // Others may call what happened as they like.
    write("labels.csv", &format!("{header}gremlins,1767571260,1767571320,*,1\n"));
    let about = fs::read_to_string(folder.path("set/dataset.json")).unwrap();
    write("dataset.json", &about.replace("\"scenario\"", "\"site\""));
    folder.dataset("validate @set").well();
    write("dataset.json", &about);
    write("labels.csv", header);

    let row = "12,12,0,0,0,6,0,6,0,5,0,0,0.3,0.01\n";
    for (rows, told) in [
        (format!("1767571260,{row}1767571261,{row}"), None),
        (
            format!("1767571261,{row}1767571260,{row}"),
            Some("line 3: second 1767571260 comes after"),
        ),
        (
            "1767571260,-1,12,0,0,0,6,0,6,0,5,0,0,0.3,0.01\n".to_owned(),
            Some("line 2, column `sent`: `-1` is not"),
        ),
        (
            format!("1767471260,{row}"),
            Some("line 2: second 1767471260 lies outside of the recording"),
        ),
    ] {
        write("client_stats.csv", &format!("{CLIENTS}{rows}"));
        let ended = folder.dataset("validate @set");
        assert_eq!(ended.code, Some(if told.is_some() { 3 } else { 0 }), "{ended:#?}");
        assert!(ended.stdout.contains(told.unwrap_or("is sound")), "{ended:#?}");
    }
    for text in ["second,sent\n1,2\n", "\u{1}garbage\0", ""] {
        write("client_stats.csv", text);
        let ended = folder.dataset("validate @set");
        assert_eq!(ended.code, Some(3), "{ended:#?}");
        assert!(ended.stdout.contains("client_stats.csv`"), "{ended:#?}");
    }
}

/// The header of `client_stats.csv`.
const CLIENTS: &str = "second,sent,answered,timeouts,unsent,truncated,noerror,servfail,nxdomain,\
                       refused,lookups,failed_lookups,slow_lookups,latency_sum_seconds,\
                       latency_max_seconds\n";

#[test]
fn what_clients_felt_comes_along() {
    let folder = Folder::new();
    fs::write(folder.path("scrapes.txt"), SCRAPES).unwrap();
    folder.dataset("import @scrapes.txt --out @one").well();
    folder.dataset("import @scrapes.txt --out @two").well();
    let row = |second: u64, sent: u64| {
        format!("{second},{sent},9,0,0,0,6,0,6,0,5,0,0,0.300000,0.010000\n")
    };
    let write = |name: &str, rows: &[String]| {
        let text = CLIENTS.to_owned() + &rows.concat();
        fs::write(folder.path(name).join("client_stats.csv"), text).unwrap();
    };
    let clients = |name: &str| fs::read_to_string(folder.path(name).join("client_stats.csv"));
    let [first, second, third, other] = [
        row(1_795_331_512, 1),
        row(1_795_331_513, 2),
        row(1_795_331_527, 3),
        row(1_795_331_513, 4),
    ];
    write("one", &[first.clone(), second.clone()]);
    write("two", &[other, third.clone()]);
    folder.dataset("import @one @two --out @both").well();
    let all = CLIENTS.to_owned() + &[first.clone(), second, third.clone()].concat();
    assert_eq!(clients("both").unwrap(), all);
    folder.dataset("import @two --out @both").well();
    assert_eq!(clients("both").unwrap(), all);
    folder.dataset("import @both --since 1795331520 --out @cut").well();
    assert_eq!(clients("cut").unwrap(), CLIENTS.to_owned() + &third);
    folder.dataset("import @both --until 1795331513 --out @begun").well();
    assert_eq!(clients("begun").unwrap(), CLIENTS.to_owned() + &first);
    folder.dataset("anonymise @both --out @hidden --salt-file @salt").well();
    assert_eq!(clients("hidden").unwrap(), all);
    folder.dataset("import @scrapes.txt --out @silent").well();
    assert!(clients("silent").is_err());
    fs::write(folder.path("two/client_stats.csv"), "garbage\n").unwrap();
    // Others note it in another form.
    let ended = folder.dataset("import @two --out @other").well();
    assert!(ended.stderr.contains("client_stats.csv`, column `second`"), "{ended:#?}");
    assert!(ended.stderr.contains("what clients felt is not taken along"), "{ended:#?}");
    assert!(clients("other").is_err());
}

#[test]
fn a_collection_is_told_with_its_folders() {
    let folder = Folder::new();
    fs::write(folder.path("scrapes.txt"), SCRAPES).unwrap();
    for name in ["real/a", "real/b", "simulated/c", "simulated/d"] {
        fs::create_dir_all(folder.path(&format!("all/{name}"))).unwrap();
        folder.dataset(&format!("import @scrapes.txt --out @all/{name}")).well();
    }
    let named = ["real/a", "real/b", "simulated/c"]
        .map(|name| format!("`{}`", folder.path("all").join(name).display()));
    let told =
        format!("is a collection of 4 data sets: name one of them, such as {}\n", named.join(", "));
    for command in
        ["describe @all", "import @all --out @new", "export @all --format tsb-ad --out @new"]
    {
        let ended = folder.dataset(command);
        assert_eq!(ended.code, Some(3), "{command}: {ended:#?}");
        assert!(ended.stderr.ends_with(&told), "{command}: {ended:#?}");
    }
    assert!(folder.dataset("validate @all").stdout.ends_with(&told));
    let ended = folder.dataset("describe @all/real");
    assert!(ended.stderr.contains("is a collection of 2 data sets"), "{ended:#?}");
}
