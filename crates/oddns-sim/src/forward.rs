//! The `forward` plugin: which upstream server gets what, what comes back, and how long it takes.

use crate::book::{self, Book, NOERROR, NXDOMAIN, RCODES, REFUSED, SERVFAIL, Single, single};
use crate::conditions::{MAX_UPSTREAMS, UpstreamState};
use crate::dice::Dice;
use crate::scenario::Upstreams;
use crate::shape::{Part, Shape, Timed, below};

/// Time after which the plugin takes a query for lost (`readTimeout`).
const TIMEOUT: f64 = 2.0;
/// Tries that fit into the five seconds it has for a query.
const TRIES: i32 = 3;
/// Loss from which two health checks in a row fail for sure.
const DEAD: f64 = 0.9;
/// Seconds until an upstream server is held for dead: one that is silent, one that refuses.
const SILENT_UNTIL_DOWN: f64 = 4.5;
const REFUSING_UNTIL_DOWN: f64 = 0.6;
/// Health checks of a dead server each second: a timeout of 1 s, or none, and half a second's wait.
const SILENT_CHECKS: f64 = 0.67;
const REFUSING_CHECKS: f64 = 2.0;
const BUSY_CHECKS: f64 = 2000.0;
/// The way to an upstream server and back, and the grain of timers.
const WAY_SECONDS: f64 = 0.001_3;
/// Idle connections are closed after so many seconds.
const IDLE_SECONDS: f64 = 10.0;

/// The upstream servers of one zone.
#[derive(Debug, Clone)]
pub(crate) struct Forward {
    /// Place of the first in the book.
    first: usize,
    proxies: Vec<Proxy>,
}

/// One upstream server as CoreDNS sees it.
#[derive(Debug, Clone)]
struct Proxy {
    state: UpstreamState,
    shape: Shape,
    mean: f64,
    /// Seconds that nothing came back.
    silent: f64,
    /// Share of the interval that it was held for dead.
    down: f64,
    /// Share of the tries that are lost.
    loss: f64,
    /// Share of all queries that it gets.
    share: f64,
    /// Queries a second over UDP and TCP, of late.
    rates: [f64; 2],
    /// Connections that are open.
    open: f64,
}

/// What was asked for during an interval.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Demand {
    /// Queries by what is true about the name: NOERROR or NXDOMAIN.
    pub(crate) truths: [f64; 2],
    /// Share over TCP.
    pub(crate) tcp: f64,
}

/// What all that the plugin cannot decide itself is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances {
    pub(crate) seconds: f64,
    pub(crate) sequential: bool,
    pub(crate) max_concurrent: f64,
    pub(crate) amplification: f64,
    pub(crate) busy_health_checks: bool,
    pub(crate) new_connections: f64,
}

/// What came back.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outcome {
    /// Answers by response code, the plugin's own failures among them.
    pub(crate) rcodes: [f64; RCODES.len()],
    /// How long clients waited for it.
    pub(crate) timed: Timed,
    /// Answers that were cut, and for which clients ask again over TCP.
    pub(crate) truncated: f64,
    /// Tries.
    pub(crate) exchanges: f64,
    /// Queries under way at a time, and connections that takes.
    pub(crate) in_flight: f64,
}

/// How the tries of some queries went.
#[derive(Debug, Clone, Copy, Default)]
struct Tried {
    answered: f64,
    /// Of these, answered after one lost try, and after two.
    late: [f64; TRIES as usize - 1],
    /// Seconds that a lost try takes.
    wait: f64,
}

/// Queries that one server answers.
#[derive(Debug, Clone, Copy)]
struct Asked {
    truth: usize,
    n: f64,
    /// Exchanges that no client asked for.
    extra: f64,
    tcp: f64,
}

/// What an answer will be, before anybody asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outlook {
    pub(crate) answered: f64,
    pub(crate) failed: f64,
}

impl Forward {
    pub(crate) fn new(first: usize, n: usize, usual: &Upstreams) -> Self {
        let shape = usual_shape(usual, &UpstreamState::default());
        let proxy = Proxy {
            state: UpstreamState::default(),
            mean: shape.mean(),
            shape,
            silent: 0.0,
            down: 0.0,
            loss: 0.0,
            share: 1.0 / n.max(1) as f64,
            rates: [0.0; 2],
            open: 0.0,
        };
        Self { first, proxies: vec![proxy; n.max(1)] }
    }

