//! What each subcommand writes and prints when all goes well.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::http::serve;
use crate::made::{START, names, normal_recording, table};
use crate::oddns::{Ended, oddns};

const SUBCOMMANDS: [&str; 12] = [
    "demo",
    "watch",
    "collect",
    "train",
    "update",
    "score",
    "explain",
    "eval",
    "import",
    "export",
    "simulate",
    "check-config",
];

/// A folder with a made table of normal operation, one with a jump, and a model of the first.
struct Made {
    folder: TempDir,
}

impl Made {
    fn new() -> Self {
        let made = Self { folder: tempfile::tempdir().unwrap() };
        table(&made.path("normal.csv"), 400, None, false);
        table(&made.path("odd.csv"), 200, Some(150), true);
        made.train("dns.keras", &[]).well();
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs `oddns`; arguments that begin with `@` are names in the folder.
    fn oddns(&self, arguments: &[&str]) -> Ended {
        let full = |argument: &&str| match argument.strip_prefix('@') {
            Some(name) => self.path(name).into_os_string(),
            None => argument.into(),
        };
        oddns(&arguments.iter().map(full).collect::<Vec<_>>())
    }

    fn train(&self, out: &str, more: &[&str]) -> Ended {
        let out = format!("@{out}");
        let train = ["train", "--data", "@normal.csv", "--out", &out, "--epochs", "20"];
        self.oddns(&[&train, more].concat())
    }

    fn score(&self, out: &str, more: &[&str]) -> Ended {
        let out = format!("@{out}");
        let score = ["score", "--model", "@dns.keras", "--data", "@odd.csv", "--out", &out];
        self.oddns(&[&score, more].concat())
    }
}

/// Made once: training is the slow part.
static MADE: LazyLock<Made> = LazyLock::new(Made::new);

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn help_of_every_subcommand_has_an_example() {
    for name in SUBCOMMANDS {
        let help = oddns(&[name, "--help"]).well().stdout;
        let (_, examples) =
            help.split_once("\nExample").unwrap_or_else(|| panic!("{name}: {help}"));
        assert!(examples.contains(&format!("oddns {name} ")), "{help}");
        assert!(help.contains("--output <OUTPUT>"), "{help}");
    }
    let help = oddns(&["--help"]).well().stdout;
    assert!(SUBCOMMANDS.iter().all(|name| help.contains(&format!("  {name}  "))), "{help}");
    assert!(oddns(&["--version"]).well().stdout.starts_with("oddns "));
}

#[test]
fn training_tells_what_it_learned_and_repeats_itself() {
    let json = MADE.train("again.keras", &["--output=json"]).well().json();
    let expected = [
        "alarms_per_week",
        "bytes",
        "detector",
        "features",
        "from",
        "instances",
        "interval_seconds",
        "loss",
        "model",
        "parameters",
        "rows",
        "schema",
        "seconds",
        "seed",
        "steps",
        "until",
    ];
    assert_eq!(keys(&json), expected);
    assert_eq!((json["features"].as_u64(), json["rows"].as_u64()), (Some(2), Some(400)));
    assert_eq!(json["from"], "2023-11-14T22:13:20.000Z");
    let bytes = |name| fs::read(MADE.path(name)).unwrap();
    assert_eq!(json["bytes"].as_u64(), Some(bytes("again.keras").len() as u64));
    assert!(bytes("again.keras") == bytes("dns.keras"), "the same seed and data, another model");
    MADE.train("other.keras", &["--seed", "2"]).well();
    assert!(bytes("other.keras") != bytes("dns.keras"), "another seed, the same model");
}

#[test]
fn training_goes_on_from_a_model() {
    let more = ["--from", "@dns.keras", "--output=json"];
    let on = MADE.train("on.keras", &more).well().json();
    let anew = MADE.train("anew.keras", &["--output=json"]).well().json();
    let loss = |json: &Value| json["loss"].as_f64().unwrap();
    assert!(loss(&on) < loss(&anew), "{on} {anew}");
    let text = MADE.train("on.keras", &["--from", "@dns.keras"]).well().stdout;
    assert!(text.starts_with("learned 2 features from 400 rows of 1 instance(s) in "), "{text}");
}

#[test]
fn scores_and_incidents_are_written_as_documented() {
    let ended = MADE.score("s.csv", &["--incidents", "@i.jsonl", "--output=json"]).well();
    let json = ended.json();
    assert_eq!(keys(&json), ["alarmed_rows", "incidents", "rows"]);
    let text = MADE.text("s.csv");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "timestamp,instance,score,alarm,top_features");
    assert_eq!(lines.len(), 201);
    assert!(lines[1].starts_with("2023-11-14T22:13:20.000Z,,0."), "{}", lines[1]);
    assert!(lines[200].contains(",1,b;a"), "{}", lines[200]);
    let alarmed = lines.iter().filter(|line| line.contains(",1,")).count();
    assert_eq!(json["alarmed_rows"].as_u64(), Some(alarmed as u64));

