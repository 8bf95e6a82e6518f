//! The HTTP server: page, API, own metrics, health.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::shared::Shared;
use crate::{api, page};

/// Connections served at a time; more wait in the system's queue.
const MAX_CONNECTIONS: usize = 256;
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

/// All routes over `shared`.
pub fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .merge(page::routes())
        .nest("/api/v1", api::routes())
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(async || "oddns is healthy\n"))
        .route("/-/ready", get(ready))
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
    let router = router(shared);
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept(&listener, &router, &stopped, &mut connections) => {}
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
    router: &Router,
    stopped: &watch::Receiver<()>,
    connections: &mut JoinSet<()>,
) {
    let limit = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut backoff = BACKOFF.0;
    // The semaphore is never closed: the loop ends with this future.
    while let Ok(permit) = Arc::clone(&limit).acquire_owned().await {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = serve(stream, router.clone(), stopped.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
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

async fn serve(stream: TcpStream, router: Router, mut stopped: watch::Receiver<()>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
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
