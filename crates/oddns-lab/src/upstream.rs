//! The DNS servers behind CoreDNS, played by the lab so that it can break them.
//!
//! Every name exists that ends in one of a few public zones, unless one of its labels starts with
//! `nx-`; its records are a function of the name. One task owns the UDP socket and the replies
//! that wait for their delay, so that closing it closes everything at once.

pub(crate) mod answer;
mod serving;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::answer::answer;
use self::serving::Serving;
use crate::LabError;
use crate::message::{Reply, read_query, write_reply};

/// Most a reply is held back; a resolver has given up long before.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// Response codes an upstream can be told to give to everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rcode {
    /// 2: the server failed.
    ServFail,
    /// 3: the name does not exist.
    NxDomain,
    /// 5: the server does not want to answer.
    Refused,
}

impl Rcode {
    const fn number(self) -> u8 {
        match self {
            Self::ServFail => 2,
            Self::NxDomain => 3,
            Self::Refused => 5,
        }
    }
}

/// How an upstream treats the queries it gets. The default answers all of them at once.
///
/// Ratios at or below 0 (and NaN) never happen, at or above 1 always.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Behaviour {
    /// Time every reply is held back; at most 60 s counts.
    pub delay: Duration,
    /// A further time, drawn evenly between nothing and this, for each reply.
    pub jitter: Duration,
    /// Share of UDP queries without a reply (TCP would send again, so it loses nothing).
    pub loss_ratio: f64,
    /// The code every reply carries, whatever was asked.
    pub rcode: Option<Rcode>,
    /// Every reply of the first second of each six is SERVFAIL.
    pub flapping: bool,
    /// Share of replies that are SERVFAIL instead.
    pub servfail_ratio: f64,
    /// Takes every query and answers none.
    pub blackhole: bool,
    /// Queries answered in a second, as behind the packet limit of a cloud's resolver; what comes
    /// beyond is lost. `None` is no limit.
    pub most_per_second: Option<u32>,
    /// Share of UDP replies that are cut and say so, which sends the client to TCP.
    pub truncate_ratio: f64,
}

/// Where an upstream listens and how it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// Loopback address for UDP and TCP; port 0 takes a free one.
    pub address: SocketAddr,
    /// Seed of loss, jitter and truncation.
    pub seed: u64,
    /// Seconds an answer may be cached.
    pub ttl_seconds: u32,
    /// Seconds the absence of a name may be cached.
    pub negative_ttl_seconds: u32,
    /// Whether it also knows the services of the lab's cluster, as the DNS server of one does.
    pub knows_cluster: bool,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { address, seed: 0, ttl_seconds: 30, negative_ttl_seconds: 30, knows_cluster: false }
    }
}

/// What an upstream has seen since it was bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UpstreamCounts {
    /// Well-formed queries received.
    pub queries: u64,
    /// Replies decided on; a delayed one counts when its query comes.
    pub replies: u64,
    /// Packets that are no DNS query.
    pub malformed: u64,
}

/// A running upstream. Dropping it closes its sockets.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    responder: Arc<Responder>,
    serving: Option<Serving>,
}

impl Upstream {
    /// Binds UDP and TCP on the same port and answers. Must be called within a tokio runtime.
    ///
    /// Fails when the address is not loopback or the port is taken.
    pub async fn bind(config: UpstreamConfig) -> Result<Self, LabError> {
        if !config.address.ip().is_loopback() {
            return Err(LabError::NotLoopback { address: config.address });
        }
        let responder = Arc::new(Responder::new(config));
        let serving = Serving::start(config.address, &responder).await?;
        Ok(Self { address: serving.address(), responder, serving: Some(serving) })
    }

    /// Where it listens; the port stays the same over `stop` and `start`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the behaviour from the next query on.
    pub fn set(&self, behaviour: Behaviour) {
        self.responder.dice().behaviour = behaviour;
    }

    /// What it has seen so far.
    pub fn counts(&self) -> UpstreamCounts {
        self.responder.counts()
    }

