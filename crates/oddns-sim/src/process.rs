//! The CoreDNS process: CPU time, the collector and its heap, goroutines, files.

use crate::book::{Book, Single, single};
use crate::conditions::Conditions;
use crate::dice::Dice;
use crate::scenario::Machine;

/// Cores that a server may use.
const CORES: f64 = 2.0;
/// What a query, an exchange and a scrape allocate, in bytes.
const QUERY_BYTES: f64 = 6_000.0;
const EXCHANGE_BYTES: f64 = 9_000.0;
const SCRAPE_BYTES: f64 = 450_000.0;
/// Live bytes of a cache entry, of a goroutine, and of an open connection.
const ENTRY_BYTES: f64 = 1_400.0;
const GOROUTINE_BYTES: f64 = 10_000.0;
/// The collector starts no earlier than this.
const SMALLEST_HEAP: f64 = 4.2e6;
/// Seconds of wall-clock time that one collection takes in all.
const GC_SECONDS: f64 = 0.000_6;
/// The clock ticks of the kernel, in which it tells CPU time.
const CPU_TICK: f64 = 0.01;
/// Half-life of resident memory above what is needed, in seconds.
const RELEASE_SECONDS: f64 = 150.0;

/// Share of the heap's room that is ever touched.
const TOUCHED: f64 = 0.65;
/// Slow movement of resident memory: how far as a logarithm, and for how long.
const SWAY: f64 = 0.004;
const SWAY_SECONDS: f64 = 60.0;

/// What the process did during an interval.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    pub(crate) seconds: f64,
    pub(crate) queries: f64,
    pub(crate) exchanges: f64,
    /// Queries under way at the end, and open connections to upstream servers.
    pub(crate) in_flight: f64,
    pub(crate) connections: f64,
    /// Upstream servers, each of which is looked after.
    pub(crate) upstreams: f64,
    /// Connections of clients.
    pub(crate) streams: f64,
    pub(crate) cache_entries: f64,
    /// Bytes received and sent.
    pub(crate) bytes: [f64; 2],
}

/// The process, since it started.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    cpu_seconds: f64,
    /// Bytes allocated since the last collection.
    allocated: f64,
    leaked_bytes: f64,
    leaked_goroutines: f64,
    leaked_files: f64,
    resident: f64,
    /// Of one process: another has other sizes.
    size: f64,
    /// Slow movement of the CPU cost of a query, as a logarithm.
    cost: f64,
    /// The same of resident memory.
    sway: f64,
}

impl Process {
    pub(crate) fn start(dice: &mut Dice, book: &mut Book, machine: &Machine, now: f64) -> Self {
        for (what, value) in [
            (Single::GoGcPercent, 100.0),
            (Single::MemoryLimit, 9.223_372_036_854_776e18),
            (Single::BuckHashBytes, 1.556e6),
            (Single::McacheInuseBytes, 4592.0),
            (Single::McacheSysBytes, 16_072.0),
            (Single::MspanSysBytes, 489_600.0),
            (Single::OtherSysBytes, 850_308.0),
            (Single::MaxProcs, CORES),
            (Single::MaxFiles, 20_000.0),
            (Single::VirtualBytes, 1.9e9),
            (Single::VirtualMaxBytes, 1.844_674_407_370_955_2e19),
            (Single::StartSeconds, (now * 100.0).round() / 100.0),
        ] {
            book.set(single(what), value);
        }
        let size = dice.factor(0.004);
        Self {
            cpu_seconds: 0.3 * dice.factor(0.1),
            allocated: 0.0,
            leaked_bytes: 0.0,
            leaked_goroutines: 0.0,
            leaked_files: 0.0,
            resident: machine.resident_bytes * size,
            size,
            cost: 0.0,
            sway: 0.0,
        }
    }

    /// CPU seconds that the work would take, without limits.
    pub(crate) fn demand(machine: &Machine, work: &Work, cost: f64) -> f64 {
        cost * (work.queries * machine.query_cpu_seconds
            + work.exchanges * machine.exchange_cpu_seconds)
            + work.seconds * machine.idle_cpu_ratio
    }

    /// How much of the CPU time that it may have the work would take.
    pub(crate) fn utilisation(machine: &Machine, work: &Work, conditions: &Conditions) -> f64 {
        let may = CORES * conditions.cpu_quota.max(1e-3) * work.seconds;
        Self::demand(machine, work, conditions.cpu_cost) / may
    }

