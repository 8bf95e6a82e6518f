//! Kills a writer at random instants, many times, and looks whether a synced sample is missing.
//!
//! `torture KILLS` prints `{"kills":…,"synced":…,"missing":…,"twice":…}`. The same file is part of
//! the tests, which start themselves as the writer.

#![cfg_attr(not(test), expect(clippy::print_stdout, reason = "an example talks to a terminal"))]

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use oddns_core::Timestamp;
use oddns_store::{HistoryFilter, HistoryStore, SeriesSample, StoreSettings, read_history};

/// Series that a step writes.
const N_SERIES: u32 = 40;
/// A step every ten seconds, so that a few hundred writers fill several days.
const STEP_MILLIS: i64 = 10_000;
const START_MILLIS: i64 = 1_795_331_512_000;
/// Steps between the first ones of two writers; more than one manages.
const STEPS_OF_A_WRITER: i64 = 1_000_000 / STEP_MILLIS * 10;
/// A writer syncs so often, and says so.
const STEPS_OF_A_SYNC: i64 = 7;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What came of the torture.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Writers killed.
    pub(crate) kills: usize,
    /// Samples of which a writer had said that they are on disk.
    pub(crate) synced: usize,
    /// Of these, how many were not read back, or with another value.
    pub(crate) missing: usize,
    /// Samples read back more than once.
    pub(crate) twice: u64,
}

/// Writes into the history `root` from step `first` on and prints each step that has been synced,
/// until it is killed.
pub(crate) fn write(root: &Path, first: i64) -> Outcome<()> {
    let settings = StoreSettings {
        segment_age: Duration::from_millis(150),
        max_ahead: None,
        ..StoreSettings::default()
    };
    let store = HistoryStore::open(root, settings)?;
    let names: Vec<String> = (0..N_SERIES).map(|at| format!("series_{at}")).collect();
    for step in first..first + STEPS_OF_A_WRITER {
        let mut samples = Vec::new();
        for name in &names {
            let series = store.intern_text("server", name, "").ok_or("too many series")?;
            samples.push(SeriesSample { series, time: time(step), value: step as f64 });
        }
        store.append(time(step), &samples)?;
        if step % STEPS_OF_A_SYNC == 0 {
            store.sync()?;
            println!("synced {step}");
            std::io::stdout().flush()?;
        }
    }
    Ok(())
}

/// Starts `writer` (given the first step) and kills it, `kills` times; `seed` chooses the instants.
pub(crate) fn torture(
    root: &Path,
    kills: usize,
    seed: u64,
    writer: impl Fn(i64) -> Command,
) -> Outcome<Report> {
    let mut report = Report { kills, ..Report::default() };
    let mut random = seed;
    let mut ranges = Vec::new();
    for kill in 0..kills as i64 {
        let first = kill * STEPS_OF_A_WRITER;
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let life = Duration::from_millis((random >> 33) % 700);
        let last = killed_after(writer(first), life)?;
        ranges.push((first, last));
        if let Some(last) = last {
            report.check(root, first, last, false)?;
        }
    }
    // Everything once more, after all the merging; the store is closed in order first.
    HistoryStore::open(root, StoreSettings::default())?.close()?;
    report.missing = 0;
    for (first, last) in ranges {
        if let Some(last) = last {
            report.check(root, first, last, true)?;
        }
    }
    Ok(report)
}

/// The last step that the writer said was synced.
fn killed_after(mut writer: Command, life: Duration) -> Outcome<Option<i64>> {
    let mut child = Kill(writer.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    let said = child.0.stdout.take().ok_or("no output")?;
    let reading = std::thread::spawn(move || {
        // A line that the kill has cut short is not whole and says nothing.
        let lines = BufReader::new(said).split(b'\n').map_while(Result::ok);
        let steps = lines.filter_map(|line| {
            String::from_utf8(line).ok()?.strip_prefix("synced ")?.parse::<i64>().ok()
        });
        steps.filter(|step| step % STEPS_OF_A_SYNC == 0).last()
    });
    std::thread::sleep(life);
    drop(child);
    reading.join().map_err(|_| "the reader panicked".into())
}

/// Killed when dropped.
struct Kill(Child);

impl Drop for Kill {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Report {
    /// Reads the steps of one writer back.
    fn check(&mut self, root: &Path, first: i64, last: i64, is_last: bool) -> Outcome<()> {
        let since = Some(time(first));
        let until = Some(time(first + STEPS_OF_A_WRITER));
        let history = read_history(root, &HistoryFilter { since, until, instance: None })?;
        let n_steps = (last - first + 1) as usize;
        let n_samples = n_steps * N_SERIES as usize;
        let mut found = 0;
        for scrape in history.recordings.iter().flat_map(|recording| &recording.scrapes) {
            let step = (scrape.time.millis() - START_MILLIS) / STEP_MILLIS;
            let right = scrape.samples.iter().filter(|sample| sample.value == step as f64);
            found += if step <= last { right.count() } else { 0 };
        }
        self.missing += n_samples.saturating_sub(found);
        self.twice += history.duplicate_rows;
        self.synced += if is_last { n_samples } else { 0 };
        if self.missing > 0 {
            return Err(format!("{} samples are missing of {first} to {last}", self.missing).into());
        }
        Ok(())
    }
}

fn time(step: i64) -> Timestamp {
    Timestamp::from_millis(START_MILLIS + step * STEP_MILLIS)
}

#[cfg(not(test))]
fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [root, first] = &arguments[..] {
        return write(Path::new(root), first.parse()?);
    }
    let kills = arguments.first().map_or(Ok(200), |kills| kills.parse())?;
    let folder = tempfile::tempdir()?;
    let program = std::env::current_exe()?;
    let report = torture(folder.path(), kills, 1, |first| {
        let mut writer = Command::new(&program);
        writer.arg(folder.path()).arg(first.to_string());
        writer
    })?;
    let Report { kills, synced, missing, twice } = report;
    println!("{{\"kills\":{kills},\"synced\":{synced},\"missing\":{missing},\"twice\":{twice}}}");
    Ok(())
}
