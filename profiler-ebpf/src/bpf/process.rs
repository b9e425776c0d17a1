//! Fork, exec and exit: what a process is, so that the dead can be asked about. Metadata only, no sample waits for it.

use crate::bpf::kernel::{
    self, BPRM_FILENAME, CRED_EUID, CRED_SUID, CRED_UID, PID_LEVEL, PID_NUMBERS, SIGNAL_LIVE, SIGNAL_RUNTIME,
    SIGNAL_TGID_PID, TASK_COMM, TASK_CRED, TASK_EXEC_ID, TASK_EXIT_CODE, TASK_LEADER, TASK_PARENT, TASK_PID,
    TASK_RUNTIME, TASK_SIGNAL, TASK_START, TASK_TGID,
};
use crate::bpf::maps::{PROCESSES, add};
use aya_ebpf::EbpfContext;
use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_ktime_get_ns, bpf_probe_read_kernel_str, bpf_ringbuf_output,
};
use aya_ebpf::macros::{btf_map, btf_tracepoint};
use aya_ebpf::programs::BtfTracePointContext;
use core::ffi::c_void;
use core::ptr::read_volatile;
use profiler_ebpf::abi::counters::Counter;
use profiler_ebpf::abi::event::*;

const BPF_RB_NO_WAKEUP: u64 = 1;
/// Bytes of one `struct upid` in `struct pid`: number, padding, namespace.
const UPID_BYTES: u64 = 16;

/// A record under construction.
#[repr(C)]
struct Scratch {
    head: ProcessRecord,
    exe: [u8; EXE_LENGTH],
}

/// One slot a probe: an exit may be interrupted by nothing of its own kind.
#[btf_map]
static PROCESS_SCRATCH: PerCpuArray<Scratch, 3> = PerCpuArray::new();

/// A process (not a thread) was forked.
#[btf_tracepoint(function = "sched_process_fork")]
pub(crate) fn process_fork(context: BtfTracePointContext) -> i32 {
    // SAFETY: the tracepoint's arguments are (parent, child).
    let child = unsafe { read_volatile((context.as_ptr() as *const u64).add(1)) };
    let (pid, tgid) = (field32(child, TASK_PID.load()), field32(child, TASK_TGID.load()));
    if pid == tgid {
        emit(0, KIND_FORK, child, 0);
    }
    0
}

/// A process became another program.
#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn process_exec(context: BtfTracePointContext) -> i32 {
    // SAFETY: the tracepoint's arguments are (task, old pid, binary).
    let (task, binary) = unsafe {
        let arguments = context.as_ptr() as *const u64;
        (read_volatile(arguments), read_volatile(arguments.add(2)))
    };
    emit(1, KIND_EXEC, task, field(binary, BPRM_FILENAME.load()));
    0
}

/// A thread ended; with the last one its process does.
#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn process_exit(context: BtfTracePointContext) -> i32 {
    // SAFETY: the tracepoint's first argument is the task.
    let task = unsafe { read_volatile(context.as_ptr() as *const u64) };
    if field32(field(task, TASK_SIGNAL.load()), SIGNAL_LIVE.load()) == 0 {
        emit(2, KIND_EXIT, task, 0);
    } else {
        thread_exit(task);
    }
    0
}

#[inline(always)]
fn thread_exit(task: u64) {
    let record = ThreadExit {
        kind: KIND_THREAD_EXIT,
        tgid: field32(task, TASK_TGID.load()),
        tid: field32(task, TASK_PID.load()),
        reserved: 0,
        start_boottime: field(field(task, TASK_LEADER.load()), TASK_START.load()),
        thread_start: field(task, TASK_START.load()),
    };
    // SAFETY: a plain structure on the stack.
    let sent = unsafe {
        let (ring, from) = (&raw const PROCESSES as *mut c_void, (&raw const record) as *mut c_void);
        bpf_ringbuf_output(ring, from, size_of::<ThreadExit>() as u64, BPF_RB_NO_WAKEUP)
    };
    if sent != 0 {
        add(Counter::ThreadExitsLost, 1);
    }
}

#[inline(always)]
fn field(object: u64, offset: u32) -> u64 {
    kernel::word(object + offset as u64).unwrap_or(0)
}

#[inline(always)]
fn field32(object: u64, offset: u32) -> u32 {
    kernel::half(object + offset as u64).unwrap_or(0)
}

/// CPU time of the whole process: of threads that are gone, of this one and of the leader.
#[inline(always)]
fn cpu_time(task: u64, leader: u64, signal: u64) -> u64 {
    let mut sum = field(signal, SIGNAL_RUNTIME.load()) + field(task, TASK_RUNTIME.load());
    if leader != task {
        sum += field(leader, TASK_RUNTIME.load());
    }
    sum
}

/// Fills and sends the record about `task`.
#[inline(always)]
fn emit(slot: u32, kind: u32, task: u64, exe: u64) {
    let Some(scratch) = PROCESS_SCRATCH.get_ptr_mut(slot) else { return };
    // SAFETY: this CPU's slot of this probe.
    let scratch = unsafe { &mut *scratch };
    let leader = field(task, TASK_LEADER.load());
    let signal = field(task, TASK_SIGNAL.load());
    let cred = field(task, TASK_CRED.load());
    let pid = field(signal, SIGNAL_TGID_PID.load());
    let level = field32(pid, PID_LEVEL.load()) as u64;
    let head = &mut scratch.head;
    head.kind = kind;
    head.tgid = field32(task, TASK_TGID.load());
    head.parent = field32(field(leader, TASK_PARENT.load()), TASK_TGID.load());
    head.namespace_tgid = field32(pid + level * UPID_BYTES, PID_NUMBERS.load());
    head.exec_id = field32(task, TASK_EXEC_ID.load());
    head.ruid = field32(cred, CRED_UID.load());
    head.euid = field32(cred, CRED_EUID.load());
    head.suid = field32(cred, CRED_SUID.load());
    head.start_boottime = field(leader, TASK_START.load());
    // SAFETY: plain helper calls.
    unsafe {
        head.time = bpf_ktime_get_ns();
        head.cgroup = bpf_get_current_cgroup_id();
    }
    head.cpu_ns = if kind == KIND_EXIT { cpu_time(task, leader, signal) } else { 0 };
    head.exit_code = if kind == KIND_EXIT { field32(task, TASK_EXIT_CODE.load()) } else { 0 };
    kernel::read((&raw mut head.comm) as *mut u64, COMM_LENGTH as u32, leader + TASK_COMM.load() as u64);
    head.exe_length = 0;
    let mut length = size_of::<ProcessRecord>() as u64;
    if exe != 0 {
        // SAFETY: the buffer has EXE_LENGTH bytes; the helper checks the source.
        let copied = unsafe {
            bpf_probe_read_kernel_str((&raw mut scratch.exe) as *mut c_void, EXE_LENGTH as u32, exe as *const c_void)
        };
        if copied > 1 && copied <= EXE_LENGTH as i64 {
            scratch.head.exe_length = copied as u32 - 1;
            length += EXE_LENGTH as u64;
        }
    }
    // SAFETY: the scratch record is at least `length` bytes.
    let sent = unsafe {
        let record = scratch as *mut Scratch as *mut c_void;
        bpf_ringbuf_output(&raw const PROCESSES as *mut c_void, record, length, BPF_RB_NO_WAKEUP)
    };
    if sent != 0 {
        add(Counter::ProcessRecordsLost, 1);
    }
}
