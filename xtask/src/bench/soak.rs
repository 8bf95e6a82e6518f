//! `oddns watch` for a long time among things that break: restarts, servers that flap, an Alertmanager
//! and a Prometheus that go away and come back. Nothing may be lost, and nothing may grow.
//!
//! A day is compressed by scraping a hundred and fifty times as often; a part in real time comes behind
//! it where one is asked for.

mod kept;
mod losses;
mod pager;
mod sender;
mod server;
mod watching;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::comparison::Comparison;
use super::demo;
use crate::process;
use crate::workspace::Workspace;
use kept::{Kept, Known};
use losses::{Losses, Span};
use pager::{Pager, Told};
use sender::Sender;
use server::Server;
use watching::{Start, Taken, Watching, since_1970};

pub(super) const NAME: &str = "soak";

/// How long and how hard.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// For `soak`: hours of scrapes each 15 s that are compressed into scrapes each 100 ms.
    #[arg(long, default_value_t = 24.0)]
    hours: f64,
    /// For `soak`: minutes in real time behind that.
    #[arg(long, default_value_t = 0.0)]
    real_minutes: f64,
    /// For `soak`: restarts in the compressed part; each fourth is a kill.
    #[arg(long, default_value_t = 20)]
    restarts: u32,
    /// For `soak`: the program; built for release when left out.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

const N_SERVERS: usize = 5;
const REAL_SECONDS: f64 = 15.0;
const COMPRESSED: Duration = Duration::from_millis(100);
/// Recorded before, to learn what is normal.
const RECORDED: &str = "12s";
/// Scrapes that a server answers, and then does not, in turns.
const FLAPS: (u32, u32) = (150, 40);
/// Scrapes between two moves of the Alertmanager.
const AWAY: u32 = 100;
/// Who is told to end, or is killed, may lose of each server what is under way: one answer, given so
/// shortly before.
const IN_FLIGHT: Duration = Duration::from_secs(2);
/// Who is killed may not have written down yet whom it told what in this time.
const UNSAVED: Duration = Duration::from_secs(3);
/// A scrape that fails after so much of its time has timed out.
const MOST_OF: f64 = 0.9;
/// Time for the last incidents to end and to be told.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// What a step may add to memory: the page keeps its readings, …
const STEP_KIB: f64 = 1.5;
/// … up to this many of a server.
const MOST_STEPS: f64 = 7200.0;
/// What else it may take late and not early: an allocator gives back in large pieces.
const MORE_MIB: f64 = 4.0;
/// Connections to what came back just then.
const MORE_FILES: f64 = 6.0;
/// Kubernetes kills after thirty.
const END_SECONDS: f64 = 25.0;

/// A part of the soak at one interval.
struct Part {
    name: &'static str,
    interval: Duration,
    length: Duration,
    n_restarts: u32,
}

/// The world that the service runs in.
struct World {
    servers: Vec<Server>,
    pager: Pager,
    /// A Prometheus that sends what it scrapes of the last server, where there is one.
    sender: Option<Sender>,
    start: Start,
}

/// What was seen of a part.
#[derive(Default)]
struct Seen {
    /// From the last answer that may be lost to the first that may not; the last one is the end.
    restarts: Vec<Span>,
    /// When it was killed, since 1970.
    kills: Vec<Duration>,
    ends: Vec<Duration>,
    taken: Vec<Taken>,
    n_dropped: f64,
    incidents: Vec<Value>,
    /// Length of what it had said when it was left alone.
    n_events: usize,
}

/// All parts in order.
pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<Vec<Comparison>> {
    let oddns = match &options.binary {
        Some(binary) => std::path::absolute(binary)?,
        None => demo::build(workspace)?,
    };
    let compressed = Part {
        name: "compressed",
        interval: COMPRESSED,
        length: COMPRESSED.mul_f64(options.hours * 3600.0 / REAL_SECONDS),
        n_restarts: options.restarts,
    };
    let mut comparisons = compressed.run(&oddns)?;
    if options.real_minutes > 0.0 {
        let real = Part {
            name: "real",
            interval: Duration::from_secs_f64(REAL_SECONDS),
            length: Duration::from_secs_f64(options.real_minutes * 60.0),
            n_restarts: 2,
        };
        comparisons.extend(real.run(&oddns)?);
    }
    Ok(comparisons)
}

