//! HTTP: lists and watches.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::objects::{Resource, status};
use super::state::{Next, State};

/// A server of the lab keeps one connection, or a few.
const MAX_CONNECTIONS: usize = 256;
/// Longest a watch lasts when the client does not say.
const WATCH: Duration = Duration::from_secs(600);
/// Lines that may wait for a slow reader.
const QUEUE: usize = 64;
/// Pause after a failed accept, so that a lasting failure does not spin.
const BACK_OFF: Duration = Duration::from_millis(10);

type Body = Channel<Bytes, Infallible>;
type Lines = Sender<Bytes, Infallible>;

/// Serves until aborted; its connections end with it.
pub(super) async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(BACK_OFF).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            continue;
        }
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let answer = service_fn(|request| respond(request, Arc::clone(&state)));
            // A connection that breaks is the client's affair.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn respond(
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<Body>, Infallible> {
    state.count(|counts| counts.requests += 1);
    speaking(&state).await;
    if state.behaviour().failing {
        state.count(|counts| counts.errors += 1);
        let message = "the server is told to fail";
        let answer = status(500, "InternalError", message);
        return Ok(whole(StatusCode::INTERNAL_SERVER_ERROR, &answer));
    }
    let query = Query::of(request.uri().query().unwrap_or_default());
    Ok(match (request.uri().path(), Resource::at(request.uri().path())) {
        (_, Some(resource)) if query.watch => watching(resource, query, state),
        (_, Some(resource)) => {
            let (version, items) = state.list(resource);
            whole(StatusCode::OK, &resource.list(version, &items))
        }
        ("/version", _) => whole(StatusCode::OK, &version()),
        ("/apis/discovery.k8s.io/v1", _) => whole(StatusCode::OK, &discovery()),
        (path, None) => {
            state.count(|counts| counts.errors += 1);
            let message = format!("the lab has nothing at `{path}`");
            whole(StatusCode::NOT_FOUND, &status(404, "NotFound", &message))
        }
    })
}

/// Waits while the API says nothing.
async fn speaking(state: &State) {
    let mut changes = state.changes();
    while state.behaviour().silent {
        // The sender is part of the state, which is there.
        let _ = changes.changed().await;
    }
}

/// The parameters of a list or watch; others change nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Query {
    watch: bool,
    initial_events: bool,
    version: u64,
    lasts: Duration,
}

impl Query {
    fn of(text: &str) -> Self {
        let mut query = Self { watch: false, initial_events: false, version: 0, lasts: WATCH };
        for (name, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "watch" => query.watch = matches!(value, "true" | "1"),
                "sendInitialEvents" => query.initial_events = value == "true",
                "resourceVersion" => query.version = value.parse().unwrap_or(0),
                "timeoutSeconds" => {
                    let seconds = value.parse().map(Duration::from_secs);
                    query.lasts = seconds.unwrap_or(WATCH).min(WATCH);
                }
                _ => {}
            }
        }
        query
    }
}

fn watching(resource: Resource, query: Query, state: Arc<State>) -> Response<Body> {
    let (lines, body) = Channel::new(QUEUE);
    tokio::spawn(watch(resource, query, state, lines));
    response(StatusCode::OK, body)
}

/// Sends lines until the client goes, its time is over, or the API is told to fail.
async fn watch(resource: Resource, query: Query, state: Arc<State>, mut lines: Lines) {
    let end = Instant::now() + query.lasts;
    let mut changes = state.changes();
    let mut version = query.version;
    if query.initial_events || version == 0 {
        let (now, items) = state.list(resource);
        version = now;
        for item in items {
            if send(&mut lines, &json!({ "type": "ADDED", "object": item })).await.is_err() {
                return;
            }
        }
        let bookmark = resource.bookmark(version, true);
        let line = json!({ "type": "BOOKMARK", "object": bookmark });
        if query.initial_events && send(&mut lines, &line).await.is_err() {
            return;
        }
    }
    loop {
        changes.mark_unchanged();
        let until = match state.next(resource, version) {
            Next::End => return,
            Next::Gone => {
                let gone = status(410, "Expired", "the version is too old");
                // The watch ends in any case.
                let _ = send(&mut lines, &json!({ "type": "ERROR", "object": gone })).await;
                return;
            }
            Next::Send(events) => {
                for event in events {
                    version = event.version;
                    if lines.send(Frame::data(event.line)).await.is_err() {
                        return;
                    }
                    state.count(|counts| counts.events += 1);
                }
                continue;
            }
            Next::Wait(until) => until.unwrap_or(end).min(end),
        };
        tokio::select! {
            _ = changes.changed() => {}
            () = sleep_until(until) => {}
        }
        if Instant::now() >= end {
            return;
        }
    }
}

async fn send(lines: &mut Lines, value: &Value) -> Result<(), http_body_util::channel::SendError> {
    lines.send(Frame::data(format!("{value}\n").into())).await
}

fn whole(code: StatusCode, value: &Value) -> Response<Body> {
    let (mut sender, body) = Channel::new(1);
    // There is room for one, and nobody has taken the other end away.
    let _ = sender.try_send(Frame::data(value.to_string().into()));
    response(code, body)
}

fn response(code: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn version() -> Value {
    json!({ "major": "1", "minor": "34", "gitVersion": "v1.34.0", "platform": "linux/amd64" })
}

fn discovery() -> Value {
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "discovery.k8s.io/v1",
        "resources": [{
            "name": "endpointslices",
            "singularName": "endpointslice",
            "namespaced": true,
            "kind": "EndpointSlice",
            "verbs": ["list", "watch"],
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_from_the_query() {
        let query =
            Query::of("allowWatchBookmarks=true&resourceVersion=17&timeoutSeconds=30&watch=true");
        let expected = Query {
            watch: true,
            initial_events: false,
            version: 17,
            lasts: Duration::from_secs(30),
        };
        assert_eq!(query, expected);
        let query = Query::of("watch=nonsense&resourceVersion=&timeoutSeconds=-1&&=");
        assert_eq!(query, Query { watch: false, initial_events: false, version: 0, lasts: WATCH });
    }
}
