//! The same traffic gives the same features, whatever the version calls its metrics.

use oddns_features::{FEATURES, Feature};

use crate::server::{Server, differences, row, value};
use crate::traffic::{Telling, Version, page};

const NEWEST: Telling = Telling { version: (1, 15, 0), split: false };

/// Each version with the features that it cannot express: NaN, or 0 for a count of events that it
/// has no counter for.
#[rustfmt::skip]
const VERSIONS: &[(Version, &[(&str, f32)])] = &[
    ((1, 6, 9), &[
        // It does not tell of the reload, just after which this is not defined.
        ("dns_programming_mean_seconds", 0.5),
        ("cache_insertion_ratio", 0.4),
        ("upstream_unanswered_ratio", f32::NAN),
        ("encrypted_error_ratio", f32::NAN),
        ("api_latency_mean_seconds", f32::NAN),
        ("cache_eviction_ratio", 0.0),
        ("upstream_new_connection_ratio", f32::NAN),
        ("upstream_tcp_ratio", f32::NAN),
        ("api_request_rate", 0.0),
        ("api_error_rate", 0.0),
        ("health_failure_rate", 0.0),
        ("recent_reconfigurations", 0.0),
    ]),
    ((1, 7, 0), &[
        ("cache_insertion_ratio", 0.4),
        ("upstream_unanswered_ratio", f32::NAN),
        ("encrypted_error_ratio", f32::NAN),
        ("api_latency_mean_seconds", f32::NAN),
        ("cache_eviction_ratio", 0.0),
        ("upstream_new_connection_ratio", f32::NAN),
        ("upstream_tcp_ratio", f32::NAN),
        ("api_request_rate", 0.0),
        ("api_error_rate", 0.0),
        ("health_failure_rate", 0.0),
    ]),
    ((1, 8, 3), &[
        ("cache_insertion_ratio", 0.4),
        ("encrypted_error_ratio", f32::NAN),
        ("api_latency_mean_seconds", f32::NAN),
        ("cache_eviction_ratio", 0.0),
        ("api_request_rate", 0.0),
        ("api_error_rate", 0.0),
        ("health_failure_rate", 0.0),
    ]),
    ((1, 8, 4), &[
        ("encrypted_error_ratio", f32::NAN),
        ("api_latency_mean_seconds", f32::NAN),("api_request_rate", 0.0), ("api_error_rate", 0.0)]),
    ((1, 8, 7), &[
        ("encrypted_error_ratio", f32::NAN),
        ("api_latency_mean_seconds", f32::NAN),("api_request_rate", 0.0), ("api_error_rate", 0.0)]),
    ((1, 10, 1), &[
        ("api_latency_mean_seconds", f32::NAN),("api_request_rate", 0.0), ("api_error_rate", 0.0)]),
    ((1, 11, 4), &[]),
    ((1, 15, 0), &[]),
];

/// The row after three scrapes.
fn row_of(telling: Telling) -> Vec<f32> {
    let mut server = Server::default();
    for step in 0..2 {
        server.scrape(1.8e9 + 15.0 * f64::from(step), &page(telling, f64::from(step)));
    }
    row(server.scrape(1.8e9 + 30.0, &page(telling, 2.0)))
}

#[test]
fn every_version_gives_the_features_of_the_newest() {
    let newest = row_of(NEWEST);
    for (version, lacking) in VERSIONS {
        for split in [false, true] {
            let told = row_of(Telling { version: *version, split });
            let mut expected = newest.clone();
            for (name, value) in *lacking {
                let at = FEATURES.iter().position(|feature| feature.name == *name).unwrap();
                expected[at] = *value;
            }
            let mut found = differences(&expected, &told);
            // How many series tell of the traffic is the version's business.
            found.retain(|difference| !difference.starts_with("series_born_ratio"));
            assert_eq!(found, [""; 0], "{version:?}, split: {split}");
        }
    }
}

