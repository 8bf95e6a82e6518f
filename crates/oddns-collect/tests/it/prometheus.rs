//! History from a real Prometheus that scrapes a real CoreDNS, by every way it comes.

use std::error::Error;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oddns_collect::{
    HistoryConfig, HistoryError, HistoryQuery, JobConfig, PrometheusHistory, ReplayOptions,
    SeriesChoice, read_recordings, replay_file,
};
use oddns_core::{Labels, Recording, Scrape, SeriesId, Timestamp};
use tokio::time::{Instant, sleep, sleep_until};

use crate::peer::{Running, free_port, peers, run};
use crate::target::scraper;

/// How often the server is scraped directly, once a second.
const N_SCRAPES: u64 = 14;

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(since.as_millis() as i64)
}

/// Both programs, and where they are.
struct Site {
    coredns: Option<Running>,
    prometheus: Option<Running>,
    dns_port: u16,
    metrics_port: u16,
    prometheus_port: u16,
    storage: PathBuf,
    since: Timestamp,
}

impl Site {
    fn start(peers: &Path, folder: &Path) -> Self {
        let (dns_port, metrics_port, prometheus_port) = (free_port(), free_port(), free_port());
        let corefile = folder.join("Corefile");
        let text = format!(
            ".:{dns_port} {{\n  bind 127.0.0.1\n  prometheus 127.0.0.1:{metrics_port}\n  whoami\n}}\n"
        );
        fs::write(&corefile, text).unwrap();
        let coredns = peers.join("coredns-1.15.0/coredns");
        let coredns = run(Command::new(coredns).arg("-conf").arg(corefile));
        let config = folder.join("prometheus.yml");
        // The job `self` is no CoreDNS, and must not come along.
        let text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n\
             - job_name: kube-dns\n  static_configs: [{{targets: ['127.0.0.1:{metrics_port}']}}]\n\
             - job_name: self\n  static_configs: [{{targets: ['127.0.0.1:{prometheus_port}']}}]\n"
        );
        fs::write(&config, text).unwrap();
        let storage = folder.join("storage");
        let prometheus = run(Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", storage.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{prometheus_port}"))
            .arg("--web.enable-lifecycle"));
        let (coredns, prometheus) = (Some(coredns), Some(prometheus));
        let since = now();
        Self { coredns, prometheus, dns_port, metrics_port, prometheus_port, storage, since }
    }

    fn instance(&self) -> String {
        format!("127.0.0.1:{}", self.metrics_port)
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.prometheus_port)
    }

    fn history(&self) -> PrometheusHistory {
        history(&self.address())
    }

    fn query(&self, step: Option<Duration>) -> HistoryQuery {
        let series = SeriesChoice::Jobs(Vec::new());
        HistoryQuery { series, since: self.since, until: now(), step }
    }

    /// The server's recording by way of the HTTP API.
    async fn fetch(&self, query: &HistoryQuery) -> Recording {
        let mut parts = Vec::new();
        let take = |part: oddns_collect::HistoryPart| {
            assert!(part.since < part.until);
            parts.extend(part.recordings);
            Ok::<_, HistoryError>(())
        };
        self.history().fetch(query, take).await.unwrap();
        let mut parts = parts.into_iter();
        let mut whole = parts.next().expect("there are scrapes");
        assert_eq!(whole.instance, self.instance());
        // Each part has a table of its own, and here they are small enough to be one mostly.
        for part in parts {
            assert_eq!(part.instance, whole.instance);
            whole.scrapes.extend(part.scrapes.into_iter().map(|mut scrape| {
                for sample in &mut scrape.samples {
                    sample.series = whole.series.intern(part.series.get(sample.series).unwrap());
                }
                scrape
            }));
        }
        whole
    }

    async fn quit(&mut self) {
        let url = format!("{}/-/quit", self.address());
        let _ =
            reqwest::Client::builder().tls_certs_only([]).build().unwrap().post(url).send().await;
        if let Some(mut prometheus) = self.prometheus.take() {
            prometheus.0.wait().unwrap();
        }
    }
}

fn history(address: &str) -> PrometheusHistory {
    let config = HistoryConfig { first_wait: Duration::from_millis(10), ..Default::default() };
    PrometheusHistory::new(address.parse().unwrap(), config).unwrap()
}

/// Asks `example.org A` and waits for the answer.
fn ask(dns_port: u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let query =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00\x01\x00\x01";
    socket.send_to(query, ("127.0.0.1", dns_port)).unwrap();
    socket.recv(&mut [0; 512]).unwrap();
}

/// Waits until Prometheus has scraped the server, at most half a minute. Prometheus alone takes five
/// seconds before it looks at its targets.
async fn wait_for_history(site: &Site) {
    let mut last = String::new();
    for _ in 0..150 {
        match site.history().fetch(&site.query(None), |_| Ok::<_, HistoryError>(())).await {
            Ok(()) => return,
            Err(error) => last = error.to_string(),
        }
        sleep(Duration::from_millis(200)).await;
    }
    panic!("no history within half a minute: {last}");
}

