//! Records a lab with every fault of the table in turn: `record COREDNS FOLDER SEED`. The seed also
//! decides servers, load and the order of the faults, so that two recordings are of two clusters.

use std::fs::{File, create_dir_all};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oddns_lab::{
    FAULTS, Lab, LabConfig, Mix, Phase, Rhythm, TrafficConfig, TrafficSettings, labels_csv,
};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const NORMAL: Duration = Duration::from_secs(270);
const FAULT: Duration = Duration::from_secs(25);
const QUIET: Duration = Duration::from_secs(27);
const EVERY: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, coredns, folder, seed] = &arguments[..] else {
        return Err("usage: record COREDNS FOLDER SEED".into());
    };
    let (folder, seed) = (PathBuf::from(folder), seed.parse()?);
    create_dir_all(&folder)?;
    let mut lab = Lab::start(config(coredns, seed)).await?;
    let scraping = tokio::spawn(scrape(folder.join("scrapes.txt"), lab.metrics_urls()));
    let played = lab.play(&schedule(seed)).await;
    scraping.abort();
    std::fs::write(folder.join("labels.csv"), labels_csv(lab.labels()))?;
    Ok(played?)
}

/// A cluster of its own for each seed.
fn config(coredns: &str, seed: u64) -> LabConfig {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let mut around = |value: f64| value * dice.random_range(0.6..1.6);
    let usual = Mix::default();
    let mix = Mix { inside: around(usual.inside), outside: around(usual.outside), ..usual };
    let rhythm = Rhythm { period_seconds: around(240.0), amplitude_ratio: around(0.3) };
    let settings = TrafficSettings {
        lookups_per_second: around(40.0),
        mix,
        rhythm: Some(rhythm),
        ..TrafficSettings::default()
    };
    LabConfig {
        replicas: 1 + (seed % 2) as usize,
        upstreams: 2 + (seed % 3) as usize,
        seed,
        settings,
        traffic: TrafficConfig { n_outside_names: 2000, ..TrafficConfig::default() },
        ..LabConfig::new(coredns)
    }
}

fn schedule(seed: u64) -> Vec<Phase> {
    let mut faults: Vec<_> = FAULTS.iter().collect();
    faults.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let each = faults.into_iter().flat_map(|f| [Phase::faulty(f, FAULT), Phase::quiet(QUIET)]);
    std::iter::once(Phase::quiet(NORMAL)).chain(each).collect()
}

async fn scrape(path: PathBuf, urls: Vec<String>) {
    let names = urls.into_iter().enumerate().map(|(n, url)| {
        let path = path.with_extension(format!("{n}.txt"));
        tokio::spawn(async move { follow(&path, &url).await.map_err(|error| error.to_string()) })
    });
    for task in names.collect::<Vec<_>>() {
        let _ = task.await;
    }
}

async fn follow(path: &Path, url: &str) -> Fallible<()> {
    let address = url.trim_start_matches("http://").trim_end_matches("/metrics");
    let mut out = BufWriter::new(File::create(path)?);
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        // A failed scrape is one without samples.
        let page = timeout(EVERY, get(address)).await.ok().and_then(Result::ok).unwrap_or_default();
        writeln!(out, "# scrape {}.{:03} {address}\n{page}", now / 1000, now % 1000)?;
        out.flush()?;
    }
}

async fn get(address: &str) -> Fallible<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.split_once("\r\n\r\n").map(|(_, page)| page.to_owned()).unwrap_or_default())
}
