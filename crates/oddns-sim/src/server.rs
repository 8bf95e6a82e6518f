//! One CoreDNS server: takes the questions of an interval, and shows what it has counted.

use oddns_core::{Labels, Sample, Scrape, SeriesId, SeriesKey, SeriesTable, Timestamp};

use crate::book::{
    self, Book, Cache, N_PROGRAMMING, N_UPSTREAMS, N_ZONES, NOERROR, NXDOMAIN, RCODES, SERVFAIL,
    Single, TYPES, single,
};
use crate::conditions::Conditions;
use crate::dice::Dice;
use crate::forward::{Circumstances, Demand, Forward, Outlook};
use crate::names::Fill;
use crate::process::{Process, Work};
use crate::questions::{N_KINDS, Questions, Source, kinds, questions};
use crate::release::Release;
use crate::scenario::Scenario;
use crate::series::Setup;
use crate::shape::{Part, Shape, Timed};

/// Entries of each cache of CoreDNS.
const CAPACITY: f64 = 9984.0;
/// Questions of a lookup, on average.
const PER_LOOKUP: f64 = 3.6;
/// Seconds between two stops of a process under a CPU quota.
const QUOTA_PERIOD: f64 = 0.1;
/// Share of the answers from memory that a stop of the process meets under way.
const STOPPED_RATIO: f64 = 0.03;
/// Watches of the API are renewed after so many seconds; there are three.
const WATCH_SECONDS: f64 = 450.0;
/// Share of the services that are headless.
const HEADLESS: f64 = 0.18;
/// Seconds of an interval while a server is brought to what it is when the scenario starts.
const WARM_UP_STEP: f64 = 15.0;

/// What the fleet gives a server in an interval.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    /// Length of the interval.
    pub(crate) seconds: f64,
    /// Its end.
    pub(crate) until: Timestamp,
    /// Usual lookups a second at this hour, of this server.
    pub(crate) lookups_per_second: f64,
    /// Part of the fleet that this server is, at the usual balance.
    pub(crate) part: f64,
    /// Changes of services a second.
    pub(crate) changes_per_second: f64,
}

/// A simulated server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    dice: Dice,
    scenario: Scenario,
    setup: Setup,
    upgraded: bool,
    book: Book,
    table: SeriesTable,
    shown: Vec<Shown>,
    process: Process,
    questions: Vec<Questions>,
    root: Forward,
    stub: Forward,
    /// Entries of names that were asked for once, that nobody will ask for again.
    once: [f64; 2],
    /// Queries a second to the upstream servers of root and stub in the last interval.
    forwarded: [f64; 2],
    calm: Shape,
    busy: Shape,
    /// How busy the machine is by itself, as a logarithm.
    unrest: f64,
    /// Wait for the processor of a process under a quota.
    wait: Option<Shape>,
    n_reloads: u64,
    /// The series that names the configuration, once it was reloaded.
    configuration: Option<SeriesId>,
    frozen: bool,
}

/// A series, and where its value is.
#[derive(Debug, Clone, Copy)]
struct Shown {
    id: SeriesId,
    cell: u32,
    born: u32,
    /// A number from 0 to 1 that is the same for all series of a family; above 1 for those of the
    /// process.
    family: f32,
}

/// What all questions of an interval come to.
#[derive(Debug, Clone, Default)]
struct Tally {
    asked: [[f64; TYPES.len()]; N_ZONES],
    rcodes: [[f64; RCODES.len()]; N_ZONES],
    /// Bytes of questions and answers.
    bytes: [[f64; 2]; N_ZONES],
    /// Answers that did not wait for upstream.
    at_once: [f64; N_ZONES],
    timed: [Timed; N_ZONES],
    /// What upstream servers of root and stub are asked.
    demand: [Demand; 2],
    hits: [[f64; 2]; N_ZONES],
    misses: [f64; N_ZONES],
    again_over_tcp: [f64; N_ZONES],
    /// Entries that came into the caches of the root zone.
    new: [f64; 2],
    work: Work,
}

