//! Which waits are followed: the watched processes, and the programs that see threads leave their CPUs and wake each other, which are
//! attached only while somebody watches.

use super::errors::removed;
use super::syscall::{Attributes, Command, bpf_fd, raw};
use crate::event::{MonoTime, Pid, Tid};
use crate::watch::waits::{WaitControl, Wanted};
use aya::maps::{Array, HashMap, MapData, MapError};
use aya::programs::ProgramFd;
use profiler_ebpf::abi::maps::{WATCH_ALL, WATCH_EXACT, WATCH_SYNC, WATCH_WAKERS, WaitConfig, WaitWatch, Waiting};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The maps of the programs.
pub(super) struct WaitMaps {
    pub(super) watched: HashMap<MapData, u32, WaitWatch>,
    pub(super) waiting: HashMap<MapData, u32, Waiting>,
    pub(super) config: Array<MapData, WaitConfig>,
}

/// Follows waits; cheap to clone.
#[derive(Clone)]
pub struct Waits(Arc<Mutex<Inside>>);

struct Inside {
    maps: WaitMaps,
    switch: ProgramFd,
    wake: ProgramFd,
    /// While they are attached.
    switch_link: Option<OwnedFd>,
    wake_link: Option<OwnedFd>,
}

impl Waits {
    pub(super) fn new(switch: ProgramFd, wake: ProgramFd, maps: WaitMaps) -> Waits {
        Waits(Arc::new(Mutex::new(Inside { maps, switch, wake, switch_link: None, wake_link: None })))
    }

    /// When the wait of a thread began in which it still is, if it is followed.
    pub fn since(&self, tid: Tid) -> Option<MonoTime> {
        self.lock().maps.waiting.get(&tid.0, 0).ok().map(|waiting| MonoTime(waiting.since))
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
                let fresh = WaitWatch { flags: 0, shift: 0, period: 0, kept: 0 };
                let value = WaitWatch { flags: flags(wanted), ..before.unwrap_or(fresh) };
                inside.maps.watched.insert(key, value, 0)
            }
            None => removed(inside.maps.watched.remove(&key)),
        }
        .map_err(to_io)
    }

    fn attach(&mut self, switches: bool, wakers: bool, waker_rate_ns: u64, look_age_ns: u64) -> io::Result<()> {
        self.lock().attach(switches, wakers, waker_rate_ns, look_age_ns)
    }
}

impl Inside {
    fn attach(&mut self, switches: bool, wakers: bool, waker_rate: u64, look_age: u64) -> io::Result<()> {
        if switches && self.switch_link.is_none() {
            // What was followed when the program was taken away has ended unseen.
            self.forget_waits();
        }
        let config = WaitConfig { waker_rate, look_age, any_wakers: u64::from(wakers) };
        self.maps.config.set(0, config, 0).map_err(to_io)?;
        if switches && self.switch_link.is_none() {
            self.switch_link = Some(attached(&self.switch)?);
        }
        if wakers && self.wake_link.is_none() {
            self.wake_link = Some(attached(&self.wake)?);
        }
        if !wakers {
            self.wake_link = None;
        }
        if !switches {
            self.switch_link = None;
        }
        Ok(())
    }

    fn forget_waits(&mut self) {
        let known: Vec<u32> = self.maps.waiting.keys().filter_map(Result::ok).collect();
        for tid in known {
            // One that is gone already is as good.
            let _gone = self.maps.waiting.remove(&tid);
        }
    }
}

fn flags(wanted: Wanted) -> u32 {
    let flag = |on: bool, flag: u32| if on { flag } else { 0 };
    flag(wanted.sync, WATCH_SYNC)
        | flag(wanted.all, WATCH_ALL)
        | flag(wanted.exact, WATCH_EXACT)
        | flag(wanted.wakers, WATCH_WAKERS)
}

/// Attaches a program to the tracepoint that it was loaded for, until the descriptor is closed.
fn attached(program: &ProgramFd) -> io::Result<OwnedFd> {
    // struct { name; prog_fd } of union bpf_attr; without a name the program knows where it belongs.
    let mut attributes: Attributes = [0; 32];
    attributes[2] = raw(program.as_fd());
    // SAFETY: no pointers.
    unsafe { bpf_fd(Command::RawTracepointOpen, &mut attributes, 16) }
}

fn to_io(error: MapError) -> io::Error {
    match error {
        MapError::SyscallError(error) => error.io_error,
        other => io::Error::other(other),
    }
}
