//! Made-up servers for looking at the page and for testing it.

use oddns::{IncidentEvent, State, Step};
use oddns_core::{Cause, Contribution, Incident, Movement, Score, Severity, Timestamp};
use oddns_serve::{FeatureInfo, ModelInfo, Truth, View};

/// First instant of the recording: 22 November 2026, 07:00 UTC.
pub(crate) const START: i64 = 1_795_330_800;
const STEP: i64 = 15;
const WARM_UP: i64 = 64;

/// Name, unit, doc, usual value and value during the two faults.
type Column = (&'static str, &'static str, &'static str, f32, f32, f32);

#[rustfmt::skip]
const COLUMNS: &[Column] = &[
    ("request_rate", "/s", "Queries received each second.", 350.0, 352.0, 1240.0),
    ("servfail_ratio", "", "Share of answers that are SERVFAIL.", 0.0004, 0.31, 0.0004),
    ("nxdomain_ratio", "", "Share of answers that are NXDOMAIN.", 0.021, 0.022, 0.83),
    ("noerror_ratio", "", "Share of answers that are NOERROR.", 0.97, 0.66, 0.16),
    ("cache_hit_ratio", "", "Share of cache lookups that hit.", 0.82, 0.79, 0.43),
    ("request_latency_mean_seconds", "s", "Mean time to answer a query.", 0.0021, 0.74, 0.0025),
    ("request_latency_p99_seconds", "s", "Time within which 99 % of queries are answered.", 0.010, 4.0, 0.012),
    ("upstream_per_miss_ratio", "", "Answers from upstream for each cache miss.", 0.99, 0.02, 1.01),
    ("upstream_latency_mean_seconds", "s", "Mean time an upstream server took to answer.", 0.0089, f32::NAN, 0.0093),
    ("upstream_healthcheck_failure_rate", "/s", "Failed health checks of upstream servers each second.", 0.0, 1.9, 0.0),
    ("upstream_all_broken_rate", "/s", "Queries each second that met only upstream servers held for dead.", 0.0, 31.0, 0.0),
    ("goroutines", "", "Goroutines.", 48.0, 131.0, 66.0),
    ("resident_memory_bytes", "B", "Resident memory.", 48.5e6, 52.0e6, 61.0e6),
    ("cpu_usage_ratio", "", "CPU cores in use.", 0.034, 0.037, 0.19),
    ("recent_restarts", "", "Times the process was replaced, fading over the last scrapes.", 0.0, 0.0, 0.0),
    ("scrape_failed", "", "1 when the server did not answer with metrics.", 0.0, 0.0, 0.0),
    ("encrypted_ratio", "", "Share of queries over TLS, HTTPS, QUIC or gRPC.", f32::NAN, f32::NAN, f32::NAN),
];

/// Start and end of the two faults, in steps.
const FAULTS: [(i64, i64); 2] = [(300, 356), (600, 690)];

pub(crate) fn model() -> ModelInfo {
    let at = |seconds| Timestamp::from_millis(seconds * 1000);
    ModelInfo {
        id: "3f9ac1d07be25512".into(),
        schema: "5b1e8a9c33d04f17".into(),
        trained_on: Some((at(START - 86_400), at(START - 3600))),
        window: WARM_UP as usize,
        kind: "masked".into(),
        n_rows: 21_600,
        interval_seconds: 15.0,
        n_parameters: 18_420,
        alarms_per_week: 1.0,
        features: COLUMNS
            .iter()
            .map(|(name, unit, doc, ..)| FeatureInfo {
                name: (*name).into(),
                unit: (*unit).into(),
                doc: (*doc).into(),
            })
            .collect(),
    }
}

/// Three hours of one server, with an upstream outage, an NXDOMAIN flood and a harmless reload.
pub(crate) fn recording() -> View {
    let mut view = View::new("Bundled recording of CoreDNS 1.15.0", false);
    view.set_model(model());
    for at in 0..800 {
        view.push("127.0.0.1:9153", &step("127.0.0.1:9153", at));
    }
    let truth = |kind: &str, from: i64, to: i64, anomalous| Truth {
        kind: kind.into(),
        start: time(from),
        end: time(to),
        instance: None,
        anomalous,
    };
    view.set_truths(vec![
        truth("upstream_blackhole", FAULTS[0].0, FAULTS[0].1, true),
        truth("nxdomain_flood", FAULTS[1].0, FAULTS[1].1, true),
        truth("corefile_reload", 480, 500, false),
        truth("latency_probe", 640, 760, false),
    ]);
    view
}

/// Four servers at one instant: one odd, one quiet, one warming up, one unreachable.
pub(crate) fn fleet(until: i64) -> View {
    let mut view = View::new("", true);
    view.set_model(model());
    let names = ["10.2.0.11:9153", "10.2.0.12:9153", "10.2.0.13:9153", "coredns-new.example:9153"];
    view.watch(names.map(str::to_owned));
    for at in 0..until {
        fleet_step(&mut view, at, until);
    }
    view
}

pub(crate) fn fleet_step(view: &mut View, at: i64, until: i64) {
    view.push("10.2.0.11:9153", &step("10.2.0.11:9153", at));
    view.push("10.2.0.12:9153", &quiet_step(at));
    let young = at - until + 38;
    if (0..64).contains(&young) {
        view.push("10.2.0.13:9153", &young_step(at, young));
    }
    let dead = Step {
        time: time(at),
        row: vec![],
        expected: vec![],
        state: State::NoData,
        score: None,
        incident: None,
    };
    view.push("coredns-new.example:9153", &dead);
    let why = "nothing listens at http://coredns-new.example:9153/metrics: is CoreDNS running with its `prometheus` plugin enabled?";
    view.set_trouble("coredns-new.example:9153", Some(why.to_owned()));
}

fn young_step(at: i64, young: i64) -> Step {
    let state = State::WarmingUp { seen: young as usize, needed: WARM_UP as usize };
    Step { state, score: None, ..quiet_step(at) }
}

pub(crate) fn time(at: i64) -> Timestamp {
    Timestamp::from_millis((START + at * STEP) * 1000)
}

/// Step `at` of a server on which both faults happen.
pub(crate) fn step(instance: &str, at: i64) -> Step {
    let fault = FAULTS.iter().position(|(from, to)| (*from..*to).contains(&at));
    Step { incident: news(instance, at), ..step_in(at, fault) }
}

/// Step `at` of a server on which nothing happens.
pub(crate) fn quiet_step(at: i64) -> Step {
    step_in(at, None)
}

fn step_in(at: i64, fault: Option<usize>) -> Step {
    let row: Vec<f32> = COLUMNS.iter().enumerate().map(|(n, c)| value(c, fault, at, n)).collect();
    let (state, score) = if at < WARM_UP {
        (State::WarmingUp { seen: at as usize, needed: WARM_UP as usize }, None)
    } else {
        (State::Scoring, Some(score(at, fault, &row)))
    };
    // What is expected is what a quiet server would show.
    let expected = COLUMNS.iter().enumerate().map(|(n, c)| value(c, None, at, n)).collect();
    Step { time: time(at), row, expected, state, score, incident: None }
}

/// A number from 0 to 1 that looks random and is always the same.
fn noise(at: i64, n: usize) -> f32 {
    let x = (at as f32 * 12.9898 + n as f32 * 78.233).sin() * 43_758.547;
    x - x.floor()
}

fn value(column: &Column, fault: Option<usize>, at: i64, n: usize) -> f32 {
    let (.., usual, first, second) = *column;
    let level = match fault {
        Some(0) => first,
        Some(_) => second,
        None => usual * (1.0 + 0.05 * (at as f32 / 120.0).sin()),
    };
    level * (0.97 + 0.06 * noise(at, n))
}

fn score(at: i64, fault: Option<usize>, row: &[f32]) -> Score {
    let calm = 0.22 + 0.2 * noise(at, 99) + 0.1 * (at as f32 / 90.0).sin();
    let score = fault.map_or(calm, |n| [31.0, 9.0][n] * (0.8 + 0.4 * noise(at, 7)));
    let weight = |n: usize| {
        let usual = COLUMNS[n].3;
        let moved = ((row[n] + 1e-4) / (usual + 1e-4)).ln().abs();
        if moved.is_nan() { 0.0 } else { moved + 0.01 }
    };
    let whole: f32 = (0..row.len()).map(weight).sum();
    let mut contributions: Vec<Contribution> = (0..row.len())
        .map(|feature| Contribution {
            feature,
            share: weight(feature) / whole,
            observed: row[feature],
            expected: COLUMNS[feature].3,
            deviation: 4.0,
        })
        .filter(|c| c.share > 0.0)
        .collect();
    contributions.sort_by(|a, b| b.share.total_cmp(&a.share));
    contributions.truncate(8);
    Score { time: time(at), score, alarm: score > 1.0, contributions }
}

fn news(instance: &str, at: i64) -> Option<IncidentEvent> {
    for (n, (from, to)) in FAULTS.iter().enumerate() {
        if at == *from {
            return Some(IncidentEvent::Opened(incident(instance, n, None)));
        }
        if at == *to {
            return Some(IncidentEvent::Closed(incident(instance, n, Some(time(*to - 1)))));
        }
    }
    None
}

fn incident(instance: &str, n: usize, end: Option<Timestamp>) -> Incident {
    let moved: &[usize] = [&[1, 7, 10, 5, 9][..], &[2, 3, 0, 4][..]][n];
    let movement = |(rank, column): (usize, &usize)| {
        let (name, _, _, usual, first, second) = COLUMNS[*column];
        Movement {
            feature: name.into(),
            expected: usual,
            observed: [first, second][n],
            deviation: 12.0,
            share: 0.4 / (1 << rank) as f32,
        }
    };
    Incident {
        id: format!("{:08x}{n}", oddns_core::stable_hash(instance.bytes()) as u32),
        instance: instance.into(),
        start: time(FAULTS[n].0),
        end,
        severity: [Severity::Critical, Severity::Warning][n],
        peak_score: [36.4, 10.7][n],
        peak: time(FAULTS[n].0 + 9),
        movements: moved.iter().enumerate().map(movement).collect(),
        cause: cause(n),
        // Of the second alone, so that both are shown.
        alternatives: vec![Cause { confidence: 0.06, ..cause(0) }; n],
    }
}

fn cause(n: usize) -> Cause {
    if n == 0 {
        return Cause {
            name: "upstream_unreachable",
            summary: "Upstream DNS servers do not answer: names outside the cluster fail.",
            confidence: 0.91,
            next_steps: &[
                "dig @<upstream> example.org from a CoreDNS pod's node",
                "check network policy, routes and the upstream server's own health",
                "kubectl -n kube-system get configmap coredns -o yaml: is `forward` pointed at the right servers?",
            ],
        };
    }
    Cause {
        name: "nxdomain_flood",
        summary: "Clients ask for many names that do not exist.",
        confidence: 0.72,
        next_steps: &[
            "find the names: add `log . { class denial }` to the Corefile for a minute",
            "find the client: kubectl -n kube-system logs -l k8s-app=kube-dns | sort | uniq -c",
            "a deployment with a wrong service name, or ndots:5 with a new outside name, are the usual origins",
        ],
    }
}
