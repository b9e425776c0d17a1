//! The pprof trees: `/debug/pprof/` of the host and `/pid/PID/debug/pprof/` of each process. The order of checks is Go's:
//! method, name, parameters; then the process.

use super::App;
use super::audit::Notes;
use super::caller::Caller;
use super::error::{ApiError, method_not_allowed, text};
use super::{MAX_BODY, html, lists, query};
use crate::encode::EncodeProfile;
use crate::encode::pprof::Pprof;
use crate::encode::text::contention::Contention;
use crate::encode::text::counts::Counts;
use crate::encode::text::stacks::Stacks;
use crate::kind::parameters::Parameters;
use crate::kind::processes::{self, Listed};
use crate::kind::profile::Profile;
use crate::kind::subject::{self, Asked, Known, Subject};
use crate::kind::viewer::Viewer;
use crate::kind::{Answer, Kind, KindError, cmdline, cpu, symbol, table};
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, Method, Response, StatusCode};
use axum::response::IntoResponse;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

const TREE: &str = "/debug/pprof/";
/// How long a client may take to send a body.
const BODY_TIME: Duration = Duration::from_secs(10);

/// The tree without its slash. The way is relative, so that it holds behind a proxy with a prefix.
pub(super) async fn redirect(method: Method, request: Request) -> Response<Body> {
    if !matches!(method, Method::GET | Method::HEAD) {
        return method_not_allowed("GET, HEAD");
    }
    redirect_to("../debug/pprof/", request.uri().query())
}

/// Where `fgprof` serves what is `wall` here.
pub(super) async fn fgprof(method: Method, request: Request) -> Response<Body> {
    if !matches!(method, Method::GET | Method::HEAD) {
        return method_not_allowed("GET, HEAD");
    }
    redirect_to("pprof/wall", request.uri().query())
}

/// The host's tree; `?pid=N` makes it the process's.
pub(super) async fn host(State(app): State<App>, caller: Caller, request: Request) -> Response<Body> {
    answer(app, caller, None, request).await
}

/// A process's tree.
pub(super) async fn process(State(app): State<App>, caller: Caller, request: Request) -> Response<Body> {
    let raw = request.uri().path().split('/').nth(2).unwrap_or_default();
    let pid = query::decode(raw, false).unwrap_or_default();
    answer(app, caller, Some(pid), request).await
}

async fn answer(app: App, caller: Caller, pid: Option<String>, request: Request) -> Response<Body> {
    let head = request.method() == Method::HEAD;
    let response = tree(app, caller, pid, request).await.unwrap_or_else(IntoResponse::into_response);
    if head { without_body(response) } else { response }
}

/// What a request asks for.
struct Asking {
    app: App,
    caller: Caller,
    /// The process in the path.
    pid: Option<String>,
    parameters: Parameters,
    /// For the audit.
    notes: Notes,
}

async fn tree(app: App, caller: Caller, pid: Option<String>, request: Request) -> Result<Response<Body>, ApiError> {
    let path = request.uri().path();
    let raw = path.split_once(TREE).map_or("", |(_, name)| name);
    let name = query::decode(raw, false).ok_or_else(ApiError::unknown_profile)?;
    let may_post = name == "symbol";
    match *request.method() {
        Method::GET | Method::HEAD => {}
        Method::POST if may_post => {}
        _ => return Ok(method_not_allowed(if may_post { "GET, HEAD, POST" } else { "GET, HEAD" })),
    }
    if let Some(clean) = cleaned(path) {
        return Ok(redirect_to(&clean, request.uri().query()));
    }
    let parameters = query::parse(request.uri().query().unwrap_or(""));
    let notes = request.extensions().get().cloned().unwrap_or_default();
    let asking = Asking { app, caller, pid, parameters, notes };
    if name.is_empty() {
        return index(asking).await;
    }
    let kind = Kind::find(&name).ok_or_else(ApiError::unknown_profile)?;
    match kind.answer {
        Answer::Cpu => profile(asking).await,
        Answer::Threads | Answer::ThreadCreate | Answer::Waits(_) | Answer::Wall => named(asking, kind).await,
        Answer::Cmdline => command_line(asking).await,
        Answer::Symbol => names(asking, request).await,
        Answer::NoProfile => {
            asking.parameters.check_named()?;
            Err(not_yet(asking, kind).await)
        }
        Answer::NoTrace => Err(not_yet(asking, kind).await),
    }
}

