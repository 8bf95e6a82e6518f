//! Real senders against a receiver that is slow, fails, and is replaced half way: every sample comes,
//! and comes once.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oddns_collect::{Directory, WrittenSample, WrittenSeries};
use oddns_core::{Labels, Recording, Sample, SeriesKey, Timestamp};
use oddns_serve::{
    Keep, KeepError, ReceiverSettings, Receiving, Shared, StoreKeep, View, receive, run,
};
use oddns_store::{HistoryFilter, HistoryStore, StoreSettings, read_history};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::client::request;
use crate::receive::Kept;

/// Takes its time, and fails now and then.
struct Moody {
    kept: Kept,
    store: StoreKeep,
    n_calls: usize,
}

impl Keep for Moody {
    fn keep(
        &mut self,
        now: Timestamp,
        directory: &Directory,
        samples: &[WrittenSample],
    ) -> Result<u64, KeepError> {
        self.n_calls += 1;
        std::thread::sleep(Duration::from_millis(15));
        if self.n_calls.is_multiple_of(5) {
            return Err(KeepError::new("out of sorts".into()));
        }
        self.kept.keep(now, directory, samples)?;
        self.store.keep(now, directory, samples)
    }

    fn forget(&mut self, series: &[WrittenSeries]) {
        self.store.forget(series);
    }

    fn finish(&mut self) -> Result<(), KeepError> {
        self.store.finish()
    }
}

