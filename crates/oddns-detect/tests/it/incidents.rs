//! One incident for each stretch of trouble: opened once, told again only when there is news,
//! closed once.

use insta::assert_snapshot;

use crate::scenario::{ids, verdicts, verdicts_of};

#[test]
fn a_fault_is_opened_once_and_closed_once() {
    assert_snapshot!(verdicts("
        40 0.3
        20 1.5 servfail_ratio=0.5@9 upstream_per_miss_ratio=0.1@-9 upstream_all_broken_rate=3@9
        40 0.3
    "), @r"
    00:10:00 opened 00:10:00–… warning 1.5 upstream_failure: servfail_ratio 0.0→0.5 upstream_per_miss_ratio 1.0→0.1 upstream_all_broken_rate 0.0→3.0
    00:19:30 closed 00:10:00–00:15:45 warning 1.5 upstream_failure: servfail_ratio 0.0→0.5 upstream_per_miss_ratio 1.0→0.1 upstream_all_broken_rate 0.0→3.0
    ");
}

#[test]
fn nothing_is_told_of_what_is_normal() {
    assert_snapshot!(verdicts("
        100 0.2
        100 0.99 request_rate=140@2
        100 0.2
    "), @"");
}

#[test]
fn a_single_row_beyond_the_line_is_told() {
    assert_snapshot!(verdicts("
        200 0.2
        1 7 request_rate=900@8
        100 0.2
    "), @r"
    00:50:00 opened 00:50:00–… critical 7 traffic_spike: request_rate 100.0→900.0
    00:54:45 closed 00:50:00–00:51:00 critical 7 traffic_spike: request_rate 100.0→900.0
    ");
}

#[test]
fn a_fault_that_flaps_is_one_incident() {
    assert_snapshot!(verdicts("
        40 0.3
        4 1.4 nxdomain_ratio=0.9@9
        12 0.2
        4 1.4 nxdomain_ratio=0.9@9
        12 0.2
        4 1.4 nxdomain_ratio=0.9@9
        40 0.2
    "), @r"
    00:10:00 opened 00:10:00–… warning 1.4 nxdomain_flood: nxdomain_ratio 0.4→0.9
    00:23:30 closed 00:10:00–00:19:45 warning 1.4 nxdomain_flood: nxdomain_ratio 0.4→0.9
    ");
}

/// Five steps until the alarm ends, fifteen more until the incident does.
#[test]
fn after_a_quiet_time_the_next_fault_is_another_incident() {
    assert_snapshot!(verdicts("
        40 0.3
        4 1.4 nxdomain_ratio=0.9@9
        20 0.2
        4 1.4 nxdomain_ratio=0.9@9
        40 0.2
    "), @r"
    00:10:00 opened 00:10:00–… warning 1.4 nxdomain_flood: nxdomain_ratio 0.4→0.9
    00:15:30 closed 00:10:00–00:11:45 warning 1.4 nxdomain_flood: nxdomain_ratio 0.4→0.9
    00:16:00 opened 00:16:00–… warning 1.4 nxdomain_flood: nxdomain_ratio 0.4→0.9
    00:21:30 closed 00:16:00–00:17:45 warning 1.4 nxdomain_flood: nxdomain_ratio 0.4→0.9
    ");
}

#[test]
fn what_was_expected_is_the_level_before_the_incident() {
    assert_snapshot!(verdicts("
        60 0.3 request_rate=50@-1
        200 1.4 request_rate=800@9
        60 0.3 request_rate=50@-1
    "), @r"
    00:15:00 opened 00:15:00–… warning 1.4 traffic_spike: request_rate 50.0→800.0
    01:09:30 closed 00:15:00–01:05:45 warning 1.4 traffic_spike: request_rate 50.0→800.0
    ");
}

#[test]
fn a_graver_peak_and_another_cause_are_news() {
    assert_snapshot!(verdicts("
        40 0.3
        5 1.2 nxdomain_ratio=0.9@9
        5 2.5 nxdomain_ratio=0.9@9
        60 3.5 servfail_ratio=0.5@9 upstream_per_miss_ratio=0.1@-9 upstream_all_broken_rate=3@9
        40 0.2
    "), @r"
    00:10:00 opened 00:10:00–… warning 1.2 nxdomain_flood: nxdomain_ratio 0.4→0.9
    00:11:15 updated 00:10:00–… critical 2.5 nxdomain_flood: nxdomain_ratio 0.4→0.9
    00:12:45 updated 00:10:00–… critical 3.5 upstream_failure: nxdomain_ratio 0.4→0.9 servfail_ratio 0.0→0.5 upstream_per_miss_ratio 1.0→0.1 upstream_all_broken_rate 0.0→3.0
    00:32:00 closed 00:10:00–00:28:15 critical 3.5 upstream_failure: servfail_ratio 0.0→0.5 upstream_per_miss_ratio 1.0→0.1 upstream_all_broken_rate 0.0→3.0 nxdomain_ratio 0.4→0.9
    ");
}

#[test]
fn a_feature_that_went_missing_is_told_as_missing() {
    assert_snapshot!(verdicts("
        40 0.3
        10 1.5 upstream_per_miss_ratio=NaN@4
        40 0.3
    "), @r"
    00:10:00 opened 00:10:00–… warning 1.5 unknown: upstream_per_miss_ratio 1.0→NaN
    00:17:00 closed 00:10:00–00:13:15 warning 1.5 unknown: upstream_per_miss_ratio 1.0→NaN
    ");
}

#[test]
fn an_incident_at_the_very_beginning_has_nothing_to_expect() {
    assert_snapshot!(verdicts("
        10 1.5 tcp_ratio=0.5@9
    "), @r"
    00:00:00 opened 00:00:00–… warning 1.5 moved_to_tcp: tcp_ratio NaN→0.5
    00:02:15 unfinished 00:00:00–00:02:15 warning 1.5 moved_to_tcp: tcp_ratio NaN→0.5
    ");
}

#[test]
fn scores_that_are_no_numbers_change_nothing() {
    assert_snapshot!(verdicts("
        40 0.3
        10 1.5 tcp_ratio=0.5@9
        100 NaN tcp_ratio=0.5@9
        40 0.3
    "), @r"
    00:10:00 opened 00:10:00–… warning 1.5 moved_to_tcp: tcp_ratio 0.0→0.5
    00:42:00 closed 00:10:00–00:38:15 warning 1.5 moved_to_tcp: tcp_ratio 0.0→0.5
    ");
}

#[test]
fn the_same_instance_and_start_are_the_same_incident() {
    let fault = [(0, 0.1), (15, 3.0), (30, 3.0)];
    let other_past = [(-600, 0.5), (-15, 0.9), (15, 1.1), (45, 9.0)];
    assert_eq!(ids("dns-0", &fault), ids("dns-0", &other_past));
    assert_ne!(ids("dns-0", &fault), ids("dns-1", &fault));
    assert_ne!(ids("dns-0", &fault), ids("dns-0", &[(30, 3.0)]));
    // Written down in dashboards and silences: it must not change between versions.
    assert_eq!(ids("dns-0", &fault), ["c5bcc5979bba9f29"]);
}

#[test]
fn the_name_of_the_server_decides_nothing_else() {
    let story = "40 0.3\n10 1.5 tcp_ratio=0.5@9\n40 0.3\n";
    assert_eq!(verdicts(story), verdicts_of("another", story));
}

/// The second fault begins while the alarm of the first one holds. It is another incident because
/// the scores had fallen, and what rises then has another cause.
#[test]
fn another_fault_in_the_tail_of_the_first_is_an_incident_of_its_own() {
    assert_snapshot!(verdicts("
        40 0.3
        10 3.0 tcp_ratio=0.5@9
        4 1.1 tcp_ratio=0.1@2
        20 3.0 servfail_ratio=0.5@9 upstream_per_miss_ratio=0.1@-9 upstream_all_broken_rate=3@9
        40 0.2
    "), @r"
    00:10:00 opened 00:10:00–… critical 3 moved_to_tcp: tcp_ratio 0.0→0.5
    00:14:00 closed 00:10:00–00:13:15 critical 3 moved_to_tcp: tcp_ratio 0.0→0.5
    00:14:15 opened 00:13:30–… critical 3 upstream_failure: servfail_ratio 0.0→0.5 upstream_per_miss_ratio 1.0→0.1 upstream_all_broken_rate 0.0→3.0
    00:23:00 closed 00:13:30–00:19:15 critical 3 upstream_failure: servfail_ratio 0.0→0.5 upstream_per_miss_ratio 1.0→0.1 upstream_all_broken_rate 0.0→3.0
    ");
}

#[test]
fn the_same_fault_again_in_its_own_tail_is_the_same_incident() {
    assert_snapshot!(verdicts("
        40 0.3
        10 3.0 tcp_ratio=0.5@9
        4 1.1 tcp_ratio=0.1@2
        40 3.0 tcp_ratio=0.5@9
        40 0.2
    "), @r"
    00:10:00 opened 00:10:00–… critical 3 moved_to_tcp: tcp_ratio 0.0→0.5
    00:28:00 closed 00:10:00–00:24:15 critical 3 moved_to_tcp: tcp_ratio 0.0→0.5
    ");
}
