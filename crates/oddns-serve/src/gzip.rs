//! Answers packed for those who can unpack them: figures as text are mostly air.

use std::io::Write;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

/// Less than this is not worth it.
const LEAST_BYTES: usize = 1024;
/// More than this is packed where nobody has to wait for it.
const LARGE_BYTES: usize = 64 * 1024;
/// More than this is not an answer of ours.
const MOST_BYTES: usize = 1 << 30;

/// Packs what `next` answers, when the asker takes that.
pub(crate) async fn packed(request: Request, next: Next) -> Response {
    let takes = takes_gzip(request.headers());
    let response = next.run(request).await;
    if !takes || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, MOST_BYTES).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    head.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    if bytes.len() < LEAST_BYTES {
        return Response::from_parts(head, Body::from(bytes));
    }
    let smaller = match bytes.len() {
        n if n > LARGE_BYTES => {
            let bytes = bytes.clone();
            tokio::task::spawn_blocking(move || pack(&bytes)).await.ok().flatten()
        }
        _ => pack(&bytes),
    };
    let Some(smaller) = smaller else { return Response::from_parts(head, Body::from(bytes)) };
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Response::from_parts(head, Body::from(smaller))
}

fn pack(bytes: &Bytes) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(4));
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

/// Whether gzip is named and not refused.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING);
    let words = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    words.map(str::trim).any(|word| {
        let (coding, weight) = word.split_once(';').unwrap_or((word, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        coding.trim().eq_ignore_ascii_case("gzip") && weight.is_ok_and(|weight| weight > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_when_it_is_named() {
        let takes = |text: &'static str| {
            let pair = (header::ACCEPT_ENCODING, HeaderValue::from_static(text));
            takes_gzip(&HeaderMap::from_iter([pair]))
        };
        assert!(takes("gzip") && takes("deflate, GZIP;q=0.5") && takes("br,gzip ; q=1"));
        assert!(!takes("identity") && !takes("gzip;q=0") && !takes("gzip;q=x") && !takes(""));
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
