//! Every key of the configuration file, in one table: the documentation is made of it, and a test
//! holds it against what is read.

/// A key of the configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// The key it stands under; empty for the file itself.
    pub(super) table: &'static str,
    /// Its name.
    pub(super) name: &'static str,
    /// What holds when it is left out; empty where nothing does, and `required` where it must be.
    pub(super) default: &'static str,
    /// What it means, in one sentence.
    pub(super) meaning: &'static str,
}

/// A key of Prometheus that oddns does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Foreign {
    /// Its name.
    pub(super) name: &'static str,
    /// What to do instead.
    pub(super) advice: &'static str,
}

/// Keys of Prometheus that do not concern oddns, by the key they stand under: people paste whole
/// files. They are told, and passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unused {
    /// The key they stand under; empty for the file itself.
    pub(super) table: &'static str,
    /// Their names.
    pub(super) names: &'static [&'static str],
}

/// All of them.
#[rustfmt::skip]
pub(super) const UNUSED: &[Unused] = &[
    Unused { table: "alerting", names: &["alert_relabel_configs"] },
    Unused { table: "alertmanagers", names: &["alert_relabel_configs"] },
    Unused { table: "", names: &[
        "rule_files", "remote_read", "tracing", "storage", "otlp", "runtime",
    ] },
    Unused { table: "remote_write", names: &[
        "metadata_config", "protobuf_message", "round_robin_dns", "send_exemplars",
        "send_native_histograms",
    ] },
    Unused { table: "queue_config", names: &[
        "max_shards", "min_shards", "retry_on_http_429", "sample_age_limit",
    ] },
    Unused { table: "global", names: &[
        "evaluation_interval", "rule_query_offset", "query_log_file", "scrape_failure_log_file",
        "keep_dropped_targets", "metric_name_validation_scheme", "metric_name_escaping_scheme",
        "scrape_native_histograms", "scrape_classic_histograms",
        "always_scrape_classic_histograms", "convert_classic_histograms_to_nhcb",
        "extra_scrape_metrics",
    ] },
    Unused { table: "scrape_configs", names: &[
        "scrape_failure_log_file", "track_timestamps_staleness", "fallback_scrape_protocol",
        "keep_dropped_targets", "native_histogram_bucket_limit",
        "native_histogram_min_bucket_factor", "scrape_native_histograms",
        "scrape_classic_histograms", "always_scrape_classic_histograms",
        "convert_classic_histograms_to_nhcb", "metric_name_validation_scheme",
        "metric_name_escaping_scheme", "extra_scrape_metrics",
    ] },
];

const fn key(
    table: &'static str,
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { table, name, default, meaning }
}