    /// Closes the sockets: queries are refused by the system. No effect when already stopped.
    pub async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.stop().await;
        }
    }

    /// Opens the sockets again on the same port. No effect when running.
    ///
    /// Fails when something else took the port meanwhile.
    pub async fn start(&mut self) -> Result<(), LabError> {
        if self.serving.is_none() {
            self.serving = Some(Serving::start(self.address, &self.responder).await?);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

/// A reply and how long it waits.
#[derive(Debug)]
struct Delayed {
    delay: Duration,
    packet: Vec<u8>,
}

/// How a query is answered.
#[derive(Debug)]
struct Fate {
    /// Instead of what is true about the name.
    rcode: Option<Rcode>,
    truncated: bool,
    delay: Duration,
}

/// Decides the fate of one query; shared by the UDP and TCP sides.
#[derive(Debug)]
struct Responder {
    config: UpstreamConfig,
    dice: Mutex<Dice>,
    queries: AtomicU64,
    replies: AtomicU64,
    malformed: AtomicU64,
}

#[derive(Debug)]
struct Dice {
    behaviour: Behaviour,
    rng: ChaCha8Rng,
    /// Begin of the second that a limit counts in, and queries in it so far.
    counting: Option<(Instant, u32)>,
    /// When flapping began.
    flapping_since: Option<Instant>,
}

impl Dice {
    fn happens(&mut self, ratio: f64) -> bool {
        ratio > 0.0 && self.rng.random::<f64>() < ratio
    }

    /// Counts a query at `now`, and says whether it is beyond the limit.
    fn exceeds_limit(&mut self, now: Instant) -> bool {
        let Some(most) = self.behaviour.most_per_second else { return false };
        let second = |begin: &Instant| now.duration_since(*begin) < Duration::from_secs(1);
        let (begin, n) = self.counting.filter(|(begin, _)| second(begin)).unwrap_or((now, 0));
        self.counting = Some((begin, n.saturating_add(1)));
        n >= most
    }

    /// Whether a query at `now` falls into the second of each six in which all fail.
    fn flaps(&mut self, now: Instant) -> bool {
        if !self.behaviour.flapping {
            self.flapping_since = None;
            return false;
        }
        let since = *self.flapping_since.get_or_insert(now);
        now.duration_since(since).as_secs().is_multiple_of(6)
    }

    fn delay(&mut self) -> Duration {
        let jitter = self.behaviour.jitter.min(MAX_DELAY);
        let share = if jitter.is_zero() { 0.0 } else { self.rng.random::<f64>() };
        self.behaviour.delay.saturating_add(jitter.mul_f64(share)).min(MAX_DELAY)
    }
}

impl Responder {
    fn new(config: UpstreamConfig) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(config.seed);
        Self {
            config,
            dice: Mutex::new(Dice {
                behaviour: Behaviour::default(),
                rng,
                counting: None,
                flapping_since: None,
            }),
            queries: AtomicU64::new(0),
            replies: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
        }
    }

    fn dice(&self) -> std::sync::MutexGuard<'_, Dice> {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> UpstreamCounts {
        UpstreamCounts {
            queries: self.queries.load(Ordering::Relaxed),
            replies: self.replies.load(Ordering::Relaxed),
            malformed: self.malformed.load(Ordering::Relaxed),
        }
    }

    /// The reply to a packet; `None` when it is lost or no query.
    fn respond(&self, packet: &[u8], transport: Transport) -> Option<Delayed> {
        let Ok(query) = read_query(packet) else {
            self.malformed.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        self.queries.fetch_add(1, Ordering::Relaxed);
        let Fate { rcode, truncated, delay } = self.fate(transport, Instant::now())?;
        let mut reply = match rcode {
            Some(rcode) => {
                Reply { rcode: rcode.number(), truncated: false, ttl_seconds: 0, record: None }
            }
            None => answer(&query.name(), query.record_type, &self.config),
        };
        reply.truncated = truncated;
        let mut out = Vec::new();
        write_reply(&query, &reply, &mut out);
        self.replies.fetch_add(1, Ordering::Relaxed);
        Some(Delayed { delay, packet: out })
    }

    /// What becomes of one query at `now`; `None` when it gets no reply.
    fn fate(&self, transport: Transport, now: Instant) -> Option<Fate> {
        let mut dice = self.dice();
        let behaviour = dice.behaviour;
        let udp = transport == Transport::Udp;
        let lost = behaviour.blackhole || (udp && dice.happens(behaviour.loss_ratio));
        if lost || dice.exceeds_limit(now) {
            return None;
        }
        let fails = dice.flaps(now) || dice.happens(behaviour.servfail_ratio);
        let failed = fails.then_some(Rcode::ServFail);
        let truncated = udp && dice.happens(behaviour.truncate_ratio);
        Some(Fate { rcode: behaviour.rcode.or(failed), truncated, delay: dice.delay() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Name, RecordType, read_reply, write_query};

    fn responder(behaviour: Behaviour) -> Responder {
        let responder = Responder::new(UpstreamConfig::default());
        responder.dice().behaviour = behaviour;
        responder
    }

    fn query(name: &str) -> Vec<u8> {
        let mut packet = Vec::new();
        write_query(1, &Name::parse(name).unwrap(), RecordType::A, &mut packet);
        packet
    }

    fn answered(responder: &Responder, n_queries: usize) -> usize {
        let packet = query("a.example.com");
        (0..n_queries).filter(|_| responder.respond(&packet, Transport::Udp).is_some()).count()
    }

    #[test]
    fn loss_is_seeded_and_near_its_ratio() {
        let lossy = Behaviour { loss_ratio: 0.3, ..Behaviour::default() };
        let got = answered(&responder(lossy), 1000);
        assert!((650..750).contains(&got), "{got}");
        assert_eq!(got, answered(&responder(lossy), 1000));
    }

    #[test]
    fn a_blackhole_counts_but_does_not_reply() {
        let hole = responder(Behaviour { blackhole: true, ..Behaviour::default() });
        assert_eq!(answered(&hole, 10), 0);
        assert_eq!(hole.counts(), UpstreamCounts { queries: 10, ..UpstreamCounts::default() });
    }

    #[test]
    fn the_code_is_given_whatever_was_asked() {
        let failing = Behaviour { rcode: Some(Rcode::ServFail), ..Behaviour::default() };
        let reply = responder(failing).respond(&query("a.example.com"), Transport::Udp).unwrap();
        assert_eq!(read_reply(&reply.packet).unwrap().rcode, 2);
    }

    #[test]
    fn some_replies_fail_and_what_is_beyond_the_limit_is_lost() {
        let failing = responder(Behaviour { servfail_ratio: 0.3, ..Behaviour::default() });
        let rcode = |_| {
            let reply = failing.respond(&query("a.example.com"), Transport::Udp).unwrap();
            read_reply(&reply.packet).unwrap().rcode
        };
        let n_failed = (0..1000).map(rcode).filter(|rcode| *rcode == 2).count();
        assert!((250..350).contains(&n_failed), "{n_failed}");
        let limit = Behaviour { most_per_second: Some(7), ..Behaviour::default() };
        let limited = responder(limit);
        let (udp, start) = (Transport::Udp, Instant::now());
        let answered = |after: u64| {
            let now = start + Duration::from_millis(after);
            (0..20).filter(|_| limited.fate(udp, now).is_some()).count()
        };
        assert_eq!([answered(0), answered(900), answered(1000)], [7, 0, 7]);
    }

    #[test]
    fn only_udp_is_truncated() {
        let cutting = responder(Behaviour { truncate_ratio: 1.0, ..Behaviour::default() });
        for (transport, expected) in [(Transport::Udp, true), (Transport::Tcp, false)] {
            let reply = cutting.respond(&query("a.example.com"), transport).unwrap();
            assert_eq!(read_reply(&reply.packet).unwrap().truncated, expected);
        }
    }

    #[test]
    fn odd_numbers_do_no_harm() {
        let odd = Behaviour {
            delay: Duration::MAX,
            jitter: Duration::MAX,
            loss_ratio: f64::NAN,
            truncate_ratio: -1.0,
            ..Behaviour::default()
        };
        let reply = responder(odd).respond(&query("a.example.com"), Transport::Udp).unwrap();
        assert_eq!(reply.delay, MAX_DELAY);
        assert!(responder(odd).respond(b"no dns", Transport::Udp).is_none());
    }
}
