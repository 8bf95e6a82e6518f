//! What going on learning is worth, on simulated servers: prints a JSON line for each figure.
//!
//! `learning CASE [quick] [--plot FILE.svg] [--only TEXT] [--seed N] [--weeks N] [--ways N]`, where the case
//! is `year`, `poison`, `feedback`, `update` or `beside`; `--only` takes the incidents of `poison` whose length
//! has the text in it; `--seed`, `--weeks` and `--ways` (how many of them, 1 to 4) are of `year`. With
//! `LEARNING_VERBOSE` set, what each figure is made of is printed too.
#![expect(clippy::print_stdout, reason = "its results are lines for a benchmark to read")]

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use oddns::{
    Detector, Feedback, FeedbackVerdict, Follower, GateMargins, History, IncidentEvent, Injection,
    TrainOptions, Trial, UpdateOptions, Updated, compare, extract_fleet,
};
use oddns_collect::wall_clock;
use oddns_core::{Contribution, Frame, Recording, Scrape, Timestamp};
use oddns_detect::{Persistence, PersistenceConfig};
use oddns_eval::vus_pr;
use oddns_features::{Extractor, Features, Fleet, schema};
use oddns_serve::{Judge, Learning, LearningSettings, LearningSite, Shared, View, judges_of};
use oddns_sim::{FAULTS, Fault, Label, Scenario, Sign, Simulation, empty_scrape};
use oddns_store::{Dataset, write_history};
use serde_json::json;

const DAY: f64 = 86_400.0;
/// Seconds between scrapes, …
const EVERY: f64 = 60.0;
/// … and of a year, which is long.
const EVERY_OF_YEAR: f64 = 120.0;
/// An alarm counts for an incident, and not as a false one, up to so long after its end.
const LATE: f64 = 1800.0;
/// Days that an update looks back.
const LOOK_BACK: f64 = 14.0;
/// Days from one update to the next, …
const INTERVAL: f64 = 7.0;
/// … and on drift, as the service does: a quarter of that, in whole days.
const SOONER: f64 = 2.0;
/// Standard deviations that are a drift.
const DRIFT: f32 = 1.0;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "quick");
    let after = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).map(String::as_str)
    };
    match arguments.first().map(String::as_str) {
        Some("year") => {
            let number = |name| after(name).map(str::parse::<u32>).transpose();
            let weeks = number("--weeks")?.unwrap_or(if quick { 16 } else { 52 }).max(6);
            let seed = number("--seed")?.unwrap_or(YEAR_SEED);
            let ways = number("--ways")?.unwrap_or(4).clamp(1, 4) as usize;
            year(weeks, seed, &WAYS[..ways], after("--plot"))
        }
        Some("poison") => poison(quick, after("--only").unwrap_or_default()),
        Some("feedback") => feedback(quick),
        Some("update") => update_time(quick),
        Some("beside") => beside(quick),
        _ => bail!("name one of year, poison, feedback, update, beside"),
    }
}

fn say(case: &str, ours: f64, unit: &str, bar: Option<f64>, floor: Option<f64>) {
    println!("{}", json!({ "case": case, "ours": ours, "unit": unit, "bar": bar, "floor": floor }));
}

/// Servers that were simulated.
struct Site {
    /// Seconds between scrapes.
    every: f64,
    names: Vec<String>,
    frames: Vec<Frame>,
    labels: Vec<Label>,
    start: Timestamp,
}

const TRAFFIC: &str = "lookups_per_second: 100, node_domain: true, weekend_ratio: 0.6, \
     day: {period: 1d, amplitude_ratio: 0.5, rises_after: 8h}, cron: {every: 1h, lasts: 1m, times: 1.4}";
const UPSTREAMS: &str =
    "upstreams: {count: 2, delay: 1ms, jitter: 3ms, recursion_ratio: 0.15, recursion: 35ms}";

fn scenario(every: f64, days: f64, seed: u64, traffic: &str, faults: &str) -> String {
    format!(
        "for: {}m\nevery: {every}s\nservers: 2\nseed: {seed}\ntraffic: {{{TRAFFIC}{traffic}}}\n\
         {UPSTREAMS}\nfaults:\n{faults}",
        (days * 1440.0).round()
    )
}

/// A line of a scenario; times in days since its start.
fn planned(kind: &str, at: f64, lasts: f64, server: usize) -> String {
    let minutes = |days: f64| (days * 1440.0).round().max(1.0);
    format!(
        "- {{kind: {kind}, at: {}m, for: {}m, server: {server}}}\n",
        minutes(at),
        minutes(lasts)
    )
}

fn simulate(text: &str) -> Result<Site> {
    let text = text.trim_end().strip_suffix("faults:").unwrap_or(text);
    let scenario = Scenario::parse(text).with_context(|| text.to_owned())?;
    let start = scenario.start;
    let mut simulation = Simulation::new(scenario);
    let n = simulation.scenario().servers;
    let names: Vec<String> = (0..n).map(|at| simulation.instance(at)).collect();
    let mut extractors = vec![Extractor::default(); n];
    let mut frames = vec![Frame::new(schema().columns().to_vec()); n];
    let (mut fleet, mut scrape) = (Fleet::default(), empty_scrape());
    let labels = simulation.labels();
    while simulation.advance(&mut scrape, |at, table, scrape| {
        if let Features::Row(mut row) = extractors[at].push(table, scrape) {
            fleet.compare(&names[at], scrape.time, &mut row);
            // A row that is not later than the last has no place.
            let _ = frames[at].push(scrape.time, &row);
        }
    }) {}
    let every = simulation.scenario().every.millis() as f64 / 1000.0;
    Ok(Site { every, names, frames, labels, start })
}

