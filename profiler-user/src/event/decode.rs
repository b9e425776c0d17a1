//! Bytes of one record -> [`Event`]. Pure: no logging, no state, one allocation a sample; records may lie unaligned.

use super::{
    Call, Class, Comm, CopiedMapping, DecodeError, Event, FileNumber, FileOffset, FileSeen, FrameWord, ImageId,
    KernelPlaces, MappingSeen, MonoTime, Pid, ProcessFact, ProcessId, Sample, StackCopy, ThreadSeen, Tid, UserIds,
    WaitEnd,
};
use profiler_ebpf::abi::event as abi;
use profiler_ebpf::abi::frame::FILE_WORD;
use profiler_ebpf::reasons::Reason;
use profiler_ebpf::unwind::walk::Cursor;
use zerocopy::{FromBytes, Immutable, KnownLayout};

const WORD: usize = size_of::<u64>();
/// User words without a file are plain addresses: bits 62..59 are zero. Kinds of the agent never come from the kernel side.
const PLAIN_ADDRESS_END: u64 = 1 << 59;

/// Decodes one record. `places` turns raw kernel addresses into module and offset, so that none goes further than here.
pub fn decode(bytes: &[u8], places: &dyn KernelPlaces) -> Result<Event, DecodeError> {
    let (kind, _) = head::<u32>(bytes)?;
    match kind {
        abi::KIND_SAMPLE => sample(bytes, places).map(Event::Sample),
        abi::KIND_NEW_FILE => new_file(bytes).map(Event::File),
        abi::KIND_FORK | abi::KIND_EXEC | abi::KIND_EXIT => process(bytes),
        abi::KIND_MAPPING => mapping(bytes).map(Event::Mapping),
        abi::KIND_THREAD_EXIT => thread_exit(bytes),
        abi::KIND_THREAD => thread(bytes, places).map(Event::Thread),
        abi::KIND_WAIT_END => wait_end(bytes),
        abi::KIND_STACK_COPY => stack(bytes).map(Event::Stack),
        _ => Err(DecodeError::Kind(kind)),
    }
}

/// A copy of the head (so alignment does not matter) and what follows it.
fn head<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    T::read_from_prefix(bytes).map_err(|_too_short| DecodeError::Short(bytes.len()))
}

fn sample(bytes: &[u8], places: &dyn KernelPlaces) -> Result<Sample, DecodeError> {
    let (head, tail) = head::<abi::SampleHeader>(bytes)?;
    let (kernel, user) = frame_bytes(&head, tail)?;
    let frames = frames(kernel, user, head.flags & abi::FLAG_KERNEL_MODE != 0, places)?;
    Ok(Sample {
        class: class(&head)?,
        status: Reason::from_code(head.status).ok_or(DecodeError::Code(head.status))?,
        kernel_mode: head.flags & abi::FLAG_KERNEL_MODE != 0,
        kernel_thread: head.flags & abi::FLAG_KERNEL_THREAD != 0,
        cpu: head.cpu,
        image: image(head.tgid, head.start_boottime, head.exec_id),
        tid: Tid(head.tid),
        time: MonoTime(head.time),
        value: if matches!(head.class, 0 | 3) { head.value } else { 0 },
        late_ticks: head.late_ticks,
        uids: UserIds { real: head.ruid, effective: head.euid, saved: head.suid },
        thread: Comm(head.comm),
        comm: Comm(head.leader_comm),
        bad_pc: head.bad_pc,
        frames,
    })
}

fn class(head: &abi::SampleHeader) -> Result<Class, DecodeError> {
    match head.class {
        0 => Ok(Class::Cpu),
        1 => Ok(Class::NewThread { tid: Tid(head.labels), start: head.value }),
        2 => Ok(Class::Wait { call: Call::of(head.labels), weight: head.count >> 16 }),
        3 => Ok(Class::Wake { call: Call::of(head.labels), count: head.count }),
        code => Err(DecodeError::Code(code)),
    }
}

