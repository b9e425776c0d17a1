//! Whose waits are watched. Programs that see every switch of a CPU cost everybody a little, so they are attached only while somebody
//! watches. Scrapers come again and again: a watch outlives its request, and what was counted goes on.

use super::Target;
use crate::event::{MonoTime, Pid, ProcessId};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Waits that are at least that old are looked at, ns; shorter ones are kept with a probability.
pub const LOOK_AGE: u64 = 100_000_000;
/// Wakes that end shorter waits are kept with the probability of their length in this, ns: Go's block profile has the same rule.
pub const WAKER_RATE: u64 = 10_000;

/// What is watched of a process, or wanted of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Waits on synchronisation.
    pub sync: bool,
    /// All waits, and time spent runnable without a CPU.
    pub all: bool,
    /// Each of them, not a part.
    pub exact: bool,
    /// Who ends the waits of others on synchronisation.
    pub wakers: bool,
    /// What is wanted of locks of the kernel, too.
    pub kernel: bool,
}

impl Wanted {
    const FLAGS: usize = 5;
    /// Place of `exact` among the flags.
    const EXACT: usize = 2;

    fn flags(self) -> [bool; Self::FLAGS] {
        [self.sync || self.all, self.all, self.exact, self.wakers, self.kernel]
    }

    fn of_flags([sync, all, exact, wakers, kernel]: [bool; Self::FLAGS]) -> Option<Wanted> {
        (sync || all || wakers).then_some(Wanted { sync, all, exact, wakers, kernel })
    }
}

/// What is to be seen of anybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Threads that wait.
    pub waits: bool,
    /// Threads that end others' waits.
    pub wakers: bool,
    /// Of both, which of the waits are for locks of the kernel.
    pub kernel: bool,
}

/// The kernel side's verbs. Called only when something changes, under a lock.
pub trait WaitControl: Send {
    /// What is watched of a process; of all others if none is named.
    fn set(&mut self, pid: Option<Pid>, wanted: Option<Wanted>) -> io::Result<()>;
    /// Attaches the programs for that, and detaches the others.
    fn attach(&mut self, seen: Seen, waker_rate_ns: u64, look_age_ns: u64) -> io::Result<()>;
}

/// How far back what is watched goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Since when all that is wanted has been watched.
    pub since: MonoTime,
    /// Nobody had watched it before this request.
    pub is_new: bool,
}

/// For metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitCounts {
    /// Processes that are watched, the host being one.
    pub watched: u64,
    /// Times that the kernel side refused something.
    pub refused: u64,
}

/// Handle on what is watched.
#[derive(Clone)]
pub struct WaitWatches(Arc<Mutex<State>>);

#[derive(Clone, Copy)]
struct Lease {
    since: MonoTime,
    until: Instant,
}

type Leases = [Option<Lease>; Wanted::FLAGS];

struct State {
    /// By process; of the host under none.
    targets: BTreeMap<Option<ProcessId>, Leases>,
    in_force: BTreeMap<Option<Pid>, Wanted>,
    attached: Seen,
    /// Those that are gone, and are watched still for what was counted of them.
    dead: BTreeSet<ProcessId>,
    control: Box<dyn WaitControl>,
    /// How long a watch outlives its last request.
    linger: Duration,
    /// Watched always.
    always: Option<Wanted>,
    refused: u64,
}

impl WaitWatches {
    /// Watches nothing of anybody, but `always` of all.
    pub fn start(
        linger: Duration,
        always: Option<Wanted>,
        now: MonoTime,
        control: Box<dyn WaitControl>,
    ) -> WaitWatches {
        let (targets, in_force) = (BTreeMap::new(), BTreeMap::new());
        let mut state = State {
            targets,
            in_force,
            attached: Seen::default(),
            dead: BTreeSet::new(),
            control,
            linger,
            always,
            refused: 0,
        };
        if let Some(wanted) = always
            && let Err(error) = state.ask(None, wanted, now, Duration::ZERO)
        {
            tracing::warn!(%error, "cannot watch the waits of all processes");
        }
        WaitWatches(Arc::new(Mutex::new(state)))
    }

    /// Watches from now on, for at least that long and some time more.
    pub fn ask(&self, target: Target, wanted: Wanted, now: MonoTime, least: Duration) -> io::Result<Watched> {
        let key = match target {
            Target::Host => None,
            Target::Process(id) => Some(id),
        };
        self.lock().ask(key, wanted, now, least)
    }

