//! Free loopback ports that stay free while their owner is down for a moment.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// Tries to find a port that is free for UDP and TCP alike.
const ATTEMPTS: usize = 50;
/// Below the range from which Linux takes the ports of outgoing packets (32768 and up): a server
/// that is restarted, an upstream that is closed for a minute must find its port free again.
const FIRST: u16 = 10_000;
const N_PORTS: u16 = 22_000;

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
        let [dns, metrics, health, ready] =
            [Held::any()?, Held::any()?, Held::any()?, Held::any()?];
        let port = |held: &Held| held.tcp.local_addr().map(|address| address.port());
        Ok(Self {
            dns: port(&dns)?,
            metrics: port(&metrics)?,
            health: port(&health)?,
            ready: port(&ready)?,
        })
    }
}

/// A port to try. Not seeded: two labs on one machine must not try the same ones.
pub(crate) fn candidate() -> u16 {
    let random = RandomState::new().hash_one(());
    FIRST + (random % u64::from(N_PORTS)) as u16
}

/// A port taken for both protocols.
struct Held {
    tcp: TcpListener,
    _udp: UdpSocket,
}

impl Held {
    fn any() -> io::Result<Self> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match Self::one(candidate()) {
                Err(_) if attempts < ATTEMPTS => {}
                tried => return tried,
            }
        }
    }

    fn one(port: u16) -> io::Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, port);
        Ok(Self { tcp: TcpListener::bind(address)?, _udp: UdpSocket::bind(address)? })
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
