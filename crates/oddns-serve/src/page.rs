//! The page at `/` and its assets, compiled into the program: it needs no file and no other host.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

/// Path, media type and content of everything that the page loads.
const ASSETS: &[(&str, &str, &str)] = &[
    ("/", "text/html; charset=utf-8", include_str!("../assets/index.html")),
    ("/assets/app.js", "text/javascript; charset=utf-8", include_str!("../assets/app.js")),
    ("/assets/style.css", "text/css; charset=utf-8", include_str!("../assets/style.css")),
    ("/assets/icon.svg", "image/svg+xml", include_str!("../assets/icon.svg")),
    (
        "/assets/uplot.js",
        "text/javascript; charset=utf-8",
        include_str!("../assets/vendor/uPlot.iife.min.js"),
    ),
    (
        "/assets/uplot.css",
        "text/css; charset=utf-8",
        include_str!("../assets/vendor/uPlot.min.css"),
    ),
];

/// Nothing but what this server sends runs or loads, and nobody frames the page.
pub(crate) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; \
     style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// The routes of the page.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    ASSETS.iter().fold(Router::new(), |router, (path, media_type, content)| {
        // Asked for each time, as after an upgrade an old script would meet a new API, but sent only when
        // it is another one.
        let tag = tag(content);
        let answer = async move |asked: HeaderMap| {
            let is_known = asked.get(header::IF_NONE_MATCH).is_some_and(|known| *known == *tag);
            let headers = [
                (header::CONTENT_TYPE, (*media_type).to_owned()),
                (header::CACHE_CONTROL, "no-cache".to_owned()),
                (header::ETAG, tag),
            ];
            if is_known {
                return (StatusCode::NOT_MODIFIED, headers).into_response();
            }
            (headers, *content).into_response()
        };
        router.route(path, get(answer))
    })
}

/// A name for a content; weak, since packed and unpacked share it.
fn tag(content: &str) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("W/\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_light_and_asks_no_other_host() {
        let bytes: usize = ASSETS.iter().map(|(_, _, content)| content.len()).sum();
        assert!(bytes <= 250 * 1024, "{bytes} bytes");
        for (path, _, content) in ASSETS.iter().filter(|(path, ..)| !path.contains("uplot")) {
            let content = content.replace("http://www.w3.org/2000/svg", "");
            assert!(!content.contains("://"), "{path} names another host");
            assert!(!content.contains(" style=\"") && !content.contains("innerHTML"), "{path}");
        }
    }
}
