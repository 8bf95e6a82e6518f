//! Configuration files, each with what is expected of it in its comments: of a good one what it
//! comes to, of a bad one the message.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use oddns_collect::{Job, format_duration};
use oddns_serve::{Config, LearningSettings, check_config, config_table};

fn files(ending: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(ending));
    files.sort();
    assert!(files.len() > 3, "{files:?}");
    files
}

fn expected(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("# expect: ")).collect();
    lines.join("\n")
}

fn summary(config: &Config) -> String {
    let model = config.model.as_ref().map_or("none".into(), |path| path.display().to_string());
    let mut lines = vec![format!("listen {}, model {model}", config.listen_address)];
    for job in &config.jobs {
        for target in Job::new(job.clone()).static_targets().unwrap() {
            let (every, within) =
                (format_duration(target.interval), format_duration(target.timeout));
            lines.push(format!("{} {} every {every} within {within}", job.name, target.target));
        }
    }
    for alertmanager in &config.alerting.alertmanagers {
        let within = format_duration(alertmanager.timeout);
        lines.push(format!("tell {} within {within}", alertmanager.url));
    }
    if let Some(backfill) = &config.backfill {
        let (back, rate) =
            (backfill.look_back.map(format_duration), backfill.max_requests_per_second);
        let back = back.unwrap_or("as usual".to_owned());
        lines.push(format!(
            "history of {} {back} back, {rate}/s: {:?}",
            backfill.server, backfill.series
        ));
    }
    if let Some(budget) = config.alert_budget {
        let (tickets, pages) = (budget.tickets_per_week, budget.pages_per_week);
        lines.push(format!("budget {tickets} tickets and {pages} pages a week"));
    }
    for found in &config.alerting.discoveries {
        let (n, within) = (found.discoveries.len(), found.timeout.as_secs());
        let (scheme, prefix) = (&found.scheme, &found.path_prefix);
        lines.push(format!("tell who is found {n} ways by {scheme}, {prefix}, within {within}s"));
    }
    lines.extend(config.alerting.webhooks.iter().map(|w| format!("tell webhook {}", w.name)));
    lines.join("\n")
}

#[test]
fn good_files_come_to_what_they_say() {
    for file in files(".good.yml") {
        let text = std::fs::read_to_string(&file).unwrap();
        let found = check_config(&text, Path::new("")).map(|config| summary(&config));
        assert_eq!(found, Ok(expected(&text)), "{}", file.display());
    }
}

#[test]
fn bad_files_are_refused_with_place_and_advice() {
    for file in files(".bad.yml") {
        let text = std::fs::read_to_string(&file).unwrap();
        let found = check_config(&text, Path::new("")).map_err(|error| error.to_string());
        let found = found.map(|config| summary(&config)).expect_err(&file.display().to_string());
        assert!(found.starts_with(&expected(&text)), "{}: {found}", file.display());
    }
}

#[test]
fn the_receiver_is_configured_by_the_file() {
    let receiver = |text: &str| check_config(text, Path::new("")).map(|config| config.receiver);
    assert_eq!(receiver("remote_write_receiver: {max_servers: 9}"), Ok(None));
    let text = "remote_write_receiver: {enabled: true, max_servers: 9, max_waiting_size: 20MB, \
                forget_after: 1h}";
    let settings = receiver(text).unwrap().unwrap();
    assert_eq!((settings.gather.max_servers, settings.max_waiting_bytes), (9, 20 << 20));
    assert_eq!(settings.forget_after.as_secs(), 3600);
    for wrong in ["max_servers: 0", "max_waiting_size: 1MB", "forget_after: 1s"] {
        assert!(receiver(&format!("remote_write_receiver: {{{wrong}}}")).is_err(), "{wrong}");
    }
}

