//! The scraper against a server that answers whatever the test wants.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use oddns_collect::{
    HistoryConfig, HistoryError, HistoryQuery, JobConfig, LeftOut, PrometheusHistory,
    PrometheusUrl, RelabelRule, RuleText, ScrapeError, ScrapeLimits, Scraped, SeriesChoice,
};
use oddns_core::{SeriesTable, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::target::scraper;

/// What the server does with each request.
#[derive(Clone)]
enum Behaviour {
    /// Sends these bytes and closes.
    Say(Vec<u8>),
    /// Sends these bytes and keeps the connection for the next request.
    SayAndStay(Vec<u8>),
    /// Sends these bytes and then nothing, without closing.
    SayAndStall(Vec<u8>),
}

/// Serves until the test ends; the address, and every request head it gets.
async fn serve(
    behaviour: Behaviour,
) -> (String, tokio::sync::mpsc::UnboundedReceiver<(u32, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (heads, seen) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        for n_connection in 1.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            tokio::spawn(answer(stream, n_connection, behaviour.clone(), heads.clone()));
        }
    });
    (address, seen)
}

async fn answer(
    mut stream: TcpStream,
    n_connection: u32,
    behaviour: Behaviour,
    heads: tokio::sync::mpsc::UnboundedSender<(u32, String)>,
) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let _ = heads.send((n_connection, String::from_utf8(head).unwrap()));
        match &behaviour {
            Behaviour::Say(bytes) => {
                let _ = stream.write_all(bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
            Behaviour::SayAndStay(bytes) => stream.write_all(bytes).await.unwrap(),
            Behaviour::SayAndStall(bytes) => {
                let _ = stream.write_all(bytes).await;
                std::future::pending::<()>().await;
            }
        }
    }
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn config() -> JobConfig {
    JobConfig {
        timeout: Duration::from_secs(5),
        limits: ScrapeLimits { body_size: 100_000, samples: 3, ..ScrapeLimits::default() },
        ..JobConfig::new("test")
    }
}

async fn scrape(address: &str, config: JobConfig) -> Scraped {
    let mut scraper = scraper(address, config);
    scraper.scrape(Timestamp::from_millis(42), &mut SeriesTable::default()).await
}

/// The error's message and causes, the address taken out, for a server that says `bytes`.
async fn failure(behaviour: Behaviour, config: JobConfig) -> String {
    let (address, _seen) = serve(behaviour).await;
    let scraped = scrape(&address, config).await;
    assert!(!scraped.scrape.up && scraped.scrape.samples.is_empty());
    assert!(scraped.scrape.duration_seconds > 0.0);
    assert_eq!(scraped.scrape.time.millis(), 42);
    let error = scraped.error.expect("a failed scrape has an error");
    let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
    let kind = error.kind();
    format!("{kind}: {error}{}", source.unwrap_or_default()).replace(&address, "ADDRESS")
}

async fn refusal(bytes: Vec<u8>) -> String {
    failure(Behaviour::Say(bytes), config()).await
}

const METRICS: &[u8] = b"coredns_build_info{version=\"1.15.0\"} 1\nup 1 42\n";

#[tokio::test]
async fn metrics_are_read_over_a_kept_connection() {
    let bytes = response("200 OK", "Content-Type: text/plain; version=0.0.4\r\n", METRICS);
    let (address, mut seen) = serve(Behaviour::SayAndStay(bytes)).await;
    let target = format!("http://user:secret@{address}/m?x=1");
    let mut scraper = scraper(&target, config());
    let mut table = SeriesTable::default();
    for _ in 0..3 {
        let scraped = scraper.scrape(Timestamp::from_millis(42), &mut table).await;
        assert!(scraped.scrape.up && scraped.error.is_none(), "{:?}", scraped.error);
        assert_eq!(scraped.scrape.samples.len(), 2);
        assert!(scraped.scrape.has_coredns(&table));
        let (n_connection, head) = seen.recv().await.unwrap();
        assert_eq!(n_connection, 1);
        assert!(head.starts_with("GET /m?x=1 HTTP/1.1\r\n"), "{head}");
        let head = head.to_lowercase();
        for line in [
            "accept: text/plain;version=0.0.4;q=0.4,application/openmetrics-text;version=1.0.0;q=0.3,application/openmetrics-text;version=0.0.1;q=0.2,*/*;q=0.1",
            "accept-encoding: gzip",
            "authorization: basic dxnlcjpzzwnyzxq=",
            "x-prometheus-scrape-timeout-seconds: 5",
            "user-agent: oddns/",
        ] {
            assert!(head.contains(&format!("\r\n{line}")), "{line}: {head}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_died_meanwhile_costs_no_scrape() {
    // Says that it stays, and closes all the same, as a server does that restarts.
    let (address, mut seen) = serve(Behaviour::Say(response("200 OK", "", METRICS))).await;
    let mut scraper = scraper(&address, config());
    let mut table = SeriesTable::default();
    for _ in 0..5 {
        let scraped = scraper.scrape(Timestamp::default(), &mut table).await;
        assert!(scraped.scrape.up, "{:?}", scraped.error);
        assert!(seen.recv().await.is_some());
    }
}

#[tokio::test]
async fn gzip_and_open_metrics_are_taken() {
    for (headers, body) in [
        ("Content-Encoding: gzip\r\n", gzip(METRICS)),
        (
            "Content-Type: application/openmetrics-text; version=1.0.0\r\n",
            b"a 1\nb 2\n# EOF\n".to_vec(),
        ),
        ("", b"a 1\nb 2 # {} 1\n# EOF\n".to_vec()),
    ] {
        let (address, _seen) = serve(Behaviour::Say(response("200 OK", headers, &body))).await;
        let scraped = scrape(&address, config()).await;
        assert!(scraped.scrape.up, "{:?}", scraped.error);
        assert_eq!(scraped.scrape.samples.len(), 2);
    }
}

#[tokio::test]
async fn an_empty_answer_is_up_and_no_coredns() {
    let (address, _seen) = serve(Behaviour::Say(response("200 OK", "", b""))).await;
    let scraped = scrape(&address, config()).await;
    assert!(scraped.scrape.up && scraped.scrape.samples.is_empty());
}

#[tokio::test]
async fn answers_that_are_no_metrics_are_named() {
    let html = "not_metrics: http://ADDRESS/metrics answers with an HTML page, not with metrics: \
                is this CoreDNS's `prometheus` address and path?";
    assert_eq!(refusal(response("200 OK", "Content-Type: text/html\r\n", b"hello")).await, html);
    assert_eq!(refusal(response("200 OK", "", b"<!doctype html>")).await, html);
    let json = refusal(response("200 OK", "", b"{\"status\": \"ok\"}")).await;
    assert!(json.contains("answers with JSON"), "{json}");
    assert_eq!(
        refusal(response("200 OK", "", b"up 1\nup x\n")).await,
        "parse: cannot read the metrics of http://ADDRESS/metrics: \
         line 2, column 4: `x` is no value: expected a number, `NaN`, `+Inf` or `-Inf`"
    );
    let cut =
        refusal(response("200 OK", "Content-Type: application/openmetrics-text\r\n", b"a 1\n"));
    assert!(cut.await.ends_with("the text does not end with `# EOF`: it was cut short"));
    let many = refusal(response("200 OK", "", b"a 1\nb 1\nc 1\nd 1\n")).await;
    assert_eq!(
        many,
        "sample_limit: the metrics of http://ADDRESS/metrics are more than the job allows: \
         it has more than the 3 samples of `sample_limit`"
    );
}

#[tokio::test]
async fn other_statuses_give_advice() {
    for (status, advice) in [
        ("404 Not Found", "check the path, CoreDNS serves `/metrics`"),
        ("401 Unauthorized", "it wants credentials, or other ones"),
        ("500 Internal Server Error", "look at the server's own log"),
        ("204 No Content", "expected 200"),
    ] {
        let message = refusal(response(status, "", b"")).await;
        assert_eq!(message, format!("status: http://ADDRESS/metrics answered {status}: {advice}"));
    }
}

#[tokio::test]
async fn sizes_are_bounded_also_behind_gzip() {
    let large = "too_large: the answer of http://ADDRESS/metrics has more than 100000 bytes: \
                 is it a metrics page? if so, raise the body size limit";
    assert_eq!(refusal(response("200 OK", "", &[b'#'; 100_001])).await, large);
    let bomb = gzip(&vec![b'#'; 50_000_000]);
    assert!(bomb.len() < 500_000);
    assert_eq!(refusal(response("200 OK", "Content-Encoding: gzip\r\n", &bomb)).await, large);
}

#[tokio::test]
async fn answers_that_break_off_are_told() {
    let broken = "body: the answer of http://ADDRESS/metrics broke off or is damaged: ";
    let mut cut = response("200 OK", "", METRICS);
    cut.truncate(cut.len() - 5);
    assert!(refusal(cut).await.starts_with(broken));
    let mut short = gzip(METRICS);
    short.truncate(short.len() - 9);
    let short = response("200 OK", "Content-Encoding: gzip\r\n", &short);
    assert!(refusal(short).await.starts_with(broken));
    assert!(
        refusal(response("200 OK", "Content-Encoding: gzip\r\n", METRICS))
            .await
            .starts_with(broken)
    );
    assert!(refusal(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()).await.starts_with(broken));
    assert!(refusal(Vec::new()).await.starts_with(broken));
}

#[tokio::test]
async fn the_timeout_covers_head_and_body() {
    let quick = JobConfig { timeout: Duration::from_millis(150), ..config() };
    let expected = "timeout: http://ADDRESS/metrics did not answer within 150ms: \
                    is it overloaded, or the timeout too short?";
    let mut half = response("200 OK", "", METRICS);
    half.truncate(half.len() - 5);
    for bytes in [Vec::new(), b"HTTP/1.1 200 OK\r\n".to_vec(), half] {
        assert_eq!(failure(Behaviour::SayAndStall(bytes), quick.clone()).await, expected);
    }
}

#[tokio::test]
async fn no_connection_is_told_by_cause() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let scraped = scrape(&format!("http://u:secret@{address}/"), config()).await;
    let error = scraped.error.unwrap();
    assert!(matches!(error, ScrapeError::Refused { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!(
            "nothing listens at http://{address}/metrics: is CoreDNS running with its `prometheus` plugin enabled?"
        )
    );
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");

    // A label of 64 characters never resolves, and no query leaves the machine.
    let scraped = scrape(&format!("{}.invalid:9153", "a".repeat(64)), config()).await;
    let error = scraped.error.unwrap();
    assert!(matches!(error, ScrapeError::Dns { .. }), "{error:?}");
}

#[tokio::test]
async fn https_to_a_plain_server_is_told() {
    let (address, _seen) = serve(Behaviour::Say(response("200 OK", "", METRICS))).await;
    let quick = JobConfig { timeout: Duration::from_secs(1), ..config() };
    let error = scrape(&format!("https://{address}"), quick).await.error.unwrap();
    assert!(
        matches!(
            error,
            ScrapeError::Connect { .. } | ScrapeError::Client { .. } | ScrapeError::Timeout { .. }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_sample_from_another_time_is_left_out() {
    // The scrape is at 42 ms: 5 minutes behind, and 10 ahead, are the last that count.
    let text = b"a 1 -299958\nb 1 -299959\nc 1 600042\nd 1 600043\n";
    for (honor_timestamps, expected) in [(true, 2), (false, 4)] {
        let (address, _seen) = serve(Behaviour::Say(response("200 OK", "", text))).await;
        let config = JobConfig { honor_timestamps, ..JobConfig::new("test") };
        let scraped = scrape(&address, config).await;
        assert_eq!(scraped.scrape.samples.len(), expected, "{:?}", scraped.error);
        assert_eq!((scraped.n_scraped, scraped.left_out.untimely), (4, 4 - expected));
    }
}

#[tokio::test]
async fn a_counter_below_zero_and_a_series_twice_are_left_out() {
    let text = b"coredns_a_total -1\ncoredns_b_total 2\ncoredns_b_total 3\nc -1\nd_total NaN\n";
    for dropping in [false, true] {
        let rule = RuleText {
            source_labels: vec!["__name__".to_owned()],
            regex: Some("nothing".to_owned()),
            action: Some("drop".to_owned()),
            ..RuleText::default()
        };
        let rules = dropping.then(|| RelabelRule::new(rule).unwrap());
        let (address, _seen) = serve(Behaviour::Say(response("200 OK", "", text))).await;
        let metric_relabel_rules = rules.into_iter().collect();
        let config = JobConfig { metric_relabel_rules, ..JobConfig::new("test") };
        let scraped = scrape(&address, config).await;
        assert!(scraped.error.is_none(), "{:?}", scraped.error);
        assert_eq!(scraped.left_out, LeftOut { untimely: 0, duplicate: 1, negative: 1 });
        assert_eq!(scraped.scrape.samples.len(), 3);
    }
}

/// A server on plain HTTP that sends us on to TLS: it is gone to, and what is wrong there is told.
#[tokio::test]
async fn a_redirect_to_tls_is_followed_and_its_failure_is_clear() {
    // Bound and closed again: nothing listens there.
    let away = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let headers = format!("Location: https://{away}/metrics\r\n");
    let moved = response("301 Moved Permanently", &headers, b"");
    let (address, _seen) = serve(Behaviour::Say(moved.clone())).await;
    let error = scrape(&address, config()).await.error.unwrap();
    // The second where the machine has no certificates to trust.
    let clear = matches!(error, ScrapeError::Refused { .. } | ScrapeError::Client { .. });
    assert!(clear, "{error:?}");
    let (address, _seen) = serve(Behaviour::Say(moved)).await;
    let server: PrometheusUrl = address.parse().unwrap();
    let mut history = PrometheusHistory::new(server, HistoryConfig::default()).unwrap();
    let query = HistoryQuery {
        series: SeriesChoice::Jobs(vec![]),
        since: Timestamp::from_millis(0),
        until: Timestamp::from_millis(1),
        step: None,
    };
    let error = history.fetch::<HistoryError>(&query, |_| Ok(())).await.unwrap_err();
    let said = error.to_string();
    assert!(said.ends_with("sends us to https: give its address with `https://`"), "{said}");
}
