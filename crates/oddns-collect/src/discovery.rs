//! Where the targets of a job come from, and how the list of them follows the world.

mod dns;
mod file;
mod http;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod resolver;

use std::io;
use std::path::PathBuf;

use serde::Deserialize;
use tokio::sync::mpsc;

pub use dns::{DnsDiscovery, RecordType};
pub use file::{FileDiscovery, matching_files, read_targets};
pub use http::HttpDiscovery;
#[cfg(feature = "kubernetes")]
pub use kubernetes::{KubernetesDiscovery, Role, Selector};
pub use resolver::ResolveError;

use crate::http::HttpError;
use crate::relabel::LabelMap;

/// One answer of a discovery holds no more targets; a longer list is refused whole.
pub const MAX_DISCOVERED: usize = 50_000;
/// Bytes of a file, or of an answer, that lists targets.
const MAX_LIST_BYTES: usize = 16 << 20;

/// Where targets come from.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Discovery {
    /// They stand in the configuration: `static_configs`.
    Static(Vec<LabelMap>),
    /// They stand in files: `file_sd_configs`.
    File(FileDiscovery),
    /// A server lists them: `http_sd_configs`.
    Http(Box<HttpDiscovery>),
    /// They are in the DNS: `dns_sd_configs`.
    Dns(DnsDiscovery),
    /// A cluster has them: `kubernetes_sd_configs`.
    #[cfg(feature = "kubernetes")]
    Kubernetes(Box<KubernetesDiscovery>),
}

/// Why a list of targets could not be read; the last good one stays in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// A file, or the folder it is looked for in.
    #[error("cannot read targets from `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A list that is none.
    #[error("`{place}`: line {line}, column {column}: {message}")]
    Content {
        /// The file, or the URL without credentials and query.
        place: String,
        /// Line, from 1; 0 when the place is not known.
        line: u64,
        /// Column, from 1; 0 when the place is not known.
        column: u64,
        /// What is wrong.
        message: String,
    },
    /// More than [`MAX_DISCOVERED`].
    #[error("`{place}` lists {found} targets, at most {MAX_DISCOVERED} are taken")]
    TooMany {
        /// The file, or the URL without credentials and query.
        place: String,
        /// How many.
        found: usize,
    },
    /// No answer.
    #[error("cannot ask `{url}` for targets")]
    Http {
        /// The URL without credentials and query.
        url: String,
        /// Why.
        source: HttpError,
    },
    /// An answer that is none.
    #[error("`{url}` {problem}")]
    Answer {
        /// The URL without credentials and query.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A name in the DNS.
    #[error("cannot look up `{name}`")]
    Dns {
        /// Which name.
        name: String,
        /// Why.
        source: ResolveError,
    },
    /// The service account or the kubeconfig.
    #[error("cannot tell where the Kubernetes API is: {0}")]
    Cluster(String),
}

impl DiscoveryError {
    /// A word for labels and counters.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Read { .. } => "read",
            Self::Content { .. } => "content",
            Self::TooMany { .. } => "too_many",
            Self::Http { .. } => "http",
            Self::Answer { .. } => "answer",
            Self::Dns { .. } => "dns",
            Self::Cluster(_) => "cluster",
        }
    }
}

/// What a discovery knows after it looked again.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// All targets now; `None` when nothing is known anew.
    pub(crate) targets: Option<Vec<LabelMap>>,
    pub(crate) errors: Vec<DiscoveryError>,
}

impl Report {
    fn failed(error: DiscoveryError) -> Self {
        Self { targets: None, errors: vec![error] }
    }
}

/// Sends reports of one discovery, which is known by a number.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    pub(crate) number: usize,
    pub(crate) to: mpsc::Sender<(usize, Report)>,
}

impl Reporter {
    /// Waits while the reader is busy; false when nobody reads any more.
    async fn send(&self, report: Report) -> bool {
        self.to.send((self.number, report)).await.is_ok()
    }
}