impl Server {
    pub(crate) fn new(scenario: &Scenario, index: usize) -> Self {
        let mut dice = Dice::new(scenario.seed, 1 + index as u64);
        let setup = Setup {
            release: scenario.coredns,
            corefile: scenario.corefile,
            n_upstreams: scenario.upstreams.count,
        };
        let machine = &scenario.machine;
        let calm = Part::Tailed { shift: 0.0, median: machine.answer_seconds, deviation: 0.59 };
        let busy = Part::Tailed { shift: 0.0, median: machine.busy_seconds, deviation: 1.1 };
        let mut book = Book::new();
        let process = Process::start(&mut dice, &mut book, machine, 0.0);
        let mut server = Self {
            scenario: scenario.clone(),
            setup,
            upgraded: false,
            book,
            table: SeriesTable::default(),
            shown: Vec::new(),
            process,
            questions: questions(scenario),
            root: Forward::new(0, scenario.upstreams.count, &scenario.upstreams),
            stub: Forward::new(N_UPSTREAMS - 1, 1, &scenario.upstreams),
            once: [0.0; 2],
            forwarded: [0.0; 2],
            calm: Shape::mixture(&[(1.0, calm)]),
            busy: Shape::mixture(&[(1.0, busy)]),
            unrest: 0.0,
            wait: None,
            n_reloads: 0,
            configuration: None,
            frozen: false,
            dice,
        };
        server.show();
        server
    }

    /// Runs it for a while, so that its cache is filled when the scenario starts.
    pub(crate) fn warm_up(&mut self, mut share: Share) {
        let end = share.until.millis();
        share.seconds = WARM_UP_STEP;
        let n_steps = (self.scenario.warm_up.as_seconds().min(86_400.0) / WARM_UP_STEP) as i64;
        let begin = end - (WARM_UP_STEP * 1000.0) as i64 * n_steps;
        self.start(begin as f64 / 1000.0);
        let usual = Conditions::usual(self.scenario.corefile);
        for step in 1..=n_steps {
            share.until = Timestamp::from_millis(begin + step * (WARM_UP_STEP * 1000.0) as i64);
            self.live(&share, &usual);
        }
    }

    pub(crate) fn table(&self) -> &SeriesTable {
        &self.table
    }

    /// Lists what the present setup shows.
    fn show(&mut self) {
        let series = self.setup.series();
        let n_families = 1 + series.iter().filter_map(|series| series.family).max().unwrap_or(0);
        // Spread over 0 to 1 so that any share of them is mixed.
        let spread = |at: usize| ((at * 7919 + 13) % n_families) as f32 / n_families as f32;
        self.shown = series
            .iter()
            .map(|series| Shown {
                id: self.table.intern(&series.key),
                cell: series.cell as u32,
                born: series.born as u32,
                family: series.family.map_or(2.0, spread),
            })
            .collect();
    }

    /// A new process with an empty cache, at a time in Unix seconds.
    fn start(&mut self, now: f64) {
        self.book = Book::new();
        self.process = Process::start(&mut self.dice, &mut self.book, &self.scenario.machine, now);
        self.n_reloads = 0;
        self.configuration = None;
        self.empty_caches();
        if self.setup.corefile.has_api() {
            // What is there already is counted as if it had just come.
            self.programmed(8.0, 2.0);
        }
    }

    fn empty_caches(&mut self) {
        self.questions.iter_mut().for_each(|questions| questions.names.evict(0.0));
        self.once = [0.0; 2];
    }

    fn reload(&mut self) {
        self.n_reloads += 1;
        self.empty_caches();
        if self.setup.release == Release::V1_6_9 {
            return;
        }
        // Any 128 digits do, as long as another configuration has others.
        let value = format!("{:0128x}", u128::from(self.n_reloads) * 0x9e37_79b9_7f4a_7c15_f39c);
        let pairs = vec![("hash".to_owned(), "sha512".to_owned()), ("value".to_owned(), value)];
        let name = "coredns_reload_version_info".to_owned();
        let key = SeriesKey { name, labels: Labels::new(pairs) };
        self.configuration = Some(self.table.intern(&key));
    }

