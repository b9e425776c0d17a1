//! Whose turn it is: at most so many requests run, names before tables, tables of small files before those of large ones,
//! and a process serves one trust domain (or pair of them) only. Whoever has ended workers, or takes long, leaves a process to
//! the others.

use super::process::Process;
use super::{Parties, WorkerError};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Requests that may wait; more are refused.
const MAX_WAITING: usize = 256;
/// A user whose request takes longer gets no further process as long as it is the last one.
const LONG: Duration = Duration::from_secs(3);

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

/// A request that runs or wants to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    /// Whose bytes it is about.
    pub(super) parties: Parties,
    /// How soon it is wanted.
    pub(super) urgency: Urgency,
    /// The file's owner has ended workers lately.
    pub(super) suspect: bool,
}

impl Claim {
    /// What goes first; equals go in any order.
    fn rank(&self) -> (bool, Urgency) {
        (self.suspect, self.urgency)
    }

    fn owner(&self) -> u32 {
        self.parties.file.owner
    }
}

#[derive(Default)]
struct State {
    /// Longest idle first.
    idle: Vec<(Parties, Process)>,
    /// What runs, and since when.
    running: Vec<(u64, Claim, Instant)>,
    waiting: Vec<(u64, Claim)>,
    next: u64,
}

impl State {
    /// There is a process for it, whatever else waits. While there are several, large tables and suspects never take the last
    /// one, nor does a user who keeps another one busy for long; root's files may.
    fn has_room(&self, claim: &Claim, workers: usize) -> bool {
        let large = self.running.iter().filter(|(_, running, _)| running.urgency == Urgency::LargeTable).count();
        let few = workers.saturating_sub(1).max(1);
        let is_last = workers > 1 && self.running.len() + 1 == workers;
        let keeps = |(_, running, since): &(u64, Claim, Instant)| {
            running.owner() == claim.owner() && running.urgency != Urgency::LargeTable && since.elapsed() > LONG
        };
        let takes_long = || claim.owner() != 0 && self.running.iter().any(keeps);
        self.running.len() < workers
            && (claim.urgency != Urgency::LargeTable || large < few)
            && !(is_last && (claim.suspect || takes_long()))
    }

    /// Nothing overtakes what goes first, if that can go.
    fn may_run(&self, claim: &Claim, workers: usize) -> bool {
        let before = |(_, other): &(u64, Claim)| other.rank() < claim.rank() && self.has_room(other, workers);
        self.has_room(claim, workers) && !self.waiting.iter().any(before)
    }
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
    pub(super) fn turn(&self, claim: Claim, patience: Duration) -> Result<Turn<'_>, WorkerError> {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        if state.waiting.len() >= MAX_WAITING {
            return Err(WorkerError::Busy);
        }
        let number = state.next;
        state.next += 1;
        state.waiting.push((number, claim));
        while !state.may_run(&claim, self.workers) && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiting.retain(|(waiting, _)| *waiting != number);
        if !state.may_run(&claim, self.workers) {
            return Err(WorkerError::Busy);
        }
        state.running.push((number, claim, Instant::now()));
        let (process, dismissed) = self.pick(&mut state, claim.parties);
        drop(state);
        // Somebody less urgent may have waited for this one only.
        self.changed.notify_all();
        // Killing takes a moment: not under the lock.
        drop(dismissed);
        Ok(Turn { pool: self, number, parties: claim.parties, process })
    }

    fn pick(&self, state: &mut State, parties: Parties) -> (Option<Process>, Option<(Parties, Process)>) {
        if let Some(at) = state.idle.iter().position(|(p, _)| *p == parties) {
            return (Some(state.idle.remove(at).1), None);
        }
        let full = state.running.len() + state.idle.len() > self.workers;
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
    number: u64,
    parties: Parties,
    /// Goes back to the pool if it is still here at the end.
    pub(super) process: Option<Process>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.running.retain(|(number, ..)| *number != self.number);
        if let Some(process) = self.process.take() {
            state.idle.push((self.parties, process));
        }
        drop(state);
        self.pool.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::super::TrustDomain;
    use super::*;

    const WORKERS: usize = 2;
    const PATIENCE: Duration = Duration::from_mins(1);

    fn claim(owner: u32, urgency: Urgency) -> Claim {
        let file = TrustDomain { owner, mount_namespace: 1 };
        Claim { parties: Parties { file, debug: None }, urgency, suspect: false }
    }

    fn running(claims: &[(Claim, Duration)]) -> State {
        let now = Instant::now();
        let since = |(claim, time): &(Claim, Duration)| (0, *claim, now.checked_sub(*time).unwrap_or(now));
        State { running: claims.iter().map(since).collect(), ..State::default() }
    }

    #[test]
    fn whoever_takes_long_leaves_the_last_process_to_others() {
        use Urgency::{LargeTable, Names, SmallTable};
        let (short, long) = (Duration::ZERO, LONG * 2);
        for (busy, wants, may) in [
            ((claim(7, Names), short), claim(7, Names), true),
            ((claim(7, Names), long), claim(7, Names), false),
            ((claim(7, SmallTable), long), claim(7, Names), false),
            ((claim(7, Names), long), claim(8, Names), true),
            ((claim(0, Names), long), claim(0, Names), true),
            // It holds up nobody, as it never takes the last one.
            ((claim(7, LargeTable), long), claim(7, Names), true),
            ((claim(7, LargeTable), long), claim(8, LargeTable), false),
        ] {
            assert_eq!(running(&[busy]).may_run(&wants, WORKERS), may, "{wants:?} beside {busy:?}");
        }
        assert!(State::default().may_run(&claim(7, LargeTable), 1), "a single process is everybody's");
    }

    #[test]
    fn suspects_wait_for_all_others_and_for_a_second_process() {
        let suspect = Claim { suspect: true, ..claim(7, Urgency::Names) };
        assert!(State::default().may_run(&suspect, WORKERS));
        assert!(!running(&[(claim(8, Urgency::Names), Duration::ZERO)]).may_run(&suspect, WORKERS));
        assert!(State::default().may_run(&suspect, 1));
        let waiting = |claim| State { waiting: vec![(1, claim)], ..State::default() };
        let large = claim(8, Urgency::LargeTable);
        assert!(!waiting(large).may_run(&suspect, WORKERS) && waiting(suspect).may_run(&large, WORKERS));
        // One that cannot go itself is in nobody's way.
        let state = State { waiting: vec![(1, suspect)], ..running(&[(suspect, LONG * 2)]) };
        assert!(state.may_run(&claim(8, Urgency::SmallTable), WORKERS));
    }

    #[test]
    fn names_come_before_tables_and_small_tables_before_large_ones() {
        let (pool, order) = (Pool::new(1), Mutex::new(Vec::new()));
        let busy = pool.turn(claim(7, Urgency::Names), PATIENCE).expect("nobody else asks");
        std::thread::scope(|scope| {
            // The least urgent asks first.
            for (waiting, urgency) in [Urgency::LargeTable, Urgency::SmallTable, Urgency::Names].into_iter().enumerate()
            {
                let (pool, order) = (&pool, &order);
                scope.spawn(move || {
                    let turn = pool.turn(claim(7, urgency), PATIENCE).expect("its turn comes");
                    order.lock().unwrap_or_else(PoisonError::into_inner).push(urgency);
                    drop(turn);
                });
                let end = Instant::now() + PATIENCE;
                while pool.lock().waiting.len() <= waiting {
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
