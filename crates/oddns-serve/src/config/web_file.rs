//! The file of `--web.config.file`: who may see the page, and how it is served. The format is that of
//! Prometheus's own programs (exporter-toolkit).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oddns_collect::{Secret, SecretSource, TlsVersion};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::files::Files;
use super::http::either;
use super::mistake::{ConfigError, at, parse_error, wrong};

/// What bcrypt's own hashes begin with.
const HASHES: [&str; 4] = ["$2a$", "$2b$", "$2x$", "$2y$"];
/// Costs above take seconds for each log-in.
const MAX_COST: u32 = 14;
/// No file written by a person comes near.
const MAX_BYTES: usize = 1 << 20;

/// How our own page and API are served.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebConfig {
    /// With TLS only; `None` for plain HTTP.
    pub tls: Option<WebTls>,
    /// Names with the bcrypt hashes of their passwords; without any, nobody is asked who they are.
    pub users: BTreeMap<String, Secret>,
    /// Value of the header `Strict-Transport-Security`.
    pub strict_transport_security: Option<String>,
}

/// Certificates of our server, and of its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebTls {
    /// Our certificate with those that vouch for it, in PEM.
    pub cert: SecretSource,
    /// Its key, in PEM.
    pub key: SecretSource,
    /// Whether clients show certificates, and whom these must come from.
    pub clients: Option<ClientCertificates>,
    /// The oldest version of TLS.
    pub min_version: TlsVersion,
}

/// What clients have to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Certificates, in PEM, that theirs must come from.
    pub ca: SecretSource,
    /// Whether they may show none.
    pub optional: bool,
}

impl WebConfig {
    /// Whether it lets only those in who can show who they are.
    pub fn asks_who(&self) -> bool {
        let clients = self.tls.as_ref().and_then(|tls| tls.clients.as_ref());
        !self.users.is_empty() || clients.is_some_and(|clients| !clients.optional)
    }
}

/// Checks the text of the file. Files that it names are relative to `folder`, and are not looked at.
/// An empty text is valid: plain HTTP for everybody.
pub fn check_web_config(text: &str, folder: &Path) -> Result<WebConfig, ConfigError> {
    if text.len() > MAX_BYTES {
        let message = format!("the file has more than {MAX_BYTES} bytes: is it the right file?");
        return Err(ConfigError { line: 1, column: 1, message });
    }
    let written: Option<Written> = serde_saphyr::from_str(text).map_err(|e| parse_error(&e))?;
    let written = written.unwrap_or_default();
    let mut files = Files::new(folder);
    let tls = written.tls_server_config.map(|tls| tls.resolve(&mut files)).transpose()?.flatten();
    let mut users = BTreeMap::new();
    for (name, hash) in written.basic_auth_users.unwrap_or_default() {
        check_hash(&name, &hash)?;
        users.insert(name, Secret::new(hash.value));
    }
    let server = written.http_server_config.unwrap_or_default();
    let strict_transport_security =
        server.headers.and_then(|headers| headers.strict_transport_security);
    if let Some(value) = strict_transport_security.as_ref().filter(|v| !is_header(&v.value)) {
        return Err(wrong(value, "this is no value of a header"));
    }
    let strict_transport_security = strict_transport_security.map(|value| value.value);
    Ok(WebConfig { tls, users, strict_transport_security })
}

