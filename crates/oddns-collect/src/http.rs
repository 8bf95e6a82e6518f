//! HTTP as a configuration describes it: who we are, whom we trust, where an answer may lead us.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HOST, HeaderMap, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Identity, Method, Proxy, Response, Url, tls};
use tokio::time::Instant;

use crate::secret::{Secret, SecretSource};

/// Files of secrets and certificates are looked at this often at most.
const RECHECK_EVERY: Duration = Duration::from_secs(1);
/// As in Go's client, and so in Prometheus.
const MAX_REDIRECTS: usize = 10;
/// A kept connection survives the intervals people use.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// How to speak to a server. The default is plain: no credentials, the system's trust, gzip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Who we are.
    pub auth: Option<Auth>,
    /// Whom we trust.
    pub tls: TlsConfig,
    /// Whether an answer may send us to another address.
    pub follow_redirects: bool,
    /// Whether to ask for gzip.
    pub enable_compression: bool,
    /// URL of a proxy for all requests; it may hold a password.
    pub proxy: Option<Secret>,
}

/// How a request says who sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// User name and password.
    Basic {
        /// The name.
        username: SecretSource,
        /// The password; none is an empty one.
        password: Option<SecretSource>,
    },
    /// A token after a word such as `Bearer`.
    Token {
        /// The word.
        scheme: String,
        /// The token.
        credentials: SecretSource,
    },
}

impl Auth {
    /// The value of the `Authorization` header, of what files hold now.
    fn read(&self) -> Result<Secret, HttpError> {
        Ok(match self {
            Self::Basic { username, password } => {
                let password = password.as_ref().map(read).transpose()?.unwrap_or_default();
                let name = read(username)?;
                let pair = STANDARD.encode(format!("{}:{}", name.expose(), password.expose()));
                Secret::new(format!("Basic {pair}"))
            }
            Self::Token { scheme, credentials } => {
                Secret::new(format!("{scheme} {}", read(credentials)?.expose()))
            }
        })
    }
}

fn read(source: &SecretSource) -> Result<Secret, HttpError> {
    source.read().map_err(|error| HttpError::File {
        path: source.file().map(PathBuf::from).unwrap_or_default(),
        source: error,
    })
}

fn header(text: &Secret) -> Result<HeaderValue, HttpError> {
    let mut value = HeaderValue::from_str(text.expose()).map_err(|_| HttpError::Credentials)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whom we trust, and as whom a server shall know us.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsConfig {
    /// Certificates in PEM to trust instead of the system's.
    pub ca: Option<SecretSource>,
    /// Our certificate in PEM; goes with `key`.
    pub cert: Option<SecretSource>,
    /// The key of `cert` in PEM.
    pub key: Option<SecretSource>,
    /// The name to ask for and to check instead of the address's. Not an IP address.
    pub server_name: Option<String>,
    /// Whether to trust anybody.
    pub insecure_skip_verify: bool,
    /// The oldest version of TLS, never below 1.2.
    pub min_version: TlsVersion,
}

/// A version of TLS. Older ones than 1.2 are not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            auth: None,
            tls: TlsConfig::default(),
            follow_redirects: true,
            enable_compression: true,
            proxy: None,
        }
    }
}

impl HttpConfig {
    fn sources(&self) -> impl Iterator<Item = &SecretSource> {
        let (first, second) = match &self.auth {
            Some(Auth::Basic { username, password }) => (Some(username), password.as_ref()),
            Some(Auth::Token { credentials, .. }) => (Some(credentials), None),
            None => (None, None),
        };
        let tls = [&self.tls.ca, &self.tls.cert, &self.tls.key].into_iter().flatten();
        first.into_iter().chain(second).chain(tls)
    }

    fn has_files(&self) -> bool {
        self.sources().any(|source| source.file().is_some())
    }
}

