//! What a thread does, in a word, and what one that sleeps waits for: by the names of its kernel functions, or else by its
//! system call.

use crate::event::{Call, Frame, FrameWord, ThreadSeen};
use crate::symbolize::sources::KernelNames;
use std::sync::Arc;

/// `TASK_*` of `include/linux/sched.h`.
const UNINTERRUPTIBLE: u32 = 2;
const STOPPED: u32 = 4;
const TRACED: u32 = 8;
const DEAD: u32 = 0x10 | 0x20 | 0x80;
const IDLE: u32 = 0x402;
const FROZEN: u32 = 0x8000;
/// Where `struct pt_regs` has the number of the system call.
const SYSTEM_CALL: usize = 15;

/// What it does.
pub(super) fn state(seen: &ThreadSeen) -> &'static str {
    match seen.state {
        0 if seen.on_cpu => "running",
        0 => "runnable",
        state if state & DEAD != 0 => "dead",
        state if state & FROZEN != 0 => "frozen",
        state if state & STOPPED != 0 => "stopped",
        state if state & TRACED != 0 => "traced",
        state if state & IDLE == IDLE => "idle",
        state if state & UNINTERRUPTIBLE != 0 => "disk",
        _ => "sleeping",
    }
}

/// What it waits for, if it waits.
pub(super) fn wait(seen: &ThreadSeen, kernel: &dyn KernelNames) -> Option<&'static str> {
    if matches!(state(seen), "running" | "runnable" | "stopped" | "traced" | "dead") {
        return None;
    }
    let number = || seen.registers.as_ref()?.get(SYSTEM_CALL).copied();
    by_functions(kernel_names(&seen.kernel, kernel)).or_else(|| by_system_call(number()?))
}

/// What a thread waited for that waited in a system call, with the kernel frames among these.
pub(super) fn reason(frames: &[FrameWord], call: Call, kernel: &dyn KernelNames) -> &'static str {
    match call {
        Call::RUNNABLE => "run queue",
        call if call.kernel_lock().is_some() => "kernel lock",
        // The kernel frames of a page fault begin with the fault; those of a signal's handler do not.
        Call::NONE => by_functions(kernel_names(frames, kernel)).unwrap_or("page fault"),
        call if call.is_sync() => "futex",
        Call(number) => {
            by_functions(kernel_names(frames, kernel)).or_else(|| by_system_call(number.into())).unwrap_or("other")
        }
    }
}

/// The beginnings of kernel functions by which a tracepoint calls our program: what is above them is ours.
const CALLERS: [&str; 2] = ["bpf_trace_run", "__traceiter_sched_"];
/// Frames of ours at most.
const OURS: usize = 8;

/// A stack that our program took at a switch, without the frames of the program itself.
pub(super) fn without_ours(stack: &Arc<[FrameWord]>, kernel: &dyn KernelNames) -> Arc<[FrameWord]> {
    let is_caller = |word: &FrameWord| match word.frame() {
        Some(Frame::Kernel { module, offset }) => kernel
            .symbol(module, offset)
            .is_some_and(|symbol| CALLERS.iter().any(|begin| symbol.name.starts_with(begin))),
        _ => false,
    };
    match stack.iter().take(OURS).rposition(is_caller) {
        Some(last) => Arc::from(stack.get(last + 1..).unwrap_or_default()),
        None => Arc::clone(stack),
    }
}

fn kernel_names(frames: &[FrameWord], kernel: &dyn KernelNames) -> impl Iterator<Item = String> {
    frames.iter().filter_map(|word| match word.frame() {
        Some(Frame::Kernel { module, offset }) => kernel.symbol(module, offset).map(|symbol| symbol.name),
        _ => None,
    })
}

/// Beginnings of kernel functions (6.1 to 6.18) in which a thread sleeps, and for what. The first that fits counts.
const FUNCTIONS: &[(&str, &str)] = &[
    ("futex_", "futex"),
    ("__futex_", "futex"),
    ("do_futex", "futex"),
    ("ep_poll", "poll"),
    ("do_epoll_wait", "poll"),
    ("do_poll", "poll"),
    ("do_sys_poll", "poll"),
    ("do_select", "poll"),
    ("do_nanosleep", "sleep"),
    ("hrtimer_nanosleep", "sleep"),
    ("pipe_", "pipe"),
    ("anon_pipe_", "pipe"),
    ("fifo_open", "pipe"),
    ("wait_for_partner", "pipe"),
    ("unix_", "socket"),
    ("tcp_", "socket"),
    ("inet_", "socket"),
    ("sk_", "socket"),
    ("sock_", "socket"),
    ("netlink_", "socket"),
    ("__skb_", "socket"),
    ("vsock_", "socket"),
    ("do_wait", "child"),
    ("wait_for_vfork", "child"),
    ("do_sigtimedwait", "signal"),
    ("sigsuspend", "signal"),
    ("__do_sys_pause", "signal"),
    ("__x64_sys_pause", "signal"),
    ("signalfd_", "signal"),
    ("eventfd_", "event"),
    ("timerfd_", "event"),
    ("inotify_", "event"),
    ("fanotify_", "event"),
    ("io_cqring_", "io_uring"),
    ("n_tty_", "terminal"),
    ("tty_", "terminal"),
    ("fcntl_setlk", "file lock"),
    ("flock_", "file lock"),
    ("locks_lock_", "file lock"),
    ("do_msg", "ipc"),
    ("do_semtimedop", "ipc"),
    ("__do_semtimedop", "ipc"),
    ("wq_sleep", "ipc"),
    ("fuse_", "fuse"),
    ("request_wait_answer", "fuse"),
    ("handle_userfault", "page fault"),
    ("handle_mm_fault", "page fault"),
    ("do_user_addr_fault", "page fault"),
    ("userfaultfd_read", "poll"),
    ("binder_", "ipc"),
];

