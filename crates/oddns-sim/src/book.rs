//! Everything a server has counted since it started, in cells that do not depend on the release.
//! [`crate::series`] says which cell which series shows.

use crate::shape::{N_TIMES, Timed};

pub(crate) const N_ZONES: usize = 2;
/// UDP, TCP, and HTTPS for everything that is encrypted.
pub(crate) const N_PROTOS: usize = 3;
pub(crate) const TYPES: [&str; 5] = ["A", "AAAA", "SRV", "PTR", "TXT"];
pub(crate) const RCODES: [&str; 4] = ["NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED"];
pub(crate) const NOERROR: usize = 0;
pub(crate) const NXDOMAIN: usize = 1;
pub(crate) const SERVFAIL: usize = 2;
pub(crate) const REFUSED: usize = 3;
/// Upstream servers of the root zone, and the one of the stub zone last.
pub(crate) const N_UPSTREAMS: usize = 8;

/// Bounds of sizes in bytes; 8291 is spelled so by CoreDNS.
pub(crate) const SIZE_BOUNDS: [f64; 14] = [
    0.0, 100.0, 200.0, 300.0, 400.0, 511.0, 1023.0, 2047.0, 4095.0, 8291.0, 16000.0, 32000.0,
    48000.0, 64000.0,
];
pub(crate) const N_SIZES: usize = SIZE_BOUNDS.len() + 1;
/// Bounds of programming durations: 1 ms to 524 s.
pub(crate) const N_PROGRAMMING: usize = 21;

/// A histogram takes a cell for each bucket, cumulative, and one for the sum.
const TIMED: usize = N_TIMES + 1;
const SIZED: usize = N_SIZES + 1;
const PROGRAMMED: usize = N_PROGRAMMING + 1;

/// Cells of a cache, in a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    SuccessEntries,
    DenialEntries,
    SuccessHits,
    DenialHits,
    Misses,
    Requests,
    SuccessEvictions,
    DenialEvictions,
}
const N_CACHE: usize = Cache::DenialEvictions as usize + 1;

/// Cells that there is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Single {
    One,
    Zero,
    Broken,
    Rejects,
    Panics,
    ReloadFailed,
    HealthFailures,
    RestOk,
    RestFailed,
    HttpsAnswers,
    HostsTimestamp,
    GcQuantile0,
    GcQuantile25,
    GcQuantile50,
    GcQuantile75,
    GcQuantile100,
    GcSeconds,
    GcCount,
    GoGcPercent,
    MemoryLimit,
    Goroutines,
    AllocBytes,
    AllocBytesTotal,
    BuckHashBytes,
    Frees,
    GcSysBytes,
    GcCpuFraction,
    HeapIdleBytes,
    HeapInuseBytes,
    HeapObjects,
    HeapReleasedBytes,
    HeapSysBytes,
    LastGcSeconds,
    Mallocs,
    McacheInuseBytes,
    McacheSysBytes,
    MspanInuseBytes,
    MspanSysBytes,
    NextGcBytes,
    OtherSysBytes,
    StackBytes,
    SysBytes,
    MaxProcs,
    Threads,
    CpuSeconds,
    MaxFiles,
    NetworkReceived,
    NetworkSent,
    OpenFiles,
    ResidentBytes,
    StartSeconds,
    VirtualBytes,
    VirtualMaxBytes,
}
const N_SINGLE: usize = Single::VirtualMaxBytes as usize + 1;

const TYPED: usize = N_ZONES * N_PROTOS * TYPES.len();
const PROTOS: usize = TYPED + N_ZONES * TYPES.len();
const DNSSEC: usize = PROTOS + N_ZONES * N_PROTOS;
const RESPONSES: usize = DNSSEC + N_ZONES;
const DURATIONS: usize = RESPONSES + N_ZONES * RCODES.len();
const REQUEST_SIZES: usize = DURATIONS + N_ZONES * TYPES.len() * TIMED;
const RESPONSE_SIZES: usize = REQUEST_SIZES + N_ZONES * N_PROTOS * SIZED;
const CACHES: usize = RESPONSE_SIZES + N_ZONES * N_PROTOS * SIZED;
const EXCHANGES: usize = CACHES + N_ZONES * N_CACHE;
const EXCHANGED: usize = EXCHANGES + N_UPSTREAMS * RCODES.len() * TIMED;
const CONNECTIONS: usize = EXCHANGED + N_UPSTREAMS * TIMED;
const HEALTH_CHECKS: usize = CONNECTIONS + N_UPSTREAMS * 4;
const HEALTH: usize = HEALTH_CHECKS + N_UPSTREAMS;
const PROGRAMMING: usize = HEALTH + TIMED;
const SINGLE: usize = PROGRAMMING + 2 * PROGRAMMED;
const N_CELLS: usize = SINGLE + N_SINGLE;