    /// Everything that happens in an interval.
    pub(crate) fn live(&mut self, share: &Share, conditions: &Conditions) {
        self.happen(share, conditions);
        self.frozen = conditions.frozen;
        if self.frozen {
            return;
        }
        let around = circumstances(share.seconds, conditions);
        let usual = self.scenario.upstreams;
        let [root, stub] = self.forwarded;
        self.root.prepare(&usual, &conditions.upstreams, root, &around);
        self.stub.prepare(&usual, &[conditions.stub], stub, &around);
        let mut tally = Tally::default();
        self.ask(share, conditions, &mut tally);
        self.ask_oddly(share, conditions, &mut tally);
        self.make_room(conditions, &tally);
        self.forward(conditions, &around, &mut tally);
        self.panic(share, conditions, &mut tally);
        self.finish(share, conditions, &mut tally);
    }

    /// What happens at the end of the interval before.
    fn happen(&mut self, share: &Share, conditions: &Conditions) {
        if conditions.upgraded {
            self.upgraded = !self.upgraded;
            let usual = self.scenario.coredns;
            self.setup.release = if self.upgraded { usual.other() } else { usual };
            self.show();
            self.start(share.until.unix_seconds() - share.seconds);
        } else if conditions.restarts || self.process.exceeds(conditions.memory_limit) {
            self.start(share.until.unix_seconds() - share.seconds);
        }
        if conditions.reloads {
            self.reload();
        }
        if conditions.reload_fails {
            self.book.add(single(Single::ReloadFailed), 1.0);
        }
    }

    /// The ordinary lookups.
    fn ask(&mut self, share: &Share, conditions: &Conditions, tally: &mut Tally) {
        let mix = kinds(&self.scenario.traffic.mix, conditions);
        let rate = share.lookups_per_second * conditions.lookups * conditions.balance;
        let lookups: [f64; N_KINDS] = std::array::from_fn(|kind| {
            let mean = rate * mix[kind] * share.seconds * (1.0 - conditions.lost);
            self.dice.poisson(mean)
        });
        let outlooks = [self.root.outlook(), self.stub.outlook()];
        let mut questions = std::mem::take(&mut self.questions);
        for one in &mut questions {
            let wanted: f64 = one.per_lookup.iter().zip(lookups).map(|(n, k)| n * k).sum();
            let groups = wanted / one.together;
            let more = f64::from(self.dice.happens(groups.fract()));
            let whole = ((groups.floor() + more) * one.together).round();
            let lost = self.dice.binomial(whole, conditions.lost_aaaa * one.types[1]);
            if whole > 0.0 || !one.per_lookup.iter().all(|n| *n == 0.0) {
                self.ask_for(one, whole - lost, share.seconds, conditions, &outlooks, tally);
            }
        }
        self.questions = questions;
    }

    /// `n` questions of one sort.
    fn ask_for(
        &mut self,
        one: &mut Questions,
        n: f64,
        seconds: f64,
        conditions: &Conditions,
        outlooks: &[Outlook; 2],
        tally: &mut Tally,
    ) {
        let outlook = match one.source {
            Source::Cluster => Outlook { answered: 1.0, failed: 0.0 },
            Source::Root => outlooks[0],
            Source::Stub => outlooks[1],
        };
        let ttl = one.kept_for(conditions);
        let answered = if ttl > 0.0 { outlook.answered } else { 0.0 };
        let fill = Fill { answered, ttl, failed: outlook.failed };
        let found = one.names.ask(n / seconds, seconds, fill);
        if one.zone == 0 {
            tally.new[usize::from(one.denial)] += found.new;
        }
        let groups = (n / one.together).ceil();
        let missed = self.dice.binomial(groups, 1.0 - found.fresh - found.failed) * one.together;
        let misses = missed.min(n);
        let failed =
            self.dice.binomial(n - misses, found.failed / (found.fresh + found.failed).max(1e-9));
        let copies = ((conditions.copies - 1.0) * n).round();
        let hits = n - misses - failed + copies;
        self.count_asked(one, n + copies, tally);
        tally.misses[one.zone] += misses;
        tally.hits[one.zone][usize::from(one.denial)] += hits;
        tally.hits[one.zone][1] += failed;
        tally.at_once[one.zone] += hits + failed;
        tally.rcodes[one.zone][SERVFAIL] += failed;
        let hidden = self.dice.binomial(hits, conditions.hidden_misses);
        self.answer(one, hits, conditions, tally);
        self.resolve(one, misses, hidden, conditions, tally);
    }

