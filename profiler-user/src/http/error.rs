//! Errors as answers: a status, one sentence for the caller, and a cause that only the log sees.

use crate::kind::KindError;
use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use std::borrow::Cow;

/// An error that is answered.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    text: Cow<'static, str>,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// A header that says what to do.
    header: Option<(HeaderName, HeaderValue)>,
}

/// Header that makes pprof clients show the text of an error.
pub(super) const X_GO_PPROF: &str = "x-go-pprof";

impl ApiError {
    /// An error with a sentence for the caller.
    pub fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        ApiError { status, text: text.into(), cause: None, header: None }
    }

    /// As [`Self::new`], with a cause for the log.
    pub(super) fn caused(
        status: StatusCode,
        text: &'static str,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        ApiError { status, text: text.into(), cause: Some(cause.into()), header: None }
    }

    /// All room is taken for the moment.
    pub(super) fn busy(text: &'static str) -> Self {
        let header = Some((RETRY_AFTER, HeaderValue::from_static("5")));
        ApiError { header, ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text) }
    }

    /// No token was sent, or none that counts.
    pub(super) fn no_token() -> Self {
        let header = Some((WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"pprofd\", charset=\"UTF-8\"")));
        let text = "This agent wants a token: as the password in the address (http://x:TOKEN@HOST/...) or as \
                    `Authorization: Bearer TOKEN`";
        ApiError { header, ..ApiError::new(StatusCode::UNAUTHORIZED, text) }
    }

    /// Go's answer to a name that is none; it never echoes the name.
    pub(super) fn unknown_profile() -> Self {
        ApiError::new(StatusCode::NOT_FOUND, "Unknown profile")
    }
}

impl From<KindError> for ApiError {
    fn from(error: KindError) -> Self {
        let status = match error {
            KindError::BadRequest(_) => StatusCode::BAD_REQUEST,
            KindError::NotFound(_) => StatusCode::NOT_FOUND,
            KindError::Forbidden(_) => StatusCode::FORBIDDEN,
            KindError::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
            KindError::Recorder(_) => StatusCode::SERVICE_UNAVAILABLE,
            KindError::Task(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let text = Cow::Owned(error.to_string());
        ApiError { status, text, header: None, cause: status.is_server_error().then(|| error.into()) }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        if let Some(cause) = &self.cause {
            let chain = std::iter::successors(Some(cause.as_ref() as &dyn std::error::Error), |error| error.source());
            let chain = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
            tracing::warn!(status = self.status.as_u16(), cause = %chain, "request failed");
        }
        let mut response = text(self.status, format!("{}\n", self.text));
        response.headers_mut().insert(X_GO_PPROF, HeaderValue::from_static("1"));
        response.headers_mut().extend(self.header);
        response
    }
}

/// A plain text.
pub(super) fn text(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// 405 as Go's router has it.
pub(super) fn method_not_allowed(allowed: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}