/// A feature that the traffic does not move would be compared in vain.
#[test]
fn the_traffic_moves_every_feature() {
    let quiet = [
        "recent_restarts",
        "scrape_failed",
        "coredns_metrics_absent",
        "series_vanished_ratio",
        "dns_programming_silence_ratio",
        // All that clients got came from upstream.
        "servfail_own_ratio",
    ];
    // Undefined alone, or just after a reload.
    let undefined = |f: &Feature| f.is_divergence() || f.name == "dns_programming_mean_seconds";
    let newest = row_of(NEWEST);
    for (feature, value) in FEATURES.iter().zip(&newest).filter(|(f, _)| !undefined(f)) {
        let still = quiet.contains(&feature.name);
        assert!(if still { *value == 0.0 } else { *value > 0.0 }, "{}: {value}", feature.name);
    }
}

#[test]
fn the_features_are_those_of_the_traffic() {
    let newest = row_of(NEWEST);
    for (feature, expected) in [
        ("request_rate", 1000.0 / 15.0),
        ("answered_ratio", 0.98),
        ("nxdomain_ratio", 440.0 / 980.0),
        ("type_aaaa_ratio", 0.3),
        ("type_other_ratio", 0.06),
        ("tcp_ratio", 0.06),
        ("encrypted_ratio", 0.02),
        ("ipv6_ratio", 0.06),
        ("cache_hit_ratio", 0.8),
        ("cache_denial_ratio", 0.4),
        ("request_above_256ms_ratio", 0.012),
        ("request_above_2s_ratio", 0.004),
        ("upstream_per_miss_ratio", 896.0 / 200.0),
        ("upstream_servfail_ratio", 0.125),
        ("upstream_busiest_ratio", 0.5),
        ("upstream_latency_spread_ratio", 3.0),
        ("upstream_tcp_ratio", 24.0 / 480.0),
        ("upstream_unanswered_ratio", 1.0 - 896.0 / 960.0),
        ("unserved_ratio", 0.02),
        ("servfail_own_ratio", 0.0),
        ("zone_worst_servfail_ratio", 20.0 / 980.0),
        ("upstream_worst_servfail_ratio", 0.125),
        ("cache_insertion_ratio", 0.44),
        ("encrypted_error_ratio", 0.1),
        ("api_latency_mean_seconds", 0.1),
        ("api_error_rate", 4.0 / 15.0),
        ("health_latency_mean_seconds", 0.002),
        ("policy_drop_ratio", 0.016),
        ("plugins", 4.0),
    ] {
        let found = value(&newest, feature);
        assert!((found - expected).abs() < 1e-5 * (1.0 + expected), "{feature}: {found}");
    }
}

/// An upgrade restarts the process under other names. What is gone is no loss of traffic, and what
/// is new is no burst.
#[test]
fn an_upgrade_is_a_restart_and_not_another_kind_of_traffic() {
    let mut server = Server::default();
    let old = Telling { version: (1, 10, 1), split: false };
    server.scrape(1.8e9, &page(old, 0.0));
    let before = row(server.scrape(1.8e9 + 15.0, &page(old, 1.0)));
    // Scraped after a quarter of a step.
    let started = page(NEWEST, 0.25)
        .replace("start_time_seconds 1700000000", "start_time_seconds 1800000025");
    let after = row(server.scrape(1.8e9 + 30.0, &started));
    assert_eq!(value(&after, "recent_restarts"), 1.0);
    assert!(value(&after, "series_vanished_ratio") > 0.2);
    for rate in ["request_rate", "upstream_rate", "upstream_healthcheck_failure_rate"] {
        assert_eq!(value(&after, rate), 0.25 * value(&before, rate), "{rate}");
    }
    for ratio in ["nxdomain_ratio", "cache_hit_ratio", "upstream_servfail_ratio", "type_a_ratio"] {
        assert!((value(&after, ratio) - value(&before, ratio)).abs() < 1e-6, "{ratio}");
    }
}
