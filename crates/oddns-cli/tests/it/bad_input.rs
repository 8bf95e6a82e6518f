//! What cannot work: one clear message, the right exit code, nothing left behind, no panic.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::http;
use crate::made::{names, normal_recording, table};
use crate::oddns::{Ended, oddns};

const FAILED: i32 = 1;
const USAGE: i32 = 2;
const BAD_INPUT: i32 = 3;

/// A folder with a table, a model of it, and whatever a test adds.
struct Folder {
    folder: TempDir,
}

impl Folder {
    fn new() -> Self {
        let made = Self { folder: tempfile::tempdir().unwrap() };
        table(&made.path("data.csv"), 100, None, false);
        made.oddns("train --data @data.csv --out @dns.keras --epochs 1").well();
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Runs `oddns` with words; `@` stands for the folder.
    fn oddns(&self, arguments: &str) -> Ended {
        let folder = format!("{}/", self.folder.path().display());
        let arguments = arguments.split(' ').map(|word| word.replace('@', &folder));
        oddns(&arguments.collect::<Vec<_>>())
    }

    /// What `oddns` says when it fails as it should: standard error with `@` for the folder.
    fn fails(&self, code: i32, arguments: &str) -> String {
        let before = names(self.folder.path());
        let ended = self.oddns(arguments);
        assert_eq!(ended.code, Some(code), "{arguments}: {ended:#?}");
        assert!(!ended.stderr.contains("panicked"), "{arguments}: {ended:#?}");
        assert_eq!(names(self.folder.path()), before, "{arguments} left something behind");
        let folder = format!("{}/", self.folder.path().display());
        ended.stderr.replace(&folder, "@")
    }

    /// Fails with this message and nothing else.
    fn says(&self, code: i32, arguments: &str, message: &str) {
        assert_eq!(self.fails(code, arguments), format!("error: {message}\n"), "{arguments}");
    }

    /// Fails after a warning.
    fn warns(&self, code: i32, arguments: &str, warning: &str, message: &str) {
        let said = format!("warning: {warning}\nerror: {message}\n");
        assert_eq!(self.fails(code, arguments), said, "{arguments}");
    }
}

const COLLECT: &str = "--out @recording --for 2s --every 1s";
const NOTHING: &str = "no target could be scraped, nothing was recorded";

#[test]
fn an_unreachable_target() {
    let folder = Folder::new();
    // Bound and closed again: nothing listens there.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    folder.warns(
        FAILED,
        &format!("collect --target http://{address}/metrics {COLLECT}"),
        &format!(
            "{address}: nothing listens at http://{address}/metrics: is CoreDNS running with its \
             `prometheus` plugin enabled?: error sending request: client error (Connect): tcp \
             connect error: Connection refused (os error 111)"
        ),
        NOTHING,
    );
}

#[test]
fn a_target_that_is_no_coredns() {
    let folder = Folder::new();
    let text = "# HELP node_load1 1m load average.\n# TYPE node_load1 gauge\nnode_load1 0.5\n";
    let address = http::serve("text/plain; version=0.0.4", text);
    folder.says(
        BAD_INPUT,
        &format!("collect --target http://{address}/metrics {COLLECT}"),
        &format!(
            "{address} is no CoreDNS: none of its 1 metrics begins with `coredns_`; name the address \
             of the `prometheus` plugin, such as http://127.0.0.1:9153/metrics"
        ),
    );
}

#[test]
fn a_web_page_instead_of_metrics() {
    let folder = Folder::new();
    let page = "<!doctype html><title>Grafana</title>";
    let address = http::serve("text/html", page);
    folder.warns(
        FAILED,
        &format!("collect --target http://{address}/login {COLLECT}"),
        &format!(
            "{address}: http://{address}/login answers with an HTML page, not with metrics: is this \
             CoreDNS's `prometheus` address and path?"
        ),
        NOTHING,
    );
    folder.write("page.txt", page);
    folder.says(
        BAD_INPUT,
        "train --data @page.txt --out @new.keras",
        "`@page.txt` is a web page, not metrics: is the address that of `/metrics`?",
    );
}