    fn count_asked(&mut self, one: &Questions, n: f64, tally: &mut Tally) {
        // A and AAAA are asked for together: exactly half of each.
        let half = if one.types[0] == 0.5 { (0.5 * n).floor() } else { 0.0 };
        if half > 0.0 {
            tally.asked[one.zone][0] += half;
            tally.asked[one.zone][1] += n - half;
        } else {
            self.dice.split(n, &one.types, |kind, count| tally.asked[one.zone][kind] += count);
        }
        tally.bytes[one.zone][0] += n * one.bytes[0];
        tally.bytes[one.zone][1] += n * one.bytes[1];
    }

    /// Answers that are known, as far as the server knows all services.
    fn answer(&mut self, one: &Questions, n: f64, conditions: &Conditions, tally: &mut Tally) {
        let unknown = match one.source {
            Source::Cluster => self.dice.binomial(n, conditions.unknown_services),
            _ => 0.0,
        };
        tally.rcodes[one.zone][one.truth] += n - unknown;
        tally.rcodes[one.zone][NXDOMAIN] += unknown;
    }

    /// What the cache does not have. `hidden` goes upstream besides, and the client has its answer.
    fn resolve(
        &mut self,
        one: &Questions,
        misses: f64,
        hidden: f64,
        conditions: &Conditions,
        tally: &mut Tally,
    ) {
        let group = match one.source {
            Source::Cluster => {
                tally.at_once[one.zone] += misses;
                return self.answer(one, misses, conditions, tally);
            }
            Source::Root => 0,
            Source::Stub => 1,
        };
        tally.demand[group].truths[one.truth] += misses + hidden;
        // Hidden ones are answered twice in our books: once is enough.
        tally.at_once[one.zone] -= hidden;
        tally.rcodes[one.zone][one.truth] -= hidden;
    }

    /// Floods, names asked for once, one name in a loop, encrypted streams and loops.
    fn ask_oddly(&mut self, share: &Share, conditions: &Conditions, tally: &mut Tally) {
        let part = share.part * conditions.balance * share.seconds;
        let flood = self.dice.poisson(conditions.flood * part);
        let unique = self.dice.poisson(conditions.unique * part);
        let hot = self.dice.poisson(conditions.hot * part);
        let streams = self.dice.poisson(conditions.streams * share.seconds);
        let forwarded: f64 = tally.demand[0].truths.iter().sum();
        let looped = self.dice.poisson(conditions.looped * forwarded.min(2000.0 * share.seconds));
        tally.asked[0][0] += flood + unique + hot + streams + looped;
        tally.bytes[0][0] += 52.0 * (flood + looped) + 48.0 * unique + 38.0 * (hot + streams);
        tally.bytes[0][1] += 125.0 * flood + 110.0 * unique + 85.0 * (hot + streams + looped);
        tally.misses[0] += flood + unique + looped;
        tally.demand[0].truths[NXDOMAIN] += flood;
        tally.demand[0].truths[NOERROR] += unique + looped;
        tally.hits[0][0] += hot + streams;
        tally.at_once[0] += hot + streams;
        tally.rcodes[0][NOERROR] += hot + streams;
        tally.work.streams = streams / share.seconds;
        self.book.add(single(Single::HttpsAnswers), streams);
        let outlook = self.root.outlook();
        for (denial, n) in [(0, unique), (1, flood)] {
            self.once[denial] += n * outlook.answered;
            tally.new[denial] += n * outlook.answered;
        }
    }

