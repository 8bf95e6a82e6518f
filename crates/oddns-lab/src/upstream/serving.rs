//! The sockets of an upstream: one task for UDP with its delayed replies, one for TCP.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Responder, Transport};
use crate::LabError;
use crate::framing::{read_framed, write_framed};
use crate::message::MAX_MESSAGE_BYTES;
use crate::ports::candidate;

/// Tries to open both sockets.
const BIND_ATTEMPTS: usize = 20;
/// Replies that may wait for their delay; beyond it a query is lost, as in a full queue.
const MAX_WAITING: usize = 65_536;
const MAX_CONNECTIONS: usize = 512;
/// A connection without a query for this long is closed.
const IDLE: Duration = Duration::from_secs(30);
/// Pause after a socket error, so that a lasting one does not spin.
const BACK_OFF: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Serving {
    address: SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

impl Serving {
    pub(super) async fn start(
        address: SocketAddr,
        responder: &Arc<Responder>,
    ) -> Result<Self, LabError> {
        let (udp, tcp, address) = bind_both(address).await?;
        let tasks = [
            tokio::spawn(serve_udp(udp, Arc::clone(responder))),
            tokio::spawn(serve_tcp(tcp, Arc::clone(responder))),
        ];
        Ok(Self { address, tasks })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns when the sockets are closed.
    pub(super) async fn stop(mut self) {
        for task in &mut self.tasks {
            task.abort();
            // The only way to end is the abort above: there is no result to look at.
            let _ = task.await;
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// A given port may be held for a moment by what was there before; for port 0 each try is another.
async fn bind_both(address: SocketAddr) -> Result<(UdpSocket, TcpListener, SocketAddr), LabError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let port = if address.port() == 0 { candidate() } else { address.port() };
        match bind_once(SocketAddr::new(address.ip(), port)).await {
            Ok((udp, tcp)) => return Ok((udp, tcp, SocketAddr::new(address.ip(), port))),
            Err(source) if attempts >= BIND_ATTEMPTS => {
                return Err(LabError::Bind { address, source });
            }
            Err(_) => sleep(BACK_OFF).await,
        }
    }
}

async fn bind_once(address: SocketAddr) -> std::io::Result<(UdpSocket, TcpListener)> {
    Ok((UdpSocket::bind(address).await?, TcpListener::bind(address).await?))
}

/// Replies ordered by when they are due, then by arrival.
type Waiting = BinaryHeap<Reverse<(Instant, u64, SocketAddr, Vec<u8>)>>;

struct UdpSide {
    socket: UdpSocket,
    responder: Arc<Responder>,
    waiting: Waiting,
    n_received: u64,
}

async fn serve_udp(socket: UdpSocket, responder: Arc<Responder>) {
    let mut side = UdpSide { socket, responder, waiting: Waiting::new(), n_received: 0 };
    let mut buffer = [0; MAX_MESSAGE_BYTES];
    loop {
        tokio::select! {
            biased;
            () = until_due(&side.waiting) => side.send_first(),
            received = side.socket.recv_from(&mut buffer) => match received {
                Ok((length, peer)) => side.take(&buffer[..length], peer),
                // An error here is the echo of a client that has gone.
                Err(_) => sleep(BACK_OFF).await,
            },
        }
    }
}

async fn until_due(waiting: &Waiting) {
    match waiting.peek() {
        Some(Reverse((due, ..))) => sleep_until(*due).await,
        None => pending().await,
    }
}

impl UdpSide {
    fn take(&mut self, packet: &[u8], peer: SocketAddr) {
        self.n_received += 1;
        let reply = self.responder.respond(packet, Transport::Udp);
        let Some(reply) = reply.filter(|_| self.waiting.len() < MAX_WAITING) else { return };
        if reply.delay.is_zero() {
            self.send(&reply.packet, peer);
        } else {
            let due = Instant::now() + reply.delay;
            self.waiting.push(Reverse((due, self.n_received, peer, reply.packet)));
        }
    }

    fn send_first(&mut self) {
        if let Some(Reverse((_, _, peer, packet))) = self.waiting.pop() {
            self.send(&packet, peer);
        }
    }

    fn send(&self, packet: &[u8], peer: SocketAddr) {
        // A full buffer loses the reply, as it does on any network.
        let _ = self.socket.try_send_to(packet, peer);
    }
}

async fn serve_tcp(listener: TcpListener, responder: Arc<Responder>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Err(_) => sleep(BACK_OFF).await,
            Ok(_) if connections.len() >= MAX_CONNECTIONS => {}
            Ok((stream, _)) => {
                connections.spawn(serve_connection(stream, Arc::clone(&responder)));
            }
        }
    }
}

/// Ends at the first error: what a broken connection had left to say is lost.
async fn serve_connection(mut stream: TcpStream, responder: Arc<Responder>) {
    while let Ok(Ok(packet)) = timeout(IDLE, read_framed(&mut stream)).await {
        let Some(reply) = responder.respond(&packet, Transport::Tcp) else { continue };
        if !reply.delay.is_zero() {
            sleep(reply.delay).await;
        }
        if write_framed(&mut stream, &reply.packet).await.is_err() {
            return;
        }
    }
}