/// Why a request got no answer. No message shows credentials or a query.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// A file of a secret or a certificate.
    #[error("cannot read `{}`: check that it is there and that oddns may read it", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A credential with a line feed or the like.
    #[error("the credentials hold characters that no header may have")]
    Credentials,
    /// A certificate or key.
    #[error(
        "cannot use the certificates or the key of `tls_config`: they must be PEM, and fit each other"
    )]
    Certificate(#[source] reqwest::Error),
    /// The URL of the proxy.
    #[error("`proxy_url` is no address of a proxy")]
    Proxy(#[source] reqwest::Error),
    /// The client cannot be set up.
    #[error("cannot prepare TLS: are CA certificates installed on this machine?")]
    Client(#[source] reqwest::Error),
    /// An endless chain.
    #[error("redirected more than {MAX_REDIRECTS} times")]
    TooManyRedirects,
    /// To an encrypted address, by a client that has loaded no roots to trust in.
    #[error("redirected from http to https")]
    ToHttps,
    /// To somewhere we do not go.
    #[error("redirected to something else than http or https, or from https to http")]
    Redirect,
    /// The exchange itself.
    #[error("the request failed")]
    Exchange(#[source] reqwest::Error),
}

/// Speaks to servers as an [`HttpConfig`] says, over kept connections.
#[derive(Debug)]
pub(crate) struct HttpClient {
    config: HttpConfig,
    is_https: bool,
    /// Whether the client itself goes where an answer leads, as far as the configuration lets it.
    follows: bool,
    /// The host to connect to where the address names [`TlsConfig::server_name`] instead.
    pinned: Option<String>,
    state: Mutex<Option<Current>>,
    /// For servers over https that an answer without TLS has led to.
    secure: OnceLock<Box<HttpClient>>,
}

/// What was made of the files when they were last read.
#[derive(Debug)]
struct Current {
    material: Material,
    ready: Ready,
    checked: Instant,
}

#[derive(Debug, Clone)]
struct Ready {
    client: Client,
    authorization: Option<HeaderValue>,
}

/// The content of every [`SecretSource`].
#[derive(Debug, Clone, PartialEq, Eq)]
struct Material {
    authorization: Option<Secret>,
    ca: Option<Secret>,
    /// Certificate and key.
    identity: Option<Secret>,
}

impl HttpClient {
    /// For servers over http or https; reads nothing yet.
    pub(crate) fn new(config: HttpConfig, is_https: bool) -> Self {
        let (state, secure) = (Mutex::default(), OnceLock::new());
        Self { config, is_https, follows: false, pinned: None, state, secure }
    }

    /// For the one server at `url`, also to post to: redirects are followed, but not from http to
    /// https. Fails where nothing is named by a file and what is written cannot be used.
    pub(crate) fn following(config: HttpConfig, url: &Url) -> Result<Self, HttpError> {
        let is_https = url.scheme() == "https";
        let pinned = url.host_str().filter(|_| is_https && config.tls.server_name.is_some());
        let pinned = pinned.map(str::to_owned);
        let client = Self { follows: true, pinned, ..Self::new(config, is_https) };
        if !client.config.has_files() {
            client.renew(Material::read(&client.config)?)?;
        }
        Ok(client)
    }

    /// A request to `url` with all that the configuration says, to be completed and sent.
    pub(crate) async fn prepare(
        &self,
        method: Method,
        url: &Url,
    ) -> Result<reqwest::RequestBuilder, HttpError> {
        let ready = self.ready().await?;
        Ok(self.request(method, &ready, url, url, &HeaderMap::new()))
    }

    /// For the one server at `host`, which shall answer to [`TlsConfig::server_name`].
    pub(crate) fn pinned(config: HttpConfig, host: &str) -> Self {
        Self { pinned: Some(host.to_owned()), ..Self::new(config, true) }
    }

    /// Asks for `url` and follows where the answer leads. Credentials go to its host only.
    pub(crate) async fn get(&self, url: &Url, headers: &HeaderMap) -> Result<Response, HttpError> {
        let mut ready = self.ready().await?;
        let mut at = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.request(Method::GET, &ready, url, &at, headers).send().await;
            let response = response.map_err(|error| HttpError::Exchange(error.without_url()))?;
            let next = self.config.follow_redirects.then(|| redirect(&at, &response)).flatten();
            match next {
                None => return Ok(response),
                Some(next) => at = allowed(&at, next?)?,
            }
            if at.scheme() == "https" && !self.is_https {
                // A client without TLS has no roots to trust in.
                ready = self.secure().ready().await?;
            }
        }
        Err(HttpError::TooManyRedirects)
    }

    fn secure(&self) -> &Self {
        self.secure.get_or_init(|| Box::new(Self::new(self.config.clone(), true)))
    }

    /// Sends `body` to `url`. An answer that leads elsewhere is given back as it is.
    pub(crate) async fn post(
        &self,
        url: &Url,
        headers: &HeaderMap,
        body: Vec<u8>,
    ) -> Result<Response, HttpError> {
        let ready = self.ready().await?;
        let request = self.request(Method::POST, &ready, url, url, headers).body(body);
        request.send().await.map_err(|error| HttpError::Exchange(error.without_url()))
    }

    fn request(
        &self,
        method: Method,
        ready: &Ready,
        first: &Url,
        at: &Url,
        headers: &HeaderMap,
    ) -> reqwest::RequestBuilder {
        let is_home = at.origin() == first.origin();
        let address = self.address(at, is_home);
        let mut request = ready.client.request(method, address).headers(headers.clone());
        if !self.config.enable_compression {
            request = request.header(ACCEPT_ENCODING, "identity");
        }
        if let Some(authorization) = ready.authorization.clone().filter(|_| is_home) {
            request = request.header(AUTHORIZATION, authorization);
        }
        match host(at).filter(|_| is_home && self.pinned.is_some()) {
            Some(host) => request.header(HOST, host),
            None => request,
        }
    }

    /// The URL to give to the client, which takes the name for TLS from it.
    fn address(&self, url: &Url, is_home: bool) -> Url {
        let mut url = url.clone();
        if let Some(name) = self.config.tls.server_name.as_deref()
            && self.pinned.is_some()
            && is_home
        {
            // Fails only for names that no certificate has; the look-up fails then.
            let _ = url.set_host(Some(name));
        }
        url
    }

    /// The client for what the files hold now.
    async fn ready(&self) -> Result<Ready, HttpError> {
        if let Some(ready) = self.fresh() {
            return Ok(ready);
        }
        let config = self.config.clone();
        let material = match config.has_files() {
            false => Material::read(&config)?,
            true => match tokio::task::spawn_blocking(move || Material::read(&config)).await {
                Ok(material) => material?,
                Err(gone) => return Err(unread(gone)),
            },
        };
        self.renew(material)
    }

    fn fresh(&self) -> Option<Ready> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let current = state.as_ref()?;
        let is_fresh = !self.config.has_files() || current.checked.elapsed() < RECHECK_EVERY;
        is_fresh.then(|| current.ready.clone())
    }

    /// Keeps connections where only a token changed, or nothing.
    fn renew(&self, material: Material) -> Result<Ready, HttpError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let same_tls = |old: &&Current| {
            old.material.ca == material.ca && old.material.identity == material.identity
        };
        let client = match state.as_ref().filter(same_tls) {
            Some(old) => old.ready.client.clone(),
            None => self.build(&material)?,
        };
        let ready = Ready { client, authorization: material.header()? };
        *state = Some(Current { material, ready: ready.clone(), checked: Instant::now() });
        Ok(ready)
    }

    fn build(&self, material: &Material) -> Result<Client, HttpError> {
        let mut builder = base_client(self.is_https && material.ca.is_none() && !self.trusts_all())
            .redirect(self.redirects())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .gzip(self.config.enable_compression);
        if let Some(ca) = &material.ca {
            let roots = Certificate::from_pem_bundle(ca.expose().as_bytes());
            builder = builder.tls_certs_only(roots.map_err(HttpError::Certificate)?);
        }
        if let Some(identity) = &material.identity {
            let identity = Identity::from_pem(identity.expose().as_bytes());
            builder = builder.identity(identity.map_err(HttpError::Certificate)?);
        }
        if let Some(proxy) = &self.config.proxy {
            builder = builder.proxy(Proxy::all(proxy.expose()).map_err(HttpError::Proxy)?);
        }
        if let (Some(host), Some(name)) = (&self.pinned, &self.config.tls.server_name) {
            builder = builder.dns_resolver(Pinned { name: name.clone(), host: host.clone() });
        }
        let oldest = match self.config.tls.min_version {
            TlsVersion::Tls12 => tls::Version::TLS_1_2,
            TlsVersion::Tls13 => tls::Version::TLS_1_3,
        };
        let builder =
            builder.tls_version_min(oldest).tls_danger_accept_invalid_certs(self.trusts_all());
        builder.build().map_err(HttpError::Client)
    }

    fn redirects(&self) -> Policy {
        match self.follows && self.config.follow_redirects {
            true => following(self.is_https),
            false => Policy::none(),
        }
    }

    fn trusts_all(&self) -> bool {
        self.config.tls.insecure_skip_verify
    }
}

