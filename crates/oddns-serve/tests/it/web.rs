//! Our own server with TLS and users, as `--web.config.file` describes them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oddns_serve::{Shared, View, WebSecurity, run_secured};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::client::{get, request};
use crate::scene;

/// Writes an authority's certificate, `ca.pem`, and one of its for each name.
fn certificates(folder: &Path, names: &[&str]) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let write = |name: String, text: String| std::fs::write(folder.join(name), text).unwrap();
    write("ca.pem".into(), authority.pem());
    for name in names {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![(*name).to_owned()]).unwrap();
        write(format!("{name}.pem"), params.signed_by(&key, &issuer).unwrap().pem());
        write(format!("{name}.key"), key.serialize_pem());
    }
}

async fn serve(config: &Path) -> SocketAddr {
    let security = Some(Arc::new(WebSecurity::open(config).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Shared::new(scene::recording());
    tokio::spawn(run_secured(listener, shared, security, std::future::pending()));
    address
}

fn written(folder: &Path, text: &str) -> std::path::PathBuf {
    let path = folder.join("web.yml");
    std::fs::write(&path, text).unwrap();
    path
}

fn users() -> String {
    format!("basic_auth_users:\n  alice: {}\n", bcrypt::hash("hunter2", 4).unwrap())
}

async fn status(address: SocketAddr, path: &str, pair: &str) -> u16 {
    let pair = STANDARD.encode(pair);
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Basic {pair}\r\n");
    request(address, &format!("{head}connection: close\r\n\r\n")).await.status
}

/// The status line over TLS; an error in words when no connection comes about.
async fn over_tls(
    address: SocketAddr,
    folder: &Path,
    client: Option<&str>,
) -> Result<String, String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let file = |name: String| folder.join(name);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("ca.pem".into())).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match client {
        None => config.with_no_client_auth(),
        Some(name) => {
            let chain = vec![CertificateDer::from_pem_file(file(format!("{name}.pem"))).unwrap()];
            let key = PrivateKeyDer::from_pem_file(file(format!("{name}.key"))).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("oddns.test").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.map_err(|e| e.to_string())?;
    let text = b"GET /-/healthy HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(text).await.map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).unwrap();
    text.lines().next().map(str::to_owned).ok_or_else(|| "no answer".to_owned())
}

#[tokio::test]
async fn only_those_with_a_password_see_anything() {
    let folder = tempfile::tempdir().unwrap();
    let address = serve(&written(folder.path(), &users())).await;
    for path in ["/", "/assets/app.js", "/api/v1/status", "/metrics", "/-/reload", "/nothing"] {
        let answer = get(address, path).await;
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.head.contains("www-authenticate: basic realm="), "{}", answer.head);
        assert!(answer.head.contains("content-security-policy: default-src 'none'"), "{path}");
        assert_eq!(status(address, path, "alice:wrong").await, 401, "{path}");
    }
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(get(address, path).await.status, 200, "{path}");
    }
    // Ten wrong ones came from here in a minute: now even the right one has to wait.
    for _ in 0..4 {
        status(address, "/", "alice:guess").await;
    }
    assert_eq!(status(address, "/", "alice:hunter2").await, 429);
}

#[tokio::test]
async fn the_right_password_opens_everything_and_a_new_one_holds_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = written(folder.path(), &users());
    let address = serve(&config).await;
    for path in ["/", "/api/v1/status", "/metrics"] {
        assert_eq!(status(address, path, "alice:hunter2").await, 200, "{path}");
    }
    let body = get(address, "/metrics").await.body;
    assert!(!body.contains("$2b$"), "{body}");
    // A bad file leaves the rules as they are, and shows.
    written(folder.path(), "basic_auth_users: {alice: plain}\n");
    let start = Instant::now();
    let bad = "\noddns_web_config_last_reload_successful 0.0\n";
    let pair = STANDARD.encode("alice:hunter2");
    let head = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let text = format!("{head}authorization: Basic {pair}\r\n\r\n");
    while !request(address, &text).await.body.contains(bad) {
        assert!(start.elapsed() < Duration::from_secs(20), "it was not read again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let new = users().replace("alice", "bob");
    written(folder.path(), &new);
    let start = Instant::now();
    while status(address, "/", "alice:hunter2").await != 401 {
        assert!(start.elapsed() < Duration::from_secs(20), "the old rules go on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(status(address, "/", "bob:hunter2").await, 200);
}

#[tokio::test]
async fn tls_asks_clients_for_certificates_and_takes_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path(), &["oddns.test", "client.test"]);
    let other = tempfile::tempdir().unwrap();
    certificates(other.path(), &["client.test"]);
    std::fs::copy(folder.path().join("ca.pem"), other.path().join("ca.pem")).unwrap();
    let text = "tls_server_config:\n  cert_file: oddns.test.pem\n  key_file: oddns.test.key\n  \
                client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n";
    let address = serve(&written(folder.path(), text)).await;
    let good = over_tls(address, folder.path(), Some("client.test")).await;
    assert_eq!(good.as_deref(), Ok("HTTP/1.1 200 OK"));
    assert!(over_tls(address, folder.path(), None).await.is_err());
    assert!(over_tls(address, other.path(), Some("client.test")).await.is_err());
    assert_eq!(get(address, "/-/healthy").await.status, 0, "plain HTTP is not answered");

    // A new authority: its certificates hold within seconds, the old ones no longer.
    std::fs::copy(folder.path().join("ca.pem"), other.path().join("ca.pem")).unwrap();
    certificates(folder.path(), &["oddns.test", "client.test"]);
    let start = Instant::now();
    while over_tls(address, folder.path(), Some("client.test")).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "the old certificate goes on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let (address, _) = crate::client::serve(View::new("", true)).await;
    let post = async |headers: &str| {
        let head =
            "POST /-/reload HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n";
        request(address, &format!("{head}{headers}\r\n")).await
    };
    assert!(post("").await.body.contains("--web.enable-lifecycle"));
    for foreign in ["origin: http://evil.example\r\n", "sec-fetch-site: cross-site\r\n"] {
        let answer = post(foreign).await;
        assert_eq!(answer.status, 403);
        assert!(answer.body.contains("another site"), "{}", answer.body);
    }
}

#[test]
fn a_bad_file_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let open = |text: &str| WebSecurity::open(&written(folder.path(), text)).unwrap_err();
    let error = open("basic_auth_users: {alice: x}\n");
    let told = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    assert!(told.contains("web.yml`: line 1, column 27: `alice` has no bcrypt hash"), "{told}");
    let error = open("tls_server_config: {cert_file: none.pem, key_file: none.key}\n");
    assert!(error.to_string().starts_with("cannot read `"), "{error}");
}
