//! Who may talk to our own server, and how: TLS, users, and a limit for those who guess. The file and
//! the certificates are read again when they change; a bad one leaves the one before in force.

mod login;

use std::fmt;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use oddns_collect::{SecretSource, TlsVersion};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, version};

use crate::config::{ConfigError, WebConfig, WebTls, check_web_config};
pub(crate) use login::{Login, Verdict};

/// Files are looked at so often at most.
const RECHECK_EVERY: Duration = Duration::from_secs(1);
/// A file of certificates is smaller.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why the file of `--web.config.file`, or what it names, cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// A file.
    #[error("cannot read `{}`: check that it is there and that oddns may read it", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What it says.
    #[error("`{}`", path.display())]
    Config {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: ConfigError,
    },
    /// Certificates or keys.
    #[error("cannot use the certificates or the key: they must be PEM, and fit each other")]
    Certificate(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The rules of our own server.
pub struct WebSecurity {
    path: PathBuf,
    current: Mutex<Current>,
    login: Login,
}

struct Current {
    checked: Instant,
    /// All bytes that the rules were made of.
    bytes: Vec<Vec<u8>>,
    rules: Arc<Rules>,
    /// Whether the files are good now.
    is_good: bool,
}

/// The rules as they are.
pub(crate) struct Rules {
    pub(crate) config: WebConfig,
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

impl fmt::Debug for WebSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSecurity").field("path", &self.path).finish_non_exhaustive()
    }
}

impl WebSecurity {
    /// Reads the file at `path` and what it names.
    pub fn open(path: &Path) -> Result<Self, WebError> {
        let (bytes, rules) = read(path)?;
        let checked = Instant::now();
        let current = Current { checked, bytes, rules: Arc::new(rules), is_good: true };
        let (path, current) = (path.to_owned(), Mutex::new(current));
        Ok(Self { path, current, login: Login::default() })
    }

    /// Whether only those get in who can show who they are.
    pub fn asks_who(&self) -> bool {
        self.rules().config.asks_who()
    }

    /// Whether TLS is spoken.
    pub fn has_tls(&self) -> bool {
        self.rules().tls.is_some()
    }

    /// Whether the files can be used as they are now; if not, the rules before are in force.
    pub(crate) fn is_good(&self) -> bool {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).is_good
    }

    pub(crate) fn login(&self) -> &Login {
        &self.login
    }

    /// The rules by what the files say now. Reads small files once a second at most.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.checked.elapsed() >= RECHECK_EVERY {
            current.checked = Instant::now();
            match read(&self.path) {
                Ok((bytes, rules)) => {
                    current.is_good = true;
                    if bytes != current.bytes {
                        (current.bytes, current.rules) = (bytes, Arc::new(rules));
                    }
                }
                Err(_) => current.is_good = false,
            }
        }
        Arc::clone(&current.rules)
    }
}

fn read(path: &Path) -> Result<(Vec<Vec<u8>>, Rules), WebError> {
    let text = read_file(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let shown = String::from_utf8_lossy(&text);
    let config = check_web_config(&shown, folder)
        .map_err(|source| WebError::Config { path: path.to_owned(), source })?;
    let mut bytes = vec![text];
    let tls = match &config.tls {
        Some(tls) => Some(Arc::new(server_config(tls, &mut bytes)?)),
        None => None,
    };
    Ok((bytes, Rules { config, tls }))
}

fn server_config(tls: &WebTls, bytes: &mut Vec<Vec<u8>>) -> Result<ServerConfig, WebError> {
    let mut pem = |source: &SecretSource| {
        let text = content(source)?;
        bytes.push(text.clone());
        Ok::<_, WebError>(text)
    };
    let (cert, key) = (pem(&tls.cert)?, pem(&tls.key)?);
    let chain = certificates(&cert)?;
    let key = PrivateKeyDer::from_pem_reader(BufReader::new(key.as_slice())).map_err(unusable)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: &[_] = match tls.min_version {
        TlsVersion::Tls12 => &[&version::TLS13, &version::TLS12],
        TlsVersion::Tls13 => &[&version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(unusable)?;
    let builder = match &tls.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&pem(&clients.ca)?)? {
                roots.add(certificate).map_err(unusable)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier =
                if clients.optional { verifier.allow_unauthenticated() } else { verifier };
            builder.with_client_cert_verifier(verifier.build().map_err(unusable)?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, WebError> {
    let certificates = CertificateDer::pem_reader_iter(BufReader::new(pem));
    certificates.collect::<Result<_, _>>().map_err(unusable)
}

fn unusable(error: impl std::error::Error + Send + Sync + 'static) -> WebError {
    WebError::Certificate(Box::new(error))
}

fn content(source: &SecretSource) -> Result<Vec<u8>, WebError> {
    match source {
        SecretSource::Inline(secret) => Ok(secret.expose().as_bytes().to_vec()),
        SecretSource::File(path) => read_file(path),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, WebError> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes));
    read.map_err(|source| WebError::Read { path: path.to_owned(), source })?;
    Ok(bytes)
}