impl Site {
    fn at(&self, days: f64) -> Timestamp {
        Timestamp::from_millis(self.start.millis() + (days * DAY * 1000.0) as i64)
    }

    fn part(&self, from: f64, until: f64) -> Vec<Frame> {
        let (from, until) = (self.at(from), self.at(until));
        self.frames.iter().map(|frame| frame.between(Some(from), Some(until))).collect()
    }

    fn train(&self, until: f64) -> Result<Arc<Detector>> {
        let frames = self.part(0.0, until);
        let frames: Vec<&Frame> = frames.iter().collect();
        let options = TrainOptions::default();
        Ok(Arc::new(Detector::fit(&frames, &options, &mut |_| ControlFlow::Continue(()))?))
    }

    /// One update at a time, with the gate: the champion afterwards, and what was learned.
    fn update(
        &self,
        champion: &Arc<Detector>,
        at: f64,
        feedback: &[Feedback],
    ) -> Result<(Arc<Detector>, Option<Updated>)> {
        let frames = self.part(at - LOOK_BACK, at);
        let history = self.histories(&frames);
        let options = UpdateOptions::default();
        let progress = &mut |_| ControlFlow::Continue(());
        let Ok(updated) = champion.update(&history, feedback, &options, progress) else {
            return Ok((Arc::clone(champion), None));
        };
        let challenger = Arc::new(updated.detector.clone());
        let trial = Trial {
            history: &history,
            held_out: &updated.held_out,
            feedback,
            injections: &suite(),
            margins: GateMargins::default(),
        };
        let gate = compare(champion, &challenger, &trial)?;
        if verbose() {
            println!(
                "{}",
                json!({ "day": at, "passed": gate.passed, "reason": gate.reason(),
                    "learned": updated.n_rows_learned, "alarmed": updated.n_rows_alarmed,
                    "trending": updated.n_rows_trending, "new_normals": format!("{:?}", updated.new_normals),
                    "trends": updated.trends.iter().map(|t| t.feature.clone()).collect::<Vec<_>>(),
                    "seen": updated.n_rows_seen, "raised": updated.raised })
            );
        }
        if verbose() && !gate.passed {
            self.tell_alarms(&challenger, &history)?;
        }
        let champion = if gate.passed { challenger } else { Arc::clone(champion) };
        Ok((champion, Some(updated)))
    }
}

impl Site {
    /// When a detector that was refused alarms in what it was updated with, and by what.
    fn tell_alarms(&self, detector: &Arc<Detector>, history: &[History<'_>]) -> Result<()> {
        for one in history {
            let mut follower = Follower::new(Arc::clone(detector), one.instance.to_owned());
            for (time, row) in one.frame.rows() {
                let followed = follower.push(time, row)?;
                let Some(IncidentEvent::Opened(_)) = followed.incident else { continue };
                let top = followed.score.contributions.iter().take(5);
                let top: Vec<String> = top.map(|c| schema().columns()[c.feature].clone()).collect();
                let day = time.seconds_since(self.start) / DAY;
                println!(
                    "{}",
                    json!({ "refused": one.instance, "day": day, "top": top, "score": followed.score.score })
                );
            }
        }
        Ok(())
    }
}

fn suite() -> Vec<Injection> {
    let sign = |sign: Sign| if sign == Sign::Up { 1.0 } else { -1.0 };
    let injection = |fault: &&Fault| Injection {
        name: fault.name.to_owned(),
        moves: fault.features.iter().map(|(name, way)| ((*name).to_owned(), sign(*way))).collect(),
    };
    visible().iter().map(injection).collect()
}

fn visible() -> Vec<&'static Fault> {
    FAULTS.iter().filter(|fault| fault.anomalous && fault.visible).collect()
}

/// One detector at work on all servers.
struct Watch {
    followers: Vec<Follower>,
}

impl Watch {
    /// A detector that is new at the site: it sees the last rows first.
    fn new(site: &Site, detector: &Arc<Detector>, at: f64) -> Result<Self> {
        let mut followers = Vec::new();
        for (name, frame) in site.names.iter().zip(site.part(at - 0.25, at)) {
            let mut follower = Follower::new(Arc::clone(detector), name.clone());
            for (time, row) in frame.rows() {
                follower.push(time, row)?;
            }
            followers.push(follower);
        }
        Ok(Self { followers })
    }

    /// Goes on with another detector, which has judged what it was updated with: as the service does it.
    fn succeed(&self, site: &Site, detector: &Arc<Detector>, at: f64) -> Result<Self> {
        let (mut followers, frames) = (Vec::new(), site.part(at - LOOK_BACK, at));
        let go_on = &mut |_| ControlFlow::Continue(());
        for (history, old) in site.histories(&frames).iter().zip(&self.followers) {
            let next = Follower::after(Arc::clone(detector), history, go_on)?;
            followers.push(old.hand_over(next, &Frame::new(history.frame.columns().to_vec()))?);
        }
        Ok(Self { followers })
    }

    /// Whether any feature has wandered, in the mean over all servers.
    fn has_drifted(&self) -> bool {
        let wandered: Vec<Vec<f32>> = self.followers.iter().map(Follower::wandered).collect();
        let n = wandered.len() as f32;
        let mean = |at: usize| wandered.iter().map(|each| each[at]).sum::<f32>() / n;
        (0..wandered.first().map_or(0, Vec::len)).any(|at| mean(at).abs() >= DRIFT)
    }

