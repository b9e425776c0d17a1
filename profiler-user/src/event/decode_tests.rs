//! Tests of `decode`: any bytes give an answer, and what is encoded as the kernel side does comes back as it was.

use super::*;
use crate::event::{Frame, ModuleNumber};
use abi::{COMM_LENGTH, COMPONENT_LENGTH, FileKey};
use proptest::prelude::*;
use zerocopy::IntoBytes;

/// Kernel text from address 0: the offset is the address.
struct Flat;

impl KernelPlaces for Flat {
    fn place(&self, address: u64) -> Frame {
        Frame::Kernel { module: ModuleNumber(0), offset: address }
    }
}

fn sample_bytes(sample: &Sample, kernel: &[u64], user: &[u64]) -> Vec<u8> {
    let flags = if sample.kernel_mode { abi::FLAG_KERNEL_MODE } else { 0 }
        | if sample.kernel_thread { abi::FLAG_KERNEL_THREAD } else { 0 };
    let (class, value, labels) = match sample.class {
        Class::Cpu => (0, sample.value, 0),
        Class::NewThread { tid, start } => (1, start, tid.0),
        Class::Wait { call, .. } => (2, 0, call.0.into()),
        Class::Wake { call, .. } => (3, sample.value, call.0.into()),
    };
    let count = match sample.class {
        Class::Cpu | Class::NewThread { .. } => 1 << 16,
        Class::Wait { weight, .. } => weight << 16,
        Class::Wake { count, .. } => count,
    };
    let head = abi::SampleHeader {
        kind: abi::KIND_SAMPLE,
        class,
        status: sample.status as u32,
        flags,
        cpu: sample.cpu,
        tgid: sample.image.process.pid.0,
        tid: sample.tid.0,
        exec_id: sample.image.exec_id,
        start_boottime: sample.image.process.start,
        time: sample.time.0,
        value,
        count,
        labels,
        ruid: sample.uids.real,
        euid: sample.uids.effective,
        suid: sample.uids.saved,
        kernel_frames: u32::try_from(kernel.len()).unwrap(),
        user_frames: u32::try_from(user.len()).unwrap(),
        late_ticks: sample.late_ticks,
        bad_pc: sample.bad_pc,
        comm: sample.thread.0,
        leader_comm: sample.comm.0,
    };
    [head.as_bytes(), kernel.as_bytes(), user.as_bytes()].concat()
}

fn fact_bytes(kind: u32, fact: &ProcessFact, exe: &[u8], cpu_ns: u64, exit_code: u32) -> Vec<u8> {
    let head = abi::ProcessRecord {
        kind,
        tgid: fact.image.process.pid.0,
        parent: fact.parent.0,
        namespace_tgid: fact.namespace_pid.0,
        exec_id: fact.image.exec_id,
        ruid: fact.uids.real,
        euid: fact.uids.effective,
        suid: fact.uids.saved,
        start_boottime: fact.image.process.start,
        time: fact.time.0,
        cpu_ns,
        cgroup: fact.cgroup,
        exit_code,
        exe_length: u32::try_from(exe.len()).unwrap(),
        comm: fact.comm.0,
    };
    [head.as_bytes(), exe].concat()
}

fn file_bytes(seen: &FileSeen, components: &[&[u8]]) -> Vec<u8> {
    let head = abi::NewFile {
        kind: abi::KIND_NEW_FILE,
        number: seen.number.0,
        tgid: seen.pid.0,
        components: u32::try_from(components.len()).unwrap(),
        key: seen.key,
        start: seen.start,
        end: seen.end,
        offset: seen.offset.0,
        path_dev: seen.path_dev,
        source: u32::from(!seen.sampled),
    };
    let mut bytes = head.as_bytes().to_vec();
    for component in components {
        let mut padded = [0; COMPONENT_LENGTH];
        padded[..component.len()].copy_from_slice(component);
        bytes.extend_from_slice(&padded);
    }
    bytes
}

fn some_sample() -> Sample {
    Sample {
        class: Class::Cpu,
        status: Reason::Complete,
        kernel_mode: true,
        kernel_thread: false,
        cpu: 3,
        image: image(7, 70, 2),
        tid: Tid(8),
        time: MonoTime(1_000),
        value: 10_101_010,
        late_ticks: 1,
        uids: UserIds { real: 1, effective: 2, saved: 3 },
        thread: Comm(*b"worker\0\0\0\0\0\0\0\0\0\0"),
        comm: Comm(*b"server\0\0\0\0\0\0\0\0\0\0"),
        bad_pc: 0xdead,
        frames: Vec::new(),
    }
}

