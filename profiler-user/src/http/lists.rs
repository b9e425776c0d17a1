//! What lies beside the trees: the start page, the list of processes, metrics and health.

use super::App;
use super::caller::Caller;
use super::error::{ApiError, text};
use super::{html, query};
use crate::kind::KindError;
use crate::kind::processes::{Listed, list};
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, Response, StatusCode, Uri};
use axum::response::IntoResponse;

/// Processes that the start page shows.
const SHOWN: usize = 500;

async fn visible(app: App, caller: Caller, exited: bool) -> Result<Vec<Listed>, ApiError> {
    let viewer = caller.viewer()?;
    let listed = tokio::task::spawn_blocking(move || list(&app.profiler, viewer, exited));
    Ok(listed.await.map_err(KindError::Task)?)
}

/// `/api/v1/processes`: those that live, or with `exited=1` the recorded dead.
pub(super) async fn processes(State(app): State<App>, caller: Caller, uri: Uri) -> Result<Response<Body>, ApiError> {
    let exited = query::parse(uri.query().unwrap_or("")).switch("exited", false)?;
    let listed = visible(app, caller, exited).await?;
    let failed =
        |error| ApiError::caused(StatusCode::INTERNAL_SERVER_ERROR, "The list could not be written as JSON", error);
    let bytes = serde_json::to_vec(&listed).map_err(failed)?;
    Ok(typed("application/json", bytes))
}

/// `/`: a page for people.
pub(super) async fn start_page(State(app): State<App>, caller: Caller) -> Result<Response<Body>, ApiError> {
    let listed = visible(app, caller, false).await?;
    Ok(page(html::start_page(&listed, SHOWN)))
}

/// `/metrics`.
pub(super) async fn metrics(State(app): State<App>, _: Caller) -> Result<Response<Body>, ApiError> {
    let failed = |error| ApiError::caused(StatusCode::INTERNAL_SERVER_ERROR, "The metrics could not be written", error);
    let read = tokio::task::spawn_blocking(move || app.metrics.text());
    let text = read.await.map_err(KindError::Task)?.map_err(failed)?;
    Ok(typed("application/openmetrics-text; version=1.0.0; charset=utf-8", text))
}

/// `/healthz`: this process answers.
pub(super) async fn healthy(_: Caller) -> Response<Body> {
    text(StatusCode::OK, "ok\n")
}

/// `/readyz`: profiles can be had.
pub(super) async fn ready(State(app): State<App>, _: Caller) -> Response<Body> {
    match (app.ready)() {
        Ok(()) => text(StatusCode::OK, "ok\n"),
        Err(waits_for) => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, waits_for).into_response(),
    }
}

/// Any other path.
pub(super) async fn nothing(_: Caller) -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A page, which may load nothing and run nothing.
pub(super) fn page(html: String) -> Response<Body> {
    let mut response = typed("text/html; charset=utf-8", html);
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

/// An answer of this type.
pub(super) fn typed(content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