async fn index(asking: Asking) -> Result<Response<Body>, ApiError> {
    let pid = asking.parameters.given("pid").filter(|_| asking.pid.is_none()).map(ToOwned::to_owned);
    let query = pid.map(|pid| format!("pid={pid}")).unwrap_or_default();
    let whose = match asking.subject().await? {
        Subject::Host => {
            "Profiles of the whole host. Profiles of one process are below /pid/PID/debug/pprof/.".to_owned()
        }
        Subject::Process(known) => {
            let profiler = asking.app.profiler;
            let listed = spawn_blocking(move || processes::one(&profiler, known.id)).await.map_err(KindError::Task)?;
            whose(known, listed.as_ref())
        }
    };
    Ok(lists::page(html::index(&whose, &query)))
}

/// Whose tree it is, with its name and its command line as far as they are known.
fn whose(known: Known, listed: Option<&Listed>) -> String {
    let named = match listed {
        Some(Listed { comm, cmdline, .. }) if cmdline.is_empty() => format!(" ({comm})"),
        Some(Listed { comm, cmdline, .. }) => format!(" ({comm}: {cmdline})"),
        None => String::new(),
    };
    let children = "With children=1 a profile sums all that descend from it too.";
    if known.alive {
        format!("Profiles of process {}{named}. {children}", known.id.pid)
    } else {
        format!("Profiles of process {}{named}, which has exited: add ago=SECONDS to profile. {children}", known.id.pid)
    }
}

async fn profile(asking: Asking) -> Result<Response<Body>, ApiError> {
    let request = cpu::Request::parse(&asking.parameters, asking.app.profiler.max_seconds)?;
    asking.notes.window(request.seconds, request.ago, request.hz);
    let subject = asking.subject().await?;
    let viewer = asking.caller.viewer()?;
    let profile = cpu::collect_for(&asking.app.profiler, viewer, subject, request).await?;
    attachment(profile, "attachment; filename=\"profile\"").await
}

