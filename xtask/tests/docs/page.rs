//! Runs the examples of each page.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::block::{Example, examples, words};
use crate::coredns::Coredns;
use crate::program;

/// Name in the page's folder, and folder of the bundled recording.
const RECORDINGS: [(&str, &str); 2] =
    [("recording", "coredns-normal"), ("faults", "coredns-faults")];
const METRICS: &str = "127.0.0.1:9153";

/// Where a page's examples run.
struct Workshop {
    folder: tempfile::TempDir,
    search_path: String,
    /// Where Python finds what its own environment lacks.
    modules: PathBuf,
    coredns: Option<Coredns>,
}

impl Workshop {
    fn set_up(oddns: &Path, live: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for (name, bundled) in RECORDINGS {
            let from = program::root().join("crates/oddns-cli/data").join(bundled);
            copy(&from, &folder.path().join(name))?;
        }
        let programs = oddns.parent().context("`oddns` lies in no folder")?.display().to_string();
        let (python, modules) = python().unwrap_or_default();
        let python = python.display();
        let search_path = format!("{programs}:{python}:{}", env::var("PATH").unwrap_or_default());
        let coredns = match Coredns::binary().filter(|_| live) {
            Some(binary) => Some(Coredns::start(&binary, folder.path())?),
            None => None,
        };
        Ok(Self { folder, search_path, modules, coredns })
    }

    /// What the example printed on both streams, and whether it ended well.
    fn run(&self, example: &Example) -> Result<(String, bool)> {
        let metrics = self.coredns.as_ref().map_or(METRICS, |coredns| &coredns.metrics);
        let script = format!("exec 2>&1\n{}", example.script.replace(METRICS, metrics));
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", &script]).current_dir(self.folder.path());
        bash.env("PYTHONPATH", &self.modules);
        bash.env("PATH", &self.search_path).stdin(Stdio::null());
        let output = bash.output().context("cannot run `bash`")?;
        let printed = String::from_utf8_lossy(&output.stdout).replace(metrics, METRICS);
        Ok((printed, output.status.success()))
    }
}

/// The programs of the peers' Python that has pandas and polars, and the modules of the one that has
/// DuckDB; none without peers.
fn python() -> Option<(PathBuf, PathBuf)> {
    let peers = PathBuf::from(env::var_os("ODDNS_PEERS")?);
    let versions = fs::read_dir(peers.join("parquet-peers/lib")).ok()?;
    let version = versions.filter_map(Result::ok).next()?;
    Some((peers.join("python/bin"), version.path().join("site-packages")))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Pages for users, the README first.
fn pages() -> Result<Vec<PathBuf>> {
    let mut pages = vec![program::root().join("README.md")];
    for entry in fs::read_dir(program::root().join("docs"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    pages.sort();
    Ok(pages)
}

/// Runs the examples of a page in order; what went wrong, one entry an example. With `update` the
/// page gets the outputs as they are now.
fn check(path: &Path, oddns: &Path, update: bool) -> Result<Vec<String>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let page = fs::read_to_string(path)?;
    let examples = examples(&page);
    if examples.is_empty() {
        return Ok(Vec::new());
    }
    let workshop = Workshop::set_up(oddns, examples.iter().any(|example| example.live))?;
    let mut violations = Vec::new();
    let mut renewed = page.clone();
    // Behind what is already replaced, the page is longer or shorter by this.
    let mut shift = 0_isize;
    for example in examples {
        if example.live && workshop.coredns.is_none() {
            println!("{name}:{}: skipped: needs a CoreDNS, see `ODDNS_PEERS`", example.line);
            continue;
        }
        let (printed, ended_well) = workshop.run(&example)?;
        if !ended_well {
            violations.push(format!("{name}:{}: failed:\n{printed}", example.line));
            continue;
        }
        let Some(output) = example.output else { continue };
        if words(&page[output.clone()]) != words(&printed) {
            violations.push(format!("{name}:{}: prints now:\n{printed}", example.line));
        }
        let moved = |at: usize| at.saturating_add_signed(shift);
        renewed.replace_range(moved(output.start)..moved(output.end), &printed);
        shift += printed.len() as isize - output.len() as isize;
    }
    if update {
        fs::write(path, renewed)?;
    }
    Ok(violations)
}

fn side_by_side(pages: &[PathBuf], oddns: &Path) -> Vec<Result<Vec<String>>> {
    thread::scope(|scope| {
        let mut running = Vec::new();
        for page in pages {
            running.push(scope.spawn(|| check(page, oddns, false)));
        }
        let ended = running.into_iter().map(thread::ScopedJoinHandle::join);
        ended.map(|page| page.unwrap_or_else(|_| bail!("a page's thread panicked"))).collect()
    })
}

#[test]
fn examples_run_and_print_what_the_page_says() -> Result<()> {
    let update = env::var_os("ODDNS_UPDATE_DOCS").is_some();
    let oddns = program::oddns(update)?;
    let pages = pages()?;
    let found: Vec<Result<Vec<String>>> = if update {
        // One by one, so that the pages tell how long a command takes when it is alone.
        pages.iter().map(|page| check(page, &oddns, true)).collect()
    } else {
        side_by_side(&pages, &oddns)
    };
    let violations = found.into_iter().collect::<Result<Vec<_>>>()?.concat();
    assert!(
        update || violations.is_empty(),
        "set ODDNS_UPDATE_DOCS=1 to write outputs anew\n\n{}",
        violations.join("\n")
    );
    Ok(())
}

#[test]
fn a_page_that_is_no_longer_true_is_found_and_renewed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("page.md");
    let page = "```sh\necho 1 of 3\n```\n\n```text\n2 of 3\n```\n\n\
                ```sh\necho two; ls -d recording\n```\n\n```text\none\n```\n\n```sh\nfalse\n```\n";
    fs::write(&path, page)?;
    let found = check(&path, Path::new("programs/oddns"), true)?;
    assert_eq!(found, ["page.md:9: prints now:\ntwo\nrecording\n", "page.md:17: failed:\n"]);
    let renewed = page.replace("\n2 of 3", "\n1 of 3").replace("\none\n", "\ntwo\nrecording\n");
    assert_eq!(fs::read_to_string(&path)?, renewed);
    Ok(())
}
