//! What happens to every request before and after its handler.

use super::App;
use super::error::ApiError;
use super::peer::Peer;
use crate::telemetry::metrics::RequestLabels;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{HOST, X_CONTENT_TYPE_OPTIONS};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Response, StatusCode};
use axum::middleware::Next;
use axum::response::IntoResponse;
use prometheus_client::metrics::gauge::Gauge;
use std::any::Any;
use std::net::{IpAddr, SocketAddr};

/// Counts the answer, by route and status.
pub(super) async fn count(State(app): State<App>, request: Request, next: Next) -> Response<Body> {
    let route = request.extensions().get::<MatchedPath>().map_or("none", |path| path.as_str()).to_owned();
    let response = next.run(request).await;
    let labels = RequestLabels { route, status: response.status().as_u16() };
    app.metrics.requests.get_or_create(&labels).inc();
    response
}

/// Tells browsers to take the type of an answer as it is said.
pub(super) async fn no_sniffing(request: Request, next: Next) -> Response<Body> {
    let mut response = next.run(request).await;
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Refuses requests for a foreign host on the loopback: a page in a browser could reach the agent by a name of its own
/// that resolves to 127.0.0.1. Browsers do not reach the Unix socket.
pub(super) async fn known_host(State(app): State<App>, request: Request, next: Next) -> Response<Body> {
    let host = request.headers().get(HOST).map(HeaderValue::as_bytes);
    let from_uri = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let is_local = matches!(request.extensions().get::<Peer>(), Some(Peer::Local(_)));
    let known = is_local || [host, from_uri].into_iter().flatten().all(|host| is_known(app.listen, host));
    if known {
        return next.run(request).await;
    }
    let text = "This agent listens on the loopback and answers for localhost, 127.0.0.1 and [::1] only";
    ApiError::new(StatusCode::FORBIDDEN, text).into_response()
}

fn is_known(listen: SocketAddr, host: &[u8]) -> bool {
    if !listen.ip().is_loopback() {
        return true;
    }
    let Ok(authority) = Authority::try_from(host) else { return false };
    if authority.as_str().contains('@') {
        return false;
    }
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| {
            let own = ["127.0.0.1", "::1"].iter().any(|own| own.parse() == Ok(address));
            own || address == listen.ip()
        })
}

/// Holds the number of requests at work below the limit.
pub(super) async fn limit(State(app): State<App>, request: Request, next: Next) -> Response<Body> {
    let Ok(_permit) = app.permits.try_acquire() else {
        let text = "Too many requests at a time (--max-requests); try again when others have ended";
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let _in_flight = InFlight::new(&app.metrics.requests_in_flight);
    next.run(request).await
}

/// Counts a request down when it has ended, or was given up.
struct InFlight<'a>(&'a Gauge);

impl<'a> InFlight<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.inc();
        InFlight(gauge)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The answer when a handler panicked.
#[allow(clippy::needless_pass_by_value, reason = "the layer hands the payload over")]
pub(super) fn panicked(payload: Box<dyn Any + Send>) -> Response<Body> {
    let message = payload.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
    tracing::error!(message, "a request met a bug");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "This request met a bug in pprofd; its log says more")
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_the_loopback() {
        let check = |listen: &str, host: &str, wanted: bool| {
            let listen = listen.parse().expect("an address");
            assert_eq!(is_known(listen, host.as_bytes()), wanted, "{host} at {listen}");
        };
        for host in ["localhost", "LocalHost:1", "127.0.0.1:7060", "127.0.0.1", "[::1]:80", "[::1]"] {
            check("127.0.0.1:7060", host, true);
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "a@localhost"]
        {
            check("127.0.0.1:7060", host, false);
        }
        check("127.0.0.2:7060", "127.0.0.2", true);
        check("127.0.0.1:7060", "127.0.0.2", false);
        check("[::1]:7060", "evil.example", false);
        check("0.0.0.0:7060", "profiles.example", true);
    }
}
