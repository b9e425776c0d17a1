//! Who asks. Every handler takes a [`Caller`], so that what it may see is decided in one place.

use super::App;
use super::audit::Notes;
use super::error::ApiError;
use super::peer::{Credentials, Peer};
use crate::config::{Scope, Token};
use crate::kind::viewer::Viewer;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Response, StatusCode};
use axum::middleware::Next;
use axum::response::IntoResponse;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Paths that are for everybody who reaches the agent: they tell nothing of the host.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];
/// What the kernel shows of users that a namespace has no number for (`overflowuid`), and the user `nobody`, whom
/// strangers share.
const NOBODY: u32 = 65_534;

/// Somebody who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    /// What it may see of the host; none if that is nothing.
    viewer: Option<Viewer>,
}

impl Caller {
    /// What the caller may see of the host.
    pub(super) fn viewer(self) -> Result<Viewer, ApiError> {
        let text = "This token is for /metrics only";
        self.viewer.ok_or_else(|| ApiError::new(StatusCode::FORBIDDEN, text))
    }

    fn of_socket(peer: &Credentials, group: Option<u32>) -> Result<Caller, ApiError> {
        let viewer = match peer.uid {
            0 => Viewer::All,
            _ if group.is_some_and(|group| peer.is_of(group)) => Viewer::All,
            NOBODY | u32::MAX => {
                let text =
                    "User 65534 (nobody) stands for users of namespaces that have no number here: ask as another user";
                return Err(ApiError::new(StatusCode::FORBIDDEN, text));
            }
            uid => Viewer::User(uid),
        };
        Ok(Caller { viewer: Some(viewer) })
    }

    fn of_token(token: &Token) -> Caller {
        Caller {
            viewer: match token.scope {
                Scope::All => Some(Viewer::All),
                Scope::User(uid) => Some(Viewer::User(uid)),
                Scope::Metrics => None,
            },
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Without the layer below nobody is let in.
        let text = "pprofd does not know who asks";
        parts.extensions.get().copied().ok_or_else(|| ApiError::new(StatusCode::FORBIDDEN, text))
    }
}

/// Finds out who asks, and lets nobody else in.
pub(super) async fn admit(State(app): State<App>, request: Request, next: Next) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let caller = if OPEN.contains(&head.uri.path()) {
        Caller { viewer: None }
    } else {
        match identify(&app, &head).await {
            Ok(caller) => caller,
            Err(refused) => return refused.into_response(),
        }
    };
    head.extensions.insert(caller);
    next.run(Request::from_parts(head, body)).await
}

async fn identify(app: &App, head: &Parts) -> Result<Caller, ApiError> {
    if let Some(Peer::Local(peer)) = head.extensions.get() {
        return Caller::of_socket(peer, app.config.socket_group);
    }
    let Some(file) = app.config.tokens.clone() else { return Ok(Caller { viewer: Some(Viewer::All) }) };
    if file.is_due() {
        let file = file.clone();
        // One that cannot be read leaves what was read before.
        drop(tokio::task::spawn_blocking(move || file.refresh()).await);
    }
    let sent = head.headers.get(AUTHORIZATION).and_then(secret).ok_or_else(ApiError::no_token)?;
    let tokens = file.tokens();
    let token = tokens.find(&sent).ok_or_else(ApiError::no_token)?;
    if let Some(notes) = head.extensions.get::<Notes>() {
        notes.token(&token.name);
    }
    Ok(Caller::of_token(token))
}

/// The token of `Authorization: Bearer`, or the password of `Basic`, with any user name.
fn secret(header: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, rest) = header.to_str().ok()?.split_once(' ')?;
    let rest = rest.trim_matches(' ');
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.as_bytes().to_vec());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(rest).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded.get(colon + 1..)?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_sent_as_bearer_or_as_password() {
        let check = |header: &str, wanted: Option<&str>| {
            let header = HeaderValue::from_str(header).expect("a header");
            assert_eq!(secret(&header), wanted.map(|text| text.as_bytes().to_vec()), "{header:?}");
        };
        check("Bearer abc", Some("abc"));
        check("bEARER  abc ", Some("abc"));
        check(&format!("Basic {}", BASE64_STANDARD.encode("x:a:b")), Some("a:b"));
        check(&format!("basic {}", BASE64_STANDARD.encode(":abc")), Some("abc"));
        for bad in [
            "",
            "abc",
            "Bearer",
            "Basic",
            "Basic ???",
            "Digest abc",
            &format!("Basic {}", BASE64_STANDARD.encode("abc")),
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn users_of_the_socket() {
        let viewer = |uid, gid, groups: &[u32]| {
            let peer = Credentials { uid, gid, pid: 1, groups: groups.to_vec() };
            Caller::of_socket(&peer, Some(44)).ok().and_then(|caller| caller.viewer)
        };
        assert_eq!(viewer(0, 0, &[]), Some(Viewer::All));
        assert_eq!(viewer(1000, 1000, &[4, 5]), Some(Viewer::User(1000)));
        assert_eq!(viewer(1000, 44, &[]), Some(Viewer::All));
        assert_eq!(viewer(1000, 1000, &[4, 44]), Some(Viewer::All));
        assert_eq!(viewer(NOBODY, NOBODY, &[]), None);
        assert_eq!(viewer(u32::MAX, 0, &[]), None);
        let peer = Credentials { uid: 1000, gid: 44, pid: 1, groups: vec![44] };
        assert_eq!(Caller::of_socket(&peer, None).expect("let in").viewer, Some(Viewer::User(1000)));
    }
}
