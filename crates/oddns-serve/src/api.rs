//! `/api/v1/…`: questions checked, answers in the envelope of Prometheus's API.

use std::ops::Range;
use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use oddns_collect::wall_clock;
use oddns_core::{Incident, Timestamp};
use serde::{Deserialize, Serialize};

use crate::answer::{self, About, Asked, Kind};
use crate::feedback::{FeedbackError, Row, Verdict};
use crate::history::History;
use crate::receive;
use crate::shared::Shared;
use crate::view::View;

/// Points of a score chart when not asked for, and at most.
const SCORE_POINTS: (usize, usize) = (1000, 10_000);
/// Points of each feature's small chart when not asked for, and at most.
const FEATURE_POINTS: (usize, usize) = (120, 2000);
/// Steps of a heat map when not asked for, and at most, …
const HEAT_POINTS: (usize, usize) = (120, 1000);
/// … and its features.
const HEAT_FEATURES: (usize, usize) = (12, 200);
/// Most servers in a status that is limited.
const SERVERS: (usize, usize) = (50, 100_000);
/// Incidents in an answer when not asked for, and at most.
const INCIDENTS: (usize, usize) = (100, 1000);

/// Most bytes of what is said of an incident.
const MAX_FEEDBACK_BYTES: usize = 4096;

/// The routes below `/api/v1`.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/openapi.json", get(openapi))
        .route("/status", get(status))
        .route("/model", get(model))
        .route("/fleet", get(fleet))
        .route("/heatmap", get(heatmap))
        .route("/scores", get(scores))
        .route("/features", get(features))
        .route("/incidents", get(incidents))
        .route("/write", post(receive::write))
        .route("/feedback", post(feedback).layer(DefaultBodyLimit::max(MAX_FEEDBACK_BYTES)))
        .fallback(async || ApiError::NotFound("no such endpoint: see /api/v1/status".to_owned()))
        .method_not_allowed_fallback(async || ApiError::Method)
}

/// Why a question is not answered; the status code is chosen here only.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ApiError {
    BadData(String),
    NotFound(String),
    Method,
    /// It takes something that is not there.
    Unavailable(String),
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
                "only GET is answered, and POST at /api/v1/write and /api/v1/feedback",
            ),
            Self::Unavailable(text) => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", text.as_str())
            }
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
    id: Option<String>,
    instance: Option<String>,
    limit: Option<String>,
}

/// Which servers a status is asked of.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    search: Option<String>,
    kind: Option<Kind>,
    limit: Option<String>,
    also: Option<String>,
}

/// What may be asked of a heat map.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Heat {
    instance: Option<String>,
    features: Option<String>,
    points: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

/// Nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bare {}

type Questions<T> = Result<Query<T>, QueryRejection>;

/// The description of all of this.
async fn openapi() -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (headers, include_str!("../assets/openapi.json")).into_response()
}

async fn status(
    State(shared): State<Arc<Shared>>,
    asked: Questions<Whose>,
) -> Result<Response, ApiError> {
    let whose = understood(asked)?;
    let limit = whose.limit.as_deref().map(|limit| number("limit", Some(limit), SERVERS));
    let asked = Asked {
        search: whose.search.as_deref().unwrap_or_default(),
        kind: whose.kind,
        limit: limit.transpose()?,
        also: whose.also.as_deref(),
    };
    let takes_feedback = shared.feedback().is_kept();
    let shares = shared.budget().shares();
    shared.read(|view| success(&answer::status(view, takes_feedback, shares, &asked)))
}

async fn fleet(
    State(shared): State<Arc<Shared>>,
    asked: Questions<Bare>,
) -> Result<Response, ApiError> {
    understood(asked)?;
    shared.read(|view| success(&answer::fleet(view)))
}