/// One life of the receiver.
struct Life {
    shared: Arc<Shared>,
    receiving: Receiving,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Life {
    async fn begin(address: SocketAddr, folder: &Path, kept: &Kept) -> Self {
        let shared = Shared::new(View::new("", true));
        let store = HistoryStore::open(folder, StoreSettings::default()).unwrap();
        let keep = Moody { kept: kept.clone(), store: StoreKeep::new(store), n_calls: 0 };
        let settings = ReceiverSettings {
            max_waiting: 1,
            patience: Duration::ZERO,
            ..ReceiverSettings::default()
        };
        let (events, _) = mpsc::channel(10);
        let receiving = receive(settings, Some(Box::new(keep)), None, &shared, events).unwrap();
        let listener = TcpListener::bind(address).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = shared.clone();
        let server = tokio::spawn(async move {
            run(listener, served, async {
                let _ = stopped.await;
            })
            .await;
        });
        Self { shared, receiving, stop, server }
    }

    /// Ends like the service does; says how often senders were told to come again, by status.
    async fn end(self) -> BTreeMap<u16, u64> {
        let receiving = self.receiving;
        tokio::task::spawn_blocking(|| receiving.stop()).await.unwrap().unwrap();
        let _ = self.stop.send(());
        self.server.await.unwrap();
        let text = self.shared.metrics().expose("").text;
        let answers = text.lines().filter_map(|line| {
            let line = line.strip_prefix("oddns_remote_write_requests_total{")?;
            let code = line.split_once("code=\"")?.1.split('"').next()?.parse().ok()?;
            Some((code, line.rsplit(' ').next()?.parse().ok()?))
        });
        answers.collect()
    }
}

async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// A program that is killed when the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_prometheus(
    binary: &Path,
    folder: &Path,
    own: SocketAddr,
    receiver: SocketAddr,
    message: &str,
) -> Running {
    let config = format!(
        "global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\n\
         scrape_configs:\n- job_name: self\n  static_configs: [{{targets: ['{own}']}}]\n\
         remote_write:\n- url: http://{receiver}/api/v1/write\n{message}  queue_config:\n    \
         retry_on_http_429: true\n    min_shards: 4\n    max_shards: 4\n    \
         max_samples_per_send: 300\n    batch_send_deadline: 100ms\n    min_backoff: 20ms\n    \
         max_backoff: 100ms\n"
    );
    let file = folder.join("prometheus.yml");
    fs::write(&file, config).unwrap();
    let mut command = Command::new(binary);
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
        .arg(format!("--web.listen-address={own}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Running(command.spawn().unwrap())
}

type Samples = BTreeMap<(String, String, i64), u64>;

/// Everything that the Prometheus itself has of the last minutes.
async fn recorded(prometheus: SocketAddr) -> Samples {
    let query = "/api/v1/query?query=%7B__name__%3D~%22.%2B%22%7D%5B5m%5D";
    // By HTTP/1.0 the answer comes in one piece.
    let answer = request(prometheus, &format!("GET {query} HTTP/1.0\r\nhost: x\r\n\r\n")).await;
    let mut samples = Samples::new();
    for series in answer.json()["data"]["result"].as_array().unwrap() {
        let label = |(name, value): (&String, &serde_json::Value)| {
            (name.clone(), value.as_str().unwrap().to_owned())
        };
        let mut labels: BTreeMap<_, _> =
            series["metric"].as_object().unwrap().iter().map(label).collect();
        let mut take = |name: &str| labels.remove(name).unwrap_or_default();
        let (name, instance, _) = (take("__name__"), take("instance"), take("job"));
        let key = SeriesKey { name, labels: Labels::new(labels.into_iter().collect()) };
        // Prometheus 3 may have native histograms, which are not floats.
        for pair in series["values"].as_array().into_iter().flatten() {
            let millis = (pair[0].as_f64().unwrap() * 1000.0).round() as i64;
            let value: f64 = pair[1].as_str().unwrap().parse().unwrap();
            samples.insert((instance.clone(), key.to_string(), millis), value.to_bits());
        }
    }
    samples
}

async fn until(what: &str, seconds: u64, mut is_there: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !is_there().await {
        assert!(Instant::now() < end, "{what}: not within {seconds} s");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Whether all that Prometheus recorded since it began to send is there, or what is missing.
fn first_missing<'a>(recorded: &'a Samples, kept: &Samples) -> Option<&'a (String, String, i64)> {
    let first = kept.keys().map(|(_, _, millis)| *millis).min().unwrap_or(i64::MAX);
    let same =
        |a: u64, b: u64| a == b || (f64::from_bits(a).is_nan() && f64::from_bits(b).is_nan());
    let missing = recorded.iter().find(|(key, value)| {
        key.2 >= first && !kept.get(key).is_some_and(|other| same(*other, **value))
    });
    missing.map(|(key, _)| key)
}

async fn a_prometheus_loses_nothing(binary: &Path, message: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (own, address) = (free_address().await, free_address().await);
    let history = folder.path().join("history");
    let kept = Kept::default();
    let life = Life::begin(address, &history, &kept).await;
    let prometheus = start_prometheus(binary, folder.path(), own, address, message);
    let n_kept = || kept.with(|state| state.samples.len());
    until("the first samples", 20, async || n_kept() > 3000).await;
    let mut answers = life.end().await;
    // For a while nobody is there.
    sleep(Duration::from_millis(400)).await;
    let before = n_kept();
    let life = Life::begin(address, &history, &kept).await;
    until("samples after the restart", 30, async || n_kept() > before + 3000).await;
    let expected = recorded(own).await;
    until("all that was recorded", 30, async || {
        kept.with(|state| first_missing(&expected, &state.samples).is_none())
    })
    .await;
    drop(prometheus);
    for (code, n) in life.end().await {
        *answers.entry(code).or_default() += n;
    }
    let n_of = |code| answers.get(&code).copied().unwrap_or(0);
    assert!(n_of(429) > 0 && n_of(503) > 0 && n_of(204) > 0, "{answers:?}");
    assert!(answers.keys().all(|code| [204, 429, 503].contains(code)), "{answers:?}");
    kept.with(|state| {
        assert_eq!(state.n_twice, 0);
        let is_own = |(_, key, _): &&(String, String, i64)| is_of_the_server(key);
        let n_own = state.samples.iter().filter(|(key, bits)| is_own(key) && **bits != STALE);
        assert_eq!(stored(&history), n_own.count());
    });
}

/// Prometheus's staleness marker.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Not of the scrape, some of whose series become fields of it in a history.
fn is_of_the_server(key: &str) -> bool {
    ["go_", "process_", "prometheus_"].iter().any(|start| key.starts_with(start))
}

/// Such samples in the history.
fn stored(history: &Path) -> usize {
    let history = read_history(history, &HistoryFilter::default()).unwrap();
    assert_eq!((history.duplicate_rows, history.skipped_rows), (0, 0));
    let of = |recording: &Recording| {
        let samples = recording.scrapes.iter().flat_map(|scrape| &scrape.samples);
        let is_own = |sample: &&Sample| {
            let key = recording.series.get(sample.series).unwrap();
            is_of_the_server(&key.name) && sample.value.to_bits() != STALE
        };
        samples.filter(is_own).count()
    };
    history.recordings.iter().map(of).sum()
}

fn peer(test: &str, path: &str) -> Option<PathBuf> {
    let found = std::env::var_os("ODDNS_PEERS").map(|peers| Path::new(&peers).join(path));
    let found = found.filter(|path| path.is_file());
    if found.is_none() {
        println!("skipped {test}: there is no `{path}` in ODDNS_PEERS");
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_2_loses_nothing() {
    if crate::has_peers("prometheus_2_loses_nothing") {
        a_prometheus_loses_nothing(Path::new("prometheus"), "").await;
    }
}

/// Runs where `cargo xtask setup current-prometheus` was run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_3_loses_nothing() {
    let Some(binary) = peer("prometheus_3_loses_nothing", "prometheus-3/prometheus") else {
        return;
    };
    let message = "  protobuf_message: io.prometheus.write.v2.Request\n";
    a_prometheus_loses_nothing(&binary, message).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_of_version_2_is_told_what_was_written() {
    let name = "a_sender_of_version_2_is_told_what_was_written";
    let Some(binary) = peer(name, "remote-write-sender-1/sender") else { return };
    let folder = tempfile::tempdir().unwrap();
    let address = free_address().await;
    let kept = Kept::default();
    let life = Life::begin(address, folder.path(), &kept).await;
    let mut command = Command::new(binary);
    // Of each request the client sends a copy of its own until it is taken.
    command.args([&format!("http://{address}"), "50", "40"]);
    let sent = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&sent.stdout).trim(), "2000");
    let answers = life.end().await;
    assert!(answers[&204] == 40 && answers[&503] > 0, "{answers:?}");
    kept.with(|state| assert_eq!((state.samples.len(), state.n_twice), (2000, 0)));
}
