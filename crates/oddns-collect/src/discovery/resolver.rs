//! Questions to DNS servers, which the system's resolver does not ask: SRV records.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::dns::RecordType;
use crate::secret::read_bounded;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const PORT: u16 = 53;
/// For one server, once.
const PATIENCE: Duration = Duration::from_secs(5);
/// What we say that we take over UDP; more comes over TCP.
const UDP_BYTES: u16 = 1232;
/// A name takes 255 bytes at most, a label 63.
const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;
/// Of an answer's compressed name; more would be a circle.
const MAX_JUMPS: usize = 64;
/// Records of an answer that are read.
const MAX_RECORDS: usize = 10_000;
const NAME_ERROR: u8 = 3;

/// Why a name could not be looked up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The list of servers.
    #[error("cannot read `{RESOLV_CONF}`")]
    Configuration(#[source] io::Error),
    /// A list without servers.
    #[error("`{RESOLV_CONF}` names no server")]
    NoServer,
    /// Not a name.
    #[error("it is no name that the DNS can hold")]
    Name,
    /// No server answered.
    #[error("no server answered, the last one was {server}")]
    Silent {
        /// The last one.
        server: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A server says that it failed.
    #[error("{server} answered with code {code}")]
    Failed {
        /// Which server.
        server: SocketAddr,
        /// The response code, such as 2 for a failure of the server.
        code: u8,
    },
    /// An answer that is none.
    #[error("the answer of {server} is damaged")]
    Damaged {
        /// Which server.
        server: SocketAddr,
    },
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Address(IpAddr),
    /// The host without the final dot.
    Service {
        host: String,
        port: u16,
    },
}

/// Whom to ask, and which names a relative name may mean.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resolver {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    n_dots: usize,
}

impl Resolver {
    /// Asks `servers`, or those of the system where there are none.
    pub(super) async fn new(servers: &[SocketAddr]) -> Result<Self, ResolveError> {
        if !servers.is_empty() {
            return Ok(Self { servers: servers.to_vec(), search: Vec::new(), n_dots: 1 });
        }
        let read = || read_bounded(RESOLV_CONF.as_ref(), 1 << 20);
        let text = tokio::task::spawn_blocking(read).await.map_err(io::Error::other);
        Self::configured(&text.and_then(|text| text).map_err(ResolveError::Configuration)?)
    }

