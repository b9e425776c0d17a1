//! Ring records: what the kernel side writes, and anything else.

use super::Look;

use crate::event::{Event, Frame, KernelPlaces, ModuleNumber, decode};
use profiler_ebpf::abi::event as abi;
use profiler_ebpf::abi::frame::file_word;
use zerocopy::{FromZeros, IntoBytes};

/// Kernel text from address 0: the offset is the address.
struct Flat;

impl KernelPlaces for Flat {
    fn place(&self, address: u64) -> Frame {
        Frame::Kernel { module: ModuleNumber(0), offset: address }
    }
}

pub(super) fn run(input: &[u8], look: Look) {
    let Ok(event) = decode(input, &Flat) else { return };
    match &event {
        Event::Sample(sample) => assert!(sample.frames.len() <= abi::MAX_KERNEL_FRAMES + abi::MAX_USER_FRAMES),
        Event::File(file) => assert!(file.path.len() <= abi::MAX_COMPONENTS * abi::COMPONENT_LENGTH),
        Event::Thread(thread) => assert!(thread.kernel.len() <= abi::MAX_THREAD_KERNEL_FRAMES),
        Event::Stack(copy) => assert!(copy.bytes.len() <= abi::COPY_PAGES * abi::PAGE_BYTES),
        _ => {}
    }
    look(&event);
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let sample = abi::SampleHeader {
        kind: abi::KIND_SAMPLE,
        status: 1,
        kernel_frames: 2,
        user_frames: 3,
        ..abi::SampleHeader::new_zeroed()
    };
    let frames =
        [0xffff_ffff_8100_0000, 0xffff_ffff_8100_0100, file_word(7, 0x1234), 0x7f00_0000_1000, file_word(9, 5)];
    let mut components = vec![0; 3 * abi::COMPONENT_LENGTH];
    for (to, name) in components.chunks_exact_mut(abi::COMPONENT_LENGTH).zip(["program", "bin", "/"]) {
        to.iter_mut().zip(name.bytes()).for_each(|(to, byte)| *to = byte);
    }
    let file = abi::NewFile { kind: abi::KIND_NEW_FILE, number: 7, components: 3, ..abi::NewFile::new_zeroed() };
    let process = |kind| abi::ProcessRecord { kind, tgid: 11, exe_length: 8, ..abi::ProcessRecord::new_zeroed() };
    let mapping = abi::MappingRecord {
        kind: abi::KIND_MAPPING,
        file: 7,
        start: 0x1000,
        end: 0x2000,
        ..abi::MappingRecord::new_zeroed()
    };
    let copy = abi::StackCopy { kind: abi::KIND_STACK_COPY, length: 64, base: 0x7ff0, ..abi::StackCopy::new_zeroed() };
    let thread = abi::ThreadRecord { kind: abi::KIND_THREAD, kernel_frames: 2, ..abi::ThreadRecord::new_zeroed() };
    let ended = abi::ThreadExit { kind: abi::KIND_THREAD_EXIT, tgid: 11, tid: 12, ..abi::ThreadExit::new_zeroed() };
    let made = abi::SampleHeader { class: 1, labels: 12, ..sample };
    vec![
        ended.as_bytes().to_vec(),
        [made.as_bytes(), frames.as_bytes()].concat(),
        [thread.as_bytes(), &[0x81; 16]].concat(),
        [sample.as_bytes(), frames.as_bytes()].concat(),
        [file.as_bytes(), &components].concat(),
        process(abi::KIND_FORK).as_bytes().to_vec(),
        [process(abi::KIND_EXEC).as_bytes(), b"/bin/sh\0"].concat(),
        process(abi::KIND_EXIT).as_bytes().to_vec(),
        mapping.as_bytes().to_vec(),
        [copy.as_bytes(), &[0x55; 64]].concat(),
    ]
}
