//! Asks a running agent, on its address or its Unix socket.

use axum::body::{Body, to_bytes};
use axum::http::header::HOST;
use axum::http::{Request, StatusCode};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// How long an answer may take.
const TIME: Duration = Duration::from_secs(10);
/// Bytes that an answer may have.
const MOST: usize = 16 << 20;

/// Where an agent answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A TCP address.
    Address(SocketAddr),
    /// A Unix socket.
    Socket(PathBuf),
}

impl Place {
    /// An address, or the path of a socket, as it is typed.
    pub fn parse(text: &str) -> Result<Place, String> {
        match text.parse() {
            Ok(address) => Ok(Place::Address(address)),
            Err(_) if text.starts_with('/') => Ok(Place::Socket(text.into())),
            Err(_) => Err("neither ADDRESS:PORT nor the path of a Unix socket".to_owned()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Address(address) => address.fmt(f),
            Place::Socket(path) => path.display().fmt(f),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// Nobody is there.
    #[error("cannot connect to {0}")]
    Connect(Place, #[source] io::Error),
    /// The answer is none of an agent.
    #[error("{0} does not answer as an agent does")]
    Http(Place, #[source] anyhow::Error),
    /// It refuses.
    #[error("{0} answers {1}")]
    Status(Place, StatusCode),
    /// It is too slow.
    #[error("{0} takes longer than {TIME:?} to answer")]
    Late(Place),
}

/// The answers to `GET` of these paths, asked in a row; the first failure ends it.
pub(super) fn get(place: &Place, paths: &[&str]) -> Result<Vec<Vec<u8>>, FetchError> {
    let failed = |error: io::Error| FetchError::Connect(place.clone(), error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let mut answers = Vec::new();
        for path in paths {
            let answer = tokio::time::timeout(TIME, one(place, path)).await;
            answers.push(answer.unwrap_or_else(|_late| Err(FetchError::Late(place.clone())))?);
        }
        Ok(answers)
    })
}

async fn one(place: &Place, path: &str) -> Result<Vec<u8>, FetchError> {
    let failed = |error| FetchError::Connect(place.clone(), error);
    match place {
        Place::Address(address) => ask(place, TcpStream::connect(address).await.map_err(failed)?, path).await,
        Place::Socket(socket) => ask(place, UnixStream::connect(socket).await.map_err(failed)?, path).await,
    }
}

async fn ask(
    place: &Place,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    path: &str,
) -> Result<Vec<u8>, FetchError> {
    let strange = |error: anyhow::Error| FetchError::Http(place.clone(), error);
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| strange(error.into()))?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path).header(HOST, "localhost").body(Body::empty());
    let request = request.map_err(|error| strange(error.into()))?;
    let answer = sender.send_request(request).await.map_err(|error| strange(error.into()))?;
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(place.clone(), answer.status()));
    }
    let body = to_bytes(Body::new(answer.into_body()), MOST).await.map_err(|error| strange(error.into()))?;
    connection.abort();
    Ok(body.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_address_or_a_path() {
        assert_eq!(Place::parse("[::1]:7060"), Ok(Place::Address(([0, 0, 0, 0, 0, 0, 0, 1], 7060).into())));
        assert_eq!(Place::parse("/run/x.sock"), Ok(Place::Socket("/run/x.sock".into())));
        assert!(Place::parse("localhost").is_err());
    }

    #[test]
    fn nobody_there_is_an_error_that_says_where() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let place = Place::Socket(folder.path().join("none"));
        let error = get(&place, &["/"]).expect_err("nobody is there");
        assert!(error.to_string().contains("/none"), "{error}");
    }
}