    /// Whether each row of a time is alarmed, with its score, a list a server.
    fn run(&mut self, site: &Site, from: f64, until: f64) -> Result<Vec<Vec<Row>>> {
        let mut found = Vec::new();
        for (follower, frame) in self.followers.iter_mut().zip(site.part(from, until)) {
            let rows = frame.rows().map(|(time, row)| {
                let followed = follower.push(time, row)?;
                let opens = matches!(followed.incident, Some(IncidentEvent::Opened(_)));
                let score = followed.score;
                let top = score.contributions.iter().take(4);
                let name = |c: &Contribution| schema().columns()[c.feature].clone();
                let top = opens.then(|| top.map(name).collect());
                Ok(Row { time, score: score.score, alarm: score.alarm, top })
            });
            found.push(rows.collect::<Result<Vec<Row>>>()?);
        }
        Ok(found)
    }
}

/// Whether each row of a time is alarmed by its window alone, with its score, a list a server.
fn frozen_rows(
    site: &Site,
    detector: &Detector,
    held: &mut [Persistence],
    from: f64,
    until: f64,
) -> Result<Vec<Vec<Row>>> {
    let (n_rows, start) = (detector.window_rows()?, site.at(from));
    let before = from - n_rows as f64 * site.every / DAY;
    let mut found = Vec::new();
    for (frame, alarm) in site.part(before, until).iter().zip(held) {
        let (mut window, mut rows) = (VecDeque::new(), Vec::new());
        for (time, row) in frame.rows() {
            window.extend(row.iter().copied());
            if window.len() > n_rows * row.len() {
                window.drain(..row.len());
            }
            if time < start || window.len() < n_rows * row.len() {
                continue;
            }
            let score = detector.score_window(window.make_contiguous())?;
            rows.push(Row { time, score, alarm: alarm.push(score, true), top: None });
        }
        found.push(rows);
    }
    Ok(found)
}

struct Row {
    time: Timestamp,
    score: f32,
    alarm: bool,
    /// The features of an incident that begins here.
    top: Option<Vec<String>>,
}

/// Whether a label is about a server.
fn is_about(label: &Label, server: usize) -> bool {
    label.server.is_none_or(|own| own == server)
}

/// Alarms that begin where no fault is, by server and time.
fn false_alarms(rows: &[Vec<Row>], labels: &[Label]) -> Vec<FalseAlarm> {
    let mut found = Vec::new();
    for (server, rows) in rows.iter().enumerate() {
        for (at, pair) in rows.windows(2).enumerate() {
            if !pair[1].alarm || pair[0].alarm {
                continue;
            }
            let time = pair[1].time;
            let explained = labels.iter().any(|label| {
                label.anomalous
                    && is_about(label, server)
                    && label.start <= time
                    && time.seconds_since(label.end) <= LATE
            });
            if !explained {
                found.push(FalseAlarm { time, server, row: at + 1 });
            }
        }
    }
    found
}

/// An alarm that begins where no fault is.
struct FalseAlarm {
    time: Timestamp,
    server: usize,
    /// Which row of the server.
    row: usize,
}

/// Whether any server that a fault happens to is alarmed while it lasts.
fn is_caught(every: f64, rows: &[Vec<Row>], label: &Label) -> bool {
    let within =
        |row: &Row| label.start <= row.time && row.time.seconds_since(label.end) <= 2.0 * every;
    let servers = rows.iter().enumerate().filter(|(server, _)| is_about(label, *server));
    servers.into_iter().any(|(_, rows)| rows.iter().any(|row| row.alarm && within(row)))
}

/// What is never given back by itself: a process that goes on holds tens of thousands of goroutines, files, or
/// gigabytes. Whoever repairs that restarts the server.
const LEAKS: [&str; 5] =
    ["slow_leak", "memory_growth", "connection_leak", "encrypted_streams", "panics"];
const REPAIR: &str = "restart";
const UPGRADE: &str = "version_upgrade";

/// What happens in a year: incidents, upgrades and changes that stay, and deploys.
fn events(days: f64, quiet: f64, n_incidents: u32) -> String {
    let mut faults = String::new();
    let kinds = visible();
    for at in 0..n_incidents {
        let pause = (days - quiet - 1.0) / f64::from(n_incidents);
        let hour = f64::from(at * 7 % 24) / 24.0;
        let day = (quiet + 0.5 + pause * f64::from(at)).floor() + hour;
        let (kind, server) = (kinds[at as usize * 11 % kinds.len()].name, at as usize % 2);
        faults += &planned(kind, day, HALF_HOUR, server);
        if LEAKS.contains(&kind) {
            faults += &planned(REPAIR, day + HALF_HOUR, 2.0 / 1440.0, server);
        }
    }
    // Servers are upgraded one after the other, and keep the release.
    faults += &planned(UPGRADE, (days * 0.3).floor() + 0.4, 20.0 / 1440.0, 0);
    for (kind, from) in [("cluster_uncached", 0.55), ("qualified_names", 0.75)] {
        faults += &planned(kind, (days * from).floor() + 0.4, days, 0);
    }
    for month in 1..(days / 28.0) as usize {
        faults += &planned("rolling_deploy", month as f64 * 28.0 + 9.45, 20.0 / 1440.0, 0);
    }
    faults
}

/// What was looked at while updates were made better is other seeds.
const YEAR_SEED: u32 = 5;

/// A year with growth, seasons, upgrades and incidents, with and without updates.
fn year(weeks: u32, seed: u32, ways: &[Way], plot: Option<&str>) -> Result<()> {
    let (days, n_incidents) = (f64::from(weeks) * 7.0, 150 * (weeks - 4) / 48);
    let quiet = 28.0;
    let growth = ", yearly_growth: 2.0, season_ratio: 0.25";
    let faults = events(days, quiet, n_incidents);
    let site = simulate(&scenario(EVERY_OF_YEAR, days, u64::from(seed), growth, &faults))?;
    let year = Year::live(site, quiet, days, ways)?;
    year.say();
    if let Some(path) = plot {
        std::fs::write(path, year.drawn())?;
    }
    Ok(())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Places in the picture of a year.
const LEFT: f64 = 40.0;
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 220.0;
const FLOOR: f64 = 280.0;

/// How a year is lived through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// With the model of before, each window judged by what was learned at first and by nothing since.
    Frozen,
    /// With the model of before, whose scales and line follow each server.
    Without,
    /// It is updated by itself.
    Updated,
    /// The same, and somebody says of each false alarm that it was normal.
    Spoken,
}