/// Scrapes once a second, once both programs are there, with queries between.
async fn record_directly(site: &Site) -> Recording {
    let mut recording = Recording { instance: site.instance(), ..Recording::default() };
    let mut scraper = scraper(&site.instance(), JobConfig::new("dns"));
    wait_for_history(site).await;
    let start = Instant::now();
    for second in 0..N_SCRAPES {
        sleep_until(start + Duration::from_secs(second)).await;
        let scraped = scraper.scrape(now(), &mut recording.series).await;
        assert!(scraped.error.is_none(), "{:?}", scraped.error);
        recording.scrapes.push(scraped.scrape);
        (0..second).for_each(|_| ask(site.dns_port));
    }
    recording
}

fn total(recording: &Recording, scrape: &Scrape, name: &str) -> f64 {
    let is_named = |id: SeriesId| recording.series.get(id).unwrap().name == name;
    scrape.samples.iter().filter(|s| is_named(s.series)).map(|s| s.value).sum()
}

fn series(recording: &Recording, scrape: &Scrape) -> Vec<String> {
    // A label without a value is none to Prometheus: `view=""` of CoreDNS is not kept.
    let key = |id| {
        let key = recording.series.get(id).unwrap();
        let pairs = key.labels.iter().filter(|(_, value)| !value.is_empty());
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        format!("{}{}", key.name, Labels::new(pairs))
    };
    let mut keys: Vec<_> = scrape.samples.iter().map(|sample| key(sample.series)).collect();
    keys.sort();
    keys
}

/// Every scrape as text, so that recordings with other tables can be compared.
fn lines(recording: &Recording) -> Vec<String> {
    let line = |scrape: &Scrape| {
        let sample = |s: &oddns_core::Sample| {
            format!("{} {}", recording.series.get(s.series).unwrap(), s.value)
        };
        let mut samples: Vec<_> = scrape.samples.iter().map(sample).collect();
        samples.sort();
        format!("{} {} {} {samples:?}", scrape.time, scrape.up, scrape.duration_seconds)
    };
    recording.scrapes.iter().map(line).collect()
}

/// Each scrape of `found` has counters between those scraped directly before and after it, where
/// its values may be `lag` older than its time.
fn assert_within_direct_scrapes(found: &Recording, direct: &Recording, lag: i64) -> usize {
    const NAME: &str = "coredns_dns_requests_total";
    let mut n_compared = 0;
    for scrape in found.scrapes.iter().filter(|scrape| scrape.up) {
        let time = scrape.time.millis();
        let before = direct.scrapes.iter().rfind(|s| s.time.millis() <= time - lag - 100);
        let after = direct.scrapes.iter().find(|s| s.time.millis() >= time + 100);
        let (Some(before), Some(after)) = (before, after) else { continue };
        let value = total(found, scrape, NAME);
        let (low, high) = (total(direct, before, NAME), total(direct, after, NAME));
        assert!((low..=high).contains(&value), "{}: {low} <= {value} <= {high}", scrape.time);
        n_compared += 1;
    }
    n_compared
}

async fn assert_scraped_samples(site: &Site, direct: &Recording) -> Recording {
    let raw = site.fetch(&site.query(None)).await;
    let ups: Vec<_> = raw.scrapes.iter().filter(|scrape| scrape.up).collect();
    assert!(ups.len() as u64 >= N_SCRAPES - 2, "{}", ups.len());
    assert!(assert_within_direct_scrapes(&raw, direct, 0) as u64 >= N_SCRAPES - 4);
    let all = series(direct, direct.scrapes.last().unwrap());
    let wanted = ["coredns_", "process_", "go_"];
    let wanted: Vec<_> =
        all.iter().filter(|key| wanted.iter().any(|start| key.starts_with(start))).collect();
    let last = ups.last().unwrap();
    assert_eq!(series(&raw, last).iter().collect::<Vec<_>>(), wanted);
    assert!(ups.iter().all(|scrape| (0.0..1.0).contains(&scrape.duration_seconds)));
    let requests = total(&raw, last, "coredns_dns_requests_total");
    assert_eq!(requests, (0..N_SCRAPES).sum::<u64>() as f64);
    // The server was killed, and Prometheus has seen it.
    let end = raw.scrapes.last().unwrap();
    assert!(!end.up && end.samples.is_empty() && end.duration_seconds.is_finite());
    raw
}

