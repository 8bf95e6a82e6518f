//! Incidents go to real Alertmanagers and to webhooks, over restarts on either side.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oddns::{IncidentEvent, State, Step};
use oddns_collect::{Discovery, FileDiscovery, HttpConfig, Secret, SecretSource, wall_clock};
use oddns_core::{Cause, Incident, Labels, Score, Severity, Timestamp};
use oddns_serve::{
    Alerting, AlertingConfig, AlertmanagerConfig, AlertmanagerDiscovery, Event, Shared, Site,
    StateFolder, View, WebhookConfig, WebhookFormat,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::client::get;
use crate::has_peers;

/// The service, as far as it concerns incidents.
struct Service {
    shared: Arc<Shared>,
    alerting: Alerting,
    events: mpsc::Receiver<Event>,
}

impl Service {
    fn start(config: &AlertingConfig, folder: &Path) -> Self {
        let shared = Shared::new(View::new("", true));
        let states = StateFolder::open(folder).unwrap();
        assert_eq!(shared.keep_incidents(&states, wall_clock()), [""; 0]);
        let (sender, events) = mpsc::channel(100);
        let site = Site {
            external_url: "http://oddns.example:8753".into(),
            external_labels: Labels::new(vec![("cluster".into(), "test".into())]),
        };
        let alerting = Alerting::start(config, &site, &shared, &sender);
        Self { shared, alerting, events }
    }

    async fn restart(self, config: &AlertingConfig, folder: &Path) -> Self {
        self.alerting.stop().await;
        drop((self.shared, self.events));
        Self::start(config, folder)
    }

    fn news(&self, event: IncidentEvent) {
        let time = wall_clock();
        let instance = event.incident().instance.clone();
        let score = Some(Score { time, score: 3.0, alarm: true, contributions: vec![] });
        let step = Step {
            time,
            row: vec![],
            expected: vec![],
            state: State::Scoring,
            score,
            incident: Some(event),
        };
        self.shared.take("dns", &instance, step, Duration::ZERO);
    }

    fn metric(&self, name: &str, destination: &str) -> f64 {
        let text = self.shared.metrics().expose("").text;
        let series = format!("{name}{{destination=\"{destination}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
    }
}

fn incident(instance: &str, start: Timestamp) -> Incident {
    Incident {
        id: format!("{instance}-{}", start.millis()),
        instance: instance.to_owned(),
        start,
        end: None,
        severity: Severity::Critical,
        peak_score: 3.0,
        peak: start,
        movements: vec![],
        cause: Cause {
            name: "upstream_failure",
            summary: "Upstream servers <do not> answer.",
            confidence: 0.9,
            next_steps: &["dig @<upstream> example.org"],
        },
        alternatives: Vec::new(),
    }
}

/// Polls until `found` gives something.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut found: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "it never came: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A server that takes what is posted to it, after as many failures as it is told.
#[derive(Clone)]
struct Hook {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl Hook {
    async fn start(n_failures: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hook = Self { address, bodies: Arc::default() };
        let bodies = Arc::clone(&hook.bodies);
        tokio::spawn(async move {
            let mut n = 0;
            while let Ok((mut stream, _)) = listener.accept().await {
                let body = read_body(&mut stream).await;
                n += 1;
                let status = if n <= n_failures { "500 Oops" } else { "200 OK" };
                if n > n_failures {
                    bodies.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                }
                let head =
                    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _ = stream.write_all(head.as_bytes()).await;
            }
        });
        hook
    }

    fn config(&self, format: WebhookFormat) -> WebhookConfig {
        WebhookConfig {
            name: "chat".into(),
            url: SecretSource::Inline(Secret::new(format!("http://{}/s3cret", self.address))),
            format,
            send_resolved: true,
            group_wait: Duration::ZERO,
            timeout: Duration::from_secs(5),
            http: HttpConfig::default(),
        }
    }

    fn bodies(&self) -> Vec<Value> {
        self.bodies.lock().unwrap().clone()
    }

    async fn until(&self, n: usize) -> Vec<Value> {
        until("a message", async || Some(self.bodies()).filter(|bodies| bodies.len() >= n)).await
    }
}

async fn read_body(stream: &mut tokio::net::TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let n = stream.read(&mut piece).await.unwrap_or(0);
        bytes.extend_from_slice(&piece[..n]);
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        let Some((head, _)) = text.split_once("\r\n\r\n") else {
            assert!(n > 0, "no head");
            continue;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        if bytes.len() >= head.len() + 4 + length || n == 0 {
            return bytes[head.len() + 4..].to_vec();
        }
    }
}

/// An Alertmanager that is killed when the test ends.
struct Alertmanager {
    address: SocketAddr,
    folder: tempfile::TempDir,
    process: Child,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Alertmanager {
    /// Starts one that tells `hook` what it would tell people.
    async fn start(hook: &Hook) -> Self {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "route: {{receiver: hook, group_by: [alertname, cluster], group_wait: 100ms, \
             group_interval: 1s, repeat_interval: 1h}}\n\
             receivers: [{{name: hook, webhook_configs: [{{url: 'http://{}/'}}]}}]\n",
            hook.address
        );
        std::fs::write(folder.path().join("am.yml"), config).unwrap();
        let process = spawn(address, folder.path());
        let alertmanager = Self { address, folder, process };
        alertmanager.until_ready().await;
        alertmanager
    }

    async fn until_ready(&self) {
        until("Alertmanager", async || {
            tokio::net::TcpStream::connect(self.address).await.ok()?;
            (get(self.address, "/-/ready").await.status == 200).then_some(())
        })
        .await;
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    async fn again(&mut self) {
        self.process = spawn(self.address, self.folder.path());
        self.until_ready().await;
    }

    fn config(&self) -> AlertmanagerConfig {
        AlertmanagerConfig {
            url: format!("http://{}/api/v2/alerts", self.address),
            timeout: Duration::from_secs(5),
            http: HttpConfig::default(),
        }
    }

    /// The alerts that go on.
    async fn alerts(&self) -> Vec<Value> {
        let answer = get(self.address, "/api/v2/alerts?active=true").await;
        // The body comes in chunks, of which there is one here.
        let body = answer.body.find('[').map_or("[]", |at| {
            let end = answer.body.rfind(']').map_or(answer.body.len(), |end| end + 1);
            &answer.body[at..end]
        });
        serde_json::from_str(body).unwrap_or_default()
    }

    async fn until_alerts(&self, n: usize) -> Vec<Value> {
        until("alerts", async || Some(self.alerts().await).filter(|alerts| alerts.len() == n)).await
    }
}

fn spawn(address: SocketAddr, folder: &Path) -> Child {
    let peers = PathBuf::from(std::env::var_os("ODDNS_PEERS").unwrap());
    let mut command = Command::new(peers.join("alertmanager-0.28.1/alertmanager"));
    command.arg(format!("--config.file={}", folder.join("am.yml").display()));
    command.arg(format!("--storage.path={}", folder.join("data").display()));
    command.arg(format!("--web.listen-address={address}")).arg("--cluster.listen-address=");
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_alertmanagers_hear_of_every_incident_once() {
    if !has_peers("real_alertmanagers_hear_of_every_incident_once") {
        return;
    }
    let (people, others) = (Hook::start(0).await, Hook::start(0).await);
    let (one, mut two) = (Alertmanager::start(&people).await, Alertmanager::start(&others).await);
    let folder = tempfile::tempdir().unwrap();
    let alertmanagers = vec![one.config(), two.config()];
    let config = AlertingConfig { alertmanagers, ..Default::default() };
    let service = Service::start(&config, folder.path());

    let began = wall_clock();
    service.news(IncidentEvent::Opened(incident("a:1", began)));
    let alert = one.until_alerts(1).await.remove(0);
    two.until_alerts(1).await;
    let labels = &alert["labels"];
    assert_eq!((&labels["alertname"], &labels["cluster"]), (&"CoreDNSOdd".into(), &"test".into()));
    assert_eq!((&labels["instance"], &labels["severity"]), (&"a:1".into(), &"critical".into()));
    assert_eq!(labels["cause"], "upstream_failure");
    let url = format!("http://oddns.example:8753/#incident-a:1-{}", began.millis());
    assert_eq!(alert["generatorURL"], url);
    assert!(alert["annotations"]["description"].as_str().unwrap().starts_with("Since "));
    assert_eq!(people.until(1).await[0]["status"], "firing");

    // The process is replaced, and one Alertmanager is down meanwhile.
    two.kill();
    let service = service.restart(&config, folder.path()).await;
    service.news(IncidentEvent::Opened(incident("a:1", wall_clock())));
    let after = one.until_alerts(1).await.remove(0);
    assert_eq!(after["startsAt"], alert["startsAt"]);
    assert_eq!(after["labels"], alert["labels"]);
    let down = format!("http://{}/api/v2/alerts", two.address);
    until("an error", async || {
        (service.metric("oddns_notifications_errors_total", &down) > 0.0).then_some(())
    })
    .await;
    // It is counted again once the attempt that failed is over.
    until("a message that waits", async || {
        (service.metric("oddns_notifications_pending", &down) == 1.0).then_some(())
    })
    .await;
    two.again().await;
    two.until_alerts(1).await;

    let over = Incident { end: Some(wall_clock()), ..incident("a:1", began) };
    service.news(IncidentEvent::Closed(over));
    one.until_alerts(0).await;
    two.until_alerts(0).await;
    let told = people.until(2).await;
    let statuses: Vec<&Value> = told.iter().map(|body| &body["status"]).collect();
    assert_eq!(statuses, ["firing", "resolved"], "paged once, and told once that it is over");
    service.alerting.stop().await;
}

#[tokio::test]
async fn one_that_hangs_delays_no_other() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hook = Hook::start(0).await;
    let of = |address: SocketAddr| AlertmanagerConfig {
        url: format!("http://{address}/api/v2/alerts"),
        timeout: Duration::from_secs(30),
        http: HttpConfig::default(),
    };
    let alertmanagers = vec![of(silent.local_addr().unwrap()), of(hook.address)];
    let config = AlertingConfig { alertmanagers, ..Default::default() };
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(&config, folder.path());
    let start = Instant::now();
    service.news(IncidentEvent::Opened(incident("a:1", wall_clock())));
    let bodies = hook.until(1).await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(bodies[0][0]["labels"]["alertname"], "CoreDNSOdd");
    let ends: Timestamp = bodies[0][0]["endsAt"].as_str().unwrap().parse().unwrap();
    assert!((200.0..260.0).contains(&ends.seconds_since(wall_clock())), "{ends}");
    // The end waits for it some seconds, but not for ever.
    tokio::time::timeout(Duration::from_secs(10), service.alerting.stop()).await.unwrap();
}

#[tokio::test]
async fn alertmanagers_that_are_found_are_told_until_they_are_gone() {
    let (first, second) = (Hook::start(0).await, Hook::start(0).await);
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("alertmanagers.json");
    let write = |hook: &Hook| {
        let address = hook.address;
        std::fs::write(&list, format!("[{{\"targets\": [\"{address}\"]}}]")).unwrap();
    };
    write(&first);
    let files =
        FileDiscovery { patterns: vec![list.clone()], refresh_interval: Duration::from_millis(50) };
    let discovery = AlertmanagerDiscovery {
        discoveries: vec![Discovery::File(files)],
        scheme: "http".into(),
        path_prefix: "/am".into(),
        relabel_rules: vec![],
        timeout: Duration::from_secs(10),
        http: HttpConfig::default(),
    };
    let config = AlertingConfig { discoveries: vec![discovery], ..Default::default() };
    let service = Service::start(&config, &folder.path().join("states"));
    let began = wall_clock();
    service.news(IncidentEvent::Opened(incident("a:1", began)));
    first.until(1).await;
    // What goes on is told to who comes later; who has gone hears of its end no more.
    write(&second);
    assert_eq!(second.until(1).await[0][0]["labels"]["alertname"], "CoreDNSOdd");
    let gone = format!("http://{}/am/api/v2/alerts", first.address);
    until("it is gone", async || {
        let shown = service.shared.metrics().expose("").text.contains(&gone);
        (!shown).then_some(())
    })
    .await;
    let over = Incident { end: Some(wall_clock()), ..incident("a:1", began) };
    service.news(IncidentEvent::Closed(over));
    second.until(2).await;
    service.alerting.stop().await;
    assert_eq!(first.bodies.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_webhook_is_told_once_of_beginning_and_end() {
    let hook = Hook::start(1).await;
    let webhooks = vec![hook.config(WebhookFormat::Slack)];
    let config = AlertingConfig { webhooks, ..Default::default() };
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::start(&config, folder.path());
    let began = wall_clock();
    service.news(IncidentEvent::Opened(incident("a:1", began)));
    // The first attempt fails, and that is told without the address.
    let bodies = hook.until(1).await;
    let text = bodies[0]["text"].as_str().unwrap();
    assert!(
        text.starts_with("🔥 *critical: a:1: Upstream servers &lt;do not&gt; answer.*\n"),
        "{text}"
    );
    assert!(text.contains("• dig @&lt;upstream&gt; example.org"), "{text}");
    assert!(text.contains("<http://oddns.example:8753/#incident-a:1-"), "{text}");
    let Some(Event::Warning { text, .. }) = service.events.recv().await else {
        panic!("no warning")
    };
    assert!(text.starts_with("alerts do not reach chat: the answer is 500"), "{text}");
    assert!(!text.contains("s3cret"));
    assert!(!service.shared.metrics().expose("").text.contains("s3cret"));

    let service = service.restart(&config, folder.path()).await;
    service.news(IncidentEvent::Opened(incident("a:1", wall_clock())));
    let over = Incident { end: Some(wall_clock()), ..incident("a:1", began) };
    service.news(IncidentEvent::Closed(over));
    let bodies = hook.until(2).await;
    assert!(bodies[1]["text"].as_str().unwrap().starts_with("✅ *Over after "), "{bodies:?}");
    service.alerting.stop().await;
    assert_eq!(hook.bodies().len(), 2);
}

#[tokio::test]
async fn a_webhook_may_take_what_alertmanager_sends() {
    let hook = Hook::start(0).await;
    let webhooks = vec![hook.config(WebhookFormat::Alertmanager)];
    let config = AlertingConfig { webhooks, ..Default::default() };
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(&config, folder.path());
    service.news(IncidentEvent::Opened(incident("a:1", wall_clock())));
    let body = hook.until(1).await.remove(0);
    assert_eq!((&body["version"], &body["status"]), (&"4".into(), &"firing".into()));
    assert_eq!(body["alerts"][0]["labels"]["instance"], "a:1");
    assert_eq!(body["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
    assert_eq!(body["externalURL"], "http://oddns.example:8753");
    service.alerting.stop().await;
}
