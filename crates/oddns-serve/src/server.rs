//! The HTTP server: page, API, own metrics, health.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::guests::{Guest, Guests};
use crate::lifecycle::{NotDone, Order};
use crate::shared::Shared;
use crate::web::WebSecurity;
use crate::{api, page};
use crate::{guard, gzip};

/// Connections served at a time; with more, silent ones have to go.
pub(crate) const MAX_CONNECTIONS: usize = 256;
/// A client has this long to send the head of a request, the first as well as a later one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// After this a connection takes no more requests, so that slow readers do not stay for ever.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(60);
/// An answer under way has this long to end, on old age and on shutdown.
const GRACE: Duration = Duration::from_secs(5);
/// Bounds of the wait after a failed accept, such as for want of file descriptors.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// Most bytes of a request's head.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Who sends a request: an extension of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// All routes over `shared`.
pub fn router(shared: Arc<Shared>) -> Router {
    secured_router(shared, None)
}

fn secured_router(shared: Arc<Shared>, security: Option<Arc<WebSecurity>>) -> Router {
    Router::new()
        .merge(page::routes())
        .nest("/api/v1", api::routes())
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(async || "oddns is healthy\n"))
        .route("/-/ready", get(ready))
        .route("/-/reload", post(reload).put(reload))
        .route("/-/quit", post(quit).put(quit))
        .layer(from_fn(gzip::packed))
        .layer(from_fn_with_state(security, guard::known))
        .layer(from_fn(guard::same_site))
        .layer(map_response(secured))
        .with_state(shared)
}

/// Serves until `shutdown` ends, then lets answers under way end within a few seconds. Neither a
/// failed accept nor a broken connection ends the server.
pub async fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    shutdown: impl Future<Output = ()> + Send,
) {
    run_secured(listener, shared, None, shutdown).await;
}

/// As [`run`], by the rules of `security`: over TLS, and for those who can show who they are.
/// `/-/healthy` and `/-/ready` answer everybody.
pub async fn run_secured(
    listener: TcpListener,
    shared: Arc<Shared>,
    security: Option<Arc<WebSecurity>>,
    shutdown: impl Future<Output = ()> + Send,
) {
    if let Some(security) = &security {
        shared.metrics().watch_web_config(Arc::clone(security));
    }
    let door = Door {
        router: secured_router(shared.clone(), security.clone()),
        security,
        guests: Arc::default(),
        shared,
    };
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept(&listener, &door, &stopped, &mut connections) => {}
        () = shutdown => {}
    }
    drop(listener);
    drop(stop);
    // A connection that does not end in time is dropped with the set.
    let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

/// Accepts for ever, but not more connections than the limit at a time.
async fn accept(
    listener: &TcpListener,
    door: &Door,
    stopped: &watch::Receiver<()>,
    connections: &mut JoinSet<()>,
) {
    let mut backoff = BACKOFF.0;
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                make_room(door, connections).await;
                let guest = door.guests.guest();
                let connection =
                    door.clone().open(stream, Peer(address), Arc::clone(&guest), stopped.clone());
                door.guests.enter(guest, connections.spawn(connection));
                backoff = BACKOFF.0;
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => {
                sleep(backoff).await;
                backoff = BACKOFF.1.min(backoff * 2);
            }
        }
    }
}

/// Waits until one more can be served.
async fn make_room(door: &Door, connections: &mut JoinSet<()>) {
    while connections.try_join_next().is_some() {}
    while connections.len() >= MAX_CONNECTIONS {
        if door.guests.send_one_away() {
            door.shared.metrics().connection_dropped();
        }
        connections.join_next().await;
    }
}

/// What a connection comes through.
#[derive(Clone)]
struct Door {
    router: Router,
    security: Option<Arc<WebSecurity>>,
    guests: Arc<Guests>,
    shared: Arc<Shared>,
}

impl Door {
    async fn open(
        self,
        stream: TcpStream,
        peer: Peer,
        guest: Arc<Guest>,
        stopped: watch::Receiver<()>,
    ) {
        let _counted = self.shared.metrics().connection();
        let Self { router, guests, .. } = self.clone();
        let visit = Visit { router, peer, guests, guest };
        let tls = self.security.as_ref().and_then(|security| security.rules().tls.clone());
        match tls {
            None => visit.serve(stream, stopped).await,
            Some(config) => {
                let shaken = TlsAcceptor::from(config).accept(stream);
                // Whoever does not speak TLS is not served, and that is the client's business.
                if let Ok(Ok(stream)) = timeout(HEAD_TIMEOUT, shaken).await {
                    visit.serve(stream, stopped).await;
                }
            }
        }
    }
}

/// Somebody on a connection.
struct Visit {
    router: Router,
    peer: Peer,
    guests: Arc<Guests>,
    guest: Arc<Guest>,
}

impl Visit {
    async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        mut stopped: watch::Receiver<()>,
    ) {
        let Self { router, peer, guests, guest } = self;
        let inner = TowerToHyperService::new(router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            let (guests, guest) = (Arc::clone(&guests), Arc::clone(&guest));
            guests.asked(&guest);
            let answer = inner.call(request);
            async move {
                let answer = answer.await;
                guests.answered(&guest);
                answer
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        tokio::select! {
            // What goes wrong on a connection is the client's business.
            _ = &mut connection => return,
            _ = stopped.changed() => {}
            () = sleep(MAX_CONNECTION_AGE) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = timeout(GRACE, connection).await;
    }
}

/// The client went away between its handshake and our accept: no reason to slow down.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let exposition = shared.metrics().expose(accept.unwrap_or_default());
    ([(header::CONTENT_TYPE, exposition.content_type)], exposition.text).into_response()
}

async fn ready(State(shared): State<Arc<Shared>>) -> (StatusCode, &'static str) {
    if shared.read(|view| view.model().is_some()) {
        (StatusCode::OK, "oddns is ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no model is loaded yet\n")
    }
}

async fn reload(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    ordered(shared.lifecycle().give(Order::Reload).await, "the configuration was read anew")
}

async fn quit(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    ordered(shared.lifecycle().give(Order::Quit).await, "oddns ends")
}

fn ordered(result: Result<(), NotDone>, done: &str) -> (StatusCode, String) {
    match result {
        Ok(()) => (StatusCode::OK, format!("{done}\n")),
        Err(NotDone::Disabled) => {
            let text = "orders over HTTP are not taken: start oddns with `--web.enable-lifecycle`";
            (StatusCode::FORBIDDEN, format!("{text}\n"))
        }
        Err(NotDone::Failed(why)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")),
    }
}

/// Headers that every answer carries.
async fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, page::CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