    /// Makes room in the root zone's caches; a shard of one may be full before the cache is.
    fn make_room(&mut self, conditions: &Conditions, tally: &Tally) {
        let capacity = conditions.capacity.unwrap_or(CAPACITY);
        for (denial, what) in [(false, Cache::SuccessEvictions), (true, Cache::DenialEvictions)] {
            let kept = self.entries(0, denial);
            let full = ((kept / capacity - 0.75) / 0.25).clamp(0.0, 1.0).powi(2);
            let over = (kept - capacity).max(0.0);
            let evicted = (tally.new[usize::from(denial)] * full).max(over);
            if evicted > 0.0 {
                self.evict(denial, 1.0 - evicted / kept.max(1.0));
                let whole = evicted.floor() + f64::from(self.dice.happens(evicted.fract()));
                self.book.add(book::cache(0, what), whole);
            }
        }
    }

    fn evict(&mut self, denial: bool, keep: f64) {
        let of = |one: &&mut Questions| one.zone == 0 && one.denial == denial;
        self.questions.iter_mut().filter(of).for_each(|one| one.names.evict(keep));
        self.once[usize::from(denial)] *= keep;
    }

    fn entries(&self, zone: usize, denial: bool) -> f64 {
        let of = |one: &&Questions| one.zone == zone && one.denial == denial;
        let kept: f64 = self.questions.iter().filter(of).map(|one| one.names.kept()).sum();
        let once = if zone == 0 { self.once[usize::from(denial)] } else { 0.0 };
        kept + once
    }

    /// Asks upstream for all that has to be asked.
    fn forward(&mut self, conditions: &Conditions, around: &Circumstances, tally: &mut Tally) {
        let tcp = conditions.tcp.unwrap_or(self.scenario.traffic.tcp_ratio);
        for group in 0..2 {
            let mut demand = tally.demand[group];
            demand.tcp = tcp;
            self.forwarded[group] = demand.truths.iter().sum::<f64>() / around.seconds;
            let cut = self.exchange(group, demand, around, tally);
            if cut > 0.0 {
                // The same question again, over TCP, which nobody cuts.
                tally.again_over_tcp[group] += cut;
                tally.asked[group][0] += (0.5 * cut).floor();
                tally.asked[group][1] += cut - (0.5 * cut).floor();
                tally.misses[group] += cut;
                self.exchange(group, Demand { truths: [cut, 0.0], tcp: 1.0 }, around, tally);
            }
        }
    }

    /// How many answers were cut.
    fn exchange(
        &mut self,
        group: usize,
        demand: Demand,
        around: &Circumstances,
        tally: &mut Tally,
    ) -> f64 {
        let forward = if group == 0 { &mut self.root } else { &mut self.stub };
        let outcome = forward.exchange(&mut self.dice, &mut self.book, demand, around);
        tally.timed[group].add(&outcome.timed);
        for (rcode, count) in outcome.rcodes.iter().enumerate() {
            tally.rcodes[group][rcode] += count;
        }
        tally.work.exchanges += outcome.exchanges * around.amplification;
        tally.work.in_flight += outcome.in_flight;
        outcome.truncated
    }

    /// Queries whose plugin panicked become SERVFAIL.
    fn panic(&mut self, share: &Share, conditions: &Conditions, tally: &mut Tally) {
        let n = self.dice.poisson(conditions.panics * share.seconds).min(tally.rcodes[0][NOERROR]);
        self.book.add(single(Single::Panics), n);
        tally.rcodes[0][NOERROR] -= n;
        tally.rcodes[0][SERVFAIL] += n;
    }

    /// Writes everything into the book.
    fn finish(&mut self, share: &Share, conditions: &Conditions, tally: &mut Tally) {
        tally.work.seconds = share.seconds;
        tally.work.queries = tally.asked.iter().flatten().sum();
        self.time(share, conditions, tally);
        for zone in 0..self.setup.zones().len() {
            self.count_questions(zone, conditions, tally);
            self.count_cache(zone, tally);
        }
        self.watch_api(share, conditions);
        let work = &mut tally.work;
        work.cache_entries = self.entries(0, false) + self.entries(0, true);
        work.upstreams = self.setup.n_targets() as f64;
        work.connections = self.root.open() + self.stub.open() + work.in_flight.min(2000.0);
        let machine = &self.scenario.machine;
        self.process.work(&mut self.dice, &mut self.book, machine, conditions, &tally.work);
    }

