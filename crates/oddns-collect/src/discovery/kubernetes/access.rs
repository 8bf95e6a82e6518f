//! Where the API of a cluster is and how it lets us in: the service account, or a kubeconfig.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use serde::Deserialize;

use super::KubernetesDiscovery;
use crate::http::{Auth, HttpConfig, TlsConfig};
use crate::secret::{Secret, SecretSource, read_bounded};

/// Where Kubernetes puts a pod's service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const MAX_KUBECONFIG_BYTES: u64 = 4 << 20;

/// How to reach one API.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub(super) server: Url,
    pub(super) http: HttpConfig,
    /// The namespace that we run in, if we do.
    pub(super) namespace: Option<String>,
}

impl Access {
    /// Reads what has to be read; the message says what is missing.
    pub(super) async fn of(discovery: &KubernetesDiscovery) -> Result<Self, String> {
        if let Some(server) = &discovery.api_server {
            let namespace = own_namespace();
            return Ok(Self { server: server.clone(), http: discovery.http.clone(), namespace });
        }
        let kubeconfig = discovery.kubeconfig.clone();
        let read = move || kubeconfig.map_or_else(Self::of_account, |path| Self::of_file(&path));
        tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
    }

    fn of_account() -> Result<Self, String> {
        let variable = |name: &str| {
            std::env::var(name).map_err(|_| {
                format!("`{name}` is not set, so this is no pod: name an `api_server` or a `kubeconfig_file`")
            })
        };
        let (host, port) =
            (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let server = url(&format!("https://{host}:{port}"))?;
        let file = |name: &str| SecretSource::File(Path::new(ACCOUNT).join(name));
        let tls = TlsConfig { ca: Some(file("ca.crt")), ..TlsConfig::default() };
        let auth = Auth::Token { scheme: "Bearer".to_owned(), credentials: file("token") };
        let http = HttpConfig { auth: Some(auth), tls, ..HttpConfig::default() };
        Ok(Self { server, http, namespace: own_namespace() })
    }

    fn of_file(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let text = read_bounded(path, MAX_KUBECONFIG_BYTES)
            .map_err(|error| format!("cannot read `{shown}`: {error}"))?;
        let config: Kubeconfig = serde_saphyr::from_str(&text).map_err(|error| {
            let place = error.location().map_or(0, |at| at.line());
            // The rest of the message could show what stands there.
            format!("`{shown}` is no kubeconfig: see line {place}")
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        config.access(folder).map_err(|message| format!("`{shown}`: {message}"))
    }
}

fn own_namespace() -> Option<String> {
    let text = read_bounded(&Path::new(ACCOUNT).join("namespace"), 1024).ok()?;
    Some(text.trim().to_owned()).filter(|name| !name.is_empty())
}

fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("the address of the server: {error}"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("scheme `{other}` of the server is not known")),
    }
}

/// The parts of a kubeconfig that count; programs put much else into it.
#[derive(Deserialize)]
struct Kubeconfig {
    #[serde(rename = "current-context", default)]
    current: String,
    #[serde(default)]
    contexts: Vec<Named<Context>>,
    #[serde(default)]
    clusters: Vec<Named<Cluster>>,
    #[serde(default)]
    users: Vec<Named<User>>,
}

#[derive(Deserialize)]
struct Named<T> {
    name: String,
    #[serde(alias = "context", alias = "cluster", alias = "user")]
    value: T,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: String,
    namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    username: Option<String>,
    password: Option<String>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    exec: Option<serde::de::IgnoredAny>,
    #[serde(rename = "auth-provider")]
    provider: Option<serde::de::IgnoredAny>,
}

impl Kubeconfig {
    fn access(self, folder: &Path) -> Result<Access, String> {
        let context = named(self.contexts, &self.current, "context")?;
        let cluster = named(self.clusters, &context.cluster, "cluster")?;
        let user = match context.user.as_str() {
            "" => None,
            name => Some(named(self.users, name, "user")?),
        };
        let server = url(&cluster.server)?;
        if cluster.tls_server_name.is_some() {
            return Err("`tls-server-name` is not supported: use `api_server` with `tls_config.server_name`".to_owned());
        }
        let mut tls = TlsConfig {
            ca: material(
                cluster.certificate_authority_data,
                cluster.certificate_authority,
                folder,
            )?,
            insecure_skip_verify: cluster.insecure_skip_tls_verify,
            ..TlsConfig::default()
        };
        let auth = match user {
            None => None,
            Some(user) => {
                let (auth, cert, key) = user.identity(folder)?;
                (tls.cert, tls.key) = (cert, key);
                auth
            }
        };
        let http = HttpConfig { auth, tls, ..HttpConfig::default() };
        Ok(Access { server, http, namespace: context.namespace })
    }
}

/// Credentials, certificate and key.
type Identity = (Option<Auth>, Option<SecretSource>, Option<SecretSource>);

impl User {
    fn identity(self, folder: &Path) -> Result<Identity, String> {
        if self.exec.is_some() || self.provider.is_some() {
            return Err("its user logs in by another program, which is not run: use a token, a certificate, or the service account".to_owned());
        }
        let inline = |text: String| SecretSource::Inline(Secret::new(text));
        let token = self
            .token_file
            .map(|path| SecretSource::File(folder.join(path)))
            .or(self.token.map(inline));
        let auth = match (token, self.username) {
            (Some(credentials), _) => {
                Some(Auth::Token { scheme: "Bearer".to_owned(), credentials })
            }
            (None, Some(name)) => {
                let password = self.password.map(inline);
                Some(Auth::Basic { username: inline(name), password })
            }
            (None, None) => None,
        };
        let cert = material(self.client_certificate_data, self.client_certificate, folder)?;
        let key = material(self.client_key_data, self.client_key, folder)?;
        Ok((auth, cert, key))
    }
}

fn named<T>(list: Vec<Named<T>>, name: &str, what: &str) -> Result<T, String> {
    let found = list.into_iter().find(|entry| entry.name == name);
    found.map(|entry| entry.value).ok_or_else(|| format!("it has no {what} `{name}`"))
}

/// PEM in base64, or a file of it.
fn material(
    data: Option<String>,
    file: Option<PathBuf>,
    folder: &Path,
) -> Result<Option<SecretSource>, String> {
    let Some(data) = data else {
        return Ok(file.map(|path| SecretSource::File(folder.join(path))));
    };
    let bytes = STANDARD.decode(data.trim()).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.ok_or("a certificate or key in it is no PEM in base64")?;
    Ok(Some(SecretSource::Inline(Secret::new(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "apiVersion: v1\ncurrent-context: here\ncontexts:\n- name: here\n  context: {cluster: c, user: u, namespace: dns}\nclusters:\n- name: c\n  cluster: {server: 'https://10.0.0.1:6443', certificate-authority-data: LS0t, extensions: []}\nusers:\n- name: u\n  user: {tokenFile: token}\n";

    fn access(text: &str) -> Result<Access, String> {
        let config: Kubeconfig = serde_saphyr::from_str(text).unwrap();
        config.access(Path::new("home"))
    }

    #[test]
    fn a_kubeconfig_is_followed_from_its_current_context() {
        let found = access(FILE).unwrap();
        assert_eq!(found.server.as_str(), "https://10.0.0.1:6443/");
        assert_eq!(found.namespace.as_deref(), Some("dns"));
        let token = SecretSource::File(PathBuf::from("home/token"));
        let scheme = "Bearer".to_owned();
        assert_eq!(found.http.auth, Some(Auth::Token { scheme, credentials: token }));
        assert_eq!(found.http.tls.ca, Some(SecretSource::Inline(Secret::new("---"))));
    }

    #[test]
    fn what_it_lacks_is_told() {
        for (from, to, expected) in [
            ("current-context: here", "current-context: there", "it has no context `there`"),
            ("tokenFile: token", "exec: {command: aws}", "its user logs in by another program"),
            ("LS0t", "'%'", "a certificate or key in it is no PEM in base64"),
            ("https:", "ftp:", "scheme `ftp` of the server is not known"),
        ] {
            let message = access(&FILE.replace(from, to)).unwrap_err();
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