async fn assert_steps(site: &Site, direct: &Recording) {
    let query = site.query(Some(Duration::from_secs(1)));
    let stepped = site.fetch(&query).await;
    assert!(stepped.scrapes.iter().all(|scrape| scrape.time.millis() % 1000 == 0));
    assert!(assert_within_direct_scrapes(&stepped, direct, 1000) as u64 >= N_SCRAPES - 5);
    // A saved answer of the same request is read as well.
    let url = format!(
        "{}/api/v1/query_range?query=%7Bjob%3D%22kube-dns%22%7D&start={}&end={}&step=1",
        site.address(),
        query.since.unix_seconds().ceil(),
        (query.until.millis() - 1) as f64 / 1000.0
    );
    let client = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
    let text = client.get(url).send().await.unwrap().bytes().await.unwrap();
    let saved = read_recordings("answer.json", &text[..], &ReplayOptions::default()).unwrap();
    let [saved] = &saved[..] else { panic!("one instance") };
    assert_eq!(saved.instance, site.instance());
    let outline = |recording: &Recording| {
        let scrape = |s: &Scrape| {
            (s.time, s.up, total(recording, s, "coredns_dns_requests_total").to_bits())
        };
        recording.scrapes.iter().map(scrape).collect::<Vec<_>>()
    };
    assert_eq!(outline(saved), outline(&stepped));
}

async fn assert_dump(site: &mut Site, raw: &Recording, folder: &Path) {
    site.quit().await;
    let dump = Command::new("promtool").args(["tsdb", "dump"]).arg(&site.storage).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let file = folder.join("dump.txt");
    fs::write(&file, &dump.stdout).unwrap();
    let recordings = replay_file(&file, &ReplayOptions::default()).unwrap();
    assert_eq!(recordings.len(), 2, "the DNS server and Prometheus itself");
    let mut dumped = recordings.into_iter().find(|r| r.instance == site.instance()).unwrap();
    // The dump has all series, and what came after the question.
    let end = raw.scrapes.last().unwrap().time;
    dumped.scrapes.retain(|scrape| scrape.time <= end);
    let fetched: Vec<_> = raw.scrapes.iter().flat_map(|scrape| series(raw, scrape)).collect();
    let fetched: std::collections::HashSet<_> = fetched.into_iter().collect();
    for scrape in &mut dumped.scrapes {
        scrape
            .samples
            .retain(|s| fetched.contains(&dumped.series.get(s.series).unwrap().to_string()));
    }
    assert_eq!(lines(&dumped), lines(raw));
}

/// The message and its causes of a question that fails.
async fn failure(history: &mut PrometheusHistory, query: &HistoryQuery) -> String {
    let error = history.fetch(query, |_| Ok::<_, HistoryError>(())).await.unwrap_err();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

async fn assert_faults(site: &Site) {
    let query = site.query(None);
    let address = site.address();
    let bad = HistoryQuery { series: SeriesChoice::Selector("up{job=".into()), ..query.clone() };
    assert_eq!(
        failure(&mut site.history(), &bad).await,
        format!(
            "cannot use the answer of {address}/: Prometheus says `invalid parameter \"match[]\": \
             1:8: parse error: unexpected end of input inside braces` (bad_data)"
        )
    );
    let other = HistoryQuery { series: SeriesChoice::Jobs(vec!["nope".into()]), ..query.clone() };
    let message = failure(&mut site.history(), &other).await;
    let start =
        format!("{address}/ has no series `{{job=~\"nope\",__name__=~\"coredns_.+\"}}` between");
    assert!(message.starts_with(&start), "{message}");
    let never = HistoryQuery {
        series: SeriesChoice::Selector("{job=\"kube-dns\"}".into()),
        since: Timestamp::from_millis(1_000_000_000_000),
        until: Timestamp::from_millis(1_000_000_060_000),
        step: None,
    };
    let message = failure(&mut site.history(), &never).await;
    assert!(message.ends_with("check the selector and the time"), "{message}");
    let message = failure(&mut history(&format!("{address}/prefix")), &query).await;
    assert!(message.contains("/prefix/ answered 404 Not Found: is it a Prometheus?"), "{message}");
    let closed = format!("http://u:hunter2@127.0.0.1:{}", free_port());
    let message = failure(&mut history(&closed), &query).await;
    assert!(message.starts_with("nothing listens at http://***@127.0.0.1:"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
    let empty = HistoryQuery { until: query.since, ..query };
    assert!(failure(&mut site.history(), &empty).await.starts_with("nothing lies between"));
}

#[tokio::test]
async fn a_prometheus_that_watches_a_coredns_gives_its_history() {
    let Some(peers) = peers("a_prometheus_that_watches_a_coredns_gives_its_history") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut site = Site::start(&peers, folder.path());
    let direct = record_directly(&site).await;
    // The last queries are scraped, then the server goes away and Prometheus sees that.
    sleep(Duration::from_millis(1500)).await;
    site.coredns = None;
    sleep(Duration::from_millis(2500)).await;
    let raw = assert_scraped_samples(&site, &direct).await;
    assert_steps(&site, &direct).await;
    assert_faults(&site).await;
    assert_dump(&mut site, &raw, folder.path()).await;
}
