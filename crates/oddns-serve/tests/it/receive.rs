//! The remote-write receiver as senders see it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oddns::{DetectorError, State, Step};
use oddns_collect::{Directory, GatherConfig, WriteLimits, WrittenSample, WrittenSeries};
use oddns_core::{Score, Scrape, SeriesTable, Timestamp};
use oddns_serve::{
    Event, Judge, Keep, KeepError, NewReceivedJudge, ReceiverSettings, Receiving, Shared, View,
    receive,
};
use prost::Message as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::client::{Answer, serve};
use crate::messages::{Series, body_v1, body_v2, v1};

/// Remembers every sample, refuses what comes twice, and does as it is told.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<(Mutex<KeptState>, Condvar)>);

#[derive(Default)]
pub(crate) struct KeptState {
    pub(crate) samples: BTreeMap<(String, String, i64), u64>,
    pub(crate) n_twice: usize,
    /// How many of the next requests fail.
    pub(crate) n_failing: usize,
    /// Whether requests wait.
    pub(crate) is_held: bool,
    pub(crate) n_held: usize,
    pub(crate) is_finished: bool,
}

impl Kept {
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut KeptState) -> T) -> T {
        let done = change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
        done
    }
}

impl Keep for Kept {
    fn keep(
        &mut self,
        _now: Timestamp,
        directory: &Directory,
        samples: &[WrittenSample],
    ) -> Result<u64, KeepError> {
        let mut state = self.0.0.lock().unwrap();
        state.n_held += 1;
        while state.is_held {
            state = self.0.1.wait(state).unwrap();
        }
        state.n_held -= 1;
        if state.n_failing > 0 {
            state.n_failing -= 1;
            return Err(KeepError::new("no space left".into()));
        }
        for sample in samples {
            let instance = directory.instance(directory.target_of(sample.series)).to_owned();
            let key = (instance, directory.key(sample.series).to_string(), sample.millis);
            let before = state.samples.insert(key, sample.value.to_bits());
            state.n_twice += usize::from(before.is_some());
        }
        Ok(0)
    }

    fn forget(&mut self, _series: &[WrittenSeries]) {}

    fn finish(&mut self) -> Result<(), KeepError> {
        self.with(|state| state.is_finished = true);
        Ok(())
    }
}

/// A receiver on a free port.
struct Site {
    address: SocketAddr,
    shared: Arc<Shared>,
    kept: Kept,
    receiving: Receiving,
    events: mpsc::Receiver<Event>,
}

impl Site {
    async fn start(settings: ReceiverSettings, new_judge: Option<NewReceivedJudge>) -> Self {
        let (address, shared) = serve(View::new("", true)).await;
        let kept = Kept::default();
        let (sender, events) = mpsc::channel(1000);
        let receiving =
            receive(settings, Some(Box::new(kept.clone())), new_judge, &shared, sender).unwrap();
        Self { address, shared, kept, receiving, events }
    }

    async fn send(&self, version: u8, series: &[Series]) -> Answer {
        let (body, proto) = match version {
            1 => (body_v1(series), "prometheus.WriteRequest"),
            _ => (body_v2(series), "io.prometheus.write.v2.Request"),
        };
        post(self.address, &headers(proto, body.len()), &body).await
    }

    fn metric(&self, line: &str) -> bool {
        let text = self.shared.metrics().expose("").text;
        text.lines().any(|other| other == line)
    }
}

fn headers(proto: &str, length: usize) -> String {
    format!(
        "content-type: application/x-protobuf;proto={proto}\r\ncontent-encoding: snappy\r\n\
         content-length: {length}\r\n"
    )
}

