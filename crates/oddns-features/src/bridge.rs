//! Metric names of every CoreDNS version, mapped to quantities that mean the same in all of them.
//!
//! Only names and labels are known here; what is computed from the quantities is in `catalogue`.
//! `process_network_*_bytes_total` is left out on purpose: it counts the whole network namespace,
//! which is the whole machine for a server on the host's network.

use oddns_core::SeriesKey;

/// Something that is counted. Growth of all series of a quantity is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantity {
    Requests,
    TypedRequests,
    TypeA,
    TypeAaaa,
    TypePtr,
    TypeSrv,
    ProtoTcp,
    ProtoEncrypted,
    FamilyIpv6,
    Unserved,
    DnssecOk,
    Responses,
    Noerror,
    Nxdomain,
    Servfail,
    Refused,
    RequestSeconds,
    RequestsTimed,
    RequestBytes,
    RequestsSized,
    ResponseBytes,
    ResponsesSized,
    ResponsesSmall,
    CacheHitsSuccess,
    CacheHitsDenial,
    CacheRequests,
    CacheMisses,
    CacheEvictions,
    CacheStale,
    CachePrefetches,
    CacheInsertions,
    UpstreamAnswers,
    UpstreamSeconds,
    UpstreamRcodes,
    UpstreamNxdomain,
    UpstreamServfail,
    UpstreamRefused,
    ConnectionsReused,
    ConnectionsOpened,
    ConnectionsTcp,
    HealthcheckFailures,
    HealthcheckBroken,
    ConcurrentRejects,
    HealthSeconds,
    HealthProbes,
    HealthFailures,
    ReloadFailures,
    Panics,
    ApiRequests,
    ApiErrors,
    ApiSeconds,
    ApiTimed,
    ProgrammingUpdates,
    ProgrammingSeconds,
    PolicyDrops,
    PluginFailures,
    EncryptedAnswers,
    EncryptedErrors,
    SetupErrors,
    CpuSeconds,
}

impl Quantity {
    pub(crate) const COUNT: usize = Self::CpuSeconds as usize + 1;
}

/// Something that is measured as a level. Values of all series of a gauge are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gauge {
    CacheEntries,
    ResidentBytes,
    HeapBytes,
    Goroutines,
    Threads,
    OpenFiles,
    MaxFiles,
    StartTime,
    Plugins,
}

impl Gauge {
    pub(crate) const ALL: [Self; 9] = [
        Self::CacheEntries,
        Self::ResidentBytes,
        Self::HeapBytes,
        Self::Goroutines,
        Self::Threads,
        Self::OpenFiles,
        Self::MaxFiles,
        Self::StartTime,
        Self::Plugins,
    ];
    pub(crate) const COUNT: usize = Self::ALL.len();
}

/// Which histogram a bucket belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Histogram {
    Request,
    Upstream,
}

/// A kind of parts that a server's work is told for one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Division {
    /// Upstream servers, by the label `to`.
    Upstream,
    /// Zones, by the label `zone`.
    Zone,
}

/// What is counted for each part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tally {
    /// Answers.
    Answers,
    /// Seconds that they took.
    Seconds,
    /// Answers by response code: the whole of which SERVFAIL are a part.
    Coded,
    /// Answers that are SERVFAIL.
    Servfail,
}

impl Tally {
    pub(crate) const COUNT: usize = Self::Servfail as usize + 1;
}

/// Some quantities, each at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quantities(u64);

impl Quantities {
    pub(crate) fn of(quantities: &[Quantity]) -> Self {
        const { assert!(Quantity::COUNT <= u64::BITS as usize) };
        Self(quantities.iter().fold(0, |all, quantity| all | 1 << *quantity as u64))
    }

    /// Their numbers, rising.
    pub(crate) fn numbers(self) -> impl Iterator<Item = usize> {
        bits(self.0)
    }
}

/// Some tallies, each at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tallies(u8);

impl Tallies {
    pub(crate) fn of(tallies: &[Tally]) -> Self {
        Self(tallies.iter().fold(0, |all, tally| all | 1 << *tally as u8))
    }

    /// Their numbers, rising.
    pub(crate) fn numbers(self) -> impl Iterator<Item = usize> {
        bits(u64::from(self.0))
    }
}