impl Part {
    fn run(&self, oddns: &Path) -> Result<Vec<Comparison>> {
        let scratch = tempfile::tempdir().context("cannot make a scratch folder")?;
        let mut world = World::new(oddns, scratch.path(), self.interval)?;
        let seen = self.soak(&mut world)?;
        let kept = kept::read(oddns, scratch.path())?;
        let events = watching::events(scratch.path())?;
        eprintln!("soak: {} part is over, {} incidents", self.name, seen.incidents.len());
        let mut found = self.losses(&world, &seen, &kept);
        found.extend(self.untold(&world.pager.told(), &seen));
        found.extend(self.growth(&seen));
        let words = most_words(&events[seen.n_events.min(events.len())..]);
        found.push(self.comparison("words on one cause in a minute", words as f64, "events", 1.0));
        found.push(self.comparison("events dropped", seen.n_dropped, "events", 0.0));
        Ok(found)
    }

    fn comparison(&self, what: &str, ours: f64, unit: &'static str, bar: f64) -> Comparison {
        Comparison::once(&format!("{}: {what}", self.name), ours, unit, bar)
    }

    /// Restarts in the first third, then one run that is left alone.
    fn soak(&self, world: &mut World) -> Result<Seen> {
        let mut seen = Seen::default();
        let start = Instant::now();
        let mut watching = world.start.start()?;
        for n in 1..=self.n_restarts {
            let until =
                start + self.length.mul_f64(f64::from(n) / f64::from(self.n_restarts) / 3.0);
            self.live_until(until, world, &watching, None)?;
            seen.count_dropped(&watching)?;
            watching = restart(world, watching, n % 4 == 0, &mut seen)?;
        }
        seen.n_events = watching::events(&world.start.folder)?.len();
        self.live_until(start + self.length, world, &watching, Some(&mut seen.taken))?;
        seen.incidents = last_words(world, &watching)?;
        seen.count_dropped(&watching)?;
        world.end(watching, &mut seen)?;
        Ok(seen)
    }

