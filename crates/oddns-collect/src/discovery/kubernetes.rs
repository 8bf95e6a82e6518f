//! `kubernetes_sd_configs`: targets out of the API of a cluster.
//!
//! Lists and watches with the HTTP client that scrapes, rather than by the `kube` crates: five
//! kinds of objects and one verb do not repay a second HTTP stack and minutes of compilation.

mod access;
mod objects;
mod targets;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::{DiscoveryError, MAX_DISCOVERED, Report, Reporter};
use crate::http::{HttpClient, HttpConfig};
use access::Access;
use objects::{Kind, Objects};
use watch::{News, Watch};

/// Changes come in bursts, as in a deployment; they are reported together after this time.
const GATHER: Duration = Duration::from_millis(500);
/// News that may wait; the reader only files them.
const NEWS_QUEUE: usize = 1024;
/// Until the cluster is asked again whose access could not be told.
const RETRY: Duration = Duration::from_secs(10);

/// Targets out of the API of a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct KubernetesDiscovery {
    /// What becomes a target.
    pub role: Role,
    /// Where the API is; the service account's when there is neither this nor a kubeconfig.
    api_server: Option<Url>,
    /// A kubeconfig, whose current context counts.
    pub kubeconfig: Option<PathBuf>,
    /// Where to look; everywhere when empty.
    pub namespaces: Vec<String>,
    /// Whether to look in the namespace of the service account too.
    pub own_namespace: bool,
    /// Whether targets get the labels of their node.
    pub attach_node: bool,
    /// What to look for.
    pub selectors: Vec<Selector>,
    /// How to speak to `api_server`.
    pub http: HttpConfig,
}

/// A kind of object that becomes targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Each port of each container of a pod.
    Pod,
    /// Each endpoint of a slice, and the other ports of its pods.
    EndpointSlice,
    /// Each address of an Endpoints object, and the other ports of its pods.
    Endpoints,
    /// Each port of a service, by its name in the DNS.
    Service,
    /// The kubelet of each node.
    Node,
}

/// Every role with its name.
const ROLES: &[(&str, Role)] = &[
    ("pod", Role::Pod),
    ("endpointslice", Role::EndpointSlice),
    ("endpoints", Role::Endpoints),
    ("service", Role::Service),
    ("node", Role::Node),
];

/// Which objects of a kind to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// The kind.
    pub role: Role,
    /// A label selector; empty for all.
    pub label: String,
    /// A field selector; empty for all.
    pub field: String,
}

impl Role {
    /// The role that a configuration calls `name`; `None` for an unknown one.
    pub fn named(name: &str) -> Option<Self> {
        ROLES.iter().find(|(known, _)| *known == name).map(|(_, role)| *role)
    }

    /// Every name that [`Role::named`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ROLES.iter().map(|(name, _)| *name)
    }

    fn kind(self) -> Kind {
        match self {
            Self::Pod => Kind::Pod,
            Self::EndpointSlice => Kind::EndpointSlice,
            Self::Endpoints => Kind::Endpoints,
            Self::Service => Kind::Service,
            Self::Node => Kind::Node,
        }
    }
}

impl KubernetesDiscovery {
    /// The cluster that we run in, all of it.
    pub fn new(role: Role, http: HttpConfig) -> Self {
        Self {
            role,
            api_server: None,
            kubeconfig: None,
            namespaces: Vec::new(),
            own_namespace: false,
            attach_node: false,
            selectors: Vec::new(),
            http,
        }
    }

    /// Another cluster than the one that we run in. Fails on what is no http or https URL.
    pub fn set_api_server(&mut self, url: &str) -> Result<(), String> {
        let url = Url::parse(url).map_err(|error| format!("`{url}` is no address: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("scheme `{}` is not known: write http or https", url.scheme()));
        }
        self.api_server = Some(url);
        Ok(())
    }

    /// Whether the parts go together; the message says what does not.
    pub fn check(&self) -> Result<(), String> {
        if self.http != HttpConfig::default() && self.api_server.is_none() {
            return Err("keys about HTTP need an `api_server`: the service account and a kubeconfig bring their own".to_owned());
        }
        let needed = self.kinds();
        match self.selectors.iter().find(|selector| !needed.contains(&selector.role.kind())) {
            Some(_) => Err("a selector is of a kind that this role does not look at".to_owned()),
            None => Ok(()),
        }
    }

    /// What has to be watched.
    fn kinds(&self) -> Vec<Kind> {
        let mut kinds = match self.role {
            Role::Endpoints | Role::EndpointSlice => {
                vec![self.role.kind(), Kind::Service, Kind::Pod]
            }
            role => vec![role.kind()],
        };
        if self.attach_node && self.role != Role::Node {
            kinds.push(Kind::Node);
        }
        kinds
    }

    pub(crate) async fn follow(&self, reporter: Reporter) {
        let access = loop {
            match Access::of(self).await {
                Ok(access) => break access,
                Err(message) => {
                    let report = Report::failed(DiscoveryError::Cluster(message));
                    if !reporter.send(report).await {
                        return;
                    }
                    sleep(RETRY).await;
                }
            }
        };
        let (to, news) = mpsc::channel(NEWS_QUEUE);
        // Ends with this task, since it is dropped with it.
        let mut watches = JoinSet::new();
        for watch in self.watches(&access) {
            watches.spawn(watch.run(to.clone()));
        }
        drop(to);
        self.gather(watches.len(), news, reporter).await;
    }

    fn watches(&self, access: &Access) -> Vec<Watch> {
        let client = Arc::new(HttpClient::new(
            HttpConfig { enable_compression: false, ..access.http.clone() },
            access.server.scheme() == "https",
        ));
        let mut namespaces: Vec<Option<&str>> =
            self.namespaces.iter().map(|name| Some(name.as_str())).collect();
        if self.own_namespace {
            namespaces.push(access.namespace.as_deref());
        }
        if namespaces.is_empty() {
            namespaces.push(None);
        }
        let mut watches = Vec::new();
        for kind in self.kinds() {
            let everywhere = [None];
            let places = if kind == Kind::Node { &everywhere[..] } else { &namespaces };
            let selector = self.selectors.iter().find(|selector| selector.role.kind() == kind);
            for namespace in places {
                let number = watches.len();
                let url = kind.url(&access.server, *namespace, selector);
                watches.push(Watch { number, kind, url, client: Arc::clone(&client) });
            }
        }
        watches
    }

    /// Files news and reports a while after the first of a burst, but not before every watch has
    /// listed once: a target without its pod's labels would be another one.
    async fn gather(&self, n_watches: usize, mut news: mpsc::Receiver<News>, reporter: Reporter) {
        let mut objects = Objects::new(n_watches);
        let mut due: Option<Instant> = None;
        loop {
            let wait = async {
                match due {
                    Some(at) if objects.is_complete() => sleep_until(at).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = wait => {
                    due = None;
                    if !reporter.send(self.report(&objects)).await {
                        return;
                    }
                }
                received = news.recv() => match received {
                    None => return,
                    Some(News::Failed(error)) => {
                        if !reporter.send(Report::failed(error)).await {
                            return;
                        }
                    }
                    Some(news) => {
                        objects.file(news);
                        due.get_or_insert_with(|| Instant::now() + GATHER);
                    }
                },
            }
        }
    }

    fn report(&self, objects: &Objects) -> Report {
        let targets = targets::of(self, objects);
        if targets.len() > MAX_DISCOVERED {
            let place = "the Kubernetes API".to_owned();
            return Report::failed(DiscoveryError::TooMany { place, found: targets.len() });
        }
        Report { targets: Some(targets), errors: Vec::new() }
    }
}
