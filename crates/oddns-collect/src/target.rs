//! The address of one server's metrics.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use reqwest::Url;

/// Where CoreDNS's `prometheus` plugin listens unless told otherwise.
const DEFAULT_PORT: u16 = 9153;

/// A longer text is no address that a person wrote.
const MAX_BYTES: usize = 2048;

/// A server to scrape; cheap to clone. `Display` and `Debug` show neither credentials nor the query.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Scheme http or https, with a host and a path other than `/`.
    url: Arc<Url>,
}

/// A text that is no address of metrics.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseTargetError {
    /// Nothing or only blanks.
    #[error("the target is empty: write an address such as `http://127.0.0.1:9153/metrics`")]
    Empty,
    /// More than 2048 bytes.
    #[error("the target has {0} bytes: an address has at most 2048")]
    TooLong(usize),
    /// Something else than HTTP.
    #[error("target scheme `{0}` is not supported: write `http://` or `https://`")]
    Scheme(String),
    /// The address does not parse. The text is not repeated, since it may hold a password.
    #[error("the target is no address ({0}): write `http://127.0.0.1:9153/metrics`")]
    Address(String),
}

impl Target {
    /// The address with everything in it, for sending a request; it may hold a password.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// `host:port`, as in Prometheus's `instance` label.
    pub fn instance(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        format!("{host}:{}", self.url.port_or_known_default().unwrap_or(DEFAULT_PORT))
    }

    /// Whether the scrape goes over TLS.
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }
}

/// Accepts a URL, `host:port/path`, `host:port`, and a bare host, which gets CoreDNS's port 9153.
/// A missing path, and `/`, become `/metrics`; a fragment is dropped.
impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ParseTargetError::Empty);
        }
        if text.len() > MAX_BYTES {
            return Err(ParseTargetError::TooLong(text.len()));
        }
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        let full = match scheme.as_deref() {
            None => format!("http://{text}"),
            Some("http" | "https") => text.to_owned(),
            Some(other) => {
                return Err(ParseTargetError::Scheme(other.chars().take(20).collect()));
            }
        };
        let mut url =
            Url::parse(&full).map_err(|error| ParseTargetError::Address(error.to_string()))?;
        if scheme.is_none() && !names_port(text) {
            // Fails only for URLs without a host, which http does not have.
            let _ = url.set_port(Some(DEFAULT_PORT));
        }
        if matches!(url.path(), "" | "/") {
            url.set_path("/metrics");
        }
        url.set_fragment(None);
        Ok(Self { url: Arc::new(url) })
    }
}

/// Whether a port was written; [`Url`] forgets one that is the scheme's own.
fn names_port(text: &str) -> bool {
    let authority = text.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    host.rsplit(']').next().is_some_and(|after| after.contains(':'))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_redacted(&self.url, f)
    }
}

/// Writes `url` without credentials and query.
pub(crate) fn write_redacted(url: &Url, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let has_user = !url.username().is_empty() || url.password().is_some();
    write!(f, "{}://{}", url.scheme(), if has_user { "***@" } else { "" })?;
    write!(f, "{}", url.host_str().unwrap_or_default())?;
    if let Some(port) = url.port() {
        write!(f, ":{port}")?;
    }
    write!(f, "{}{}", url.path(), if url.query().is_some() { "?***" } else { "" })
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, shown, instance) in [
            ("http://127.0.0.1:9153/metrics", "http://127.0.0.1:9153/metrics", "127.0.0.1:9153"),
            ("127.0.0.1:9153", "http://127.0.0.1:9153/metrics", "127.0.0.1:9153"),
            ("localhost:9153/", "http://localhost:9153/metrics", "localhost:9153"),
            (" dns.example ", "http://dns.example:9153/metrics", "dns.example:9153"),
            ("dns.example:80", "http://dns.example/metrics", "dns.example:80"),
            ("[::1]", "http://[::1]:9153/metrics", "[::1]:9153"),
            ("[::1]:9200/m", "http://[::1]:9200/m", "[::1]:9200"),
            ("HTTPS://dns.example/m#top", "https://dns.example/m", "dns.example:443"),
            ("http://a:b@h:1/m?token=x", "http://***@h:1/m?***", "h:1"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), shown, "{text}");
            assert_eq!(target.instance(), instance, "{text}");
        }
    }

    #[test]
    fn never_shows_secrets() {
        let target: Target = "https://user:hunter2@h/m?token=hunter2".parse().unwrap();
        assert!(!format!("{target} {target:?}").contains("hunter2"));
        let error = "http://user:hunter2@h:port/m".parse::<Target>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn refuses_the_rest() {
        use ParseTargetError::{Address, Empty, Scheme, TooLong};
        assert_eq!("".parse::<Target>(), Err(Empty));
        assert_eq!("ftp://h/m".parse::<Target>(), Err(Scheme("ftp".into())));
        assert_eq!("file:///etc/passwd".parse::<Target>(), Err(Scheme("file".into())));
        assert_eq!("h".repeat(3000).parse::<Target>(), Err(TooLong(3000)));
        for text in ["http://", "h:99999", "http://[::1", "http://a b/", ":9153"] {
            assert!(matches!(text.parse::<Target>(), Err(Address(_))), "{text}");
        }
    }
}
