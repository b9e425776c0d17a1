//! Who wants which sampling rate. Requests are counted per host and per process; the kernel side is told only when what
//! is in force changes, so any number of watchers of one thing costs what one costs. A request lives as long as its
//! [`WatchGuard`]. It knows nothing of profiles, and of the kernel only [`RateControl`].

pub mod waits;

use crate::event::{Pid, ProcessId};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Period of the timer while nobody wants samples: it cannot be off, but once a second costs nothing.
const IDLE_TIMER: u64 = 1_000_000_000;
/// At most one warning about the kernel's refusals in this time; all are counted.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// A sampling rate that cannot be wrong: 1 to 999 a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hz(u16);

impl Hz {
    /// The highest rate.
    pub const MAX: Hz = Hz(999);

    /// This rate, if it is one.
    pub fn new(hz: u32) -> Option<Hz> {
        u16::try_from(hz).ok().filter(|hz| (1..=Self::MAX.0).contains(hz)).map(Hz)
    }

    /// Samples a second.
    pub fn get(self) -> u32 {
        self.0.into()
    }

    /// ns between two samples, rounded.
    pub fn period_ns(self) -> u64 {
        let hz = u64::from(self.0);
        (1_000_000_000 + hz / 2) / hz
    }
}

impl From<u32> for Hz {
    /// The nearest rate that there is.
    fn from(hz: u32) -> Hz {
        Hz::new(hz.max(1)).unwrap_or(Hz::MAX)
    }
}

/// What samples are wanted of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every process.
    Host,
    /// One process.
    Process(ProcessId),
}

/// The kernel side's verbs. Called only when something changes, under a lock: never from two threads at once.
pub trait RateControl: Send {
    /// The timer's period, and that of every process without a period of its own (0: these are not sampled).
    fn set_base(&mut self, timer_period_ns: u64, base_period_ns: u64) -> io::Result<()>;
    /// A process's own period; `None`: it has none any more.
    fn set_process(&mut self, pid: Pid, period_ns: Option<u64>) -> io::Result<()>;
}

/// How [`Watch`] begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchConfig {
    /// Rate of every process that nobody asks about; 0: such processes are not sampled.
    pub base_hz: u32,
}

/// For metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchCounts {
    /// Requests open now.
    pub requests: u64,
    /// Processes with a rate of their own now.
    pub processes: u64,
    /// Times that the kernel side refused a rate.
    pub refused: u64,
}

/// Handle on the rates.
#[derive(Clone)]
pub struct Watch(Arc<Mutex<State>>);

impl Watch {
    /// Sets the base rate in force.
    pub fn start(config: WatchConfig, control: Box<dyn RateControl>) -> Watch {
        let base = (config.base_hz > 0).then(|| Hz::from(config.base_hz));
        let mut state = State {
            base,
            host: Requests::default(),
            processes: BTreeMap::new(),
            all: Requests::default(),
            in_force: InForce::default(),
            control,
            owes: false,
            refused: 0,
            warned: None,
        };
        state.settle_host();
        Watch(Arc::new(Mutex::new(state)))
    }

    /// Asks for samples of `target` until the guard is dropped. A number outside 1 to 999 counts as the nearest.
    pub fn sample(&self, target: Target, hz: impl Into<Hz>) -> WatchGuard {
        let hz = hz.into();
        self.lock().add(target, hz);
        WatchGuard { watch: self.clone(), target, hz }
    }

    /// Samples a second of CPU time that are taken of this process now; 0: none.
    pub fn rate_of(&self, pid: Pid) -> u32 {
        let state = self.lock();
        state.in_force.processes.get(&pid).copied().or(state.in_force.base).map_or(0, Hz::get)
    }

    /// What is open, and what the kernel side refused so far.
    pub fn counts(&self) -> WatchCounts {
        let state = self.lock();
        WatchCounts {
            requests: state.all.0.values().sum(),
            processes: state.in_force.processes.len() as u64,
            refused: state.refused,
        }
    }

    /// A panic elsewhere leaves counts that are still true, so a poisoned lock is taken all the same.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request for samples: dropping it ends the request.
#[must_use = "the request ends when this is dropped"]
pub struct WatchGuard {
    watch: Watch,
    target: Target,
    hz: Hz,
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        self.watch.lock().remove(self.target, self.hz);
    }
}

/// How many requests there are of each rate.
#[derive(Default)]
struct Requests(BTreeMap<Hz, u64>);

impl Requests {
    fn add(&mut self, hz: Hz) {
        *self.0.entry(hz).or_default() += 1;
    }

