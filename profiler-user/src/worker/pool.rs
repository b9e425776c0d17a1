//! Whose turn it is: at most so many requests run, names before tables, and a process serves one trust domain only.

use super::process::Process;
use super::{TrustDomain, WorkerError};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Requests that may wait; more are refused.
const MAX_WAITING: usize = 256;

/// How soon an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Somebody waits for names.
    Names,
    /// Tables may come a little later.
    Table,
}

#[derive(Default)]
struct State {
    /// Longest idle first.
    idle: Vec<(TrustDomain, Process)>,
    running: usize,
    running_tables: usize,
    waiting: usize,
    waiting_names: usize,
}

/// The processes that run no request, and the right to run one.
pub(super) struct Pool {
    workers: usize,
    state: Mutex<State>,
    changed: Condvar,
}

impl Pool {
    pub(super) fn new(workers: usize) -> Self {
        Pool { workers, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Waits for a turn. It may bring a process that has served the same domain.
    pub(super) fn turn(
        &self,
        urgency: Urgency,
        domain: TrustDomain,
        patience: Duration,
    ) -> Result<Turn<'_>, WorkerError> {
        let until = Instant::now() + patience;
        let names = usize::from(urgency == Urgency::Names);
        let mut state = self.lock();
        if state.waiting >= MAX_WAITING {
            return Err(WorkerError::Busy);
        }
        state.waiting += 1;
        state.waiting_names += names;
        while !self.may_run(&state, urgency) && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiting -= 1;
        state.waiting_names -= names;
        if !self.may_run(&state, urgency) {
            return Err(WorkerError::Busy);
        }
        state.running += 1;
        state.running_tables += 1 - names;
        let (process, dismissed) = self.pick(&mut state, domain);
        drop(state);
        // Killing takes a moment: not under the lock.
        drop(dismissed);
        Ok(Turn { pool: self, urgency, domain, process })
    }

    /// Tables never take the last process while there are several, and never overtake names.
    fn may_run(&self, state: &State, urgency: Urgency) -> bool {
        let free = state.running < self.workers;
        let tables = self.workers.saturating_sub(1).max(1);
        free && (urgency == Urgency::Names || (state.waiting_names == 0 && state.running_tables < tables))
    }

    fn pick(&self, state: &mut State, domain: TrustDomain) -> (Option<Process>, Option<(TrustDomain, Process)>) {
        if let Some(at) = state.idle.iter().position(|(d, _)| *d == domain) {
            return (Some(state.idle.remove(at).1), None);
        }
        let full = state.running + state.idle.len() > self.workers;
        (None, if full { Some(state.idle.remove(0)) } else { None })
    }

    /// A panic under the lock cannot leave the counts half changed, so a poisoned lock is as good as another.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to run one request.
pub(super) struct Turn<'p> {
    pool: &'p Pool,
    urgency: Urgency,
    domain: TrustDomain,
    /// Goes back to the pool if it is still here at the end.
    pub(super) process: Option<Process>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.running -= 1;
        state.running_tables -= usize::from(self.urgency == Urgency::Table);
        if let Some(process) = self.process.take() {
            state.idle.push((self.domain, process));
        }
        drop(state);
        self.pool.changed.notify_all();
    }
}
