//! Measures the history store; each task prints one line of JSON. Built and run by
//! `cargo xtask bench store`.
//!
//! `measure size DATA OUT` writes the data set `DATA` through the store into `OUT/history`, and the
//! same samples as OpenMetrics into `OUT/samples.om`. `measure read OUT` makes a day of 300 series
//! of 20 servers and reads one server and one series. `measure append INSTANCES SECONDS` appends
//! scrapes of 300 series of so many servers every 15 s.

#![expect(clippy::print_stdout, reason = "an example talks to a terminal")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use oddns_core::{Recording, Sample, Scrape, SeriesId, SeriesKey, SeriesTable, Timestamp};
use oddns_store::{
    Dataset, HistoryFilter, HistoryStore, SeriesRef, SeriesSample, StoreSettings, read_history,
    read_series, write_history, write_openmetrics,
};

const N_SERIES: u32 = 300;
const STEP_MILLIS: i64 = 15_000;
const START_MILLIS: i64 = 1_795_305_600_000;
const RUNS: usize = 25;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match &arguments[..] {
        ["size", data, out] => size(Path::new(data), Path::new(out)),
        ["read", out] => read(Path::new(out)),
        ["append", instances, seconds] => append(instances.parse()?, seconds.parse()?),
        _ => Err("size DATA OUT | read OUT | append INSTANCES SECONDS".into()),
    }
}

fn settings() -> StoreSettings {
    StoreSettings { max_ahead: None, ..StoreSettings::default() }
}

fn size(data: &Path, out: &Path) -> Outcome<()> {
    let history = read_history(data, &HistoryFilter::default())?;
    let root = out.join("history");
    let store = HistoryStore::open(&root, settings())?;
    let mut n_samples = 0_u64;
    for recording in &history.recordings {
        let known: Vec<SeriesRef> = (0..recording.series.len() as u32)
            .filter_map(|id| store.intern(&recording.instance, recording.series.get(SeriesId(id))?))
            .collect();
        for scrape in &recording.scrapes {
            let samples = scrape.samples.iter().map(|sample| SeriesSample {
                series: known[sample.series.0 as usize],
                time: scrape.time,
                value: sample.value,
            });
            n_samples += store.append(scrape.time, &samples.collect::<Vec<_>>())?.taken;
        }
    }
    store.close()?;
    let om = out.join("samples.om");
    let mut file = BufWriter::new(fs::File::create(&om)?);
    write_openmetrics(&root, &HistoryFilter::default(), &mut file)?;
    file.flush()?;
    println!("{{\"samples\":{n_samples},\"bytes\":{}}}", parquet_bytes(&root)?);
    Ok(())
}

fn parquet_bytes(root: &Path) -> Outcome<u64> {
    let mut total = 0;
    for day in fs::read_dir(root)? {
        let day = day?.path();
        if day.is_dir() && !day.ends_with("_wal") {
            for part in fs::read_dir(day)? {
                total += part?.metadata()?.len();
            }
        }
    }
    Ok(total)
}

fn key(at: u32) -> SeriesKey {
    let labels = format!("{{server=\"dns://:53\",zone=\"zone{}.example.\"}}", at % 30);
    SeriesKey {
        name: format!("coredns_metric_{}_total", at / 30),
        labels: labels.parse().unwrap_or_default(),
    }
}

/// A day of counters that grow by a few at every scrape.
fn recording(instance: u32) -> Recording {
    let mut series = SeriesTable::default();
    let ids: Vec<SeriesId> = (0..N_SERIES).map(|at| series.intern(&key(at))).collect();
    let mut values = vec![0.0; ids.len()];
    let mut random = u64::from(instance) + 1;
    let scrape = |step: i64| {
        let samples = ids.iter().zip(&mut values).map(|(series, value)| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *value += f64::from((random >> 60) as u8);
            Sample { series: *series, value: *value }
        });
        Scrape {
            time: Timestamp::from_millis(START_MILLIS + step * STEP_MILLIS),
            up: true,
            duration_seconds: 0.004,
            samples: samples.collect(),
        }
    };
    let scrapes = (0..86_400_000 / STEP_MILLIS).map(scrape).collect();
    Recording { instance: format!("10.0.0.{instance}:9153"), series, scrapes }
}