    fn remove(&mut self, hz: Hz) {
        if let Some(count) = self.0.get_mut(&hz) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&hz);
            }
        }
    }

    fn highest(&self) -> Option<Hz> {
        self.0.last_key_value().map(|(hz, _)| *hz)
    }
}

/// What the kernel side was told and accepted.
#[derive(Default)]
struct InForce {
    /// Periods of the timer and the base; `None` before the first call.
    periods: Option<(u64, u64)>,
    base: Option<Hz>,
    processes: BTreeMap<Pid, Hz>,
}

struct State {
    base: Option<Hz>,
    host: Requests,
    /// By number, as the kernel side has it: a request for a dead process whose number was reused ends by its guard.
    processes: BTreeMap<Pid, Requests>,
    /// Every request, for the timer.
    all: Requests,
    in_force: InForce,
    control: Box<dyn RateControl>,
    /// The kernel side refused something since all was last tried.
    owes: bool,
    refused: u64,
    warned: Option<Instant>,
}

impl State {
    fn add(&mut self, target: Target, hz: Hz) {
        self.all.add(hz);
        match target {
            Target::Host => {
                self.host.add(hz);
                self.settle_host();
                self.settle_processes();
            }
            Target::Process(id) => {
                self.processes.entry(id.pid).or_default().add(hz);
                // The timer first: a process is never due more often than the timer fires.
                self.settle_host();
                self.settle_process_and_debts(id.pid);
            }
        }
    }

    fn remove(&mut self, target: Target, hz: Hz) {
        self.all.remove(hz);
        match target {
            Target::Host => {
                self.host.remove(hz);
                self.settle_processes();
            }
            Target::Process(id) => {
                if let Some(requests) = self.processes.get_mut(&id.pid) {
                    requests.remove(hz);
                    if requests.0.is_empty() {
                        self.processes.remove(&id.pid);
                    }
                }
                self.settle_process_and_debts(id.pid);
            }
        }
        // The timer last, for the same reason.
        self.settle_host();
    }

    /// The rate of processes that have none of their own.
    fn wanted_base(&self) -> Option<Hz> {
        self.base.max(self.host.highest())
    }

    /// A request for the host raises all; a process that is watched keeps an entry even at the base rate, because the
    /// agent itself is sampled only if it has one.
    fn wanted_of(&self, pid: Pid) -> Option<Hz> {
        self.processes
            .get(&pid)
            .and_then(Requests::highest)
            .map(|own| self.wanted_base().map_or(own, |base| base.max(own)))
    }

    fn settle_host(&mut self) {
        let base = self.wanted_base();
        let timer = self.base.max(self.all.highest()).map_or(IDLE_TIMER, Hz::period_ns);
        let periods = (timer, base.map_or(0, Hz::period_ns));
        if self.in_force.periods == Some(periods) {
            return;
        }
        match self.control.set_base(periods.0, periods.1) {
            Ok(()) => {
                self.in_force.periods = Some(periods);
                self.in_force.base = base;
            }
            Err(error) => self.refuse(&error, None),
        }
    }

    fn settle_processes(&mut self) {
        self.owes = false;
        let changed = |state: &State, pid: &Pid| state.wanted_of(*pid) != state.in_force.processes.get(pid).copied();
        let known = self.processes.keys().chain(self.in_force.processes.keys());
        let pids: BTreeSet<Pid> = known.filter(|pid| changed(self, pid)).copied().collect();
        for pid in pids {
            self.settle_process(pid);
        }
    }

    /// This process, and every other that the kernel side refused before.
    fn settle_process_and_debts(&mut self, pid: Pid) {
        if self.owes { self.settle_processes() } else { self.settle_process(pid) }
    }

    fn settle_process(&mut self, pid: Pid) {
        let wanted = self.wanted_of(pid);
        if wanted == self.in_force.processes.get(&pid).copied() {
            return;
        }
        match self.control.set_process(pid, wanted.map(Hz::period_ns)) {
            Ok(()) => match wanted {
                Some(hz) => drop(self.in_force.processes.insert(pid, hz)),
                None => drop(self.in_force.processes.remove(&pid)),
            },
            Err(error) => self.refuse(&error, Some(pid)),
        }
    }

    fn refuse(&mut self, error: &io::Error, pid: Option<Pid>) {
        self.refused += 1;
        self.owes = true;
        if self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            tracing::warn!(pid = pid.map(|pid| pid.0), refused = self.refused, %error, "cannot set a sampling rate");
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