impl Discovery {
    /// A list that never changes.
    pub fn targets(targets: Vec<LabelMap>) -> Self {
        Self::Static(targets)
    }

    /// The targets that stand in the configuration.
    pub fn written(&self) -> &[LabelMap] {
        match self {
            Self::Static(targets) => targets,
            _ => &[],
        }
    }

    /// Whether the list may change.
    pub fn is_dynamic(&self) -> bool {
        !matches!(self, Self::Static(_))
    }

    /// Gives `take` the whole list whenever it is known anew, `None` when it is not, and what failed. A
    /// list that stands in the configuration comes once, and then this ends; others are followed until
    /// the future is dropped. What fails is tried again.
    pub async fn each(
        &self,
        mut take: impl FnMut(Option<Vec<LabelMap>>, Vec<DiscoveryError>) + Send,
    ) {
        let (to, mut reports) = mpsc::channel(1);
        let taking = async {
            while let Some((_, Report { targets, errors })) = reports.recv().await {
                take(targets, errors);
            }
        };
        tokio::join!(self.follow(Reporter { number: 0, to }), taking);
    }

    /// Reports until nobody reads the reports any more. What fails is told and tried again.
    pub(crate) async fn follow(&self, reporter: Reporter) {
        match self {
            Self::Static(targets) => {
                let targets = Some(targets.clone());
                reporter.send(Report { targets, errors: Vec::new() }).await;
            }
            Self::File(files) => files.follow(reporter).await,
            Self::Http(server) => server.follow(reporter).await,
            Self::Dns(names) => names.follow(reporter).await,
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(cluster) => cluster.follow(reporter).await,
        }
    }
}

/// One entry of a list of targets, as files and servers give it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenGroup {
    targets: Option<Vec<String>>,
    labels: Option<LabelMap>,
}

/// The targets of `groups`, each with the labels of its group and `extra`.
fn flatten(groups: Vec<WrittenGroup>, extra: (&str, &str)) -> Vec<LabelMap> {
    let mut targets = Vec::new();
    for group in groups {
        let mut labels = group.labels.unwrap_or_default();
        labels.insert(extra.0.to_owned(), extra.1.to_owned());
        for address in group.targets.unwrap_or_default() {
            let mut target = labels.clone();
            target.insert("__address__".to_owned(), address);
            targets.push(target);
        }
    }
    targets
}

/// Reads a list in JSON; `place` stands in errors.
fn parse_json(text: &[u8], place: &str) -> Result<Vec<WrittenGroup>, DiscoveryError> {
    let groups: Option<Vec<WrittenGroup>> = serde_json::from_slice(text).map_err(|error| {
        let message = error.to_string();
        DiscoveryError::Content {
            place: place.to_owned(),
            line: error.line() as u64,
            column: error.column() as u64,
            message: message.split(" at line ").next().unwrap_or_default().to_owned(),
        }
    })?;
    within_bound(groups.unwrap_or_default(), place)
}

/// Reads a list in YAML; `place` stands in errors.
fn parse_yaml(text: &str, place: &str) -> Result<Vec<WrittenGroup>, DiscoveryError> {
    let groups: Option<Vec<WrittenGroup>> = serde_saphyr::from_str(text).map_err(|error| {
        let at = error.location();
        let message = error.without_snippet().to_string();
        DiscoveryError::Content {
            place: place.to_owned(),
            line: at.map_or(0, |at| at.line()),
            column: at.map_or(0, |at| at.column()),
            message: message.split(" at line ").next().unwrap_or_default().to_owned(),
        }
    })?;
    within_bound(groups.unwrap_or_default(), place)
}

fn within_bound(
    groups: Vec<WrittenGroup>,
    place: &str,
) -> Result<Vec<WrittenGroup>, DiscoveryError> {
    let found = groups.iter().map(|group| group.targets.as_ref().map_or(0, Vec::len)).sum();
    if found > MAX_DISCOVERED {
        return Err(DiscoveryError::TooMany { place: place.to_owned(), found });
    }
    Ok(groups)
}