    /// How long all answers took, the health probes among them.
    fn time(&mut self, share: &Share, conditions: &Conditions, tally: &mut Tally) {
        let keep = (-share.seconds / 20.0).exp();
        self.unrest = keep * self.unrest + (1.0 - keep * keep).sqrt() * self.dice.normal();
        let machine = &self.scenario.machine;
        let utilisation = Process::utilisation(machine, &tally.work, conditions);
        let unrest = (0.35 * self.unrest).exp();
        let busy = (machine.busy_ratio * unrest * (1.0 + 3.0 * utilisation.min(2.0))).min(0.9);
        let slowed = conditions.cpu_quota < 1.0 || conditions.cpu_cost > 1.0 || utilisation > 0.8;
        self.wait = slowed.then(|| waiting(machine.answer_seconds, conditions, utilisation));
        let shape = match &self.wait {
            Some(wait) => wait.clone(),
            None => blend(&self.calm, &self.busy, busy),
        };
        for zone in 0..N_ZONES {
            let at_once = shape.draw(&mut self.dice, tally.at_once[zone].max(0.0));
            tally.timed[zone].add(&at_once);
            if let Some(wait) = &self.wait {
                let (all, n) = (tally.timed[zone].count(), at_once.count());
                // What comes back from upstream finds the process stopped.
                let stopped = 0.5 * QUOTA_PERIOD * (1.0 - conditions.cpu_quota.min(1.0));
                tally.timed[zone].delay(all - n, stopped);
                tally.work.in_flight += (all * wait.mean() + (all - n) * stopped) / share.seconds;
            }
        }
        self.probe_health(share.seconds, &shape, utilisation);
    }

    /// One probe a second, over HTTP, which takes about three times as long as an answer.
    fn probe_health(&mut self, seconds: f64, shape: &Shape, utilisation: f64) {
        let n = seconds.floor() + f64::from(self.dice.happens(seconds.fract()));
        let machine = &self.scenario.machine;
        let (mean, usual) = (shape.mean(), self.calm.mean());
        let noise = self.dice.factor(0.2);
        let median = (machine.health_seconds + 2.0 * (mean - usual).max(0.0)) * noise;
        let median = Part::Tailed { shift: 0.000_4, median: median * 0.315, deviation: 0.6 };
        let timed = Shape::mixture(&[(1.0, median)]).draw(&mut self.dice, n);
        self.book.observe(book::health(), &timed);
        if utilisation > 1.5 || mean > 0.5 {
            let failures = self.dice.binomial(n, 0.5);
            self.book.add(single(Single::HealthFailures), failures);
        }
    }

    fn count_questions(&mut self, zone: usize, conditions: &Conditions, tally: &Tally) {
        let traffic = &self.scenario.traffic;
        let tcp_ratio = conditions.tcp.unwrap_or(traffic.tcp_ratio);
        let dnssec_ratio = traffic.dnssec_ok_ratio;
        let n: f64 = tally.asked[zone].iter().sum();
        if n <= 0.0 {
            return;
        }
        let encrypted = if zone == 0 { tally.work.streams * tally.work.seconds } else { 0.0 };
        let mut protos = [0.0; 3];
        // All questions of a lookup go the same way.
        let over_tcp = self.dice.binomial((n / PER_LOOKUP).ceil(), tcp_ratio) * PER_LOOKUP / n;
        for (kind, asked) in tally.asked[zone].iter().enumerate() {
            let https = if kind == 0 { encrypted.min(*asked) } else { 0.0 };
            let again = (tally.again_over_tcp[zone] * 0.5).min(asked - https);
            let again = if kind < 2 { again.floor() } else { 0.0 };
            let tcp = again + ((asked - https - again) * over_tcp.min(1.0)).round();
            for (proto, count) in [asked - tcp - https, tcp, https].into_iter().enumerate() {
                self.book.add(book::requests(zone, proto, kind), count);
                self.book.add(book::by_proto(zone, proto), count);
                protos[proto] += count;
            }
            self.book.add(book::typed(zone, kind), *asked);
        }
        let do_bit =
            (self.dice.binomial((n / PER_LOOKUP).ceil(), dnssec_ratio) * PER_LOOKUP).min(n).round();
        self.book.add(book::dnssec(zone), do_bit);
        self.count_sizes(zone, n, &protos, tally);
        self.count_answers(zone, tally);
    }

