//! Rates in force: the timer's period, the base period, and processes that have one of their own.

use super::KernelError;
use super::perf::Timer;
use crate::event::Pid;
use crate::watch::RateControl;
use aya::maps::{Array, HashMap, MapData, MapError};
use profiler_ebpf::abi::maps::RateConfig;
use std::io;

/// Sets rates; owns the timer.
pub struct Rates {
    timer: Timer,
    config: Array<MapData, RateConfig>,
    watched: HashMap<MapData, u32, u64>,
    current: RateConfig,
}

impl Rates {
    pub(super) fn new(
        timer: Timer,
        config: Array<MapData, RateConfig>,
        watched: HashMap<MapData, u32, u64>,
        current: RateConfig,
    ) -> Rates {
        Rates { timer, config, watched, current }
    }

    /// The configuration with which the programs start.
    pub(super) fn publish(config: &mut Array<MapData, RateConfig>, value: RateConfig) -> Result<(), KernelError> {
        config.set(0, value, 0).map_err(KernelError::map("write", "RATE"))
    }
}

impl RateControl for Rates {
    fn set_base(&mut self, timer_period_ns: u64, base_period_ns: u64) -> io::Result<()> {
        let next = RateConfig { timer_period: timer_period_ns, base_period: base_period_ns, ..self.current };
        self.config.set(0, next, 0).map_err(to_io)?;
        if timer_period_ns != self.current.timer_period {
            self.timer.set_period(timer_period_ns)?;
        }
        self.current = next;
        Ok(())
    }

    fn set_process(&mut self, pid: Pid, period_ns: Option<u64>) -> io::Result<()> {
        let result = match period_ns {
            Some(period) => self.watched.insert(pid.0, period, 0),
            None => match self.watched.remove(&pid.0) {
                Err(MapError::KeyNotFound) => Ok(()),
                other => other,
            },
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
