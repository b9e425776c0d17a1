//! Whose turn it is: at most so many requests run, names before tables, tables of small files before those of large ones,
//! and a process serves one trust domain (or pair of them) only.

use super::process::Process;
use super::{Parties, WorkerError};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Requests that may wait; more are refused.
const MAX_WAITING: usize = 256;

/// How soon an answer is wanted, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// Somebody waits for names.
    Names,
    /// A table that takes some milliseconds.
    SmallTable,
    /// A table that may take seconds.
    LargeTable,
}

const URGENCIES: usize = 3;

#[derive(Default)]
struct State {
    /// Longest idle first.
    idle: Vec<(Parties, Process)>,
    /// By urgency.
    running: [usize; URGENCIES],
    waiting: [usize; URGENCIES],
}

fn sum(counts: &[usize]) -> usize {
    counts.iter().sum()
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

    /// Waits for a turn. It may bring a process that has served the same parties.
    pub(super) fn turn(&self, urgency: Urgency, parties: Parties, patience: Duration) -> Result<Turn<'_>, WorkerError> {
        let until = Instant::now() + patience;
        let at = urgency as usize;
        let mut state = self.lock();
        if sum(&state.waiting) >= MAX_WAITING {
            return Err(WorkerError::Busy);
        }
        state.waiting[at] += 1;
        while !self.may_run(&state, urgency) && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiting[at] -= 1;
        if !self.may_run(&state, urgency) {
            return Err(WorkerError::Busy);
        }
        state.running[at] += 1;
        let (process, dismissed) = self.pick(&mut state, parties);
        drop(state);
        // Somebody less urgent may have waited for this one only.
        self.changed.notify_all();
        // Killing takes a moment: not under the lock.
        drop(dismissed);
        Ok(Turn { pool: self, urgency, parties, process })
    }

    /// Nothing overtakes what is more urgent, and large tables never take the last process while there are several.
    fn may_run(&self, state: &State, urgency: Urgency) -> bool {
        let at = urgency as usize;
        let free = sum(&state.running) < self.workers && sum(&state.waiting[..at]) == 0;
        free && (urgency != Urgency::LargeTable || state.running[at] < self.workers.saturating_sub(1).max(1))
    }

    fn pick(&self, state: &mut State, parties: Parties) -> (Option<Process>, Option<(Parties, Process)>) {
        if let Some(at) = state.idle.iter().position(|(p, _)| *p == parties) {
            return (Some(state.idle.remove(at).1), None);
        }
        let full = sum(&state.running) + state.idle.len() > self.workers;
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
    parties: Parties,
    /// Goes back to the pool if it is still here at the end.
    pub(super) process: Option<Process>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.running[self.urgency as usize] -= 1;
        if let Some(process) = self.process.take() {
            state.idle.push((self.parties, process));
        }
        drop(state);
        self.pool.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::TrustDomain;

    const PATIENCE: Duration = Duration::from_mins(1);
    const PARTIES: Parties = Parties { file: TrustDomain { owner: 0, mount_namespace: 0 }, debug: None };

    #[test]
    fn names_come_before_tables_and_small_tables_before_large_ones() {
        let (pool, order) = (Pool::new(1), Mutex::new(Vec::new()));
        let busy = pool.turn(Urgency::Names, PARTIES, PATIENCE).expect("nobody else asks");
        std::thread::scope(|scope| {
            // The least urgent asks first.
            for urgency in [Urgency::LargeTable, Urgency::SmallTable, Urgency::Names] {
                let (pool, order) = (&pool, &order);
                scope.spawn(move || {
                    let turn = pool.turn(urgency, PARTIES, PATIENCE).expect("its turn comes");
                    order.lock().unwrap_or_else(PoisonError::into_inner).push(urgency);
                    drop(turn);
                });
                let end = Instant::now() + PATIENCE;
                while pool.lock().waiting[urgency as usize] == 0 {
                    assert!(Instant::now() < end, "{urgency:?} does not wait");
                    std::thread::yield_now();
                }
            }
            drop(busy);
        });
        let order = order.into_inner().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(order, [Urgency::Names, Urgency::SmallTable, Urgency::LargeTable]);
    }
}