#[test]
fn learning_is_on_and_bounded() {
    let learning = |text: &str| check_config(text, Path::new("d")).map(|config| config.learning);
    assert_eq!(learning("").unwrap(), LearningSettings::default());
    let text = "learning: {interval: 7d, cpu_share: 0.1, registry: models, enabled: false}";
    let found = learning(text).unwrap();
    assert_eq!((found.interval.as_secs(), found.cpu_share), (7 * 86_400, 0.1));
    assert_eq!(found.registry_of(Path::new("x")), Path::new("d/models"));
    assert_eq!(learning("").unwrap().registry_of(Path::new("x")), Path::new("x/_models"));
    assert!(!found.enabled);
    for wrong in ["interval: 0s", "look_back: 1m", "min_rows: 0", "cpu_share: 0", "drift: 0"] {
        assert!(learning(&format!("learning: {{{wrong}}}")).is_err(), "{wrong}");
    }
}

#[test]
fn a_huge_file_is_not_read() {
    let error = check_config(&" ".repeat(2 << 20), Path::new("")).unwrap_err();
    assert!(error.message.contains("is it the right file?"), "{error}");
}

/// Keys by the key they stand under, out of the table for the documentation.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in config_table().lines().skip(2) {
        let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        keys.entry(cells[1].to_owned()).or_default().insert(cells[2].to_owned());
    }
    let http = keys.remove("HTTP").unwrap();
    for table in [
        "scrape_configs",
        "http_sd_configs",
        "kubernetes_sd_configs",
        "alertmanagers",
        "webhooks",
        "backfill",
        "remote_write",
    ] {
        keys.get_mut(table).unwrap().extend(http.clone());
    }
    keys
}

/// Keys that are read, as the refusal of another one lists them.
fn read(text: &str) -> BTreeSet<String> {
    let message = check_config(text, Path::new("")).unwrap_err().message;
    let (_, list) = message.split_once(": allowed here are ").expect(&message);
    list.split(", ").map(|key| key.trim_matches('`').to_owned()).collect()
}

#[test]
fn the_documentation_has_every_key_that_is_read() {
    let mut documented = documented();
    let mut check = |table: &str, text: &str| {
        let text = text.replace('@', "{qqqqqqqqqqqqqqqqqqqq: 1}");
        assert_eq!(documented.remove(table).unwrap(), read(&text), "{table}");
    };
    let job = |rest: &str| format!("scrape_configs: [{{job_name: a, {rest}}}]");
    check("", "@");
    check("global", "global: @");
    check("learning", "learning: @");
    check("own_models", "learning: {own_models: @}");
    check("backfill", "backfill: @");
    check("web", "web: @");
    check("remote_write_receiver", "remote_write_receiver: @");
    check("remote_write", "remote_write: [@]");
    check("queue_config", "remote_write: [{url: 'http://x', queue_config: @}]");
    check("alert_budget", "alert_budget: @");
    check("alerting", "alerting: @");
    check("alertmanagers", "alerting: {alertmanagers: [@]}");
    check("webhooks", "alerting: {webhooks: [@]}");
    check("scrape_configs", "scrape_configs: [@]");
    for table in ["basic_auth", "authorization", "tls_config"] {
        check(table, &job(&format!("{table}: @")));
    }
    for table in ["static", "file_sd", "http_sd", "dns_sd", "kubernetes_sd", "relabel"] {
        let table = format!("{table}_configs");
        check(&table, &job(&format!("{table}: [@]")));
    }
    for table in ["namespaces", "attach_metadata"] {
        check(table, &job(&format!("kubernetes_sd_configs: [{{{table}: @}}]")));
    }
    check("selectors", &job("kubernetes_sd_configs: [{selectors: [@]}]"));
    assert!(documented.is_empty(), "nothing reads {documented:?}");
}