fn wait_end(bytes: &[u8]) -> Result<Event, DecodeError> {
    let (head, _) = head::<abi::WaitEnd>(bytes)?;
    Ok(Event::WaitEnd(WaitEnd {
        tid: Tid(head.tid),
        pid: Pid(head.tgid),
        since: MonoTime(head.since),
        end: MonoTime(head.end),
        queued: head.queued,
        call: Call::of(head.call),
        looked: head.flags & abi::WAIT_LOOKED != 0,
    }))
}

fn image(tgid: u32, start: u64, exec_id: u32) -> ImageId {
    ImageId { process: ProcessId { pid: Pid(tgid), start }, exec_id }
}

/// The bytes of the kernel addresses and those of the user words.
fn frame_bytes<'a>(head: &abi::SampleHeader, tail: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), DecodeError> {
    let kernel = bounded(head.kernel_frames, abi::MAX_KERNEL_FRAMES)? * WORD;
    let user = bounded(head.user_frames, abi::MAX_USER_FRAMES)? * WORD;
    let too_short = DecodeError::Short(size_of::<abi::SampleHeader>() + tail.len());
    let (kernel, rest) = tail.split_at_checked(kernel).ok_or(too_short)?;
    Ok((kernel, rest.get(..user).ok_or(too_short)?))
}

/// All frames, leaf first. Kernel addresses are return addresses but for the leaf of a kernel-mode sample.
fn frames(
    kernel: &[u8],
    user: &[u8],
    leaf_is_exact: bool,
    places: &dyn KernelPlaces,
) -> Result<Vec<FrameWord>, DecodeError> {
    let mut frames = Vec::with_capacity((kernel.len() + user.len()) / WORD);
    frames.extend(words(kernel).enumerate().map(|(i, address)| {
        let back = u64::from(i > 0 || !leaf_is_exact);
        FrameWord::from(places.place(address.wrapping_sub(back)))
    }));
    for word in words(user) {
        if word & FILE_WORD == 0 && word >= PLAIN_ADDRESS_END {
            return Err(DecodeError::Word(word));
        }
        frames.push(FrameWord(word));
    }
    Ok(frames)
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks::<WORD>().0.iter().map(|word| u64::from_ne_bytes(*word))
}

fn bounded(count: u32, most: usize) -> Result<usize, DecodeError> {
    usize::try_from(count).ok().filter(|count| *count <= most).ok_or(DecodeError::Count(count))
}

fn new_file(bytes: &[u8]) -> Result<FileSeen, DecodeError> {
    let (head, tail) = head::<abi::NewFile>(bytes)?;
    let length = bounded(head.components, abi::MAX_COMPONENTS)? * abi::COMPONENT_LENGTH;
    let components = tail.get(..length).ok_or(DecodeError::Short(bytes.len()))?;
    Ok(FileSeen {
        number: FileNumber(head.number),
        key: head.key,
        pid: Pid(head.tgid),
        start: head.start,
        end: head.end,
        offset: FileOffset(head.offset),
        path_dev: head.path_dev,
        path: path(components),
        sampled: head.source == 0,
    })
}