const WAYS: [Way; 4] = [Way::Frozen, Way::Without, Way::Updated, Way::Spoken];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Frozen => "as it was trained",
            Self::Without => "without updates",
            Self::Updated => "with updates",
            Self::Spoken => "with updates and a word on false alarms",
        }
    }
}

/// What was judged in a year, in one way.
struct Lived {
    way: Way,
    champion: Arc<Detector>,
    watch: Watch,
    /// The alarm of each server, where nothing follows it.
    held: Vec<Persistence>,
    rows: Vec<Vec<Row>>,
    said: Vec<Feedback>,
    last: f64,
    /// Days on which an update took over.
    promoted: Vec<f64>,
    /// What each update took, with its gate.
    seconds: Vec<f64>,
}

impl Lived {
    fn new(site: &Site, first: &Arc<Detector>, quiet: f64, way: Way) -> Result<Self> {
        Ok(Self {
            way,
            champion: Arc::clone(first),
            watch: Watch::new(site, first, quiet)?,
            held: vec![Persistence::new(PersistenceConfig::default()); site.names.len()],
            rows: site.names.iter().map(|_| Vec::new()).collect(),
            said: Vec::new(),
            last: quiet,
            promoted: Vec::new(),
            seconds: Vec::new(),
        })
    }

    /// One more day, and an update at its end where one is due.
    fn live(&mut self, site: &Site, day: f64) -> Result<()> {
        let rows = match self.way {
            Way::Frozen => frozen_rows(site, &self.champion, &mut self.held, day, day + 1.0)?,
            _ => self.watch.run(site, day, day + 1.0)?,
        };
        self.rows.iter_mut().zip(rows).for_each(|(all, more)| all.extend(more));
        let (now, waited) = (day + 1.0, day + 1.0 - self.last);
        let due = waited >= INTERVAL || (waited >= SOONER && self.watch.has_drifted());
        if matches!(self.way, Way::Frozen | Way::Without) || !due {
            return Ok(());
        }
        if self.way == Way::Spoken {
            self.speak(site);
        }
        self.last = now;
        let start = Instant::now();
        let (next, _) = site.update(&self.champion, now, &self.said)?;
        self.seconds.push(start.elapsed().as_secs_f64());
        if !Arc::ptr_eq(&next, &self.champion) {
            self.promoted.push(now);
            self.watch = self.watch.succeed(site, &next, now)?;
            self.champion = next;
        }
        Ok(())
    }

    /// Says of the false alarms since the last update that they were normal.
    fn speak(&mut self, site: &Site) {
        let since = site.at(self.last);
        let found = false_alarms(&self.rows, &site.labels);
        for FalseAlarm { time, server, row } in found.into_iter().filter(|a| a.time >= since) {
            let rows = self.rows[server][row..].iter().take_while(|row| row.alarm);
            let end = rows.last().map_or(time, |row| row.time);
            let (instance, verdict) = (Some(site.names[server].clone()), FeedbackVerdict::Normal);
            self.said.push(Feedback { start: time, end, instance, verdict });
        }
    }
}

/// A year, lived through in each way.
struct Year {
    site: Site,
    /// Days that were learned at first, and all.
    quiet: f64,
    days: f64,
    lived: Vec<Lived>,
}

impl Year {
    fn live(site: Site, quiet: f64, days: f64, ways: &[Way]) -> Result<Self> {
        let first = site.train(quiet)?;
        let lived = ways.iter().map(|way| Lived::new(&site, &first, quiet, *way));
        let mut lived = lived.collect::<Result<Vec<_>>>()?;
        for one in &mut lived {
            let mut day = quiet;
            while day < days {
                one.live(&site, day)?;
                day += 1.0;
            }
        }
        Ok(Self { site, quiet, days, lived })
    }

    /// Without the restarts that repair one.
    fn incidents(&self) -> Vec<&Label> {
        let labels = &self.site.labels;
        let repairs = |label: &Label| {
            let leak = |of: &Label| LEAKS.contains(&of.kind) && of.end == label.start;
            label.kind == REPAIR && labels.iter().any(leak)
        };
        labels.iter().filter(|label| label.anomalous && !repairs(label)).collect()
    }

    fn false_alarms(&self) -> Vec<Vec<FalseAlarm>> {
        self.lived.iter().map(|lived| false_alarms(&lived.rows, &self.site.labels)).collect()
    }

    fn say(&self) {
        let weeks = (self.days - self.quiet) / 7.0 * self.site.names.len() as f64;
        let incidents = self.incidents();
        let recall = |lived: &Lived| {
            let caught = |label: &&&Label| is_caught(self.site.every, &lived.rows, label);
            incidents.iter().filter(caught).count() as f64 / incidents.len().max(1) as f64
        };
        let alarms = self.false_alarms();
        let (frozen, found) = (alarms[0].len() as f64 / weeks, recall(&self.lived[0]));
        for (lived, alarms) in self.lived.iter().zip(&alarms) {
            let (bar, floor) = match lived.way {
                Way::Frozen | Way::Without => (None, None),
                _ => (Some(frozen / 3.0), Some(found - 0.01)),
            };
            let rate = alarms.len() as f64 / weeks;
            let case = |what| format!("year, {what}, {}", lived.way.name());
            say(&case("false alarms a server and week"), rate, "alarms", bar, None);
            let pages = alarms.iter().filter(|alarm| self.opens(lived, alarm)).count() as f64;
            say(&case("incidents opened by these"), pages / weeks, "alarms", None, None);
            say(&case("event recall"), recall(lived), "recall", None, floor);
        }
        say("year, incidents", incidents.len() as f64, "incidents", None, None);
        for Lived { way, seconds, promoted, .. } in self.lived.iter().skip(2) {
            let case = |what| format!("year, {what}, {}", way.name());
            say(&case("updates"), seconds.len() as f64, "updates", None, None);
            say(&case("updates promoted"), promoted.len() as f64, "updates", None, None);
            say(&case("seconds of an update with its gate"), mean(seconds), "s", None, None);
        }
        if verbose() {
            self.tell_weeks();
            self.tell_false_alarms();
        }
    }