    /// Ends the watches that nobody has asked about for long, and those of processes that are gone. Unless all are watched, `tell` is
    /// told which processes still are, before anybody can ask for another one: what is recorded of that one comes behind it.
    pub fn expire(&self, is_alive: impl Fn(ProcessId) -> bool, tell: impl FnOnce(BTreeSet<ProcessId>)) {
        let mut state = self.lock();
        let now = Instant::now();
        let always = state.always.map(Wanted::flags).unwrap_or_default();
        for (target, leases) in &mut state.targets {
            for (lease, always) in leases.iter_mut().zip(always) {
                lease.take_if(|lease| lease.until < now && !(target.is_none() && always));
            }
        }
        state.targets.retain(|_, leases| leases.iter().any(Option::is_some));
        state.dead = state.targets.keys().flatten().copied().filter(|id| !is_alive(*id)).collect();
        if let Err(error) = state.settle() {
            tracing::warn!(%error, "cannot end a watch of waits");
        }
        if !state.targets.contains_key(&None) {
            tell(state.targets.keys().flatten().copied().collect());
        }
    }

    /// Whose waits are looked at: the processes, or none of them where all are.
    pub fn looked_at(&self) -> Vec<Option<ProcessId>> {
        let state = self.lock();
        let sees = |leases: &&Leases| leases[0].is_some() || leases[1].is_some();
        if state.targets.get(&None).as_ref().is_some_and(sees) {
            return vec![None];
        }
        state.targets.iter().filter(|(_, leases)| sees(leases)).map(|(target, _)| *target).collect()
    }

    /// What is watched, and what was refused.
    pub fn counts(&self) -> WaitCounts {
        let state = self.lock();
        WaitCounts { watched: state.targets.len() as u64, refused: state.refused }
    }

