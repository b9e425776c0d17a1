//! The connections that are open: how many there may be, and which one ends if there are too many or its client is too slow.

use super::progress::Progress;
use std::collections::HashMap;
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::task::{AbortHandle, Id, JoinSet};

/// Whoever has fetched his answer for longer is cut if others need the room.
const SLOW: Duration = Duration::from_secs(1);

/// The connections.
pub(super) struct Connections {
    tasks: JoinSet<()>,
    open: HashMap<Id, (Progress, AbortHandle)>,
    most: usize,
}

impl Connections {
    /// None yet, `most` at a time.
    pub(super) fn new(most: usize) -> Self {
        Connections { tasks: JoinSet::new(), open: HashMap::new(), most }
    }

    /// Serves another one; if there are too many, another one ends for it.
    pub(super) fn add(&mut self, progress: Progress, serving: impl Future<Output = ()> + Send + 'static) {
        if self.open.len() >= self.most {
            self.spare_one();
        }
        let task = self.tasks.spawn(serving);
        self.open.insert(task.id(), (progress, task));
    }

    /// True if there is room for another one, or one that can be spared.
    pub(super) fn has_room(&self) -> bool {
        self.open.len() < self.most || self.open.values().any(|(progress, _)| progress.spare().is_some())
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.open.len()
    }

    /// Waits for the end of one of them; for ever if there is none.
    pub(super) async fn ended(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => drop(self.open.remove(&id)),
            Some(Err(error)) => drop(self.open.remove(&error.id())),
            None => std::future::pending().await,
        }
    }

    /// Ends the one that can be spared best, if the requests of some are not at work.
    pub(super) fn spare_one(&mut self) {
        let spare = self.open.iter().filter_map(|(id, (progress, _))| Some((progress.spare()?, *id)));
        let Some((_, id)) = spare.min_by_key(|(spare, _)| *spare) else { return };
        self.cut(id, "it made room for another one");
    }

    /// Ends the one that has been fetching its answer for longest, if that is a while.
    pub(super) fn end_slowest(&mut self, now: Instant) {
        let fetches = |(id, (progress, _)): (&Id, &(Progress, AbortHandle))| match progress.spare()? {
            (true, since) if now.saturating_duration_since(since) > SLOW => Some((since, *id)),
            _ => None,
        };
        let Some((_, id)) = self.open.iter().filter_map(fetches).min() else { return };
        self.cut(id, "its answer took the room of others");
    }

    fn cut(&mut self, id: Id, why: &'static str) {
        if let Some((_, task)) = self.open.remove(&id) {
            tracing::debug!(why, "a connection is cut");
            task.abort();
        }
    }

    /// Ends those whose clients are too slow.
    pub(super) fn end_overdue(&self, now: Instant) {
        for (progress, task) in self.open.values() {
            if let Some(why) = progress.overdue(now) {
                tracing::debug!(why, "a connection is cut");
                task.abort();
            }
        }
    }

    /// Waits for the end of all; those that go on longer are cut.
    pub(super) async fn end(mut self, grace: Duration) {
        let rest = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, rest).await.is_err() {
            tracing::info!(connections = self.tasks.len(), "requests were still open and are given up");
            self.tasks.shutdown().await;
        }
    }
}
