//! Targets that come and go by files, by a server and by the DNS.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use oddns_collect::{
    Discovery, DnsDiscovery, FileDiscovery, HttpConfig, HttpDiscovery, Job, JobConfig, LabelMap,
    RecordType, ScrapeLimits,
};
use tokio::net::UdpSocket;

use crate::journal::{Watching, metrics, ok, serve};

const SOON: Duration = Duration::from_millis(100);

fn job(name: &str, discovery: Discovery) -> JobConfig {
    let discoveries = vec![discovery];
    JobConfig { interval: SOON, timeout: SOON, discoveries, ..JobConfig::new(name) }
}

fn fixed(addresses: &[&str]) -> Discovery {
    let target =
        |address: &&str| LabelMap::from([("__address__".to_owned(), (*address).to_owned())]);
    Discovery::targets(addresses.iter().map(target).collect())
}

fn files(path: &Path) -> Discovery {
    Discovery::File(FileDiscovery { patterns: vec![path.join("*.yml")], refresh_interval: SOON })
}

#[tokio::test]
async fn files_bring_and_take_targets_without_touching_others() {
    let server = serve(|_| metrics()).await;
    let port = server.rsplit_once(':').unwrap().1.to_owned();
    let folder = tempfile::tempdir().unwrap();
    let list = |hosts: &[&str]| {
        let targets: Vec<String> = hosts.iter().map(|host| format!("{host}:{port}")).collect();
        let text = format!("- targets: [{}]\n  labels: {{zone: eu}}\n", targets.join(", "));
        std::fs::write(folder.path().join("dns.yml"), text).unwrap();
    };
    list(&["127.0.0.1", "127.0.0.2"]);
    let mut watching = Watching::start(vec![Job::new(job("dns", files(folder.path())))]);
    let opened = watching.until(&format!("open 127.0.0.2:{port}")).await;
    let labels = format!("{{instance=\"127.0.0.2:{port}\",job=\"dns\",zone=\"eu\"}}");
    assert!(opened.last().unwrap().ends_with(&labels), "{opened:?}");
    watching.until(&format!("127.0.0.2:{port} up")).await;
    // A file that breaks keeps the last good list, and is told of once.
    std::fs::write(folder.path().join("dns.yml"), "- target: []\n").unwrap();
    let failed = watching.until("failed content").await;
    assert!(!failed.iter().any(|line| line.starts_with("close")), "{failed:?}");
    watching.until(&format!("127.0.0.1:{port} up")).await;
    list(&["127.0.0.1", "127.0.0.3"]);
    let changed = watching.until(&format!("open 127.0.0.3:{port}")).await;
    let of_first = |line: &&String| {
        line.starts_with(&format!("close 127.0.0.1:{port}"))
            || line.starts_with(&format!("open 127.0.0.1:{port}"))
    };
    assert_eq!(changed.iter().find(of_first), None, "{changed:?}");
    assert!(changed.contains(&format!("close 127.0.0.2:{port} Vanished")), "{changed:?}");
}

#[tokio::test]
async fn two_of_one_name_and_too_many_are_told() {
    let server = serve(|_| metrics()).await;
    let mut limited = job("limited", fixed(&["127.0.0.5:1", "127.0.0.6:1"]));
    limited.limits = ScrapeLimits { targets: 1, ..ScrapeLimits::default() };
    let jobs = [job("one", fixed(&[&server])), job("two", fixed(&[&server])), limited];
    let mut watching = Watching::start(jobs.into_iter().map(Job::new).collect());
    let lines = watching.until("127.0.0.5:1 target_limit").await;
    let refused = lines.iter().filter(|line| line.starts_with("refused")).collect::<Vec<_>>();
    assert_eq!(refused.len(), 1, "{lines:?}");
    assert!(refused[0].contains("has a second target with the instance"), "{refused:?}");
    watching.until(&format!("{server} up")).await;
}

