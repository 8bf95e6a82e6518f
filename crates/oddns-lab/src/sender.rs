//! The task behind the traffic: begins lookups when they are due, follows each through its
//! search path, and counts. One task and no lock on the way of a packet.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::LabError;
use crate::arrivals::Arrivals;
use crate::clock;
use crate::framing::{read_framed, write_framed};
use crate::lookup::{Lookup, Lookups};
use crate::message::{MAX_MESSAGE_BYTES, RecordType, ReplyHeader, read_reply, write_query};
use crate::socket::{Asked, ClientSocket};
use crate::tally::{ClientSecond, Seconds};
use crate::traffic::{TrafficConfig, TrafficSettings};

const TICK: Duration = Duration::from_millis(1);
/// Lookups under way; beyond it new ones are counted as unsent.
const MAX_ACTIVE: usize = 65_536;
const MAX_TCP_OPEN: usize = 256;
/// Times one lookup is begun at most.
const MAX_COPIES: u32 = 20;
/// Packets read from one socket in one tick, so that no socket starves the others.
const MAX_READ_AT_ONCE: usize = 1024;

/// A lookup under way.
#[derive(Debug)]
struct Active {
    lookup: Lookup,
    socket: usize,
    candidate: usize,
    /// Questions of this candidate without an outcome.
    n_open: usize,
    found: bool,
    /// A server failed or did not answer on the way.
    troubled: bool,
    started: Instant,
}

/// How one question ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Found,
    Missing,
    Trouble,
}

impl Outcome {
    fn of(reply: ReplyHeader) -> Self {
        match (reply.rcode, reply.n_answers) {
            (0, 1..) => Self::Found,
            (0 | 3, _) => Self::Missing,
            _ => Self::Trouble,
        }
    }
}

/// A question that went over TCP has ended.
#[derive(Debug)]
struct TcpEnd {
    lookup: usize,
    reply: Option<ReplyHeader>,
    took: Duration,
}

#[derive(Debug)]
pub(crate) struct Sender {
    config: TrafficConfig,
    sockets: Vec<ClientSocket>,
    lookups: Lookups,
    arrivals: Arrivals,
    flood_arrivals: Arrivals,
    unique_arrivals: Arrivals,
    hot_arrivals: Arrivals,
    settings: TrafficSettings,
    arrival_rng: ChaCha8Rng,
    active: Vec<Option<Active>>,
    free: Vec<usize>,
    tcp_slots: Arc<Semaphore>,
    tcp_ends: (mpsc::Sender<TcpEnd>, mpsc::Receiver<TcpEnd>),
    tally: ClientSecond,
    seconds: Seconds,
    packet: Vec<u8>,
}

impl Sender {
    pub(crate) async fn open(config: TrafficConfig, seconds: Seconds) -> Result<Self, LabError> {
        let mut sockets = Vec::new();
        for &server in &config.servers {
            for _ in 0..config.clients_per_server {
                let socket = ClientSocket::connect(server).await;
                sockets.push(socket.map_err(|source| LabError::Bind { address: server, source })?);
            }
        }
        let lookups = Lookups::new(&config).map_err(|error| LabError::Setting {
            name: "search path",
            value: error.to_string(),
            expected: "made of valid names",
        })?;
        Ok(Self {
            // Arrivals have dice of their own: a longer tick must not change which names come.
            arrival_rng: ChaCha8Rng::seed_from_u64(config.seed ^ u64::MAX),
            arrivals: Arrivals::default(),
            flood_arrivals: Arrivals::default(),
            unique_arrivals: Arrivals::default(),
            hot_arrivals: Arrivals::default(),
            settings: TrafficSettings::default(),
            active: Vec::new(),
            free: Vec::new(),
            tcp_slots: Arc::new(Semaphore::new(MAX_TCP_OPEN)),
            tcp_ends: mpsc::channel(MAX_TCP_OPEN),
            tally: ClientSecond { second: clock::unix_second(), ..ClientSecond::default() },
            packet: Vec::with_capacity(MAX_MESSAGE_BYTES),
            config,
            sockets,
            lookups,
            seconds,
        })
    }

    /// Runs until nobody holds the settings any more, or for the configured time.
    pub(crate) async fn run(mut self, mut settings: watch::Receiver<TrafficSettings>) {
        let start = Instant::now();
        let mut last = start;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while settings.has_changed().is_ok() && start.elapsed() < self.config.max_duration {
            ticks.tick().await;
            let now = Instant::now();
            self.roll();
            self.receive(now);
            self.expire(now);
            let current = *settings.borrow_and_update();
            let since_start = now.duration_since(start).as_secs_f64();
            self.begin_due(&current, since_start, now.duration_since(last), now);
            last = now;
        }
        self.seconds.push(self.tally);
    }