async fn post(address: SocketAddr, headers: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head =
        format!("POST /api/v1/write HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body).await;
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text).await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn of(name: &str, samples: &[(i64, f64)]) -> Series {
    let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    (vec![own("__name__", name), own("instance", "n:1"), own("job", "dns")], samples.to_vec())
}

#[tokio::test]
async fn requests_are_answered_as_the_specification_says() {
    let site = Site::start(ReceiverSettings::default(), None).await;
    let t = now();
    let good = site.send(1, &[of("a", &[(t, 1.0)])]).await;
    assert_eq!((good.status, good.body.as_str()), (204, ""));
    let good = site.send(2, &[of("a", &[(t, 1.0), (t + 1, 2.0)]), of("b", &[(t, 0.5)])]).await;
    assert_eq!(good.status, 204);
    assert!(good.head.contains("x-prometheus-remote-write-samples-written: 3"), "{}", good.head);
    assert!(good.head.contains("x-prometheus-remote-write-histograms-written: 0"));
    assert!(good.head.contains("x-prometheus-remote-write-exemplars-written: 0"));
    let partial = site.send(2, &[of("a", &[(t, 3.0)]), of("c", &[(t, 1.0)])]).await;
    assert_eq!(partial.status, 400);
    assert!(partial.head.contains("samples-written: 1"));
    assert_eq!(
        partial.body,
        "1 samples were taken; not taken: 1 older than the last one of their series\n"
    );
    for (headers, body, status, says) in [
        ("content-type: text/plain\r\ncontent-length: 1\r\n", "x", 415, "`text/plain`"),
        ("content-encoding: zstd\r\ncontent-length: 1\r\n", "x", 415, "`zstd`"),
        ("content-length: 1\r\n", "x", 400, "no snappy block"),
        ("content-length: 3\r\n", "\x02\x04\x0a", 400, "snappy"),
        ("content-length: 99999999\r\n", "", 413, "16777216 bytes"),
    ] {
        let answer = post(site.address, headers, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{headers} {}", answer.body);
        assert!(answer.body.contains(says), "{}", answer.body);
    }
    assert_eq!(crate::client::get(site.address, "/api/v1/write").await.status, 405);
    for line in [
        "oddns_remote_write_samples_total 4",
        "oddns_remote_write_samples_refused_total{reason=\"duplicate\"} 1",
        "oddns_remote_write_samples_refused_total{reason=\"out_of_order\"} 1",
        "oddns_remote_write_samples_refused_total{reason=\"too_new\"} 0",
        "oddns_remote_write_requests_total{version=\"2.0\",code=\"204\"} 1",
        "oddns_remote_write_requests_total{version=\"unknown\",code=\"415\"} 2",
    ] {
        assert!(site.metric(line), "{line}\n{}", site.shared.metrics().expose("").text);
    }
    site.receiving.stop().unwrap();
    site.kept.with(|state| {
        assert!(state.is_finished);
        assert_eq!((state.samples.len(), state.n_twice), (4, 0));
    });
    let mut events = site.events;
    let mut warnings = Vec::new();
    while let Ok(event) = events.try_recv() {
        let Event::Warning { text, .. } = event else { panic!("{event:?}") };
        warnings.push(text);
    }
    // One each for content type, encoding, too large, damaged, repeated and refused samples.
    assert_eq!(warnings.len(), 6, "{warnings:#?}");
    assert!(warnings.iter().all(|text| text.starts_with("remote write from 127.0.0.1: ")));
    // A sender that is told 404 would give up.
    assert_eq!(post(site.address, "content-length: 1\r\n", b"x").await.status, 503);
}

/// A request of 1.0 with one native histogram.
fn body_of_a_histogram(timestamp: i64) -> Vec<u8> {
    let label = |name: &str| v1::Label { name: name.to_owned(), value: "h".to_owned() };
    let series = v1::TimeSeries {
        labels: vec![label("__name__"), label("instance")],
        histograms: vec![v1::Histogram { sum: 1.0, timestamp }],
        ..v1::TimeSeries::default()
    };
    let request = v1::WriteRequest { timeseries: vec![series], metadata: vec![] };
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}

#[tokio::test]
async fn every_cause_of_refusal_is_told_once_with_the_sender() {
    let limits = WriteLimits { max_known_series: 6, ..WriteLimits::default() };
    let mut site = Site::start(ReceiverSettings { limits, ..Default::default() }, None).await;
    let t = now();
    let nameless = (vec![("instance".to_owned(), "n:1".to_owned())], vec![(t, 1.0)]);
    let hour = 3_600_000;
    for _ in 0..2 {
        for sent in [
            vec![of("a", &[(t, 1.0)])],
            vec![of("a", &[(t, 1.0)])],
            vec![of("a", &[(t, 2.0)])],
            vec![of("a", &[(t - 1, 2.0)])],
            vec![of("b", &[(t + hour, 2.0)])],
            vec![of("c", &[(t - 100 * hour, 2.0)])],
            vec![nameless.clone()],
            (0..5).map(|n| of(&format!("x{n}"), &[(t, 1.0)])).collect(),
        ] {
            site.send(1, &sent).await;
        }
        let body = body_of_a_histogram(t);
        post(site.address, &headers("prometheus.WriteRequest", body.len()), &body).await;
    }
    let mut told = Vec::new();
    while let Ok(event) = site.events.try_recv() {
        let Event::Warning { text, .. } = event else { panic!("{event:?}") };
        told.push(text.strip_prefix("remote write from 127.0.0.1: ").unwrap().to_owned());
    }
    assert_eq!(told.len(), 8, "{told:#?}");
    for words in [
        "sent again",
        "another value",
        "older than",
        "future",
        "past",
        "not valid",
        "too many series",
        "native histograms",
    ] {
        assert_eq!(told.iter().filter(|text| text.contains(words)).count(), 1, "{told:#?}");
    }
}

#[tokio::test]
async fn servers_beyond_the_limit_are_told() {
    let gather = GatherConfig {
        settle: Duration::from_millis(1),
        max_servers: 1,
        ..GatherConfig::default()
    };
    let settings = ReceiverSettings { gather, ..ReceiverSettings::default() };
    let mut site = Site::start(settings, Some(Box::new(|_, _| Ok(Box::new(Counting))))).await;
    let t = now();
    let mut other = of("coredns_x", &[(t, 1.0)]);
    other.0[1].1 = "n:2".to_owned();
    assert_eq!(site.send(1, &[of("coredns_x", &[(t, 1.0)]), other]).await.status, 204);
    let event = timeout(Duration::from_secs(10), site.events.recv()).await.unwrap().unwrap();
    let Event::Warning { text, .. } = event else { panic!("{event:?}") };
    assert!(text.contains("there are more than 1 CoreDNS servers"), "{text}");
    let counted = "oddns_remote_write_samples_not_judged_total{reason=\"too_many\"} 1";
    assert!(site.metric(counted), "{}", site.shared.metrics().expose("").text);
}

/// A snappy block that says that it holds 4 GiB, and one that does unfold to more than allowed.
#[tokio::test]
async fn a_snappy_bomb_is_refused_before_it_is_unfolded() {
    let site = Site::start(ReceiverSettings::default(), None).await;
    let mut unfolding = snap::raw::Encoder::new().compress_vec(&vec![0; 40 << 20]).unwrap();
    unfolding.truncate(16 << 20);
    for body in [vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0], unfolding] {
        let headers = headers("prometheus.WriteRequest", body.len());
        let answer = post(site.address, &headers, &body).await;
        assert!(matches!(answer.status, 400 | 413), "{} {}", answer.status, answer.body);
    }
    assert_eq!(site.send(1, &[of("a", &[(now(), 1.0)])]).await.status, 204);
}

#[tokio::test]
async fn without_a_receiver_it_says_how_to_get_one() {
    let (address, _) = serve(View::new("", true)).await;
    let answer = post(address, "content-length: 1\r\n", b"x").await;
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("--web.enable-remote-write-receiver"), "{}", answer.body);
}

