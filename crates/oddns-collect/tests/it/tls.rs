//! Scrapes over TLS, with credentials, and where answers lead.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use oddns_collect::{
    Auth, HttpConfig, JobConfig, Scraped, Secret, SecretSource, TlsConfig, TlsVersion,
};
use oddns_core::{SeriesTable, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::journal::{metrics, serve};
use crate::target::scraper;

/// An authority, a server's certificate for `coredns.test`, and a client's, as PEM files.
struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        for name in ["coredns.test", "client.test"] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            std::fs::write(folder.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
            std::fs::write(folder.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn source(&self, name: &str) -> Option<SecretSource> {
        Some(SecretSource::File(self.path(name)))
    }

    /// Trusts the authority and asks for the server by its name.
    fn trusting(&self) -> TlsConfig {
        let server_name = Some("coredns.test".to_owned());
        TlsConfig { ca: self.source("ca.pem"), server_name, ..TlsConfig::default() }
    }

    fn server(
        &self,
        asks_for_client: bool,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ServerConfig {
        let builder = ServerConfig::builder_with_protocol_versions(versions);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        let builder = match asks_for_client {
            true => builder.with_client_cert_verifier(verifier),
            false => builder.with_no_client_auth(),
        };
        let certificate = CertificateDer::from_pem_file(self.path("coredns.test.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.path("coredns.test.key")).unwrap();
        builder.with_single_cert(vec![certificate], key).unwrap()
    }
}

/// Serves metrics over TLS; its address.
async fn serve_tls(config: ServerConfig) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut piece = [0; 4096];
                while let Ok(1..) = stream.read(&mut piece).await {
                    let _ = stream.write_all(metrics().as_bytes()).await;
                }
            });
        }
    });
    address
}

async fn scrape(url: &str, http: HttpConfig) -> Scraped {
    let config = JobConfig { timeout: Duration::from_secs(5), http, ..JobConfig::new("test") };
    scraper(url, config).scrape(Timestamp::default(), &mut SeriesTable::default()).await
}

/// `up`, or the kind of the error.
async fn outcome(url: &str, tls: TlsConfig) -> &'static str {
    let scraped = scrape(url, HttpConfig { tls, ..HttpConfig::default() }).await;
    scraped.error.map_or("up", |error| error.kind())
}

const BOTH: &[&rustls::SupportedProtocolVersion] =
    &[&rustls::version::TLS12, &rustls::version::TLS13];

#[tokio::test]
async fn a_server_is_trusted_by_authority_and_name() {
    let certificates = Certificates::new();
    let url = format!("https://{}", serve_tls(certificates.server(false, BOTH)).await);
    assert_eq!(outcome(&url, certificates.trusting()).await, "up");
    // Its certificate is not for 127.0.0.1.
    let nameless = TlsConfig { server_name: None, ..certificates.trusting() };
    assert_eq!(outcome(&url, nameless).await, "connect");
    let other = TlsConfig { server_name: Some("other.test".into()), ..certificates.trusting() };
    assert_eq!(outcome(&url, other).await, "connect");
    let careless = TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() };
    assert_eq!(outcome(&url, careless).await, "up");
    // The client's certificate is no authority.
    let wrong = TlsConfig { ca: certificates.source("client.test.pem"), ..certificates.trusting() };
    assert_eq!(outcome(&url, wrong).await, "connect");
    let missing = TlsConfig { ca: certificates.source("none.pem"), ..certificates.trusting() };
    assert_eq!(outcome(&url, missing).await, "client");
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_it() {
    let certificates = Certificates::new();
    let url = format!("https://{}", serve_tls(certificates.server(true, BOTH)).await);
    let known = TlsConfig {
        cert: certificates.source("client.test.pem"),
        key: certificates.source("client.test.key"),
        ..certificates.trusting()
    };
    assert_eq!(outcome(&url, known.clone()).await, "up");
    assert_ne!(outcome(&url, certificates.trusting()).await, "up");
    let unfit = TlsConfig { key: certificates.source("client.test.pem"), ..known };
    assert_eq!(outcome(&url, unfit).await, "client");
}