/// Every key, table by table in the order of the documentation.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    key("", "version", "`1`", "version of this format"),
    key("", "model", "the base model", "the `.keras` file"),
    key("", "global", "", "what holds for every job"),
    key("", "scrape_configs", "", "jobs: what to watch"),
    key("", "alerting", "", "whom to tell of incidents"),
    key("", "learning", "", "how the model is updated while the service runs, where `--storage.path` names a history; see [keep-the-model-current.md](keep-the-model-current.md)"),
    key("", "backfill", "", "a Prometheus whose history the watch begins with; see [history of a Prometheus](#history-of-a-prometheus)"),
    key("", "alert_budget", "as trained", "how many false alerts the whole fleet may have; see [alerts.md](alerts.md)"),
    key("", "web", "", "the page and the API"),
    key("", "remote_write", "", "whom to give scores to; see [remote write](#remote-write)"),
    key("", "remote_write_receiver", "", "what a Prometheus sends; see [receive-remote-write.md](receive-remote-write.md)"),
    key("global", "scrape_interval", "`15s`", "time between scrapes, from `100ms` to `1h`"),
    key("global", "scrape_timeout", "`10s` or the interval", "longest time for a scrape"),
    key("global", "scrape_protocols", "text 0.0.4, then OpenMetrics", "formats to ask for, the most wanted first"),
    key("global", "body_size_limit", "`64MB`", "what holds for every job"),
    key("global", "sample_limit", "none", "what holds for every job"),
    key("global", "label_limit", "none", "what holds for every job"),
    key("global", "label_name_length_limit", "none", "what holds for every job"),
    key("global", "label_value_length_limit", "none", "what holds for every job"),
    key("global", "target_limit", "none", "what holds for every job"),
    key("global", "external_labels", "", "labels that tell this site from others"),
    key("web", "listen_address", "`127.0.0.1:8753`", "where the page and the API listen"),
    key("remote_write", "url", "required", "address of somebody who takes remote writes, such as `http://prometheus:9090/api/v1/write`"),
    key("remote_write", "name", "host, port and path of `url`", "name in metrics and events"),
    key("remote_write", "remote_timeout", "`30s`", "longest time for one request, `1ms` to `5m`"),
    key("remote_write", "headers", "", "headers of each request, such as a tenant"),
    key("remote_write", "write_relabel_configs", "", "rules over series; as `relabel_configs`"),
    key("remote_write", "queue_config", "", "how much waits, and how it is sent"),
    key("queue_config", "capacity", "`100000`", "samples that wait at most, 100 to 10,000,000; then the oldest are dropped"),
    key("queue_config", "max_samples_per_send", "`2000`", "samples in one request, 1 to 50,000 and at most `capacity`; those of one score stay together"),
    key("queue_config", "batch_send_deadline", "`5s`", "time for which a sample waits for others, `1ms` to `1h`"),
    key("queue_config", "min_backoff", "`30ms`", "wait after a first failure; it doubles with each further one"),
    key("queue_config", "max_backoff", "`5s`", "longest wait after a failure, `1h` at most; a `Retry-After` counts instead"),
    key("remote_write_receiver", "enabled", "`false`", "take remote writes, as `--web.enable-remote-write-receiver` does"),
    key("remote_write_receiver", "max_servers", "`1000`", "CoreDNS servers that are judged; more are kept alone"),
    key("remote_write_receiver", "max_waiting_size", "`64MB`", "requests that wait or are being read, together; beyond that senders are told to slow down"),
    key("remote_write_receiver", "forget_after", "`2h`", "a series without a sample for so long is forgotten, `5m` at least"),

    key("backfill", "url", "required", "address of a Prometheus, or of what speaks its HTTP API"),
    key("backfill", "look_back", "`14d` with `--storage.path`, else `2d`", "how far back history is fetched, `10m` to `90d`"),
    key("backfill", "jobs", "all", "jobs of that Prometheus whose CoreDNS servers are fetched"),
    key("backfill", "series_selector", "", "a PromQL selector of what is fetched, instead of `jobs`"),
    key("backfill", "max_requests_per_second", "`5`", "how often it is asked at most, 0.01 to 100"),
    key("backfill", "timeout", "`60s`", "longest time for one answer, `1s` to `10m`"),

    key("learning", "enabled", "`true`", "update the model"),
    key("learning", "interval", "`1d`", "time from one update to the next, `1s` to `90d`"),
    key("learning", "look_back", "`14d`", "how far back an update looks, `1h` to `90d`"),
    key("learning", "min_rows", "`5760`", "rows of all servers without which an update waits: a day of one server at 15 s"),
    key("learning", "cpu_share", "`0.25`", "part of one processor that an update takes, 0.01 to 1"),
    key("learning", "settles_after", "`2d`", "time that a change which harms nobody stays until it is normal, `1h` to `90d`"),
    key("learning", "drift", "`1.0`", "standard deviations that a feature moves over all servers before an update comes after a quarter of the interval, 0.1 to 100"),
    key("learning", "own_models", "", "models of single servers, where the shared one fits badly"),
    key("learning", "registry", "`_models` in the history", "folder of generations; see `oddns model`"),
    key("own_models", "max", "`8`", "so many servers may have one, 0 to 64; 0 for none"),

    key("alerting", "alertmanagers", "", "Alertmanagers; each one is told everything"),
    key("alerting", "webhooks", "", "addresses that a message is sent to when an incident begins, worsens or is over"),
    key("alert_budget", "tickets", "as `pages`", "false alerts of any urgency, such as `1/day`; a number for each `hour`, `day`, `week` or `month`"),
    key("alert_budget", "pages", "as `tickets`", "urgent ones, with severity `critical`, such as `1/week`"),
    key("alertmanagers", "static_configs", "", "`host:port` of each one"),
    key("alertmanagers", "file_sd_configs", "", "files that list some; this and the next ones as under `scrape_configs`"),
    key("alertmanagers", "http_sd_configs", "", "servers that list some"),
    key("alertmanagers", "dns_sd_configs", "", "names in the DNS"),
    key("alertmanagers", "kubernetes_sd_configs", "", "some of a Kubernetes cluster"),
    key("alertmanagers", "relabel_configs", "", "what becomes of the labels of each, with `__address__`, `__scheme__` and `__alerts_path__`"),
    key("alertmanagers", "scheme", "`http`", "`http` or `https`"),
    key("alertmanagers", "path_prefix", "`/`", "path before `/api/v2/alerts`"),
    key("alertmanagers", "api_version", "`v2`", "only `v2` is spoken"),
    key("alertmanagers", "timeout", "`10s`", "longest time for one request"),
    key("webhooks", "name", "required", "name in metrics and events"),
    key("webhooks", "url", "", "address; it, or `url_file`, is required"),
    key("webhooks", "url_file", "", "file with the address"),
    key("webhooks", "format", "`slack`", "`slack`: a JSON text, as Slack, Mattermost and others take it; `alertmanager`: the payload of Alertmanager's webhooks"),
    key("webhooks", "group_wait", "`30s`", "time before the first message, in which other servers may join and the cause become clear"),
    key("webhooks", "send_resolved", "`true`", "tell that an incident is over"),
    key("webhooks", "timeout", "`10s`", "longest time for one request"),

    key("scrape_configs", "job_name", "required", "name of the job; its targets are taken for replicas and compared with each other"),
    key("scrape_configs", "scrape_interval", "the global one", "time between scrapes"),
    key("scrape_configs", "scrape_timeout", "the global one", "longest time for a whole scrape"),
    key("scrape_configs", "metrics_path", "`/metrics`", "path of the metrics"),
    key("scrape_configs", "scheme", "`http`", "`http` or `https`"),
    key("scrape_configs", "params", "", "parameters of the request"),
    key("scrape_configs", "honor_labels", "`false`", "for `metric_relabel_configs`: a label of the server hides the target's label of the same name"),
    key("scrape_configs", "honor_timestamps", "`true`", "leave out a sample whose own timestamp is more than 5 minutes behind or 10 ahead; what is taken has the time of its scrape"),
    key("scrape_configs", "enable_compression", "`true`", "ask for gzip"),
    key("scrape_configs", "scrape_protocols", "text 0.0.4, then OpenMetrics", "formats to ask for, the most wanted first"),
    key("scrape_configs", "body_size_limit", "`64MB`", "bytes of an answer after decompression; more fails the scrape"),
    key("scrape_configs", "sample_limit", "250,000", "samples after relabelling; more fails the scrape"),
    key("scrape_configs", "label_limit", "128", "labels of a series, its name and the target's labels included; more fails the scrape"),
    key("scrape_configs", "label_name_length_limit", "1024", "bytes of a label name; more fails the scrape"),
    key("scrape_configs", "label_value_length_limit", "16384", "bytes of a label value; more fails the scrape"),
    key("scrape_configs", "target_limit", "", "targets after relabelling; with more, none of the job is scraped"),
    key("scrape_configs", "static_configs", "", "targets that stand here"),
    key("scrape_configs", "file_sd_configs", "", "targets that stand in files"),
    key("scrape_configs", "http_sd_configs", "", "targets that a server lists"),
    key("scrape_configs", "dns_sd_configs", "", "targets in the DNS"),
    key("scrape_configs", "kubernetes_sd_configs", "", "targets in a cluster"),
    key("scrape_configs", "relabel_configs", "", "rules over targets"),
    key("scrape_configs", "metric_relabel_configs", "", "rules over series"),

    key("basic_auth", "username", "", "user name"),
    key("basic_auth", "username_file", "", "file with the user name"),
    key("basic_auth", "password", "", "password"),
    key("basic_auth", "password_file", "", "file with the password"),
    key("authorization", "type", "`Bearer`", "word before the credentials"),
    key("authorization", "credentials", "", "token"),
    key("authorization", "credentials_file", "", "file with the token"),
    key("tls_config", "ca", "", "certificates to trust, in PEM"),
    key("tls_config", "ca_file", "the system's", "file with certificates to trust"),
    key("tls_config", "cert", "", "our certificate, in PEM"),
    key("tls_config", "cert_file", "", "file with our certificate"),
    key("tls_config", "key", "", "our key, in PEM"),
    key("tls_config", "key_file", "", "file with our key"),
    key("tls_config", "server_name", "the target's host", "name that the server's certificate must have"),
    key("tls_config", "insecure_skip_verify", "`false`", "trust any certificate"),
    key("tls_config", "min_version", "`TLS12`", "`TLS12` or `TLS13`; older ones are never spoken"),

    key("static_configs", "targets", "", "`host:port` of each server"),
    key("static_configs", "labels", "", "labels of these targets"),
    key("file_sd_configs", "files", "required", "JSON or YAML files, the last part of a path with one `*` at most"),
    key("file_sd_configs", "refresh_interval", "`5m`", "a change is seen within 5 seconds all the same"),
    key("http_sd_configs", "url", "required", "address of the list"),
    key("http_sd_configs", "refresh_interval", "`60s`", "time between two questions"),
    key("dns_sd_configs", "names", "required", "names to look up"),
    key("dns_sd_configs", "type", "`SRV`", "`A`, `AAAA` or `SRV`"),
    key("dns_sd_configs", "port", "", "port of targets found by `A` and `AAAA`"),
    key("dns_sd_configs", "refresh_interval", "`30s`", "time between two look-ups"),
    key("kubernetes_sd_configs", "role", "required", "`pod`, `endpointslice`, `endpoints`, `service` or `node`"),
    key("kubernetes_sd_configs", "api_server", "the service account's", "address of the API"),
    key("kubernetes_sd_configs", "kubeconfig_file", "", "kubeconfig to use instead of the service account"),
    key("kubernetes_sd_configs", "namespaces", "all", "where to look"),
    key("kubernetes_sd_configs", "selectors", "", "what to look for"),
    key("kubernetes_sd_configs", "attach_metadata", "", "what else to know of a target"),
    key("namespaces", "own_namespace", "`false`", "the one that oddns runs in"),
    key("namespaces", "names", "", "these ones"),
    key("selectors", "role", "required", "kind of object: a role"),
    key("selectors", "label", "", "label selector"),
    key("selectors", "field", "", "field selector"),
    key("attach_metadata", "node", "`false`", "labels of the node that a pod runs on"),

    key("relabel_configs", "source_labels", "", "labels whose values are joined"),
    key("relabel_configs", "separator", "`;`", "what joins them"),
    key("relabel_configs", "regex", "`(.*)`", "pattern for the whole value, in the syntax of Go"),
    key("relabel_configs", "modulus", "", "number of buckets of `hashmod`"),
    key("relabel_configs", "target_label", "", "label to set"),
    key("relabel_configs", "replacement", "`$1`", "what to set it to"),
    key("relabel_configs", "action", "`replace`", "`replace`, `keep`, `drop`, `keepequal`, `dropequal`, `hashmod`, `labelmap`, `labeldrop`, `labelkeep`, `lowercase` or `uppercase`"),
];

