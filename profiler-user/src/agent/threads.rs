//! The threads of a process as they stand: registers from the kernel, copies of their stacks, walks in those.
//!
//! Nothing stops a thread meanwhile. The kernel is asked before and after: whoever used no CPU time in between stood still, so
//! registers and copy belong together; who ran is looked at again.

use super::sources::{LateTargets, Sources};
use crate::event::{FrameWord, ImageId, ProcessId, ThreadSeen, Tid};
use crate::kernel::KernelError;
use crate::late::{Mapped, Standing};
use crate::symbolize::sources::Thread;
use crate::target::open::Part;
use lru::LruCache;
use profiler_ebpf::reasons::Reason;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Looks until a thread that ran each time is given up.
const ROUNDS: usize = 4;
/// Stacks that are copied at a time.
const BATCH: usize = 64;
/// Bytes of a stack that are copied at first; nearly all end within.
const SHORT: usize = 16 << 10;
/// Bytes of a stack that goes on behind those.
const LONG: usize = 1 << 20;
/// How long a batch may take: memory at hand takes some ms.
const BATCH_DEADLINE: Duration = Duration::from_secs(1);
/// How long one stack may take, if the batch with it took too long.
const STACK_DEADLINE: Duration = Duration::from_millis(50);

/// Stacks of one process that may hold readers up: each keeps a thread of the agent until its process lets it go.
const HELD_UP: usize = 2;
/// Processes of which that is remembered.
const MAX_HELD_UP: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();

/// Where readers of stacks were held up, by process: they are not read again, and of a process with several none alone.
pub(super) struct HeldUp(Mutex<LruCache<ProcessId, BTreeSet<u64>>>);

impl Default for HeldUp {
    fn default() -> HeldUp {
        HeldUp(Mutex::new(LruCache::new(MAX_HELD_UP)))
    }
}

impl HeldUp {
    fn has_any(&self, process: ProcessId) -> bool {
        self.lock().contains(&process)
    }

    fn may_read(&self, process: ProcessId, address: u64) -> bool {
        self.lock().get(&process).is_none_or(|held| held.len() < HELD_UP && !held.contains(&address))
    }