    fn count_sizes(&mut self, zone: usize, n: f64, protos: &[f64; 3], tally: &Tally) {
        let noise = self.dice.normal() / n.sqrt();
        let [question, answer] = tally.bytes[zone].map(|bytes| bytes / n);
        for (proto, count) in protos.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            let total = |bytes: f64, spread: f64| {
                (count * bytes * (1.0 + spread * noise)).round().max(count * 12.0)
            };
            let cell = book::request_sizes(zone, proto);
            self.book.observe_sizes(cell, *count, question, total(question, 0.2));
            let cell = book::response_sizes(zone, proto);
            let long = self.dice.binomial(*count, 0.3);
            self.book.observe_sizes(cell, count - long, answer * 0.8, total(answer, 0.4));
            self.book.observe_sizes(cell, long, answer * 1.5, 0.0);
        }
    }

    fn count_answers(&mut self, zone: usize, tally: &Tally) {
        for (rcode, count) in tally.rcodes[zone].iter().enumerate() {
            self.book.add(book::responses(zone, rcode), *count);
        }
        let timed = tally.timed[zone];
        if !self.setup.durations_by_type() {
            self.book.observe(book::durations(zone, 0), &timed);
            return;
        }
        let n: f64 = tally.asked[zone].iter().sum();
        let mut by_type = [Timed::default(); TYPES.len()];
        let shares: Vec<f64> = tally.asked[zone].iter().map(|asked| asked / n).collect();
        for (bucket, count) in timed.counts.iter().enumerate() {
            self.dice.split(*count, &shares, |kind, part| by_type[kind].counts[bucket] += part);
        }
        for (kind, mut part) in by_type.into_iter().enumerate() {
            part.seconds = timed.seconds * part.count() / timed.count().max(1.0);
            self.book.observe(book::durations(zone, kind), &part);
        }
    }

    /// Caches of several zones have one set of series in old releases.
    fn cache_zone(&self, zone: usize) -> usize {
        if self.setup.has_zones() { zone } else { 0 }
    }

    fn count_cache(&mut self, zone: usize, tally: &Tally) {
        let place = self.cache_zone(zone);
        let (hits, misses) = (tally.hits[zone], tally.misses[zone]);
        for (what, count) in [
            (Cache::SuccessHits, hits[0]),
            (Cache::DenialHits, hits[1]),
            (Cache::Misses, misses),
            (Cache::Requests, hits[0] + hits[1] + misses),
        ] {
            self.book.add(book::cache(place, what), count);
        }
        for (what, denial) in [(Cache::SuccessEntries, false), (Cache::DenialEntries, true)] {
            let mut entries = self.entries(zone, denial);
            if place != zone {
                entries += self.entries(place, denial);
            }
            self.book.set(book::cache(place, what), entries.round());
        }
    }

    fn watch_api(&mut self, share: &Share, conditions: &Conditions) {
        if !self.setup.corefile.has_api() || conditions.api_silent {
            return;
        }
        let usual = share.changes_per_second * conditions.churn;
        let changes = self.dice.poisson((usual + conditions.churned) * share.seconds);
        self.programmed(changes, conditions.programming_delay);
        let failed = self.dice.poisson(conditions.api_errors * share.seconds);
        let fine = self.dice.poisson(3.0 / WATCH_SECONDS * share.seconds);
        self.book.add(single(Single::RestFailed), failed);
        self.book.add(single(Single::RestOk), fine);
    }

    /// Counts changes of services and endpoints, and how long they took to get here.
    fn programmed(&mut self, changes: f64, delay: f64) {
        if changes <= 0.0 {
            return;
        }
        let usual = self.scenario.traffic.programming_seconds;
        let headless = self.dice.binomial(changes, HEADLESS);
        // Releases up to 1.11.4 count those of headless services only.
        let others = if self.setup.release < Release::V1_15_0 { 0.0 } else { changes - headless };
        for (is_headless, n) in [(false, others), (true, headless)] {
            let (mut counts, mut seconds) = ([0.0; N_PROGRAMMING], 0.0);
            for _ in 0..(n.min(64.0) as usize) {
                let each = n / n.min(64.0).floor();
                let took = delay * self.dice.factor(0.2) + usual * self.dice.factor(0.35);
                let place = (took / 0.001).log2().ceil().clamp(0.0, N_PROGRAMMING as f64 - 1.0);
                counts[place as usize] += each;
                seconds += each * took;
            }
            self.book.histogram(book::programming(is_headless), &counts, seconds);
        }
    }

    /// What a scrape at `time` sees, written over `scrape`.
    pub(crate) fn scrape(&mut self, conditions: &Conditions, time: Timestamp, scrape: &mut Scrape) {
        scrape.time = time;
        scrape.samples.clear();
        let machine = &self.scenario.machine;
        let usual = machine.scrape_seconds * self.dice.factor(0.3);
        let wait = self.wait.as_ref().map_or(0.0, Shape::mean);
        scrape.duration_seconds =
            usual / conditions.cpu_quota + 4.0 * wait + conditions.scrape_delay;
        scrape.up = !self.frozen && !self.dice.happens(conditions.scrapes_failed);
        if !scrape.up {
            scrape.duration_seconds = scrape.duration_seconds.max(1.0);
            return;
        }
        let lost = conditions.families_lost as f32;
        let least = if conditions.own_metrics_absent { 1.5 } else { lost };
        let cells = self.book.cells();
        scrape.samples.extend(self.shown.iter().filter_map(|shown| {
            let there = cells[shown.born as usize] > 0.0 && shown.family >= least;
            there.then(|| Sample { series: shown.id, value: cells[shown.cell as usize] })
        }));
        if let Some(series) = self.configuration
            && !conditions.own_metrics_absent
        {
            scrape.samples.push(Sample { series, value: 1.0 });
        }
    }
}