    /// A panic elsewhere leaves leases that are still true.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn ask(&mut self, key: Option<ProcessId>, wanted: Wanted, now: MonoTime, least: Duration) -> io::Result<Watched> {
        let now_there = Instant::now();
        let host: Leases = self.targets.get(&None).copied().unwrap_or_default();
        let leases = self.targets.entry(key).or_default();
        let (mut since, mut is_new) = (MonoTime(0), false);
        for (flag, (lease, asked)) in leases.iter_mut().zip(wanted.flags()).enumerate() {
            if !asked {
                continue;
            }
            let of_host = host.get(flag).copied().flatten();
            is_new |= lease.is_none() && of_host.is_none();
            // Whoever asks while the host is watched need not begin anew.
            let begun = lease.or(of_host).map_or(now, |lease| lease.since);
            let begun = of_host.map_or(begun, |host| host.since.min(begun));
            // What costs most ends with its question.
            let linger = if flag == Wanted::EXACT { Duration::ZERO } else { self.linger };
            let until = now_there + least + linger;
            let later = lease.map_or(until, |lease| lease.until.max(until));
            *lease = Some(Lease { since: begun, until: later });
            since = since.max(begun);
        }
        self.settle()?;
        Ok(Watched { since, is_new })
    }

    /// Tells the kernel side what has changed. The programs are attached last and detached first.
    fn settle(&mut self) -> io::Result<()> {
        let flags = |leases: &Leases| leases.map(|lease| lease.is_some());
        let host = self.targets.get(&None).map(flags).unwrap_or_default();
        let mut wanted: BTreeMap<Option<Pid>, Wanted> = BTreeMap::new();
        for (target, leases) in &self.targets {
            let mut own = flags(leases);
            own.iter_mut().zip(host).for_each(|(own, host)| *own |= host);
            // The number of one that is gone may be another's by now.
            if target.is_none_or(|id| !self.dead.contains(&id))
                && let Some(own) = Wanted::of_flags(own)
            {
                wanted.insert(target.map(|id| id.pid), own);
            }
        }
        let any = |flag: fn(&Wanted) -> bool| wanted.values().any(flag);
        let (waits, wakers) = (any(|wanted| wanted.sync || wanted.all), any(|wanted| wanted.wakers));
        let result = self.tell(&wanted, Seen { waits, wakers, kernel: any(|wanted| wanted.kernel) });
        if result.is_err() {
            self.refused += 1;
        }
        result
    }

    fn tell(&mut self, wanted: &BTreeMap<Option<Pid>, Wanted>, seen: Seen) -> io::Result<()> {
        let gone: Vec<Option<Pid>> = self.in_force.keys().filter(|key| !wanted.contains_key(key)).copied().collect();
        for key in gone {
            self.control.set(key, None)?;
            self.in_force.remove(&key);
        }
        for (key, wanted) in wanted {
            if self.in_force.get(key) != Some(wanted) {
                self.control.set(*key, Some(*wanted))?;
                self.in_force.insert(*key, *wanted);
            }
        }
        if seen != self.attached {
            self.control.attach(seen, WAKER_RATE, LOOK_AGE)?;
            self.attached = seen;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes down what it is told.
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<String>>>);

    impl Told {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    impl WaitControl for Told {
        fn set(&mut self, pid: Option<Pid>, wanted: Option<Wanted>) -> io::Result<()> {
            let letters = wanted.map_or("-".to_owned(), |wanted| {
                let letters = ["s", "a", "x", "w", "k"].into_iter().zip(wanted.flags());
                letters.filter(|(_, on)| *on).map(|(letter, _)| letter).collect()
            });
            self.0.lock().unwrap().push(format!("{}{letters}", pid.map_or("*".to_owned(), |pid| pid.to_string())));
            Ok(())
        }

        fn attach(&mut self, seen: Seen, _: u64, _: u64) -> io::Result<()> {
            let kernel = if seen.kernel { " kernel" } else { "" };
            self.0.lock().unwrap().push(format!("{} {}{kernel}", seen.waits, seen.wakers));
            Ok(())
        }
    }

    const NOTHING: Wanted = Wanted { sync: false, all: false, exact: false, wakers: false, kernel: false };
    const SYNC: Wanted = Wanted { sync: true, ..NOTHING };
    const WAKERS: Wanted = Wanted { wakers: true, ..NOTHING };

    fn id(pid: u32) -> ProcessId {
        ProcessId { pid: Pid(pid), start: 1 }
    }

    fn watches(linger: Duration) -> (WaitWatches, Told) {
        let told = Told::default();
        (WaitWatches::start(linger, None, MonoTime(0), Box::new(told.clone())), told)
    }

    /// Process 8 alone lives.
    fn expired(watches: &WaitWatches) -> Option<BTreeSet<ProcessId>> {
        let mut told = None;
        watches.expire(|id| id.pid.0 == 8, |watched| told = Some(watched));
        told
    }

    #[test]
    fn two_watchers_cost_what_one_costs_and_the_second_goes_on_with_the_firsts_count() {
        let (watches, told) = watches(Duration::from_mins(10));
        let ask = |at| watches.ask(Target::Process(id(7)), SYNC, MonoTime(at), Duration::ZERO).unwrap();
        assert_eq!(ask(100), Watched { since: MonoTime(100), is_new: true });
        assert_eq!(told.take(), ["7s", "true false"]);
        assert_eq!(ask(900), Watched { since: MonoTime(100), is_new: false });
        assert!(told.take().is_empty());
    }

    #[test]
    fn what_is_watched_of_the_host_is_watched_of_each() {
        let (watches, told) = watches(Duration::from_mins(10));
        watches.ask(Target::Host, SYNC, MonoTime(50), Duration::ZERO).unwrap();
        let seen = watches.ask(Target::Process(id(7)), SYNC, MonoTime(90), Duration::ZERO).unwrap();
        assert_eq!(seen, Watched { since: MonoTime(50), is_new: false });
        let seen = watches.ask(Target::Process(id(7)), WAKERS, MonoTime(95), Duration::ZERO).unwrap();
        assert_eq!(seen, Watched { since: MonoTime(95), is_new: true });
        assert_eq!(told.take(), ["*s", "true false", "7s", "7sw", "true true"]);
        let kernel = Wanted { kernel: true, ..WAKERS };
        watches.ask(Target::Process(id(8)), kernel, MonoTime(96), Duration::ZERO).unwrap();
        assert_eq!(told.take(), ["8swk", "true true kernel"]);
        assert_eq!(watches.looked_at(), [None]);
    }

    #[test]
    fn a_watch_that_nobody_asks_about_ends_and_so_does_that_of_the_dead() {
        let (watches, told) = watches(Duration::ZERO);
        watches.ask(Target::Process(id(7)), SYNC, MonoTime(1), Duration::from_mins(10)).unwrap();
        watches.ask(Target::Process(id(8)), WAKERS, MonoTime(1), Duration::from_mins(10)).unwrap();
        told.take();
        assert_eq!(expired(&watches), Some(BTreeSet::from([id(7), id(8)])), "the dead's is kept");
        assert_eq!(told.take(), ["7-", "false true"]);
        watches.ask(Target::Process(id(9)), SYNC, MonoTime(1), Duration::ZERO).unwrap();
        told.take();
        std::thread::park_timeout(Duration::from_millis(2));
        expired(&watches);
        assert_eq!((told.take(), watches.counts().watched), (vec!["9-".to_owned(), "false true".to_owned()], 2));
    }

    #[test]
    fn what_is_watched_always_does_not_end() {
        let told = Told::default();
        let watches = WaitWatches::start(Duration::ZERO, Some(SYNC), MonoTime(3), Box::new(told.clone()));
        std::thread::park_timeout(Duration::from_millis(2));
        assert_eq!(expired(&watches), None);
        assert_eq!(told.take(), ["*s", "true false"]);
    }
}