#[tokio::test]
async fn a_server_lists_targets_and_fails_without_harm() {
    let n_asked = Arc::new(AtomicUsize::new(0));
    let server = serve(move |request| {
        if request.contains("/metrics") {
            return metrics();
        }
        match n_asked.fetch_add(1, Ordering::Relaxed) {
            0 => ok(
                "application/json; charset=utf-8",
                r#"[{"targets": ["127.0.0.7:9"], "labels": {"zone": "eu"}}]"#,
            ),
            1 => "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_owned(),
            2 => ok("text/html", "<html>sign in</html>"),
            3 => ok("application/json", r#"[{"targets": "#),
            _ => ok("application/json", "[]"),
        }
    })
    .await;
    let url = format!("http://me:hunter2@{server}/targets?token=hunter2");
    let discovery = HttpDiscovery::new(&url, SOON, HttpConfig::default()).unwrap();
    let mut watching =
        Watching::start(vec![Job::new(job("dns", Discovery::Http(Box::new(discovery))))]);
    let lines = watching.until("close 127.0.0.7:9").await;
    let shown: Vec<String> = lines
        .iter()
        .filter(|line| !line.starts_with("127") && !line.starts_with("dns has"))
        .map(|line| line.replace(&server, "SERVER"))
        .collect();
    assert_eq!(
        shown,
        [
            "open 127.0.0.7:9 {instance=\"127.0.0.7:9\",job=\"dns\",zone=\"eu\"}",
            "failed answer: `http://***@SERVER/targets?***` answered 503 Service Unavailable",
            "failed answer: `http://***@SERVER/targets?***` does not answer with `Content-Type: application/json`",
            "failed content: `http://***@SERVER/targets?***`: line 1, column 13: EOF while parsing a value",
            "close 127.0.0.7:9 Vanished",
        ]
    );
}

/// Answers each question over UDP with one SRV record of `host` and port 9153, or an A record.
async fn dns_server(host: &'static str) -> std::net::SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut question = [0; 512];
        loop {
            let (_, from) = socket.recv_from(&mut question).await.unwrap();
            let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            let mut answer = question[..end].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
            let kind = answer[end - 3];
            let mut data = vec![10, 0, 0, 8];
            if kind == 33 {
                data = vec![0, 0, 0, 0, 0x23, 0xc1];
                for label in host.split('.') {
                    data.push(label.len() as u8);
                    data.extend(label.as_bytes());
                }
                data.push(0);
            }
            answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 5, 0, data.len() as u8]);
            answer.extend(data);
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn names_in_the_dns_become_targets() {
    let server = dns_server("pod-1.dns").await;
    let dns = |record_type| {
        Discovery::Dns(DnsDiscovery {
            names: vec!["_metrics._tcp.dns.".to_owned()],
            record_type,
            port: 9253,
            refresh_interval: SOON,
            servers: vec![server],
        })
    };
    let jobs =
        vec![Job::new(job("srv", dns(RecordType::Srv))), Job::new(job("a", dns(RecordType::A)))];
    let mut watching = Watching::start(jobs);
    let mut lines = watching.until("open ").await;
    lines.extend(watching.until("open ").await);
    lines.retain(|line| line.starts_with("open"));
    lines.sort();
    assert_eq!(
        lines,
        [
            "open 10.0.0.8:9253 {instance=\"10.0.0.8:9253\",job=\"a\"}",
            "open pod-1.dns:9153 {instance=\"pod-1.dns:9153\",job=\"srv\"}",
        ]
    );
}

#[tokio::test]
async fn a_dns_that_is_silent_is_told() {
    let silent = Discovery::Dns(DnsDiscovery {
        names: vec!["dns.example.".to_owned(), "a..b".to_owned()],
        record_type: RecordType::A,
        port: 1,
        refresh_interval: SOON,
        // Nothing listens there, and the kernel says so.
        servers: vec!["127.0.0.1:1".parse().unwrap()],
    });
    let mut watching = Watching::start(vec![Job::new(job("dns", silent))]);
    watching.until("failed dns: cannot look up `dns.example.`").await;
    watching.until("failed dns: cannot look up `a..b`").await;
}