    /// Takes up how the servers are, given how many queries a second there were last.
    pub(crate) fn prepare(
        &mut self,
        usual: &Upstreams,
        states: &[UpstreamState],
        per_second: f64,
        around: &Circumstances,
    ) {
        let n = self.proxies.len() as f64;
        for (proxy, state) in self.proxies.iter_mut().zip(states) {
            proxy.take_up(usual, *state, per_second / n, around.seconds);
        }
        let all_down = self.all_down();
        let weight = |proxy: &Proxy| if all_down >= 1.0 { 1.0 } else { 1.0 - proxy.down };
        let whole: f64 = self.proxies.iter().map(weight).sum();
        for proxy in &mut self.proxies {
            proxy.share = weight(proxy) / whole.max(1e-9);
        }
        if around.sequential {
            self.proxies.iter_mut().skip(1).for_each(|proxy| proxy.share = 0.0);
            self.proxies[0].share = 1.0;
        }
    }

    /// Share of the time that every server was held for dead.
    fn all_down(&self) -> f64 {
        self.proxies.iter().map(|proxy| proxy.down).product()
    }

    fn mean_loss(&self) -> f64 {
        self.proxies.iter().map(|proxy| proxy.share * proxy.loss).sum()
    }

    /// What becomes of a query, on average.
    pub(crate) fn outlook(&self) -> Outlook {
        let (loss, down) = (self.mean_loss(), self.all_down());
        let back = down * (1.0 - loss) + (1.0 - down) * (1.0 - loss.powi(TRIES));
        let mean = |of: fn(&UpstreamState) -> f64| -> f64 {
            self.proxies.iter().map(|proxy| proxy.share * of(&proxy.state)).sum()
        };
        let (failed, refused) = (mean(|state| state.servfail), mean(|state| state.refused));
        let cut = mean(|state| state.truncated);
        Outlook {
            answered: back * (1.0 - failed - refused).max(0.0) * (1.0 - 0.5 * cut),
            failed: back * failed,
        }
    }

    /// Everything that the queries of an interval do.
    pub(crate) fn exchange(
        &mut self,
        dice: &mut Dice,
        book: &mut Book,
        demand: Demand,
        around: &Circumstances,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let mut tries = [0.0; MAX_UPSTREAMS];
        let shares: Vec<f64> = self.proxies.iter().map(|proxy| proxy.share).collect();
        for (truth, asked) in demand.truths.iter().enumerate() {
            let asked = self.limit(dice, book, *asked, around, &mut outcome);
            let tried = self.tries(dice, book, asked, &mut outcome);
            let mut counts = [0.0; MAX_UPSTREAMS];
            dice.split(tried.answered, &self.answering(&shares), |at, count| counts[at] = count);
            for (at, count) in counts.into_iter().enumerate().take(shares.len()) {
                tries[at] += count;
                let extra = (count * (around.amplification - 1.0)).round();
                let proxy = &self.proxies[at];
                let place = self.first + at;
                let asked = Asked { truth, n: count, extra, tcp: demand.tcp };
                proxy.answer(dice, book, place, asked, &mut outcome);
            }
            for (n_lost, late) in tried.late.into_iter().enumerate() {
                outcome.timed.delay(late, tried.wait * (n_lost + 1) as f64);
            }
        }
        outcome.in_flight = outcome.timed.seconds / around.seconds;
        let total: f64 = demand.truths.iter().sum();
        self.spread_lost(dice, outcome.exchanges - tries.iter().sum::<f64>(), &mut tries);
        self.connect(dice, book, &tries, demand.tcp, around);
        self.check_health(dice, book, total, around);
        outcome
    }

    /// Refuses what is more than may wait, as a telephone exchange with so many lines does.
    fn limit(
        &self,
        dice: &mut Dice,
        book: &mut Book,
        asked: f64,
        around: &Circumstances,
        outcome: &mut Outcome,
    ) -> f64 {
        let mean: f64 = self.proxies.iter().map(|p| p.share * (p.mean + TIMEOUT * p.loss)).sum();
        let rejected =
            dice.binomial(asked, blocked(asked / around.seconds * mean, around.max_concurrent));
        book.add(single(Single::Rejects), rejected);
        outcome.rcodes[REFUSED] += rejected;
        outcome.timed.add(&Timed::exactly(rejected, 0.000_1));
        asked - rejected
    }

