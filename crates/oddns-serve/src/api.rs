//! `/api/v1/…`: questions checked, answers in the envelope of Prometheus's API.

use std::ops::Range;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use oddns_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::answer;
use crate::history::History;
use crate::receive;
use crate::shared::Shared;
use crate::view::View;

/// Points of a score chart when not asked for, and at most.
const SCORE_POINTS: (usize, usize) = (1000, 10_000);
/// Points of each feature's small chart when not asked for, and at most.
const FEATURE_POINTS: (usize, usize) = (120, 2000);
/// Incidents in an answer when not asked for, and at most.
const INCIDENTS: (usize, usize) = (100, 1000);

/// The routes below `/api/v1`.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/status", get(status))
        .route("/scores", get(scores))
        .route("/features", get(features))
        .route("/incidents", get(incidents))
        .route("/write", post(receive::write))
        .fallback(async || ApiError::NotFound("no such endpoint: see /api/v1/status".to_owned()))
        .method_not_allowed_fallback(async || ApiError::Method)
}

/// Why a question is not answered; the status code is chosen here only.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ApiError {
    BadData(String),
    NotFound(String),
    Method,
    Internal(String),
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    status: &'static str,
    #[serde(rename = "errorType")]
    error_type: &'static str,
    error: &'a str,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (code, error_type, error) = match &self {
            Self::BadData(text) => (StatusCode::BAD_REQUEST, "bad_data", text.as_str()),
            Self::NotFound(text) => (StatusCode::NOT_FOUND, "not_found", text.as_str()),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "bad_data",
                "only GET is answered, and POST at /api/v1/write",
            ),
            Self::Internal(text) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", text.as_str()),
        };
        (code, Json(ErrorBody { status: "error", error_type, error })).into_response()
    }
}

/// What may be asked of a server's past.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Past {
    instance: Option<String>,
    name: Option<String>,
    points: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

/// What may be asked of the incidents.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    instance: Option<String>,
    limit: Option<String>,
}

type Asked<T> = Result<Query<T>, QueryRejection>;

async fn status(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    shared.read(|view| success(&answer::status(view)))
}

async fn scores(
    State(shared): State<Arc<Shared>>,
    asked: Asked<Past>,
) -> Result<Response, ApiError> {
    let past = understood(asked)?;
    if past.name.is_some() {
        return Err(bad("the parameter `name` is for /api/v1/features"));
    }
    let points = number("points", past.points.as_deref(), SCORE_POINTS)?;
    shared.read(|view| {
        let (instance, history, range) = past_of(view, &past)?;
        success(&answer::scores(view, instance, history, range, points))
    })
}

async fn features(
    State(shared): State<Arc<Shared>>,
    asked: Asked<Past>,
) -> Result<Response, ApiError> {
    let past = understood(asked)?;
    let points = number("points", past.points.as_deref(), FEATURE_POINTS)?;
    shared.read(|view| {
        let (instance, history, range) = past_of(view, &past)?;
        let only = past.name.as_deref().map(|name| column(view, name)).transpose()?;
        success(&answer::features(view, instance, history, range, points, only))
    })
}

async fn incidents(
    State(shared): State<Arc<Shared>>,
    asked: Asked<Which>,
) -> Result<Response, ApiError> {
    let which = understood(asked)?;
    let limit = number("limit", which.limit.as_deref(), INCIDENTS)?;
    shared.read(|view| {
        if let Some(instance) = &which.instance {
            known(view, instance)?;
        }
        success(&answer::incidents(view, which.instance.as_deref(), limit))
    })
}

/// The server asked for, which may be left out when there is only one, and its steps in range.
fn past_of<'a>(
    view: &'a View,
    past: &'a Past,
) -> Result<(&'a str, &'a History, Range<usize>), ApiError> {
    let mut servers = view.servers();
    let instance = match (&past.instance, servers.next(), servers.next()) {
        (Some(instance), ..) => instance.as_str(),
        (None, Some((only, _)), None) => only,
        (None, None, _) => return Err(ApiError::NotFound("no instance is watched".to_owned())),
        (None, Some(_), Some(_)) => return Err(bad("several instances: name one by `instance`")),
    };
    let history = &known(view, instance)?.history;
    let since = time("since", past.since.as_deref())?;
    let until = time("until", past.until.as_deref())?;
    Ok((instance, history, history.between(since, until)))
}

fn known<'a>(view: &'a View, instance: &str) -> Result<&'a crate::view::Server, ApiError> {
    view.server(instance).ok_or_else(|| {
        ApiError::NotFound(format!(
            "instance `{}` is not watched: see /api/v1/status",
            cut(instance)
        ))
    })
}

fn column(view: &View, name: &str) -> Result<usize, ApiError> {
    view.features()
        .iter()
        .position(|feature| feature.name == name)
        .ok_or_else(|| ApiError::NotFound(format!("feature `{}` is not in the model", cut(name))))
}

fn understood<T>(asked: Asked<T>) -> Result<T, ApiError> {
    asked.map(|Query(query)| query).map_err(|error| {
        let text = error.body_text();
        bad(&cut(text.trim_start_matches("Failed to deserialize query string: ")))
    })
}

fn number(
    name: &str,
    text: Option<&str>,
    (default, max): (usize, usize),
) -> Result<usize, ApiError> {
    let Some(text) = text else { return Ok(default) };
    text.parse().ok().filter(|number| (1..=max).contains(number)).ok_or_else(|| {
        bad(&format!("`{name}` is `{}`, it must be a number from 1 to {max}", cut(text)))
    })
}

fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, ApiError> {
    text.map(str::parse)
        .transpose()
        .map_err(|e: oddns_core::ParseTimestampError| bad(&cut(&format!("`{name}`: {e}"))))
}

fn bad(message: &str) -> ApiError {
    ApiError::BadData(message.to_owned())
}

/// What a client sent comes back shortened, and without control characters for whoever logs it.
fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[derive(Serialize)]
struct Success<'a, T> {
    status: &'static str,
    data: &'a T,
}

fn success<T: Serialize>(data: &T) -> Result<Response, ApiError> {
    let body = serde_json::to_vec(&Success { status: "success", data })
        .map_err(|e| ApiError::Internal(e.to_string()))?;
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}