    /// Whether an alarm is an incident of its own, rather than the second one of another.
    fn opens(&self, lived: &Lived, alarm: &FalseAlarm) -> bool {
        lived.rows[alarm.server][alarm.row].top.is_some()
    }

    /// Each false alarm: what was before it, and how high it went.
    fn tell_false_alarms(&self) {
        let day = |time: Timestamp| time.seconds_since(self.site.start) / DAY;
        for (which, alarms) in self.false_alarms().iter().enumerate() {
            for FalseAlarm { time, server, row } in alarms {
                let lived = &self.lived[which];
                let rows = &lived.rows[*server];
                let run = rows[*row..].iter().take_while(|row| row.alarm);
                let (mut n, mut peak) = (0, 0.0_f32);
                run.for_each(|row| (n, peak) = (n + 1, peak.max(row.score)));
                let begun = self.site.labels.iter().filter(|label| label.start <= *time);
                let lasting = begun.max_by_key(|label| label.start);
                let near = lasting.map(|l| (l.kind, time.seconds_since(l.start) / 3600.0));
                let promoted = lived.promoted.iter().rfind(|at| **at <= day(*time));
                println!(
                    "{}",
                    json!({ "how": which, "day": day(*time), "server": server, "rows": n, "peak": peak,
                        "after": near, "promoted": promoted, "top": rows[*row].top })
                );
            }
        }
    }

    /// False alarms by week, and which incidents one of both finds alone.
    fn tell_weeks(&self) {
        let by_week = self.by_week();
        println!("{}", json!({ "weeks": by_week }));
        for label in self.incidents() {
            let caught = |lived: &Lived| is_caught(self.site.every, &lived.rows, label);
            let caught: Vec<bool> = self.lived.iter().map(caught).collect();
            if caught.contains(&!caught[0]) {
                let day = label.start.seconds_since(self.site.start) / DAY;
                println!("{}", json!({ "kind": label.kind, "day": day, "caught": caught }));
            }
        }
    }

    fn by_week(&self) -> Vec<Vec<usize>> {
        let n = ((self.days - self.quiet) / 7.0).round() as usize;
        let count = |alarms: Vec<FalseAlarm>| {
            let mut found = vec![0_usize; n];
            for FalseAlarm { time, .. } in alarms {
                let week = (time.seconds_since(self.site.at(self.quiet)) / (7.0 * DAY)) as usize;
                found[week.min(n - 1)] += 1;
            }
            found
        };
        self.false_alarms().into_iter().map(count).collect()
    }

    /// False alarms by week as a picture: without updates in grey, with them in blue; above, the
    /// changes that stay, below, the updates that took over.
    fn drawn(&self) -> String {
        // One as it was trained would dwarf them.
        let by_week: Vec<Vec<usize>> = self.by_week().into_iter().skip(1).collect();
        let most = by_week.iter().flatten().copied().max().unwrap_or(1).max(1);
        let mut svg = String::from(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 820 330\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"820\" height=\"330\" fill=\"white\"/>\n\
             <text x=\"40\" y=\"16\">False alarms of both servers in each week: without updates \
             (grey), with them (blue)</text>\n",
        );
        self.draw_changes(&mut svg);
        self.draw_bars(&mut svg, &by_week, most);
        for day in self.lived.iter().take(3).flat_map(|lived| &lived.promoted) {
            let (x, y) = (self.across(*day), FLOOR + 3.0);
            let _ = writeln!(svg, "<path d=\"M{x:.1} {y:.1}l3 6h-6z\" fill=\"#2060c0\"/>");
        }
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {FLOOR}H{:.1}\" stroke=\"#404040\"/>\
             <text x=\"8\" y=\"70\">{most}</text><text x=\"8\" y=\"{FLOOR}\">0</text>\
             <text x=\"40\" y=\"312\">week {}; triangles: an update took over</text>\
             <text x=\"740\" y=\"312\">week {}</text>",
            LEFT + WIDTH,
            (self.quiet / 7.0) as usize + 1,
            (self.days / 7.0) as usize,
        );
        svg + "</svg>\n"
    }

    fn across(&self, day: f64) -> f64 {
        LEFT + WIDTH * (day - self.quiet) / (self.days - self.quiet)
    }

    fn draw_changes(&self, svg: &mut String) {
        let lasts = |label: &Label| label.end.seconds_since(label.start) > 7.0 * DAY;
        let stays = |label: &&Label| label.kind == UPGRADE || (!label.anomalous && lasts(label));
        for label in self.site.labels.iter().filter(stays) {
            let x = self.across(label.start.seconds_since(self.site.start) / DAY);
            let (kind, top) = (label.kind.replace('_', " "), FLOOR - HEIGHT);
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {top}V{FLOOR}\" stroke=\"#c08000\" stroke-dasharray=\"3 3\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" fill=\"#805000\">{kind}</text>",
                top - 8.0
            );
        }
    }

    fn draw_bars(&self, svg: &mut String, by_week: &[Vec<usize>], most: usize) {
        let step = WIDTH * 7.0 / (self.days - self.quiet);
        for (at, (counts, colour)) in by_week.iter().zip(["#b0b0b0", "#2060c0"]).enumerate() {
            for (week, count) in counts.iter().enumerate() {
                let tall = HEIGHT * *count as f64 / most as f64;
                let x = LEFT + step * (week as f64 + 0.45 * at as f64);
                let (y, wide) = (FLOOR - tall, 0.45 * step);
                let _ = writeln!(
                    svg,
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{tall:.1}\" \
                     fill=\"{colour}\"/>"
                );
            }
        }
    }
}

