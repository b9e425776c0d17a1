//! Tests of `http`.

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
use std::sync::atomic::Ordering;
use std::time::Duration;
use tower::ServiceExt;

const UNKNOWN: &str = "Unknown profile\n";
const GET_HEAD: &str = "GET, HEAD";

struct Site {
    world: World,
    router: Router,
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
        let world = World::new();
        let config = HttpConfig { listen: ([127, 0, 0, 1], 7060).into(), max_requests };
        let app = App::new(world.profiler.clone(), Arc::default(), Arc::new(|| Ok(())), &config);
        Site { router: router(app), world }
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

fn network(listener: std::net::TcpListener) -> Listeners {
    Listeners { network: listener, local: None }
}

fn tree(rest: &str) -> String {
    format!("/pid/{PID}/debug/pprof/{rest}")
}

#[tokio::test]
async fn the_index_lists_all_names_with_relative_links() {
    let site = Site::new();
    for uri in [tree(""), "/debug/pprof/".to_owned(), format!("/debug/pprof/?pid={PID}")] {
        let index = site.get(&uri).await;
        assert_eq!((index.status.as_u16(), index.header("content-type")), (200, "text/html; charset=utf-8"));
        let page = index.text();
        assert!(page.contains("Types of profiles available:") && page.contains("<h1>/debug/pprof/</h1>"));
        for kind in crate::kind::KINDS {
            assert!(page.contains(&format!("<td>{}</td>", kind.name)) || page.contains(&format!("{}</a>", kind.name)));
            assert_eq!(page.contains(&format!("href=\"{}", kind.name)), kind.works(), "{}", kind.name);
        }
        assert!(!page.contains("href=\"/") && !page.contains("http"), "{page}");
        assert_eq!(page.contains("pid=4711"), uri.contains('?'));
        assert!(!page.contains(".."), "{page}");
        let is_named = page.contains("process 4711 (demo: /usr/bin/demo --depth 10). With children=1");
        assert_eq!(is_named, uri.contains("4711"), "{page}");
    }
}

#[tokio::test]
async fn the_tree_without_slash_redirects() {
    let site = Site::new();
    for uri in ["/debug/pprof".to_owned(), format!("/pid/{PID}/debug/pprof")] {
        let answer = site.get(&format!("{uri}?pid=1")).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (307, "../debug/pprof/?pid=1"));
    }
    let answer = site.get("/debug/pprof//symbol?0x1").await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (307, "/debug/pprof/symbol?0x1"));
}

#[tokio::test]
async fn unknown_names_are_not_echoed() {
    let site = Site::new();
    for name in ["nosuch", "nosuch?seconds=1", "%3Cscript%3E", "heap/", "profile/", "%ff", "%zz", "nosuch?seconds=x"] {
        site.get(&tree(name)).await.is_error(404, UNKNOWN);
        site.get(&format!("/debug/pprof/{name}")).await.is_error(404, UNKNOWN);
    }
    let nothing = site.get("/debug").await;
    assert_eq!((nothing.status.as_u16(), nothing.header("x-go-pprof")), (404, ""));
}

#[tokio::test]
async fn kinds_of_later_check_their_parameters_and_say_what_is_missing() {
    let site = Site::new();
    for name in ["allocs", "block", "goroutine", "heap", "mutex", "threadcreate"] {
        for seconds in ["0", "-1", "x", "1.5"] {
            let wanted = "invalid value for \"seconds\" - must be a positive integer\n";
            site.get(&tree(&format!("{name}?seconds={seconds}"))).await.is_error(400, wanted);
        }
        let both = "seconds and debug params are incompatible\n";
        site.get(&tree(&format!("{name}?seconds=1&debug=1"))).await.is_error(400, both);
        for fine in ["", "?seconds=", "?seconds=1", "?debug=1", "?seconds=1&debug=x"] {
            let answer = site.get(&tree(&format!("{name}{fine}"))).await;
            assert!(answer.text().starts_with(&format!("This version of pprofd has no {name} profile yet")));
            answer.is_error(501, answer.text());
        }
    }
    let trace = site.get(&tree("trace?seconds=x")).await;
    trace.is_error(501, trace.text());
}

