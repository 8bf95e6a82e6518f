//! Stands between us and a real server, and does to its answers what networks and proxies do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is answered by the server.
    Pass,
    /// It is not, but with this status.
    Status(u16),
    /// It is sent elsewhere.
    To(&'static str),
    /// The connection ends in the middle of the answer.
    Cut,
    /// Half of the answer comes as if it were all.
    Half,
    /// There is no remote read, and with other answers something is said to be missing.
    Warned,
    /// An answer begins and does not end.
    Endless,
    /// Nobody answers.
    Silence,
}

/// A request as it came.
struct Request {
    /// Path and query, also where the request is to a proxy.
    target: String,
    head: Vec<String>,
    body: Vec<u8>,
}

/// Listens until the test program ends, in front of the server at `port`; `way` is asked for each path.
pub(crate) fn relay(port: u16, way: impl Fn(&str) -> Way + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let way = Arc::new(way);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let way = Arc::clone(&way);
            // Whoever hangs up in between has asked for nothing.
            std::thread::spawn(move || handle(stream, port, &*way).unwrap_or_default());
        }
    });
    address
}

fn handle(mut stream: TcpStream, port: u16, way: &dyn Fn(&str) -> Way) -> std::io::Result<()> {
    let Some(request) = read(&mut stream)? else { return Ok(()) };
    match way(&request.target) {
        Way::Silence => sleep(Duration::from_secs(600)),
        Way::Status(status) => answer(&mut stream, &format!("HTTP/1.1 {status} X"), b"oops", 4)?,
        Way::To(place) => {
            answer(&mut stream, &format!("HTTP/1.1 302 X\r\nLocation: {place}"), b"", 0)?;
        }
        Way::Endless => {
            answer(
                &mut stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json",
                b"{",
                1 << 40,
            )?;
            let piece = [b' '; 1 << 16];
            while stream.write_all(&piece).is_ok() {}
        }
        Way::Warned if request.target.starts_with("/api/v1/read") => {
            answer(&mut stream, "HTTP/1.1 404 X", b"", 0)?;
        }
        way @ (Way::Pass | Way::Cut | Way::Half | Way::Warned) => {
            let (head, mut body) = ask(port, &request)?;
            if way == Way::Warned {
                let text = String::from_utf8_lossy(&body);
                body = text.replacen('{', "{\"warnings\":[\"a store is away\"],", 1).into_bytes();
            }
            let half = &body[..body.len() / 2];
            match way {
                Way::Cut => answer(&mut stream, &head, half, body.len())?,
                Way::Half => answer(&mut stream, &head, half, half.len())?,
                _ => answer(&mut stream, &head, &body, body.len())?,
            }
        }
    }
    Ok(())
}

fn read(stream: &mut TcpStream) -> std::io::Result<Option<Request>> {
    let mut reader = BufReader::new(stream);
    let mut lines = reader.by_ref().lines();
    let Some(first) = lines.next().transpose()? else { return Ok(None) };
    let mut head = vec![first];
    while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
        head.push(line);
    }
    let length = header(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let target = head[0].split(' ').nth(1).unwrap_or_default();
    let path = target.strip_prefix("http://").and_then(|rest| rest.find('/').map(|at| &rest[at..]));
    Ok(Some(Request { target: path.unwrap_or(target).to_owned(), head, body }))
}

fn header<'a>(head: &'a [String], name: &str) -> Option<&'a str> {
    let mut pairs = head.iter().filter_map(|line| line.split_once(':'));
    pairs.find(|(of, _)| of.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Status line with the headers that matter, and body.
fn ask(port: u16, request: &Request) -> std::io::Result<(String, Vec<u8>)> {
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    let method = request.head[0].split(' ').next().unwrap_or_default();
    // The older version, so that there are no chunks; and nothing is asked to be compressed.
    let mut head = format!("{method} {} HTTP/1.0\r\nHost: x\r\n", request.target);
    let passed = ["content-type", "content-length", "content-encoding", "authorization"];
    for name in passed.into_iter().chain(["x-prometheus-remote-read-version"]) {
        if let Some(value) = header(&request.head, name) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    server.write_all(format!("{head}\r\n").as_bytes())?;
    server.write_all(&request.body)?;
    let mut all = Vec::new();
    server.read_to_end(&mut all)?;
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(all.len());
    let body = all.get(end + 4..).unwrap_or_default().to_vec();
    let lines: Vec<String> =
        String::from_utf8_lossy(&all[..end]).lines().map(str::to_owned).collect();
    let kind = header(&lines, "content-type").unwrap_or("text/plain");
    Ok((format!("{}\r\nContent-Type: {kind}", lines[0]), body))
}

/// Says that `length` bytes come, whatever comes.
fn answer(stream: &mut TcpStream, head: &str, body: &[u8], length: usize) -> std::io::Result<()> {
    let head = format!("{head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}