    let incidents = MADE.text("i.jsonl");
    let incidents: Vec<Value> =
        incidents.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json["incidents"].as_array(), Some(&incidents));
    let [incident] = &incidents[..] else { panic!("{incidents:#?}") };
    let expected = [
        "alternatives",
        "cause",
        "end",
        "id",
        "instance",
        "movements",
        "peak",
        "peak_score",
        "severity",
        "start",
    ];
    assert_eq!(keys(incident), expected);
    assert_eq!(keys(&incident["cause"]), ["confidence", "name", "next_steps", "summary"]);
    assert_eq!(incident["movements"][0]["feature"], "b");
}

#[test]
fn scores_are_the_same_each_time() {
    for out in ["1.csv", "2.csv"] {
        MADE.score(out, &["--incidents", &format!("@{out}.jsonl")]).well();
    }
    assert_eq!(MADE.text("1.csv"), MADE.text("2.csv"));
    assert_eq!(MADE.text("1.csv.jsonl"), MADE.text("2.csv.jsonl"));
}

#[test]
fn since_and_until_cut_the_rows() {
    let (since, until) = ((START + 50).to_string(), "2023-11-14T22:15:00Z");
    MADE.score("cut.csv", &["--since", &since, "--until", until]).well();
    let text = MADE.text("cut.csv");
    assert_eq!(text.lines().count(), 51, "{text}");
    assert!(text.lines().nth(1).unwrap().starts_with("2023-11-14T22:14:10.000Z,"));
    assert!(text.lines().last().unwrap().starts_with("2023-11-14T22:14:59.000Z,"));
}

#[test]
fn eval_reads_what_score_writes_in_either_format() {
    let (start, end) = (START + 150, START + 200);
    let labels = format!("kind,start,end,instance,anomalous\njump,{start},{end},*,1\n");
    fs::write(MADE.path("labels.csv"), labels).unwrap();
    let eval = |scores: &str, more| {
        MADE.oddns(&["eval", "--scores", scores, "--labels", "@labels.csv", more]).well()
    };
    MADE.score("e.csv", &[]).well();
    MADE.score("e.parquet", &[]).well();
    let json = eval("@e.csv", "--json").json();
    assert_eq!(json, eval("@e.parquet", "--output=json").json());
    assert_eq!(keys(&json), ["alarms", "events", "outcomes", "points"]);
    assert_eq!((&json["events"]["caught"], &json["alarms"]["false"]), (&1.into(), &0.into()));
    assert_eq!(json["outcomes"][0]["kind"], "jump");
    assert!(json["points"]["vus_pr"].as_f64().unwrap() > 0.9, "{json}");
    let text = eval("@e.csv", "--output=text").stdout;
    assert!(text.contains("events caught         1 of 1\n"), "{text}");
}

#[test]
fn explain_names_what_moved() {
    let at = (START + 160).to_string();
    let explain = |more| {
        let base = ["explain", "--model", "@dns.keras", "--data", "@odd.csv", "--at", &at, more];
        MADE.oddns(&base).well()
    };
    let json = explain("--output=json").json();
    let row = &json[0];
    let expected = [
        "alarm",
        "causes",
        "contributions",
        "incident",
        "instance",
        "latent_cluster",
        "score",
        "timestamp",
        "warming_up",
    ];
    assert_eq!(keys(row), expected);
    assert_eq!((&row["alarm"], &row["warming_up"]), (&true.into(), &false.into()));
    assert_eq!(row["contributions"][0]["feature"], "b");
    assert_eq!(row["contributions"][0]["direction"], "up");
    assert_eq!(row["causes"][0]["name"], "unknown");
    for number in ["observed", "expected", "deviation", "share"] {
        let written = row["contributions"][0][number].to_string();
        assert!(written.len() < 13, "{number}: {written} is more than a 32-bit float can mean");
    }
    assert!(row["score"].as_f64().unwrap() > 1.0 && !row["incident"].is_null(), "{row}");
    let text = explain("--output=text").stdout;
    assert!(text.starts_with("2023-11-14T22:16:00.000Z  score "), "{text}");
    let words: Vec<&str> = text.split_whitespace().collect();
    let has = |expected: &str| {
        let expected: Vec<&str> = expected.split_whitespace().collect();
        assert!(words.windows(expected.len()).any(|w| w == expected), "{expected:?}: {text}");
    };
    has("ALARM feature expected observed sigmas share b");
    has("critical, peak");
    assert!(text.contains("  moved:  b 10."), "{text}");
    // No cause of CoreDNS moves a column of another table.
    has("likeliest causes: unknown (99 %) – The metrics moved together");
    has("next: look at the features that moved, strongest first");
}

