//! Which waits are followed: the watched processes, and the programs that see threads leave their CPUs and wake each other, which are
//! attached only while somebody watches.

use super::errors::removed;
use super::syscall::{Attributes, Command, bpf_fd, raw};
use crate::event::{MonoTime, Pid, Tid};
use crate::watch::waits::{Seen, WaitControl, Wanted};
use aya::maps::{Array, HashMap, MapData, MapError};
use aya::programs::ProgramFd;
use profiler_ebpf::abi::maps::{
    WAIT_PLACES, WATCH_ALL, WATCH_EXACT, WATCH_KERNEL, WATCH_SYNC, WATCH_WAKERS, WaitConfig, WaitWatch, Waiting,
};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zerocopy::FromZeros;

/// The maps of the programs.
pub(super) struct WaitMaps {
    pub(super) watched: HashMap<MapData, u32, WaitWatch>,
    pub(super) places: Array<MapData, Waiting>,
    pub(super) crowded: HashMap<MapData, u32, Waiting>,
    pub(super) any_crowded: Array<MapData, u64>,
    pub(super) config: Array<MapData, WaitConfig>,
}

/// Follows waits; cheap to clone.
#[derive(Clone)]
pub struct Waits(Arc<Mutex<Inside>>);

struct Inside {
    maps: WaitMaps,
    switch: Probe,
    wake: Probe,
    /// Where threads begin to wait for locks of the kernel, and where they have them.
    locks: [Probe; 2],
    /// Raised when the programs come back: what they followed before has ended unseen.
    epoch: u64,
}

/// A program at the tracepoint that it was loaded for.
struct Probe {
    program: ProgramFd,
    /// While it is attached.
    link: Option<OwnedFd>,
}

impl Probe {
    fn new(program: ProgramFd) -> Probe {
        Probe { program, link: None }
    }

    /// Attaches or detaches it.
    fn set(&mut self, attached: bool) -> io::Result<()> {
        if !attached {
            self.link = None;
        } else if self.link.is_none() {
            // struct { name; prog_fd } of union bpf_attr; without a name the program knows where it belongs.
            let mut attributes: Attributes = [0; 32];
            attributes[2] = raw(self.program.as_fd());
            // SAFETY: no pointers.
            self.link = Some(unsafe { bpf_fd(Command::RawTracepointOpen, &mut attributes, 16) }?);
        }
        Ok(())
    }
}

impl Waits {
    /// `program` gives a program by its name.
    pub(super) fn new<E>(
        mut program: impl FnMut(&'static str) -> Result<ProgramFd, E>,
        maps: WaitMaps,
    ) -> Result<Waits, E> {
        let mut probe = |name| program(name).map(Probe::new);
        let (switch, wake) = (probe("switch")?, probe("wake")?);
        let locks = [probe("contended")?, probe("acquired")?];
        Ok(Waits(Arc::new(Mutex::new(Inside { maps, switch, wake, locks, epoch: 1 }))))
    }

    /// When the wait of a thread began in which it still is, if it is followed.
    pub fn since(&self, tid: Tid) -> Option<MonoTime> {
        let inside = self.lock();
        let place = inside.maps.places.get(&(tid.0 % WAIT_PLACES), 0).ok();
        let is_his = |waiting: &Waiting| waiting.tid == tid.0 && u64::from(waiting.epoch) == inside.epoch;
        let waiting = place.filter(is_his).or_else(|| inside.maps.crowded.get(&tid.0, 0).ok());
        waiting.map(|waiting| MonoTime(waiting.since))
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WaitControl for Waits {
    fn set(&mut self, pid: Option<Pid>, wanted: Option<Wanted>) -> io::Result<()> {
        let mut inside = self.lock();
        let key = pid.map_or(0, |pid| pid.0);
        match wanted {
            Some(wanted) => {
                // What the kernel side has learnt of how many there are stays.
                let before = inside.maps.watched.get(&key, 0).ok();
                let fresh = WaitWatch::new_zeroed();
                let value = WaitWatch { flags: flags(wanted), ..before.unwrap_or(fresh) };
                inside.maps.watched.insert(key, value, 0)
            }
            None => removed(inside.maps.watched.remove(&key)),
        }
        .map_err(to_io)
    }

    fn attach(&mut self, seen: Seen, waker_rate_ns: u64, look_age_ns: u64) -> io::Result<()> {
        self.lock().attach(seen, waker_rate_ns, look_age_ns)
    }
}

impl Inside {
    fn attach(&mut self, seen: Seen, waker_rate: u64, look_age: u64) -> io::Result<()> {
        let Seen { waits, wakers, kernel } = seen;
        // Who waits has to be known for those who end it, too.
        let switches = waits || wakers;
        if switches && self.switch.link.is_none() {
            // Epochs have 32 bits where waits carry them.
            self.epoch = self.epoch % u64::from(u32::MAX) + 1;
            self.forget_crowded().map_err(to_io)?;
        }
        let config = WaitConfig {
            waker_rate,
            look_age,
            any_wakers: u64::from(wakers),
            any_waits: u64::from(waits),
            any_kernel: u64::from(kernel),
            epoch: self.epoch,
        };
        self.maps.config.set(0, config, 0).map_err(to_io)?;
        for lock in &mut self.locks {
            lock.set(switches && kernel)?;
        }
        self.wake.set(wakers)?;
        self.switch.set(switches)
    }

    fn forget_crowded(&mut self) -> Result<(), MapError> {
        let known: Vec<u32> = self.maps.crowded.keys().filter_map(Result::ok).collect();
        for tid in known {
            // One that is gone already is as good.
            let _gone = self.maps.crowded.remove(&tid);
        }
        self.maps.any_crowded.set(0, 0, 0)
    }
}

fn flags(wanted: Wanted) -> u32 {
    let flag = |on: bool, flag: u32| if on { flag } else { 0 };
    flag(wanted.sync, WATCH_SYNC)
        | flag(wanted.all, WATCH_ALL)
        | flag(wanted.exact, WATCH_EXACT)
        | flag(wanted.wakers, WATCH_WAKERS)
        | flag(wanted.kernel, WATCH_KERNEL)
}

fn to_io(error: MapError) -> io::Error {
    match error {
        MapError::SyscallError(error) => error.io_error,
        other => io::Error::other(other),
    }
}