    /// Hands over the second that has ended.
    fn roll(&mut self) {
        let second = clock::unix_second();
        if second != self.tally.second {
            self.seconds.push(self.tally);
            self.tally = ClientSecond { second, ..ClientSecond::default() };
        }
    }

    fn begin_due(
        &mut self,
        settings: &TrafficSettings,
        since_start: f64,
        elapsed: Duration,
        now: Instant,
    ) {
        self.settings = *settings;
        let elapsed = elapsed.as_secs_f64();
        let rate = settings.lookup_rate(since_start);
        for _ in 0..self.arrivals.due(elapsed, rate, &mut self.arrival_rng) {
            if let Ok(lookup) = self.lookups.next(&settings.mix, settings.tcp_ratio) {
                for _ in 1..settings.copies.min(MAX_COPIES) {
                    self.begin(lookup.clone(), now);
                }
                self.begin(lookup, now);
            }
        }
        for _ in 0..self.flood_arrivals.due(elapsed, settings.flood_rate(), &mut self.arrival_rng) {
            if let Ok(lookup) = self.lookups.next_random() {
                self.begin(lookup, now);
            }
        }
        for _ in 0..self.hot_arrivals.due(elapsed, settings.hot_rate(), &mut self.arrival_rng) {
            if let Ok(lookup) = self.lookups.next_hot() {
                self.begin(lookup, now);
            }
        }
        let unique = settings.unique_rate();
        for _ in 0..self.unique_arrivals.due(elapsed, unique, &mut self.arrival_rng) {
            if let Ok(lookup) = self.lookups.next_unique() {
                self.begin(lookup, now);
            }
        }
    }

    /// Where among the sockets, which are in the order of the servers, a client is.
    fn place(&self, share: f64) -> f64 {
        let even = 1.0 / self.config.servers.len() as f64;
        match self.settings.first_server_ratio {
            Some(first) if even < 1.0 && share < first => share / first * even,
            Some(first) if even < 1.0 => even + (share - first) / (1.0 - first) * (1.0 - even),
            _ => share,
        }
    }

    fn begin(&mut self, lookup: Lookup, now: Instant) {
        let socket = (self.place(lookup.client_share) * self.sockets.len() as f64) as usize;
        let active = Active {
            socket: socket.min(self.sockets.len() - 1),
            candidate: 0,
            n_open: 0,
            found: false,
            troubled: false,
            started: now,
            lookup,
        };
        match self.free.pop() {
            Some(index) => {
                self.active[index] = Some(active);
                self.ask_candidate(index, now);
            }
            None if self.active.len() < MAX_ACTIVE => {
                self.active.push(Some(active));
                self.ask_candidate(self.active.len() - 1, now);
            }
            None => self.tally.unsent += 1,
        }
    }

    /// Sends all questions of the present candidate; ends the lookup when none could be sent.
    fn ask_candidate(&mut self, index: usize, now: Instant) {
        let Some(active) = &self.active[index] else { return };
        let (n_types, tcp) = (active.lookup.types.len(), active.lookup.tcp);
        let retries_left = self.config.retries;
        let mut n_open = 0;
        for type_index in 0..n_types {
            let asked = Asked { lookup: index, type_index, retries_left, at: now };
            n_open += usize::from(if tcp { self.ask_tcp(asked) } else { self.ask_udp(asked) });
        }
        if let Some(active) = &mut self.active[index] {
            active.n_open = n_open;
            active.troubled |= n_open < n_types;
        }
        if n_open == 0 {
            self.finish(index, now);
        }
    }

    fn ask_udp(&mut self, asked: Asked) -> bool {
        let Some(active) = &self.active[asked.lookup] else { return false };
        let socket = &mut self.sockets[active.socket];
        let Some(id) = socket.open(asked) else {
            self.tally.unsent += 1;
            return false;
        };
        let name = &active.lookup.candidates[active.candidate];
        let record_type = active.lookup.types[asked.type_index];
        write_query(id, name, record_type, &mut self.packet);
        let lost_aaaa = match record_type {
            RecordType::Aaaa => self.settings.lost_aaaa_ratio,
            _ => 0.0,
        };
        let lost = self.settings.lost_ratio.max(lost_aaaa);
        // Dice are only thrown when something can be lost: names come in the same order as ever.
        if !(lost > 0.0 && self.arrival_rng.random::<f64>() < lost) {
            socket.send(&self.packet);
        }
        self.tally.sent += 1;
        true
    }

