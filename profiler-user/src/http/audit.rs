//! One line for each profile that was taken, refused or given up: who, of whom, what, and how it ended.

use super::App;
use super::peer::Peer;
use crate::event::ProcessId;
use crate::kind::Kind;
use crate::kind::subject::{Asked, ticks};
use crate::telemetry::audit::{Audit, Plain, Record};
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::Response;
use axum::middleware::Next;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Status of a request whose client went away before there was an answer.
const GIVEN_UP: u16 = 499;

/// What becomes known of a request while it is answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    token: Option<String>,
    process: Option<(ProcessId, String)>,
    window: Option<(u32, Option<u32>, u32)>,
}

impl Notes {
    /// By which token the caller was let in.
    pub(super) fn token(&self, name: &str) {
        self.noted().token = Some(name.to_owned());
    }

    /// Which process it is about, and its name.
    pub(super) fn process(&self, process: ProcessId, comm: String) {
        self.noted().process = Some((process, comm));
    }

    /// Seconds, seconds ago and rate.
    pub(super) fn window(&self, seconds: u32, ago: Option<u32>, hz: u32) {
        self.noted().window = Some((seconds, ago, hz));
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the line of a request for a profile.
pub(super) async fn write(State(app): State<App>, mut request: Request, next: Next) -> Response<Body> {
    let Some(kind) = kind_of(request.uri().path()) else { return next.run(request).await };
    let notes = Notes::default();
    request.extensions_mut().insert(notes.clone());
    let mut line = Line {
        audit: app.audit.clone(),
        notes,
        peer: request.extensions().get().cloned(),
        asked: asked(&request),
        kind: kind.name,
        begun: Instant::now(),
        status: GIVEN_UP,
        bytes: 0,
    };
    let response = next.run(request).await;
    line.status = response.status().as_u16();
    line.bytes = response.body().size_hint().exact().unwrap_or(0);
    response
}

/// The profile that a path asks for.
fn kind_of(path: &str) -> Option<&'static Kind> {
    let (_, name) = path.split_once("/debug/pprof/")?;
    Kind::find(name)
}

/// The process that a request names, as far as it makes sense.
fn asked(request: &Request) -> Option<String> {
    let path = request.uri().path().strip_prefix("/pid/").and_then(|rest| rest.split('/').next());
    let query =
        || request.uri().query()?.split('&').find_map(|pair| pair.strip_prefix("pid=")).filter(|pid| !pid.is_empty());
    let asked = path.or_else(query)?;
    Some(Asked::parse(asked).map_or_else(|_| "?".to_owned(), |asked| asked.to_string()))
}

/// Written when it is dropped, which happens when there is an answer, or nobody who waits for it.
struct Line {
    audit: Audit,
    notes: Notes,
    peer: Option<Peer>,
    asked: Option<String>,
    kind: &'static str,
    begun: Instant,
    status: u16,
    bytes: u64,
}

impl Drop for Line {
    fn drop(&mut self) {
        let noted = self.notes.noted();
        let (seconds, ago, hz) = noted.window.map_or((None, None, None), |(s, ago, hz)| (Some(s), ago, Some(hz)));
        let known = noted.process.as_ref();
        let process = known.map(|(id, _)| format!("{}@{}", id.pid, ticks(*id))).or_else(|| self.asked.take());
        let (uid, gid, client, address) = match &self.peer {
            Some(Peer::Local(peer)) => (Some(peer.uid), Some(peer.gid), Some(peer.pid), None),
            Some(Peer::Network(address)) => (None, None, None, Some(address.to_string())),
            None => (None, None, None, None),
        };
        self.audit.write(&Record {
            uid,
            gid,
            client,
            address,
            token: noted.token.as_deref().map(Plain),
            process: Plain(process.as_deref().unwrap_or("host")),
            comm: known.map(|(_, comm)| Plain(comm)),
            kind: self.kind,
            seconds,
            ago,
            hz,
            status: self.status,
            bytes: self.bytes,
            ms: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
    }
}
