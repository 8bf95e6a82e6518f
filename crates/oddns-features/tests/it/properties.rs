//! What holds for any traffic, and for data that no server would send.

use oddns_core::{Recording, Sample, Scrape};
use oddns_features::{FEATURES, Feature, Features, Unit, extract};
use proptest::prelude::*;

use crate::server::{Server, differences, row};
use crate::traffic::{Telling, page};

const TELLING: Telling = Telling { version: (1, 15, 0), split: false };

/// Traffic between scrapes, in steps.
fn steps() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(1_u32..40, 3..6).prop_map(|steps| {
        let mut total = 0.0;
        steps
            .into_iter()
            .map(|n| {
                total += f64::from(n);
                total
            })
            .collect()
    })
}

/// The rows of scrapes of this traffic, `seconds` apart.
fn rows(telling: Telling, steps: &[f64], seconds: f64) -> Vec<Vec<f32>> {
    let mut server = Server::default();
    let pages = steps.iter().enumerate();
    let all: Vec<Features> =
        pages.map(|(at, step)| server.scrape(at as f64 * seconds, &page(telling, *step))).collect();
    all.into_iter().skip(1).map(row).collect()
}

/// Lines in an order that depends on `seed`.
fn shuffled(page: &str, seed: u64) -> String {
    let mut lines: Vec<&str> = page.lines().collect();
    lines.sort_by_key(|line| oddns_core::stable_hash(line.bytes().chain(seed.to_be_bytes())));
    lines.join("\n")
}

/// Any number, as often as not one of those that break things.
fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        0.0..1e6_f64,
        prop::sample::select(vec![
            0.0,
            -1.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
            f64::MIN
        ]),
    ]
}

/// Milliseconds since the last scrape, whether it is up, how long it took, and values by series.
type AnyScrape = (i64, bool, f64, Vec<(usize, f64)>);

/// Scrapes of the series of a real page with any values, at any times.
fn any_scrapes(n_series: usize) -> impl Strategy<Value = Vec<AnyScrape>> {
    let samples = prop::collection::vec((0..n_series + 2, any_value()), 0..60);
    let time = prop_oneof![4 => 1_i64..60_000, 1 => -1_000_000_i64..1_000_000, 1 => any::<i64>()];
    prop::collection::vec((time, prop::bool::weighted(0.8), any_value(), samples), 1..12)
}

/// A server that knows the series of a page, and how many there are.
fn acquainted() -> (Server, usize) {
    let mut server = Server::default();
    let n_series = server.samples(&page(TELLING, 1.0)).len();
    (server, n_series)
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() }
}

/// Levels and counts of rare events follow the page of a scrape; they are no rates.
fn is_level(name: &str) -> bool {
    let parts = ["_drift_", "recent_", "goroutines", "_memory_", "open_files", "series_born"];
    parts.iter().any(|part| name.contains(part))
}

/// A part of a whole; a quotient of two different things may be above one.
fn is_share(feature: &Feature) -> bool {
    let quotients =
        ["_per_", "_drift_", "_growth_", "_silence_", "_insertion_", "cpu_usage", "_spread_"];
    let compares = quotients.iter().any(|part| feature.name.contains(part));
    feature.unit == Unit::Ratio && !compares && !feature.is_divergence()
}

/// A share whose part and whole are of one metric family.
fn is_share_of_one_family(feature: &Feature) -> bool {
    let families = ["type_", "noerror", "nxdomain", "servfail", "refused"];
    families.iter().any(|start| feature.name.starts_with(start))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn twice_the_time_and_twice_the_traffic_are_the_same_features(
        steps in steps(), factor in 2_u32..10,
    ) {
        let factor = f64::from(factor);
        let longer: Vec<f64> = steps.iter().map(|step| step * factor).collect();
        let longer = rows(TELLING, &longer, 15.0 * factor);
        for (a, b) in rows(TELLING, &steps, 15.0).iter().zip(&longer) {
            let mut found = differences(a, b);
            found.retain(|difference| !is_level(difference));
            prop_assert_eq!(found, Vec::<String>::new());
        }
    }

    #[test]
    fn the_order_of_samples_and_of_acquaintance_changes_nothing(
        steps in steps(), seed in any::<u64>(),
    ) {
        let mut server = Server::default();
        server.samples(&shuffled(&page(TELLING, steps[steps.len() - 1]), !seed));
        let rows = rows(TELLING, &steps, 15.0);
        for (at, step) in steps.iter().enumerate() {
            let page = shuffled(&page(TELLING, *step), seed ^ at as u64);
            let features = server.scrape(at as f64 * 15.0, &page);
            if at > 0 {
                prop_assert_eq!(differences(&rows[at - 1], &row(features)), Vec::<String>::new());
            }
        }
    }

    #[test]
    fn a_series_in_parts_is_the_series(steps in steps()) {
        let parts = rows(Telling { split: true, ..TELLING }, &steps, 15.0);
        for (whole, parts) in rows(TELLING, &steps, 15.0).iter().zip(&parts) {
            let mut found = differences(whole, parts);
            // A part is a series more.
            found.retain(|difference| !difference.starts_with("series_born_ratio"));
            prop_assert_eq!(found, Vec::<String>::new());
        }
    }

    #[test]
    fn shares_stay_shares(steps in steps(), seconds in 1.0..60.0_f64) {
        for row in rows(TELLING, &steps, seconds) {
            for (feature, value) in FEATURES.iter().zip(row).filter(|(f, _)| is_share(f)) {
                prop_assert!((0.0..=1.0).contains(&value), "{}: {}", feature.name, value);
            }
        }
    }

    #[test]
    fn no_values_and_no_times_break_a_row(told in any_scrapes(acquainted().1)) {
        let (mut server, _) = acquainted();
        let mut recording = Recording { series: server.table.clone(), ..Recording::default() };
        let mut time = 0_i64;
        for (step, up, duration_seconds, samples) in told {
            time = time.wrapping_add(step);
            let sample = |(at, value)| Sample { series: oddns_core::SeriesId(at as u32), value };
            let samples = samples.into_iter().map(sample).collect();
            let time = oddns_core::Timestamp::from_millis(time);
            let scrape = Scrape { time, up, duration_seconds, samples };
            recording.scrapes.push(scrape.clone());
            if let Features::Row(row) = server.push(scrape) {
                prop_assert_eq!(row.len(), FEATURES.len());
                prop_assert!(row.iter().all(|value| !value.is_infinite()));
            }
        }
        let frame = extract(&recording);
        prop_assert_eq!(frame.width(), FEATURES.len());
    }

    #[test]
    fn shares_of_one_family_stay_shares_whatever_is_counted(
        values in prop::collection::vec((0_usize..7, any_value()), 1..40),
    ) {
        let names = ["NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED", "A", "AAAA", "TXT"];
        let mut server = Server::default();
        for (at, (which, value)) in values.into_iter().enumerate() {
            let (name, label) = match which < 4 {
                true => ("coredns_dns_responses_total", "rcode"),
                false => ("coredns_dns_requests_total", "type"),
            };
            let line = format!("{name}{{{label}=\"{}\"}} {value}", names[which]);
            let Features::Row(row) = server.scrape(at as f64, &line) else { continue };
            let all = FEATURES.iter().zip(row);
            for (feature, value) in all.filter(|(f, _)| is_share_of_one_family(f)) {
                let share = value.is_nan() || (0.0..=1.0).contains(&value);
                prop_assert!(share, "{}: {}", feature.name, value);
            }
        }
    }
}
