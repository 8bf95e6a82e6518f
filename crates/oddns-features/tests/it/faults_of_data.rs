//! Data that is broken, late, missing or mad. Absence is evidence, and nothing is made up.

use insta::assert_snapshot;
use oddns_features::Features;

use crate::server::{Server, row, value};

/// What a server's story gives for some features: a line a scrape. A story's line is the second
/// of the scrape and then `down`, or values of the short names below; a value that is not told is
/// a series that is not there.
fn told(features: &[&str], story: &str) -> String {
    let mut server = Server::default();
    let lines = story.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| tell(&mut server, features, line)).collect()
}

fn tell(server: &mut Server, features: &[&str], line: &str) -> String {
    let (second, rest) = line.split_once(' ').unwrap_or((line, ""));
    let at = 1.0e9 + second.parse::<f64>().unwrap();
    let outcome = match rest {
        "down" => server.fail(at),
        _ => server.scrape(at, &samples(rest)),
    };
    let values = match outcome {
        Features::First => "first".to_owned(),
        Features::OutOfOrder => "out of order".to_owned(),
        Features::Row(row) => values(&row, features),
    };
    format!("{second}: {values}\n")
}

fn values(row: &[f32], features: &[&str]) -> String {
    let each = features.iter().map(|name| format!("{name} {:.3}", value(row, name)));
    each.collect::<Vec<_>>().join(", ")
}