    fn add(&self, process: ProcessId, address: u64) {
        self.lock().get_or_insert_mut(process, BTreeSet::new).insert(address);
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<ProcessId, BTreeSet<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread, and where it stands.
type Seen = (ThreadSeen, Result<Standing, Reason>);

/// Looks at all threads of a process.
pub(super) fn look(sources: &Sources, process: ProcessId, deadline: Duration) -> Result<Vec<Thread>, String> {
    let end = Instant::now() + deadline;
    let mut found: BTreeMap<Tid, Thread> = BTreeMap::new();
    let mut stood: BTreeSet<Tid> = BTreeSet::new();
    for round in 0..ROUNDS {
        let before = seen(sources, process)?;
        let (standing, running): (Vec<_>, Vec<_>) = before
            .into_iter()
            .filter(|thread| !stood.contains(&thread.tid))
            .partition(|thread| !thread.on_cpu || thread.registers.is_none());
        for thread in running {
            found.insert(thread.tid, ran(thread));
        }
        let walked = walk(sources, standing, end);
        let after: BTreeMap<Tid, ThreadSeen> =
            seen(sources, process)?.into_iter().map(|thread| (thread.tid, thread)).collect();
        for thread in walked {
            let stood_still = after.get(&thread.seen.tid).is_some_and(|now| is_where_it_was(&thread.seen, now));
            if stood_still {
                stood.insert(thread.seen.tid);
            }
            found.insert(thread.seen.tid, if stood_still { thread } else { ran(thread.seen) });
        }
        // Who is not there any more has ended.
        found.retain(|tid, _| after.contains_key(tid));
        if after.keys().all(|tid| stood.contains(tid)) || Instant::now() >= end {
            break;
        }
        if round + 1 < ROUNDS {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
    Ok(found.into_values().collect())
}

fn seen(sources: &Sources, process: ProcessId) -> Result<Vec<ThreadSeen>, String> {
    let mut seen = sources.threads.of(process.pid, sources.symbols.as_ref()).map_err(|error| sentence(&error))?;
    seen.retain(|thread| thread.image.process == process);
    Ok(seen)
}

fn sentence(error: &KernelError) -> String {
    tracing::warn!(%error, "cannot list threads");
    format!("the kernel does not list the threads: {error}")
}

fn is_where_it_was(before: &ThreadSeen, now: &ThreadSeen) -> bool {
    !now.on_cpu && (before.runtime, before.registers, before.image) == (now.runtime, now.registers, now.image)
}

/// Its kernel frames are as fleeting as the others.
fn ran(seen: ThreadSeen) -> Thread {
    Thread { frames: Vec::new(), status: Reason::ThreadRan, seen }
}

/// Walks the stacks of threads that stand, all of one process, a batch at a time. Who asks sees to it that they stood.
pub(super) fn walk(sources: &Sources, threads: Vec<ThreadSeen>, end: Instant) -> Vec<Thread> {
    let with_registers = |thread: ThreadSeen| {
        let registers = thread.registers.as_ref().ok_or(Reason::NoRegisters).and_then(Standing::new);
        (thread, registers)
    };
    let threads: Vec<Seen> = threads.into_iter().map(with_registers).collect();
    let targets = LateTargets { tables: sources.tables.clone(), inventory: sources.inventory.clone() };
    let mut mapped: BTreeMap<ImageId, Mapped<'_>> = BTreeMap::new();
    let mut found = Vec::with_capacity(threads.len());
    for batch in threads.chunks(BATCH) {
        let copies = copy(sources, batch, end);
        for ((seen, standing), bytes) in batch.iter().zip(copies) {
            let image = seen.image;
            let mapped = mapped.entry(image).or_insert_with(|| Mapped::of(image, &targets));
            let (user, status) = match (standing, bytes) {
                (Err(reason), _) => (Vec::new(), *reason),
                (_, Err(reason)) => (Vec::new(), reason),
                (Ok(standing), Ok(bytes)) => deeper(sources, seen, standing, bytes, mapped, end),
            };
            let frames: Vec<FrameWord> = seen.kernel.iter().copied().chain(user).collect();
            found.push(Thread { frames, status, seen: seen.clone() });
        }
    }
    found
}

/// Walks, in more copies if the stack goes on behind the first or leads to another one.
fn deeper(
    sources: &Sources,
    seen: &ThreadSeen,
    standing: &Standing,
    bytes: Vec<u8>,
    mapped: &Mapped<'_>,
    end: Instant,
) -> (Vec<FrameWord>, Reason) {
    let process = seen.image.process;
    let mut length = LONG;
    standing.walk(seen.image, bytes, mapped, |address| {
        // Most of the memory is for the rest of the first stack.
        let part = Part { address, length: std::mem::replace(&mut length, SHORT) };
        alone(sources, process, part, end).ok()
    })
}

/// The beginnings of stacks, as many as threads.
fn copy(sources: &Sources, batch: &[Seen], end: Instant) -> Vec<Result<Vec<u8>, Reason>> {
    let part = |standing: &Result<Standing, Reason>| match standing {
        Ok(standing) => Part { address: standing.stack(), length: SHORT },
        Err(_) => Part { address: 0, length: 0 },
    };
    let Some((first, _)) = batch.first() else { return Vec::new() };
    let process = first.image.process;
    if !sources.held_up.has_any(process) {
        let all = sources.memory.memory(process, batch.iter().map(|(_, at)| part(at)).collect(), BATCH_DEADLINE);
        if let Ok(copies) = all {
            return copies.into_iter().map(Ok).collect();
        }
    }
    // One of them holds the others up: each alone.
    batch.iter().map(|(_, at)| alone(sources, process, part(at), end)).collect()
}

fn alone(sources: &Sources, process: ProcessId, part: Part, end: Instant) -> Result<Vec<u8>, Reason> {
    if part.length == 0 || Instant::now() >= end || !sources.held_up.may_read(process, part.address) {
        return Err(Reason::StackHeldUp);
    }
    let copies = sources.memory.memory(process, vec![part], STACK_DEADLINE).map_err(|error| {
        tracing::debug!(%error, pid = %process.pid, "cannot copy a stack");
        if error.is_late() {
            sources.held_up.add(process, part.address);
            Reason::StackHeldUp
        } else {
            Reason::UnreadableStack
        }
    })?;
    copies.into_iter().next().ok_or(Reason::UnreadableStack)
}
