//! CoreDNS servers that do not exist: they count what they answered, and flap when told to.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::watching::since_1970;

/// The series that numbers answers.
pub(super) const NUMBER: &str = "coredns_soak_answers_total";
/// A client that sends nothing is given up after this time.
const PATIENCE: Duration = Duration::from_secs(2);

/// One server; it answers until the program ends.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    start: Instant,
    is_down: AtomicBool,
    n_answers: AtomicU64,
    /// Those that do not count.
    n_before: AtomicU64,
    /// When the answer of this place was sent whole, since 1970.
    answered: Mutex<Vec<Duration>>,
}

impl Server {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            start: Instant::now(),
            is_down: AtomicBool::new(false),
            n_answers: AtomicU64::new(0),
            n_before: AtomicU64::new(0),
            answered: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                // A connection stays open between scrapes.
                std::thread::spawn(move || state.serve(stream));
            }
        });
        Ok(Self { address, state })
    }

    /// While it is down, connections are closed without an answer.
    pub(super) fn set_down(&self, is_down: bool) {
        self.state.is_down.store(is_down, Ordering::Relaxed);
    }

    /// When it was made.
    pub(super) fn start_of_time(&self) -> Instant {
        self.state.start
    }

    /// From now on answers count.
    pub(super) fn begin(&self) {
        let n_answers = self.state.n_answers.load(Ordering::Relaxed);
        self.state.n_before.store(n_answers, Ordering::Relaxed);
    }

    /// When each answer that counts was sent, since 1970, by the number in it.
    pub(super) fn answered(&self) -> Vec<(u64, Duration)> {
        let times = self.state.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let n_before = self.state.n_before.load(Ordering::Relaxed);
        (1..).zip(times.iter().copied()).filter(|(number, _)| *number > n_before).collect()
    }
}

impl State {
    fn serve(&self, stream: TcpStream) -> Option<()> {
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        let mut answers = stream.try_clone().ok()?;
        let mut requests = BufReader::new(stream);
        loop {
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                if requests.read_line(&mut line).ok()? == 0 {
                    return None;
                }
            }
            if self.is_down.load(Ordering::Relaxed) {
                return None;
            }
            self.answer(&mut answers)?;
        }
    }

    /// Numbers and sends one answer; one at a time, so that numbers and times agree.
    fn answer(&self, to: &mut TcpStream) -> Option<()> {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.n_answers.load(Ordering::Relaxed) + 1;
        let body = metrics(self.start.elapsed().as_secs_f64(), number);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        to.write_all((head + &body).as_bytes()).ok()?;
        self.n_answers.store(number, Ordering::Relaxed);
        answered.push(since_1970());
        Some(())
    }
}

/// What a server has counted after so many seconds of quiet traffic.
fn metrics(seconds: f64, number: u64) -> String {
    let mut text = String::new();
    let mut line = |series: &str, value: f64| {
        let _ = writeln!(text, "{series} {value}");
    };
    // A wobble, so that no feature is constant.
    let queries = 200.0 * seconds + 40.0 * (seconds / 7.0).sin() + 40.0;
    line("coredns_build_info{goversion=\"go1.25\",revision=\"x\",version=\"1.12.0\"}", 1.0);
    line(NUMBER, number as f64);
    for (kind, share) in [("A", 0.6), ("AAAA", 0.3), ("SRV", 0.1)] {
        let labels = format!(
            "family=\"1\",proto=\"udp\",server=\"dns://:53\",type=\"{kind}\",view=\"\",zone=\".\""
        );
        line(&format!("coredns_dns_requests_total{{{labels}}}"), (queries * share).floor());
    }
    for (code, share) in [("NOERROR", 0.8), ("NXDOMAIN", 0.195), ("SERVFAIL", 0.005)] {
        let labels =
            format!("plugin=\"\",rcode=\"{code}\",server=\"dns://:53\",view=\"\",zone=\".\"");
        line(&format!("coredns_dns_responses_total{{{labels}}}"), (queries * share).floor());
    }
    let of_server = "server=\"dns://:53\",view=\"\",zone=\".\"";
    for (le, share) in [
        ("0.00025", 0.5),
        ("0.001", 0.8),
        ("0.004", 0.9),
        ("0.016", 0.97),
        ("0.064", 0.99),
        ("+Inf", 1.0),
    ] {
        let name = "coredns_dns_request_duration_seconds_bucket";
        line(&format!("{name}{{{of_server},le=\"{le}\"}}"), (queries * share).floor());
    }
    line(&format!("coredns_dns_request_duration_seconds_sum{{{of_server}}}"), queries * 0.0011);
    line(&format!("coredns_dns_request_duration_seconds_count{{{of_server}}}"), queries.floor());
    line(
        "coredns_cache_hits_total{server=\"dns://:53\",type=\"success\",view=\"\",zones=\".\"}",
        (queries * 0.7).floor(),
    );
    line(
        "coredns_cache_misses_total{server=\"dns://:53\",view=\"\",zones=\".\"}",
        (queries * 0.3).floor(),
    );
    line(
        "coredns_cache_entries{server=\"dns://:53\",type=\"success\",view=\"\",zones=\".\"}",
        900.0 + 20.0 * (seconds / 11.0).sin(),
    );
    line("coredns_forward_requests_total{to=\"10.0.0.2:53\"}", (queries * 0.3).floor());
    line("coredns_panics_total", 0.0);
    line("process_cpu_seconds_total", seconds * 0.05);
    line("process_resident_memory_bytes", 5e7 + 1e5 * (seconds / 13.0).sin());
    line("process_start_time_seconds", 1_795_000_000.0);
    line("go_goroutines", 40.0 + (3.0 * (seconds / 5.0).sin()).floor());
    text
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn ask(server: &Server) -> String {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn answers_are_numbered_and_those_of_a_server_that_is_down_are_not_sent() {
        let server = Server::start().unwrap();
        assert!(ask(&server).contains("\ncoredns_soak_answers_total 1\n"));
        server.set_down(true);
        assert_eq!(ask(&server), "");
        server.set_down(false);
        assert!(ask(&server).contains("\ncoredns_soak_answers_total 2\n"));
        let numbers: Vec<u64> = server.answered().into_iter().map(|(n, _)| n).collect();
        assert_eq!(numbers, [1, 2]);
    }
}
