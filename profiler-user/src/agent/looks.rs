//! Looks at waits that last: a thread that has waited for long stands still, so its stack can be taken now though nobody saw it begin
//! to wait; each wait is looked at once. And ends the watches that nobody asks about any more.

use super::sources::Sources;
use super::threads::walk;
use crate::event::{Call, Class, Event, MonoTime, ProcessId, Sample, ThreadSeen, Tid};
use crate::symbolize::sources::{Processes, Thread};
use crate::target::clock;
use crate::watch::waits::WaitWatches;
use profiler_ebpf::reasons::Reason;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks, at least; on the average half as much again, so that no beat of a target's keeps step with it.
const PAUSE: Duration = Duration::from_millis(100);
/// A look costs at most one part in so many of a CPU, as long as the pause that this takes is no longer than [`MAX_PAUSE`].
const COST: u32 = 50;
/// Between two looks, at most: one process whose memory holds readers up does not keep others' waits from being seen.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// How long the stacks of one process may take.
const STACKS: Duration = Duration::from_secs(2);
/// Between two times that watches are ended.
const EXPIRY: Duration = Duration::from_secs(1);
/// Where `struct pt_regs` has the number of the system call.
const SYSTEM_CALL: usize = 15;

/// The thread that looks.
#[must_use = "it goes on until it is stopped"]
pub(super) struct Looks {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Looks {
    /// Starts the thread.
    pub(super) fn start(sources: Arc<Sources>, watches: WaitWatches) -> io::Result<Looks> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || {
            let mut expired = Instant::now();
            let mut suspects = BTreeSet::new();
            while !stopped.load(Ordering::Acquire) {
                let began = Instant::now();
                for target in watches.looked_at() {
                    look(&sources, target);
                }
                let cost = began.elapsed();
                if expired.elapsed() >= EXPIRY {
                    expired = Instant::now();
                    watches.expire(|id| sources.proc.is_alive(id), |watched| sources.recorder.watched(watched));
                    suspects = end_lost(&sources, &suspects);
                }
                let jitter = PAUSE.mul_f64(f64::from(began.elapsed().subsec_nanos() % 1_000) / 1_000.0);
                std::thread::park_timeout((PAUSE + jitter).max((cost * COST).min(MAX_PAUSE)));
            }
        };
        let thread = std::thread::Builder::new().name("looks".to_owned()).spawn(run)?;
        Ok(Looks { stop, thread })
    }

    /// Ends the thread and waits for it.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the thread that looks at waits panicked");
        }
    }
}

/// Ends the waits whose ends were lost: those that the kernel side does not follow any more, and did not when they were looked at
/// before, so that their ends are not on their way. Gives the new ones.
fn end_lost(sources: &Sources, suspects: &BTreeSet<(Tid, MonoTime)>) -> BTreeSet<(Tid, MonoTime)> {
    let waits = sources.recorder.doubtful_waits().into_iter();
    let ended = waits.filter(|(tid, since)| sources.waits.since(*tid) != Some(*since));
    let (over, new): (Vec<_>, Vec<_>) = ended.partition(|wait| suspects.contains(wait));
    if !over.is_empty() {
        sources.recorder.waits_over(over);
    }
    new.into_iter().collect()
}

/// Has the stacks of waits that last recorded: when it looked.
pub(super) fn look(sources: &Sources, process: Option<ProcessId>) -> MonoTime {
    let _one_at_a_time = sources.looking.lock().unwrap_or_else(PoisonError::into_inner);
    let now = clock::mono_now();
    let found = sources.threads.waiting(process.map(|process| process.pid), sources.symbols.as_ref());
    let mut by_process: BTreeMap<ProcessId, Vec<ThreadSeen>> = BTreeMap::new();
    match found {
        Ok(found) => {
            for seen in found {
                by_process.entry(seen.image.process).or_default().push(seen);
            }
        }
        Err(error) => tracing::warn!(%error, "cannot look at threads that wait"),
    }
    for (process, threads) in by_process {
        sources.prepare(Some(process), Duration::ZERO);
        let walked = walk(sources, threads, Instant::now() + STACKS);
        sources.recorder.push(walked.into_iter().filter_map(|thread| sample(sources, thread)).collect());
    }
    now
}

/// The beginning of a wait. If it is over, what was read may be of another one: then its time has no stack.
fn sample(sources: &Sources, Thread { seen, frames, status }: Thread) -> Option<Event> {
    let since = seen.since?;
    let waits_still = sources.waits.since(seen.tid) == Some(since);
    let (frames, status) = if waits_still { (frames, status) } else { (Vec::new(), Reason::ThreadRan) };
    let number = seen.registers.as_ref().and_then(|registers| registers.get(SYSTEM_CALL)).copied();
    let call = match seen.state {
        0 => Call::RUNNABLE,
        _ => number.and_then(|number| u32::try_from(number).ok()).map_or(Call::NONE, Call::of),
    };
    Some(Event::Sample(Sample {
        class: Class::Wait { call, weight: 0 },
        status,
        kernel_mode: true,
        kernel_thread: false,
        cpu: 0,
        image: seen.image,
        tid: seen.tid,
        time: since,
        value: 0,
        late_ticks: 0,
        uids: seen.uids,
        thread: seen.thread,
        comm: seen.comm,
        bad_pc: 0,
        frames,
    }))
}
