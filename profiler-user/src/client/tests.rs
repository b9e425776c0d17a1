//! Tests of `client`: against sockets that answer by the byte.

use super::*;
use crate::exit::Exit;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

/// Serves one connection with these bytes; gives what was asked.
fn serve(mut stream: impl Read + Write, answer: &[u8]) -> String {
    let mut asked = Vec::new();
    let mut part = [0; 1024];
    while !asked.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut part).expect("read");
        assert!(read > 0, "the client went away after {asked:?}");
        asked.extend_from_slice(&part[..read]);
    }
    stream.write_all(answer).expect("write");
    String::from_utf8(asked).expect("text")
}

/// Asks a server that answers so; what it was asked, and what came.
fn ask(answer: &'static [u8]) -> (String, Result<Vec<u8>, ClientError>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("http://{}/prefix/", listener.local_addr().expect("address"));
    let server = std::thread::spawn(move || serve(listener.accept().expect("accept").0, answer));
    let got = block(Agent::new(url.parse().expect("an address")).get("/a?b=c", Duration::ZERO));
    (server.join().expect("asked"), got)
}

fn block<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(future)
}

#[test]
fn a_question_names_host_and_path_and_gets_the_body() {
    let (asked, got) = ask(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert!(asked.starts_with("GET /prefix/a?b=c HTTP/1.1\r\n"), "{asked}");
    assert!(asked.to_lowercase().contains("\r\nhost: 127.0.0.1:"), "{asked}");
    assert_eq!(got.expect("an answer"), b"ok");
    let (_, got) = ask(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    assert_eq!(got.expect("an answer"), b"ok");
}

#[test]
fn a_refusal_has_the_agents_sentence_and_an_exit_code() {
    let (_, got) = ask(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 27\r\n\r\nYou may not see this one.\r\n");
    let error = got.expect_err("refused");
    assert!(error.to_string().starts_with("You may not see this one. (403 from http://127.0.0.1:"), "{error}");
    assert_eq!(error.exit(), Exit::NoPermission);
    let (_, got) = ask(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let error = got.expect_err("refused");
    assert!(error.to_string().starts_with("Service Unavailable (503"), "{error}");
    assert_eq!(error.exit(), Exit::Unavailable);
}

#[test]
fn half_an_answer_is_an_error() {
    for answer in [&b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"[..], b"HTTP/1.1 200", b"SSH-2.0-OpenSSH\r\n"] {
        let (_, got) = ask(answer);
        assert!(matches!(got, Err(ClientError::Broken { .. })), "{got:?}");
    }
}

#[test]
fn nobody_there_says_what_to_do() {
    let nowhere = Agent::new(Place::Socket(PathBuf::from("/nowhere/pprofd.sock")));
    let error = block(nowhere.is_there()).expect_err("nobody");
    assert!(error.to_string().contains("/nowhere/pprofd.sock: start one as root"), "{error}");
    assert_eq!(error.exit(), Exit::Unavailable);
}

#[test]
fn a_list_comes_through_a_socket() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).expect("bind");
    let body = br#"[{"pid":7,"start":1,"parent":1,"comm":"a","uid":0,"cpu_share":0.5,"more":[]}]"#;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let answer = [head.as_bytes(), body].concat();
    let server = std::thread::spawn(move || serve(listener.accept().expect("accept").0, &answer));
    let got = block(Agent::new(Place::Socket(path)).processes()).expect("a list");
    assert_eq!(got, [Process { pid: 7, parent: 1, comm: "a".to_owned(), uid: 0 }]);
    assert!(server.join().expect("asked").to_lowercase().contains("\r\nhost: localhost\r\n"));
}
