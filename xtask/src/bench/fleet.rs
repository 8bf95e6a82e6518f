//! What a fleet costs: `oddns watch` at one, a hundred, a thousand and ten thousand simulated servers
//! on loopback, 300 series each 15 seconds, with states as after long.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::comparison::{Against, Comparison};
use super::demo::{self, Running};
use super::{memory, page};
use crate::process;
use crate::workspace::Workspace;

/// Series of each server.
const SERIES: f64 = 300.0;
/// Two scrapes after a restart give the first score, and what is asked for at first is over.
const SETTLE: Duration = Duration::from_secs(45);
/// CPU is measured for so long; the outages begin in it, where there are some.
const MEASURED: Duration = Duration::from_secs(60);
const CORES: f64 = 1.0;
const ALERT_MILLISECONDS: f64 = 200.0;
const PAGE_MILLISECONDS: f64 = 300.0;
const PAGE_KIB: f64 = 250.0;
const VISITS: usize = 5;
/// The least alerts that a 99 % quantile is told of.
const ENOUGH_ALERTS: usize = 100;
/// Netdata's documentation of its machine learning: memory for each metric, …
const NETDATA_KIB_A_METRIC: f64 = 18.0;
/// … and the least of its share of a core for 10,000 of them.
const NETDATA_CORES: f64 = 0.02;
const NETDATA_METRICS: f64 = 10_000.0;

/// A size of fleet.
struct Case {
    n_servers: usize,
    n_jobs: usize,
    /// Jobs of which a server has an outage.
    n_odd: usize,
    /// Most memory, where there is a bar.
    most_mib: f64,
}

const CASES: [Case; 4] = [
    Case { n_servers: 1, n_jobs: 1, n_odd: 0, most_mib: 60.0 },
    Case { n_servers: 100, n_jobs: 1, n_odd: 0, most_mib: f64::INFINITY },
    Case { n_servers: 1000, n_jobs: 200, n_odd: 200, most_mib: f64::INFINITY },
    // One job: all are compared with each other.
    Case { n_servers: 10_000, n_jobs: 1, n_odd: 0, most_mib: 1024.0 },
];

/// All sizes, or the one that `ODDNS_BENCH_SERVERS` names.
pub(super) fn run(workspace: &Workspace) -> Result<Vec<Comparison>> {
    let mut cargo = process::cargo();
    cargo.args(["build", "--release", "--package", "oddns-cli", "--example", "fleet"]);
    process::run(cargo.current_dir(&workspace.root))?;
    let fleet = workspace.target.join("release/examples/fleet");
    let oddns = demo::build(workspace)?;
    let only = std::env::var("ODDNS_BENCH_SERVERS").ok();
    let scratch = tempfile::tempdir().context("cannot make a scratch folder")?;
    let mut comparisons = Vec::new();
    for case in &CASES {
        if only.as_ref().is_none_or(|only| *only == case.n_servers.to_string()) {
            comparisons.extend(case.measure(&fleet, &oddns, scratch.path())?);
        }
    }
    Ok(comparisons)
}

impl Case {
    /// `folder` may have the model already.
    fn measure(&self, fleet: &Path, oddns: &Path, folder: &Path) -> Result<Vec<Comparison>> {
        let mut servers = Servers::start(fleet, folder, self)?;
        let (watch, address) = watch(oddns, folder)?;
        let id = watch.0.id();
        std::thread::sleep(SETTLE);
        let (start, cpu) = (Instant::now(), cpu_seconds(id)?);
        std::thread::sleep(MEASURED);
        let cores = (cpu_seconds(id)? - cpu) / start.elapsed().as_secs_f64();
        let mib = memory::peak_mib(id)?;
        eprintln!("{}", scored(&address)?);
        let mut comparisons = self.compared(cores, mib);
        if self.n_odd > 0 {
            comparisons.extend(self.page(&address)?);
        }
        drop(watch);
        let delays = servers.end()?;
        fs::remove_dir_all(folder.join("states")).context("cannot remove the states")?;
        if self.n_odd > 0 {
            comparisons.push(self.alerts(&delays)?);
        }
        Ok(comparisons)
    }

    fn name(&self, what: &str) -> String {
        let s = if self.n_servers == 1 { "" } else { "s" };
        format!("{} server{s} of 300 series, {what}", self.n_servers)
    }

    fn compared(&self, cores: f64, mib: f64) -> Vec<Comparison> {
        let n_metrics = self.n_servers as f64 * SERIES;
        let netdata = |what: &str, ours: f64, theirs: f64, unit| Comparison {
            against: Against::Peer {
                name: "Netdata's machine learning, as published".to_owned(),
                theirs,
                ratio: theirs / ours,
                least: None,
            },
            ..Comparison::once(&self.name(what), ours, unit, f64::INFINITY)
        };
        vec![
            Comparison::once(&self.name("cores"), cores, "cores", CORES),
            Comparison::once(&self.name("peak memory"), mib, "MiB", self.most_mib),
            netdata("cores", cores, NETDATA_CORES * n_metrics / NETDATA_METRICS, "cores"),
            netdata("peak memory", mib, NETDATA_KIB_A_METRIC * n_metrics / 1024.0, "MiB"),
        ]
    }

