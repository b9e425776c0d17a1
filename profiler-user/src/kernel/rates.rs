//! Rates in force: the timer's period, the base period, and processes that have one of their own.

use super::KernelError;
use super::errors::removed;
use super::perf::Timer;
use crate::event::Pid;
use crate::watch::RateControl;
use aya::maps::{Array, HashMap, MapData, MapError};
use profiler_ebpf::abi::maps::RateConfig;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The configuration in force, which rates and tables both write to.
#[derive(Clone)]
pub(super) struct Control(Arc<Mutex<Published>>);

struct Published {
    map: Array<MapData, RateConfig>,
    value: RateConfig,
}

impl Control {
    /// Writes the configuration with which the programs start.
    pub(super) fn publish(map: Array<MapData, RateConfig>, value: RateConfig) -> Result<Control, KernelError> {
        let control = Control(Arc::new(Mutex::new(Published { map, value })));
        control.change(|_as_it_is| {}).map_err(KernelError::map("write", "RATE"))?;
        Ok(control)
    }

    /// From the next tick on no mapping counts that was cached before.
    pub(super) fn raise_epoch(&self) -> Result<(), KernelError> {
        self.change(|value| value.epoch += 1).map_err(KernelError::map("write", "RATE"))
    }

    fn change(&self, edit: impl FnOnce(&mut RateConfig)) -> Result<(), MapError> {
        let mut published = self.lock();
        let mut next = published.value;
        edit(&mut next);
        published.map.set(0, next, 0)?;
        published.value = next;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Published> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets rates; owns the timer.
pub struct Rates {
    timer: Timer,
    timer_period_ns: u64,
    control: Control,
    watched: HashMap<MapData, u32, u64>,
}

impl Rates {
    pub(super) fn new(timer: Timer, control: Control, watched: HashMap<MapData, u32, u64>) -> Rates {
        let timer_period_ns = control.lock().value.timer_period;
        Rates { timer, timer_period_ns, control, watched }
    }
}

impl RateControl for Rates {
    fn set_base(&mut self, timer_period_ns: u64, base_period_ns: u64) -> io::Result<()> {
        let set = |value: &mut RateConfig| (value.timer_period, value.base_period) = (timer_period_ns, base_period_ns);
        self.control.change(set).map_err(to_io)?;
        if timer_period_ns != self.timer_period_ns {
            self.timer.set_period(timer_period_ns)?;
            self.timer_period_ns = timer_period_ns;
        }
        Ok(())
    }

    fn set_process(&mut self, pid: Pid, period_ns: Option<u64>) -> io::Result<()> {
        let result = match period_ns {
            Some(period) => self.watched.insert(pid.0, period, 0),
            None => removed(self.watched.remove(&pid.0)),
        };
        result.map_err(to_io)
    }
}

fn to_io(error: MapError) -> io::Error {
    match error {
        MapError::SyscallError(error) => error.io_error,
        other => io::Error::other(other),
    }
}
