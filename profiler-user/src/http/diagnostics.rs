//! `/api/v1/diagnostics`: what the agent says of itself for a bug report; `pprofd doctor --bundle` asks for it.

use super::App;
use super::caller::Caller;
use super::error::ApiError;
use super::lists::typed;
use crate::kind::KindError;
use crate::kind::viewer::Viewer;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};

/// The agent's own version, configuration, programs and last log lines. A log line may name a target's file, so it is for
/// those who may see all.
pub(super) async fn answer(State(app): State<App>, caller: Caller) -> Result<Response<Body>, ApiError> {
    if caller.viewer()? != Viewer::All {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "What the agent says of itself is for root and for those who may see all",
        ));
    }
    let Some(about) = app.about else {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "This agent says nothing of itself"));
    };
    let said = tokio::task::spawn_blocking(move || about().to_string()).await.map_err(KindError::Task)?;
    Ok(typed("application/json", said))
}