    /// A connection for one question, as resolvers do it after a cut answer.
    fn ask_tcp(&mut self, asked: Asked) -> bool {
        let Some(active) = &self.active[asked.lookup] else { return false };
        let Ok(permit) = Arc::clone(&self.tcp_slots).try_acquire_owned() else {
            self.tally.unsent += 1;
            return false;
        };
        let name = &active.lookup.candidates[active.candidate];
        let mut packet = Vec::new();
        write_query(1, name, active.lookup.types[asked.type_index], &mut packet);
        let server = self.sockets[active.socket].server;
        let (patience, ends) = (self.config.timeout, self.tcp_ends.0.clone());
        tokio::spawn(async move {
            let reply = timeout(patience, exchange(server, &packet)).await.ok().flatten();
            let end = TcpEnd { lookup: asked.lookup, reply, took: asked.at.elapsed() };
            // The traffic may have stopped meanwhile; then nobody wants to know.
            let _ = ends.send(end).await;
            drop(permit);
        });
        self.tally.sent += 1;
        true
    }

    fn receive(&mut self, now: Instant) {
        let mut buffer = [0; MAX_MESSAGE_BYTES];
        for socket in 0..self.sockets.len() {
            for _ in 0..MAX_READ_AT_ONCE {
                let Some(packet) = self.sockets[socket].receive(&mut buffer) else { break };
                let Ok(reply) = read_reply(packet) else { continue };
                let Some(asked) = self.sockets[socket].close(reply.id) else { continue };
                self.take_reply(asked, reply, now);
            }
        }
        while let Ok(end) = self.tcp_ends.1.try_recv() {
            match end.reply {
                Some(reply) => {
                    self.tally.reply(reply.rcode, reply.truncated, end.took);
                    self.settle(end.lookup, Outcome::of(reply), now);
                }
                None => {
                    self.tally.timeouts += 1;
                    self.settle(end.lookup, Outcome::Trouble, now);
                }
            }
        }
    }

    fn take_reply(&mut self, asked: Asked, reply: ReplyHeader, now: Instant) {
        let took = now.saturating_duration_since(asked.at);
        self.tally.reply(reply.rcode, reply.truncated, took);
        if reply.truncated && self.ask_tcp(Asked { at: now, ..asked }) {
            return;
        }
        self.settle(asked.lookup, Outcome::of(reply), now);
    }

    fn expire(&mut self, now: Instant) {
        for socket in 0..self.sockets.len() {
            while let Some(asked) = self.sockets[socket].expire(now, self.config.timeout) {
                self.tally.timeouts += 1;
                let again = asked.retries_left > 0 && {
                    let retries_left = asked.retries_left - 1;
                    self.ask_udp(Asked { retries_left, at: now, ..asked })
                };
                if !again {
                    self.settle(asked.lookup, Outcome::Trouble, now);
                }
            }
        }
    }

    /// Notes how a question ended; with the last one of a candidate the lookup moves on.
    fn settle(&mut self, index: usize, outcome: Outcome, now: Instant) {
        let Some(active) = self.active.get_mut(index).and_then(Option::as_mut) else { return };
        active.found |= outcome == Outcome::Found;
        active.troubled |= outcome == Outcome::Trouble;
        active.n_open = active.n_open.saturating_sub(1);
        if active.n_open > 0 {
            return;
        }
        if active.found || active.candidate + 1 == active.lookup.candidates.len() {
            self.finish(index, now);
        } else {
            active.candidate += 1;
            self.ask_candidate(index, now);
        }
    }

    fn finish(&mut self, index: usize, now: Instant) {
        if let Some(active) = self.active[index].take() {
            let took = now.saturating_duration_since(active.started);
            self.tally.lookup(active.troubled && !active.found, took);
            self.free.push(index);
        }
    }
}

/// One question and its answer over a connection of its own; `None` when anything goes wrong.
async fn exchange(server: SocketAddr, packet: &[u8]) -> Option<ReplyHeader> {
    let mut stream = TcpStream::connect(server).await.ok()?;
    write_framed(&mut stream, packet).await.ok()?;
    let reply = read_framed(&mut stream).await.ok()?;
    read_reply(&reply).ok()
}