#[test]
fn explain_draws_the_moment_as_svg_or_png() {
    let at = (START + 160).to_string();
    let plot = |file| {
        let base = ["explain", "--model", "@dns.keras", "--data", "@odd.csv", "--at", &at];
        MADE.oddns(&[&base[..], &["--plot", file]].concat())
    };
    plot("@why.svg").well();
    let svg = MADE.text("why.svg");
    assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"), "{svg}");
    for text in [">b</text>", ">alarm line  1</text>", ">σ from normal</text>", "22:16:00 UTC"] {
        assert!(svg.contains(text), "{text}: {svg}");
    }
    plot("@why.PNG").well();
    let png = fs::read(MADE.path("why.PNG")).unwrap();
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
    let ended = plot("@why.jpeg");
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("why.jpeg` is neither an .svg nor a .png file"));
    assert!(!MADE.path("why.jpeg").exists());
}

#[test]
fn check_config_counts_the_targets() {
    let config = "scrape_configs:\n- job_name: dns\n  static_configs: [{targets: [a:1, b:2]}]\n";
    fs::write(MADE.path("oddns.yml"), config).unwrap();
    let json = MADE.oddns(&["check-config", "@oddns.yml", "--output=json"]).well().json();
    assert_eq!((&json["valid"], &json["targets"]), (&true.into(), &2.into()));
    let text = MADE.oddns(&["check-config", "@oddns.yml"]).well().stdout;
    assert!(text.ends_with("oddns.yml` is valid: 2 target(s)\n"), "{text}");
}

#[test]
fn check_config_looks_at_the_files_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let config = "model: dns.keras\nscrape_configs:\n- job_name: dns\n  bearer_token_file: token\n  \
                  file_sd_configs: [{files: [dns.yml]}]\n";
    fs::write(path("oddns.yml"), config).unwrap();
    let check = || oddns(&["check-config".into(), path("oddns.yml").into_os_string()]);
    let ended = check();
    assert_eq!(ended.code, Some(3));
    assert!(ended.stderr.contains("line 4, column 22: cannot read `"), "{}", ended.stderr);
    fs::write(path("token"), "secret").unwrap();
    fs::write(path("dns.yml"), "- targets: [a:1]\n").unwrap();
    let ended = check().well();
    assert!(ended.stderr.starts_with("warning: `") && ended.stderr.contains("dns.keras"));
    let expected = "oddns.yml` is valid: 0 target(s), and 1 way(s) to find more\n";
    assert!(ended.stdout.ends_with(expected), "{}", ended.stdout);
}

#[test]
fn a_whole_prometheus_yml_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prometheus.yml");
    let text = "global:\n  scrape_interval: 15s\n  evaluation_interval: 15s\nrule_files: [a.yml]\n\
                remote_read:\n  - url: http://x\nscrape_configs:\n- job_name: a\n  \
                static_configs: [{targets: ['h:1', 'h:1', 'i:1', 'j:1']}]\n  relabel_configs:\n  - \
                {source_labels: [__address__], regex: 'j:1', action: drop}\n- job_name: b\n  \
                static_configs: [{targets: ['h:1']}]\n";
    fs::write(&path, text).unwrap();
    let ended = oddns(&["check-config".as_ref(), path.as_os_str()]).well();
    assert!(ended.stdout.ends_with("is valid: 2 target(s)\n"), "{ended:#?}");
    let lines: Vec<&str> =
        ended.stderr.lines().map(|line| line.split_once("`: line ").unwrap().1).collect();
    assert_eq!(
        lines,
        [
            "3, column 3: `evaluation_interval` is not used by oddns",
            "4, column 1: `rule_files` is not used by oddns",
            "5, column 1: `remote_read` is not used by oddns",
            "13, column 31: target `h:1` of job `b` has the instance `h:1`, as a target of job `a` \
             has: it is not scraped; give it another `instance` by `relabel_configs`",
        ]
    );
    let json = oddns(&["check-config", "--output=json", path.to_str().unwrap()]).well().json();
    assert_eq!((json["targets"].as_u64(), &json["valid"]), (Some(2), &true.into()));
    fs::write(&path, "globl: {}\nmodle: a\n").unwrap();
    let ended = oddns(&["check-config", "--output=json", path.to_str().unwrap()]);
    assert_eq!((ended.code, ended.json()["errors"][1]["line"].as_u64()), (Some(3), Some(2)));
}

