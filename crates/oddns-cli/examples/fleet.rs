//! A simulated fleet on loopback, and an Alertmanager that notes when it is told, for
//! `cargo xtask bench fleet`.
//!
//! `fleet DIR SERVERS JOBS ODD` makes what `oddns watch` needs in DIR: `model.keras` where there is
//! none, `oddns.yml` with SERVERS targets in JOBS jobs, and `states` in which each of them has been
//! followed for long. Then it prints one line, and answers for every server on an address of its own
//! until its input ends. After a minute the first server of each job but the first ODD has an outage of its
//! upstreams. At the end it prints how many milliseconds each alert took since the scrape that it
//! is about.
#![expect(clippy::print_stdout, reason = "its answers go to stdout")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use oddns::{Detector, Fleet, Pipeline, TrainOptions, extract_fleet};
use oddns_collect::wall_clock;
use oddns_core::{Scrape, SeriesTable, Timestamp};
use oddns_serve::StateFolder;
use oddns_sim::{Scenario, Simulation, empty_scrape};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Series of a server.
const SERIES: usize = 300;
/// Servers that are simulated; each of the fleet is like one of them.
const TEMPLATES: usize = 20;
/// Milliseconds between scrapes.
const EVERY: i64 = 15_000;
/// Scrapes that every server has behind it at the start.
const PAST: i64 = 400;
/// Scrapes to come before something goes wrong, …
const QUIET: i64 = 4;
/// … and altogether.
const FUTURE: i64 = 40;
/// Most bytes of a request.
const MAX_REQUEST: usize = 1 << 20;

/// What all servers say, by template and by scrape.
struct Answers {
    origin: Timestamp,
    quiet: Vec<Vec<String>>,
    odd: Vec<Vec<String>>,
}

/// How the servers are numbered.
#[derive(Clone, Copy)]
struct Plan {
    n_servers: usize,
    n_jobs: usize,
    n_odd: usize,
}

type Delays = Arc<Mutex<BTreeMap<String, i64>>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, servers, jobs, odd] = arguments.as_slice() else {
        bail!("use: fleet DIR SERVERS JOBS ODD");
    };
    let plan = Plan { n_servers: servers.parse()?, n_jobs: jobs.parse()?, n_odd: odd.parse()? };
    let folder = Path::new(folder);
    let targets = TcpListener::bind("0.0.0.0:0").await?;
    let alerts = TcpListener::bind("127.0.0.1:0").await?;
    let port = targets.local_addr()?.port();
    let model = model(&folder.join("model.keras"))?;
    let origin = Timestamp::from_millis(wall_clock().millis() / EVERY * EVERY - PAST * EVERY);
    prepare(&model, origin, plan, &folder.join("states"), port)?;
    let config = plan.config(port, alerts.local_addr()?.port());
    fs::write(folder.join("oddns.yml"), config).context("cannot write the configuration")?;
    let answers = Arc::new(Answers {
        origin,
        quiet: answers(origin, "")?,
        odd: answers(
            origin,
            &format!(
                "faults: [{{kind: upstream_outage, at: {}s, for: 1h}}]",
                (PAST + QUIET) * EVERY / 1000
            ),
        )?,
    });
    println!("ready");
    let delays = Delays::default();
    tokio::spawn(serve(targets, move |stream| answer(stream, Arc::clone(&answers), plan)));
    let noted = Arc::clone(&delays);
    tokio::spawn(serve(alerts, move |stream| note(stream, Arc::clone(&noted))));
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    let delays = delays.lock().unwrap_or_else(PoisonError::into_inner);
    let delays: Vec<String> = delays.values().map(i64::to_string).collect();
    println!("{}", delays.join(" "));
    Ok(())
}

fn scenario(start: Timestamp, n_scrapes: i64, more: &str) -> anyhow::Result<Scenario> {
    let length = n_scrapes * EVERY / 1000;
    let text = format!(
        "for: {length}s\nservers: {TEMPLATES}\ntraffic: {{lookups_per_second: 4000}}\n{more}\n"
    );
    let mut scenario = Scenario::parse(&text).map_err(|error| anyhow::anyhow!("{error}"))?;
    scenario.start = start;
    Ok(scenario)
}

/// The model at `path`, which is made of six simulated hours where it is missing.
fn model(path: &Path) -> anyhow::Result<Arc<Detector>> {
    if let Ok(bytes) = fs::read(path) {
        return Ok(Arc::new(Detector::decode(&bytes)?));
    }
    let start = Timestamp::from_millis(1_767_571_200_000);
    let recordings = Simulation::new(scenario(start, 1440, "")?).record();
    let frames = extract_fleet(&recordings[..4]);
    let frames: Vec<_> = frames.iter().collect();
    // One pass: what it costs to run does not depend on how well it is trained.
    let options = TrainOptions { epochs: Some(1), ..TrainOptions::default() };
    let detector = Detector::fit(&frames, &options, &mut |_| ControlFlow::Continue(()))?;
    fs::write(path, detector.encode()?).context("cannot write the model")?;
    Ok(Arc::new(detector))
}

