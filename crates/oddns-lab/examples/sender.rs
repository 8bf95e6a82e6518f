//! How fast the clients of the lab ask: `sender answer` prints an address and answers there until its
//! input ends; `sender send ADDRESS LOOKUPS SECONDS` asks so many lookups a second from one thread,
//! and prints questions sent, answers, seconds, and seconds of the processor.
#![expect(clippy::print_stdout, reason = "its result is a line for a benchmark to read")]

use std::io::Read;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use oddns_lab::{
    ClientSecond, Mix, Traffic, TrafficConfig, TrafficSettings, Upstream, UpstreamConfig,
};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// Of the clock of `/proc/self/stat`, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // One thread: what it does is from one core.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments[..] {
        ["answer"] => runtime.block_on(answer()),
        ["send", address, lookups, seconds] => {
            runtime.block_on(send(address.parse()?, lookups.parse()?, seconds.parse()?))
        }
        _ => Err("usage: sender answer | sender send ADDRESS LOOKUPS SECONDS".into()),
    }
}

async fn answer() -> Fallible<()> {
    let upstream = Upstream::bind(UpstreamConfig::default()).await?;
    println!("{}", upstream.address());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}

async fn send(server: SocketAddr, lookups_per_second: f64, seconds: f64) -> Fallible<()> {
    let config = TrafficConfig { servers: vec![server], ..TrafficConfig::default() };
    let settings = TrafficSettings {
        lookups_per_second,
        mix: Mix { inside: 0.0, outside: 0.0, qualified: 1.0, ..Mix::default() },
        tcp_ratio: 0.0,
        ..TrafficSettings::default()
    };
    let (start, before) = (Instant::now(), processor_seconds()?);
    let traffic = Traffic::start(config, settings).await?;
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let felt = ClientSecond::total(&traffic.stop().await);
    let (took, busy) = (start.elapsed().as_secs_f64(), processor_seconds()? - before);
    println!("{} {} {took} {busy}", felt.sent, felt.answered);
    Ok(())
}

/// Seconds of the processor that this program has used.
fn processor_seconds() -> Fallible<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(") ").ok_or("no process entry")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS_PER_SECOND)
}
