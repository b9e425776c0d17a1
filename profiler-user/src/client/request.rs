//! One question over one connection, and its answer with a bound on its size.

use super::{ClientError, Place};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONNECTION, HOST};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes that an answer may have: profiles of large hosts have some megabytes.
const MAX_ANSWER: usize = 256 << 20;
/// Letters that are shown of a sentence with which an agent refuses.
const MAX_SENTENCE: usize = 1000;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A connection, whatever it goes through.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects.
pub(super) async fn connect(place: &Place) -> Result<Box<dyn Stream>, ClientError> {
    let connecting = async {
        match place {
            Place::Socket(path) => UnixStream::connect(path).await.map(|stream| Box::new(stream) as Box<dyn Stream>),
            Place::Address { host, port, .. } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await;
                stream.map(|stream| Box::new(stream) as Box<dyn Stream>)
            }
        }
    };
    let connected = timeout(CONNECT, connecting).await.unwrap_or_else(|_late| Err(io::ErrorKind::TimedOut.into()));
    connected.map_err(|source| ClientError::NoAgent { place: place.clone(), source })
}

/// The body of the answer to `GET path`. Dropping the future closes the connection.
pub(super) async fn get(place: &Place, path: &str) -> Result<Vec<u8>, ClientError> {
    let stream = connect(place).await?;
    let (status, body) =
        exchange(place, path, stream).await.map_err(|source| ClientError::Broken { place: place.clone(), source })?;
    if status == StatusCode::OK {
        return Ok(body.into());
    }
    Err(ClientError::Refused { place: place.clone(), status: status.as_u16(), text: sentence(status, &body) })
}

async fn exchange(place: &Place, path: &str, stream: Box<dyn Stream>) -> Result<(StatusCode, Bytes), Cause> {
    let request = Request::get(place.path(path)).header(HOST, place.authority()).header(CONNECTION, "close");
    let request = match place.authorization() {
        Some(authorization) => request.header(AUTHORIZATION, authorization),
        None => request,
    };
    let request = request.body(Empty::<Bytes>::new())?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    let (mut answer, mut connection) = (pin!(answer(sender, request)), pin!(connection));
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // It may end before the last of what it brought is read.
        _ = &mut connection => answer.await,
    }
}

async fn answer(
    mut sender: SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
) -> Result<(StatusCode, Bytes), Cause> {
    let response: Response<Incoming> = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await?;
    Ok((status, body.to_bytes()))
}

/// What the agent says of a refusal, or the status' own words.
fn sentence(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text: String = text.trim().chars().take(MAX_SENTENCE).collect();
    if text.is_empty() { status.canonical_reason().unwrap_or("refused").to_owned() } else { text }
}
