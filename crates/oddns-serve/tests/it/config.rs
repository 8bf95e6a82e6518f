//! Configuration files, each with what is expected of it in its comments: of a good one what it
//! comes to, of a bad one the message.

use std::path::{Path, PathBuf};

use oddns_collect::format_duration;
use oddns_serve::{Config, check_config};

fn files(ending: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(ending));
    files.sort();
    assert!(files.len() > 3, "{files:?}");
    files
}

fn expected(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("# expect: ")).collect();
    lines.join("\n")
}

fn summary(config: &Config) -> String {
    let model = config.model.as_ref().map_or("none".into(), |path| path.display().to_string());
    let mut lines = vec![format!("listen {}, model {model}", config.listen_address)];
    lines.extend(config.targets.iter().map(|target| {
        let (every, within) = (format_duration(target.interval), format_duration(target.timeout));
        format!("{} {} every {every} within {within}", target.job, target.target)
    }));
    lines.join("\n")
}

#[test]
fn good_files_come_to_what_they_say() {
    for file in files(".good.yml") {
        let text = std::fs::read_to_string(&file).unwrap();
        let found = check_config(&text).map(|config| summary(&config));
        assert_eq!(found, Ok(expected(&text)), "{}", file.display());
    }
}

#[test]
fn bad_files_are_refused_with_place_and_advice() {
    for file in files(".bad.yml") {
        let text = std::fs::read_to_string(&file).unwrap();
        let found = check_config(&text).map_err(|error| error.to_string());
        let found = found.map(|config| summary(&config)).expect_err(&file.display().to_string());
        assert!(found.starts_with(&expected(&text)), "{}: {found}", file.display());
    }
}

#[test]
fn a_huge_file_is_not_read() {
    let error = check_config(&" ".repeat(2 << 20)).unwrap_err();
    assert!(error.message.contains("is it the right file?"), "{error}");
}