/// Components leaf first -> a relative path. The root's own name (`/` or nothing) is left out.
fn path(components: &[u8]) -> Vec<u8> {
    let mut path = Vec::new();
    for component in components.as_chunks::<{ abi::COMPONENT_LENGTH }>().0.iter().rev() {
        let name = component.split(|byte| *byte == 0).next().unwrap_or_default();
        if name.is_empty() || name == b"/" {
            continue;
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
    path
}

fn process(bytes: &[u8]) -> Result<Event, DecodeError> {
    let (head, tail) = head::<abi::ProcessRecord>(bytes)?;
    let fact = ProcessFact {
        image: image(head.tgid, head.start_boottime, head.exec_id),
        parent: Pid(head.parent),
        namespace_pid: Pid(head.namespace_tgid),
        uids: UserIds { real: head.ruid, effective: head.euid, saved: head.suid },
        time: MonoTime(head.time),
        cgroup: head.cgroup,
        comm: Comm(head.comm),
    };
    match head.kind {
        abi::KIND_FORK => Ok(Event::Fork(fact)),
        abi::KIND_EXIT => Ok(Event::Exit { fact, cpu_ns: head.cpu_ns, exit_code: head.exit_code }),
        _ => {
            let length = bounded(head.exe_length, abi::EXE_LENGTH)?;
            let exe = tail.get(..length).ok_or(DecodeError::Short(bytes.len()))?;
            Ok(Event::Exec(fact, exe.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()))
        }
    }
}

fn mapping(bytes: &[u8]) -> Result<MappingSeen, DecodeError> {
    let (head, _) = head::<abi::MappingRecord>(bytes)?;
    Ok(MappingSeen {
        image: image(head.tgid, head.start_boottime, head.exec_id),
        file: (head.file != 0).then_some(FileNumber(head.file)),
        start: head.start,
        end: head.end,
        offset: FileOffset(head.offset),
    })
}

/// Bytes of the first whole thread record of some; more may follow it.
pub(crate) fn thread_length(bytes: &[u8]) -> Result<usize, DecodeError> {
    let (head, _) = head::<abi::ThreadRecord>(bytes)?;
    Ok(size_of::<abi::ThreadRecord>() + bounded(head.kernel_frames, abi::MAX_THREAD_KERNEL_FRAMES)? * WORD)
}

fn thread(bytes: &[u8], places: &dyn KernelPlaces) -> Result<ThreadSeen, DecodeError> {
    let length = thread_length(bytes)?;
    let (head, _) = head::<abi::ThreadRecord>(bytes)?;
    let kernel = bytes.get(size_of::<abi::ThreadRecord>()..length).ok_or(DecodeError::Short(bytes.len()))?;
    Ok(ThreadSeen {
        image: image(head.tgid, head.start_boottime, head.exec_id),
        tid: Tid(head.tid),
        time: MonoTime(head.time),
        start: head.thread_start,
        runtime: head.runtime,
        since: (head.since != 0).then_some(MonoTime(head.since)),
        arrival: (head.arrival != 0).then_some(MonoTime(head.arrival)),
        state: head.state,
        on_cpu: head.flags & abi::THREAD_ON_CPU != 0,
        uids: UserIds { real: head.ruid, effective: head.euid, saved: head.suid },
        thread: Comm(head.comm),
        comm: Comm(head.leader_comm),
        registers: (head.flags & abi::THREAD_NO_REGISTERS == 0).then_some(head.registers),
        kernel: frames(kernel, &[], false, places)?,
    })
}

fn thread_exit(bytes: &[u8]) -> Result<Event, DecodeError> {
    let (head, _) = head::<abi::ThreadExit>(bytes)?;
    let process = ProcessId { pid: Pid(head.tgid), start: head.start_boottime };
    Ok(Event::ThreadExit { process, tid: Tid(head.tid), start: head.thread_start })
}

fn stack(bytes: &[u8]) -> Result<StackCopy, DecodeError> {
    let (head, tail) = head::<abi::StackCopy>(bytes)?;
    let length = bounded(head.length, abi::COPY_PAGES * abi::PAGE_BYTES)?;
    let copied = tail.get(..length).ok_or(DecodeError::Short(bytes.len()))?;
    let mappings = head.mappings.iter().filter(|mapping| mapping.length > 0);
    Ok(StackCopy {
        cpu: head.cpu,
        time: MonoTime(head.time),
        cursor: Cursor {
            pc: head.pc,
            sp: head.sp,
            bp: head.bp,
            is_return: head.is_return.into(),
            all_registers: head.all_registers.into(),
            by_frame_pointer: head.by_frame_pointer.into(),
        },
        registers: head.registers,
        base: head.base,
        bytes: copied.to_vec(),
        mappings: mappings.map(copied_mapping).collect(),
    })
}

fn copied_mapping(mapping: &abi::CopiedMapping) -> CopiedMapping {
    CopiedMapping {
        file: u32::try_from(mapping.file).ok().filter(|file| *file != 0).map(FileNumber),
        start: mapping.start,
        end: mapping.start.saturating_add(mapping.length),
        offset: FileOffset(mapping.start.wrapping_sub(mapping.bias)),
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