#[tokio::test]
async fn the_oldest_version_is_ours_to_say() {
    let certificates = Certificates::new();
    let old = certificates.server(false, &[&rustls::version::TLS12]);
    let url = format!("https://{}", serve_tls(old).await);
    assert_eq!(outcome(&url, certificates.trusting()).await, "up");
    let strict = TlsConfig { min_version: TlsVersion::Tls13, ..certificates.trusting() };
    assert_eq!(outcome(&url, strict).await, "connect");
}

/// A server that wants the token in `Authorization`, which is in the path's end.
fn wants(path: &Path) -> HttpConfig {
    let credentials = SecretSource::File(path.to_owned());
    let auth = Some(Auth::Token { scheme: "Bearer".to_owned(), credentials });
    HttpConfig { auth, ..HttpConfig::default() }
}

/// Keeps the heads of requests; says metrics.
async fn listening() -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (heads, heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heads = heads.clone();
            tokio::spawn(async move {
                let mut piece = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut piece).await {
                    let _ = heads.send(String::from_utf8_lossy(&piece[..length]).to_lowercase());
                    let _ = stream.write_all(metrics().as_bytes()).await;
                }
            });
        }
    });
    (address, heard)
}

#[tokio::test]
async fn a_token_that_changes_on_disk_is_sent_anew() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    let (address, mut heard) = listening().await;
    std::fs::write(&token, "first\n").unwrap();
    let config = JobConfig { http: wants(&token), ..JobConfig::new("test") };
    let mut scraper = scraper(&address, config);
    let mut table = SeriesTable::default();
    for (text, expected) in [("first", "first"), ("second", "second")] {
        std::fs::write(&token, text).unwrap();
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(2)).await;
        tokio::time::resume();
        assert!(scraper.scrape(Timestamp::default(), &mut table).await.scrape.up);
        let head = heard.recv().await.unwrap();
        assert!(head.contains(&format!("authorization: bearer {expected}\r\n")), "{head}");
    }
    std::fs::remove_file(&token).unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    let error = scraper.scrape(Timestamp::default(), &mut table).await.error.unwrap();
    assert_eq!(error.kind(), "client");
}

#[tokio::test]
async fn answers_lead_elsewhere_without_our_credentials_and_not_for_ever() {
    let (elsewhere, mut heard) = listening().await;
    let there = elsewhere.clone();
    let server = serve(move |request| {
        let to = match request {
            r if r.contains("/circle") => "/circle".to_owned(),
            r if r.contains("/file") => "file:///etc/passwd".to_owned(),
            _ => format!("http://{there}/metrics"),
        };
        format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
    })
    .await;
    let secret = || SecretSource::Inline(Secret::new("hunter2"));
    let auth = Some(Auth::Basic { username: secret(), password: Some(secret()) });
    let http = HttpConfig { auth, ..HttpConfig::default() };
    let scraped = scrape(&format!("http://{server}/m"), http.clone()).await;
    assert!(scraped.scrape.up, "{:?}", scraped.error);
    let head = heard.recv().await.unwrap();
    assert!(!head.contains("authorization"), "{head}");
    for path in ["circle", "file"] {
        let error = scrape(&format!("http://{server}/{path}"), http.clone()).await.error.unwrap();
        assert_eq!(error.kind(), "redirect", "{error:?}");
    }
    let stays = HttpConfig { follow_redirects: false, ..http };
    let error = scrape(&format!("http://{server}/m"), stays).await.error.unwrap();
    assert!(error.to_string().ends_with("`follow_redirects` is off"), "{error}");
    assert!(heard.try_recv().is_err());
}

#[tokio::test]
async fn a_proxy_is_asked_instead() {
    let (proxy, mut heard) = listening().await;
    let http =
        HttpConfig { proxy: Some(Secret::new(format!("http://{proxy}"))), ..HttpConfig::default() };
    let scraped = scrape("http://coredns.invalid:9153/m", http).await;
    assert!(scraped.scrape.up, "{:?}", scraped.error);
    let head = heard.recv().await.unwrap();
    assert!(head.starts_with("get http://coredns.invalid:9153/m http/1.1\r\n"), "{head}");
}
