//! The objects of a cluster as they stand.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Url;
use serde_json::Value;

use super::Selector;
use super::watch::News;

/// A kind of object that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Pod,
    EndpointSlice,
    Endpoints,
    Service,
    Node,
}

impl Kind {
    fn group_and_name(self) -> (&'static str, &'static str) {
        match self {
            Self::Pod => ("api/v1", "pods"),
            Self::EndpointSlice => ("apis/discovery.k8s.io/v1", "endpointslices"),
            Self::Endpoints => ("api/v1", "endpoints"),
            Self::Service => ("api/v1", "services"),
            Self::Node => ("api/v1", "nodes"),
        }
    }

    /// Where objects of this kind are listed.
    pub(super) fn url(
        self,
        server: &Url,
        namespace: Option<&str>,
        selector: Option<&Selector>,
    ) -> Url {
        let (group, name) = self.group_and_name();
        let mut url = server.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(group.split('/'));
            if let Some(namespace) = namespace {
                path.extend(["namespaces", namespace]);
            }
            path.push(name);
        }
        for (key, text) in selector
            .iter()
            .flat_map(|s| [("labelSelector", &s.label), ("fieldSelector", &s.field)])
            .filter(|(_, text)| !text.is_empty())
        {
            url.query_pairs_mut().append_pair(key, text);
        }
        url
    }
}

/// Objects by namespace and name.
pub(super) type OfKind = BTreeMap<(String, String), Value>;

/// All objects that watches have told of.
#[derive(Debug)]
pub(super) struct Objects {
    /// By kind and the watch that tells of them.
    kinds: BTreeMap<(Kind, usize), OfKind>,
    listed: BTreeSet<usize>,
    n_watches: usize,
}

impl Objects {
    pub(super) fn new(n_watches: usize) -> Self {
        Self { kinds: BTreeMap::new(), listed: BTreeSet::new(), n_watches }
    }

    /// Whether every watch has told of all its objects once.
    pub(super) fn is_complete(&self) -> bool {
        self.listed.len() == self.n_watches
    }

    pub(super) fn file(&mut self, news: News) {
        match news {
            News::Listed { number, kind, objects } => {
                self.listed.insert(number);
                let objects = objects.into_iter().map(|object| (key(&object), slim(object)));
                self.kinds.insert((kind, number), objects.collect());
            }
            News::Is { number, kind, object } => {
                self.kinds.entry((kind, number)).or_default().insert(key(&object), slim(object));
            }
            News::Gone { number, kind, object } => {
                self.kinds.entry((kind, number)).or_default().remove(&key(&object));
            }
            News::Failed(_) => {}
        }
    }

    /// All objects of a kind.
    pub(super) fn all(&self, kind: Kind) -> impl Iterator<Item = &Value> {
        let of_kind = self.kinds.iter().filter(move |((of, _), _)| *of == kind);
        of_kind.flat_map(|(_, objects)| objects.values())
    }

    /// One object; nodes have an empty namespace.
    pub(super) fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Value> {
        let key = (namespace.to_owned(), name.to_owned());
        let of_kind = self.kinds.iter().filter(|((of, _), _)| *of == kind);
        of_kind.filter_map(|(_, objects)| objects.get(&key)).next()
    }
}

fn key(object: &Value) -> (String, String) {
    let part = |name: &str| text(&object["metadata"][name]).to_owned();
    (part("namespace"), part("name"))
}

/// Drops what is large and never read.
fn slim(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    for part in ["volumes", "tolerations", "affinity"] {
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            spec.remove(part);
        }
    }
    for list in ["containers", "initContainers"] {
        let containers = object.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            container.retain(|key, _| matches!(key.as_str(), "name" | "image" | "ports"));
        }
    }
    object
}

/// A text, or nothing.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The entries of a list, or none.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