/// Incidents that last, with an update each day: are they still called anomalous at their end?
fn poison(quick: bool, only: &str) -> Result<()> {
    let long = ["upstream_latency", "upstream_some_servfail", "cpu_regression", "nxdomain_flood"];
    let long = if quick { &long[..2] } else { &long[..] };
    let ramps = if quick { &["slow_leak"][..] } else { &["slow_leak", "upstream_drift"][..] };
    let spans = [
        ("1 h", 1.0 / 24.0, long),
        ("6 h", 0.25, long),
        ("24 h", 1.0, long),
        ("7 days of a ramp", 7.0, ramps),
    ];
    for (name, lasts, kinds) in spans.into_iter().filter(|span| span.0.contains(only)) {
        let (mut held, mut held_without) = (0, 0);
        for kind in kinds {
            let begins = 16.3;
            let text =
                scenario(EVERY, begins + lasts + 0.1, 9, "", &planned(kind, begins, lasts, 0));
            let site = simulate(&text)?;
            let first = site.train(14.0)?;
            let alone = still_odd(&site, &first, begins, lasts, false)?;
            let updated = still_odd(&site, &first, begins, lasts, true)?;
            held += usize::from(updated);
            held_without += usize::from(alone);
            if verbose() {
                println!(
                    "{}",
                    json!({ "kind": kind, "lasts": lasts, "with": updated, "without": alone })
                );
            }
        }
        let n = kinds.len() as f64;
        say(
            &format!("poisoning, {name}, still anomalous at the end, without updates"),
            held_without as f64 / n,
            "part",
            None,
            None,
        );
        say(
            &format!("poisoning, {name}, still anomalous at the end"),
            held as f64 / n,
            "part",
            None,
            Some(1.0),
        );
    }
    Ok(())
}

/// Whether the last quarter of an hour of an incident has a score above the line, on a server that
/// it happens to.
fn still_odd(
    site: &Site,
    first: &Arc<Detector>,
    begins: f64,
    lasts: f64,
    updating: bool,
) -> Result<bool> {
    let end = begins + lasts;
    let mut champion = Arc::clone(first);
    let mut watch = Watch::new(site, &champion, 14.0)?;
    // Updates come at every hour of the day; one comes an hour before the end.
    let mut now = 14.0;
    let mut next = 15.0;
    while now < end {
        let until = end.min(next);
        let rows = watch.run(site, now, until)?;
        now = until;
        if now >= end {
            return Ok(rows[0].iter().rev().take(15).any(|row| row.score > 1.0));
        }
        if updating {
            let (new, _) = site.update(&champion, now, &[])?;
            if !Arc::ptr_eq(&new, &champion) {
                champion = new;
                watch = watch.succeed(site, &champion, now)?;
            }
        }
        let before_end = end - 1.0 / 24.0;
        next = if now + 1.0 > before_end && now < before_end { before_end } else { now + 1.0 };
    }
    Ok(false)
}

/// What people call normal in the trial of feedback: benign changes, and faults that a site may live
/// with.
const PATTERNS: [&str; 11] = [
    "rolling_deploy",
    "cache_size_change",
    "rollout",
    "scale_out",
    "reload",
    "qualified_names",
    "traffic_spike",
    "upstream_slight_latency",
    "endpoint_churn",
    "hot_name",
    "search_path_storm",
];
const HALF_HOUR: f64 = 30.0 / 1440.0;
/// Days from one event to the next.
const SLOT: f64 = 0.12;
const REPEATS: usize = 4;

/// When what happens in the trial of feedback, in days: quiet, each pattern once, each again and
/// again, every fault once.
struct Course {
    patterns: &'static [&'static str],
    trained: f64,
    spoken: f64,
    faults: f64,
    end: f64,
}

impl Course {
    fn new(patterns: &'static [&'static str]) -> Self {
        let (trained, spoken) = (14.0, 16.0);
        let faults = spoken + 0.3 + (patterns.len() * REPEATS) as f64 * SLOT;
        Self {
            patterns,
            trained,
            spoken,
            faults,
            end: faults + visible().len() as f64 * SLOT + 0.2,
        }
    }

    fn events(&self) -> String {
        let mut lines = String::new();
        for (at, kind) in self.patterns.iter().enumerate() {
            lines += &planned(kind, self.trained + 0.1 + at as f64 * SLOT, HALF_HOUR, 0);
            for again in at * REPEATS..(at + 1) * REPEATS {
                lines += &planned(kind, self.spoken + 0.1 + again as f64 * SLOT, HALF_HOUR, 0);
            }
        }
        for (at, fault) in visible().iter().enumerate() {
            lines += &planned(fault.name, self.faults + at as f64 * SLOT, HALF_HOUR, 0);
        }
        lines
    }
}

/// What saying that a pattern was normal did.
struct Told {
    n_repeats: usize,
    n_stopped: usize,
    /// Recall on other faults, before and after.
    recall: [f64; 2],
}

