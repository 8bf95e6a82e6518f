//! Scores go to a real Prometheus, and to receivers that refuse, fail and ask for time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use oddns::{State, Step};
use oddns_collect::{HttpConfig, Secret, wall_clock};
use oddns_core::{Contribution, Labels, Score, Timestamp};
use oddns_serve::{Event, QueueSettings, RemoteWriteConfig, RemoteWriting, Shared, View};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::client::{get, request, serve_shared};
use crate::messages::v1;
use crate::{has_peers, scene};

/// Samples of a score that is explained: score, alarm, and three of each of two features.
const EXPLAINED: usize = 8;

/// The service, as far as it concerns remote storage.
struct Service {
    shared: Arc<Shared>,
    writing: RemoteWriting,
    events: mpsc::Receiver<Event>,
}

impl Service {
    fn start(config: RemoteWriteConfig) -> Self {
        let shared = Shared::new(View::new("", true));
        shared.set_model(scene::model());
        let (writing, events) = begin(&shared, config);
        Self { shared, writing, events }
    }

    /// As the service does when its configuration is read anew.
    async fn reload(self, config: RemoteWriteConfig) -> Self {
        self.writing.stop().await;
        let (writing, events) = begin(&self.shared, config);
        Self { shared: self.shared, writing, events }
    }

    fn score(&self, instance: &str, time: Timestamp, score: f32) {
        self.step(instance, time, Some(score));
    }

    fn step(&self, instance: &str, time: Timestamp, score: Option<f32>) {
        let of = |feature: usize| Contribution {
            feature,
            share: 0.25,
            observed: score.unwrap_or_default() + feature as f32,
            expected: 0.125,
            deviation: 2.0,
        };
        let contributions = vec![of(0), of(1)];
        let score = score.map(|score| Score { time, score, alarm: score > 1.0, contributions });
        let state = State::Scoring;
        let step = Step { time, row: vec![], expected: vec![], state, score, incident: None };
        self.shared.take("dns", instance, step, Duration::ZERO);
    }