/// The same for storage: a page fault that reads from a disk is a page fault, though it sleeps in these.
const STORAGE: &[&str] = &["io_schedule", "folio_wait", "wait_on_", "submit_bio_wait", "jbd2_", "blk_", "filemap_"];

/// By the names of kernel functions, leaf first.
fn by_functions(names: impl Iterator<Item = String>) -> Option<&'static str> {
    let mut storage = None;
    for name in names {
        if let Some((_, wait)) = FUNCTIONS.iter().find(|(begin, _)| name.starts_with(begin)) {
            return Some(wait);
        }
        if STORAGE.iter().any(|begin| name.starts_with(begin)) {
            storage = Some("disk");
        }
    }
    storage
}

/// By the number of the system call (`arch/x86/entry/syscalls/syscall_64.tbl`), for kernels whose names are hidden.
fn by_system_call(number: u64) -> Option<&'static str> {
    match number {
        202 | 449 | 455 => Some("futex"),
        7 | 23 | 232 | 270 | 271 | 281 | 441 => Some("poll"),
        35 | 230 => Some("sleep"),
        42..=47 | 288 | 299 | 307 => Some("socket"),
        61 | 247 => Some("child"),
        34 | 128 | 130 => Some("signal"),
        65 | 69 | 70 | 220 | 242 | 243 => Some("ipc"),
        73 => Some("file lock"),
        74 | 75 | 162 | 277 | 306 => Some("disk"),
        426 => Some("io_uring"),
        // `read`, `write` and their kin: of what, the number does not say.
        0 | 1 | 17..=20 => Some("io"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ModuleNumber;
    use crate::symbolize::sources::{KernelModule, KernelSymbol};

    fn of(names: &[&str]) -> Option<&'static str> {
        by_functions(names.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn kernel_functions_say_what_a_thread_waits_for() {
        assert_eq!(of(&["schedule", "futex_do_wait", "__futex_wait", "do_futex"]), Some("futex"));
        assert_eq!(of(&["schedule_timeout", "ep_poll", "do_epoll_wait"]), Some("poll"));
        assert_eq!(
            of(&["io_schedule", "folio_wait_bit_common", "filemap_fault", "handle_mm_fault"]),
            Some("page fault")
        );
        assert_eq!(of(&["io_schedule", "folio_wait_bit", "ext4_sync_file"]), Some("disk"));
        assert_eq!(of(&["schedule", "do_something_new"]), None);
    }

    /// Each function has its number in [`NAMES`] for an offset.
    struct Names;

    const NAMES: [&str; 5] = ["__bpf_get_stack", "bpf_trace_run4", "futex_do_wait", "do_futex", "bpf_trace_run4"];

    impl KernelNames for Names {
        fn module(&self, _: ModuleNumber) -> Option<KernelModule> {
            None
        }

        fn symbol(&self, _: ModuleNumber, offset: u64) -> Option<KernelSymbol> {
            NAMES
                .get(usize::try_from(offset).ok()?)
                .map(|name| KernelSymbol { name: (*name).to_owned(), start: offset })
        }
    }

    #[test]
    fn our_own_frames_are_not_shown() {
        let of = |offsets: &[u64]| -> Arc<[FrameWord]> {
            offsets.iter().map(|offset| Frame::Kernel { module: ModuleNumber(0), offset: *offset }.into()).collect()
        };
        let unnamed = Frame::Pseudo { reason: profiler_ebpf::reasons::Reason::NoSymbol };
        let taken: Arc<[FrameWord]> =
            [of(&[0])[0], unnamed.into()].into_iter().chain(of(&[1, 2, 3]).iter().copied()).collect();
        assert_eq!(without_ours(&taken, &Names), of(&[2, 3]));
        assert_eq!(without_ours(&of(&[2, 3]), &Names), of(&[2, 3]));
        let deep = of(&[2, 3, 3, 3, 3, 3, 3, 3, 4]);
        assert_eq!(without_ours(&deep, &Names), deep, "somebody else's");
    }

    #[test]
    fn system_calls_say_it_where_names_are_hidden() {
        let of = by_system_call;
        assert_eq!((of(202), of(230), of(0), of(u64::MAX)), (Some("futex"), Some("sleep"), Some("io"), None));
    }
}
