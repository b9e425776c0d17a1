//! Tests of `http`, most of them by the router, without a socket.

mod access;
mod bounds;
mod pages;
mod tree;
mod wire;

use super::*;
use crate::encode::pprof::check::{check_strict, decode};
use crate::kind::fakes::{DEAD, World};
use crate::kind::subject::ticks;
use crate::symbolize::fakes::{PID, process};
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tower::ServiceExt;

const UNKNOWN: &str = "Unknown profile\n";
const GET_HEAD: &str = "GET, HEAD";

struct Site {
    world: World,
    router: Router,
    audit: Shared,
    serving: Serving,
    app: App,
}

/// What was written to the audit.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no test panics with it").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("UTF-8")
    }

    /// The answer is this error, in the form that pprof clients show.
    fn is_error(&self, status: u16, text: &str) {
        assert_eq!((self.status.as_u16(), self.text()), (status, text));
        assert_eq!(self.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!((self.header("x-go-pprof"), self.header("content-disposition")), ("1", ""));
    }
}

impl Site {
    fn new() -> Self {
        Site::with_requests(8)
    }

    fn with_requests(max_requests: usize) -> Self {
        Site::with(|config| config.max_requests = max_requests)
    }

    fn with(change: impl FnOnce(&mut HttpConfig)) -> Self {
        let (world, audit) = (World::new(), Shared::default());
        let mut config = HttpConfig::at(([127, 0, 0, 1], 7060).into());
        change(&mut config);
        let (lines, _end) = Audit::to(audit.clone()).expect("a thread");
        let app = App::new(world.profiler.clone(), Arc::default(), Arc::new(|| Ok(())), lines, config);
        Site { serving: app.serving(), router: router(app.clone()), world, audit, app }
    }

    /// The lines of the audit, once there are so many.
    async fn audited(&self, count: usize) -> Vec<serde_json::Value> {
        let whole = || self.audit.0.lock().expect("no test panics with it").clone();
        let written = async {
            while whole().split(|byte| *byte == b'\n').count() <= count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), written).await.expect("the lines are written");
        let text = String::from_utf8(whole()).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("the router is infallible");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes().to_vec();
        assert_eq!(head.headers.get("x-content-type-options").map(HeaderValue::as_bytes), Some(&b"nosniff"[..]));
        assert!(!head.headers.contains_key("content-encoding"));
        Answer { status: head.status, headers: head.headers, body }
    }

    async fn send(&self, method: Method, uri: &str, body: &str) -> Answer {
        let request = Request::builder().method(method).uri(uri).header("accept-encoding", "gzip");
        self.ask(request.body(Body::from(body.to_owned())).expect("well formed")).await
    }

    async fn get(&self, uri: &str) -> Answer {
        self.send(Method::GET, uri, "").await
    }
}

fn tree(rest: &str) -> String {
    format!("/pid/{PID}/debug/pprof/{rest}")
}
