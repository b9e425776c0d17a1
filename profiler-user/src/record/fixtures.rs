//! Events for the tests of this room.

use crate::event::{Class, Comm, FrameWord, ImageId, MonoTime, Pid, ProcessFact, ProcessId, Sample, Tid, UserIds};
use profiler_ebpf::reasons::Reason;

pub(super) const SECOND: u64 = super::SECOND;

pub(super) fn comm(name: &str) -> Comm {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    Comm(bytes)
}

/// The process with this number; its start is no multiple of 10 ms.
pub(super) fn process(pid: u32) -> ProcessId {
    ProcessId { pid: Pid(pid), start: u64::from(pid) * 1_000_000_000 + 1_234_567 }
}

pub(super) fn image(pid: u32) -> ImageId {
    ImageId { process: process(pid), exec_id: 3 }
}

const NOBODY: UserIds = UserIds { real: 1000, effective: 1000, saved: 1000 };

/// A sample of a process with a stack of its own.
pub(super) fn sample(pid: u32, time: u64, stack: &[u64]) -> Sample {
    Sample {
        class: Class::Cpu,
        status: Reason::Complete,
        kernel_mode: false,
        kernel_thread: false,
        cpu: 0,
        image: image(pid),
        tid: Tid(pid),
        time: MonoTime(time),
        value: 10_101_010,
        late_ticks: 0,
        uids: NOBODY,
        thread: comm("thread"),
        comm: comm("leader"),
        bad_pc: 0,
        frames: stack.iter().map(|word| FrameWord(*word)).collect(),
    }
}

pub(super) fn fact(pid: u32, time: u64) -> ProcessFact {
    ProcessFact {
        image: image(pid),
        parent: Pid(1),
        namespace_pid: Pid(5),
        uids: NOBODY,
        time: MonoTime(time),
        cgroup: 42,
        comm: comm("leader"),
    }
}