async fn heatmap(
    State(shared): State<Arc<Shared>>,
    asked: Questions<Heat>,
) -> Result<Response, ApiError> {
    let Heat { instance, features, points, since, until } = understood(asked)?;
    let points = number("points", points.as_deref(), HEAT_POINTS)?;
    let most = number("features", features.as_deref(), HEAT_FEATURES)?;
    let past = Past { instance, name: None, points: None, since, until };
    shared.read(|view| {
        let (instance, history, range) = past_of(view, &past)?;
        success(&answer::heatmap(view, instance, history, range, points, most))
    })
}

async fn model(
    State(shared): State<Arc<Shared>>,
    asked: Questions<Bare>,
) -> Result<Response, ApiError> {
    understood(asked)?;
    let (backfill, now) = (shared.metrics().backfill().standing(), wall_clock());
    shared.read(|view| success(&answer::learning(view, shared.succession(), &backfill, now)))
}

async fn scores(
    State(shared): State<Arc<Shared>>,
    asked: Questions<Past>,
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
    asked: Questions<Past>,
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
    asked: Questions<Which>,
) -> Result<Response, ApiError> {
    let which = understood(asked)?;
    let limit = number("limit", which.limit.as_deref(), INCIDENTS)?;
    let about = About { places: shared.desk().places(), feedback: shared.feedback() };
    shared.read(|view| {
        if let Some(instance) = &which.instance {
            known(view, instance)?;
        }
        let wanted = |incident: &&Incident| {
            which.instance.as_ref().is_none_or(|name| incident.instance == *name)
                && which.id.as_ref().is_none_or(|id| incident.id == *id)
        };
        success(&answer::incidents(view, wanted, limit, &about))
    })
}

/// What somebody says: of an incident and those of its group, or of any time on a server.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    incident: Option<String>,
    instance: Option<String>,
    start: Option<f64>,
    end: Option<f64>,
    verdict: Verdict,
}

#[derive(Serialize)]
struct Noted {
    /// How many rows are kept of it, one for each incident.
    rows: usize,
}

async fn feedback(
    State(shared): State<Arc<Shared>>,
    said: Result<Json<Said>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(said) = said.map_err(|error| bad(&cut(&error.body_text())))?;
    let rows = rows_of(&shared, &said)?;
    let n = rows.len();
    let kept = tokio::task::spawn_blocking(move || shared.feedback().say(rows)).await;
    match kept {
        Ok(Ok(())) => success(&Noted { rows: n }),
        Ok(Err(FeedbackError::NoFolder)) => Err(ApiError::Unavailable(
            "there is no folder to keep it in: start oddns with `--storage.state`".to_owned(),
        )),
        Ok(Err(FeedbackError::Write(why))) => Err(ApiError::Internal(why)),
        Err(gone) => Err(ApiError::Internal(gone.to_string())),
    }
}

fn rows_of(shared: &Shared, said: &Said) -> Result<Vec<Row>, ApiError> {
    let Said { incident, instance, start, end, verdict } = said;
    match (incident, instance, start.zip(*end)) {
        (Some(id), None, None) => {
            let incidents = shared.desk().group_of(id);
            if incidents.is_empty() {
                return Err(ApiError::NotFound(format!("incident `{}` is not known", cut(id))));
            }
            let row = |incident: &Incident| {
                let end = incident.end.unwrap_or_else(wall_clock).max(incident.start);
                Row::new(&incident.instance, incident.start, end, *verdict)
            };
            Ok(incidents.iter().map(row).collect())
        }
        (None, Some(instance), Some((start, end))) if start <= end => {
            shared.read(|view| known(view, instance).map(|_| ()))?;
            let time = |seconds| Timestamp::from_unix_seconds(seconds);
            let (start, end) = time(start).zip(time(end)).ok_or_else(|| bad("this is no time"))?;
            Ok(vec![Row::new(instance, start, end, *verdict)])
        }
        _ => Err(bad("name an `incident`, or an `instance` with `start` and `end`")),
    }
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

fn understood<T>(asked: Questions<T>) -> Result<T, ApiError> {
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