/// Places of the ones, rising.
fn bits(mut left: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = left.trailing_zeros();
        left &= left.wrapping_sub(1);
        (at < u64::BITS).then_some(at as usize)
    })
}

/// What a series is to us.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Role {
    /// A counter whose growth is added to each of these.
    Counter(Vec<Quantity>),
    /// A counter of one part of the server's work, whose growth is also added to each quantity.
    Part { division: Division, name: String, tallies: Vec<Tally>, quantities: Vec<Quantity> },
    /// A histogram bucket.
    Bucket(Histogram, f64),
    /// A level.
    Gauge(Gauge),
    /// Its presence is the information: another configuration is another series.
    Configuration,
    /// Not used, but it is there.
    Unused,
}

/// Metric prefixes of the two plugins and the two generations that talk to upstreams.
const UPSTREAM_PREFIXES: [&str; 3] = ["coredns_forward_", "coredns_proxy_", "coredns_grpc_"];

/// What `key` is to us. Labels that came and went over the versions (`server`, `zone`, `view`,
/// `plugin`, `type` on durations) are summed away by not being looked at.
pub(crate) fn role(key: &SeriesKey) -> Role {
    let name = key.name.as_str();
    if let Some(rest) = UPSTREAM_PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        return upstream_role(key, rest);
    }
    if let Some(gauge) = gauge(name) {
        return Role::Gauge(gauge);
    }
    match name {
        "coredns_dns_request_duration_seconds_bucket" => bucket(key, Histogram::Request),
        "coredns_dns_response_size_bytes_bucket" if label(key, "le") == "1023" => {
            Role::Counter(vec![Quantity::ResponsesSmall])
        }
        "coredns_reload_version_info" => Role::Configuration,
        "coredns_dns_responses_total" | "coredns_dns_response_rcode_count_total" => {
            let name = label(key, "zone").to_owned();
            let (tallies, quantities) = (coded(key), responses(key));
            Role::Part { division: Division::Zone, name, tallies, quantities }
        }
        _ => match quantities(key) {
            found if found.is_empty() => Role::Unused,
            found => Role::Counter(found),
        },
    }
}

fn gauge(name: &str) -> Option<Gauge> {
    Some(match name {
        "coredns_cache_entries" | "coredns_cache_size" => Gauge::CacheEntries,
        "coredns_plugin_enabled" => Gauge::Plugins,
        "process_resident_memory_bytes" => Gauge::ResidentBytes,
        "process_open_fds" => Gauge::OpenFiles,
        "process_max_fds" => Gauge::MaxFiles,
        "process_start_time_seconds" => Gauge::StartTime,
        "go_memstats_heap_inuse_bytes" => Gauge::HeapBytes,
        "go_goroutines" => Gauge::Goroutines,
        "go_threads" => Gauge::Threads,
        _ => return None,
    })
}

fn quantities(key: &SeriesKey) -> Vec<Quantity> {
    use Quantity as Q;
    let one = match key.name.as_str() {
        // Before 1.7.0 the query type was a family of its own.
        "coredns_dns_request_count_total" => return requests(key, false),
        "coredns_dns_requests_total" => return requests(key, true),
        "coredns_dns_request_type_count_total" => return typed(key),
        "coredns_kubernetes_rest_client_requests_total" => return api_requests(key),
        "coredns_dns_https_responses_total"
        | "coredns_dns_https3_responses_total"
        | "coredns_dns_quic_responses_total" => return encrypted_answers(key),
        "coredns_cache_hits_total" => cache_hits(key),
        "coredns_dns_do_requests_total" | "coredns_dns_request_do_count_total" => Q::DnssecOk,
        "coredns_dns_request_duration_seconds_sum" => Q::RequestSeconds,
        "coredns_dns_request_duration_seconds_count" => Q::RequestsTimed,
        "coredns_dns_request_size_bytes_sum" => Q::RequestBytes,
        "coredns_dns_request_size_bytes_count" => Q::RequestsSized,
        "coredns_dns_response_size_bytes_sum" => Q::ResponseBytes,
        "coredns_dns_response_size_bytes_count" => Q::ResponsesSized,
        "coredns_cache_requests_total" => Q::CacheRequests,
        "coredns_cache_misses_total" => Q::CacheMisses,
        "coredns_cache_evictions_total" => Q::CacheEvictions,
        "coredns_cache_served_stale_total" => Q::CacheStale,
        "coredns_cache_prefetch_total" => Q::CachePrefetches,
        "coredns_health_request_duration_seconds_sum" => Q::HealthSeconds,
        "coredns_health_request_duration_seconds_count" => Q::HealthProbes,
        "coredns_health_request_failures_total" => Q::HealthFailures,
        "coredns_reload_failed_total" | "coredns_reload_failed_count_total" => Q::ReloadFailures,
        "coredns_panics_total" | "coredns_panic_count_total" => Q::Panics,
        "coredns_kubernetes_rest_client_request_duration_seconds_sum" => Q::ApiSeconds,
        "coredns_kubernetes_rest_client_request_duration_seconds_count" => Q::ApiTimed,
        "coredns_kubernetes_dns_programming_duration_seconds_count" => Q::ProgrammingUpdates,
        "coredns_kubernetes_dns_programming_duration_seconds_sum" => Q::ProgrammingSeconds,
        "coredns_acl_blocked_requests_total"
        | "coredns_acl_dropped_requests_total"
        | "coredns_acl_filtered_requests_total"
        | "coredns_dns_request_block_count_total"
        | "coredns_shed_dropped_total"
        | "coredns_cache_drops_total" => Q::PolicyDrops,
        "coredns_template_template_failures_total"
        | "coredns_template_rr_failures_total"
        | "coredns_nomad_failed_requests_total" => Q::PluginFailures,
        "coredns_nodecache_setup_errors_total" => Q::SetupErrors,
        "process_cpu_seconds_total" => Q::CpuSeconds,
        _ => return Vec::new(),
    };
    vec![one]
}

