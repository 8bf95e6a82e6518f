//! How to speak to a server: credentials, TLS, proxy. The same keys wherever something is asked.

use std::path::PathBuf;

use oddns_collect::{Auth, HttpConfig, Secret, SecretSource, TlsConfig, TlsVersion};
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::files::{Files, Kind};
use super::mistake::{ConfigError, at, wrong};

/// The keys about HTTP of one table. They stand in three tables, and `serde(flatten)` would turn
/// off the check for unknown keys; `with_http!` puts them there.
#[derive(Default)]
pub(super) struct WrittenHttp {
    pub(super) basic_auth: Option<WrittenBasicAuth>,
    pub(super) authorization: Option<WrittenAuthorization>,
    pub(super) bearer_token: Option<Spanned<String>>,
    pub(super) bearer_token_file: Option<Spanned<PathBuf>>,
    pub(super) tls_config: Option<WrittenTls>,
    pub(super) proxy_url: Option<Spanned<String>>,
    pub(super) follow_redirects: Option<bool>,
}

/// Declares a table with its own keys and those about HTTP.
macro_rules! with_http {
    ($(#[$meta:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        $(#[$meta])*
        pub(super) struct $name {
            $($(#[$field_meta])* $field: $type,)*
            basic_auth: Option<$crate::config::http::WrittenBasicAuth>,
            authorization: Option<$crate::config::http::WrittenAuthorization>,
            bearer_token: Option<Spanned<String>>,
            bearer_token_file: Option<Spanned<PathBuf>>,
            tls_config: Option<$crate::config::http::WrittenTls>,
            proxy_url: Option<Spanned<String>>,
            follow_redirects: Option<bool>,
            /// HTTP 1.1 is spoken, whatever it says.
            #[serde(rename = "enable_http2")]
            _enable_http2: Option<bool>,
        }

        impl $name {
            fn take_http(&mut self) -> $crate::config::http::WrittenHttp {
                $crate::config::http::WrittenHttp {
                    basic_auth: self.basic_auth.take(),
                    authorization: self.authorization.take(),
                    bearer_token: self.bearer_token.take(),
                    bearer_token_file: self.bearer_token_file.take(),
                    tls_config: self.tls_config.take(),
                    proxy_url: self.proxy_url.take(),
                    follow_redirects: self.follow_redirects.take(),
                }
            }
        }
    };
}
pub(super) use with_http;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenBasicAuth {
    username: Option<Spanned<String>>,
    username_file: Option<Spanned<PathBuf>>,
    password: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenAuthorization {
    #[serde(rename = "type")]
    scheme: Option<Spanned<String>>,
    credentials: Option<Spanned<String>>,
    credentials_file: Option<Spanned<PathBuf>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenTls {
    ca: Option<Spanned<String>>,
    ca_file: Option<Spanned<PathBuf>>,
    cert: Option<Spanned<String>>,
    cert_file: Option<Spanned<PathBuf>>,
    key: Option<Spanned<String>>,
    key_file: Option<Spanned<PathBuf>>,
    server_name: Option<Spanned<String>>,
    insecure_skip_verify: Option<bool>,
    min_version: Option<Spanned<String>>,
}

impl WrittenHttp {
    pub(super) fn resolve(self, files: &mut Files) -> Result<HttpConfig, ConfigError> {
        let proxy = self.proxy_url.as_ref().map(proxy).transpose()?;
        let follow_redirects = self.follow_redirects.unwrap_or(true);
        let tls = self.tls_config.map(|tls| tls.resolve(files)).transpose()?.unwrap_or_default();
        let bearer = either(
            ("bearer_token", self.bearer_token),
            ("bearer_token_file", self.bearer_token_file),
            files,
        )?;
        let mut ways = Vec::new();
        ways.extend(bearer.map(|(credentials, place)| {
            (Auth::Token { scheme: "Bearer".to_owned(), credentials }, place)
        }));
        ways.extend(self.basic_auth.map(|basic| basic.resolve(files)).transpose()?.flatten());
        ways.extend(self.authorization.map(|token| token.resolve(files)).transpose()?.flatten());
        if let [_, (_, place), ..] = ways.as_slice() {
            let message =
                "more than one of `basic_auth`, `authorization` and `bearer_token`: keep one";
            return Err(at(place, message));
        }
        let auth = ways.pop().map(|(auth, _)| auth);
        Ok(HttpConfig { auth, tls, follow_redirects, proxy, ..HttpConfig::default() })
    }
}

/// A secret that is written, or names a file; not both.
pub(super) fn either(
    inline: (&str, Option<Spanned<String>>),
    file: (&'static str, Option<Spanned<PathBuf>>),
    files: &mut Files,
) -> Result<Option<(SecretSource, Location)>, ConfigError> {
    match (inline.1, file.1) {
        (Some(_), Some(written)) => {
            let message = format!("both `{}` and `{}`: keep one", inline.0, file.0);
            Err(wrong(&written, message))
        }
        (Some(written), None) => {
            let place = written.referenced;
            Ok(Some((SecretSource::Inline(Secret::new(written.value)), place)))
        }
        (None, Some(written)) => {
            let path = files.name(file.0, Kind::Secret, &written);
            Ok(Some((SecretSource::File(path), written.referenced)))
        }
        (None, None) => Ok(None),
    }
}

impl WrittenBasicAuth {
    fn resolve(self, files: &mut Files) -> Result<Option<(Auth, Location)>, ConfigError> {
        let username =
            either(("username", self.username), ("username_file", self.username_file), files)?;
        let password =
            either(("password", self.password), ("password_file", self.password_file), files)?;
        let place = username.as_ref().or(password.as_ref()).map(|(_, place)| *place);
        let source = |found: Option<(SecretSource, Location)>| found.map(|(source, _)| source);
        let username = source(username).unwrap_or(SecretSource::Inline(Secret::default()));
        let auth = Auth::Basic { username, password: source(password) };
        Ok(place.map(|place| (auth, place)))
    }
}

impl WrittenAuthorization {
    fn resolve(self, files: &mut Files) -> Result<Option<(Auth, Location)>, ConfigError> {
        let scheme = self.scheme.as_ref().map_or("Bearer", |written| written.value.trim());
        if let Some(written) = self.scheme.as_ref().filter(|_| scheme.eq_ignore_ascii_case("basic"))
        {
            return Err(wrong(written, "type `Basic` is what `basic_auth` is for: write that"));
        }
        let scheme = scheme.to_owned();
        let credentials = either(
            ("credentials", self.credentials),
            ("credentials_file", self.credentials_file),
            files,
        )?;
        Ok(credentials.map(|(credentials, place)| (Auth::Token { scheme, credentials }, place)))
    }
}

impl WrittenTls {
    fn resolve(self, files: &mut Files) -> Result<TlsConfig, ConfigError> {
        let ca = either(("ca", self.ca), ("ca_file", self.ca_file), files)?;
        let cert = either(("cert", self.cert), ("cert_file", self.cert_file), files)?;
        let key = either(("key", self.key), ("key_file", self.key_file), files)?;
        match (&cert, &key) {
            (Some((_, place)), None) => {
                return Err(at(place, "a certificate without its key: add `key_file`"));
            }
            (None, Some((_, place))) => {
                return Err(at(place, "a key without its certificate: add `cert_file`"));
            }
            _ => {}
        }
        let source = |found: Option<(SecretSource, Location)>| found.map(|(source, _)| source);
        Ok(TlsConfig {
            ca: source(ca),
            cert: source(cert),
            key: source(key),
            server_name: self.server_name.as_ref().map(server_name).transpose()?,
            insecure_skip_verify: self.insecure_skip_verify.unwrap_or_default(),
            min_version: self
                .min_version
                .as_ref()
                .map_or(Ok(TlsVersion::default()), min_version)?,
        })
    }
}

fn server_name(written: &Spanned<String>) -> Result<String, ConfigError> {
    let name = &written.value;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.is_empty() || !name.chars().all(is_name) || name.parse::<std::net::IpAddr>().is_ok() {
        return Err(wrong(written, format!("`{name}` is no name of a server: write a DNS name")));
    }
    Ok(name.clone())
}

/// Older versions are never spoken, so asking for at least them asks for nothing.
fn min_version(written: &Spanned<String>) -> Result<TlsVersion, ConfigError> {
    match written.value.as_str() {
        "TLS10" | "TLS11" | "TLS12" => Ok(TlsVersion::Tls12),
        "TLS13" => Ok(TlsVersion::Tls13),
        other => {
            let message = format!("version `{other}` is not known: write TLS12 or TLS13");
            Err(wrong(written, message))
        }
    }
}

/// The text may hold a password, so no message repeats it.
fn proxy(written: &Spanned<String>) -> Result<Secret, ConfigError> {
    let text = &written.value;
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err(wrong(written, "`proxy_url` is no address of an http or https proxy"));
    }
    Ok(Secret::new(text.clone()))
}