/// "Was normal", said once of a pattern: how often does it alarm again, and what is lost of others?
fn feedback(quick: bool) -> Result<()> {
    let course = Course::new(if quick { &PATTERNS[..3] } else { &PATTERNS });
    let site = simulate(&scenario(EVERY, course.end, 11, "", &course.events()))?;
    let first = site.train(course.trained)?;
    let plain =
        Watch::new(&site, &first, course.trained)?.run(&site, course.trained, course.spoken)?;
    let said = site.labels_between(course.trained, course.spoken);
    let before = site.after(&first, &course, &[])?;
    let mut told = Vec::new();
    for label in said.into_iter().filter(|label| is_caught(site.every, &plain, label)) {
        let verdict = FeedbackVerdict::Normal;
        let feedback = [Feedback { start: label.start, end: label.end, instance: None, verdict }];
        let after = site.after(&first, &course, &feedback)?;
        told.push(site.told(&course, label.kind, [&before, &after]));
    }
    let sum = |of: fn(&Told) -> usize| told.iter().map(of).sum::<usize>() as f64;
    let lost: Vec<f64> = told.iter().map(|told| told.recall[0] - told.recall[1]).collect();
    let stopped = sum(|told| told.n_stopped) / sum(|told| told.n_repeats).max(1.0);
    say("feedback, patterns called normal", told.len() as f64, "patterns", None, None);
    say("feedback, repeats that no longer alarm", stopped, "part", None, Some(0.95));
    say("feedback, recall lost on other faults", mean(&lost), "recall", Some(0.01), None);
    Ok(())
}

impl Site {
    fn labels_between(&self, from: f64, until: f64) -> Vec<&Label> {
        let within = |label: &&Label| self.at(from) <= label.start && label.start < self.at(until);
        self.labels.iter().filter(within).collect()
    }

    fn histories<'a>(&'a self, frames: &'a [Frame]) -> Vec<History<'a>> {
        let each = self.names.iter().zip(frames);
        each.map(|(instance, frame)| History { instance, frame }).collect()
    }

    /// What is judged after an update with this feedback.
    fn after(
        &self,
        first: &Arc<Detector>,
        course: &Course,
        feedback: &[Feedback],
    ) -> Result<Vec<Vec<Row>>> {
        let frames = self.part(course.spoken - LOOK_BACK, course.spoken);
        let history = self.histories(&frames);
        let progress = &mut |_| ControlFlow::Continue(());
        let updated = first.update(&history, feedback, &UpdateOptions::default(), progress)?;
        let detector = Arc::new(updated.detector);
        Watch::new(self, &detector, course.spoken)?.run(self, course.spoken, course.end)
    }

    fn told(&self, course: &Course, kind: &str, [before, after]: [&Vec<Vec<Row>>; 2]) -> Told {
        let repeats = self.labels_between(course.spoken, course.faults);
        let alarmed = |label: &&&Label| label.kind == kind && is_caught(self.every, before, label);
        let repeats: Vec<&&Label> = repeats.iter().filter(alarmed).collect();
        let others = self.labels_between(course.faults, course.end);
        let others: Vec<&&Label> = others.iter().filter(|label| label.kind != kind).collect();
        let recall = [before, after].map(|rows| {
            let n = others.iter().filter(|label| is_caught(self.every, rows, label)).count();
            n as f64 / others.len().max(1) as f64
        });
        let n_stopped = repeats.iter().filter(|label| !is_caught(self.every, after, label)).count();
        if verbose() {
            let gone = others
                .iter()
                .filter(|l| is_caught(self.every, before, l) && !is_caught(self.every, after, l));
            let gone: Vec<&str> = gone.map(|label| label.kind).collect();
            println!(
                "{}",
                json!({ "kind": kind, "repeats": repeats.len(), "stopped": n_stopped, "gone": gone })
            );
        }
        Told { n_repeats: repeats.len(), n_stopped, recall }
    }
}

/// Whether to print what each figure is made of.
fn verbose() -> bool {
    std::env::var_os("LEARNING_VERBOSE").is_some()
}

/// An update beside training from scratch on all data.
fn update_time(quick: bool) -> Result<()> {
    let (old, new) = if quick { (14.0, 7.0) } else { (28.0, 14.0) };
    let whole = old + new;
    let kinds = visible();
    let mut lines = String::new();
    for (at, fault) in kinds.iter().enumerate() {
        lines += &planned(fault.name, whole + 0.3 + at as f64 * 0.12, 30.0 / 1440.0, at % 2);
    }
    let end = whole + 0.5 + kinds.len() as f64 * 0.12;
    let site = simulate(&scenario(EVERY, end, 13, ", yearly_growth: 3.0", &lines))?;
    let parent = site.train(old)?;
    let frames = site.part(old, whole);
    let history = site.histories(&frames);
    let start = Instant::now();
    let updated = parent
        .update(&history, &[], &UpdateOptions::default(), &mut |_| ControlFlow::Continue(()))?;
    let update_seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let scratch = site.train(whole)?;
    let scratch_seconds = start.elapsed().as_secs_f64();
    let accuracy = |detector: &Arc<Detector>| -> Result<(f64, f64)> {
        let rows = Watch::new(&site, detector, whole)?.run(&site, whole, end)?;
        let scores: Vec<Vec<f64>> =
            rows.iter().map(|rows| rows.iter().map(|row| f64::from(row.score)).collect()).collect();
        let truth: Vec<Vec<bool>> = rows
            .iter()
            .enumerate()
            .map(|(server, rows)| {
                rows.iter()
                    .map(|row| {
                        site.labels.iter().any(|label| {
                            label.anomalous
                                && is_about(label, server)
                                && label.start <= row.time
                                && row.time <= label.end
                        })
                    })
                    .collect()
            })
            .collect();
        let series: Vec<(&[f64], &[bool])> =
            scores.iter().zip(&truth).map(|(s, t)| (s.as_slice(), t.as_slice())).collect();
        let caught = site.labels.iter().filter(|label| is_caught(site.every, &rows, label)).count();
        Ok((
            vus_pr(&series, 20).unwrap_or(f64::NAN),
            caught as f64 / site.labels.len().max(1) as f64,
        ))
    };
    let (before, ours, theirs) =
        (accuracy(&parent)?, accuracy(&Arc::new(updated.detector))?, accuracy(&scratch)?);
    say("update, seconds", update_seconds, "s", None, None);
    say("update, seconds of training from scratch", scratch_seconds, "s", None, None);
    say(
        "update, part of the time from scratch",
        update_seconds / scratch_seconds,
        "part",
        Some(0.2),
        None,
    );
    say("update, VUS-PR of the parent", before.0, "VUS-PR", None, None);
    say("update, VUS-PR from scratch", theirs.0, "VUS-PR", None, None);
    say("update, VUS-PR", ours.0, "VUS-PR", None, Some(theirs.0 - 0.01));
    say("update, event recall from scratch", theirs.1, "recall", None, None);
    say("update, event recall", ours.1, "recall", None, Some(theirs.1 - 0.01));
    Ok(())
}

