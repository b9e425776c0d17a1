//! Tests of late stacks: a chain of frames in a copied stack, over files whose tables come and go.

use super::*;
use crate::event::{Class, Comm, CopiedMapping, Frame, FrameWord, Pid, ProcessId, Tid, UserIds};
use profiler_ebpf::unwind::rule::{CODE_STOP, FIXED, KIND_DEREF, Rule};
use profiler_ebpf::unwind::walk::Cursor;
use proptest::prelude::*;
use std::collections::BTreeMap;

const BASE: u64 = 0x7fff_0000_1000;
const IMAGE: ImageId = ImageId { process: ProcessId { pid: Pid(7), start: 1 }, exec_id: 1 };
const PROGRAM: FileNumber = FileNumber(1);
const LIBRARY: FileNumber = FileNumber(2);
/// CFA = RSP + 16: a frame of two words, the upper one its return address.
const TWO_WORDS: u16 = 2;

/// What each file answers, and which mappings the process has.
#[derive(Default)]
struct World {
    rules: Mutex<BTreeMap<FileNumber, Result<TableRule, Reason>>>,
    mappings: Mutex<Vec<MappingSeen>>,
}

impl World {
    /// All of a file follows one rule.
    fn rule(&self, file: FileNumber, code: u16, rule: Option<Rule>) {
        self.rules.lock().unwrap().insert(file, Ok(TableRule { code, rule }));
    }

    fn map(&self, file: FileNumber, start: u64) {
        let offset = FileOffset(0);
        let mapping = MappingSeen { image: IMAGE, file: Some(file), start, end: start + 0x1000, offset };
        self.mappings.lock().unwrap().push(mapping);
    }
}

impl Targets for World {
    fn mappings(&self, image: ImageId) -> Vec<MappingSeen> {
        self.mappings.lock().unwrap().iter().filter(|mapping| mapping.image == image).copied().collect()
    }

    fn rule(&self, file: FileNumber, _: FileOffset) -> Option<Result<TableRule, Reason>> {
        self.rules.lock().unwrap().get(&file).copied()
    }
}

fn word(file: FileNumber, offset: u64) -> FrameWord {
    FrameWord::from(Frame::Native { file, offset: FileOffset(offset) })
}

/// A sample that stopped in `PROGRAM` (mapped at 0x1000) at offset 0x10.
fn sample(time: u64) -> Sample {
    Sample {
        class: Class::Cpu,
        status: Reason::TablePending,
        kernel_mode: false,
        kernel_thread: false,
        cpu: 0,
        image: IMAGE,
        tid: Tid(7),
        time: MonoTime(time),
        value: 1,
        late_ticks: 0,
        uids: UserIds { real: 0, effective: 0, saved: 0 },
        thread: Comm(*b"thread\0\0\0\0\0\0\0\0\0\0"),
        comm: Comm(*b"leader\0\0\0\0\0\0\0\0\0\0"),
        bad_pc: 0x1010,
        frames: vec![word(PROGRAM, 0x10)],
    }
}

/// Its stack: the stack pointer stands at the first word.
fn copy(time: u64, words: &[u64]) -> StackCopy {
    let program = CopiedMapping { file: Some(PROGRAM), start: 0x1000, end: 0x2000, offset: FileOffset(0) };
    StackCopy {
        cpu: 0,
        time: MonoTime(time),
        cursor: Cursor { pc: 0x1010, sp: BASE, bp: 0, is_return: 0, all_registers: 1, by_frame_pointer: 0 },
        registers: [0; 16],
        base: BASE,
        bytes: words.iter().flat_map(|word| word.to_ne_bytes()).collect(),
        mappings: vec![program],
    }
}

/// What one look hands on.
fn work(late: &Late) -> Vec<Sample> {
    let mut passed = Vec::new();
    late.work(|samples| passed = samples);
    passed
}

fn world() -> (Arc<World>, Late) {
    let world = Arc::new(World::default());
    (Arc::clone(&world), Late::new(world))
}

#[test]
fn a_sample_waits_for_its_table_and_is_then_complete() {
    let (world, late) = world();
    world.map(LIBRARY, 0x9000);
    assert_eq!(late.hold(sample(5), copy(5, &[0, 0x1021, 0, 0x9031, 0, 0])), None);
    assert_eq!((work(&late), late.counts().held), (vec![], 1));
    world.rule(PROGRAM, TWO_WORDS, None);
    assert_eq!(work(&late), vec![], "the library has no table");
    world.rule(LIBRARY, CODE_STOP, FIXED.get(2).copied());
    let passed = work(&late);
    let wanted = vec![word(PROGRAM, 0x10), word(PROGRAM, 0x20), word(LIBRARY, 0x30)];
    assert_eq!(passed, vec![Sample { status: Reason::Complete, bad_pc: 0, frames: wanted, ..sample(5) }]);
    assert_eq!(late.counts(), LateCounts { walked: 1, ..LateCounts::default() });
}