fn samples(told: &str) -> String {
    let lines = told.split_whitespace().map(|pair| {
        let (name, value) = pair.split_once('=').unwrap();
        format!("{} {value}", series(name))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn series(short: &str) -> &str {
    match short {
        "queries" => "coredns_dns_requests_total{proto=\"udp\",type=\"A\"}",
        "noerror" => "coredns_dns_responses_total{rcode=\"NOERROR\"}",
        "servfail" => "coredns_dns_responses_total{rcode=\"SERVFAIL\"}",
        "panics" => "coredns_panics_total",
        "upstream" => "coredns_proxy_request_duration_seconds_count{rcode=\"NOERROR\",to=\"a\"}",
        "hits" => "coredns_cache_hits_total{type=\"success\"}",
        "lookups" => "coredns_cache_requests_total",
        "exchanges" => "coredns_proxy_conn_cache_hits_total{proto=\"udp\",to=\"a\"}",
        "corp_noerror" => "coredns_dns_responses_total{rcode=\"NOERROR\",zone=\"corp.\"}",
        "corp_servfail" => "coredns_dns_responses_total{rcode=\"SERVFAIL\",zone=\"corp.\"}",
        "changes" => "coredns_kubernetes_dns_programming_duration_seconds_count",
        "late" => "coredns_kubernetes_dns_programming_duration_seconds_sum",
        "entries" => "coredns_cache_entries{type=\"success\"}",
        "config" => "coredns_reload_version_info{hash=\"sha512\",value=\"1\"}",
        "config2" => "coredns_reload_version_info{hash=\"sha512\",value=\"2\"}",
        "cpu" => "process_cpu_seconds_total",
        "memory" => "process_resident_memory_bytes",
        "start" => "process_start_time_seconds",
        other => panic!("no series is called `{other}`"),
    }
}

#[test]
fn a_counter_that_falls_began_again_from_zero() {
    assert_snapshot!(told(&["request_rate", "recent_restarts"], "
        0 queries=9000
        15 queries=10500
        30 queries=300
        45 queries=600
    "), @r"
    0: first
    15: request_rate 100.000, recent_restarts 0.000
    30: request_rate 20.000, recent_restarts 0.000
    45: request_rate 20.000, recent_restarts 0.000
    ");
}

#[test]
fn a_restart_is_told_by_the_start_time_and_fades() {
    assert_snapshot!(told(&["request_rate", "recent_restarts"], "
        0 queries=9000 start=5000
        15 queries=10500 start=5000.4
        30 queries=300 start=900000000
        45 queries=600 start=900000000
        165 queries=600 start=900000000
    "), @r"
    0: first
    15: request_rate 100.000, recent_restarts 0.000
    30: request_rate 20.000, recent_restarts 1.000
    45: request_rate 20.000, recent_restarts 0.917
    165: request_rate 0.000, recent_restarts 0.841
    ");
}

/// The first scrape may well lack what the second one has.
#[test]
fn a_start_time_that_appears_is_no_restart() {
    assert_snapshot!(told(&["recent_restarts"], "
        0 queries=10
        15 queries=20 start=900000000
        30 queries=20
        45 queries=20 start=900000001
    "), @r"
    0: first
    15: recent_restarts 0.000
    30: recent_restarts 0.000
    45: recent_restarts 0.000
    ");
}

#[test]
fn a_restarted_process_counts_a_rare_event_from_zero() {
    assert_snapshot!(told(&["servfail_ratio"], "
        0 noerror=500 servfail=5 start=5000
        15 noerror=1000 servfail=5 start=5000
        30 noerror=90 start=900000000
        45 noerror=180 servfail=10 start=900000000
    "), @r"
    0: first
    15: servfail_ratio 0.000
    30: servfail_ratio 0.000
    45: servfail_ratio 0.100
    ");
}

#[test]
fn failed_scrapes_are_rows_and_the_rate_after_them_is_over_the_whole_gap() {
    assert_snapshot!(told(&["scrape_failed", "request_rate", "recent_panics"], "
        0 queries=0 panics=0
        15 queries=1500 panics=1
        30 down
        45 down
        60 queries=6000 panics=1
    "), @r"
    0: first
    15: scrape_failed 0.000, request_rate 100.000, recent_panics 1.000
    30: scrape_failed 1.000, request_rate NaN, recent_panics NaN
    45: scrape_failed 1.000, request_rate NaN, recent_panics NaN
    60: scrape_failed 0.000, request_rate 100.000, recent_panics 0.917
    ");
}

/// After five minutes nothing is known of the time between, but an outage goes on being told.
#[test]
fn an_outage_of_more_than_five_minutes_goes_on_and_then_begins_anew() {
    assert_snapshot!(told(&["scrape_failed", "request_rate"], "
        0 queries=0
        15 queries=1500
        200 down
        400 down
        3000 down
        3015 queries=90000
        3030 queries=91500
    "), @r"
    0: first
    15: scrape_failed 0.000, request_rate 100.000
    200: scrape_failed 1.000, request_rate NaN
    400: scrape_failed 1.000, request_rate NaN
    3000: scrape_failed 1.000, request_rate NaN
    3015: first
    3030: scrape_failed 0.000, request_rate 100.000
    ");
}

#[test]
fn a_server_that_never_answered_has_no_rows() {
    assert_snapshot!(told(&["scrape_failed"], "
        0 down
        15 down
        30 queries=5
        45 queries=5
    "), @r"
    0: first
    15: first
    30: first
    45: scrape_failed 0.000
    ");
}

#[test]
fn a_pause_without_scrapes_is_bridged_up_to_five_minutes() {
    assert_snapshot!(told(&["request_rate"], "
        0 queries=0
        300 queries=30000
        601 queries=60000
        616 queries=61500
    "), @r"
    0: first
    300: request_rate 100.000
    601: first
    616: request_rate 100.000
    ");
}

/// NaN is Prometheus's staleness marker. A counter that was away for a scrape is not counted from
/// zero when it is back: its growth is spread over the time it was away.
#[test]
fn a_value_that_is_no_number_is_a_series_that_is_not_there() {
    let story = |value: &str| {
        let story = "
            0 queries=900000 noerror=900000
            15 queries=901500 noerror=901500
            30 queries=STALE noerror=903000
            45 queries=904500 noerror=904500
            60 queries=906000 noerror=906000
        ";
        let features = ["request_rate", "noerror_ratio", "series_vanished_ratio"];
        told(&features, &story.replace("STALE", value))
    };
    assert_snapshot!(story("NaN"), @r"
    0: first
    15: request_rate 100.000, noerror_ratio 1.000, series_vanished_ratio 0.000
    30: request_rate 0.000, noerror_ratio 1.000, series_vanished_ratio 0.500
    45: request_rate 100.000, noerror_ratio 1.000, series_vanished_ratio 0.000
    60: request_rate 100.000, noerror_ratio 1.000, series_vanished_ratio 0.000
    ");
    assert_eq!(story("inf"), story("NaN"));
    assert_eq!(story("-inf"), story("NaN"));
}

#[test]
fn a_small_step_back_of_the_clock_waits_and_a_large_one_begins_anew() {
    assert_snapshot!(told(&["request_rate"], "
        1000 queries=0
        1015 queries=1500
        1010 queries=3000
        1025 queries=2500
        500 queries=4000
        515 queries=5500
        530 queries=7000
    "), @r"
    1000: first
    1015: request_rate 100.000
    1010: out of order
    1025: request_rate 100.000
    500: out of order
    515: first
    530: request_rate 100.000
    ");
}

#[test]
fn a_repeated_time_is_dropped() {
    assert_snapshot!(told(&["request_rate"], "
        0 queries=0
        15 queries=1500
        15 queries=1600
        15 down
        30 queries=3000
    "), @r"
    0: first
    15: request_rate 100.000
    15: out of order
    15: out of order
    30: request_rate 100.000
    ");
}

#[test]
fn a_series_is_born_with_its_first_event() {
    assert_snapshot!(told(&["servfail_ratio", "recent_panics"], "
        0 noerror=100
        15 noerror=150
        30 noerror=190 servfail=10 panics=2
    "), @r"
    0: first
    15: servfail_ratio 0.000, recent_panics 0.000
    30: servfail_ratio 0.200, recent_panics 2.000
    ");
}

/// A reload empties the cache and lists all services again: neither is news of its own.
#[test]
fn an_emptied_cache_that_fills_and_changes_of_long_ago_are_no_news() {
    let features = ["cache_insertion_ratio", "dns_programming_mean_seconds"];
    assert_snapshot!(told(&features, "
        0 lookups=0 hits=0 entries=1000 changes=0 late=0 config=1
        15 lookups=100 hits=0 entries=1040 changes=2 late=1 config=1
        30 lookups=200 hits=0 entries=100 changes=92 late=9000 config=1 config2=1
        45 lookups=300 hits=0 entries=200 changes=93 late=9100 config=1 config2=1
    "), @r"
    0: first
    15: cache_insertion_ratio 0.400, dns_programming_mean_seconds 0.500
    30: cache_insertion_ratio 0.400, dns_programming_mean_seconds NaN
    45: cache_insertion_ratio 0.400, dns_programming_mean_seconds NaN
    ");
}

/// Of few events a share says little by itself; it leans on the scrapes before.
#[test]
fn one_failure_among_three_answers_is_no_third_of_all() {
    assert_snapshot!(told(&["servfail_ratio", "noerror_ratio"], "
        0 noerror=1000 servfail=0
        15 noerror=1300 servfail=0
        30 noerror=1302 servfail=1
        45 noerror=1302 servfail=1
        60 noerror=1502 servfail=101
    "), @r"
    0: first
    15: servfail_ratio 0.000, noerror_ratio 1.000
    30: servfail_ratio 0.100, noerror_ratio 0.900
    45: servfail_ratio NaN, noerror_ratio NaN
    60: servfail_ratio 0.333, noerror_ratio 0.667
    ");
}

#[test]
fn a_small_zone_that_fails_is_not_lost_among_the_others() {
    assert_snapshot!(told(&["servfail_ratio", "zone_worst_servfail_ratio"], "
        0 noerror=0 corp_noerror=0 corp_servfail=0
        15 noerror=980 corp_noerror=20 corp_servfail=0
        30 noerror=1960 corp_noerror=20 corp_servfail=20
    "), @r"
    0: first
    15: servfail_ratio 0.000, zone_worst_servfail_ratio 0.000
    30: servfail_ratio 0.020, zone_worst_servfail_ratio 0.586
    ");
}

/// Packets that are lost show in no latency of upstream, as only answers have one.
#[test]
fn lost_upstream_answers_are_exchanges_without_an_answer() {
    let features = ["upstream_unanswered_ratio", "servfail_own_ratio"];
    assert_snapshot!(told(&features, "
        0 noerror=0 servfail=0 exchanges=0 upstream=0
        15 noerror=300 servfail=0 exchanges=100 upstream=100
        30 noerror=590 servfail=10 exchanges=200 upstream=180
    "), @r"
    0: first
    15: upstream_unanswered_ratio 0.000, servfail_own_ratio 0.000
    30: upstream_unanswered_ratio 0.200, servfail_own_ratio 0.033
    ");
}

/// An API server that froze is told by what no longer comes.
#[test]
fn silence_is_measured_in_usual_gaps_between_changes() {
    assert_snapshot!(told(&["dns_programming_silence_ratio"], "
        0 queries=0 changes=0
        15 queries=1 changes=2
        30 queries=1 changes=2
        45 queries=1 changes=3
        195 queries=1 changes=3
    "), @r"
    0: first
    15: dns_programming_silence_ratio NaN
    30: dns_programming_silence_ratio NaN
    45: dns_programming_silence_ratio 0.000
    195: dns_programming_silence_ratio 5.000
    ");
}

#[test]
fn vanished_series_are_a_share_of_those_of_the_last_scrape() {
    assert_snapshot!(told(&["series_vanished_ratio"], "
        0 noerror=1 servfail=1 queries=1 cpu=1
        15 noerror=1 servfail=1 queries=1 cpu=1
        30 noerror=1 servfail=1 queries=1 hits=1 lookups=1
        45 noerror=1
        60
        75 noerror=1
    "), @r"
    0: first
    15: series_vanished_ratio 0.000
    30: series_vanished_ratio 0.250
    45: series_vanished_ratio 0.800
    60: series_vanished_ratio 1.000
    75: series_vanished_ratio NaN
    ");
}

/// Older versions lose CoreDNS's own metrics at a reload, while the process goes on telling its.
#[test]
fn coredns_metrics_that_are_gone_are_unknown_and_not_zero() {
    let features =
        ["coredns_metrics_absent", "request_rate", "cpu_usage_ratio", "resident_memory_bytes"];
    assert_snapshot!(told(&features, "
        0 queries=900000 cpu=10 memory=64
        15 queries=901500 cpu=13 memory=64
        30 cpu=16 memory=64
        45 cpu=19 memory=64
        60 queries=906000 cpu=22 memory=64
    "), @r"
    0: first
    15: coredns_metrics_absent 0.000, request_rate 100.000, cpu_usage_ratio 0.200, resident_memory_bytes 64.000
    30: coredns_metrics_absent 1.000, request_rate NaN, cpu_usage_ratio NaN, resident_memory_bytes 64.000
    45: coredns_metrics_absent 1.000, request_rate NaN, cpu_usage_ratio NaN, resident_memory_bytes 64.000
    60: coredns_metrics_absent 0.000, request_rate 100.000, cpu_usage_ratio 0.200, resident_memory_bytes 64.000
    ");
}

#[test]
fn an_answer_without_a_single_metric_is_a_row() {
    assert_snapshot!(told(&["scrape_failed", "coredns_metrics_absent", "request_rate"], "
        0
        15
    "), @r"
    0: first
    15: scrape_failed 0.000, coredns_metrics_absent 1.000, request_rate NaN
    ");
}

#[test]
fn counters_that_stand_still_are_no_traffic_and_shares_of_nothing_are_unknown() {
    assert_snapshot!(told(&["request_rate", "servfail_ratio", "cache_hit_ratio", "upstream_rate"], "
        0 queries=100 noerror=100 servfail=4 hits=50 lookups=90 upstream=40
        15 queries=100 noerror=100 servfail=4 hits=50 lookups=90 upstream=40
        30 queries=100 noerror=100 servfail=4 hits=50 lookups=90 upstream=40
    "), @r"
    0: first
    15: request_rate 0.000, servfail_ratio NaN, cache_hit_ratio NaN, upstream_rate 0.000
    30: request_rate 0.000, servfail_ratio NaN, cache_hit_ratio NaN, upstream_rate 0.000
    ");
}

/// A dead upstream shows as missing counts: the answers stop while the misses go on.
#[test]
fn an_upstream_that_is_not_there_answers_nothing() {
    let features = [
        "upstream_rate",
        "upstream_per_miss_ratio",
        "upstream_busiest_ratio",
        "upstream_latency_p50_seconds",
    ];
    assert_snapshot!(told(&features, "
        0 queries=0 hits=0 lookups=0
        15 queries=300 hits=150 lookups=300
        30 queries=600 hits=300 lookups=600 upstream=150
        45 queries=900 hits=450 lookups=900 upstream=150
    "), @r"
    0: first
    15: upstream_rate 0.000, upstream_per_miss_ratio 0.000, upstream_busiest_ratio NaN, upstream_latency_p50_seconds NaN
    30: upstream_rate 10.000, upstream_per_miss_ratio 1.000, upstream_busiest_ratio 1.000, upstream_latency_p50_seconds NaN
    45: upstream_rate 0.000, upstream_per_miss_ratio 0.000, upstream_busiest_ratio NaN, upstream_latency_p50_seconds NaN
    ");
}

#[test]
fn a_counter_below_zero_counts_nothing() {
    assert_snapshot!(told(&["request_rate"], "
        0 queries=15
        15 queries=-3000
        30 queries=15
    "), @r"
    0: first
    15: request_rate 0.000
    30: request_rate 201.000
    ");
}

#[test]
fn a_series_of_another_table_is_not_there() {
    let mut server = Server::default();
    server.scrape(0.0, "coredns_panics_total 0");
    let mut scrape = crate::server::empty(15.0);
    let series = oddns_core::SeriesId(u32::MAX);
    scrape.samples = vec![oddns_core::Sample { series, value: 1.0 }];
    assert_eq!(value(&row(server.push(scrape)), "coredns_metrics_absent"), 1.0);
}
