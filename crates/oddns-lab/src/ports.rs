//! Free loopback ports for a server.

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// Tries to find a port that is free for UDP and TCP alike.
const ATTEMPTS: usize = 20;

/// The ports of one CoreDNS, all on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) dns: u16,
    pub(crate) metrics: u16,
    pub(crate) health: u16,
    pub(crate) ready: u16,
}

impl Ports {
    /// Ports that were free a moment ago: the caller must be ready to try again with others.
    pub(crate) fn free() -> io::Result<Self> {
        // All are held until the last is found, so they differ.
        let (_tcp, _udp, dns) = both()?;
        let [metrics, health, ready] = [tcp()?, tcp()?, tcp()?];
        let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
        Ok(Self { dns, metrics: port(&metrics)?, health: port(&health)?, ready: port(&ready)? })
    }
}

fn tcp() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}

fn both() -> io::Result<(TcpListener, UdpSocket, u16)> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let listener = tcp()?;
        let port = listener.local_addr()?.port();
        match UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(socket) => return Ok((listener, socket, port)),
            Err(error) if attempts >= ATTEMPTS => return Err(error),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_of_a_server_differ() {
        let ports = Ports::free().unwrap();
        let mut all = vec![ports.dns, ports.metrics, ports.health, ports.ready];
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4);
    }
}