/// Time from one scrape to the next in the trial of scoring beside learning.
const TICK: Duration = Duration::from_millis(2);

/// Servers that are judged as the service does it, fed with simulated scrapes.
struct Desk {
    judges: Vec<Box<dyn Judge>>,
    simulation: Simulation,
    scrape: Scrape,
}

impl Desk {
    /// From when each scrape is due until it is judged, in seconds; `more` says whether to go on.
    fn judge(&mut self, mut more: impl FnMut(usize) -> bool) -> Vec<f64> {
        let (mut found, mut due) = (Vec::new(), Instant::now());
        while more(found.len()) {
            let Self { judges, simulation, scrape } = self;
            let went_on = simulation.advance(scrape, |at, table, scrape| {
                due += TICK;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                // What is simulated fits the model.
                let _ = judges[at].push(table, scrape);
                found.push(due.elapsed().as_secs_f64());
                // What came too late does not make the next ones late.
                due = due.max(Instant::now() - TICK);
            });
            if !went_on {
                break;
            }
        }
        found
    }
}

/// Scoring at rest, and while the thread of the service learns.
fn beside(quick: bool) -> Result<()> {
    let days = if quick { 4.0 } else { 14.0 };
    let folder = std::env::temp_dir().join(format!("oddns-learning-{}", std::process::id()));
    let measured = measure_beside(&folder, days, if quick { 4_000 } else { 20_000 });
    let _ = std::fs::remove_dir_all(&folder);
    measured
}

fn measure_beside(folder: &Path, days: f64, n: usize) -> Result<()> {
    let parse = |days| {
        Scenario::parse(scenario(EVERY, days, 17, "", "").trim_end().trim_end_matches("faults:"))
    };
    let mut past = parse(days)?;
    past.start = Timestamp::from_millis(wall_clock().millis() - (days * DAY * 1000.0) as i64);
    let recordings = Simulation::new(past).record();
    write_history(folder, &Dataset::default(), &recordings)?;
    let frames = extract_fleet(&recordings);
    let frames: Vec<&Frame> = frames.iter().collect();
    let model =
        Detector::fit(&frames, &TrainOptions::default(), &mut |_| ControlFlow::Continue(()))?;
    let model = Arc::new(model);
    let shared = Shared::new(View::new("", true));
    shared.set_champion(&model);
    let (events, _received) = tokio::sync::mpsc::channel(1024);
    let mut new_judge = judges_of(Arc::clone(&model), None, &shared, events.clone());
    let judge = |recording: &Recording| new_judge("dns", &recording.instance);
    let judges = recordings.iter().map(judge).collect::<Result<Vec<_>, _>>()?;
    let mut live = parse(365.0)?;
    live.start = wall_clock();
    let mut desk = Desk { judges, simulation: Simulation::new(live), scrape: empty_scrape() };
    desk.judge(|n_done| n_done < 500);
    let rest = desk.judge(|n_done| n_done < n);
    let settings =
        LearningSettings { interval: Duration::from_secs(1), min_rows: 1, ..Default::default() };
    let share = settings.cpu_share;
    let site =
        LearningSite { settings, is_base: false, storage: folder.to_owned(), injections: suite() };
    let (learning, _) = Learning::begin(site, &model, &shared, &events)?;
    while metric(&shared, "oddns_learning_active") < 1.0 {
        std::thread::sleep(TICK);
    }
    let busy =
        desk.judge(|n_done| n_done < n || metric(&shared, "oddns_learning_updates_total") < 1.0);
    let (cpu, took) = (
        metric(&shared, "oddns_learning_cpu_seconds_total"),
        metric(&shared, "oddns_learning_last_duration_seconds"),
    );
    learning.stop();
    let p99 = |mut seconds: Vec<f64>| {
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() * 99 / 100]
    };
    let (rest, busy) = (p99(rest), p99(busy));
    say("beside, 99 % of scores at rest within", rest * 1e6, "us", None, None);
    say("beside, 99 % of scores while it learns within", busy * 1e6, "us", None, None);
    say("beside, p99 while it learns for each at rest", busy / rest, "part", Some(1.5), None);
    say("beside, seconds of an update and its gate", took, "s", None, None);
    say("beside, part of one processor that it took", cpu / took, "part", Some(share * 1.2), None);
    Ok(())
}

/// The sum over the series of a metric; 0 of none.
fn metric(shared: &Shared, name: &str) -> f64 {
    let text = shared.metrics().expose("").text;
    let values = text
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