#[tokio::test]
async fn what_cannot_be_kept_comes_again() {
    let site = Site::start(ReceiverSettings::default(), None).await;
    site.kept.with(|state| state.n_failing = 1);
    let sent = [of("a", &[(now(), 1.0)])];
    let refused = site.send(1, &sent).await;
    assert_eq!(refused.status, 503);
    assert!(refused.head.contains("retry-after: 5"), "{}", refused.head);
    assert!(refused.body.contains("cannot be kept: no space left"), "{}", refused.body);
    assert_eq!(site.send(1, &sent).await.status, 204);
    site.kept.with(|state| assert_eq!((state.samples.len(), state.n_twice), (1, 0)));
}

#[tokio::test]
async fn a_full_queue_is_told_to_the_sender() {
    let patience = Duration::from_millis(20);
    let settings = ReceiverSettings { max_waiting: 1, patience, ..ReceiverSettings::default() };
    let site = Arc::new(Site::start(settings, None).await);
    site.kept.with(|state| state.is_held = true);
    let t = now();
    let send = |n: usize| {
        let site = site.clone();
        tokio::spawn(async move { site.send(1, &[of(&format!("a{n}"), &[(t, 1.0)])]).await.status })
    };
    let first = send(0);
    while site.kept.with(|state| state.n_held) == 0 {
        tokio::task::yield_now().await;
    }
    let others = [send(1), send(2), send(3)];
    let mut n_busy = 0;
    let mut waiting = Vec::new();
    for mut other in others {
        match timeout(Duration::from_millis(500), &mut other).await {
            Ok(status) => {
                assert_eq!(status.unwrap(), 429);
                n_busy += 1;
            }
            Err(_) => waiting.push(other),
        }
    }
    assert_eq!(n_busy, 2);
    site.kept.with(|state| state.is_held = false);
    assert_eq!(first.await.unwrap(), 204);
    for other in waiting {
        assert_eq!(other.await.unwrap(), 204);
    }
    site.kept.with(|state| assert_eq!(state.samples.len(), 2));
}

