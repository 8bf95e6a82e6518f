//! A writer that is killed, again and again.

use std::path::Path;
use std::process::Command;

#[path = "../../examples/torture.rs"]
mod killing;

/// Says to the test below that it is the writer.
const WRITER: &str = "ODDNS_TORTURE_WRITER";

#[test]
fn no_synced_sample_is_lost_and_none_is_there_twice() {
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let report = killing::torture(folder.path(), 10, 7, |first| {
        let mut writer = Command::new(&program);
        writer.args(["torture::writer", "--exact", "--nocapture"]);
        writer.env(WRITER, format!("{first} {}", folder.path().display()));
        writer
    });
    let report = report.unwrap();
    assert_eq!((report.kills, report.missing, report.twice), (10, 0, 0));
    assert!(report.synced > 0);
}

/// Does nothing unless the test above starts it.
#[test]
fn writer() {
    let Ok(task) = std::env::var(WRITER) else { return };
    let (first, root) = task.split_once(' ').unwrap();
    killing::write(Path::new(root), first.parse().unwrap()).unwrap();
}