/// The keys about HTTP, which stand in `scrape_configs`, `http_sd_configs`, `kubernetes_sd_configs`,
/// `alertmanagers`, `webhooks` and `backfill`
/// alike.
#[rustfmt::skip]
pub(super) const HTTP_KEYS: &[Key] = &[
    key("HTTP", "basic_auth", "", "user name and password"),
    key("HTTP", "authorization", "", "a token"),
    key("HTTP", "bearer_token", "", "a token, the older way"),
    key("HTTP", "bearer_token_file", "", "file with a token, the older way"),
    key("HTTP", "tls_config", "", "whom to trust, and as whom to be known"),
    key("HTTP", "proxy_url", "", "proxy for the requests"),
    key("HTTP", "follow_redirects", "`true`", "go where an answer sends us, with credentials only to the same host"),
    key("HTTP", "enable_http2", "", "read and ignored: HTTP 1.1 is spoken"),
];

/// Keys of Prometheus that people have in their files and oddns does not read.
#[rustfmt::skip]
pub(super) const FOREIGN: &[Foreign] = &[
    Foreign { name: "evaluation_interval", advice: "oddns has no rules; leave it out" },
    Foreign { name: "rule_files", advice: "oddns has no rules; leave it out" },
    Foreign { name: "scrape_config_files", advice: "write the jobs under `scrape_configs`" },
    Foreign { name: "oauth2", advice: "let another program fetch the token, and name its file by `authorization.credentials_file`" },
    Foreign { name: "sigv4", advice: "put a proxy before the server that signs requests" },
    Foreign { name: "azuread", advice: "put a proxy before the server that adds tokens" },
    Foreign { name: "google_iam", advice: "put a proxy before the server that adds tokens" },
    Foreign { name: "http_headers", advice: "put a proxy before the server that adds headers" },
    Foreign { name: "proxy_from_environment", advice: "name the proxy by `proxy_url`" },
    Foreign { name: "no_proxy", advice: "split the job in two, one with `proxy_url`" },
    Foreign { name: "proxy_connect_header", advice: "put a proxy before it that needs none" },
    Foreign { name: "max_version", advice: "the newest version both sides speak is used; leave it out" },
    Foreign { name: "username_ref", advice: "use `username_file`" },
    Foreign { name: "password_ref", advice: "use `password_file`" },
    Foreign { name: "credentials_ref", advice: "use `credentials_file`" },
    Foreign { name: "ca_ref", advice: "use `ca_file`" },
    Foreign { name: "cert_ref", advice: "use `cert_file`" },
    Foreign { name: "key_ref", advice: "use `key_file`" },
    Foreign { name: "azure_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "consul_sd_configs", advice: "use `dns_sd_configs` with Consul's DNS, or `file_sd_configs`" },
    Foreign { name: "digitalocean_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "docker_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "dockerswarm_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "ec2_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "eureka_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "gce_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "hetzner_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "ionos_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "kuma_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "lightsail_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "linode_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "marathon_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "nerve_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "nomad_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "openstack_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "ovhcloud_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "puppetdb_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "scaleway_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "serverset_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "stackit_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "triton_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "uyuni_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
    Foreign { name: "vultr_sd_configs", advice: "let another program write targets for `file_sd_configs`" },
];

/// The table of all keys in Markdown, as it stands in the documentation.
pub fn config_table() -> String {
    let mut text = "| under | key | default | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for key in KEYS.iter().chain(HTTP_KEYS) {
        let table = match key.table {
            "" | "HTTP" => key.table.to_owned(),
            table => format!("`{table}`"),
        };
        let line = format!("| {table} | `{}` | {} | {} |\n", key.name, key.default, key.meaning);
        text.push_str(&line.replace("|  |", "| |"));
    }
    text
}
