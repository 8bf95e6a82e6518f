//! Looks at every request before it is answered: who asks, and whether another page made them ask.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::server::Peer;
use crate::web::{Verdict, WebSecurity};

/// Probes of an orchestrator have no password, and learn nothing that matters.
const OPEN: [&str; 2] = ["/-/healthy", "/-/ready"];

/// Lets those through who can show who they are, where that is asked.
pub(crate) async fn known(
    State(security): State<Option<Arc<WebSecurity>>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(security) = security else { return next.run(request).await };
    let rules = security.rules();
    if !rules.config.users.is_empty() && !OPEN.contains(&request.uri().path()) {
        let authorization = request.headers().get(header::AUTHORIZATION).cloned();
        let authorization = authorization.as_ref().map(HeaderValue::as_bytes);
        let peer = request.extensions().get::<Peer>();
        let from = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Peer(address)| address.ip());
        let users = &rules.config.users;
        match security.login().judge(users, authorization, from, Instant::now()).await {
            Verdict::Welcome => {}
            Verdict::Unknown => return unknown_user(),
            Verdict::Wait => {
                let wait = [(header::RETRY_AFTER, "60")];
                let text = "too many wrong passwords: wait a minute\n";
                return (StatusCode::TOO_MANY_REQUESTS, wait, text).into_response();
            }
        }
    }
    let mut response = next.run(request).await;
    let transport = rules.config.strict_transport_security.as_deref();
    if let Some(value) = transport.and_then(|value| HeaderValue::from_str(value).ok()) {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
    response
}

fn unknown_user() -> Response {
    let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"oddns\", charset=\"UTF-8\"")];
    (StatusCode::UNAUTHORIZED, ask, "a name and a password are needed\n").into_response()
}

/// Refuses what changes something when a page of another site makes the browser send it: the browser
/// adds the password by itself.
pub(crate) async fn same_site(request: Request, next: Next) -> Response {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if changes && is_foreign(request.headers()) {
        let text = "refused: another site's page sent this\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text("origin") else { return false };
    let origin = origin.parse::<Uri>().ok();
    let authority = origin.as_ref().and_then(Uri::authority).map(|authority| authority.as_str());
    authority.is_none() || authority != text("host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_page_sends_is_foreign() {
        let foreign = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                (header::HeaderName::from_static(name), HeaderValue::from_static(value))
            });
            is_foreign(&pairs.collect())
        };
        let host = ("host", "oddns:8753");
        assert!(!foreign(&[host]));
        assert!(!foreign(&[host, ("origin", "http://oddns:8753")]));
        assert!(!foreign(&[host, ("sec-fetch-site", "same-origin")]));
        assert!(foreign(&[host, ("origin", "http://evil.example")]));
        assert!(foreign(&[host, ("origin", "null")]));
        assert!(foreign(&[
            host,
            ("sec-fetch-site", "cross-site"),
            ("origin", "http://oddns:8753")
        ]));
    }
}
