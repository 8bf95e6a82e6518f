//! Times the decoding of remote write for `cargo xtask bench ingest`: `remote_write VERSION DECODER`
//! prints the CPU seconds that a million series take, once ours or prost's decoder has warmed up.
#![expect(clippy::print_stdout, reason = "its answer goes to stdout")]

#[path = "../tests/it/messages.rs"]
mod messages;

use messages::{Series, body_v1, body_v2, v1, v2};
use oddns_collect::{RemoteWrite, WriteBatch, WriteLimits, WriteVersion};
use oddns_core::Timestamp;
use prost::Message;

/// Series in a request: what Prometheus sends at once.
const REQUEST: usize = 2000;
/// As many servers as there are in the sustained run, of 300 series each.
const SERVERS: usize = 1000;
const SERIES: usize = 300;
const START: i64 = 1_795_330_800_000;
/// Scrapes of all servers; the first one is not timed.
const ROUNDS: i64 = 4;

type Failure = Box<dyn std::error::Error>;

type Encode = fn(&[Series]) -> Vec<u8>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (version, encode): (_, Encode) = match arguments.first().map(String::as_str) {
        Some("1.0") => (WriteVersion::V1, body_v1),
        Some("2.0") => (WriteVersion::V2, body_v2),
        _ => return Err("use: remote_write 1.0|2.0 ours|prost|body".into()),
    };
    let rounds: Vec<Vec<Vec<u8>>> = (0..ROUNDS).map(|round| bodies(round, encode)).collect();
    let seconds = match arguments.get(1).map(String::as_str) {
        Some("ours") => ours(version, &rounds)?,
        Some("prost") => prost(version, &rounds)?,
        // For decoders in other languages.
        Some("body") => return Ok(std::fs::write("body.snappy", &rounds[0][0])?),
        _ => return Err("use: remote_write 1.0|2.0 ours|prost|body".into()),
    };
    let n_series = (ROUNDS - 1) as f64 * (SERVERS * SERIES) as f64;
    println!("{}", seconds / n_series * 1e6);
    Ok(())
}

/// One scrape of all servers, in requests.
fn bodies(round: i64, encode: fn(&[Series]) -> Vec<u8>) -> Vec<Vec<u8>> {
    let millis = START + round * 15_000;
    let all = (0..SERVERS * SERIES).map(|n| series(n / SERIES, n % SERIES, millis));
    let all: Vec<Series> = all.collect();
    all.chunks(REQUEST).map(encode).collect()
}

/// Named like those of a CoreDNS: buckets of a latency by zone and type mostly.
fn series(server: usize, n: usize, millis: i64) -> Series {
    let bucket = (0.00025 * f64::from(1 << (n % 15))).to_string();
    let kind = ["A", "AAAA", "MX", "PTR", "SRV", "other"][n % 6];
    let view = format!("zone-{}.example.", n / 90);
    let instance = format!("10.{}.{}.7:9153", server / 256, server % 256);
    let pairs = [
        ("__name__", "coredns_dns_request_duration_seconds_bucket"),
        ("instance", instance.as_str()),
        ("job", "kube-dns"),
        ("le", bucket.as_str()),
        ("server", "dns://:53"),
        ("type", kind),
        ("view", ["a", "b", "c"][n % 3]),
        ("zone", view.as_str()),
    ];
    let labels = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    (labels, vec![(millis, (n as i64 * 1000 + millis / 15_000) as f64)])
}

fn ours(version: WriteVersion, rounds: &[Vec<Vec<u8>>]) -> Result<f64, Failure> {
    let mut remote = RemoteWrite::new(WriteLimits::default());
    let mut batch = WriteBatch::default();
    let mut n_taken = 0;
    let mut start = cpu_seconds()?;
    for (at, bodies) in rounds.iter().enumerate() {
        if at == 1 {
            start = cpu_seconds()?;
        }
        let now = Timestamp::from_millis(START + at as i64 * 15_000);
        for body in bodies {
            remote.read(version, body, now, &mut batch)?;
            n_taken += batch.counts.taken;
        }
    }
    assert!(n_taken > 0, "nothing was taken");
    Ok(cpu_seconds()? - start)
}

fn prost(version: WriteVersion, rounds: &[Vec<Vec<u8>>]) -> Result<f64, Failure> {
    let mut n_samples = 0;
    let mut start = cpu_seconds()?;
    for (at, bodies) in rounds.iter().enumerate() {
        if at == 1 {
            start = cpu_seconds()?;
        }
        for body in bodies {
            let message = snap::raw::Decoder::new().decompress_vec(body)?;
            n_samples += match version {
                WriteVersion::V1 => v1::WriteRequest::decode(&message[..])?.timeseries.len(),
                WriteVersion::V2 => v2::Request::decode(&message[..])?.timeseries.len(),
            };
        }
    }
    assert!(n_samples > 0, "nothing was read");
    Ok(cpu_seconds()? - start)
}

/// What this process has computed so far: other programs that are running must not count.
fn cpu_seconds() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds: f64 = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds / 1e9)
}
