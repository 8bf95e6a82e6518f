//! History from a Prometheus that is busy, failing, or none at all.

use std::collections::VecDeque;
use std::error::Error;
use std::time::Duration;

use oddns_collect::{HistoryConfig, HistoryError, HistoryQuery, PrometheusHistory, SeriesChoice};
use oddns_core::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Says these answers one after the other, each on a connection of its own, and the last one for
/// ever.
async fn serve(answers: &[String]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut answers: VecDeque<String> = answers.iter().cloned().collect();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let answer =
                if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
            let _ = stream.write_all(answer.unwrap().as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

fn response(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

fn ok(data: &str) -> String {
    response("200 OK", "", &format!("{{\"status\":\"success\",\"data\":{data}}}"))
}

fn series() -> String {
    ok(r#"[{"__name__":"coredns_x","instance":"a"}]"#)
}

fn matrix() -> String {
    ok(r#"{"resultType":"matrix","result":[
        {"metric":{"__name__":"coredns_x","instance":"a"},"values":[[10,"1"],[200,"2"],[5000,"3"]]}]}"#)
}

/// What comes of fetching the first five minutes of 1970: the times of the scrapes, and any error
/// with its causes.
async fn fetch(answers: &[String]) -> (Vec<i64>, String) {
    let address = serve(answers).await;
    let config = HistoryConfig {
        timeout: Duration::from_secs(5),
        max_answer_bytes: 1000,
        min_gap: Duration::ZERO,
        max_attempts: 3,
        first_wait: Duration::from_millis(1),
        ..HistoryConfig::default()
    };
    let mut history = PrometheusHistory::new(address.parse().unwrap(), config).unwrap();
    let query = HistoryQuery {
        series: SeriesChoice::Selector("{job=\"dns\"}".to_owned()),
        since: Timestamp::from_millis(0),
        until: Timestamp::from_millis(300_000),
        step: None,
    };
    let mut seconds = Vec::new();
    let result = history.fetch(&query, |part| {
        let scrapes = part.recordings.iter().flat_map(|recording| &recording.scrapes);
        seconds.extend(scrapes.map(|scrape| scrape.time.millis() / 1000));
        Ok::<_, HistoryError>(())
    });
    let mut message = String::new();
    if let Err(error) = result.await {
        message = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            message = format!("{message}: {source}");
            cause = source.source();
        }
    }
    (seconds, message.replace(&address, "ADDRESS"))
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let busy = response("429 Too Many Requests", "Retry-After: 0\r\n", "slow down");
    let failing = response(
        "500 Internal Server Error",
        "",
        r#"{"status":"error","errorType":"internal","error":"disk"}"#,
    );
    let mut cut = matrix();
    cut.truncate(cut.len() - 20);
    let answers = [busy.clone(), failing, series(), busy, cut, matrix()];
    assert_eq!(fetch(&answers).await, (vec![10, 200], String::new()));
}

#[tokio::test]
async fn a_server_that_stays_ill_is_told() {
    let failing = response("503 Service Unavailable", "", "");
    let (_, message) = fetch(&[failing]).await;
    assert_eq!(
        message,
        "http://ADDRESS/ answered 503 Service Unavailable: look at the server's own log"
    );
    let internal = r#"{"status":"error","errorType":"internal","error":"disk"}"#;
    let (seconds, message) =
        fetch(&[series(), response("500 Internal Server Error", "", internal)]).await;
    assert_eq!(
        (seconds.len(), &*message),
        (0, "cannot use the answer of http://ADDRESS/: Prometheus says `disk` (internal)")
    );
}

#[tokio::test]
async fn what_is_too_much_is_asked_for_in_pieces() {
    let many = r#"{"status":"error","errorType":"execution","error":"query processing would load too many samples into memory in query execution"}"#;
    let many = response("422 Unprocessable Entity", "", many);
    let large = ok(&format!("\"{}\"", "x".repeat(1000)));
    let (seconds, message) = fetch(&[series(), many, large.clone(), matrix()]).await;
    // Every piece takes what is in its own time only, so that nothing comes twice.
    assert_eq!((seconds, &*message), (vec![10, 200], ""));
    let (_, message) = fetch(&[series(), large]).await;
    assert_eq!(
        message,
        "the answer of http://ADDRESS/ has more than 1000 bytes: ask for fewer series"
    );
}

#[tokio::test]
async fn what_is_no_prometheus_is_told() {
    let html = response("200 OK", "Content-Type: text/html\r\n", "<html>sign in</html>");
    let expected = "http://ADDRESS/ answers with a web page, it is no Prometheus: give the address \
                    before `/api/v1`, with the path prefix if there is one";
    assert_eq!(fetch(std::slice::from_ref(&html)).await.1, expected);
    assert_eq!(fetch(&[series(), html]).await.1, expected);
    for (answer, expected) in [
        (
            response("401 Unauthorized", "", ""),
            "http://ADDRESS/ answered 401 Unauthorized: it wants credentials, or other ones",
        ),
        (
            response("200 OK", "", "{\"status\":\"success\",\"data\":{<html>"),
            "cannot use the answer of http://ADDRESS/: it is no answer of Prometheus's HTTP API, or a damaged one: ",
        ),
        (response("200 OK", "", "{\"a\":1}"), "missing field `status` at line 1 column 7"),
        (response("200 OK", "", "up 1\n"), "answers with something else than JSON"),
        (
            ok("[]"),
            "http://ADDRESS/ has no series `{job=\"dns\"}` between 1970-01-01T00:00:00.000Z and 1970-01-01T00:05:00.000Z: check the selector and the time",
        ),
    ] {
        let message = fetch(&[answer]).await.1;
        assert!(message.contains(expected), "{message}");
    }
}