#[tokio::test]
async fn methods() {
    let site = Site::new();
    for name in ["", "heap", "profile", "cmdline", "nosuch"] {
        for method in [Method::PUT, Method::DELETE, Method::POST, Method::OPTIONS] {
            let answer = site.send(method, &tree(name), "").await;
            assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, GET_HEAD), "{name}");
            assert_eq!((answer.text(), answer.header("x-go-pprof")), ("Method Not Allowed\n", ""));
        }
    }
    assert_eq!(site.send(Method::PUT, &tree("symbol"), "").await.header("allow"), "GET, HEAD, POST");
    assert_eq!(site.send(Method::POST, "/debug/pprof", "").await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn head_has_the_headers_of_get() {
    let site = Site::new();
    for name in ["", "cmdline", "symbol", "profile?seconds=20&ago=0"] {
        let (get, head) = (site.get(&tree(name)).await, site.send(Method::HEAD, &tree(name), "").await);
        assert_eq!((head.status, head.body.len()), (get.status, 0));
        for header in ["content-type", "content-disposition"] {
            assert_eq!(head.header(header), get.header(header));
        }
        assert!(head.header("content-length").parse::<usize>().expect("a length") > 0);
    }
}

#[tokio::test]
async fn a_profile_is_an_attachment_that_strict_readers_accept() {
    let site = Site::new();
    for uri in [
        tree("profile?seconds=20&ago=0"),
        tree("profile?foo=1&seconds=20&seconds=9&ago=0&debug=1"),
        format!("/pid/{PID}@{}/debug/pprof/profile?seconds=20&ago=0", ticks(process())),
        format!("/debug/pprof/profile?pid={PID}&seconds=20&ago=0"),
        "/debug/pprof/profile?seconds=20&ago=0&kernel=0".to_owned(),
    ] {
        let answer = site.get(&uri).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/octet-stream"), "{uri}");
        assert_eq!(answer.header("content-disposition"), "attachment; filename=\"profile\"");
        assert_eq!(answer.body.get(..2), Some(&[0x1f, 0x8b][..]));
        let profile = decode(&answer.body).expect("decodes");
        assert_eq!(check_strict(&profile), Vec::<String>::new());
        assert!(!profile.sample.is_empty(), "{uri}");
    }
}

#[tokio::test]
async fn profiles_of_nobody_are_404_with_a_sentence() {
    let site = Site::new();
    let gone = "process 99 does not exist and nothing of it is recorded\n";
    for name in ["", "profile", "profile?ago=1", "cmdline", "symbol", "heap"] {
        site.get(&format!("/pid/99/debug/pprof/{name}")).await.is_error(404, gone);
    }
    site.get("/debug/pprof/profile?pid=99").await.is_error(404, gone);
    let other = format!("process {PID}@1 does not exist and nothing of it is recorded\n");
    site.get(&format!("/pid/{PID}@1/debug/pprof/profile")).await.is_error(404, &other);
    let answer = site.get("/pid/self/debug/pprof/profile").await;
    answer.is_error(404, answer.text());
    let dead = format!("process {DEAD} has exited; ago=SECONDS asks for what is recorded of it\n");
    site.get(&format!("/pid/{DEAD}/debug/pprof/profile?seconds=1")).await.is_error(404, &dead);
    assert_eq!(site.get(&format!("/pid/{DEAD}/debug/pprof/profile?seconds=20&ago=0")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn bad_parameters_of_ours_are_400() {
    let site = Site::new();
    for bad in ["hz=0", "hz=1000", "kernel=yes", "ago=x", "seconds=301"] {
        let answer = site.get(&tree(&format!("profile?{bad}"))).await;
        answer.is_error(400, answer.text());
    }
}

#[tokio::test]
async fn cmdline_joins_by_nul_and_ends_without() {
    let site = Site::new();
    let answer = site.get(&tree("cmdline")).await;
    assert_eq!(
        (answer.text(), answer.header("content-type")),
        ("/usr/bin/demo\0--depth\x0010", "text/plain; charset=utf-8")
    );
    let dead = format!("process {DEAD} has exited, and its command line is not recorded\n");
    site.get(&format!("/pid/{DEAD}/debug/pprof/cmdline")).await.is_error(404, &dead);
}

#[tokio::test]
async fn symbol_answers_real_addresses() {
    let site = Site::new();
    let main = 0x5555_5555_5410_u64;
    let line = format!("{main:#x} main\n");
    let check = async |question: &str, wanted: &str| {
        let wanted = format!("num_symbols: 1\n{wanted}");
        let get = site.get(&tree(&format!("symbol?{question}"))).await;
        assert_eq!((get.status.as_u16(), get.text()), (200, wanted.as_str()), "{question}");
        assert_eq!(get.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(site.send(Method::POST, &tree("symbol"), question).await.text(), wanted);
    };
    check("", "").await;
    check("debug=1", "").await;
    check(&format!("{main:#x}"), &line).await;
    check(&format!("{main}"), &line).await;
    check(&format!("zz+0x1+{main:#x}+"), &line).await;
    check(&format!("0x7ffff7c28010+{main:#x}"), &format!("0x7ffff7c28010 memcpy\n{line}")).await;
    assert_eq!(site.get("/debug/pprof/symbol?0x555555555410").await.text(), "num_symbols: 0\n");
}

#[tokio::test]
async fn symbol_answers_addresses_of_profiles_that_were_handed_out() {
    let site = Site::new();
    let base = format!("/pid/{DEAD}/debug/pprof");
    let profile = decode(&site.get(&format!("{base}/profile?seconds=20&ago=0")).await.body).expect("decodes");
    let name = |id: u64| {
        let function = &profile.function[usize::try_from(id).expect("small") - 1];
        profile.string_table[usize::try_from(function.name).expect("small")].as_str()
    };
    assert!(!profile.location.is_empty());
    for location in &profile.location {
        let answer = site.get(&format!("{base}/symbol?{:#x}", location.address)).await;
        let wanted = format!("num_symbols: 1\n{:#x} {}\n", location.address, name(location.line[0].function_id));
        assert_eq!(answer.text(), wanted);
    }
}

#[tokio::test]
async fn a_question_over_the_limit_is_refused() {
    let site = Site::new();
    let answer = site.send(Method::POST, &tree("symbol"), &"0x1+".repeat(MAX_BODY / 4 + 1)).await;
    answer.is_error(413, answer.text());
}

#[tokio::test]
async fn foreign_hosts_are_refused() {
    let site = Site::new();
    let ask = async |host: &str| {
        let request = Request::builder().uri("/healthz").header("host", host).body(Body::empty()).expect("well formed");
        site.ask(request).await
    };
    let refused = ask("evil.example:7060").await;
    refused.is_error(403, refused.text());
    assert_eq!(ask("localhost:7060").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_are_refused_and_abandoned_ones_free_their_place() {
    let site = Site::with_requests(1);
    let open = tokio::spawn({
        let router = site.router.clone();
        let request = Request::builder().uri(tree("profile?seconds=200")).body(Body::empty()).expect("well formed");
        async move { router.oneshot(request).await }
    });
    let watched = async {
        while site.world.rates.of(PID).is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), watched).await.expect("the request begins");
    let refused = site.get(&tree("cmdline")).await;
    refused.is_error(503, refused.text());
    assert_eq!(site.get("/healthz").await.status, StatusCode::OK);
    open.abort();
    assert!(open.await.is_err());
    assert_eq!(site.get(&tree("cmdline")).await.status, StatusCode::OK);
    assert_eq!(site.world.rates.of(PID), None);
}

#[tokio::test]
async fn a_bug_costs_its_own_request() {
    let site = Site::new();
    site.world.files.panics.store(true, Ordering::SeqCst);
    let answer = site.get(&tree("symbol?0x555555555410")).await;
    answer.is_error(500, answer.text());
    site.world.files.panics.store(false, Ordering::SeqCst);
    assert_eq!(site.get(&tree("symbol?0x555555555410")).await.text(), "num_symbols: 1\n0x555555555410 main\n");
}

#[tokio::test]
async fn processes_are_listed_and_the_dead_apart() {
    let site = Site::new();
    let list = async |uri: &str| -> serde_json::Value {
        let answer = site.get(uri).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
        serde_json::from_slice(&answer.body).expect("JSON")
    };
    let live = list("/api/v1/processes").await;
    let first = &live[0];
    assert_eq!((first["pid"].as_u64(), first["parent"].as_u64()), (Some(u64::from(PID)), Some(1)));
    assert_eq!((first["comm"].as_str(), first["uid"].as_u64()), (Some("demo"), Some(1000)));
    assert_eq!(first["start"].as_u64(), Some(ticks(process())));
    assert_eq!(first["cmdline"].as_str(), Some("/usr/bin/demo --depth 10"));
    assert!(first["cpu_share"].as_f64().expect("a number") > 0.05, "{first}");
    assert!(live.as_array().expect("a list").iter().all(|one| one["pid"] != DEAD));
    let dead = list("/api/v1/processes?exited=1").await;
    assert_eq!(dead[0]["pid"].as_u64(), Some(u64::from(DEAD)));
    assert_eq!(dead.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn the_start_page_leads_to_the_trees() {
    let site = Site::new();
    let page = site.get("/").await;
    assert!(page.text().contains("href=\"pid/4711/debug/pprof/\"") && page.text().contains("href=\"debug/pprof/\""));
    assert!(page.text().contains("children=1"), "{}", page.text());
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
}

#[tokio::test]
async fn requests_are_counted_by_route() {
    let site = Site::new();
    site.get(&tree("nosuch")).await;
    site.get("/elsewhere").await;
    let metrics = site.get("/metrics").await;
    let line = "pprofd_http_requests_total{route=\"/pid/{pid}/debug/pprof/{*name}\",status=\"404\"} 1";
    assert!(metrics.text().contains(line), "{}", metrics.text());
    assert!(metrics.text().contains("route=\"none\",status=\"404\"} 1"), "{}", metrics.text());
}

/// Go's own client takes profiles over the wire, and shows our errors.
#[tokio::test(flavor = "multi_thread")]
async fn go_tool_pprof_fetches() {
    let site = Site::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let serving = tokio::spawn(serve(network(listener), site.router.clone(), std::future::pending()));
    let folder = tempfile::tempdir().expect("a folder");
    let fetch = async |uri: &str, succeeds: bool, wanted: &str| {
        let mut command = std::process::Command::new("go");
        command.args(["tool", "pprof", "-top", &format!("http://{address}{uri}")]).env("PPROF_TMPDIR", folder.path());
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
        let output = output.expect("go is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() == succeeds && text.contains(wanted), "{uri}: {text}");
    };
    fetch(&tree("profile?seconds=20&ago=0"), true, "File: demo\n").await;
    fetch("/debug/pprof/profile?seconds=20&ago=0", true, "work(std::vector<int>&)").await;
    fetch(&tree("nosuch"), false, "server response: 404 Not Found - Unknown profile").await;
    let gone = "server response: 404 Not Found - process 99 does not exist and nothing of it is recorded";
    fetch("/pid/99/debug/pprof/profile?seconds=1", false, gone).await;
    serving.abort();
}

/// A client that hangs up frees what its request held, and the end does not wait for the one that stays.
#[tokio::test(flavor = "multi_thread")]
async fn connections_end() {
    let site = Site::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(serve(network(listener), site.router.clone(), async { _ = stopped.await }));
    let open = || {
        let mut stream = TcpStream::connect(address).expect("connects");
        let head = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", tree("profile?seconds=200"));
        stream.write_all(head.as_bytes()).expect("writes");
        stream
    };
    let rate = async |wanted: bool| {
        let change = async {
            while site.world.rates.of(PID).is_some() != wanted {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), change).await.expect("the rate changes");
    };
    let stream = open();
    rate(true).await;
    drop(stream);
    rate(false).await;
    let mut stays = open();
    rate(true).await;
    stop.send(()).expect("is awaited");
    tokio::time::timeout(Duration::from_secs(10), serving).await.expect("ends").expect("no panic").expect("no error");
    assert_eq!(stays.read(&mut [0; 16]).expect("the connection is closed"), 0);
    assert_eq!(site.world.rates.of(PID), None);
}

/// By the Unix socket root sees what the address shows, whatever host it names; others are told that they may not.
#[tokio::test(flavor = "multi_thread")]
async fn the_socket_knows_its_callers() {
    let site = Site::new();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.sock");
    let local = std::os::unix::net::UnixListener::bind(&path).expect("bound");
    let listeners =
        Listeners { network: std::net::TcpListener::bind("127.0.0.1:0").expect("a port"), local: Some(local) };
    let serving = tokio::spawn(serve(listeners, site.router.clone(), std::future::pending()));
    let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("connects");
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: whatever\r\nConnection: close\r\n\r\n").expect("writes");
    let read = move || {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    let answer = tokio::task::spawn_blocking(read).await.expect("no panic").expect("an answer");
    let wanted = if rustix::process::geteuid().is_root() { "HTTP/1.1 200 OK" } else { "HTTP/1.1 403 Forbidden" };
    assert!(answer.starts_with(wanted), "{answer}");
    serving.abort();
}