    /// How many queries get an answer in the end; the others wait in vain and become SERVFAIL.
    fn tries(&self, dice: &mut Dice, book: &mut Book, asked: f64, outcome: &mut Outcome) -> Tried {
        let loss = self.mean_loss();
        outcome.exchanges += asked;
        let mut tried = Tried { answered: asked, ..Tried::default() };
        if loss <= 0.0 {
            return tried;
        }
        tried.wait = TIMEOUT * self.silent_share();
        // When all are held for dead, one is tried once.
        let broken = dice.binomial(asked, self.all_down());
        book.add(single(Single::Broken), broken);
        let mut failed = dice.binomial(broken, loss);
        outcome.timed.add(&Timed::exactly(failed, tried.wait.max(0.000_2)));
        let mut lost = dice.binomial(asked - broken, loss);
        for late in &mut tried.late {
            outcome.exchanges += lost;
            let again = dice.binomial(lost, loss);
            *late = lost - again;
            lost = again;
        }
        failed += lost;
        let all_tries = tried.wait * (1.0 + tried.late.len() as f64);
        outcome.timed.add(&Timed::exactly(lost, all_tries.max(0.000_5)));
        outcome.rcodes[SERVFAIL] += failed;
        tried.answered -= failed;
        tried
    }

    /// Share of what is lost that is lost silently rather than refused.
    fn silent_share(&self) -> f64 {
        let lost: f64 = self.proxies.iter().map(|p| p.share * p.loss).sum();
        let refused = |p: &Proxy| if p.state.closed { p.share * p.loss } else { 0.0 };
        1.0 - self.proxies.iter().map(refused).sum::<f64>() / lost.max(1e-12)
    }

    /// Shares of the answers.
    fn answering(&self, shares: &[f64]) -> Vec<f64> {
        let back: Vec<f64> =
            shares.iter().zip(&self.proxies).map(|(share, p)| share * (1.0 - p.loss)).collect();
        let whole: f64 = back.iter().sum();
        back.into_iter().map(|share| share / whole.max(1e-12)).collect()
    }

    /// Adds the tries that were lost to those of the servers that lost them.
    fn spread_lost(&self, dice: &mut Dice, lost: f64, tries: &mut [f64; MAX_UPSTREAMS]) {
        let shares: Vec<f64> = self.proxies.iter().map(|p| p.share * p.loss).collect();
        let whole: f64 = shares.iter().sum();
        if lost > 0.0 && whole > 0.0 {
            let shares: Vec<f64> = shares.into_iter().map(|share| share / whole).collect();
            dice.split(lost, &shares, |at, count| tries[at] += count);
        }
    }

    /// Counts connections that were there and that were opened.
    fn connect(
        &mut self,
        dice: &mut Dice,
        book: &mut Book,
        tries: &[f64; MAX_UPSTREAMS],
        tcp: f64,
        around: &Circumstances,
    ) {
        for (at, proxy) in self.proxies.iter_mut().enumerate() {
            let all = (tries[at] * around.amplification).round();
            let over_tcp = dice.binomial(all, tcp);
            let old = (-around.seconds / IDLE_SECONDS).exp();
            proxy.open *= old;
            for (is_tcp, n) in [(false, all - over_tcp), (true, over_tcp)] {
                let rate = &mut proxy.rates[usize::from(is_tcp)];
                let keep = (-around.seconds / 60.0).exp();
                *rate = keep * *rate + (1.0 - keep) * n / around.seconds;
                let fresh = proxy.new_connection(usize::from(is_tcp)) * around.new_connections;
                let opened = dice.binomial(n, (fresh + 0.7 * proxy.loss).min(1.0));
                proxy.open += opened;
                book.add(book::connections(self.first + at, is_tcp, false), opened);
                book.add(book::connections(self.first + at, is_tcp, true), n - opened);
            }
            proxy.open = proxy.open.max((1.0 - (-10.0 * proxy.rates[0]).exp()) * 1.5);
        }
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> f64 {
        self.proxies.iter().map(|proxy| proxy.open).sum()
    }

    fn check_health(&self, dice: &mut Dice, book: &mut Book, asked: f64, around: &Circumstances) {
        for (at, proxy) in self.proxies.iter().enumerate() {
            let mut per_second = proxy.failed_checks(asked * proxy.share / around.seconds);
            if around.busy_health_checks && proxy.loss >= DEAD {
                per_second = BUSY_CHECKS;
            }
            let failures = dice.poisson(per_second * around.seconds);
            book.add(book::health_checks(self.first + at), failures);
        }
    }
}

impl Proxy {
    fn take_up(&mut self, usual: &Upstreams, state: UpstreamState, per_second: f64, seconds: f64) {
        if (state.delay, state.jitter) != (self.state.delay, self.state.jitter) {
            self.shape = usual_shape(usual, &state);
            self.mean = self.shape.mean();
        }
        self.state = state;
        // What is lost is asked again, and health checks come on top.
        let offered =
            per_second * (1.0 + 2.0 * self.loss) + if self.loss > 0.01 { 0.67 } else { 0.0 };
        let beyond = overflow(offered, state.most_per_second) / offered.max(1e-9);
        self.loss = match state.dead || state.closed {
            true => 1.0,
            false => state.loss.max(beyond).clamp(0.0, 1.0),
        };
        self.down = if self.loss >= DEAD {
            let patience = if state.closed { REFUSING_UNTIL_DOWN } else { SILENT_UNTIL_DOWN };
            self.silent += seconds;
            ((self.silent - patience) / seconds).clamp(0.0, 1.0)
        } else {
            self.silent = 0.0;
            0.3 * self.loss * self.loss
        };
    }

