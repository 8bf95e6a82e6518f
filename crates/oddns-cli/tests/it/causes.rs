//! The table of causes against the tables it speaks of: features and faults.

use oddns_detect::{CAUSES, SCRAPES_FLAP};
use oddns_features::FEATURES;
use oddns_lab::FAULTS;

/// The causes by which a fault is told right, of the bundled recording and of the lab. None for a
/// fault that metrics do not show.
pub(crate) fn right_causes(fault: &str) -> Option<&'static [&'static str]> {
    Some(match fault {
        "traffic_spike" => &["traffic_spike"],
        "traffic_drop" => &["traffic_drop"],
        "qtype_shift" => &["query_mix_changed"],
        "qualified_names" => &["qualified_names"],
        "clients_over_tcp" => &["moved_to_tcp"],
        "truncation" => &["upstream_moved_to_tcp"],
        // Cached answers stay on UDP in the recording, as they do behind truncating upstreams.
        "tcp_switch" => &["moved_to_tcp", "upstream_moved_to_tcp"],
        "retry_storm" => &["retry_storm"],
        // Both floods ask for ever new names; the second is the one that hurts the upstream.
        "nxdomain_flood" => &["nxdomain_flood", "random_subdomain_flood"],
        "random_subdomain" => &["random_subdomain_flood"],
        "cache_ineffective" | "cache_busting" => &["cache_ineffective"],
        // Large answers, which fill the cache.
        "memory_growth" => &["memory_growth", "large_answers"],
        "upstream_servfail" | "upstream_some_servfail" | "stale_servfail" => &["upstream_servfail"],
        "one_upstream_servfail" => &["upstream_partly_failing", "upstream_servfail"],
        "upstream_skew" => &["upstream_skew"],
        "max_concurrent" => &["concurrency_limit"],
        "search_path_storm" => &["search_path_queries"],
        // One name, or one server, gets more than its part.
        "hot_name" | "replica_imbalance" | "daily_peak" | "rollout" => &["traffic_spike"],
        "requests_stop" => &["traffic_drop"],
        "restart_storm" | "rolling_deploy" => &["restarted"],
        "cluster_uncached" => &["cache_ineffective", "reconfigured"],
        "cache_size_change" => &["reconfigured"],
        "upstream_outage" | "upstream_refused" => &["upstream_failure"],
        "upstream_rejects" => &["upstream_refuses"],
        "upstream_nxdomain" => &["upstream_denies_names"],
        "upstream_latency"
        | "upstream_slight_latency"
        | "slow_latency_drift"
        | "upstream_drift" => &["upstream_slow"],
        "upstream_loss" | "upstream_slight_loss" => &["packet_loss_upstream"],
        // A limit that is met now and then loses packets as a bad line does.
        "upstream_rate_limit" => &["upstream_rate_limited", "packet_loss_upstream"],
        "one_upstream_latency" | "one_upstream_outage" => &["upstream_partly_failing"],
        "one_zone_failure" => &["zone_upstream_failure", "upstream_partly_failing"],
        "restart" => &["restarted"],
        "process_freeze" => &["not_scrapable"],
        "cpu_throttle" => &["cpu_starved"],
        "bad_reload" => &["reload_failed"],
        "reload" => &["reconfigured"],
        _ => return None,
    })
}

#[test]
fn every_movement_is_of_a_feature_that_is_computed() {
    let known = |name: &str| FEATURES.iter().any(|feature| feature.name == name);
    for cause in CAUSES {
        let moves = [cause.signature, cause.supports, cause.contradicts].into_iter().flatten();
        for (feature, _) in moves.filter(|(feature, _)| *feature != SCRAPES_FLAP) {
            assert!(known(feature), "`{}` names `{feature}`, which is no feature", cause.name);
        }
    }
}

#[test]
fn every_fault_of_the_lab_that_can_be_seen_has_a_cause() {
    for fault in FAULTS {
        let causes = right_causes(fault.name);
        assert_eq!(causes.is_some(), fault.visible, "{}", fault.name);
        for name in causes.unwrap_or_default() {
            let known = CAUSES.iter().any(|cause| cause.name == *name);
            assert!(known, "`{}` should be told as `{name}`, which is no cause", fault.name);
        }
    }
}