/// The answer with a profile in pprof's format.
async fn attachment(profile: Profile, disposition: &str) -> Result<Response<Body>, ApiError> {
    let mut response = encoded(profile, Pprof).await?;
    if let Ok(disposition) = HeaderValue::try_from(disposition) {
        response.headers_mut().insert(CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

async fn encoded(
    profile: Profile,
    format: impl EncodeProfile + Copy + Send + 'static,
) -> Result<Response<Body>, ApiError> {
    let bytes = spawn_blocking(move || format.encode(&profile)).await.map_err(KindError::Task)?;
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    Ok(response)
}

/// One of the kinds that Go calls named: with texts beside the profile.
async fn named(asking: Asking, kind: &'static Kind) -> Result<Response<Body>, ApiError> {
    asking.parameters.check_named()?;
    let subject = asking.subject().await?;
    let viewer = asking.caller.viewer()?;
    let profile = table::collect(&asking.app.profiler, viewer, subject, kind, &asking.parameters).await?;
    // What it is now is what was looked at.
    asking.check(&subject).await?;
    match asking.parameters.debug() {
        0 => {
            let is_delta = asking.parameters.given("seconds").is_some() && kind.answer != Answer::Wall;
            let delta = if is_delta { "-delta" } else { "" };
            attachment(profile, &format!("attachment; filename=\"{}{delta}\"", kind.name)).await
        }
        2.. if kind.answer == Answer::Threads => encoded(profile, Stacks).await,
        _ => match kind.answer {
            Answer::Waits(what) => encoded(profile, Contention { of_mutexes: what.is_wakes() }).await,
            _ => encoded(profile, Counts { name: kind.name }).await,
        },
    }
}

async fn command_line(asking: Asking) -> Result<Response<Body>, ApiError> {
    let subject = asking.subject().await?;
    let profiler = asking.app.profiler.clone();
    let arguments = spawn_blocking(move || cmdline::collect(&profiler, &subject)).await.map_err(KindError::Task)??;
    asking.check(&subject).await?;
    Ok(text(StatusCode::OK, arguments))
}

async fn names(asking: Asking, request: Request) -> Result<Response<Body>, ApiError> {
    let subject = asking.subject().await?;
    let question = match *request.method() {
        Method::POST => posted(request).await?,
        _ => Bytes::copy_from_slice(request.uri().query().unwrap_or("").as_bytes()),
    };
    let profiler = asking.app.profiler.clone();
    let answer = spawn_blocking(move || symbol::collect(&profiler, &subject, &question)).await;
    asking.check(&subject).await?;
    Ok(text(StatusCode::OK, answer.map_err(KindError::Task)?))
}

/// The body of a request, which may neither be long nor take long.
async fn posted(request: Request) -> Result<Bytes, ApiError> {
    match timeout(BODY_TIME, to_bytes(request.into_body(), MAX_BODY)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => {
            let text = "The list of addresses could not be read, or is longer than 1 MiB";
            Err(ApiError::caused(StatusCode::PAYLOAD_TOO_LARGE, text, error))
        }
        Err(late) => {
            let text = "The list of addresses did not come in time";
            Err(ApiError::caused(StatusCode::REQUEST_TIMEOUT, text, late))
        }
    }
}

/// The answer of a kind that this version does not have, if the process is there.
async fn not_yet(asking: Asking, kind: &Kind) -> ApiError {
    if let Err(error) = asking.subject().await {
        return error;
    }
    let text = format!("This version of pprofd has no {} profile yet ({})", kind.name, kind.description);
    KindError::NotImplemented(text).into()
}

impl Asking {
    /// Whom the request is about.
    async fn subject(&self) -> Result<Subject, ApiError> {
        self.caller.viewer()?;
        let Some(pid) = self.pid.as_deref().or_else(|| self.parameters.given("pid")) else {
            return Ok(Subject::Host);
        };
        let (asked, profiler, notes) = (Asked::parse(pid)?, self.app.profiler.clone(), self.notes.clone());
        let find = move || {
            let known = subject::find(&profiler, asked)?;
            notes.process(known.id, subject::comm(&profiler, known.id));
            Ok::<_, KindError>(known)
        };
        let subject = Subject::Process(spawn_blocking(find).await.map_err(KindError::Task)??);
        self.check(&subject).await.map(|()| subject)
    }

    /// Refuses a process that the caller may not see now: asked before it is looked at, and once more after that, since
    /// it may have become another program meanwhile.
    async fn check(&self, subject: &Subject) -> Result<(), ApiError> {
        let (viewer, profiler) = (self.caller.viewer()?, self.app.profiler.clone());
        let (Subject::Process(known), Viewer::User(uid)) = (*subject, viewer) else { return Ok(()) };
        if spawn_blocking(move || viewer.sees(&profiler, known.id)).await.map_err(KindError::Task)? {
            return Ok(());
        }
        let text = format!(
            "Process {} is not wholly user {uid}'s, or has rights of its own (set-user-ID, capabilities): ask as root",
            known.id.pid
        );
        Err(ApiError::new(StatusCode::FORBIDDEN, text))
    }
}

/// The path without empty, `.` and `..` segments, if it has some.
fn cleaned(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut clean = format!("/{}", parts.join("/"));
    if path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    (clean != path).then_some(clean)
}

fn redirect_to(path: &str, query: Option<&str>) -> Response<Body> {
    let location = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    match HeaderValue::try_from(location) {
        Ok(location) => {
            response.headers_mut().insert(LOCATION, location);
            response
        }
        Err(_) => ApiError::new(StatusCode::BAD_REQUEST, "The address is malformed").into_response(),
    }
}

/// The answer to HEAD: as to GET, with its length and without its bytes.
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(head, Body::empty())
}
