//! One plain GET, enough to see whether a server's metrics are there.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const MAX_ANSWER_BYTES: u64 = 16 * 1024 * 1024;
/// An answer that takes longer is an error of the kind [`io::ErrorKind::TimedOut`].
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The body behind `path`; an error when the answer is not 200, too slow or not text.
pub(crate) async fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    timeout(PATIENCE, exchange(address, path)).await?
}

async fn exchange(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    // HTTP/1.0 is answered without chunks, and the end of the answer is the end of the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.split(' ').nth(1) == Some("200") {
        return Ok(body.to_owned());
    }
    let status: String = head.chars().take_while(|c| !c.is_control()).take(100).collect();
    Err(io::Error::other(format!("the answer is `{status}`")))
}