fn is_header(value: &str) -> bool {
    value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Written {
    tls_server_config: Option<WrittenTls>,
    http_server_config: Option<WrittenHttp>,
    basic_auth_users: Option<BTreeMap<String, Spanned<String>>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WrittenTls {
    cert: Option<Spanned<String>>,
    cert_file: Option<Spanned<PathBuf>>,
    key: Option<Spanned<String>>,
    key_file: Option<Spanned<PathBuf>>,
    client_auth_type: Option<Spanned<String>>,
    client_ca: Option<Spanned<String>>,
    client_ca_file: Option<Spanned<PathBuf>>,
    min_version: Option<Spanned<String>>,
    max_version: Option<Spanned<String>>,
    /// Ours are good, and theirs need no order.
    #[serde(rename = "prefer_server_cipher_suites")]
    _prefer: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WrittenHttp {
    /// HTTP 1.1 is spoken, whatever it says.
    #[serde(rename = "http2")]
    _http2: Option<bool>,
    headers: Option<WrittenHeaders>,
}

/// The other headers that exporter-toolkit lets people set are always sent, and strict.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WrittenHeaders {
    #[serde(rename = "Strict-Transport-Security")]
    strict_transport_security: Option<Spanned<String>>,
}

impl WrittenTls {
    fn resolve(self, files: &mut Files) -> Result<Option<WebTls>, ConfigError> {
        let cert = either(("cert", self.cert), ("cert_file", self.cert_file), files)?;
        let key = either(("key", self.key), ("key_file", self.key_file), files)?;
        let (cert, key) = match (cert, key) {
            (Some((cert, _)), Some((key, _))) => (cert, key),
            (None, None) => return Ok(None),
            (Some((_, place)), None) => {
                return Err(at(&place, "a certificate without its key: add `key_file`"));
            }
            (None, Some((_, place))) => {
                return Err(at(&place, "a key without its certificate: add `cert_file`"));
            }
        };
        let ca =
            either(("client_ca", self.client_ca), ("client_ca_file", self.client_ca_file), files)?;
        let ca = ca.map(|(ca, _)| ca);
        let clients = clients(self.client_auth_type.as_ref(), ca)?;
        let min_version = self.min_version.as_ref().map_or(Ok(TlsVersion::Tls12), version)?;
        if let Some(max) = self.max_version.as_ref().filter(|max| max.value != "TLS13") {
            return Err(wrong(max, "the newest version both sides speak is used: leave it out"));
        }
        Ok(Some(WebTls { cert, key, clients, min_version }))
    }
}

fn clients(
    kind: Option<&Spanned<String>>,
    ca: Option<SecretSource>,
) -> Result<Option<ClientCertificates>, ConfigError> {
    let Some(kind) = kind else { return Ok(None) };
    let optional = match kind.value.as_str() {
        "" | "NoClientCert" => return Ok(None),
        "VerifyClientCertIfGiven" => true,
        "RequireAndVerifyClientCert" => false,
        other => {
            let message = format!(
                "`{other}` is not supported: write NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert"
            );
            return Err(wrong(kind, message));
        }
    };
    let missing = || wrong(kind, "certificates of clients need `client_ca_file`");
    Ok(Some(ClientCertificates { ca: ca.ok_or_else(missing)?, optional }))
}

fn version(written: &Spanned<String>) -> Result<TlsVersion, ConfigError> {
    match written.value.as_str() {
        "TLS10" | "TLS11" | "TLS12" => Ok(TlsVersion::Tls12),
        "TLS13" => Ok(TlsVersion::Tls13),
        other => {
            let message = format!("version `{other}` is not known: write TLS12 or TLS13");
            Err(wrong(written, message))
        }
    }
}

/// No message repeats what may be a password.
fn check_hash(user: &str, hash: &Spanned<String>) -> Result<(), ConfigError> {
    let text = &hash.value;
    let cost = text.get(4..6).and_then(|cost| cost.parse::<u32>().ok());
    let is_hash = text.len() == 60 && HASHES.iter().any(|begin| text.starts_with(begin));
    if user.is_empty() || user.contains(':') {
        return Err(wrong(hash, "a user name is empty or has a colon"));
    }
    match cost.filter(|_| is_hash) {
        None => {
            let message =
                format!("`{user}` has no bcrypt hash: make one with `htpasswd -nBC 10 \"\"`");
            Err(wrong(hash, message))
        }
        Some(cost) if !(4..=MAX_COST).contains(&cost) => {
            let message = format!("the hash of `{user}` has the cost {cost}: use 4 to {MAX_COST}");
            Err(wrong(hash, message))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        check_web_config(text, Path::new("")).unwrap_err().to_string()
    }

    #[test]
    fn what_exporter_toolkit_takes_is_taken() {
        let hash = format!("$2y$10${}", "a".repeat(53));
        let text = format!(
            "tls_server_config:\n  cert_file: c.pem\n  key_file: k.pem\n  client_auth_type: \
             RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  min_version: TLS13\n\
             http_server_config:\n  http2: true\n  headers:\n    Strict-Transport-Security: max-age=1\n\
             basic_auth_users:\n  alice: {hash}\n"
        );
        let config = check_web_config(&text, Path::new("/etc/oddns")).unwrap();
        let tls = config.tls.as_ref().unwrap();
        assert_eq!(tls.cert.file(), Some(Path::new("/etc/oddns/c.pem")));
        assert_eq!(tls.clients.as_ref().map(|clients| clients.optional), Some(false));
        assert_eq!(config.strict_transport_security.as_deref(), Some("max-age=1"));
        assert!(config.asks_who() && !format!("{config:?}").contains(&hash));
        let empty = check_web_config("", Path::new("")).unwrap();
        assert_eq!((empty.asks_who(), empty), (false, WebConfig::default()));
    }

    #[test]
    fn mistakes_are_told_with_their_place_and_without_secrets() {
        let plain = error("basic_auth_users:\n  alice: hunter2\n");
        assert!(plain.starts_with("line 2, column 10: `alice` has no bcrypt hash"), "{plain}");
        assert!(!plain.contains("hunter2"));
        let dear = format!("basic_auth_users: {{a: $2b$31${}}}", "a".repeat(53));
        assert!(error(&dear).contains("cost 31"), "{}", error(&dear));
        let lonely = error("tls_server_config: {cert_file: a}");
        assert!(lonely.contains("without its key"), "{lonely}");
        let any = "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAnyClientCert}";
        assert!(error(any).contains("is not supported"), "{}", error(any));
        assert!(error("web: 1").contains("unknown key `web`"), "{}", error("web: 1"));
    }
}
