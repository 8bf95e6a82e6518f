//! A made-up CoreDNS server: load that rises and falls, a cache, one upstream.

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use oddns::core::{Frame, Labels, Recording, Sample, Scrape, SeriesKey, Timestamp};
use oddns::{Detector, TrainOptions, extract};

/// Seconds between scrapes.
pub(crate) const STEP: i64 = 15;

/// What happens at a scrape.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Happening {
    Normal,
    /// Upstream answers half of the queries with SERVFAIL.
    Servfail,
    /// Nobody asks anything.
    Idle,
    /// The scrape fails.
    Down,
    /// Nobody scrapes.
    Unseen,
}

/// Numbers between 0 and 1 that are the same everywhere (a linear congruential generator with
/// Knuth's constants).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Totals of the server's counters.
#[derive(Default)]
struct Totals {
    a: f64,
    aaaa: f64,
    noerror: f64,
    nxdomain: f64,
    servfail: f64,
    hits: f64,
    cpu: f64,
}

impl Totals {
    fn serve(&mut self, queries: f64, failing: f64, noise: &mut Noise) {
        let nxdomain = queries * (0.4 + 0.02 * noise.next());
        self.a += queries * 0.7;
        self.aaaa += queries * 0.3;
        self.nxdomain += nxdomain;
        self.servfail += (queries - nxdomain) * failing;
        self.noerror += (queries - nxdomain) * (1.0 - failing);
        self.hits += queries * (0.8 + 0.01 * noise.next());
        self.cpu += 0.1 + queries * 0.000_1;
    }

    fn page(&self, goroutines: f64) -> Vec<(&'static str, f64)> {
        let asked = self.a + self.aaaa;
        let forwarded = asked - self.hits;
        vec![
            ("coredns_dns_requests_total{proto=\"udp\",type=\"A\"}", self.a),
            ("coredns_dns_requests_total{proto=\"udp\",type=\"AAAA\"}", self.aaaa),
            ("coredns_dns_responses_total{rcode=\"NOERROR\"}", self.noerror),
            ("coredns_dns_responses_total{rcode=\"NXDOMAIN\"}", self.nxdomain),
            ("coredns_dns_responses_total{rcode=\"SERVFAIL\"}", self.servfail),
            ("coredns_dns_request_duration_seconds_bucket{le=\"0.001\"}", self.hits),
            ("coredns_dns_request_duration_seconds_bucket{le=\"0.256\"}", asked),
            ("coredns_dns_request_duration_seconds_bucket{le=\"+Inf\"}", asked),
            ("coredns_cache_requests_total", asked),
            ("coredns_cache_hits_total{type=\"success\"}", self.hits),
            ("coredns_proxy_request_duration_seconds_count{rcode=\"NOERROR\",to=\"a\"}", forwarded),
            (
                "coredns_proxy_request_duration_seconds_sum{rcode=\"NOERROR\",to=\"a\"}",
                0.01 * forwarded,
            ),
            ("process_cpu_seconds_total", self.cpu),
            ("process_start_time_seconds", 1.6e9),
            ("go_goroutines", goroutines),
        ]
    }
}

/// A recording of `n` steps; `happens` says what happens at each.
pub(crate) fn recording(n: usize, seed: u64, happens: impl Fn(usize) -> Happening) -> Recording {
    let mut recording = Recording { instance: "dns-0".into(), ..Recording::default() };
    let (mut totals, mut noise) = (Totals::default(), Noise(seed));
    for step in 0..n {
        let happening = happens(step);
        let load = 100.0 + 40.0 * (step as f64 / 30.0).sin() + 5.0 * noise.next();
        let queries = if happening == Happening::Idle { 0.0 } else { load * STEP as f64 };
        let failing = if happening == Happening::Servfail { 0.5 } else { 0.002 };
        totals.serve(queries, failing, &mut noise);
        if happening != Happening::Unseen {
            let up = happening != Happening::Down;
            let page = totals.page(50.0 + (10.0 * noise.next()).round());
            let scrape = scrape(&mut recording, step, up, &page);
            recording.scrapes.push(scrape);
        }
    }
    recording
}

/// Normal operation from one end to the other.
pub(crate) fn normal(n: usize, seed: u64) -> Recording {
    recording(n, seed, |_| Happening::Normal)
}

/// When step `step` is.
pub(crate) fn time(step: usize) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + step as i64 * STEP * 1000)
}

/// One scrape of a page; empty when it failed.
pub(crate) fn scrape(
    recording: &mut Recording,
    step: usize,
    up: bool,
    page: &[(&str, f64)],
) -> Scrape {
    let samples = page.iter().map(|(series, value)| {
        let at = series.find('{').unwrap_or(series.len());
        let labels: Labels = series[at..].parse().unwrap();
        let key = SeriesKey { name: series[..at].into(), labels };
        Sample { series: recording.series.intern(&key), value: *value }
    });
    let samples = samples.filter(|_| up).collect();
    Scrape { time: time(step), up, duration_seconds: 0.01, samples }
}

/// Few steps of training: the tests ask what is done with a model, not how good it is.
pub(crate) fn quick() -> TrainOptions {
    TrainOptions { epochs: Some(20), batch: 4, window: 64, seed: 7, ..TrainOptions::default() }
}

pub(crate) fn fit(frame: &Frame, options: &TrainOptions) -> Detector {
    Detector::fit(&[frame], options, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// A detector of the made-up server.
pub(crate) fn detector() -> Arc<Detector> {
    static DETECTOR: OnceLock<Arc<Detector>> = OnceLock::new();
    let make = || Arc::new(fit(&extract(&normal(600, 1)), &quick()));
    Arc::clone(DETECTOR.get_or_init(make))
}
