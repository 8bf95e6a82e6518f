//! The world around a server during one interval: what the clients, the upstream servers, the
//! machine and the cluster do. Faults change it; the server model only feels it.

use crate::scenario::Corefile;

/// Most upstream servers of a simulated CoreDNS.
pub(crate) const MAX_UPSTREAMS: usize = 8;

/// How one upstream server treats its queries. The default is the healthy one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct UpstreamState {
    /// Seconds that every answer takes longer.
    pub(crate) delay: f64,
    /// Further seconds, evenly drawn up to this.
    pub(crate) jitter: f64,
    /// Share of UDP queries without an answer.
    pub(crate) loss: f64,
    /// Share of answers that are SERVFAIL, REFUSED, or NXDOMAIN instead of what is true.
    pub(crate) servfail: f64,
    pub(crate) refused: f64,
    pub(crate) nxdomain: f64,
    /// Takes queries and answers none.
    pub(crate) dead: bool,
    /// Its port is closed: the system refuses each packet at once.
    pub(crate) closed: bool,
    /// Share of UDP answers that are cut, which sends the client to TCP.
    pub(crate) truncated: f64,
    /// Queries it answers in a second.
    pub(crate) most_per_second: f64,
}

impl Default for UpstreamState {
    fn default() -> Self {
        Self {
            delay: 0.0,
            jitter: 0.0,
            loss: 0.0,
            servfail: 0.0,
            refused: 0.0,
            nxdomain: 0.0,
            dead: false,
            closed: false,
            truncated: 0.0,
            most_per_second: f64::INFINITY,
        }
    }
}

/// Everything that faults can change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conditions {
    // Clients.
    /// Times the usual lookups.
    pub(crate) lookups: f64,
    /// Questions a second for names that do not exist, for names nobody asked before, and for one
    /// name again and again; for the whole fleet.
    pub(crate) flood: f64,
    pub(crate) unique: f64,
    pub(crate) hot: f64,
    /// Times each question is asked at once.
    pub(crate) copies: f64,
    /// Share of the search-path lookups that are written with the dot at the end instead.
    pub(crate) qualified: f64,
    /// Times the lookups of outside names, all of them through the search path; `None` is the usual.
    pub(crate) searched: Option<f64>,
    /// Weight of SRV, PTR and TXT lookups that come on top.
    pub(crate) odd_types: f64,
    /// Share of lookups over TCP; `None` is the usual.
    pub(crate) tcp: Option<f64>,
    /// Share of questions lost on the way to the server, of AAAA and of all.
    pub(crate) lost_aaaa: f64,
    pub(crate) lost: f64,
    /// Times the usual share of the clients that this server has.
    pub(crate) balance: f64,
    /// Encrypted streams a second that are opened and held.
    pub(crate) streams: f64,

    // Upstream.
    pub(crate) upstreams: [UpstreamState; MAX_UPSTREAMS],
    /// The upstream servers of the stub zone, after those of the root.
    pub(crate) stub: UpstreamState,
    /// Only the first upstream server is used.
    pub(crate) sequential: bool,
    /// Exchanges under way at a time; more are refused.
    pub(crate) max_concurrent: f64,
    /// Upstream exchanges for each one that a client caused.
    pub(crate) amplification: f64,
    /// Health checks of upstream servers run in a busy loop.
    pub(crate) busy_health_checks: bool,
    /// Times the usual share of new connections to upstream.
    pub(crate) new_connections: f64,

    // Cache.
    /// Longest time that an entry is good.
    pub(crate) most_ttl: f64,
    /// Names of the cluster are not cached.
    pub(crate) cluster_uncached: bool,
    /// Entries each cache holds; `None` is the usual.
    pub(crate) capacity: Option<f64>,
    /// Share of misses that the cache does not count and forwards.
    pub(crate) hidden_misses: f64,

    // Process.
    /// Times the usual CPU time of a query.
    pub(crate) cpu_cost: f64,
    /// Share of the time that the process may run.
    pub(crate) cpu_quota: f64,
    pub(crate) frozen: bool,
    /// Bytes, goroutines and files a second that are never given back.
    pub(crate) leaked_bytes: f64,
    pub(crate) leaked_goroutines: f64,
    pub(crate) leaked_files: f64,
    /// Panics a second, each recovered.
    pub(crate) panics: f64,
    /// Memory limit in bytes; at it the process is killed.
    pub(crate) memory_limit: f64,
    /// Queries each query causes by being sent to the server itself.
    pub(crate) looped: f64,

    // Kubernetes.
    /// Times the usual changes of services and endpoints.
    pub(crate) churn: f64,
    /// Changes a second that come on top.
    pub(crate) churned: f64,
    /// The API says nothing any more.
    pub(crate) api_silent: bool,
    /// Share of API requests that fail, and how many are made a second because of it.
    pub(crate) api_errors: f64,
    /// Seconds that a change takes longer to be programmed.
    pub(crate) programming_delay: f64,
    /// Share of the services that the server does not know.
    pub(crate) unknown_services: f64,

    // Telemetry.
    /// Share of scrapes that fail.
    pub(crate) scrapes_failed: f64,
    /// Seconds that a scrape takes longer.
    pub(crate) scrape_delay: f64,
    /// The server answers scrapes without its own metrics.
    pub(crate) own_metrics_absent: bool,
    /// Share of its metric families that are gone.
    pub(crate) families_lost: f64,

    // What happens once, at the end of the interval before.
    pub(crate) restarts: bool,
    pub(crate) reloads: bool,
    pub(crate) reload_fails: bool,
    /// Restarted with another release, or with the usual one after that.
    pub(crate) upgraded: bool,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            lookups: 1.0,
            flood: 0.0,
            unique: 0.0,
            hot: 0.0,
            copies: 1.0,
            qualified: 0.0,
            searched: None,
            odd_types: 0.0,
            tcp: None,
            lost_aaaa: 0.0,
            lost: 0.0,
            balance: 1.0,
            streams: 0.0,
            upstreams: [UpstreamState::default(); MAX_UPSTREAMS],
            stub: UpstreamState::default(),
            sequential: false,
            max_concurrent: 1000.0,
            amplification: 1.0,
            busy_health_checks: false,
            new_connections: 1.0,
            most_ttl: f64::INFINITY,
            cluster_uncached: false,
            capacity: None,
            hidden_misses: 0.0,
            cpu_cost: 1.0,
            cpu_quota: 1.0,
            frozen: false,
            leaked_bytes: 0.0,
            leaked_goroutines: 0.0,
            leaked_files: 0.0,
            panics: 0.0,
            memory_limit: f64::INFINITY,
            looped: 0.0,
            churn: 1.0,
            churned: 0.0,
            api_silent: false,
            api_errors: 0.0,
            programming_delay: 0.0,
            unknown_services: 0.0,
            scrapes_failed: 0.0,
            scrape_delay: 0.0,
            own_metrics_absent: false,
            families_lost: 0.0,
            restarts: false,
            reloads: false,
            reload_fails: false,
            upgraded: false,
        }
    }
}

impl Conditions {
    /// Nothing wrong, with what the configuration makes of it.
    pub(crate) fn usual(corefile: Corefile) -> Self {
        Self {
            max_concurrent: corefile.max_concurrent(),
            cluster_uncached: !corefile.caches_cluster(),
            capacity: corefile.cache_entries(),
            ..Self::default()
        }
    }

    /// Changes every upstream server of the root zone.
    pub(crate) fn each_upstream(&mut self, change: impl Fn(&mut UpstreamState)) {
        self.upstreams.iter_mut().for_each(change);
    }
}
