//! Serves a router on listeners: one task a connection, a bound on connections, a time for each thing that a client does,
//! and an end that does not wait for the slowest one.

use super::connections::Connections;
use super::peer::{Credentials, Peer};
use super::progress::{Progress, Told};
use axum::Router;
use axum::body::{Body, HttpBody};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tower::ServiceExt;

/// How long requests may go on after the end was asked for.
const GRACE: Duration = Duration::from_secs(2);
/// Pause after the system had no descriptor or memory for a connection, or there was no room for it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Time between two looks at how connections get on.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes that are read of a request before it is parsed: more than heads may have, so that those are refused with a
/// sentence.
const BUFFER: usize = 64 << 10;
/// The same for headers.
const HEADERS: usize = 1024;

/// Tells the groups of a socket's peer.
pub type GroupsOf = fn(BorrowedFd<'_>) -> io::Result<Vec<u32>>;

/// Where clients come from.
#[derive(Debug)]
pub struct Listeners {
    /// The address.
    pub network: std::net::TcpListener,
    /// The Unix socket, if there is one.
    pub local: Option<Local>,
}

/// A Unix socket.
#[derive(Debug)]
pub struct Local {
    /// The socket.
    pub listener: std::os::unix::net::UnixListener,
    /// Tells the supplementary groups of a peer.
    pub groups: GroupsOf,
}

/// How connections are served.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Connections at a time.
    pub most: usize,
    /// Calls for the end of whoever fetches his answer slowest.
    pub crowded: Arc<Notify>,
}

/// Listeners of the runtime.
struct Listening {
    network: TcpListener,
    local: Option<(UnixListener, GroupsOf)>,
}

enum Stream {
    Network(TcpStream),
    Local(UnixStream),
}

/// Serves until `shutdown` ends; then answers that come within two seconds are still sent.
pub async fn serve(
    listeners: Listeners,
    router: Router,
    serving: Serving,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listening = Listening::new(listeners)?;
    let mut connections = Connections::new(serving.most);
    let (end, ended) = watch::channel(());
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            () = connections.ended() => continue,
            _ = looks.tick(), if connections.count() > 0 => {
                connections.end_overdue(Instant::now());
                continue;
            }
            () = serving.crowded.notified() => {
                connections.end_slowest(Instant::now());
                continue;
            }
            accepted = listening.accept(), if connections.has_room() => accepted,
            // Whoever knocks while all are at work waits in the kernel's queue.
            () = sleep(ACCEPT_PAUSE), if !connections.has_room() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (router, ended, progress) = (router.clone(), ended.clone(), Progress::new());
                let told = progress.clone();
                connections.add(progress, async move {
                    match stream {
                        Stream::Network(stream) => connection(stream, peer, told, router, ended).await,
                        Stream::Local(stream) => connection(stream, peer, told, router, ended).await,
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                connections.spare_one();
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(end);
    connections.end(GRACE).await;
    Ok(())
}

impl Listening {
    fn new(listeners: Listeners) -> io::Result<Self> {
        listeners.network.set_nonblocking(true)?;
        let network = TcpListener::from_std(listeners.network)?;
        let local = |local: Local| {
            local.listener.set_nonblocking(true)?;
            io::Result::Ok((UnixListener::from_std(local.listener)?, local.groups))
        };
        Ok(Listening { network, local: listeners.local.map(local).transpose()? })
    }

    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        tokio::select! {
            accepted = self.network.accept() => {
                let (stream, address) = accepted?;
                Ok((Stream::Network(stream), Peer::Network(address)))
            }
            accepted = self.accept_local() => {
                let (stream, peer) = accepted?;
                Ok((Stream::Local(stream), Peer::Local(peer)))
            }
        }
    }

    async fn accept_local(&self) -> io::Result<(UnixStream, Credentials)> {
        let Some((listener, groups)) = &self.local else { return std::future::pending().await };
        let (stream, _) = listener.accept().await?;
        let peer = stream.peer_cred()?;
        let groups = groups(stream.as_fd())?;
        let peer = Credentials { uid: peer.uid(), gid: peer.gid(), pid: peer.pid().unwrap_or(0), groups };
        Ok((stream, peer))
    }
}

/// Serves one connection. When its client goes away the request is dropped, and what it held with it.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    progress: Progress,
    router: Router,
    mut ended: watch::Receiver<()>,
) {
    let stream = TokioIo::new(Told { stream, progress: progress.clone() });
    let service = service_fn(move |request: Request<Incoming>| {
        let (router, progress) = (router.clone(), progress.clone());
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        async move {
            progress.work();
            let response = router.oneshot(request).await;
            if let Ok(response) = &response {
                progress.answer(response.body().size_hint().exact().unwrap_or(0));
            }
            response
        }
    });
    let mut builder = http1::Builder::new();
    // Its own timer for heads also cuts those that are idle.
    builder.header_read_timeout(None).max_buf_size(BUFFER).max_headers(HEADERS);
    let mut connection = pin!(builder.serve_connection(stream, service));
    let result = tokio::select! {
        result = &mut connection => result,
        // The sender is dropped when the end is asked for.
        _ = ended.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}
