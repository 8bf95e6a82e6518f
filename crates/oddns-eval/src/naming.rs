//! Whether incidents are told by the cause that was really there.

use oddns_core::Incident;

use crate::{EventOutcome, Interval};

/// How often causes were named right, of the events that were caught, show in metrics, and are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Naming {
    /// Events that were told.
    pub n_told: usize,
    /// Of these, how many by the right cause.
    pub n_first: usize,
    /// Of these, how many with the right cause among the three likeliest.
    pub n_among: usize,
}

impl Naming {
    /// Holds the incidents, of all servers, against what really happened. An event of a kind that
    /// [`right_causes`] does not know is left out.
    pub fn of(incidents: &[&Incident], outcomes: &[EventOutcome]) -> Self {
        let mut naming = Self::default();
        for outcome in outcomes.iter().filter(|outcome| outcome.caught()) {
            let told = told(incidents.iter().copied(), &outcome.interval);
            let Some((incident, right)) = told.zip(right_causes(&outcome.interval.kind)) else {
                continue;
            };
            let is_first = right.contains(&incident.cause.name);
            let mut others = incident.alternatives.iter();
            let is_among = is_first || others.any(|cause| right.contains(&cause.name));
            naming.n_told += 1;
            naming.n_first += usize::from(is_first);
            naming.n_among += usize::from(is_among);
        }
        naming
    }

    /// Share of the events that were told by the right cause; `None` when none was told.
    pub fn first(self) -> Option<f64> {
        self.share(self.n_first)
    }

    /// Share of the events with the right cause among the three likeliest; `None` when none was told.
    pub fn among(self) -> Option<f64> {
        self.share(self.n_among)
    }

    fn share(self, n: usize) -> Option<f64> {
        (self.n_told > 0).then(|| n as f64 / self.n_told as f64)
    }
}

/// The incident that tells of an interval: of those that go on while it lasts, on a server that it is
/// about, the strongest that began in it, or else the strongest.
pub fn told<'a>(
    incidents: impl Iterator<Item = &'a Incident>,
    interval: &Interval,
) -> Option<&'a Incident> {
    let Interval { start, end, instance, .. } = interval;
    let during = incidents.filter(|incident| {
        incident.start <= *end
            && incident.end.is_none_or(|ended| ended >= *start)
            && instance.as_ref().is_none_or(|instance| *instance == incident.instance)
    });
    // One that began before belongs to what was there before.
    let own = |incident: &Incident| incident.start >= *start;
    during.max_by(|a, b| own(a).cmp(&own(b)).then(a.peak_score.total_cmp(&b.peak_score)))
}

/// The causes by which a fault is told right, of the bundled recording and of the lab. None for a
/// fault that metrics do not show.
pub fn right_causes(fault: &str) -> Option<&'static [&'static str]> {
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
        "restart_storm" | "rolling_deploy" | "version_upgrade" => &["restarted"],
        // Each server gets a smaller part than before.
        "scale_out" => &["traffic_drop"],
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
        "api_lost" => &["kubernetes_watch_lost"],
        "api_errors" => &["kubernetes_api_failing"],
        "endpoint_churn" => &["kubernetes_churn"],
        "slow_programming" => &["kubernetes_slow_programming"],
        "process_freeze" => &["not_scrapable"],
        "cpu_throttle" => &["cpu_starved"],
        "bad_reload" => &["reload_failed"],
        "reload" => &["reconfigured"],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use oddns_core::{Cause, Severity, Timestamp};

    use super::*;

    const fn cause(name: &'static str) -> Cause {
        Cause { name, summary: "", confidence: 0.5, next_steps: &[] }
    }

    fn incident(
        instance: &str,
        from: i64,
        until: i64,
        peak_score: f32,
        causes: &[&'static str],
    ) -> Incident {
        Incident {
            id: String::new(),
            instance: instance.to_owned(),
            start: Timestamp::from_millis(from),
            end: Some(Timestamp::from_millis(until)),
            severity: Severity::Warning,
            peak_score,
            peak: Timestamp::from_millis(from),
            movements: Vec::new(),
            cause: cause(causes[0]),
            alternatives: causes[1..].iter().map(|name| cause(name)).collect(),
        }
    }

    fn outcome(kind: &str, from: i64, instance: Option<&str>, caught: bool) -> EventOutcome {
        let interval = Interval {
            kind: kind.to_owned(),
            start: Timestamp::from_millis(from),
            end: Timestamp::from_millis(from + 100),
            instance: instance.map(str::to_owned),
            anomalous: true,
        };
        EventOutcome {
            interval,
            observed: true,
            delay_seconds: caught.then_some(1.0),
            peak_score: None,
        }
    }

    #[test]
    fn what_was_caught_is_held_against_what_it_was() {
        let incidents = [
            // Before it, and stronger.
            incident("a", 0, 1050, 9.0, &["traffic_drop"]),
            incident("a", 1010, 1090, 2.0, &["traffic_spike", "restarted"]),
            // Another server's.
            incident("b", 1010, 1090, 5.0, &["traffic_drop"]),
            incident("b", 2000, 2010, 5.0, &["unknown", "cpu_starved", "restarted"]),
        ];
        let incidents: Vec<&Incident> = incidents.iter().collect();
        let outcomes = [
            outcome("traffic_spike", 1000, Some("a"), true),
            outcome("restart", 2000, None, true),
            outcome("restart", 2000, None, false),
            outcome("never heard of", 2000, None, true),
            outcome("restart", 5000, None, true),
        ];
        let naming = Naming::of(&incidents, &outcomes);
        assert_eq!(naming, Naming { n_told: 2, n_first: 1, n_among: 2 });
        assert_eq!((naming.first(), naming.among()), (Some(0.5), Some(1.0)));
        assert_eq!(Naming::default().first(), None);
    }
}