#[test]
fn remote_write_is_checked_with_place_and_advice() {
    // The place is that of the arrow.
    for (text, expected) in [
        ("[{>name: a}]", "the key `url` is missing"),
        ("[{url: >''}]", "`url` is no address"),
        ("[{url: >'ftp://me:s3cret@x'}]", "`url` is no address"),
        ("[{url: 'http://x', name: >''}]", "`name` is empty"),
        (
            "[{url: 'http://x/a?b'}, {url: >'https://u:s3cret@x/a'}]",
            "remote write `x/a` is there twice",
        ),
        ("[{url: 'http://x', remote_timeout: >6m}]", "`remote_timeout` must be from 1ms to 5m"),
        ("[{url: 'http://x', headers: {'a b': >c}}]", "header \"a b\" has characters"),
        ("[{url: 'http://x', headers: {a: >\"s3cret\\n\"}}]", "header \"a\" has characters"),
        ("[{url: 'http://x', headers: {Host: >s3cret}}]", "header `Host` is not to be set"),
        ("[{url: 'http://x', >oauth2: {}}]", "`oauth2` of Prometheus is not supported"),
        ("[{url: 'http://x', queue_config: {capacity: >99}}]", "`capacity` must be from 100"),
        (
            "[{url: 'http://x', queue_config: {capacity: 500, max_samples_per_send: >501}}]",
            "`max_samples_per_send` must be from 1 to 500",
        ),
        (
            "[{url: 'http://x', queue_config: {min_backoff: 1m, max_backoff: >30s}}]",
            "`max_backoff` must be from 1m to 1h",
        ),
        (
            "[{url: 'http://x', write_relabel_configs: [{action: >jump}]}]",
            "action `jump` is not known",
        ),
    ] {
        let text = format!("remote_write: {text}");
        let column = text.find('>').unwrap() + 1;
        let error = check_config(&text.replace('>', ""), Path::new("")).unwrap_err().to_string();
        let expected = format!("line 1, column {column}: {expected}");
        assert!(error.starts_with(&expected), "{text}: {error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
    let text = "[{url: 'http://u:p@x:9090/api/v1/write?a=b', queue_config: {capacity: 500}}]";
    let config = check_config(&format!("remote_write: {text}"), Path::new("")).unwrap();
    let remote = &config.remote_write[0];
    assert_eq!(remote.name, "x:9090/api/v1/write");
    assert_eq!((remote.queue.capacity, remote.queue.max_samples_per_send), (500, 500));
}

#[test]
fn the_page_has_the_table() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/watch-a-server.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains(&config_table()), "put this table into the page:\n{}", config_table());
}

#[test]
fn files_are_looked_for_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let text = "scrape_configs:\n  - job_name: dns\n    basic_auth:\n      username: me\n      \
                password_file: password\n    file_sd_configs:\n      - files: [dns-*.yml]\n";
    let config = check_config(text, folder.path()).unwrap();
    let error = config.check_files().unwrap_err().remove(0);
    assert_eq!((error.line, error.column), (5, 22));
    let message =
        format!("cannot read `{}` of `password_file`", folder.path().join("password").display());
    assert!(error.message.starts_with(&message), "{error}");
    write("password", "hunter2");
    let warnings = config.check_files().unwrap();
    assert!(warnings[0].to_string().starts_with("line 7, column 17: no file `"), "{warnings:?}");
    write("dns-a.yml", "- targets: [a:1");
    assert!(config.check_files().unwrap_err()[0].message.contains("dns-a.yml`: line"));
    write("dns-a.yml", "- targets: [a:1]");
    assert_eq!(config.check_files(), Ok(vec![]));
}

#[test]
fn no_message_and_no_debug_output_shows_a_secret() {
    let text = "scrape_configs: [{job_name: a, basic_auth: {username: u, password: hunter2}, \
                proxy_url: 'http://u:hunter2@p:1', static_configs: [{targets: ['h:1']}]}, \
                {job_name: b, authorization: {credentials: hunter2}, http_sd_configs: \
                [{url: 'http://u:hunter2@h/?t=hunter2', bearer_token: hunter2}]}]";
    let config = check_config(text, Path::new("")).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    assert!(format!("{config:?}").contains("<secret>"));
    for wrong in ["hunter2 hunter2", "ftp://hunter2"] {
        let text = format!("scrape_configs: [{{job_name: a, proxy_url: '{wrong}'}}]");
        let error = check_config(&text, Path::new("")).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