    /// Whether it is over its memory limit.
    pub(crate) fn exceeds(&self, limit: f64) -> bool {
        self.resident > limit
    }

    pub(crate) fn work(
        &mut self,
        dice: &mut Dice,
        book: &mut Book,
        machine: &Machine,
        conditions: &Conditions,
        work: &Work,
    ) {
        self.spend(dice, book, machine, conditions, work);
        let seconds = work.seconds;
        self.leaked_bytes += conditions.leaked_bytes * seconds;
        self.leaked_goroutines += conditions.leaked_goroutines * seconds;
        self.leaked_files += conditions.leaked_files * seconds;
        let goroutines = self.goroutines(dice, book, machine, work);
        self.files(book, machine, work);
        self.heap(dice, book, machine, work, goroutines);
        book.add(single(Single::NetworkReceived), work.bytes[0].round());
        book.add(single(Single::NetworkSent), work.bytes[1].round());
    }

    fn spend(
        &mut self,
        dice: &mut Dice,
        book: &mut Book,
        machine: &Machine,
        conditions: &Conditions,
        work: &Work,
    ) {
        let keep = (-work.seconds / 30.0).exp();
        self.cost = keep * self.cost + (1.0 - keep * keep).sqrt() * dice.normal();
        let noise = (0.10 * self.cost).exp() * dice.factor(0.25 / (work.seconds + 1.0).sqrt());
        let wanted = Self::demand(machine, work, conditions.cpu_cost) * noise;
        let may = CORES * conditions.cpu_quota * work.seconds;
        self.cpu_seconds += wanted.min(may);
        book.set(single(Single::CpuSeconds), (self.cpu_seconds / CPU_TICK).floor() * CPU_TICK);
    }

    fn goroutines(&self, dice: &mut Dice, book: &mut Book, machine: &Machine, work: &Work) -> f64 {
        // Each exchange and each connection has some of its own.
        let busy = dice.poisson(work.in_flight + 0.1);
        let n = machine.goroutines
            + busy
            + (2.0 * work.streams).round()
            + self.leaked_goroutines.round();
        book.set(single(Single::Goroutines), n);
        book.set(single(Single::Threads), 9.0 + (n / 400.0).floor().min(20.0));
        n
    }

    fn files(&self, book: &mut Book, machine: &Machine, work: &Work) {
        let n = machine.open_files
            + work.connections.round()
            + work.streams.round()
            + self.leaked_files.round();
        book.set(single(Single::OpenFiles), n);
    }

    fn heap(
        &mut self,
        dice: &mut Dice,
        book: &mut Book,
        machine: &Machine,
        work: &Work,
        goroutines: f64,
    ) {
        let live = machine.heap_bytes * self.size
            + ENTRY_BYTES * work.cache_entries
            + GOROUTINE_BYTES * (goroutines - machine.goroutines - work.upstreams).max(0.0)
            + self.leaked_bytes;
        let next = (2.0 * live).max(SMALLEST_HEAP);
        let allocated = work.queries * QUERY_BYTES
            + work.exchanges * EXCHANGE_BYTES
            + SCRAPE_BYTES * (1.0 + work.seconds / 120.0);
        self.allocated += allocated * dice.factor(0.05);
        let room = (next - live).max(1e5);
        let n_collections = (self.allocated / room).floor();
        self.allocated -= n_collections * room;
        self.collect(dice, book, n_collections);
        let heap = live + self.allocated;
        self.resides(dice, work.seconds, machine, next);
        self.tell(book, heap, next, allocated);
    }

    fn collect(&self, dice: &mut Dice, book: &mut Book, n: f64) {
        if n <= 0.0 {
            return;
        }
        let seconds = n * GC_SECONDS * dice.factor(0.3);
        book.add(single(Single::GcCount), n);
        book.add(single(Single::GcSeconds), seconds);
        for (what, times) in [
            (Single::GcQuantile0, 0.1),
            (Single::GcQuantile25, 0.3),
            (Single::GcQuantile50, 0.7),
            (Single::GcQuantile75, 1.4),
            (Single::GcQuantile100, 12.0),
        ] {
            book.set(single(what), GC_SECONDS * times);
        }
        book.set(single(Single::GcCpuFraction), 0.0005);
    }