    fn metric(&self, name: &str) -> f64 {
        let text = self.shared.metrics().expose("").text;
        let series = format!("oddns_remote_storage_samples_{name}{{remote=\"store\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
    }
}

fn begin(
    shared: &Arc<Shared>,
    config: RemoteWriteConfig,
) -> (RemoteWriting, mpsc::Receiver<Event>) {
    let (sender, events) = mpsc::channel(100);
    let labels = Labels::new(vec![("cluster".into(), "test".into())]);
    (RemoteWriting::start(&[config], &labels, shared, &sender), events)
}

fn config(address: SocketAddr) -> RemoteWriteConfig {
    RemoteWriteConfig {
        name: "store".into(),
        url: Secret::new(format!("http://{address}/api/v1/write?token=s3cret")),
        timeout: Duration::from_secs(5),
        headers: vec![("x-scope-orgid".into(), Secret::new("s3cret"))],
        http: HttpConfig::default(),
        relabel_rules: vec![],
        queue: QueueSettings {
            max_samples_per_send: 50,
            batch_send_deadline: Duration::from_millis(20),
            min_backoff: Duration::from_millis(10),
            max_backoff: Duration::from_millis(50),
            ..QueueSettings::default()
        },
    }
}

async fn until(what: &str, mut is_there: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_there().await {
        assert!(Instant::now() < end, "it never came: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A Prometheus that takes remote writes, killed when the test ends.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Prometheus {
    fn start(folder: &Path, address: SocketAddr) -> Self {
        std::fs::write(folder.join("prometheus.yml"), "global: {}\n").unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--web.enable-remote-write-receiver")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(command.spawn().expect("prometheus is installed where ODDNS_PEERS is set"))
    }
}

/// Every sample of a selector in the hour before `at`, by time in seconds.
async fn samples(prometheus: SocketAddr, selector: &str, at: f64) -> BTreeMap<String, f64> {
    let query: String = format!("{selector}[1h]").bytes().map(|b| format!("%{b:02x}")).collect();
    let path = format!("/api/v1/query?time={at}&query={query}");
    let answer = request(prometheus, &format!("GET {path} HTTP/1.0\r\nhost: x\r\n\r\n")).await;
    let answer = answer.json();
    let all = answer["data"]["result"].as_array().unwrap().iter();
    let values = all.flat_map(|series| series["values"].as_array().unwrap());
    values
        .map(|pair| {
            (pair[0].as_f64().unwrap().to_string(), pair[1].as_str().unwrap().parse().unwrap())
        })
        .collect()
}

/// What the API says of a server, in the same way.
async fn api(page: SocketAddr, instance: &str) -> BTreeMap<String, f64> {
    let answer = get(page, &format!("/api/v1/scores?instance={instance}")).await.json();
    let column = |name: &str| answer["data"][name].as_array().unwrap().clone();
    let pairs = column("times").into_iter().zip(column("scores"));
    pairs
        .map(|(time, score)| (time.as_f64().unwrap().to_string(), score.as_f64().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_that_comes_and_goes_has_the_scores_of_the_api() {
    if !has_peers("a_prometheus_that_comes_and_goes_has_the_scores_of_the_api") {
        return;
    }
    let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
    let mut service = Service::start(config(address));
    let page = serve_shared(service.shared.clone()).await;
    let start = wall_clock().millis() - 300_000;
    let at = |n: i64| Timestamp::from_millis(start + n * 1000);
    let push = |service: &Service, from: i64, to: i64| {
        for n in from..to {
            // Values that f32 has exactly.
            service.score("a:1", at(n), 0.75 + n as f32 / 64.0);
            service.score("b:1", at(n), 0.25);
        }
    };
    // Nobody is there yet.
    push(&service, 0, 30);
    until("an attempt", async || service.metric("retried_total") > 0.0).await;
    let prometheus = Prometheus::start(folder.path(), address);
    until("what waited", async || service.metric("pending") == 0.0).await;
    drop(prometheus);
    push(&service, 30, 60);
    // A new configuration while it is away loses nothing.
    service = service.reload(config(address)).await;
    push(&service, 60, 90);
    let _prometheus = Prometheus::start(folder.path(), address);
    until("what waited again", async || service.metric("pending") == 0.0).await;
    assert_eq!((service.metric("dropped_total"), service.metric("failed_total")), (0.0, 0.0));

    let end = at(90).unix_seconds();
    for instance in ["a:1", "b:1"] {
        let selector = format!("oddns_anomaly_score{{cluster='test',instance='{instance}'}}");
        let told = samples(address, &selector, end).await;
        assert_eq!((told.len(), &told), (90, &api(page, instance).await));
    }
    let of = |metric: &str, feature: &str| {
        format!("{metric}{{instance='a:1',feature='{feature}',cluster='test'}}")
    };
    let observed = samples(address, &of("oddns_feature_observed", "servfail_ratio"), end).await;
    assert_eq!((observed.len(), observed.values().next()), (90, Some(&1.75)));
    let usual = samples(address, &of("oddns_feature_expected", "request_rate"), end).await;
    assert!(usual.len() == 90 && usual.values().all(|value| *value == 0.125), "{usual:?}");
    let shares = samples(address, "oddns_feature_contribution_ratio{instance='b:1'}", end).await;
    assert_eq!((shares.len(), shares.values().next()), (90, Some(&0.25)));
    assert_eq!(samples(address, "oddns_feature_observed{instance='b:1'}", end).await.len(), 0);

    // A server that is gone, and one without a score, end at once.
    let now = async |time: f64| {
        let path = format!("/api/v1/query?time={time}&query=count(oddns_anomaly_score)");
        let answer = request(address, &format!("GET {path} HTTP/1.0\r\nhost: x\r\n\r\n")).await;
        answer.json()["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
    };
    assert_eq!(now(at(91).unix_seconds()).await.as_deref(), Some("2"));
    service.shared.forget("b:1", wall_clock());
    service.step("a:1", at(90), None);
    until("the end of the series", async || now(at(91).unix_seconds()).await.is_none()).await;
    service.writing.stop().await;
}

/// What a receiver was asked.
struct Asked {
    at: Instant,
    head: String,
    samples: Vec<(BTreeMap<String, String>, v1::Sample)>,
}

/// A receiver that answers in turn with these, and then well.
async fn receiver(answers: &'static [&'static str]) -> (SocketAddr, Arc<Mutex<Vec<Asked>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut answers = answers.iter();
        while let Ok((mut stream, _)) = listener.accept().await {
            let request = read(&mut stream).await;
            log.lock().unwrap().push(request);
            let status = answers.next().unwrap_or(&"204 No Content");
            let text =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(text.as_bytes()).await;
        }
    });
    (address, asked)
}

async fn read(stream: &mut TcpStream) -> Asked {
    let (mut bytes, at) = (Vec::new(), Instant::now());
    loop {
        let n = stream.read_buf(&mut bytes).await.unwrap();
        assert!(n > 0, "it breaks off");
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let body = &bytes[end + 4..];
        if body.len() < length.parse().unwrap() {
            continue;
        }
        let message = snap::raw::Decoder::new().decompress_vec(body).unwrap();
        let message = v1::WriteRequest::decode(&message[..]).unwrap();
        let sample = |series: v1::TimeSeries| {
            let labels = series.labels.into_iter().map(|label| (label.name, label.value));
            (labels.collect(), series.samples[0])
        };
        return Asked { at, head, samples: message.timeseries.into_iter().map(sample).collect() };
    }
}

#[tokio::test]
async fn what_is_refused_for_good_is_not_sent_again_and_what_may_pass_is() {
    let answers = ["400 Bad Request", "500 Oops", "429 Slow\r\nretry-after: 1", "503 Oops"];
    let (address, asked) = receiver(Box::leak(Box::new(answers))).await;
    let mut service = Service::start(config(address));
    service.score("a:1", wall_clock(), 2.0);
    until("the refusal", async || service.metric("failed_total") == EXPLAINED as f64).await;
    service.score("a:1", wall_clock(), 3.0);
    until("the delivery", async || service.metric("pending") == 0.0).await;
    let asked = asked.lock().unwrap();
    let first = |n: usize| asked[n].samples[0].1.value;
    assert_eq!((0..asked.len()).map(first).collect::<Vec<_>>(), [2.0, 3.0, 3.0, 3.0, 3.0]);
    assert!(asked[3].at - asked[2].at >= Duration::from_secs(1), "it asked for a second");
    assert_eq!(service.metric("retried_total"), 3.0 * EXPLAINED as f64);
    let text = service.shared.metrics().expose("").text;
    let sent = format!("oddns_remote_storage_samples_total{{remote=\"store\"}} {EXPLAINED}");
    assert!(text.contains(&sent), "{text}");
    for line in [
        "post /api/v1/write?token=s3cret http/1.1",
        "content-encoding: snappy",
        "content-type: application/x-protobuf",
        "x-prometheus-remote-write-version: 0.1.0",
        "x-scope-orgid: s3cret",
    ] {
        assert!(asked[0].head.lines().any(|found| found == line), "{line}: {}", asked[0].head);
    }
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let score = [("__name__", "oddns_anomaly_score"), ("cluster", "test"), ("instance", "a:1")];
    assert_eq!(asked[0].samples[0].0, labels(&score));
    // Of one cause one event a minute, without the address.
    let told = service.events.try_recv().unwrap();
    let Event::Warning { text, .. } = &told else { panic!("{told:?}") };
    assert_eq!(text, "scores do not reach remote storage store: the answer is 400: ");
    assert!(service.events.try_recv().is_err());
}

#[tokio::test]
async fn what_waits_at_the_end_is_sent_and_what_cannot_be_is_counted() {
    let (address, asked) = receiver(&[]).await;
    let mut patient = config(address);
    patient.queue.batch_send_deadline = Duration::from_secs(3600);
    let service = Service::start(patient.clone());
    for n in 0..3 {
        service.score("a:1", Timestamp::from_millis(1_795_331_512_000 + n), 2.0);
    }
    assert_eq!(service.metric("pending"), 3.0 * EXPLAINED as f64);
    service.writing.stop().await;
    assert_eq!(asked.lock().unwrap()[0].samples.len(), 3 * EXPLAINED);
    assert_eq!(service.shared.give_up_unsent(), 0);

    // Nobody is there: it ends all the same, soon.
    let service = Service::start(config(free_address()));
    service.score("a:1", wall_clock(), 2.0);
    let start = Instant::now();
    service.writing.stop().await;
    assert!(start.elapsed() < Duration::from_secs(7), "{:?}", start.elapsed());
    assert_eq!(service.shared.give_up_unsent(), EXPLAINED);
    let text = service.shared.metrics().expose("").text;
    let dropped =
        format!("oddns_remote_storage_samples_dropped_total{{remote=\"store\"}} {EXPLAINED}");
    assert!(text.contains(&dropped), "{text}");
}

#[tokio::test]
async fn rules_choose_what_is_sent_and_a_full_queue_drops_the_oldest() {
    let address = free_address();
    let mut small = config(address);
    small.queue.capacity = 100;
    let text = "remote_write: [{url: 'http://x', write_relabel_configs: [{source_labels: \
                [__name__], regex: oddns_anomaly_.*, action: keep}, {target_label: site, \
                replacement: lab}]}]";
    let read = oddns_serve::check_config(text, Path::new("")).unwrap();
    small.relabel_rules = read.remote_write[0].relabel_rules.clone();
    small.queue.batch_send_deadline = Duration::from_secs(3600);
    small.queue.max_samples_per_send = 100;
    let service = Service::start(small.clone());
    for n in 0..20 {
        service.score("a:1", Timestamp::from_millis(1_795_331_512_000 + n), 2.0);
    }
    let n_kept = 100 / EXPLAINED;
    assert_eq!(service.metric("dropped_total"), ((20 - n_kept) * EXPLAINED) as f64);
    let (address, asked) = receiver(&[]).await;
    small.url = config(address).url;
    let service = service.reload(small).await;
    service.writing.stop().await;
    let asked = asked.lock().unwrap();
    assert_eq!(asked[0].samples.len(), 2 * n_kept);
    let (labels, sample) = &asked[0].samples[0];
    assert_eq!(
        (labels["site"].as_str(), labels["__name__"].as_str()),
        ("lab", "oddns_anomaly_score")
    );
    assert_eq!(sample.timestamp, 1_795_331_512_000 + 20 - n_kept as i64);
}