fn read(out: &Path) -> Outcome<()> {
    let root = out.join("history");
    let recordings: Vec<Recording> = (0..20).map(recording).collect();
    write_history(&root, &Dataset::default(), &recordings)?;
    drop(recordings);
    let instance = "10.0.0.7:9153";
    let filter = HistoryFilter { instance: Some(instance.into()), ..HistoryFilter::default() };
    let (instance_day, instance_cpu) = millis(|| {
        let history = read_history(&root, &filter)?;
        Ok(history.recordings[0].scrapes.len() == 5760)
    })?;
    let (series_day, series_cpu) = millis(|| {
        Ok(read_series(&root, instance, &key(177), &HistoryFilter::default())?.len() == 5760)
    })?;
    let list = |runs: &[f64]| runs.iter().map(f64::to_string).collect::<Vec<_>>().join(",");
    println!(
        "{{\"instance_day_ms\":[{}],\"series_day_ms\":[{}],\
         \"instance_day_cpu_ms\":{instance_cpu},\"series_day_cpu_ms\":{series_cpu}}}",
        list(&instance_day),
        list(&series_day)
    );
    Ok(())
}

/// Milliseconds of each run, and of the processor for one of them, which do not count what else the
/// machine does.
fn millis(mut run: impl FnMut() -> Outcome<bool>) -> Outcome<(Vec<f64>, f64)> {
    let mut runs = Vec::new();
    let before = thread_millis()?;
    for _ in 0..RUNS {
        let start = Instant::now();
        if !run()? {
            return Err("not all samples came back".into());
        }
        runs.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    Ok((runs, (thread_millis()? - before) / RUNS as f64))
}

/// Appends as fast as it goes, so that seconds of the clock and of the processor can be told apart.
fn append(n_instances: u32, seconds: u64) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let store = HistoryStore::open(folder.path(), settings())?;
    let keys: Vec<(String, String)> =
        (0..N_SERIES).map(key).map(|key| (key.name, key.labels.to_string())).collect();
    let mut series = Vec::new();
    for instance in 0..n_instances {
        let instance =
            format!("10.{}.{}.{}:9153", instance >> 16, (instance >> 8) & 255, instance & 255);
        for (name, labels) in &keys {
            series.push(store.intern_text(&instance, name, labels).ok_or("too many series")?);
        }
    }
    let (before, start) = (processor_seconds()?, Instant::now());
    let (mut n_samples, mut step) = (0_u64, 0);
    while start.elapsed() < Duration::from_secs(seconds) {
        let time = Timestamp::from_millis(START_MILLIS + step * STEP_MILLIS);
        for (at, series) in series.chunks(N_SERIES as usize).enumerate() {
            let grown = |place: usize| ((step as usize * (place % 7)) + at) as f64;
            let samples: Vec<SeriesSample> = series
                .iter()
                .enumerate()
                .map(|(place, series)| SeriesSample { series: *series, time, value: grown(place) })
                .collect();
            n_samples += store.append(time, &samples)?.taken;
        }
        step += 1;
    }
    let appended = processor_seconds()? - before;
    store.close()?;
    let all = processor_seconds()? - before;
    println!(
        "{{\"samples\":{n_samples},\"append_cpu_seconds\":{appended},\"cpu_seconds\":{all},\
         \"peak_mib\":{}}}",
        peak_mib()?
    );
    Ok(())
}

/// Processor time of this thread so far.
fn thread_millis() -> Outcome<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().unwrap_or_default().parse::<f64>()? / 1e6)
}

/// Processor time of all threads so far.
fn processor_seconds() -> Outcome<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).map_or(Ok(0.0), |field| field.parse::<f64>());
    // Linux counts in hundredths of a second here, whatever the machine.
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

fn peak_mib() -> Outcome<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let fields: BTreeMap<&str, &str> =
        status.lines().filter_map(|line| line.split_once(':')).collect();
    let peak = fields.get("VmHWM").ok_or("no `VmHWM`")?;
    Ok(peak.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}