    fn page(&self, address: &str) -> Result<Vec<Comparison>> {
        let visits = page::visits(&format!("http://{address}/"), VISITS)?;
        let times = visits.iter().map(|visit| visit.milliseconds).collect();
        let weight = visits.iter().map(|visit| visit.bytes).fold(0.0, f64::max) / 1024.0;
        Ok(vec![
            Comparison::of_runs(&self.name("page drawn"), times, "ms", PAGE_MILLISECONDS),
            Comparison::once(&self.name("page weight"), weight, "KiB", PAGE_KIB),
        ])
    }

    fn alerts(&self, delays: &[f64]) -> Result<Comparison> {
        let n = delays.len();
        ensure!(n >= ENOUGH_ALERTS, "{n} alerts came, at least {ENOUGH_ALERTS} were expected");
        let slowest = delays[(n * 99).div_ceil(100) - 1];
        let case = self.name(&format!("scrape to alert, 99 % of {n}"));
        Ok(Comparison::once(&case, slowest, "ms", ALERT_MILLISECONDS))
    }
}

/// The simulated servers, and the Alertmanager that is told.
struct Servers {
    child: Running,
    output: BufReader<std::process::ChildStdout>,
}

impl Servers {
    fn start(program: &Path, folder: &Path, case: &Case) -> Result<Self> {
        let mut command = Command::new(program);
        let numbers = [case.n_servers, case.n_jobs, case.n_odd].map(|n| n.to_string());
        command.arg(folder).args(numbers).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Running(command.spawn().context("cannot start the simulated servers")?);
        let mut output = BufReader::new(child.0.stdout.take().context("they have no output")?);
        let mut line = String::new();
        output.read_line(&mut line).context("the simulated servers say nothing")?;
        ensure!(line == "ready\n", "the simulated servers did not start");
        Ok(Self { child, output })
    }

    /// Milliseconds that each alert took, the fastest first.
    fn end(&mut self) -> Result<Vec<f64>> {
        drop(self.child.0.stdin.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text).context("the simulated servers tell no figures")?;
        let delays = text.split_whitespace().map(str::parse);
        let mut delays: Vec<f64> = delays.collect::<Result<_, _>>().context("odd figures")?;
        delays.sort_by(f64::total_cmp);
        Ok(delays)
    }
}

/// The program at work, and where its page is.
fn watch(oddns: &Path, folder: &Path) -> Result<(Running, String)> {
    let file = |name: &str| -> PathBuf { folder.join(name) };
    let mut command = Command::new(oddns);
    command.arg("watch").arg("--config.file").arg(file("oddns.yml"));
    command.arg("--model").arg(file("model.keras")).arg("--storage.state").arg(file("states"));
    command.args(["--web.listen-address", "127.0.0.1:0", "--output", "json"]);
    let mut watch = Running(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start `oddns watch`")?,
    );
    let mut output = BufReader::new(output_of(&mut watch.0)?);
    let mut line = String::new();
    output.read_line(&mut line).context("`oddns watch` says nothing")?;
    let listening: Value = serde_json::from_str(&line).context("`oddns watch` says no JSON")?;
    let address = listening["address"].as_str().context("`oddns watch` names no address")?;
    // What it tells has to go somewhere.
    std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    Ok((watch, address.to_owned()))
}

fn output_of(child: &mut Child) -> Result<std::process::ChildStdout> {
    child.stdout.take().context("`oddns watch` has no output")
}

/// The line of `/metrics` that says how much was scored.
fn scored(address: &str) -> Result<String> {
    let text = get(address, "/metrics")?;
    let line = text.lines().find(|line| line.starts_with("oddns_windows_scored_total"));
    Ok(line.unwrap_or("nothing was scored").to_owned())
}

fn get(address: &str, path: &str) -> Result<String> {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(address).context("cannot connect to the page")?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).with_context(|| format!("cannot read `{path}`"))?;
    Ok(text)
}

/// User and system time of process `id` so far.
fn cpu_seconds(id: u32) -> Result<f64> {
    let path = format!("/proc/{id}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
    ticks(&text).with_context(|| format!("no times in `{path}`"))
}

/// Behind the name, which may hold anything, times are the 12th and 13th word, in hundredths.
fn ticks(stat: &str) -> Option<f64> {
    let mut words = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || words.next()?.parse::<f64>().ok();
    Some((next()? + next()?) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 1 1 0 -1 4 10 0 0 0 250 50 0 0 20 0";
        assert_eq!(ticks(stat), Some(3.0));
        assert_eq!(ticks("7"), None);
    }

    #[test]
    fn the_slowest_in_a_hundred_is_told() {
        let delays: Vec<f64> = (1..=200).map(f64::from).collect();
        let alerts = CASES[2].alerts(&delays).unwrap();
        assert_eq!(alerts.ours, 198.0);
        assert!(CASES[2].alerts(&delays[..99]).is_err());
    }
}