#[tokio::test]
async fn bodies_share_a_memory_and_must_come_in_time() {
    let settings = ReceiverSettings {
        max_waiting_bytes: 64 << 10,
        patience: Duration::from_millis(10),
        body_timeout: Duration::from_millis(300),
        ..ReceiverSettings::default()
    };
    let site = Site::start(settings, None).await;
    let slow = post(site.address, "content-length: 10\r\n", b"x");
    // It holds its piece of the memory for as long as it takes.
    let large = vec![0; 100 << 10];
    let headers = format!("content-length: {}\r\n", large.len());
    let (slow, large) = tokio::join!(slow, post(site.address, &headers, &large));
    assert_eq!(slow.status, 408, "{}", slow.body);
    // The answer comes before all is sent, and may be lost with the connection.
    assert!(matches!(large.status, 429 | 0), "{}", large.status);
    assert_eq!(site.send(1, &[of("a", &[(now(), 1.0)])]).await.status, 204);
}

/// Scores each scrape by how many samples it has.
struct Counting;

impl Judge for Counting {
    fn push(&mut self, series: &SeriesTable, scrape: &Scrape) -> Result<Step, DetectorError> {
        let all_known = scrape.samples.iter().all(|sample| series.get(sample.series).is_some());
        assert!(all_known);
        let score = scrape.samples.len() as f32;
        Ok(Step {
            time: scrape.time,
            row: vec![],
            expected: vec![],
            state: State::Scoring,
            score: Some(Score { time: scrape.time, score, alarm: false, contributions: vec![] }),
            incident: None,
        })
    }
}

#[tokio::test]
async fn a_server_known_by_remote_write_is_judged_like_a_scraped_one() {
    let gather = GatherConfig { settle: Duration::from_millis(1), ..GatherConfig::default() };
    let settings = ReceiverSettings { gather, ..ReceiverSettings::default() };
    let mut site = Site::start(settings, Some(Box::new(|_, _| Ok(Box::new(Counting))))).await;
    let t = now();
    for (n, value) in [(0, 1.0), (1000, 1.0), (2000, 0.0)] {
        let mut sent = vec![of("up", &[(t + n, value)]), of("coredns_x", &[(t + n, 1.0)])];
        sent.push(of("go_y", &[(t + n, 1.0)]));
        assert_eq!(site.send(1, &sent).await.status, 204);
    }
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let event = timeout(Duration::from_secs(10), site.events.recv()).await.unwrap().unwrap();
        seen.push(match event {
            Event::State { instance, state, .. } => format!("{instance} {state}"),
            Event::Score { score, .. } => format!("{} {}", score.time.millis() - t, score.score),
            Event::ScrapeFailed { error, .. } => error,
            other => format!("{other:?}"),
        });
    }
    let failed = "the sender could not scrape it (`up` is 0)";
    // The scrape with which it was met is not told.
    assert_eq!(seen[..3], ["n:1 scoring", "1000 2", failed]);
}
