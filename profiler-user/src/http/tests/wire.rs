//! Over real sockets: Go's client, connections that end, and who is at their other end.

use super::*;

fn network(listener: std::net::TcpListener) -> Listeners {
    Listeners { network: listener, local: None }
}

/// Go's own client takes profiles over the wire, and shows our errors.
#[tokio::test(flavor = "multi_thread")]
async fn go_tool_pprof_fetches() {
    let site = Site::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let serving =
        tokio::spawn(serve(network(listener), site.router.clone(), site.serving.clone(), std::future::pending()));
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
    let serving =
        tokio::spawn(serve(network(listener), site.router.clone(), site.serving.clone(), async { _ = stopped.await }));
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

/// By the Unix socket the kernel says who asks, so this user sees what is his, whatever host he names.
#[tokio::test(flavor = "multi_thread")]
async fn the_socket_knows_its_callers() {
    let site = Site::new();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
    let local = Some(Local { listener, groups: crate::kernel::peer_groups });
    let listeners = Listeners { network: std::net::TcpListener::bind("127.0.0.1:0").expect("a port"), local };
    let serving = tokio::spawn(serve(listeners, site.router.clone(), site.serving.clone(), std::future::pending()));
    let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("connects");
    let head = format!("GET {} HTTP/1.1\r\nHost: whatever\r\nConnection: close\r\n\r\n", tree("cmdline"));
    stream.write_all(head.as_bytes()).expect("writes");
    let read = move || {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map(|_| String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = tokio::task::spawn_blocking(read).await.expect("no panic").expect("an answer");
    let me = rustix::process::geteuid().as_raw();
    let wanted = if [0, 1000].contains(&me) { "HTTP/1.1 200 OK" } else { "HTTP/1.1 403 Forbidden" };
    assert!(answer.starts_with(wanted), "{answer}");
    let line = site.audited(1).await.remove(0);
    assert_eq!((&line["uid"], &line["client"]), (&me.into(), &std::process::id().into()), "{line}");
    serving.abort();
}

/// Whoever takes the room of all answers and does not fetch is cut for the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_does_not_keep_the_room_of_others() {
    let site = Site::with(|config| config.max_response = 4 << 20);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
    let local = Some(Local { listener, groups: crate::kernel::peer_groups });
    let listeners = Listeners { network: std::net::TcpListener::bind("127.0.0.1:0").expect("a port"), local };
    let filler = "x".repeat(4 << 20);
    let page = Router::new().route("/large", get(async move || filler));
    let app = site.app.clone();
    let page = page.layer(from_fn_with_state(app, crate::http::bounds::work));
    let serving = tokio::spawn(serve(listeners, page, site.serving.clone(), std::future::pending()));
    let ask = || {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("connects");
        stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("writes");
        stream
    };
    let slow = ask();
    let held = async {
        while site.app.answers.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), held).await.expect("the answer waits");
    let quick = ask();
    let read = |mut stream: std::os::unix::net::UnixStream| {
        let mut bytes = Vec::new();
        // A cut connection may end by a reset.
        let _reset = stream.read_to_end(&mut bytes).is_err();
        bytes.len()
    };
    let got = tokio::task::spawn_blocking(move || read(quick)).await.expect("no panic");
    assert!(got > 4 << 20, "{got}");
    let got = tokio::task::spawn_blocking(move || read(slow)).await.expect("no panic");
    assert!(got < 4 << 20, "{got}");
    serving.abort();
}