#[test]
fn targets_found_in_a_file_are_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let address = serve("text/plain", "coredns_build_info 1\ngo_goroutines 9\n");
    let config = "scrape_configs:\n- job_name: dns\n  scrape_interval: 200ms\n  file_sd_configs: \
                  [{files: [dns-*.json]}]\n  relabel_configs: [{target_label: instance, \
                  replacement: one}]\n  metric_relabel_configs: [{source_labels: [__name__], \
                  regex: go_.*, action: drop}]\n";
    fs::write(path("oddns.yml"), config).unwrap();
    fs::write(path("dns-1.json"), format!("[{{\"targets\": [\"{address}\"]}}]")).unwrap();
    let config = format!("--config.file={}", path("oddns.yml").display());
    let out = path("recording").display().to_string();
    let arguments = ["collect", &config, "--out", &out, "--for", "2s", "--output=json"];
    let json = oddns(&arguments).well().json();
    let (scrapes, samples) = (json["scrapes"].as_u64().unwrap(), json["samples"].as_u64().unwrap());
    assert!(scrapes >= 3 && samples == 3 * scrapes && json["failed"] == 0, "{json}");
    let described = fs::read_to_string(path("recording/dataset.json")).unwrap();
    let described: Value = serde_json::from_str(&described).unwrap();
    assert_eq!(described["instances"], serde_json::json!(["one"]));
}

/// Arguments for a part of the bundled recording of normal traffic.
fn recorded<'a>(recording: &'a Path, since: &'a str, until: &'a str) -> [&'a str; 6] {
    ["--data", recording.to_str().unwrap(), "--since", since, "--until", until]
}

#[test]
fn a_recording_of_coredns_trains_and_scores_by_instance() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let recording = normal_recording();
    let first = recorded(&recording, "2026-11-22T08:30:00Z", "2026-11-22T08:36:00Z");
    let later = recorded(&recording, "2026-11-22T08:36:00Z", "2026-11-22T08:38:00Z");
    let (model, scores) = (path("dns.keras"), path("scores.csv"));

    let train = ["train", "--out", &model, "--epochs", "20", "--output=json"];
    let json = oddns(&[&train[..], &first].concat()).well().json();
    assert_eq!(json["instances"], 2);
    assert_eq!(json["interval_seconds"], 1.0);

    let score = ["score", "--model", &model, "--out", &scores, "--output=json"];
    let json = oddns(&[&score[..], &later].concat()).well().json();
    let both = json["rows"].as_u64().unwrap();
    let one = oddns(&[&score[..], &later, &["--instance", "sut1"]].concat()).well().json();
    let one = one["rows"].as_u64().unwrap();
    assert!(both > 200 && one < both && one > 100, "{both} {one}");
    let text = fs::read_to_string(&scores).unwrap();
    assert!(text.lines().skip(1).all(|line| line.contains("Z,sut1,")), "{text}");
    assert_eq!(names(folder.path()), ["dns.keras", "scores.csv"]);
}

#[test]
fn a_network_of_ones_own_is_imported_trained_on_and_exported() {
    let made = &*MADE;
    made.train("plain.keras", &["--detector", "reconstruction"]).well();
    let imported = made.oddns(&["import", "@plain.keras", "--out", "@own.keras", "--output=json"]);
    let told = imported.well().json();
    assert_eq!(told["layers"][0]["class"], "InputLayer");
    let scored = ["score", "--model", "@own.keras", "--data", "@odd.csv", "--out", "@s.csv"];
    assert_eq!(made.oddns(&scored).code, Some(3), "it is not calibrated");
    let kept = ["train", "--data", "@normal.csv", "--out", "@kept.keras", "--from", "@own.keras"];
    let told = made.oddns(&[&kept[..], &["--epochs", "0", "--output=json"]].concat()).well().json();
    assert_eq!((&told["steps"], &told["detector"]), (&0.into(), &"reconstruction".into()));
    let export = ["export", "--model", "@kept.keras", "--onnx", "@own.onnx"];
    let told = made.oddns(&[&export[..], &["--safetensors", "@own.safetensors"]].concat()).well();
    assert_eq!(told.stdout.matches("wrote `").count(), 2);
    // The graph of a detector is no network that can be trained; weights begin with a length.
    let error = made.oddns(&["import", "@own.onnx", "--out", "@no.keras"]);
    assert_eq!(error.code, Some(3));
    assert!(
        error.stderr.contains("load the `.keras` file that it was exported from"),
        "{error:#?}"
    );
    assert_eq!(fs::read(made.path("own.safetensors")).unwrap()[8], b'{');
}