    fn configured(text: &str) -> Result<Self, ResolveError> {
        let mut resolver = Self { servers: Vec::new(), search: Vec::new(), n_dots: 1 };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    resolver.servers.extend(server.map(|ip| SocketAddr::new(ip, PORT)));
                }
                Some("search" | "domain") => resolver.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let dots = words.find_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    resolver.n_dots = dots.unwrap_or(resolver.n_dots);
                }
                _ => {}
            }
        }
        if resolver.servers.is_empty() {
            return Err(ResolveError::NoServer);
        }
        Ok(resolver)
    }

    /// The records of the first meaning of `name` that has some; none when no meaning has any.
    pub(super) async fn look_up(
        &self,
        name: &str,
        kind: RecordType,
    ) -> Result<Vec<Record>, ResolveError> {
        for name in self.meanings(name) {
            let records = self.ask_servers(&name, kind).await?;
            if !records.is_empty() {
                return Ok(records);
            }
        }
        Ok(Vec::new())
    }

    fn meanings(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let searched =
            self.search.iter().map(|domain| format!("{name}.{}", domain.trim_matches('.')));
        let mut names: Vec<String> = searched.collect();
        let is_long = name.matches('.').count() >= self.n_dots;
        names.insert(if is_long { 0 } else { names.len() }, name.to_owned());
        names
    }

    /// Asks one server after the other until one answers.
    async fn ask_servers(&self, name: &str, kind: RecordType) -> Result<Vec<Record>, ResolveError> {
        let mut last = ResolveError::NoServer;
        for server in &self.servers {
            match ask(*server, name, kind).await {
                Ok(records) => return Ok(records),
                Err(ResolveError::Name) => return Err(ResolveError::Name),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

async fn ask(
    server: SocketAddr,
    name: &str,
    kind: RecordType,
) -> Result<Vec<Record>, ResolveError> {
    let id = ahash::RandomState::new().hash_one(name) as u16;
    let question = question(id, name, kind).ok_or(ResolveError::Name)?;
    let silent = |source| ResolveError::Silent { server, source };
    let late = |_| silent(io::ErrorKind::TimedOut.into());
    let answer = timeout(PATIENCE, over_udp(server, &question)).await.map_err(late)?;
    let mut answer = answer.map_err(silent)?;
    if is_truncated(&answer) {
        let whole = timeout(PATIENCE, over_tcp(server, &question)).await.map_err(late)?;
        answer = whole.map_err(silent)?;
    }
    let (code, records) = parse(&answer, id, kind).ok_or(ResolveError::Damaged { server })?;
    match code {
        0 | NAME_ERROR => Ok(records),
        code => Err(ResolveError::Failed { server, code }),
    }
}

/// Waits for the answer with the number of the question; others are forged or late.
async fn over_udp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut answer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut answer).await?;
        if answer[..length].starts_with(&question[..2]) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = (question.len() as u16).to_be_bytes();
    stream.write_all(&[&length[..], question].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// A question with recursion and EDNS; `None` for what is no name.
fn question(id: u16, name: &str, kind: RecordType) -> Option<Vec<u8>> {
    let mut out = id.to_be_bytes().to_vec();
    // Recursion desired; one question, one additional record.
    out.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    let start = out.len();
    for label in name.split('.') {
        if label.is_empty() || label.len() > MAX_LABEL {
            return None;
        }
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
    if out.len() - start > MAX_NAME {
        return None;
    }
    out.extend(kind.number().to_be_bytes());
    out.extend([0, 1]);
    // The root, type OPT, and how much we take.
    out.extend([0, 0, 41]);
    out.extend(UDP_BYTES.to_be_bytes());
    out.extend([0; 6]);
    Some(out)
}

fn is_truncated(answer: &[u8]) -> bool {
    answer.get(2).is_some_and(|flags| flags & 2 != 0)
}

/// The response code and the records of `kind`; `None` for a damaged answer.
fn parse(answer: &[u8], id: u16, kind: RecordType) -> Option<(u8, Vec<Record>)> {
    let mut reader = Reader { bytes: answer, at: 0 };
    let is_ours = reader.u16()? == id;
    let flags = reader.u16()?;
    if !is_ours || flags & 0x8000 == 0 {
        return None;
    }
    let (n_questions, n_answers) = (reader.u16()?, reader.u16()?);
    reader.at = 12;
    for _ in 0..n_questions {
        reader.name()?;
        reader.at += 4;
    }
    let mut records = Vec::new();
    for _ in 0..usize::from(n_answers).min(MAX_RECORDS) {
        records.extend(reader.record(kind)?);
    }
    Some(((flags & 15) as u8, records))
}

/// Reads forward through an answer; every method gives `None` at its end.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn u8(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    /// A record of another kind is `Some(None)`.
    fn record(&mut self, kind: RecordType) -> Option<Option<Record>> {
        self.name()?;
        let number = self.u16()?;
        // Class and time to live.
        self.at += 6;
        let length = usize::from(self.u16()?);
        let data = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        let end = self.at + length;
        let record = match kind {
            _ if number != kind.number() => None,
            RecordType::A => Some(Record::Address(<[u8; 4]>::try_from(data).ok()?.into())),
            RecordType::Aaaa => Some(Record::Address(<[u8; 16]>::try_from(data).ok()?.into())),
            RecordType::Srv => {
                // Priority and weight come first: a monitor asks every server.
                self.at += 4;
                let port = self.u16()?;
                Some(Record::Service { host: self.name()?, port })
            }
        };
        self.at = end;
        Some(record)
    }

    /// A name, compressed or not, without the final dot.
    fn name(&mut self) -> Option<String> {
        let mut labels: Vec<String> = Vec::new();
        let mut after = None;
        let mut n_jumps = 0;
        loop {
            match self.u8()? {
                0 => break,
                length if length & 0xc0 == 0xc0 => {
                    let target = usize::from(length & 0x3f) << 8 | usize::from(self.u8()?);
                    after.get_or_insert(self.at);
                    self.at = target;
                    n_jumps += 1;
                }
                length if usize::from(length) <= MAX_LABEL => {
                    let end = self.at + usize::from(length);
                    let label = self.bytes.get(self.at..end)?;
                    labels.push(String::from_utf8_lossy(label).into_owned());
                    self.at = end;
                }
                _ => return None,
            }
            if n_jumps > MAX_JUMPS || labels.len() > MAX_NAME {
                return None;
            }
        }
        self.at = after.unwrap_or(self.at);
        Some(labels.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_systems_file_says_whom_to_ask_and_what_names_mean() {
        let text = "# x\nnameserver 10.96.0.10\nnameserver bad\nnameserver fd00::1\n\
                    search dns.svc.cluster.local svc.cluster.local\noptions ndots:5 timeout:1\n";
        let resolver = Resolver::configured(text).unwrap();
        let servers: Vec<String> = resolver.servers.iter().map(SocketAddr::to_string).collect();
        assert_eq!(servers, ["10.96.0.10:53", "[fd00::1]:53"]);
        let names = resolver.meanings("kube-dns.kube-system");
        assert_eq!(
            names.first().map(String::as_str),
            Some("kube-dns.kube-system.dns.svc.cluster.local")
        );
        assert_eq!(names.last().map(String::as_str), Some("kube-dns.kube-system"));
        assert_eq!(resolver.meanings("a.b."), ["a.b"]);
        assert!(matches!(Resolver::configured("search x\n"), Err(ResolveError::NoServer)));
    }

    fn answer() -> Vec<u8> {
        let mut answer = question(7, "_m._tcp.dns", RecordType::Srv).unwrap();
        let question_end = answer.len() - 11;
        answer.truncate(question_end);
        answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        // The name is the question's; the host is `a` and the question's last label.
        answer.extend([
            0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 5, 0, 10, 0, 1, 0, 1, 0x23, 0xc1, 1, b'a', 0xc0, 20,
        ]);
        answer
    }

    #[test]
    fn a_service_is_read_with_its_compressed_name() {
        let service = Record::Service { host: "a.dns".into(), port: 9153 };
        assert_eq!(parse(&answer(), 7, RecordType::Srv), Some((0, vec![service])));
        assert_eq!(parse(&answer(), 8, RecordType::Srv), None);
        assert_eq!(parse(&answer(), 7, RecordType::A), Some((0, vec![])));
        for name in ["", "a..b", &"x".repeat(64), &"abcdefghi.".repeat(30)] {
            assert_eq!(question(1, name, RecordType::A), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn damaged_answers_are_bounded(at in 0..60_usize, byte: u8, cut in 0..60_usize) {
            let mut answer = answer();
            if let Some(place) = answer.get_mut(at) {
                *place = byte;
            }
            answer.truncate(cut.max(12));
            let _ = parse(&answer, 7, RecordType::Srv);
        }
    }
}