#[test]
fn what_cannot_be_walked_says_why() {
    let check = |words: &[u64], status: Reason, frames: usize, prepare: &dyn Fn(&World)| {
        let (world, late) = world();
        prepare(&world);
        assert_eq!(late.hold(sample(5), copy(5, words)), None);
        let passed = work(&late);
        let found: Vec<_> = passed.iter().map(|sample| (sample.status, sample.frames.len())).collect();
        assert_eq!(found, vec![(status, frames)]);
        assert!(passed[0].bad_pc != 0);
    };
    let program = |world: &World| world.rule(PROGRAM, TWO_WORDS, None);
    check(&[0, 0x1021, 0], Reason::CopyTooShort, 2, &program);
    check(&[0, 0x5000, 0, 0], Reason::NoMapping, 1, &|world| {
        program(world);
        world.map(LIBRARY, 0x9000);
    });
    let gone = Reason::TablePending;
    check(&[0, 0x9031, 0, 0], gone, 1, &program);
    check(&[], Reason::NoTable, 1, &|world| {
        world.rules.lock().unwrap().insert(PROGRAM, Err(Reason::NoTable));
    });
    let elsewhere = Rule { kind: KIND_DEREF, cfa_register: 1, ..FIXED[0] };
    check(&[0; 4], Reason::UnreadableStack, 1, &|world| world.rule(PROGRAM, 0x8006, Some(elsewhere)));
}

#[test]
fn a_return_address_of_zero_without_a_frame_pointer_is_the_root() {
    let (world, late) = world();
    world.rule(PROGRAM, TWO_WORDS, None);
    assert_eq!(late.hold(sample(5), copy(5, &[0, 0x1021, 0, 0])), None);
    let passed = work(&late);
    assert_eq!((passed[0].status, passed[0].frames.len(), passed[0].bad_pc), (Reason::Complete, 2, 0));
}

#[test]
fn who_flushes_waits_for_those_before_only() {
    let (_world, late) = world();
    assert_eq!(late.hold(sample(9), copy(9, &[])), None);
    assert!(late.flush(MonoTime(8), Duration::ZERO));
    assert!(!late.flush(MonoTime(9), Duration::ZERO), "nobody works");
    let (_world, late) = world();
    assert_eq!(late.hold(sample(9), copy(9, &[])), None);
    assert_eq!(work(&late), vec![]);
    let waiting = late.clone();
    let flushing = std::thread::spawn(move || waiting.flush(MonoTime(9), Duration::from_millis(1)));
    let mut passed = Vec::new();
    let end = Instant::now() + Duration::from_secs(20);
    while passed.is_empty() && Instant::now() < end {
        passed = work(&late);
        std::thread::yield_now();
    }
    assert!(flushing.join().expect("no panic"));
    assert_eq!(passed, vec![sample(9)], "as it was");
    assert_eq!(late.counts(), LateCounts { given_up: 1, ..LateCounts::default() });
}

#[test]
fn a_program_that_is_gone_is_walked_by_what_it_mapped() {
    let (world, late) = world();
    world.map(LIBRARY, 0x9000);
    world.rule(LIBRARY, CODE_STOP, FIXED.get(2).copied());
    assert_eq!(late.hold(sample(5), copy(5, &[0, 0x9031, 0, 0])), None);
    assert_eq!(work(&late), vec![]);
    world.mappings.lock().unwrap().clear();
    world.rule(PROGRAM, TWO_WORDS, None);
    let passed = work(&late);
    assert_eq!((passed[0].status, passed[0].frames.len()), (Reason::Complete, 2));
}

#[test]
fn what_finds_no_room_goes_on_at_once() {
    let (_world, late) = world();
    let large = StackCopy { bytes: vec![0; usize::try_from(MAX_BYTES).unwrap() - 4096], ..copy(1, &[]) };
    assert_eq!(late.hold(sample(1), large), None);
    assert_eq!(late.hold(sample(2), copy(2, &[0; 1024])), Some(sample(2)));
    assert_eq!(late.counts(), LateCounts { held: 1, refused: 1, ..LateCounts::default() });
}

#[test]
fn a_stack_without_end_is_cut() {
    let (world, late) = world();
    world.rule(PROGRAM, TWO_WORDS, None);
    assert_eq!(late.hold(sample(5), copy(5, &vec![0x1021; 2 * 2048])), None);
    let passed = work(&late);
    assert_eq!((passed[0].status, passed[0].frames.len()), (Reason::Truncated, 1024));
}

proptest! {
    #[test]
    fn any_stack_has_an_end(
        words in proptest::collection::vec(prop_oneof![any::<u64>(), 0x1000u64..0x2000, BASE..BASE + 512], 0..64),
        (kind, cfa_register, rbp_kind, ra_kind) in (0u8..8, 0u8..20, 0u8..5, 0u8..3),
        (cfa_offset, rbp_offset) in (-64i32..64, -64i32..64),
        (sp, bp) in (BASE - 64..BASE + 512, any::<u64>()),
    ) {
        let (world, late) = world();
        let rule = Rule { kind, cfa_register, rbp_kind, ra_kind, cfa_offset, rbp_offset, ..FIXED[0] };
        world.rule(PROGRAM, 0x8006, Some(rule));
        let mut hostile = copy(5, &words);
        (hostile.cursor.sp, hostile.cursor.bp) = (sp, bp);
        assert_eq!(late.hold(sample(5), hostile), None);
        prop_assert_eq!(work(&late).len(), 1);
    }
}