fn circumstances(seconds: f64, conditions: &Conditions) -> Circumstances {
    Circumstances {
        seconds,
        sequential: conditions.sequential,
        max_concurrent: conditions.max_concurrent,
        amplification: conditions.amplification,
        busy_health_checks: conditions.busy_health_checks,
        new_connections: conditions.new_connections,
    }
}

/// Times to answer on a calm machine, and of the share that finds it busy.
fn blend(calm: &Shape, busy: &Shape, share: f64) -> Shape {
    let mut shape = calm.clone();
    for bucket in 0..shape.shares.len() {
        let (quiet, late) = ((1.0 - share) * calm.shares[bucket], share * busy.shares[bucket]);
        let seconds = quiet * calm.means[bucket] + late * busy.means[bucket];
        shape.shares[bucket] = quiet + late;
        shape.means[bucket] = seconds / (quiet + late).max(1e-300);
    }
    shape
}

/// Times to answer of a process that may not run when it wants.
fn waiting(answer_seconds: f64, conditions: &Conditions, utilisation: f64) -> Shape {
    let (quota, cost) = (conditions.cpu_quota.min(1.0), conditions.cpu_cost.max(1.0));
    // Work that does not fit piles up until clients give up.
    let backlog = (4.0 * (utilisation - 0.8)).clamp(0.0, 4.0);
    let running = Part::Tailed { shift: backlog, median: answer_seconds * cost, deviation: 0.7 };
    let stopped = Part::Even { low: backlog, high: backlog + QUOTA_PERIOD * (1.0 - quota) };
    // CoreDNS counts from when it reads a question: few are under way when it is stopped.
    let hit = STOPPED_RATIO * (1.0 - quota);
    Shape::mixture(&[(1.0 - hit, running), (hit, stopped)])
}