    /// Probability that no open connection is idle when one is wanted.
    fn new_connection(&self, tcp: usize) -> f64 {
        let (per_second, under_way) = (self.rates[tcp], self.rates[tcp] * self.mean);
        (-IDLE_SECONDS * per_second).exp() + 0.002 * (1.0 + 4.0 * under_way) / (1.0 + per_second)
    }

    fn failed_checks(&self, per_second: f64) -> f64 {
        if self.loss >= DEAD {
            return if self.state.closed { REFUSING_CHECKS } else { SILENT_CHECKS };
        }
        let begun = (per_second * self.loss).min(1.0);
        (begun * self.loss / (1.0 - self.loss)).min(SILENT_CHECKS)
    }

    /// Draws the answers of this server.
    fn answer(
        &self,
        dice: &mut Dice,
        book: &mut Book,
        place: usize,
        asked: Asked,
        outcome: &mut Outcome,
    ) {
        let Asked { truth, n, extra, tcp } = asked;
        if n <= 0.0 {
            return;
        }
        let state = &self.state;
        let lies = [
            1.0 - (state.servfail + state.refused + state.nxdomain).min(1.0),
            state.servfail,
            state.refused,
            state.nxdomain,
        ];
        let mut told = [0.0; 4];
        dice.split(n, &lies, |at, count| told[at] = count);
        let mut rcodes = [0.0; RCODES.len()];
        rcodes[if truth == NXDOMAIN { NXDOMAIN } else { NOERROR }] += told[0];
        rcodes[SERVFAIL] += told[1];
        rcodes[REFUSED] += told[2];
        rcodes[NXDOMAIN] += told[3];
        for (rcode, count) in rcodes.into_iter().enumerate().filter(|(_, count)| *count > 0.0) {
            let timed = self.shape.draw(dice, count);
            book.observe(book::exchanges(place, rcode), &timed);
            book.observe(book::exchanged(place), &timed);
            outcome.rcodes[rcode] += count;
            outcome.timed.add(&timed);
            let added = (extra * count / n).round();
            if added > 0.0 {
                let timed = self.shape.draw(dice, added);
                book.observe(book::exchanges(place, rcode), &timed);
                book.observe(book::exchanged(place), &timed);
            }
        }
        outcome.truncated += dice.binomial((n * (1.0 - tcp)).round(), state.truncated);
    }
}

/// What the times of a server are when it is in this state.
fn usual_shape(usual: &Upstreams, state: &UpstreamState) -> Shape {
    let low = usual.delay_seconds + state.delay + WAY_SECONDS;
    let high = low + usual.jitter_seconds + state.jitter;
    let recursive =
        Part::Tailed { shift: low, median: usual.recursion_seconds.max(1e-6), deviation: 0.9 };
    // A busy machine makes some of them late.
    let late = Part::Tailed { shift: low, median: 0.004, deviation: 1.0 };
    let ratio = usual.recursion_ratio;
    Shape::mixture(&[
        (0.97 * (1.0 - ratio), Part::Even { low, high }),
        (0.03 * (1.0 - ratio), late),
        (ratio, recursive),
    ])
}

/// What comes in a second beyond a limit, when pairs of queries come by chance at this rate.
fn overflow(per_second: f64, limit: f64) -> f64 {
    if !limit.is_finite() || per_second <= 0.0 {
        return 0.0;
    }
    let deviation = (2.0 * per_second).sqrt();
    let z = (limit - per_second) / deviation;
    let density = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
    (deviation * (density - z * (1.0 - below(z)))).max(0.0)
}

/// Share of what comes that finds all lines busy, when `offered` would be busy at a time (Erlang's
/// formula B).
fn blocked(offered: f64, lines: f64) -> f64 {
    if offered.is_nan() || offered <= 0.0 || offered < 0.2 * lines {
        return 0.0;
    }
    if lines > 500.0 {
        return (1.0 - lines / offered).max(0.0);
    }
    let mut blocked = 1.0;
    for line in 1..=lines.max(1.0) as u32 {
        blocked = offered * blocked / (f64::from(line) + offered * blocked);
    }
    blocked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::N_TIMES;

    const AROUND: Circumstances = Circumstances {
        seconds: 15.0,
        sequential: false,
        max_concurrent: 1000.0,
        amplification: 1.0,
        busy_health_checks: false,
        new_connections: 1.0,
    };

    /// Ten intervals of 100 queries a second to two servers, the first in this state.
    fn outcome(first: UpstreamState, second: UpstreamState) -> (Outcome, Book) {
        let (usual, mut dice, mut book) = (Upstreams::default(), Dice::new(1, 1), Book::new());
        let mut forward = Forward::new(0, 2, &usual);
        let demand = Demand { truths: [1000.0, 500.0], tcp: 0.01 };
        let mut total = Outcome::default();
        for _ in 0..10 {
            forward.prepare(&usual, &[first, second], 100.0, &AROUND);
            let one = forward.exchange(&mut dice, &mut book, demand, &AROUND);
            (0..4).for_each(|rcode| total.rcodes[rcode] += one.rcodes[rcode]);
            total.timed.add(&one.timed);
            total.in_flight = one.in_flight;
        }
        (total, book)
    }

    fn both(state: UpstreamState) -> (Outcome, Book) {
        outcome(state, state)
    }

    #[test]
    fn nothing_gets_lost_on_the_way() {
        let usual = UpstreamState::default();
        for state in [
            usual,
            UpstreamState { loss: 0.3, ..usual },
            UpstreamState { dead: true, ..usual },
            UpstreamState { closed: true, ..usual },
            UpstreamState { servfail: 0.1, truncated: 0.5, ..usual },
            UpstreamState { most_per_second: 4.0, ..usual },
        ] {
            let (outcome, _) = both(state);
            assert_eq!(outcome.rcodes.iter().sum::<f64>(), 15_000.0, "{state:?}");
            assert_eq!(outcome.timed.count(), 15_000.0, "{state:?}");
        }
    }

    #[test]
    fn a_dead_upstream_shows_as_silence_and_a_closed_one_as_speed() {
        let usual = UpstreamState::default();
        let (dead, book) = both(UpstreamState { dead: true, ..usual });
        assert_eq!(dead.rcodes[SERVFAIL], 15_000.0);
        assert_eq!(book.get(book::exchanged(0) + N_TIMES - 1), 0.0);
        assert!(book.get(single(Single::Broken)) > 10_000.0);
        assert!(book.get(book::health_checks(0)) > 50.0);
        let (closed, _) = both(UpstreamState { closed: true, ..usual });
        assert!(closed.timed.seconds < 0.01 * dead.timed.seconds);
    }

    #[test]
    fn one_dead_upstream_is_left_out() {
        let usual = UpstreamState::default();
        let (outcome, book) = outcome(UpstreamState { dead: true, ..usual }, usual);
        assert!(outcome.rcodes[SERVFAIL] < 0.02 * 15_000.0, "{:?}", outcome.rcodes);
        assert_eq!(book.get(book::exchanged(0) + N_TIMES - 1), 0.0);
    }

    #[test]
    fn lost_queries_are_slow_and_seldom_fail() {
        let (lossy, _) = both(UpstreamState { loss: 0.2, ..UpstreamState::default() });
        let (usual, _) = both(UpstreamState::default());
        assert!(lossy.timed.seconds > 30.0 * usual.timed.seconds);
        assert!(lossy.rcodes[SERVFAIL] < 0.03 * 15_000.0, "{:?}", lossy.rcodes);
    }

    #[test]
    fn lines_are_busy_as_erlang_says() {
        assert!((blocked(10.0, 10.0) - 0.2146).abs() < 0.001);
        assert_eq!(blocked(1.0, 1000.0), 0.0);
        assert!((blocked(2000.0, 1000.0) - 0.5).abs() < 1e-9);
    }
}