    /// Lets things break in turns until then, and looks at what the service takes.
    fn live_until(
        &self,
        until: Instant,
        world: &mut World,
        watching: &Watching,
        mut taken: Option<&mut Vec<Taken>>,
    ) -> Result<()> {
        while Instant::now() < until {
            let step = world.start_of_time().elapsed().div_duration_f64(self.interval) as u32;
            world.break_at(step)?;
            if let Some(taken) = &mut taken {
                taken.push(watching.taken()?);
            }
            std::thread::sleep(self.interval.min(until.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    fn losses(&self, world: &World, seen: &Seen, kept: &Kept) -> Vec<Comparison> {
        let too_long = self.interval.mul_f64(MOST_OF);
        let of = |server: &Server, too_long, spans: &[Span]| {
            let nothing = Known::default();
            let known = kept.get(&server.address.to_string()).unwrap_or(&nothing);
            Losses::of_server(&server.answered(), known, too_long, spans)
        };
        let scraped = world.servers[..N_SERVERS].iter();
        let scraped = scraped.map(|server| of(server, too_long, &seen.restarts));
        let scraped = scraped.fold(Losses::default(), Losses::and);
        let mut all = scraped;
        if let Some(sender) = &world.sender {
            let server = &world.servers[N_SERVERS];
            let too_long = sender.interval().mul_f64(MOST_OF);
            all = all.and(of(server, too_long, &sender.gone(&server.answered())));
        }
        let Losses { n_answers, twice, late, under_way, lost } = all;
        eprintln!("soak: {n_answers} answers, {late} came too late, {under_way} were under way");
        let most = (seen.restarts.len() * N_SERVERS) as f64;
        let found = |what, n: usize, bar| self.comparison(what, n as f64, "scrapes", bar);
        vec![
            found("answers lost", lost, 0.0),
            found("answers lost at restarts", scraped.under_way, most),
            found("answers kept twice", twice, 0.0),
        ]
    }

    fn untold(&self, told: &Told, seen: &Seen) -> Vec<Comparison> {
        let group = |incident: &Value| incident["group"].as_str().unwrap_or_default().to_owned();
        let groups: BTreeSet<String> = seen.incidents.iter().map(group).collect();
        let open = seen.incidents.iter().filter(|incident| incident["end"].is_null());
        let open: BTreeSet<String> = open.map(group).collect();
        if !open.is_empty() {
            eprintln!("soak: {} incidents go on at the end", open.len());
        }
        let untold = groups.iter().filter(|group| !told.incidents.contains_key(*group));
        let endless = told.alerts.values().filter(|alert| {
            !open.contains(&alert.incident) && !seen.is_unsaved(alert.at) && !is_past(&alert.end)
        });
        vec![
            self.comparison(
                "incidents that nobody was told",
                untold.count() as f64,
                "incidents",
                0.0,
            ),
            self.comparison("alerts never told to be over", endless.count() as f64, "alerts", 0.0),
        ]
    }

    fn growth(&self, seen: &Seen) -> Vec<Comparison> {
        let quarter = seen.taken.len() / 4;
        if quarter == 0 {
            return Vec::new();
        }
        let (early, late) =
            (&seen.taken[quarter..2 * quarter], &seen.taken[seen.taken.len() - quarter..]);
        let mib = |taken: &[Taken]| median(taken.iter().map(|taken| taken.mib).collect());
        let files = |taken: &[Taken]| taken.iter().map(|taken| taken.n_files).max().unwrap_or(0);
        let n_steps = |at: Instant| {
            at.duration_since(seen.taken[0].at).div_duration_f64(self.interval).min(MOST_STEPS)
        };
        let n_kept = (n_steps(late[0].at) - n_steps(early[0].at)) * N_SERVERS as f64;
        let grown = mib(late) - mib(early);
        eprintln!("soak: {:.1} MiB early, {:.1} MiB late", mib(early), mib(late));
        let more = files(late) as f64 - files(early) as f64;
        let end = seen.ends.iter().max().map_or(0.0, Duration::as_secs_f64);
        vec![
            self.comparison("memory grown", grown, "MiB", MORE_MIB + STEP_KIB / 1024.0 * n_kept),
            self.comparison("memory at the end", mib(late), "MiB", 256.0),
            self.comparison("file descriptors, late more than early", more, "files", MORE_FILES),
            self.comparison("longest end", end, "s", END_SECONDS),
        ]
    }
}

impl Seen {
    /// Adds up what a process counted, before it ends.
    fn count_dropped(&mut self, watching: &Watching) -> Result<()> {
        self.n_dropped += watching.metric("oddns_events_dropped_total", "")?;
        Ok(())
    }

    /// Whether what was told at this time may have been forgotten by a kill.
    fn is_unsaved(&self, at: Duration) -> bool {
        self.kills.iter().any(|kill| (kill.saturating_sub(UNSAVED)..=*kill).contains(&at))
    }
}

impl World {
    fn new(oddns: &Path, folder: &Path, interval: Duration) -> Result<Self> {
        let servers = (0..=N_SERVERS).map(|_| Server::start()).collect::<Result<Vec<_>>>()?;
        let mut world = Self {
            servers,
            pager: Pager::start()?,
            sender: None,
            start: Start {
                oddns: oddns.to_owned(),
                folder: folder.to_owned(),
                page: watching::free_address()?,
            },
        };
        world.learn()?;
        fs::write(folder.join("oddns.yml"), world.configuration(interval))?;
        if process::on_path("prometheus") {
            let sent = world.servers[N_SERVERS].address;
            world.sender = Some(Sender::start(folder, sent, world.start.page, interval)?);
        } else {
            eprintln!("soak: no `prometheus` on `PATH`: nothing is sent by remote write");
        }
        // What was asked while learning is no loss.
        world.servers.iter().for_each(Server::begin);
        Ok(world)
    }

    /// Makes a model of the servers while they are well.
    fn learn(&self) -> Result<()> {
        let folder = &self.start.folder;
        let mut collect = Command::new(&self.start.oddns);
        collect.args(["collect", "--for", RECORDED, "--every", "100ms", "--out", "recording"]);
        for server in &self.servers {
            collect.arg(format!("--target=http://{}/metrics", server.address));
        }
        process::run(collect.current_dir(folder).stdout(Stdio::null()))?;
        let mut train = Command::new(&self.start.oddns);
        train.args(["train", "--epochs", "2", "--data", "recording", "--out", "model.keras"]);
        process::run(train.current_dir(folder).stdout(Stdio::null()))
    }

    fn configuration(&self, interval: Duration) -> String {
        let targets: Vec<String> =
            self.servers[..N_SERVERS].iter().map(|s| format!("'{}'", s.address)).collect();
        format!(
            "version: 1\nmodel: model.keras\nglobal: {{scrape_interval: {}ms}}\n\
             remote_write_receiver: {{enabled: true}}\nscrape_configs:\n  - job_name: dns\n    \
             static_configs: [{{targets: [{}]}}]\nalerting:\n  alertmanagers:\n    \
             - static_configs: [{{targets: ['{}']}}]\n",
            interval.as_millis(),
            targets.join(", "),
            self.pager.address
        )
    }

    fn start_of_time(&self) -> Instant {
        self.servers[0].start_of_time()
    }

    /// Breaks and mends what is due in this step.
    fn break_at(&mut self, step: u32) -> Result<()> {
        let (up, down) = FLAPS;
        for (n, server) in (0..).zip(&self.servers[..N_SERVERS]) {
            // One after the other, and two of them together.
            server.set_down((step + n / 2 * 37) % (up + down) >= up);
        }
        self.pager.set_away(step / AWAY % 2 == 1);
        if let Some(sender) = &mut self.sender {
            sender.be_there((step / (4 * AWAY)).is_multiple_of(2))?;
        }
        Ok(())
    }

    /// Ends the service, after whoever sends to it: what is answered from then on nobody takes.
    fn end(&mut self, watching: Watching, seen: &mut Seen) -> Result<()> {
        if let Some(sender) = &mut self.sender {
            sender.be_there(false)?;
        }
        let before = since_1970();
        seen.ends.push(watching.stop()?);
        seen.restarts.push((before.saturating_sub(IN_FLIGHT), Duration::MAX));
        Ok(())
    }
}

fn restart(world: &World, watching: Watching, is_kill: bool, seen: &mut Seen) -> Result<Watching> {
    let before = since_1970();
    if is_kill {
        watching.kill()?;
        seen.kills.push(since_1970());
    } else {
        seen.ends.push(watching.stop()?);
    }
    let watching = world.start.start()?;
    seen.restarts.push((before.saturating_sub(IN_FLIGHT), since_1970()));
    Ok(watching)
}

/// Mends everything, and waits until all incidents are over and told. Gives the incidents.
fn last_words(world: &mut World, watching: &Watching) -> Result<Vec<Value>> {
    // The first step in which all is well.
    world.break_at(0)?;
    world.servers.iter().for_each(|server| server.set_down(false));
    let deadline = Instant::now() + LAST_WORDS;
    loop {
        let answer = watching.ask("/api/v1/incidents?limit=1000")?;
        let incidents = answer["data"].as_array().or(answer["data"]["incidents"].as_array());
        let incidents = incidents.context("the API gives no list of incidents")?.clone();
        let is_over = incidents.iter().all(|incident| !incident["end"].is_null());
        let is_told = watching.metric("oddns_notifications_pending", "")? == 0.0;
        if (is_over && is_told) || Instant::now() > deadline {
            return Ok(incidents);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Whether a time in UTC, as alerts have it, is behind us.
fn is_past(time: &str) -> bool {
    let mut date = Command::new("date");
    let now = process::output(date.args(["--utc", "+%Y-%m-%dT%H:%M:%S.999Z"]));
    now.is_ok_and(|now| time < now.trim())
}

/// The most that was said in a minute on one cause.
fn most_words(events: &[Value]) -> usize {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for event in events {
        let kind = event["event"].as_str().unwrap_or_default();
        if !["scrape_failed", "discovery_failed", "storage_failed", "warning"].contains(&kind) {
            continue;
        }
        let text = event["error"].as_str().or(event["text"].as_str()).unwrap_or_default();
        let cause: String = text.chars().filter(|c| !c.is_ascii_digit()).collect();
        let minute = event["timestamp"].as_str().and_then(|time| time.get(..16));
        *counts
            .entry((kind.to_owned() + &cause, minute.unwrap_or_default().to_owned()))
            .or_default() += 1;
    }
    counts.into_values().max().unwrap_or(0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Refuses numbers that make no sense.
impl Options {
    /// # Errors
    /// When a length is not a positive number, or there is no time between restarts.
    pub(super) fn check(&self) -> Result<()> {
        if !(self.hours > 0.0 && self.hours.is_finite() && self.real_minutes.is_finite()) {
            bail!("`--hours` and `--real-minutes` are lengths of time");
        }
        Ok(())
    }
}
