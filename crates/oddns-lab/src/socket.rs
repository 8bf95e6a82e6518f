//! One client socket with its unanswered questions, found by message id in an array.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use crate::message::MAX_MESSAGE_BYTES;

/// One place for every message id.
const N_IDS: usize = 1 << 16;

/// An unanswered question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Index of the lookup it belongs to.
    pub(crate) lookup: usize,
    /// Index into the types of that lookup.
    pub(crate) type_index: usize,
    /// How often it may be sent again.
    pub(crate) retries_left: u8,
    pub(crate) at: Instant,
}

/// A UDP socket connected to one server; ids are given out in turn, so the oldest expire first.
#[derive(Debug)]
pub(crate) struct ClientSocket {
    socket: UdpSocket,
    pub(crate) server: SocketAddr,
    open: Ids,
}

impl ClientSocket {
    pub(crate) async fn connect(server: SocketAddr) -> io::Result<Self> {
        let any_port: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::LOCALHOST, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::LOCALHOST, 0).into(),
        };
        let socket = UdpSocket::bind(any_port).await?;
        socket.connect(server).await?;
        Ok(Self { socket, server, open: Ids::new() })
    }

    /// A message id for the question; `None` when all are taken.
    pub(crate) fn open(&mut self, asked: Asked) -> Option<u16> {
        self.open.put(asked)
    }

    /// The question a reply belongs to; `None` for a late or unknown one.
    pub(crate) fn close(&mut self, id: u16) -> Option<Asked> {
        self.open.take(id)
    }

    /// A question that has waited for `timeout`, if any.
    pub(crate) fn expire(&mut self, now: Instant, timeout: Duration) -> Option<Asked> {
        self.open.expire(now, timeout)
    }

    /// Sends now or not at all: what the system does not take is lost, and times out.
    pub(crate) fn send(&self, packet: &[u8]) {
        // A connected socket reports the refusal of an earlier packet instead of sending this one.
        if self.socket.try_send(packet).is_err_and(|e| e.kind() != io::ErrorKind::WouldBlock) {
            let _ = self.socket.try_send(packet);
        }
    }

    /// The next packet that has come; `None` when there is none.
    pub(crate) fn receive<'b>(&self, buffer: &'b mut [u8; MAX_MESSAGE_BYTES]) -> Option<&'b [u8]> {
        // A refusal takes the place of a packet; what came behind it is read on the next round.
        let length = self.socket.try_recv(buffer).ok()?;
        Some(&buffer[..length])
    }
}

/// A ring over all ids: from `oldest` to `next` are the ones given out.
#[derive(Debug)]
struct Ids {
    slots: Vec<Option<Asked>>,
    oldest: u16,
    next: u16,
}

impl Ids {
    fn new() -> Self {
        Self { slots: vec![None; N_IDS], oldest: 0, next: 0 }
    }

    fn put(&mut self, asked: Asked) -> Option<u16> {
        let id = self.next;
        // One id stays unused, else a full ring would look like an empty one.
        if id.wrapping_add(1) == self.oldest {
            return None;
        }
        self.slots[usize::from(id)] = Some(asked);
        self.next = id.wrapping_add(1);
        Some(id)
    }

    fn take(&mut self, id: u16) -> Option<Asked> {
        self.slots[usize::from(id)].take()
    }

    fn expire(&mut self, now: Instant, timeout: Duration) -> Option<Asked> {
        while self.oldest != self.next {
            let slot = &mut self.slots[usize::from(self.oldest)];
            if slot.is_some_and(|asked| now.saturating_duration_since(asked.at) < timeout) {
                return None;
            }
            let expired = slot.take();
            self.oldest = self.oldest.wrapping_add(1);
            if expired.is_some() {
                return expired;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(lookup: usize, at: Instant) -> Asked {
        Asked { lookup, type_index: 0, retries_left: 0, at }
    }

    #[test]
    fn ids_expire_in_the_order_they_were_given() {
        let (mut ids, start, second) = (Ids::new(), Instant::now(), Duration::from_secs(1));
        let first = ids.put(asked(1, start)).unwrap();
        ids.put(asked(2, start)).unwrap();
        ids.put(asked(3, start + second)).unwrap();
        assert_eq!(ids.take(first), Some(asked(1, start)));
        assert_eq!(ids.take(first), None);
        assert_eq!(ids.expire(start + second, second), Some(asked(2, start)));
        assert_eq!(ids.expire(start + second, second), None);
    }

    #[test]
    fn a_full_ring_gives_no_id_until_one_expires() {
        let (mut ids, start) = (Ids::new(), Instant::now());
        let given = (0..70_000).filter(|_| ids.put(asked(0, start)).is_some()).count();
        assert_eq!(given, N_IDS - 1);
        assert!(ids.expire(start, Duration::ZERO).is_some());
        assert!(ids.put(asked(0, start)).is_some());
        assert!(ids.put(asked(0, start)).is_none());
    }
}