    /// Resident memory follows the heap's size up at once, and down slowly.
    fn resides(&mut self, dice: &mut Dice, seconds: f64, machine: &Machine, next: f64) {
        let idle = 2.0 * machine.heap_bytes * self.size;
        let needed = machine.resident_bytes * self.size + TOUCHED * (next - idle);
        let keep = 0.5_f64.powf(seconds / RELEASE_SECONDS);
        let released = needed + (self.resident - needed) * keep;
        self.resident = if needed > self.resident { needed } else { released };
        let keep = (-seconds / SWAY_SECONDS).exp();
        self.sway = keep * self.sway + (1.0 - keep * keep).sqrt() * dice.normal();
    }

    fn tell(&self, book: &mut Book, heap: f64, next: f64, allocated: f64) {
        let inuse = (heap * 1.08 + 2.0e6).max(0.0);
        let system = next * 1.15 + 6.0e6;
        let stacks = 786_432.0 + 8192.0 * (book.get(single(Single::Goroutines)) - 48.0).max(0.0);
        let mallocs = allocated / 90.0;
        let page = |bytes: f64| (bytes / 4096.0).round() * 4096.0;
        for (what, value) in [
            (Single::AllocBytes, heap.round()),
            (Single::HeapInuseBytes, (inuse / 8192.0).round() * 8192.0),
            (Single::HeapIdleBytes, page((system - inuse).max(0.0))),
            (Single::HeapReleasedBytes, page(0.5 * (system - inuse).max(0.0))),
            (Single::HeapSysBytes, page(system.max(inuse))),
            (Single::HeapObjects, (heap / 90.0).round()),
            (Single::NextGcBytes, next.round()),
            (Single::GcSysBytes, 4.0e6),
            (Single::MspanInuseBytes, (inuse / 60.0).round()),
            (Single::StackBytes, stacks),
            (Single::SysBytes, page(system.max(inuse) + 7.5e6 + stacks)),
            (Single::ResidentBytes, page(self.resident * (SWAY * self.sway).exp())),
        ] {
            book.set(single(what), value);
        }
        book.add(single(Single::AllocBytesTotal), allocated.round());
        book.add(single(Single::Mallocs), mallocs.round());
        let frees = book.get(single(Single::Mallocs)) - book.get(single(Single::HeapObjects));
        let before = book.get(single(Single::Frees));
        book.set(single(Single::Frees), frees.max(before));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Corefile;

    fn run(conditions: &Conditions, queries: f64, n: usize) -> (Process, Book) {
        let (mut dice, mut book, machine) =
            (Dice::new(3, 0), Book::new(), Machine::usual(Corefile::Kubernetes));
        let mut process = Process::start(&mut dice, &mut book, &machine, 1e9);
        let work = Work { seconds: 15.0, queries, exchanges: 0.1 * queries, ..Work::default() };
        (0..n).for_each(|_| process.work(&mut dice, &mut book, &machine, conditions, &work));
        (process, book)
    }

    #[test]
    fn cpu_time_follows_the_queries_up_to_the_quota() {
        let usual = Conditions::default();
        let cpu = |book: &Book| book.get(single(Single::CpuSeconds));
        let (few, many) = (run(&usual, 1000.0, 40).1, run(&usual, 10_000.0, 40).1);
        assert!(cpu(&many) > 3.0 * cpu(&few));
        let throttled = Conditions { cpu_quota: 0.01, ..usual };
        assert!(cpu(&run(&throttled, 100_000.0, 40).1) < 0.02 * 15.0 * 40.0 + 1.0);
    }

    #[test]
    fn a_leak_grows_heap_and_resident_memory() {
        let leaking = Conditions { leaked_bytes: 100_000.0, ..Conditions::default() };
        let (process, book) = run(&leaking, 1000.0, 40);
        let (_, usual) = run(&Conditions::default(), 1000.0, 40);
        for what in [Single::HeapInuseBytes, Single::ResidentBytes] {
            assert!(book.get(single(what)) > usual.get(single(what)) + 3e7, "{what:?}");
        }
        assert!(process.exceeds(1e8) && !process.exceeds(f64::INFINITY));
    }
}
