//! `oddns check-health`.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;

use crate::args::{CheckHealth, Output};
use crate::output;

/// More than the answer of a healthy oddns has.
const MAX_ANSWER_BYTES: u64 = 4096;

pub(crate) fn run(args: &CheckHealth) -> anyhow::Result<()> {
    let address = reachable(args.listen_address);
    let path = if args.ready { "/-/ready" } else { "/-/healthy" };
    let answer = ask(address, path, args.timeout)
        .with_context(|| format!("`http://{address}{path}` does not answer"))?;
    let (status, text) = parts(&answer)
        .with_context(|| format!("`http://{address}{path}` does not answer as HTTP: is it TLS?"))?;
    if status != 200 {
        bail!("`http://{address}{path}` answers {status}: {text}");
    }
    match args.output.output {
        Output::Text => output::line(text),
        Output::Json => output::json(&json!({ "address": address.to_string(), "answer": text })),
    }
    Ok(())
}

/// What listens everywhere is reached here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn ask(address: SocketAddr, path: &str, timeout: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Status and first line of the body; `None` when it is no HTTP.
fn parts(answer: &str) -> Option<(u16, &str)> {
    let status = answer.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, body.lines().next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_and_a_line() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\nno model\n";
        assert_eq!(parts(answer), Some((503, "no model")));
        assert_eq!(parts("HTTP/1.1 200 OK\r\n\r\n"), Some((200, "")));
        assert_eq!(parts("\u{15}\u{3}\u{3}"), None);
    }

    #[test]
    fn everywhere_is_also_here() {
        let shown = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(shown("0.0.0.0:8753"), "127.0.0.1:8753");
        assert_eq!(shown("[::]:8753"), "[::1]:8753");
        assert_eq!(shown("10.0.0.7:8753"), "10.0.0.7:8753");
    }
}