fn requests(key: &SeriesKey, typed_too: bool) -> Vec<Quantity> {
    let mut found = vec![Quantity::Requests];
    match label(key, "proto") {
        "udp" | "" => {}
        "tcp" => found.push(Quantity::ProtoTcp),
        _ => found.push(Quantity::ProtoEncrypted),
    }
    if label(key, "family") == "2" {
        found.push(Quantity::FamilyIpv6);
    }
    // What CoreDNS calls the zone of a query that none of its server blocks is for.
    if label(key, "zone") == "dropped" {
        found.push(Quantity::Unserved);
    }
    if typed_too {
        found.extend(typed(key));
    }
    found
}

fn typed(key: &SeriesKey) -> Vec<Quantity> {
    let mut found = vec![Quantity::TypedRequests];
    match label(key, "type") {
        "A" => found.push(Quantity::TypeA),
        "AAAA" => found.push(Quantity::TypeAaaa),
        "PTR" => found.push(Quantity::TypePtr),
        "SRV" => found.push(Quantity::TypeSrv),
        _ => {}
    }
    found
}

fn responses(key: &SeriesKey) -> Vec<Quantity> {
    let mut found = vec![Quantity::Responses];
    match label(key, "rcode") {
        "NOERROR" => found.push(Quantity::Noerror),
        "NXDOMAIN" => found.push(Quantity::Nxdomain),
        "SERVFAIL" => found.push(Quantity::Servfail),
        "REFUSED" => found.push(Quantity::Refused),
        _ => {}
    }
    found
}

/// The share of SERVFAIL that one part of the server has.
fn coded(key: &SeriesKey) -> Vec<Tally> {
    match label(key, "rcode") {
        "SERVFAIL" => vec![Tally::Coded, Tally::Servfail],
        _ => vec![Tally::Coded],
    }
}

/// HTTP says 2xx when all is well, QUIC says 0.
fn encrypted_answers(key: &SeriesKey) -> Vec<Quantity> {
    let status = label(key, "status");
    let fine = status == "0" || status.starts_with('2');
    match fine {
        true => vec![Quantity::EncryptedAnswers],
        false => vec![Quantity::EncryptedAnswers, Quantity::EncryptedErrors],
    }
}

fn api_requests(key: &SeriesKey) -> Vec<Quantity> {
    let mut found = vec![Quantity::ApiRequests];
    // client-go writes `<error>` as the code of a request that got no answer.
    if !label(key, "code").starts_with('2') {
        found.push(Quantity::ApiErrors);
    }
    found
}

fn cache_hits(key: &SeriesKey) -> Quantity {
    match label(key, "type") {
        "denial" => Quantity::CacheHitsDenial,
        _ => Quantity::CacheHitsSuccess,
    }
}

