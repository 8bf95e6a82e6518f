//! `kubernetes_sd_configs`.

use std::path::PathBuf;

use oddns_collect::Discovery;
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::files::Files;
use super::http::with_http;
use super::mistake::{ConfigError, at};

with_http! {
    #[cfg_attr(not(feature = "kubernetes"), expect(dead_code, reason = "read, and refused"))]
    struct WrittenKubernetesSd {
        role: Spanned<String>,
        api_server: Option<Spanned<String>>,
        kubeconfig_file: Option<Spanned<PathBuf>>,
        namespaces: Option<WrittenNamespaces>,
        selectors: Option<Vec<WrittenSelector>>,
        attach_metadata: Option<WrittenMetadata>,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "kubernetes"), expect(dead_code, reason = "read, and refused"))]
pub(super) struct WrittenNamespaces {
    own_namespace: Option<bool>,
    names: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "kubernetes"), expect(dead_code, reason = "read, and refused"))]
pub(super) struct WrittenSelector {
    role: Spanned<String>,
    label: Option<String>,
    field: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "kubernetes"), expect(dead_code, reason = "read, and refused"))]
pub(super) struct WrittenMetadata {
    node: Option<bool>,
}

#[cfg(not(feature = "kubernetes"))]
impl WrittenKubernetesSd {
    pub(super) fn resolve(self, place: &Location, _: &mut Files) -> Result<Discovery, ConfigError> {
        let message = "this build leaves out Kubernetes: build it with the feature `kubernetes`";
        Err(at(place, message))
    }
}

#[cfg(feature = "kubernetes")]
mod with_feature {
    use oddns_collect::{KubernetesDiscovery, Role, Selector};

    use super::*;
    use crate::config::files::Kind;
    use crate::config::mistake::wrong;

    impl WrittenKubernetesSd {
        pub(in crate::config) fn resolve(
            mut self,
            place: &Location,
            files: &mut Files,
        ) -> Result<Discovery, ConfigError> {
            let role = role(&self.role)?;
            if let (Some(_), Some(file)) = (&self.api_server, &self.kubeconfig_file) {
                let message = "both `api_server` and `kubeconfig_file`: keep one";
                return Err(wrong(file, message));
            }
            let name = |file| files.name("kubeconfig_file", Kind::Secret, file);
            let kubeconfig = self.kubeconfig_file.as_ref().map(name);
            let http = self.take_http().resolve(files)?;
            let namespaces =
                self.namespaces.unwrap_or(WrittenNamespaces { own_namespace: None, names: None });
            let attach_node =
                self.attach_metadata.and_then(|attach| attach.node).unwrap_or_default();
            let mut discovery = KubernetesDiscovery::new(role, http);
            discovery.kubeconfig = kubeconfig;
            discovery.namespaces = namespaces.names.unwrap_or_default();
            discovery.own_namespace = namespaces.own_namespace.unwrap_or_default();
            discovery.attach_node = attach_node;
            discovery.selectors =
                self.selectors.iter().flatten().map(selector).collect::<Result<_, _>>()?;
            if let Some(server) = &self.api_server {
                discovery
                    .set_api_server(&server.value)
                    .map_err(|message| wrong(server, message))?;
            }
            discovery.check().map_err(|message| at(place, message))?;
            Ok(Discovery::Kubernetes(Box::new(discovery)))
        }
    }

    fn role(written: &Spanned<String>) -> Result<Role, ConfigError> {
        Role::named(&written.value).ok_or_else(|| {
            let names: Vec<String> = Role::names().map(|name| format!("`{name}`")).collect();
            let message =
                format!("role `{}` is not supported: write {}", written.value, names.join(", "));
            wrong(written, message)
        })
    }

    fn selector(written: &WrittenSelector) -> Result<Selector, ConfigError> {
        Ok(Selector {
            role: role(&written.role)?,
            label: written.label.clone().unwrap_or_default(),
            field: written.field.clone().unwrap_or_default(),
        })
    }
}
