//! What a sender is told; the status is chosen here only.

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use oddns_collect::{Refusal, WriteCounts, WriteError, WriteVersion};

use super::KeepError;
use crate::watch::chain;

/// Seconds after which a sender may try again when there is no room, and when nothing can be kept.
const COME_AGAIN: (u64, u64) = (1, 5);
/// How many of a sort were written, in this order: samples, histograms, exemplars.
const WRITTEN: [HeaderName; 3] = [
    HeaderName::from_static("x-prometheus-remote-write-samples-written"),
    HeaderName::from_static("x-prometheus-remote-write-histograms-written"),
    HeaderName::from_static("x-prometheus-remote-write-exemplars-written"),
];

/// What became of a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// Taken, at least in part.
    Taken(WriteVersion, WriteCounts),
    /// Not sound as a whole.
    Refused(WriteError),
    /// The body is longer than allowed.
    TooLong { limit: usize },
    /// The body did not come in time.
    Slow,
    /// The body broke off.
    Broken,
    /// No room at present.
    Busy,
    /// Nothing can be kept at present.
    NotKept(KeepError),
    /// Our own fault.
    Failed,
    /// We are about to end.
    Closed,
    /// There is no receiver.
    Disabled,
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Taken(version, counts) if is_refused(*version, counts) => StatusCode::BAD_REQUEST,
            Self::Taken(..) => StatusCode::NO_CONTENT,
            Self::Refused(WriteError::ContentType { .. } | WriteError::Encoding { .. }) => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Self::Refused(WriteError::TooLarge { .. }) | Self::TooLong { .. } => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::Refused(_) | Self::Broken => StatusCode::BAD_REQUEST,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::NotKept(_) | Self::Closed => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Disabled => StatusCode::NOT_FOUND,
        }
    }

    /// What the sender is told went wrong; `None` when all is well.
    fn complaint(&self) -> Option<String> {
        Some(match self {
            Self::Taken(version, counts) if is_refused(*version, counts) => refusals(counts),
            Self::Taken(..) | Self::Disabled | Self::Closed => return None,
            Self::Refused(error) => chain(error),
            Self::TooLong { limit } => {
                format!("the request has more than {limit} bytes: send less at once")
            }
            Self::Slow => "the request did not come in time".to_owned(),
            Self::Broken => "the request broke off".to_owned(),
            Self::Busy => "too much is waiting: the sender is told to slow down".to_owned(),
            Self::NotKept(error) => chain(error),
            Self::Failed => "the receiver failed in an unforeseen way".to_owned(),
        })
    }

    /// What goes to the log: one word for each cause, and what to say. Of samples that were not
    /// taken also those that are no error to the sender.
    pub(super) fn causes(&self) -> Vec<(&'static str, String)> {
        let word = match self {
            Self::Taken(_, counts) => return not_taken(counts),
            Self::Disabled | Self::Closed => return Vec::new(),
            Self::Refused(WriteError::ContentType { .. }) => "content_type",
            Self::Refused(WriteError::Encoding { .. }) => "encoding",
            Self::Refused(WriteError::TooLarge { .. }) | Self::TooLong { .. } => "too_large",
            Self::Refused(_) => "damaged",
            Self::Slow => "slow",
            Self::Broken => "broken",
            Self::Busy => "busy",
            Self::NotKept(_) => "not_kept",
            Self::Failed => "failed",
        };
        self.complaint().map(|text| (word, text)).into_iter().collect()
    }

    pub(super) fn counts(&self) -> Option<&WriteCounts> {
        match self {
            Self::Taken(_, counts) => Some(counts),
            _ => None,
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Busy => Some(COME_AGAIN.0),
            Self::NotKept(_) | Self::Closed => Some(COME_AGAIN.1),
            _ => None,
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let text = match (&self, self.complaint()) {
            (Self::Disabled, _) => DISABLED.to_owned(),
            (_, Some(text)) => text + "\n",
            _ => String::new(),
        };
        let mut response = (self.status(), text).into_response();
        if let Some(seconds) = self.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        // A request that was refused has written nothing, and says so; a retry of it may.
        if !matches!(self, Self::Disabled) {
            let n_samples =
                self.counts().map_or(0, |counts| counts.taken + counts.refused(Refusal::Duplicate));
            for (name, n) in WRITTEN.into_iter().zip([n_samples, 0, 0]) {
                response.headers_mut().insert(name, HeaderValue::from(n));
            }
        }
        response
    }
}

const DISABLED: &str =
    "remote write receiver needs to be enabled with --web.enable-remote-write-receiver\n";

/// Whether the specification asks for an error although the rest was taken. Senders of 1.0 take one
/// for the loss of all, and histograms were no part of 1.0, so those alone are no error there.
fn is_refused(version: WriteVersion, counts: &WriteCounts) -> bool {
    let is_fault = |refusal: &Refusal| match refusal {
        Refusal::Duplicate => false,
        Refusal::Histogram => version == WriteVersion::V2,
        _ => true,
    };
    Refusal::ALL.iter().any(|refusal| is_fault(refusal) && counts.refused(*refusal) > 0)
}

/// How many samples were not taken, and why, for each reason that there was.
fn not_taken(counts: &WriteCounts) -> Vec<(&'static str, String)> {
    let of = |refusal: Refusal| match counts.refused(refusal) {
        0 => None,
        n => Some((refusal.name(), format!("{n} {}", refusal.describe()))),
    };
    Refusal::ALL.into_iter().filter_map(of).collect()
}

fn refusals(counts: &WriteCounts) -> String {
    let parts: Vec<String> = not_taken(counts).into_iter().map(|(_, text)| text).collect();
    format!("{} samples were taken; not taken: {}", counts.taken, parts.join("; "))
}