/// `rest` is the name without the plugin's prefix: 1.11.0 moved `forward_*` to `proxy_*`.
fn upstream_role(key: &SeriesKey, rest: &str) -> Role {
    use Quantity as Q;
    let one = match rest {
        "request_duration_seconds_bucket" => return bucket(key, Histogram::Upstream),
        "request_duration_seconds_count" => {
            let (mut tallies, mut quantities) = (vec![Tally::Answers], vec![Q::UpstreamAnswers]);
            // Older generations also count answers by rcode in a family of their own.
            if key.name.starts_with("coredns_proxy_") {
                tallies.extend(coded(key));
                quantities.extend(upstream_rcodes(key));
            }
            return upstream(key, tallies, quantities);
        }
        "request_duration_seconds_sum" => {
            return upstream(key, vec![Tally::Seconds], vec![Q::UpstreamSeconds]);
        }
        "responses_total" | "response_rcode_count_total" => {
            return upstream(key, coded(key), upstream_rcodes(key));
        }
        "conn_cache_hits_total" => return connection(key, Q::ConnectionsReused),
        "conn_cache_misses_total" => return connection(key, Q::ConnectionsOpened),
        "healthcheck_failures_total" | "healthcheck_failure_count_total" => Q::HealthcheckFailures,
        "healthcheck_broken_total" | "healthcheck_broken_count_total" => Q::HealthcheckBroken,
        "max_concurrent_rejects_total" | "max_concurrent_reject_count_total" => {
            Q::ConcurrentRejects
        }
        _ => return Role::Unused,
    };
    Role::Counter(vec![one])
}

fn upstream(key: &SeriesKey, tallies: Vec<Tally>, quantities: Vec<Quantity>) -> Role {
    Role::Part {
        division: Division::Upstream,
        name: label(key, "to").to_owned(),
        tallies,
        quantities,
    }
}

fn upstream_rcodes(key: &SeriesKey) -> Vec<Quantity> {
    let mut found = vec![Quantity::UpstreamRcodes];
    match label(key, "rcode") {
        "NXDOMAIN" => found.push(Quantity::UpstreamNxdomain),
        "SERVFAIL" => found.push(Quantity::UpstreamServfail),
        "REFUSED" => found.push(Quantity::UpstreamRefused),
        _ => {}
    }
    found
}

fn connection(key: &SeriesKey, quantity: Quantity) -> Role {
    let mut quantities = vec![quantity];
    if label(key, "proto").starts_with("tcp") {
        quantities.push(Quantity::ConnectionsTcp);
    }
    Role::Counter(quantities)
}

fn bucket(key: &SeriesKey, histogram: Histogram) -> Role {
    let bound = match label(key, "le") {
        "+Inf" => Ok(f64::INFINITY),
        text => text.parse(),
    };
    match bound {
        Ok(bound) => Role::Bucket(histogram, bound),
        Err(_) => Role::Unused,
    }
}

fn label<'a>(key: &'a SeriesKey, name: &str) -> &'a str {
    key.labels.get(name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role_of(text: &str) -> Role {
        let at = text.find('{').unwrap_or(text.len());
        role(&SeriesKey { name: text[..at].into(), labels: text[at..].parse().unwrap() })
    }

    #[test]
    fn names_of_three_generations_meet() {
        for (old, new) in [
            ("coredns_panic_count_total", "coredns_panics_total"),
            ("coredns_cache_size{type=\"denial\"}", "coredns_cache_entries{view=\"\"}"),
            (
                "coredns_forward_request_duration_seconds_sum{to=\"a\"}",
                "coredns_proxy_request_duration_seconds_sum{to=\"a\",rcode=\"NOERROR\"}",
            ),
            (
                "coredns_dns_response_rcode_count_total{rcode=\"SERVFAIL\"}",
                "coredns_dns_responses_total{rcode=\"SERVFAIL\",plugin=\"errors\"}",
            ),
        ] {
            assert_ne!(role_of(old), Role::Unused, "{old}");
            assert_eq!(role_of(old), role_of(new), "{old} and {new}");
        }
    }

    #[test]
    fn a_health_bucket_is_never_used() {
        assert_eq!(
            role_of("coredns_health_request_duration_seconds_bucket{le=\"1\"}"),
            Role::Unused
        );
        assert_eq!(role_of("some_other_metric"), Role::Unused);
    }
}