/// The thread that reads files was cancelled, which happens when the program ends.
fn unread(gone: tokio::task::JoinError) -> HttpError {
    HttpError::File { path: PathBuf::new(), source: io::Error::other(gone) }
}

impl Material {
    fn read(config: &HttpConfig) -> Result<Self, HttpError> {
        let optional = |source: &Option<SecretSource>| source.as_ref().map(read).transpose();
        let authorization = config.auth.as_ref().map(Auth::read).transpose()?;
        let identity = match (optional(&config.tls.cert)?, optional(&config.tls.key)?) {
            (Some(cert), Some(key)) => {
                Some(Secret::new(format!("{}\n{}\n", cert.expose(), key.expose())))
            }
            _ => None,
        };
        Ok(Self { authorization, ca: optional(&config.tls.ca)?, identity })
    }

    fn header(&self) -> Result<Option<HeaderValue>, HttpError> {
        self.authorization.as_ref().map(header).transpose()
    }
}

/// Where an answer sends us, if it does.
fn redirect(at: &Url, response: &Response) -> Option<Result<Url, HttpError>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?;
    let url = location.to_str().ok().and_then(|location| at.join(location).ok());
    Some(url.ok_or(HttpError::Redirect))
}

/// Only http and https, and from TLS to TLS.
fn allowed(from: &Url, to: Url) -> Result<Url, HttpError> {
    match (from.scheme(), to.scheme()) {
        ("http", "http" | "https") | ("https", "https") => Ok(to),
        _ => Err(HttpError::Redirect),
    }
}

