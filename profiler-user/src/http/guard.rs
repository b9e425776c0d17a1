//! What happens to every request before and after its handler.

use super::App;
use super::HttpConfig;
use super::error::ApiError;
use super::peer::Peer;
use crate::telemetry::metrics::RequestLabels;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::middleware::Next;
use axum::response::IntoResponse;
use std::any::Any;
use std::net::IpAddr;

/// What a browser says of where a request comes from.
const SEC_FETCH_SITE: &str = "sec-fetch-site";

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

/// Refuses what a page of somebody else's asks for in a browser of this host: by a name of its own that resolves to the
/// loopback, or openly. No browser reaches the Unix socket.
pub(super) async fn own_pages(State(app): State<App>, request: Request, next: Next) -> Response<Body> {
    if matches!(request.extensions().get::<Peer>(), Some(Peer::Local(_))) {
        return next.run(request).await;
    }
    let host = request.headers().get(HOST).map(HeaderValue::as_bytes);
    let from_uri = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    if ![host, from_uri].into_iter().flatten().all(|host| is_known(&app.config, host)) {
        let text = "This agent listens on the loopback and answers for localhost, 127.0.0.1, [::1] and the names of \
                    --allowed-host only";
        return ApiError::new(StatusCode::FORBIDDEN, text).into_response();
    }
    if is_foreign(request.headers()) {
        let text = "Pages of other sites may not ask this agent";
        return ApiError::new(StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

/// Beyond the loopback every request brings a token, which no page knows.
fn is_known(config: &HttpConfig, host: &[u8]) -> bool {
    if !config.listen.ip().is_loopback() {
        return true;
    }
    let Ok(authority) = Authority::try_from(host) else { return false };
    if authority.as_str().contains('@') {
        return false;
    }
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let allowed = || config.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
    name.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| {
            let own = ["127.0.0.1", "::1"].iter().any(|own| own.parse() == Ok(address));
            own || address == config.listen.ip()
        })
        || allowed()
}

/// True if a browser says that a page of another origin asks. Other clients send neither header.
fn is_foreign(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    let from_elsewhere = sites.any(|site| !["same-origin", "none"].iter().any(|own| site == own));
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    let is_own = |origin: &HeaderValue| {
        let origin = origin.as_bytes();
        let rest = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        rest.is_some() && rest == host
    };
    from_elsewhere || !headers.get_all(ORIGIN).iter().all(is_own)
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
            let config = HttpConfig { allowed_hosts: vec!["proxy.example".to_owned()], ..HttpConfig::at(listen) };
            assert_eq!(is_known(&config, host.as_bytes()), wanted, "{host} at {listen}");
        };
        for host in ["localhost", "LocalHost:1", "127.0.0.1:7060", "127.0.0.1", "[::1]:80", "[::1]", "Proxy.example:80"]
        {
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

    #[test]
    fn pages_of_others() {
        let check = |headers: &[(&'static str, &'static str)], wanted: bool| {
            let headers = headers
                .iter()
                .map(|(name, value)| (axum::http::HeaderName::from_static(name), HeaderValue::from_static(value)));
            let headers: HeaderMap = headers.chain([(HOST, HeaderValue::from_static("localhost:7060"))]).collect();
            assert_eq!(is_foreign(&headers), wanted, "{headers:?}");
        };
        check(&[], false);
        check(&[("sec-fetch-site", "same-origin")], false);
        check(&[("sec-fetch-site", "none")], false);
        check(&[("sec-fetch-site", "same-site")], true);
        check(&[("sec-fetch-site", "cross-site")], true);
        check(&[("sec-fetch-site", "")], true);
        check(&[("origin", "http://localhost:7060")], false);
        check(&[("origin", "https://localhost:7060")], false);
        for origin in [
            "null",
            "http://localhost",
            "http://evil.example",
            "http://evil.example/localhost:7060",
            "localhost:7060",
            "",
        ] {
            check(&[("origin", origin)], true);
        }
        check(&[("sec-fetch-site", "same-origin"), ("origin", "http://evil.example")], true);
    }
}