fn some_fact() -> ProcessFact {
    ProcessFact {
        image: image(7, 70, 2),
        parent: Pid(1),
        namespace_pid: Pid(4),
        uids: UserIds { real: 1, effective: 2, saved: 3 },
        time: MonoTime(5),
        cgroup: 99,
        comm: Comm(*b"server\0\0\0\0\0\0\0\0\0\0"),
    }
}

fn some_file() -> FileSeen {
    FileSeen {
        number: FileNumber(5),
        key: FileKey { ino: 1, dev: 2, generation: 3, ctime: 4, inode: 5 },
        pid: Pid(7),
        start: 0x1000,
        end: 0x2000,
        offset: FileOffset(0x3000),
        path_dev: 2,
        path: Vec::new(),
        sampled: true,
    }
}

fn kernel_offsets(kernel: &[u64], kernel_mode: bool) -> Vec<u64> {
    let sample = Sample { kernel_mode, ..some_sample() };
    let Event::Sample(decoded) = decode(&sample_bytes(&sample, kernel, &[]), &Flat).unwrap() else { unreachable!() };
    let offset = |word: &FrameWord| match word.frame() {
        Some(Frame::Kernel { offset, .. }) => offset,
        other => unreachable!("{other:?}"),
    };
    decoded.frames.iter().map(offset).collect()
}

#[test]
fn a_thread_that_is_made_and_its_end() {
    let class = Class::NewThread { tid: Tid(9), start: 77 };
    let sample = Sample { class, value: 0, ..some_sample() };
    assert_eq!(decode(&sample_bytes(&sample, &[], &[]), &Flat), Ok(Event::Sample(sample)));
    let ended = abi::ThreadExit {
        kind: abi::KIND_THREAD_EXIT,
        tgid: 7,
        tid: 9,
        reserved: 0,
        start_boottime: 70,
        thread_start: 77,
    };
    let process = ProcessId { pid: Pid(7), start: 70 };
    assert_eq!(decode(ended.as_bytes(), &Flat), Ok(Event::ThreadExit { process, tid: Tid(9), start: 77 }));
}

#[test]
fn threads_as_they_stand() {
    let mut head = abi::ThreadRecord { kind: abi::KIND_THREAD, tgid: 7, tid: 9, ..zerocopy::FromZeros::new_zeroed() };
    (head.start_boottime, head.exec_id, head.thread_start, head.runtime, head.state) = (70, 2, 77, 5, 1);
    (head.kernel_frames, head.flags) = (2, abi::THREAD_NO_REGISTERS | abi::THREAD_ON_CPU);
    let bytes = [head.as_bytes(), [100_u64, 200].as_bytes()].concat();
    let Ok(Event::Thread(seen)) = decode(&bytes, &Flat) else { unreachable!() };
    assert_eq!((seen.image, seen.tid, seen.start, seen.runtime, seen.state), (image(7, 70, 2), Tid(9), 77, 5, 1));
    assert_eq!((seen.on_cpu, seen.registers, seen.arrival, seen.kernel.len()), (true, None, None, 2));
    assert_eq!(thread_length(&bytes), Ok(bytes.len()));
    for short in [bytes.len() - 1, size_of::<abi::ThreadRecord>() - 1] {
        assert_eq!(decode(&bytes[..short], &Flat), Err(DecodeError::Short(short)));
    }
    head.kernel_frames = 64;
    assert_eq!(decode(head.as_bytes(), &Flat), Err(DecodeError::Count(64)));
}

#[test]
fn only_the_leaf_of_a_kernel_mode_sample_is_exact() {
    assert_eq!(kernel_offsets(&[100, 200, 300], true), [100, 199, 299]);
    assert_eq!(kernel_offsets(&[100, 200, 300], false), [99, 199, 299]);
}

#[test]
fn a_path_is_joined_from_the_root_and_names_no_root() {
    let check = |components: &[&[u8]], path: &[u8]| {
        let expected = FileSeen { path: path.to_vec(), ..some_file() };
        assert_eq!(decode(&file_bytes(&expected, components), &Flat), Ok(Event::File(expected)));
    };
    check(&[b"libc.so.6", b"lib", b"usr"], b"usr/lib/libc.so.6");
    check(&[b"libc.so.6", b"lib", b"/"], b"lib/libc.so.6");
    check(&[b"a"], b"a");
    check(&[], b"");
}

