//! Serves a router on listeners: one task a connection, a bound on connections, a time limit for a request's head, and
//! an end that does not wait for the slowest client.

use super::peer::{Credentials, Peer};
use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

/// Connections at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;
/// How long a client may take to send the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long requests may go on after the end was asked for.
const GRACE: Duration = Duration::from_secs(2);
/// Pause after the system had no descriptor or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where clients come from.
#[derive(Debug)]
pub struct Listeners {
    /// The address.
    pub network: std::net::TcpListener,
    /// The Unix socket, if there is one.
    pub local: Option<std::os::unix::net::UnixListener>,
}

/// Listeners of the runtime.
struct Listening {
    network: TcpListener,
    local: Option<UnixListener>,
}

enum Stream {
    Network(TcpStream),
    Local(UnixStream),
}

/// Serves until `shutdown` ends; then answers that come within two seconds are still sent.
pub async fn serve(listeners: Listeners, router: Router, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let listening = Listening::new(listeners)?;
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (end, ended) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listening, &slots) => accepted,
        };
        match accepted {
            Ok((stream, peer, slot)) => {
                let (router, ended) = (router.clone(), ended.clone());
                connections.spawn(async move {
                    match stream {
                        Stream::Network(stream) => connection(stream, peer, router, ended).await,
                        Stream::Local(stream) => connection(stream, peer, router, ended).await,
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(end);
    let rest = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, rest).await.is_err() {
        tracing::info!(connections = connections.len(), "requests were still open and are given up");
        connections.shutdown().await;
    }
    Ok(())
}

impl Listening {
    fn new(listeners: Listeners) -> io::Result<Self> {
        listeners.network.set_nonblocking(true)?;
        let network = TcpListener::from_std(listeners.network)?;
        let local = |listener: std::os::unix::net::UnixListener| {
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener)
        };
        Ok(Listening { network, local: listeners.local.map(local).transpose()? })
    }

    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        tokio::select! {
            accepted = self.network.accept() => {
                let (stream, address) = accepted?;
                Ok((Stream::Network(stream), Peer::Network(address)))
            }
            accepted = accept_local(self.local.as_ref()) => {
                let stream = accepted?;
                let peer = credentials(&stream)?;
                Ok((Stream::Local(stream), Peer::Local(peer)))
            }
        }
    }
}

async fn accept_local(listener: Option<&UnixListener>) -> io::Result<UnixStream> {
    match listener {
        Some(listener) => Ok(listener.accept().await?.0),
        None => std::future::pending().await,
    }
}

fn credentials(stream: &UnixStream) -> io::Result<Credentials> {
    let peer = stream.peer_cred()?;
    Ok(Credentials { uid: peer.uid(), gid: peer.gid(), pid: peer.pid().unwrap_or(0) })
}

async fn accept(listening: &Listening, slots: &Arc<Semaphore>) -> io::Result<(Stream, Peer, OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listening.accept().await?;
    Ok((stream, peer, slot))
}

/// Serves one connection. When its client goes away the request is dropped, and what it held with it.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    router: Router,
    mut ended: watch::Receiver<()>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        router.clone().oneshot(request)
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
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
