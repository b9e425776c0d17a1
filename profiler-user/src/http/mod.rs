//! Parse a request, ask a kind, map errors: one router, testable without a socket. Statuses, headers and bodies of the
//! pprof trees are Go's, byte for byte; what Go has not is said in `README.md`.

mod audit;
mod bounds;
mod caller;
mod connections;
mod diagnostics;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod guard;
mod html;
mod lists;
mod peer;
mod progress;
mod query;
mod serve;
mod tree;

pub use error::ApiError;
pub use serve::{GroupsOf, Listeners, Local, Serving, serve};

use crate::config::{Config, TokenFile};
use crate::kind::profiler::Profiler;
use crate::telemetry::audit::Audit;
use crate::telemetry::metrics::Metrics;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{any, get};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{Notify, Semaphore};
use tower_http::catch_panic::CatchPanicLayer;

/// Bytes that a body may have: the addresses of a `symbol` question.
const MAX_BODY: usize = 1 << 20;
/// Connections beyond the requests that may be at work.
const SPARE_CONNECTIONS: usize = 256;

/// Says whether the agent can answer, or what it waits for.
pub type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the agent says of itself for a bug report.
pub type About = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// What HTTP needs to know.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Where the agent listens. On a loopback address only requests that name the loopback as their host are answered.
    pub listen: SocketAddr,
    /// Other names that are as good.
    pub allowed_hosts: Vec<String>,
    /// By the network one of these tokens is wanted; if there are none nothing is.
    pub tokens: Option<Arc<TokenFile>>,
    /// By the Unix socket members of this group may see all.
    pub socket_group: Option<u32>,
    /// Requests for profiles and lists at a time.
    pub max_requests: usize,
    /// Bytes of an answer.
    pub max_response: u64,
}

impl HttpConfig {
    /// The usual limits, at an address.
    pub fn at(listen: SocketAddr) -> Self {
        let Config { max_requests, max_response, .. } = Config::default();
        HttpConfig { listen, allowed_hosts: Vec::new(), tokens: None, socket_group: None, max_requests, max_response }
    }
}

/// What all handlers share.
#[derive(Clone)]
pub struct App {
    profiler: Profiler,
    metrics: Arc<Metrics>,
    ready: Ready,
    audit: Audit,
    config: Arc<HttpConfig>,
    permits: Arc<Semaphore>,
    about: Option<About>,
    /// For the bytes of answers that are not fetched yet.
    answers: Arc<Semaphore>,
    /// Told when there is no room for an answer.
    crowded: Arc<Notify>,
}

impl App {
    /// How connections are served: those of requests at work, and others, so that who is refused is told so.
    pub fn serving(&self) -> Serving {
        let most = self.config.max_requests.saturating_add(SPARE_CONNECTIONS);
        Serving { most, crowded: Arc::clone(&self.crowded) }
    }

    /// The state of the router.
    pub fn new(profiler: Profiler, metrics: Arc<Metrics>, ready: Ready, audit: Audit, config: HttpConfig) -> Self {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS)));
        let (permits, answers) = (semaphore(config.max_requests), semaphore(bounds::permits(config.max_response)));
        let crowded = Arc::default();
        App { profiler, metrics, ready, audit, config: Arc::new(config), permits, about: None, answers, crowded }
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
        .route("/debug/fgprof", any(tree::fgprof))
        .route("/pid/{pid}/debug/fgprof", any(tree::fgprof))
        .route("/pid/{pid}/debug/pprof", any(tree::redirect))
        .route("/pid/{pid}/debug/pprof/", any(tree::process))
        .route("/pid/{pid}/debug/pprof/{*name}", any(tree::process))
        .route("/api/v1/processes", get(lists::processes))
        .route("/api/v1/diagnostics", get(diagnostics::answer))
        .route("/", get(lists::start_page))
        .layer(from_fn_with_state(app.clone(), bounds::work));
    Router::new()
        .route("/metrics", get(lists::metrics))
        .route("/healthz", get(lists::healthy))
        .route("/readyz", get(lists::ready))
        .merge(work)
        .fallback(lists::nothing)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(CatchPanicLayer::custom(guard::panicked))
        .layer(from_fn_with_state(app.clone(), caller::admit))
        .layer(from_fn_with_state(app.clone(), guard::own_pages))
        .layer(from_fn(bounds::request))
        .layer(from_fn_with_state(app.clone(), audit::write))
        .layer(from_fn(guard::no_sniffing))
        .layer(from_fn_with_state(app.clone(), guard::count))
        .with_state(app)
}

#[cfg(test)]
mod tests;
