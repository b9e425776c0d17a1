//! Which ticks of the one timer a process keeps, and what they stand for.
//!
//! Time is counted in whole ticks of the timer (lateness of an interrupt does not matter), each CPU for itself. A process
//! of period p keeps a tick when a multiple of p lies between this tick and the one before it; the tick then stands for
//! p ns. Ticks that the timer skipped because it came late advance the time too; a kept tick reports how many of the
//! process's own periods they swallowed. Late is only the thread's loss if it ran meanwhile, by the scheduler's own
//! account: an idle CPU's timer may sleep for long, and who ran between two ticks of different threads is not known.

use crate::bpf::kernel::{TASK_RUNTIME, member};
use crate::bpf::maps::{RATE, TICK, WATCH, add};
use aya_ebpf::helpers::generated::bpf_get_current_task_btf;
use profiler_ebpf::abi::counters::Counter;
use profiler_ebpf::abi::maps::RateConfig;

/// A tick that counts.
pub(crate) struct Due {
    /// ns that it stands for.
    pub(crate) value: u64,
    /// Periods lost before it because the timer was late.
    pub(crate) late: u64,
    /// Of the configuration in force.
    pub(crate) epoch: u64,
}

/// The span of the timer's time that this tick covers.
pub(crate) struct Advance {
    from: u64,
    to: u64,
    /// How long the thread ran since the last tick, ns; 0 if another ran then.
    ran: u64,
}

/// Advances this CPU's time by the tick at `now`.
#[inline(always)]
pub(crate) fn advance(now: u64, tid: u32, config: &RateConfig) -> Option<Advance> {
    let tick = TICK.get_ptr_mut(0)?;
    // SAFETY: this CPU's own slot, used by the timer's program only.
    let tick = unsafe { &mut *tick };
    let period = config.timer_period;
    if period == 0 {
        return None;
    }
    let from = tick.time;
    let to = from + tick.grid.tick(now, period) * period;
    // SAFETY: the current task; the verifier knows its type and the offset.
    let runtime: u64 = unsafe { member(bpf_get_current_task_btf() as *const u8, &TASK_RUNTIME) };
    let ran = if tick.tid == tid as u64 { runtime.wrapping_sub(tick.runtime) } else { 0 };
    tick.time = to;
    tick.tid = tid as u64;
    tick.runtime = runtime;
    Some(Advance { from, to, ran })
}

/// Whether process `tgid` keeps this tick.
#[inline(always)]
pub(crate) fn due(advance: &Advance, tgid: u32, config: &RateConfig) -> Option<Due> {
    // SAFETY: entries are never removed while a reference is used: the value is copied at once.
    let period = match unsafe { WATCH.get(&tgid) } {
        Some(period) => *period,
        None if tgid as u64 == config.agent => return None,
        None => config.base_period,
    };
    if period == 0 {
        return None;
    }
    let crossings = advance.to / period - advance.from / period;
    if crossings == 0 {
        return None;
    }
    let ran = advance.ran / period;
    let mut late = crossings - 1;
    if late > ran {
        add(Counter::LateElsewhere, late - ran);
        late = ran;
    }
    Some(Due { value: period, late, epoch: config.epoch })
}

/// The agent's process id, and the epoch of cached mappings.
#[inline(always)]
pub(crate) fn agent_and_epoch() -> Option<(u64, u64)> {
    // SAFETY: as a copy of the whole, without its stack.
    RATE.get_ptr(0).map(|config| unsafe { ((*config).agent, (*config).epoch) })
}

/// The configuration in force.
#[inline(always)]
pub(crate) fn config() -> Option<RateConfig> {
    RATE.get(0).copied()
}
