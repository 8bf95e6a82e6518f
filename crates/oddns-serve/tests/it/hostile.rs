//! Clients that are slow, many, or up to no good.

use std::time::Duration;

use oddns_serve::{Shared, View, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::client::{get, request, serve};
use crate::scene;

#[tokio::test]
async fn a_client_that_never_ends_its_request_is_cut_off() {
    let (address, _) = serve(View::new("", true)).await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    // The server's clock is paused time: it runs ahead as soon as nothing else can.
    tokio::time::pause();
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(30), slow.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "still open after 30 s");
}

#[tokio::test]
async fn silent_connections_leave_room_for_others() {
    let (address, _) = serve(View::new("", true)).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(get(address, "/-/healthy").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_silent_connections_keep_nobody_out() {
    let (address, shared) = serve(View::new("", true)).await;
    let mut silent = std::collections::VecDeque::new();
    for n in 0..10_000 {
        silent.push_back(TcpStream::connect(address).await.unwrap());
        // We may have fewer files open than the server is asked to.
        if silent.len() > 400 {
            silent.pop_front();
        }
        if n % 1000 == 999 {
            assert_eq!(get(address, "/-/healthy").await.status, 200);
        }
    }
    let text = shared.metrics().expose("").text;
    let dropped =
        text.lines().find_map(|l| l.strip_prefix("oddns_http_connections_dropped_total "));
    assert!(dropped.unwrap().parse::<u64>().unwrap() > 1000, "{dropped:?}");
}

#[tokio::test]
async fn nonsense_is_refused_and_the_server_goes_on() {
    let (address, _) = serve(View::new("", true)).await;
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100_000));
    for text in ["\0\0\0\r\n\r\n", "GET\r\n\r\n", long.as_str(), "GET / HTTP/9.9\r\n\r\n"] {
        let status = request(address, text).await.status;
        assert!(matches!(status, 0 | 400..=499 | 505), "{status}");
    }
    for path in
        ["/../../etc/passwd", "/assets/../../Cargo.toml", "/assets/%2e%2e%2fapp.js", "//etc"]
    {
        assert_eq!(get(address, path).await.status, 404, "{path}");
    }
    assert_eq!(get(address, "/-/healthy").await.status, 200);
}

#[tokio::test]
async fn shutdown_ends_with_idle_connections_open() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shared = Shared::new(scene::recording());
    let server = tokio::spawn(run(listener, shared, async {
        let _ = stopped.await;
    }));
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    stop.send(()).unwrap();
    timeout(Duration::from_secs(8), server).await.expect("did not end").unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