#[test]
fn files_that_are_missing_empty_or_of_another_kind() {
    let folder = Folder::new();
    folder.write("empty.csv", "");
    folder.write("words.txt", "hello world\n");
    folder.write("labels.csv", "kind,start,end,instance,anomalous\n");
    folder.write(
        "node.txt",
        "# scrape 1700000000 a\nnode_load1 1\n# scrape 1700000001 a\nnode_load1 2\n",
    );
    folder.write("cell.csv", "timestamp,a\n1700000000,1\n1700000001,much\n");
    fs::create_dir(folder.path("folder")).unwrap();
    for (file, message) in [
        ("no.csv", "cannot read `@no.csv`: No such file or directory (os error 2)"),
        ("empty.csv", "`@empty.csv` is empty: expected metrics or a table of features"),
        ("words.txt", "`@words.txt` is neither metrics, Parquet nor a table of features"),
        ("labels.csv", "`@labels.csv` holds labels, not data"),
        ("cell.csv", "`@cell.csv`, line 3, column `a`: `much` is not a number"),
        (
            "node.txt",
            "`@node.txt`: instance `a` has no metric that begins with `coredns_`: record a CoreDNS \
             server's /metrics, or give a table of features instead",
        ),
        (
            "folder",
            "`@folder` has no folder `day=YYYY-MM-DD`: it is no data set; name a file to read one",
        ),
    ] {
        folder.says(BAD_INPUT, &format!("train --data @{file} --out @new.keras"), message);
        folder.says(
            BAD_INPUT,
            &format!("score --model @dns.keras --data @{file} --out @s.csv"),
            message,
        );
    }
}

#[test]
fn files_cut_short() {
    let folder = Folder::new();
    let parquet = fs::read(normal_recording().join("day=2026-11-22/part-0.parquet")).unwrap();
    folder.write("cut.parquet", &parquet[..100_000]);
    folder.says(
        BAD_INPUT,
        "train --data @cut.parquet --out @new.keras",
        "`@cut.parquet` is damaged or cut short: copy or record it again: Parquet error: Invalid \
         Parquet file. Corrupt footer",
    );
    let packed = gzipped(b"# scrape 1700000000 a\ncoredns_dns_requests_total 1\n");
    // The check sum at the end is missing.
    folder.write("cut.gz", &packed[..packed.len() - 5]);
    folder.says(
        BAD_INPUT,
        "train --data @cut.gz --out @new.keras",
        "`@cut.gz` ends in the middle of its gzip stream, after line 0: copy it again",
    );
}

fn gzipped(text: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut gzip = Command::new("gzip")
        .arg("-nc")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("gzip is part of every system");
    gzip.stdin.take().unwrap().write_all(text).unwrap();
    gzip.wait_with_output().unwrap().stdout
}

#[test]
fn a_recording_shorter_than_one_window() {
    let folder = Folder::new();
    table(&folder.path("short.csv"), 30, None, false);
    folder.says(
        BAD_INPUT,
        "train --data @short.csv --out @new.keras",
        "`@short.csv`: 30 rows in a row are too few to train on: at least 96 are needed, collect for \
         longer",
    );
    let message = "`@short.csv` has 30 rows, a first score needs 33: record longer";
    folder.says(BAD_INPUT, "score --model @dns.keras --data @short.csv --out @s.csv", message);
    folder.says(BAD_INPUT, "explain --model @dns.keras --data @short.csv --at 1700000010", message);
    folder.says(
        BAD_INPUT,
        "score --model @dns.keras --data @data.csv --out @s.csv --since 2030-01-01T00:00:00Z",
        "`@data.csv` has nothing within `--since`, `--until` and `--instance`: check them against the \
         data",
    );
}

