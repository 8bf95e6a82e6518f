//! Receives a large fleet's remote writes for `cargo xtask bench ingest`.
//!
//! `ingest receive DIR` keeps what it receives in DIR: it prints its address, and at the end of its
//! input the samples taken, CPU seconds and the most memory it had, in MiB. `ingest send ADDRESS
//! SERVERS SECONDS` sends 300 series of each server every 15 seconds, evenly, in real time, and
//! prints the samples sent.
#![expect(clippy::print_stdout, reason = "its answers go to stdout")]

use std::io::Read;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oddns_serve::{Keep, ReceiverSettings, Shared, StoreKeep, View, receive, run};
use oddns_store::{HistoryStore, StoreSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Series of a server.
const SERIES: usize = 300;
/// Time between the scrapes of a server.
const EVERY_SECONDS: u64 = 15;
/// Samples in a request, as Prometheus has it.
const REQUEST: usize = 2000;
/// Connections of the sender.
const SHARDS: usize = 4;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["receive", folder] => receiving(folder).await,
        ["send", address, servers, seconds] => {
            send(address, servers.parse()?, seconds.parse()?).await
        }
        _ => Err("use: ingest receive DIR | ingest send ADDRESS SERVERS SECONDS".into()),
    }
}

async fn receiving(folder: &str) -> Result<(), Failure> {
    let shared = Shared::new(View::new("bench", true));
    let store = HistoryStore::open(folder.as_ref(), StoreSettings::default())?;
    let keep: Box<dyn Keep> = Box::new(StoreKeep::new(store));
    let (events, _) = mpsc::channel(1);
    let receiving = receive(ReceiverSettings::default(), Some(keep), None, &shared, events)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    run(listener, shared.clone(), async {
        let _ = ended.await;
    })
    .await;
    let (seconds, mebibytes) = (cpu_seconds()?, most_mebibytes()?);
    let text = shared.metrics().expose("").text;
    let taken =
        text.lines().find_map(|line| line.strip_prefix("oddns_remote_write_samples_total "));
    println!("{} {seconds} {mebibytes}", taken.unwrap_or("0"));
    tokio::task::spawn_blocking(|| receiving.stop()).await??;
    Ok(())
}

/// User and system time of this process so far.
fn cpu_seconds() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let (_, behind) = text.rsplit_once(')').ok_or("no process name")?;
    let ticks: Vec<f64> = behind.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // The first word is a letter; times are the 14th and 15th of the line, in hundredths.
    Ok((ticks.get(10).unwrap_or(&0.0) + ticks.get(11).unwrap_or(&0.0)) / 100.0)
}

fn most_mebibytes() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes / 1024.0)
}

/// One request's worth of samples a time, as fast as real servers would give them.
async fn send(address: &str, n_servers: usize, seconds: u64) -> Result<(), Failure> {
    let n_series = n_servers * SERIES;
    let n_total = n_series as u64 * seconds / EVERY_SECONDS;
    let start = Instant::now();
    let mut shards = tokio::task::JoinSet::new();
    for shard in 0..SHARDS {
        let address = address.to_owned();
        shards.spawn(async move {
            let mut connection = connect(&address).await?;
            let mut n_sent = 0;
            let mut request = shard as u64;
            let rate = n_series as f64 / EVERY_SECONDS as f64;
            while request * (REQUEST as u64) < n_total {
                let first = request * REQUEST as u64;
                sleep_until(start + Duration::from_secs_f64(first as f64 / rate)).await;
                let n = (n_total - first).min(REQUEST as u64);
                let body = body(first, n, n_series as u64);
                if post(&mut connection, &address, &body).await? {
                    n_sent += n;
                }
                request += SHARDS as u64;
            }
            Ok::<u64, Failure>(n_sent)
        });
    }
    let mut n_sent = 0;
    while let Some(sent) = shards.join_next().await {
        n_sent += sent??;
    }
    println!("{n_sent} {}", start.elapsed().as_secs_f64());
    Ok(())
}

/// As Go connects: what is written is sent at once, not when the last piece was acknowledged.
async fn connect(address: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends until it is taken; the server ends connections now and then. False when it is refused.
async fn post(stream: &mut TcpStream, address: &str, body: &[u8]) -> Result<bool, Failure> {
    loop {
        let head = format!(
            "POST /api/v1/write HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n\
             content-encoding: snappy\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut answer = [0; 1024];
        let mut n = 0;
        if stream.write_all(head.as_bytes()).await.is_ok() && stream.write_all(body).await.is_ok() {
            n = stream.read(&mut answer).await.unwrap_or(0);
        }
        match answer.get(9..12).filter(|_| n > 12) {
            Some(b"204") => return Ok(true),
            Some(b"400") => return Ok(false),
            _ => *stream = connect(address).await?,
        }
    }
}

/// A request of `n` samples from the `first` one on; sample `s` is of series `s % n_series`.
fn body(first: u64, n: u64, n_series: u64) -> Vec<u8> {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let (mut message, mut series) = (Vec::new(), Vec::new());
    for sample in first..first + n {
        series.clear();
        labels(&mut series, (sample % n_series) as usize);
        let mut inner = vec![0x09];
        inner.extend(((sample / n_series + sample % 977) as f64).to_le_bytes());
        inner.push(0x10);
        varint(&mut inner, millis as u64);
        field(&mut series, 2, &inner);
        field(&mut message, 1, &series);
    }
    snap::raw::Encoder::new().compress_vec(&message).unwrap_or_default()
}

/// Named like those of a CoreDNS: buckets of a latency by zone and type mostly.
fn labels(out: &mut Vec<u8>, at: usize) {
    let (server, n) = (at / SERIES, at % SERIES);
    let bucket = (0.00025 * f64::from(1 << (n % 15))).to_string();
    let zone = format!("zone-{}.example.", n / 90);
    let instance = format!("10.{}.{}.7:9153", server / 256, server % 256);
    for (name, value) in [
        ("__name__", "coredns_dns_request_duration_seconds_bucket"),
        ("instance", instance.as_str()),
        ("job", "kube-dns"),
        ("le", bucket.as_str()),
        ("server", "dns://:53"),
        ("type", ["A", "AAAA", "MX", "PTR", "SRV", "other"][n % 6]),
        ("view", ["a", "b", "c"][n / 15 % 3]),
        ("zone", zone.as_str()),
    ] {
        let mut label = Vec::new();
        field(&mut label, 1, name.as_bytes());
        field(&mut label, 2, value.as_bytes());
        field(out, 1, &label);
    }
}

fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