/// Follows the templates for a while, and keeps what was learned of them as if it were of everyone.
fn prepare(
    detector: &Arc<Detector>,
    origin: Timestamp,
    plan: Plan,
    folder: &Path,
    port: u16,
) -> anyhow::Result<()> {
    let states = StateFolder::open(folder)?;
    let mut simulation = Simulation::new(scenario(origin, PAST, "")?);
    let follow = |_| Pipeline::new(Arc::clone(detector), String::new());
    let mut pipelines: Vec<Pipeline> = (0..TEMPLATES).map(follow).collect::<Result<_, _>>()?;
    let (mut fleet, mut failed) = (Fleet::default(), None);
    while simulation.advance(&mut empty_scrape(), |place, table, scrape| {
        failed = pipelines[place].push_in(&mut fleet, table, scrape).err().or(failed.take());
    }) {}
    if let Some(error) = failed {
        return Err(error.into());
    }
    for (template, pipeline) in pipelines.iter().enumerate() {
        let first = folder.join(format!("template-{template}"));
        fs::write(&first, pipeline.state()?)?;
        for server in (template..plan.n_servers).step_by(TEMPLATES) {
            let file = states.file_of(&instance(server, port)).context("it is a folder")?;
            fs::hard_link(&first, file)?;
        }
    }
    Ok(())
}

/// The texts of every template for the scrapes to come.
fn answers(origin: Timestamp, more: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let mut texts = vec![Vec::new(); TEMPLATES];
    let mut simulation = Simulation::new(scenario(origin, PAST + FUTURE, more)?);
    let (mut scrape, mut step) = (empty_scrape(), 0);
    while simulation.advance(&mut scrape, |place, table, scrape| {
        if step / TEMPLATES as i64 >= PAST - 1 {
            texts[place].push(text(table, scrape));
        }
        step += 1;
    }) {}
    Ok(texts)
}

/// In the exposition format, with as many series as a server of the fleet has.
fn text(table: &SeriesTable, scrape: &Scrape) -> String {
    let (mut text, mut last) = (String::new(), "");
    for sample in &scrape.samples {
        let Some(key) = table.get(sample.series) else { continue };
        if key.name != last {
            last = &key.name;
            let _ = writeln!(text, "# HELP {last} As a server would describe it.");
        }
        let _ = writeln!(text, "{key} {}", sample.value);
    }
    for at in scrape.samples.len()..SERIES {
        let _ = writeln!(
            text,
            "coredns_plugin_enabled{{name=\"more\",server=\"dns://:53\",view=\"\",zone=\"z{at}.\"}} 1"
        );
    }
    text
}

/// The name of a server: 127.1.0.0 and on, all of them this machine.
fn instance(server: usize, port: u16) -> String {
    let [_, _, high, low] = (server as u32).to_be_bytes();
    format!("127.1.{high}.{low}:{port}")
}

impl Plan {
    fn config(self, port: u16, alerts: u16) -> String {
        let mut text = format!(
            "global: {{scrape_interval: 15s}}\nalerting:\n  alertmanagers:\n  - static_configs: [{{targets: ['127.0.0.1:{alerts}']}}]\nscrape_configs:\n"
        );
        for job in 0..self.n_jobs {
            let of_job = (job..self.n_servers).step_by(self.n_jobs);
            let targets: Vec<_> =
                of_job.map(|server| format!("'{}'", instance(server, port))).collect();
            let targets = targets.join(", ");
            let _ = writeln!(
                text,
                "- job_name: dns-{job}\n  static_configs: [{{targets: [{targets}]}}]"
            );
        }
        text
    }

    /// Whether something goes wrong on a server: on one of a job, of the first jobs.
    fn is_odd(self, server: usize) -> bool {
        server < self.n_odd
    }
}

/// Accepts for ever.
async fn serve<F>(listener: TcpListener, answer: impl Fn(TcpStream) -> F)
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream));
    }
}

/// One request after the other, head and body, until the other side has enough.
async fn request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> anyhow::Result<Option<String>> {
    bytes.clear();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(Ok(0), str::parse)?;
            if bytes.len() >= end + 4 + length {
                return Ok(Some(String::from_utf8_lossy(&bytes[end + 4..]).into_owned()));
            }
        }
        let mut part = [0; 2048];
        match stream.read(&mut part).await? {
            0 => return Ok(None),
            _ if bytes.len() > MAX_REQUEST => bail!("the request is too large"),
            n => bytes.extend_from_slice(&part[..n]),
        }
    }
}

/// Answers scrapes of the server at whose address the connection arrived.
async fn answer(mut stream: TcpStream, answers: Arc<Answers>, plan: Plan) -> anyhow::Result<()> {
    let IpAddr::V4(address) = stream.local_addr()?.ip() else { return Ok(()) };
    let server = (u32::from(address) - u32::from(Ipv4Addr::new(127, 1, 0, 0))) as usize;
    let mut bytes = Vec::new();
    while request(&mut stream, &mut bytes).await?.is_some() {
        let step = wall_clock().seconds_since(answers.origin) * 1000.0 / EVERY as f64;
        let texts = if plan.is_odd(server) { &answers.odd } else { &answers.quiet };
        let texts = &texts[server % TEMPLATES];
        let at = (step as i64 - PAST).clamp(0, texts.len() as i64 - 1) as usize;
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\n\r\n",
            texts[at].len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(texts[at].as_bytes()).await?;
        bytes.shrink_to(0);
    }
    Ok(())
}

/// Notes how long after its beginning each alert is told for the first time.
async fn note(mut stream: TcpStream, delays: Delays) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    while let Some(body) = request(&mut stream, &mut bytes).await? {
        let now = wall_clock();
        for alert in serde_json::from_str::<Vec<Value>>(&body)? {
            let start: Timestamp = alert["startsAt"].as_str().unwrap_or_default().parse()?;
            let mut delays = delays.lock().unwrap_or_else(PoisonError::into_inner);
            let delay = now.millis() - start.millis();
            delays.entry(alert["labels"].to_string()).or_insert(delay);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
    }
    Ok(())
}