#[test]
fn a_model_of_another_schema() {
    let folder = Folder::new();
    folder.write(
        "other.csv",
        fs::read_to_string(folder.path("data.csv")).unwrap().replace(",b", ",c"),
    );
    let trained = |model: &str, found| {
        format!(
            "{model}: the model was trained on feature schema ab40d7820d408076 (2 columns), the data \
             has {found}: train a new model on data like this"
        )
    };
    let data_of_coredns = format!("{} (107 columns)", "5f0e33356a1489e1");
    let other = trained("`@other.csv`", "ab443d820d43639f (2 columns)");
    folder.says(BAD_INPUT, "score --model @dns.keras --data @other.csv --out @s.csv", &other);
    folder.says(BAD_INPUT, "train --data @other.csv --from @dns.keras --out @new.keras", &other);
    folder.says(
        BAD_INPUT,
        "watch --target http://127.0.0.1:9/metrics --model @dns.keras --web.listen-address 127.0.0.1:0",
        &trained("`@dns.keras`", &data_of_coredns),
    );
}

#[test]
fn damaged_models() {
    let folder = Folder::new();
    let model = fs::read(folder.path("dns.keras")).unwrap();
    let mut flipped = model.clone();
    flipped[model.len() / 2] ^= 0x40;
    folder.write("flipped.keras", flipped);
    folder.write("cut.keras", &model[..model.len() / 2]);
    folder.write("empty.keras", "");
    folder.write("plain.keras", without_entry(&model, "config.json"));
    folder.write("foreign.keras", without_entry(&model, "oddns.json"));
    for (file, message) in [
        ("no.keras", "cannot read the model `@no.keras`: No such file or directory (os error 2)"),
        (
            "empty.keras",
            "`@empty.keras`: the model cannot be loaded: copy it again, or train a new one: not a `.keras` \
             file: it does not begin like a zip archive",
        ),
        (
            "cut.keras",
            "`@cut.keras`: the model cannot be loaded: copy it again, or train a new one: damaged or truncated \
             `.keras` file: cannot read its `table of contents`: invalid Zip archive: Could not \
             find EOCD",
        ),
        (
            "flipped.keras",
            "`@flipped.keras`: the model cannot be loaded: copy it again, or train a new one: damaged or \
             truncated `.keras` file: cannot read its `model.weights.h5`: Invalid checksum",
        ),
        (
            "plain.keras",
            "`@plain.keras`: the model cannot be loaded: copy it again, or train a new one: `.keras` file \
             without `config.json`: was it saved by Keras 3 or by oddns?",
        ),
        (
            "foreign.keras",
            "`@foreign.keras`: the file is a Keras model without the entry `oddns.json`: it was \
             not written by `oddns train`",
        ),
    ] {
        folder.says(
            BAD_INPUT,
            &format!("score --model @{file} --data @data.csv --out @s.csv"),
            message,
        );
    }
    for end in (0..model.len()).step_by(997) {
        folder.write("part.keras", &model[..end]);
        folder.fails(BAD_INPUT, "score --model @part.keras --data @data.csv --out @s.csv");
    }
}

/// The archive with an entry called something else; the names in a zip file have no checksum.
fn without_entry(archive: &[u8], entry: &str) -> Vec<u8> {
    let mut renamed = archive.to_vec();
    for at in 0..=archive.len() - entry.len() {
        if archive[at..].starts_with(entry.as_bytes()) {
            renamed[at] = b'X';
        }
    }
    renamed
}

#[test]
fn an_occupied_port() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let message = format!(
        "cannot listen at {address}: choose another place with `--web.listen-address`: Address \
         already in use (os error 98)"
    );
    folder.says(FAILED, &format!("demo --web.listen-address {address}"), &message);
    let recording = normal_recording();
    let data = recording.display();
    folder
        .oddns(&format!(
            "train --data {data} --since 2026-11-22T08:30:00Z --until 2026-11-22T08:32:00Z --out \
         @coredns.keras --epochs 1"
        ))
        .well();
    folder.says(
        FAILED,
        &format!(
            "watch --target http://127.0.0.1:9/metrics --model @coredns.keras --web.listen-address \
             {address}"
        ),
        &message,
    );
}

