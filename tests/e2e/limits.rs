//! Limits of requests and answers, each refused with a sentence; clients that are slow, silent, many, or gone.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tests::harness::http::{self, Answer, send};
use tests::harness::user::Commons;
use tests::harness::{Agent, Target, programs, wait};

const SOON: Duration = Duration::from_secs(10);

fn of(pid: u32, rest: &str) -> String {
    format!("/pid/{pid}/debug/pprof/{rest}")
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, word: &str) {
    assert_eq!((answer.status, answer.header("x-go-pprof")), (status, Some("1")), "{}", answer.text());
    assert!(answer.header("content-type") == Some("text/plain; charset=utf-8"), "{:?}", answer.headers);
    assert!(answer.text().contains(word), "{word:?} is not in: {}", answer.text());
}

/// A process whose command line has so many KiB.
fn wordy(kib: usize) -> Target {
    let word = "x".repeat(100 << 10);
    let mut arguments = vec!["1000000000"];
    arguments.extend(std::iter::repeat_n(word.as_str(), kib.div_ceil(100)));
    Target::start(&programs::c("burner.c", &[]), &arguments)
}

#[test]
fn each_limit_is_refused_with_a_sentence_and_a_client_that_goes_away_frees_what_it_held() {
    let limits = ["--socket", "none", "--max-seconds", "60", "--max-requests", "4", "--max-response", "64KiB"];
    let agent = Agent::start(&limits);
    let target = Target::start(&programs::c("burner.c", &[]), &[]);
    assert_refused(&agent.get(&of(target.pid(), "profile?seconds=61")), 400, "at most 60 here (--max-seconds)");
    let long = "a".repeat(17 << 10);
    assert_refused(&http::request(agent.address, "GET", "/healthz", &[("X-Long", &long)], b""), 431, "16 KiB");
    let many: Vec<(String, &str)> = (0..200).map(|i| (format!("X-{i}"), "a")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_refused(&http::request(agent.address, "GET", "/healthz", &many, b""), 431, "100 headers");
    // Refused by what the head says. A body that is sent all the same may end the connection before the answer is read.
    let length = [("Content-Length", "1048577")];
    assert_refused(&http::request(agent.address, "POST", &of(target.pid(), "symbol"), &length, b""), 413, "1 MiB");
    let wordy = wordy(100);
    assert_refused(&agent.get(&of(wordy.pid(), "cmdline")), 422, "more than 64KiB (--max-response)");

    let path = of(target.pid(), "profile?seconds=60&hz=997");
    let waiting: Vec<TcpStream> = (0..4).map(|_| send(agent.address, "GET", &path, &[], b"").unwrap()).collect();
    let held = |requests: f64, watched: f64| {
        wait::until_true("requests to be counted", SOON, || {
            agent.metric("pprofd_http_in_flight_requests") == Some(requests)
                && agent.metric("pprofd_watch_requests") == Some(watched)
        });
    };
    held(4.0, 4.0);
    let refused = agent.get(&of(target.pid(), "cmdline"));
    assert_refused(&refused, 503, "--max-requests");
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert_eq!(agent.get("/healthz").status, 200);
    drop(waiting);
    held(0.0, 0.0);
    assert_eq!(agent.metric("pprofd_watched_processes"), Some(0.0));
    agent.get(&of(target.pid(), "cmdline")).ok();
}

/// Takes a byte of an answer now and then until it is told to take all that is left; how many bytes there were.
fn sip(mut stream: UnixStream, all: &AtomicBool) -> usize {
    let (mut got, mut byte) = (0, [0; 1]);
    stream.set_read_timeout(Some(SOON)).unwrap();
    // Nothing comes by this one: a read of it takes its time and no more.
    let (_silent, mut pause) = UnixStream::pair().unwrap();
    pause.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    while !all.load(Ordering::SeqCst) {
        got += stream.read(&mut byte).unwrap();
        assert!(pause.read(&mut byte).is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    }
    let mut rest = Vec::new();
    // A cut connection may end by a reset.
    drop(stream.read_to_end(&mut rest));
    got + rest.len()
}

/// Sends a byte of a head now and then; how long it takes until it is cut.
fn drip(mut stream: TcpStream) -> Duration {
    let started = Instant::now();
    stream.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    while started.elapsed() < Duration::from_mins(1) {
        match stream.read(&mut [0; 1]) {
            Ok(0) => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            other => panic!("{other:?}"),
        }
        if stream.write_all(b"a").is_err() {
            break;
        }
    }
    started.elapsed()
}

#[test]
fn slow_clients_delay_nobody_and_are_cut() {
    let commons = Commons::new();
    let socket = commons.path("s.sock");
    let agent = Agent::start(&["--socket", &socket.display().to_string()]);
    // More than the socket's buffers hold, and twelve seconds' worth at the least rate.
    let wordy = wordy(1024);
    let mut asking = UnixStream::connect(&socket).unwrap();
    let head = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", of(wordy.pid(), "cmdline"));
    asking.write_all(head.as_bytes()).unwrap();
    let is_cut = Arc::new(AtomicBool::new(false));
    let sipping = std::thread::spawn({
        let is_cut = Arc::clone(&is_cut);
        move || sip(asking, &is_cut)
    });
    let dripping = TcpStream::connect(agent.address).unwrap();
    let dripping = std::thread::spawn(move || drip(dripping));

    let started = Instant::now();
    wait::until_true("the answer to wait", SOON, || agent.metric("pprofd_http_in_flight_requests") == Some(1.0));
    let mut slowest = Duration::ZERO;
    while started.elapsed() < Duration::from_secs(5) {
        slowest = slowest.max(agent.get("/healthz").ok().took);
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let dripped = dripping.join().unwrap();
    assert!((9..25).contains(&dripped.as_secs()), "ten seconds for a head: {dripped:?}");
    wait::until_true("the slow reader to be cut", Duration::from_secs(30), || {
        agent.metric("pprofd_http_in_flight_requests") == Some(0.0)
    });
    assert!(started.elapsed() > SOON, "{:?}", started.elapsed());
    is_cut.store(true, Ordering::SeqCst);
    let sipped = sipping.join().unwrap();
    assert!(sipped < 1 << 20, "all {sipped} bytes came");
}

#[test]
fn connections_without_requests_lock_nobody_out() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let agent = Agent::start(&["--socket", "none"]);
    // More than it keeps: 1,024 for requests and 256.
    let mut idle: Vec<TcpStream> = (0..1400).map(|_| TcpStream::connect(agent.address).unwrap()).collect();
    for stream in idle.iter_mut().skip(700) {
        // The oldest ones were cut already.
        drop(stream.write_all(b"GET /healthz HTTP/1.1\r\n"));
    }
    for _ in 0..5 {
        let started = Instant::now();
        agent.get("/healthz").ok();
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
    let is_cut = |stream: &mut TcpStream| {
        stream.set_nonblocking(true).unwrap();
        !matches!(stream.read(&mut [0; 1]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    };
    wait::until_true("the oldest connections to be cut", SOON, || is_cut(&mut idle[0]) && is_cut(&mut idle[99]));
    assert!(
        !is_cut(&mut idle[1399]) && idle.iter_mut().filter_map(|stream| is_cut(stream).then_some(())).count() < 300
    );
}