/// What the `Host` header of a request says.
fn host(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// An answer may lead to another address, but not from http to https.
fn following(is_https: bool) -> Policy {
    Policy::custom(move |attempt| {
        if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error(HttpError::TooManyRedirects)
        } else if attempt.url().scheme() == "https" && !is_https {
            attempt.error(HttpError::ToHttps)
        } else {
            attempt.follow()
        }
    })
}

/// Why an answer was not followed to where it leads; `None` for another trouble.
pub(crate) fn wrong_redirect(error: &reqwest::Error) -> Option<&'static str> {
    chain(error).find_map(|cause| match cause.downcast_ref() {
        Some(HttpError::ToHttps) => Some("to https: give its address with `https://`"),
        Some(HttpError::TooManyRedirects) => Some("in a circle: give the address it ends at"),
        _ => None,
    })
}

/// No proxy of the environment stands between a monitor and its target.
fn base_client(needs_roots: bool) -> ClientBuilder {
    // An error means that the program has chosen a provider before; that one serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .user_agent(concat!("oddns/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .pool_max_idle_per_host(1)
        .dns_resolver(SystemResolver);
    if needs_roots {
        return builder;
    }
    // Without TLS no certificates are needed: loading them costs memory, and fails in containers
    // that have none.
    builder.tls_certs_only([])
}

/// What broke when a request failed without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    Dns,
    Refused,
    Connect,
    Body,
}

impl Broken {
    pub(crate) fn of(error: &reqwest::Error) -> Self {
        if !error.is_connect() {
            return Self::Body;
        }
        if chain(error).any(|cause| cause.is::<ResolveError>()) {
            return Self::Dns;
        }
        let is_refusal = |cause: &io::Error| cause.kind() == io::ErrorKind::ConnectionRefused;
        if chain(error).any(|cause| cause.downcast_ref().is_some_and(is_refusal)) {
            return Self::Refused;
        }
        Self::Connect
    }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The system's resolver, with an error that can be told from a failed connection.
struct SystemResolver;

/// Resolves one name as if it were another host.
struct Pinned {
    name: String,
    host: String,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot resolve `{host}`")]
struct ResolveError {
    host: String,
    source: io::Error,
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(look_up(name.as_str().to_owned()))
    }
}

impl Resolve for Pinned {
    fn resolve(&self, name: Name) -> Resolving {
        let is_ours = name.as_str().eq_ignore_ascii_case(&self.name);
        let host = if is_ours { self.host.clone() } else { name.as_str().to_owned() };
        Box::pin(look_up(host))
    }
}

async fn look_up(host: String) -> Result<Addrs, Box<dyn Error + Send + Sync>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(Box::new(std::iter::once(SocketAddr::new(address, 0))));
    }
    // The port is the URL's; 0 stands for it here.
    let found = tokio::net::lookup_host((host.as_str(), 0))
        .await
        .map(|addresses| addresses.collect::<Vec<SocketAddr>>());
    match found {
        Ok(addresses) => Ok(Box::new(addresses.into_iter()) as Addrs),
        Err(source) => Err(ResolveError { host, source }.into()),
    }
}