const FULL: &str = "cannot write `/dev/full`: No space left on device (os error 28)";

#[test]
fn a_device_that_is_full() {
    let folder = Folder::new();
    folder.says(FAILED, "train --data @data.csv --out /dev/full --epochs 1", FULL);
    let score = "score --model @dns.keras --data @data.csv";
    folder.says(FAILED, &format!("{score} --out /dev/full"), FULL);
    // Something to write has to be there.
    table(&folder.path("odd.csv"), 100, Some(60), false);
    let score = "score --model @dns.keras --data @odd.csv";
    folder.says(FAILED, &format!("{score} --out @s.csv --incidents /dev/full"), FULL);
}

/// A file system of this many KiB that is gone when dropped; `None` when mounting is not allowed.
struct Small(PathBuf);

impl Small {
    fn mount(at: PathBuf, kib: u32) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let size = format!("size={kib}k");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).output();
        mount.is_ok_and(|mount| mount.status.success()).then_some(Self(at))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_fills_up() {
    let folder = Folder::new();
    let Some(small) = Small::mount(folder.path("small"), 8) else {
        println!("skipped a_disk_that_fills_up: a small file system cannot be mounted here");
        return;
    };
    let score = "score --model @dns.keras --data @data.csv";
    let address = http::serve("text/plain", "coredns_panics_total 0\n");
    let collect = format!("collect --target http://{address}/metrics --for 2s --every 1s");
    for (arguments, n_used, name) in [
        ("train --data @data.csv --out @small/new.keras --epochs 1", 4096, "new.keras"),
        (&format!("{score} --out @small/s.csv"), 8192, "s.csv"),
        (&format!("{score} --out @small/s.parquet"), 8192, "s.parquet"),
        (&format!("{collect} --out @small/recording"), 8192, "recording/dataset.json"),
    ] {
        fs::write(small.0.join("filler"), vec![0; n_used]).unwrap();
        let said = folder.fails(FAILED, arguments);
        assert!(said.starts_with(&format!("error: cannot write `@small/{name}")), "{said}");
        assert!(said.contains("No space left on device") && said.lines().count() == 1, "{said}");
        assert_eq!(names(&small.0), ["filler"], "{arguments}");
    }
    // Scraping goes on, as there may be room again, and at the end it is told what was lost.
    fs::write(small.0.join("filler"), "").unwrap();
    let said = folder.fails(FAILED, &format!("{collect} --out @small/recording"));
    let warning = "warning: cannot write `@small/recording/_wal/0000000000.log`";
    assert!(said.starts_with(warning), "{said}");
    assert!(said.contains("are lost until this is mended\nerror: "), "{said}");
    assert!(said.ends_with(" could not be written and are lost, 0 are recorded\n"), "{said}");
    assert_eq!(names(&small.0), ["filler"]);
}