pub(crate) const fn requests(zone: usize, proto: usize, kind: usize) -> usize {
    (zone * N_PROTOS + proto) * TYPES.len() + kind
}
pub(crate) const fn typed(zone: usize, kind: usize) -> usize {
    TYPED + zone * TYPES.len() + kind
}
pub(crate) const fn by_proto(zone: usize, proto: usize) -> usize {
    PROTOS + zone * N_PROTOS + proto
}
pub(crate) const fn dnssec(zone: usize) -> usize {
    DNSSEC + zone
}
pub(crate) const fn responses(zone: usize, rcode: usize) -> usize {
    RESPONSES + zone * RCODES.len() + rcode
}
/// Durations of a zone, by type in the releases that tell it; all others use the first type.
pub(crate) const fn durations(zone: usize, kind: usize) -> usize {
    DURATIONS + (zone * TYPES.len() + kind) * TIMED
}
pub(crate) const fn request_sizes(zone: usize, proto: usize) -> usize {
    REQUEST_SIZES + (zone * N_PROTOS + proto) * SIZED
}
pub(crate) const fn response_sizes(zone: usize, proto: usize) -> usize {
    RESPONSE_SIZES + (zone * N_PROTOS + proto) * SIZED
}
pub(crate) const fn cache(zone: usize, what: Cache) -> usize {
    CACHES + zone * N_CACHE + what as usize
}
pub(crate) const fn exchanges(upstream: usize, rcode: usize) -> usize {
    EXCHANGES + (upstream * RCODES.len() + rcode) * TIMED
}
/// Exchanges of an upstream server whatever was answered.
pub(crate) const fn exchanged(upstream: usize) -> usize {
    EXCHANGED + upstream * TIMED
}
/// Connections that were there (`reused`) or had to be opened.
pub(crate) const fn connections(upstream: usize, tcp: bool, reused: bool) -> usize {
    CONNECTIONS + upstream * 4 + tcp as usize * 2 + reused as usize
}
pub(crate) const fn health_checks(upstream: usize) -> usize {
    HEALTH_CHECKS + upstream
}
pub(crate) const fn health() -> usize {
    HEALTH
}
pub(crate) const fn programming(headless: bool) -> usize {
    PROGRAMMING + headless as usize * PROGRAMMED
}
pub(crate) const fn single(what: Single) -> usize {
    SINGLE + what as usize
}

/// The cells of one process.
#[derive(Debug, Clone)]
pub(crate) struct Book {
    cells: Vec<f64>,
}

impl Book {
    /// A process that has counted nothing.
    pub(crate) fn new() -> Self {
        let mut book = Self { cells: vec![0.0; N_CELLS] };
        book.set(single(Single::One), 1.0);
        book
    }

    pub(crate) fn cells(&self) -> &[f64] {
        &self.cells
    }

    pub(crate) fn add(&mut self, cell: usize, count: f64) {
        self.cells[cell] += count;
    }

    pub(crate) fn set(&mut self, cell: usize, value: f64) {
        self.cells[cell] = value;
    }

    pub(crate) fn get(&self, cell: usize) -> f64 {
        self.cells[cell]
    }

    /// Adds events to the histogram that begins at `first`.
    pub(crate) fn observe(&mut self, first: usize, timed: &Timed) {
        self.histogram(first, &timed.counts, timed.seconds);
    }

    /// Adds `n` things of about this size to the histogram that begins at `first`.
    pub(crate) fn observe_sizes(&mut self, first: usize, n: f64, bytes: f64, total: f64) {
        let bucket = SIZE_BOUNDS.iter().position(|le| bytes <= *le).unwrap_or(N_SIZES - 1);
        for cell in &mut self.cells[first + bucket..first + N_SIZES] {
            *cell += n;
        }
        self.cells[first + N_SIZES] += total;
    }

    /// Adds counts by bucket, and a sum, to the histogram that begins at `first`.
    pub(crate) fn histogram(&mut self, first: usize, counts: &[f64], sum: f64) {
        let mut total = 0.0;
        let cells = &mut self.cells[first..=first + counts.len()];
        for (cell, count) in cells.iter_mut().zip(counts) {
            total += count;
            *cell += total;
        }
        if let Some(cell) = cells.last_mut() {
            *cell += sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_do_not_overlap() {
        let last = N_UPSTREAMS - 1;
        for (end, next) in [
            (requests(1, 2, 4), TYPED),
            (typed(1, 4), PROTOS),
            (by_proto(1, 2), DNSSEC),
            (dnssec(1), RESPONSES),
            (responses(1, 3), DURATIONS),
            (durations(1, 4) + N_TIMES, REQUEST_SIZES),
            (request_sizes(1, 2) + N_SIZES, RESPONSE_SIZES),
            (response_sizes(1, 2) + N_SIZES, CACHES),
            (cache(1, Cache::DenialEvictions), EXCHANGES),
            (exchanges(last, 3) + N_TIMES, EXCHANGED),
            (exchanged(last) + N_TIMES, CONNECTIONS),
            (connections(last, true, true), HEALTH_CHECKS),
            (health_checks(last), HEALTH),
            (health() + N_TIMES, PROGRAMMING),
            (programming(true) + N_PROGRAMMING, SINGLE),
        ] {
            assert_eq!(end + 1, next);
        }
    }

    #[test]
    fn buckets_are_cumulative() {
        let mut book = Book::new();
        book.observe(health(), &Timed::exactly(3.0, 0.3));
        let cells = &book.cells()[health()..=health() + N_TIMES];
        assert_eq!(cells[10], 0.0);
        assert_eq!(cells[11..17], [3.0; 6]);
        assert!((cells[17] - 0.9).abs() < 1e-9);
        book.observe_sizes(request_sizes(0, 0), 2.0, 56.0, 112.0);
        assert_eq!(book.get(request_sizes(0, 0)), 0.0);
        assert_eq!(book.get(request_sizes(0, 0) + 1), 2.0);
    }
}