#[test]
fn unknown_codes_and_wrong_counts_are_errors() {
    let good = sample_bytes(&some_sample(), &[1], &[2]);
    let check = |offset: usize, value: u32, error: DecodeError| {
        let mut bytes = good.clone();
        bytes[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        assert_eq!(decode(&bytes, &Flat), Err(error));
    };
    check(0, 0, DecodeError::Kind(0));
    check(0, 77, DecodeError::Kind(77));
    check(4, 9, DecodeError::Code(9));
    check(8, 0, DecodeError::Code(0));
    check(8, 31, DecodeError::Code(31));
    check(std::mem::offset_of!(abi::SampleHeader, kernel_frames), 3, DecodeError::Short(good.len()));
    check(std::mem::offset_of!(abi::SampleHeader, kernel_frames), 128, DecodeError::Count(128));
    check(std::mem::offset_of!(abi::SampleHeader, user_frames), u32::MAX, DecodeError::Count(u32::MAX));
    assert_eq!(decode(&good[..127], &Flat), Err(DecodeError::Short(127)));
    assert_eq!(decode(&[], &Flat), Err(DecodeError::Short(0)));
}

#[test]
fn a_user_word_cannot_pose_as_a_kernel_frame() {
    let word = FrameWord::from(Frame::Kernel { module: ModuleNumber(0), offset: 5 }).0;
    assert_eq!(decode(&sample_bytes(&some_sample(), &[], &[word]), &Flat), Err(DecodeError::Word(word)));
}

#[test]
fn mappings_without_a_file_have_none() {
    let record = |file| abi::MappingRecord {
        kind: abi::KIND_MAPPING,
        tgid: 7,
        start_boottime: 70,
        exec_id: 2,
        file,
        start: 1,
        end: 2,
        offset: 3,
    };
    let seen =
        |file| Event::Mapping(MappingSeen { image: image(7, 70, 2), file, start: 1, end: 2, offset: FileOffset(3) });
    assert_eq!(decode(record(0).as_bytes(), &Flat), Ok(seen(None)));
    assert_eq!(decode(record(9).as_bytes(), &Flat), Ok(seen(Some(FileNumber(9)))));
}

#[test]
fn a_stack_copy_has_its_bytes_and_the_mappings_in_use() {
    let unused = abi::CopiedMapping { start: 0, length: 0, bias: 0, file: 0 };
    let program = abi::CopiedMapping { start: 0x5000, length: 0x1000, bias: 0x4000, file: 9 };
    let made = abi::CopiedMapping { start: 0x8000, length: 0x1000, bias: 0, file: 0 };
    let head = abi::StackCopy {
        kind: abi::KIND_STACK_COPY,
        cpu: 1,
        time: 2,
        pc: 3,
        sp: 0x7010,
        bp: 5,
        is_return: 1,
        all_registers: 0,
        by_frame_pointer: 1,
        length: 3,
        base: 0x7000,
        registers: [6; 16],
        mappings: [program, unused, made, unused],
    };
    let copied = |file, start, offset| CopiedMapping { file, start, end: start + 0x1000, offset: FileOffset(offset) };
    let wanted = StackCopy {
        cpu: 1,
        time: MonoTime(2),
        cursor: Cursor { pc: 3, sp: 0x7010, bp: 5, is_return: 1, all_registers: 0, by_frame_pointer: 1 },
        registers: [6; 16],
        base: 0x7000,
        bytes: vec![1, 2, 3],
        mappings: vec![copied(Some(FileNumber(9)), 0x5000, 0x1000), copied(None, 0x8000, 0x8000)],
    };
    let record = |tail: &[u8]| [head.as_bytes(), tail].concat();
    assert_eq!(decode(&record(&[1, 2, 3, 4]), &Flat), Ok(Event::Stack(wanted)));
    assert_eq!(decode(&record(&[1, 2]), &Flat), Err(DecodeError::Short(record(&[1, 2]).len())));
    let long = abi::StackCopy { length: 4 * 4096 + 1, ..head };
    assert_eq!(decode(long.as_bytes(), &Flat), Err(DecodeError::Count(4 * 4096 + 1)));
}

prop_compose! {
    fn samples()(
        (pid, tid, exec_id, cpu, late_ticks) in any::<(u32, u32, u32, u32, u32)>(),
        (start, time, value, bad_pc) in any::<(u64, u64, u64, u64)>(),
        (real, effective, saved) in any::<(u32, u32, u32)>(),
        (kernel_mode, kernel_thread) in any::<(bool, bool)>(),
        (thread, comm) in any::<([u8; COMM_LENGTH], [u8; COMM_LENGTH])>(),
        status in proptest::sample::select(Reason::ALL),
    ) -> Sample {
        Sample {
            class: Class::Cpu, status, kernel_mode, kernel_thread, cpu, image: image(pid, start, exec_id), tid: Tid(tid),
            time: MonoTime(time), value, late_ticks, uids: UserIds { real, effective, saved }, thread: Comm(thread),
            comm: Comm(comm), bad_pc, frames: Vec::new(),
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer(kind in 0u32..9, mut bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Some(head) = bytes.first_chunk_mut() {
            *head = kind.to_ne_bytes();
        }
        let _answer = decode(&bytes, &Flat);
    }

    #[test]
    fn a_sample_comes_back_as_it_was_at_any_alignment(
        mut sample in samples(),
        kernel in proptest::collection::vec(1u64..1 << 47, 0..127),
        user in proptest::collection::vec(0u64..PLAIN_ADDRESS_END, 0..200),
        files in any::<bool>(),
        shift in 0usize..8,
    ) {
        let user: Vec<u64> = user.iter().map(|word| if files { word | FILE_WORD } else { *word }).collect();
        let bytes = [vec![0; shift], sample_bytes(&sample, &kernel, &user)].concat();
        sample.frames = kernel.iter().enumerate().map(|(i, address)| {
            let back = u64::from(i > 0 || !sample.kernel_mode);
            FrameWord::from(Flat.place(address - back))
        }).chain(user.iter().map(|word| FrameWord(*word))).collect();
        prop_assert_eq!(decode(&bytes[shift..], &Flat), Ok(Event::Sample(sample)));
    }

    #[test]
    fn process_events_come_back_as_they_were(
        exe in proptest::collection::vec(1u8..=255, 0..=abi::EXE_LENGTH),
        cpu_ns in any::<u64>(),
        exit_code in any::<u32>(),
    ) {
        let fact = some_fact();
        prop_assert_eq!(decode(&fact_bytes(abi::KIND_FORK, &fact, &[], 0, 0), &Flat), Ok(Event::Fork(fact.clone())));
        prop_assert_eq!(
            decode(&fact_bytes(abi::KIND_EXEC, &fact, &exe, 0, 0), &Flat),
            Ok(Event::Exec(fact.clone(), exe))
        );
        prop_assert_eq!(
            decode(&fact_bytes(abi::KIND_EXIT, &fact, &[], cpu_ns, exit_code), &Flat),
            Ok(Event::Exit { fact, cpu_ns, exit_code })
        );
    }
}

#[test]
fn waits_their_ends_and_those_who_end_them() {
    for class in [
        Class::Wait { call: Call(202), weight: 16 },
        Class::Wait { call: Call::RUNNABLE, weight: 1 },
        Class::Wake { call: Call(60), count: 3 << 15 },
    ] {
        let value = if matches!(class, Class::Wake { .. }) { 777 } else { 0 };
        let sample = Sample { class, value, ..some_sample() };
        let mut bytes = sample_bytes(&sample, &[], &[]);
        if class == (Class::Wait { call: Call::RUNNABLE, weight: 1 }) {
            let at = std::mem::offset_of!(abi::SampleHeader, labels);
            bytes[at..at + 4].copy_from_slice(&abi::RUNNABLE.to_ne_bytes());
        }
        assert_eq!(decode(&bytes, &Flat), Ok(Event::Sample(sample)));
    }
    let end = abi::WaitEnd {
        kind: abi::KIND_WAIT_END,
        tid: 9,
        tgid: 7,
        flags: abi::WAIT_LOOKED,
        since: 100,
        end: 250,
        queued: 40,
        call: u32::MAX,
        reserved: 0,
    };
    let wanted = WaitEnd {
        tid: Tid(9),
        pid: Pid(7),
        since: MonoTime(100),
        end: MonoTime(250),
        queued: 40,
        call: Call::NONE,
        looked: true,
    };
    assert_eq!(decode(end.as_bytes(), &Flat), Ok(Event::WaitEnd(wanted)));
    let cut = &end.as_bytes()[..47];
    assert_eq!(decode(cut, &Flat), Err(DecodeError::Short(47)));
}