#[test]
fn places_that_cannot_be_written() {
    let folder = Folder::new();
    let score = "score --model @dns.keras --data @data.csv --out";
    folder.says(
        FAILED,
        &format!("{score} @no/s.csv"),
        "cannot write `@no/s.csv`: the folder `@no` does not exist, make it first",
    );
    fs::create_dir(folder.path("there")).unwrap();
    folder.says(
        FAILED,
        "train --data @data.csv --out @there",
        "cannot write `@there`: it is a folder, name a file",
    );
    let said = folder.fails(FAILED, &format!("{score} /proc/s.csv"));
    assert!(said.starts_with("error: cannot write `/proc/s.csv`: entity not found"), "{said}");
    fs::set_permissions(folder.path("there"), fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(folder.path("there/probe"), "").is_ok() {
        fs::remove_file(folder.path("there/probe")).unwrap();
        println!("skipped a folder without permission to write: this user may write everywhere");
        return;
    }
    let said = folder.fails(FAILED, &format!("{score} @there/s.csv"));
    assert!(said.starts_with("error: cannot write `@there/s.csv`: Permission denied"), "{said}");
}

#[test]
fn a_recording_does_not_mix_with_other_files() {
    let folder = Folder::new();
    fs::create_dir(folder.path("recording")).unwrap();
    folder.write("recording/thesis.txt", "{}");
    let address = http::serve("text/plain", "coredns_panics_total 0\n");
    let said =
        folder.fails(FAILED, &format!("collect --target http://{address}/metrics {COLLECT}"));
    assert_eq!(
        said,
        "error: `@recording` is already there: name another place, or remove it first\n"
    );
    assert_eq!(fs::read_to_string(folder.path("recording/thesis.txt")).unwrap(), "{}");
}

#[test]
fn wrong_use() {
    let folder = Folder::new();
    for (arguments, first_line) in [
        ("score --models @dns.keras", "unexpected argument '--models' found"),
        ("guess", "unrecognized subcommand 'guess'"),
        ("train --data @data.csv", "the following required arguments were not provided:"),
        (
            "score --model @dns.keras --data @data.csv --out @s.csv --since noon",
            "invalid value 'noon' for '--since <TIME>': `noon` is not a time: write RFC 3339 \
             (2026-11-22T07:11:52Z) or Unix seconds",
        ),
        (
            "collect --target http://127.0.0.1:9/metrics --out @r --every 0s",
            "invalid value '0s' for '--every <DURATION>': must be above zero",
        ),
        (
            "train --data @data.csv --out @new.keras --window 1",
            "invalid value '1' for '--window <N>': 1 is not in 32..=65536",
        ),
        ("watch", "no target to watch: name one by `--target` or under `scrape_configs`"),
        (
            "collect --target http://127.0.0.1:9/metrics --target 127.0.0.1:9 --out @r",
            "target `127.0.0.1:9` is given twice: give each host and port once",
        ),
    ] {
        let said = folder.fails(USAGE, arguments);
        assert_eq!(said.lines().next(), Some(&*format!("error: {first_line}")), "{arguments}");
    }
    folder.says(
        USAGE,
        "collect --target http://127.0.0.1:9/metrics --out @dns.keras",
        "`@dns.keras` is a file, and metrics are written into a folder: name a new one with `--out`",
    );
    folder.says(
        BAD_INPUT,
        "score --model @dns.keras --data @data.csv --out @s.txt",
        "`@s.txt` does not end in `.csv` or `.parquet`: name it so",
    );
}

#[test]
fn configurations_that_do_not_hold() {
    let folder = Folder::new();
    let text = "global:\n  scrap_interval: 5s\nscrape_configs:\n- job_name: a\n  scheme: gopher\n";
    folder.write("oddns.yml", text);
    let message = "`@oddns.yml`: line 2, column 3: unknown key `scrap_interval`: did you mean \
                   `scrape_interval`?\nerror: `@oddns.yml`: line 5, column 11: scheme `gopher` is \
                   not known: write http or https";
    folder.says(BAD_INPUT, "check-config @oddns.yml", message);
    folder.says(BAD_INPUT, "watch --config.file=@oddns.yml", message);
    let text = "scrape_configs:\n- job_name: a\n  scrape_interval: 5s\n  static_configs: [{targets: \
                [h:1]}]\n- job_name: b\n  static_configs: [{targets: [h:2]}]\n";
    folder.write("two.yml", text);
    let message = "job `a` scrapes every 5s and job `b` every 15s, and a recording has one interval: \
                   give both the same, or record each with a configuration and into a folder of its own";
    folder.says(BAD_INPUT, "collect --config.file=@two.yml --out @r", message);
    folder.says(
        BAD_INPUT,
        "check-config @no.yml",
        "cannot read `@no.yml`: No such file or directory (os error 2)",
    );
}
