//! What a request and an answer may have: each limit is refused with a sentence. An answer counts as long as it is not
//! fetched: towards the requests at a time, and with its bytes. If those of others leave no room, the slowest client is cut.

use super::App;
use super::MAX_BODY;
use super::error::ApiError;
use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{Response, StatusCode};
use axum::middleware::Next;
use axum::response::IntoResponse;
use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

/// Bytes of a request's first line and headers.
const MAX_HEAD: usize = 16 << 10;
/// Headers of a request.
const MAX_HEADERS: usize = 100;
/// Permits count these, bytes.
const UNIT: usize = 1 << 10;
/// How long an answer waits for the room that others take.
const ROOM_TIME: Duration = Duration::from_secs(2);
/// Time between two calls for room.
const ROOM_CALL: Duration = Duration::from_millis(20);

/// Permits for the bytes of all answers that are not fetched yet: as many as one may have.
pub(super) fn permits(max_response: u64) -> usize {
    usize::try_from(max_response).unwrap_or(usize::MAX).div_ceil(UNIT)
}

/// Refuses requests that are too large.
pub(super) async fn request(request: Request, next: Next) -> Response<Body> {
    match too_large(&request) {
        Some(refused) => refused.into_response(),
        None => next.run(request).await,
    }
}

fn too_large(request: &Request) -> Option<ApiError> {
    let headers = request.headers();
    let line = request.method().as_str().len() + request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let bytes = headers.iter().fold(line, |sum, (name, value)| sum + name.as_str().len() + value.len() + 4);
    if headers.len() > MAX_HEADERS || bytes > MAX_HEAD {
        let text = format!("The head of a request may have {MAX_HEADERS} headers and {} KiB", MAX_HEAD >> 10);
        return Some(ApiError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text));
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let is_long = length.is_some_and(|length| length > MAX_BODY as u64);
    is_long.then(|| ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "The body of a request may have 1 MiB"))
}

/// Holds the number of requests at work and what waits to be fetched below their limits.
pub(super) async fn work(State(app): State<App>, request: Request, next: Next) -> Response<Body> {
    let Ok(permit) = app.permits.clone().try_acquire_owned() else {
        let text = "Too many requests at a time (--max-requests); try again when others have ended";
        return ApiError::busy(text).into_response();
    };
    let in_flight = InFlight::new(&app.metrics.requests_in_flight);
    let response = next.run(request).await;
    answer(&app, response, (permit, in_flight)).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(
    app: &App,
    response: Response<Body>,
    held: (OwnedSemaphorePermit, InFlight),
) -> Result<Response<Body>, ApiError> {
    let most = app.config.max_response;
    // All answers are in one piece.
    let size = response.body().size_hint().exact().unwrap_or(u64::MAX);
    if size > most {
        let text = format!(
            "The answer would have more than {} (--max-response); ask for fewer seconds or samples, or for one process",
            crate::config::Size(most)
        );
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, text));
    }
    if size == 0 {
        return Ok(response);
    }
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let units = u32::try_from(size.div_ceil(UNIT)).unwrap_or(u32::MAX);
    let room = room(app, units).await.ok_or_else(|| {
        ApiError::busy("Too many bytes of answers wait for slow clients; try again when they have gone")
    })?;
    let (head, body) = response.into_parts();
    let bytes = to_bytes(body, size).await.map_err(|error| {
        ApiError::caused(StatusCode::INTERNAL_SERVER_ERROR, "The answer could not be put together", error)
    })?;
    Ok(Response::from_parts(head, Body::from(Bytes::from_owner(Fetched { bytes, _held: held, _room: room }))))
}

/// Room for an answer; calls for it while there is none.
async fn room(app: &App, units: u32) -> Option<OwnedSemaphorePermit> {
    let mut wanted = pin!(app.answers.clone().acquire_many_owned(units));
    let mut end = pin!(sleep(ROOM_TIME));
    loop {
        tokio::select! {
            biased;
            room = &mut wanted => return room.ok(),
            () = &mut end => return None,
            () = sleep(ROOM_CALL) => app.crowded.notify_one(),
        }
    }
}

/// Bytes of an answer, and what they hold until they are sent or given up.
struct Fetched {
    bytes: Bytes,
    _held: (OwnedSemaphorePermit, InFlight),
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Fetched {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Counts a request down when its answer was fetched, or it was given up.
struct InFlight(Gauge);

impl InFlight {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        InFlight(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
