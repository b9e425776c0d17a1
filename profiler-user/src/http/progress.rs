//! What a connection is doing and since when, so that one whose client is silent or slow can be ended.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long a connection may be open without a request.
const IDLE_TIME: Duration = Duration::from_mins(1);
/// How long a client may take to send the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a client may take to fetch an answer, beside the time that its bytes take at the least rate.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// The least rate at which a client may fetch, bytes a second.
const ANSWER_RATE: u64 = 512 << 10;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing.
    Idle,
    /// It has sent a part of a request's head.
    Head,
    /// Its request is at work.
    Work,
    /// It is sent an answer, for which it has so long.
    Answer(Duration),
}

/// What a connection is doing, and since when.
#[derive(Clone, Debug)]
pub(super) struct Progress(Arc<Mutex<(Phase, Instant)>>);

impl Progress {
    /// A connection that has just been made.
    pub(super) fn new() -> Self {
        Progress(Arc::new(Mutex::new((Phase::Idle, Instant::now()))))
    }

    /// A request has come.
    pub(super) fn work(&self) {
        self.enter(Phase::Work);
    }

    /// There is an answer of so many bytes to it.
    pub(super) fn answer(&self, bytes: u64) {
        self.enter(Phase::Answer(ANSWER_TIME + Duration::from_secs(bytes / ANSWER_RATE)));
    }

    /// The answer is written.
    fn answered(&self) {
        if matches!(self.state().0, Phase::Answer(_)) {
            self.enter(Phase::Idle);
        }
    }

    /// A part of a request has come.
    fn heard(&self) {
        if self.state().0 == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    /// Why it must end, if it must.
    pub(super) fn overdue(&self, now: Instant) -> Option<&'static str> {
        let (phase, since) = *self.state();
        let (most, why) = match phase {
            Phase::Idle => (IDLE_TIME, "no request came in a minute"),
            Phase::Head => (HEAD_TIME, "the head of a request was not complete in ten seconds"),
            Phase::Work => return None,
            Phase::Answer(most) => (most, "an answer was fetched too slowly"),
        };
        (now.saturating_duration_since(since) > most).then_some(why)
    }

    /// How well it can be spared: first those that do nothing, the one that does so longest before others, then those that
    /// fetch slowly. None while its request is at work.
    pub(super) fn spare(&self) -> Option<(bool, Instant)> {
        let (phase, since) = *self.state();
        (phase != Phase::Work).then_some((matches!(phase, Phase::Answer(_)), since))
    }

    fn enter(&self, phase: Phase) {
        *self.state() = (phase, Instant::now());
    }

    fn state(&self) -> MutexGuard<'_, (Phase, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that tells how a connection gets on.
pub(super) struct Told<S> {
    pub(super) stream: S,
    pub(super) progress: Progress,
}

impl<S: AsyncRead + Unpin> AsyncRead for Told<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.progress.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Told<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Asked for once all that was to be sent is written: an answer is one piece.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.progress.answered();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn after(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[tokio::test]
    async fn each_phase_has_its_time() {
        let (near, mut far) = tokio::io::duplex(4);
        let progress = Progress::new();
        let mut told = Told { stream: near, progress: progress.clone() };
        let idle = progress.spare().expect("it does nothing");
        assert!(progress.overdue(after(55)).is_none() && progress.overdue(after(61)).is_some());
        far.write_all(b"GE").await.expect("room");
        told.read_u8().await.expect("a byte");
        assert!(progress.overdue(after(9)).is_none() && progress.overdue(after(11)).is_some());
        let head = progress.spare().expect("it sends");
        far.write_all(b"T").await.expect("room");
        told.read_u8().await.expect("a byte");
        assert_eq!(progress.spare(), Some(head), "each further byte changes nothing");
        assert!(idle < head);
        progress.work();
        assert_eq!((progress.overdue(after(100_000)), progress.spare()), (None, None));
        progress.answer(20 * ANSWER_RATE);
        assert!(head < progress.spare().expect("it fetches"));
        assert!(tokio::time::timeout(Duration::from_millis(20), told.write_all(b"12345678")).await.is_err());
        assert!(progress.overdue(after(29)).is_none() && progress.overdue(after(31)).is_some());
        told.flush().await.expect("nothing to flush");
        assert!(!progress.spare().expect("it does nothing").0);
    }
}
