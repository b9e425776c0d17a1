//! Parse a request, ask a kind, map errors: one router, testable without a socket. Statuses, headers and bodies of the
//! pprof trees are Go's, byte for byte; what Go has not is said in `README.md`.

mod caller;
mod diagnostics;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod guard;
mod html;
mod lists;
mod peer;
mod query;
mod serve;
mod tree;

pub use caller::Caller;
pub use error::ApiError;
pub use serve::{Listeners, serve};

use crate::kind::profiler::Profiler;
use crate::telemetry::metrics::Metrics;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{any, get};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;

/// Bytes that a body may have: the addresses of a `symbol` question.
const MAX_BODY: usize = 1 << 20;

/// Says whether the agent can answer, or what it waits for.
pub type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the agent says of itself for a bug report.
pub type About = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// What HTTP needs to know.
#[derive(Clone)]
pub struct HttpConfig {
    /// Where the agent listens. On a loopback address only requests that name the loopback as their host are answered.
    pub listen: SocketAddr,
    /// Requests for profiles and lists at a time.
    pub max_requests: usize,
}

/// What all handlers share.
#[derive(Clone)]
pub struct App {
    profiler: Profiler,
    metrics: Arc<Metrics>,
    ready: Ready,
    listen: SocketAddr,
    permits: Arc<Semaphore>,
    about: Option<About>,
}

impl App {
    /// The state of the router.
    pub fn new(profiler: Profiler, metrics: Arc<Metrics>, ready: Ready, config: &HttpConfig) -> Self {
        let permits = Arc::new(Semaphore::new(config.max_requests.clamp(1, Semaphore::MAX_PERMITS)));
        App { profiler, metrics, ready, listen: config.listen, permits, about: None }
    }

    /// With what the agent says of itself.
    pub fn about(self, about: About) -> Self {
        App { about: Some(about), ..self }
    }
}

/// All that the agent answers.
pub fn router(app: App) -> Router {
    let work = Router::new()
        .route("/debug/pprof", any(tree::redirect))
        .route("/debug/pprof/", any(tree::host))
        .route("/debug/pprof/{*name}", any(tree::host))
        .route("/pid/{pid}/debug/pprof", any(tree::redirect))
        .route("/pid/{pid}/debug/pprof/", any(tree::process))
        .route("/pid/{pid}/debug/pprof/{*name}", any(tree::process))
        .route("/api/v1/processes", get(lists::processes))
        .route("/api/v1/diagnostics", get(diagnostics::answer))
        .route("/", get(lists::start_page))
        .layer(from_fn_with_state(app.clone(), guard::limit));
    Router::new()
        .route("/metrics", get(lists::metrics))
        .route("/healthz", get(lists::healthy))
        .route("/readyz", get(lists::ready))
        .merge(work)
        .fallback(lists::nothing)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(CatchPanicLayer::custom(guard::panicked))
        .layer(from_fn_with_state(app.clone(), guard::known_host))
        .layer(from_fn(guard::no_sniffing))
        .layer(from_fn_with_state(app.clone(), guard::count))
        .with_state(app)
}

#[cfg(test)]
mod tests;
