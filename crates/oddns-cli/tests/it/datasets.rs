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
