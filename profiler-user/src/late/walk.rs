//! The walk of a copied stack, from where the kernel side stopped.

use crate::event::{FileNumber, FileOffset, Frame, FrameWord, ImageId, MappingSeen, Sample, StackCopy};
use crate::tables::TableRule;
use profiler_ebpf::abi::event::MAX_USER_FRAMES;
use profiler_ebpf::reasons::Reason;
use profiler_ebpf::unwind::rule::{CODE_FRAME_POINTER, FIXED, Rule};
use profiler_ebpf::unwind::walk::{GO_ON, Memory, Outcome, Rules, end_in_made_code, step, zero_return};

/// Where the walk looks addresses and rules up.
pub(super) trait Maps {
    /// The mapping of an address.
    fn find(&mut self, image: ImageId, address: u64) -> Found;

    /// See [`super::Targets::rule`].
    fn rule(&self, file: FileNumber, offset: FileOffset) -> Option<Result<TableRule, Reason>>;
}

/// What is known of an address.
pub(super) enum Found {
    In(MappingSeen),
    /// The program maps nothing there.
    Nowhere,
    /// Nothing is known of the program.
    Unknown,
}

/// What a walk found.
pub(super) struct Walk {
    /// Frames beyond those that the sample has, leaf first.
    pub(super) frames: Vec<FrameWord>,
    pub(super) end: End,
    /// See [`Sample::bad_pc`].
    pub(super) bad_pc: u64,
    /// What was asked for and is in no copy, if that ended it.
    pub(super) missing: Option<u64>,
}

/// More memory of the process: stacks to which the first one leads.
pub(super) struct Region {
    pub(super) base: u64,
    pub(super) bytes: Vec<u8>,
}

impl Walk {
    /// One that ends where it begins.
    fn ended(end: End, copy: &StackCopy) -> Walk {
        Walk { frames: Vec::new(), end, bad_pc: copy.cursor.pc, missing: None }
    }
}

/// How it ended.
pub(super) enum End {
    /// For good.
    Ended(Reason),
    /// At a file whose table may yet come.
    Waits,
    /// At an address in a mapping that cannot be asked for any more: the process is gone.
    Unknown,
}

/// Where a frame's code lies.
#[derive(Clone, Copy)]
enum Place {
    File(FileNumber, FileOffset),
    Made(u64),
}

impl Place {
    fn word(self) -> FrameWord {
        FrameWord::from(match self {
            Place::File(file, offset) => Frame::Native { file, offset },
            Place::Made(address) => Frame::Jit { address },
        })
    }
}

/// Walks on. The last frame of `sample` is the one at which the kernel side stopped.
pub(super) fn walk(sample: &Sample, copy: &StackCopy, maps: &mut impl Maps) -> Walk {
    let Some(Frame::Native { file, offset }) = sample.frames.last().and_then(|word| word.frame()) else {
        return Walk::ended(End::Unknown, copy);
    };
    let user = sample.frames.iter().filter(|word| !matches!(word.frame(), Some(Frame::Kernel { .. }))).count();
    walk_on(sample.image, Place::File(file, offset), user, (copy, &[]), maps)
}

/// Walks from the frame in which the cursor stands: the first frame of what is found.
pub(super) fn walk_from_leaf(image: ImageId, copy: &StackCopy, more: &[Region], maps: &mut impl Maps) -> Walk {
    let address = copy.cursor.pc.wrapping_sub(copy.cursor.is_return);
    match place_of(image, address, copy, maps) {
        Err(end) => Walk::ended(end, copy),
        Ok(place) => {
            let mut walk = walk_on(image, place, 1, (copy, more), maps);
            walk.frames.insert(0, place.word());
            walk
        }
    }
}

/// Walks on from `place`, beyond so many user frames.
fn walk_on(
    image: ImageId,
    place: Place,
    user: usize,
    (copy, more): (&StackCopy, &[Region]),
    maps: &mut impl Maps,
) -> Walk {
    let mut walk = Walk::ended(End::Unknown, copy);
    let mut stack = Copied { copy, more, registers: copy.registers, short: false, missing: None };
    let (mut cursor, mut place) = (copy.cursor, place);
    walk.end = loop {
        walk.bad_pc = cursor.pc;
        let (code, rule) = match rule_at(place, maps) {
            Ok(found) => found,
            Err(end) => break end,
        };
        let mut outcome = step(&mut cursor, code.into(), &mut stack, &One(rule));
        if outcome == GO_ON && cursor.pc == 0 {
            outcome = zero_return(&cursor);
        }
        if outcome != GO_ON {
            walk.missing = stack.missing.filter(|_| outcome == Reason::UnreadableStack as u32);
            break End::Ended(stack.reason(outcome, place));
        }
        walk.bad_pc = cursor.pc;
        place = match place_of(image, cursor.pc.wrapping_sub(cursor.is_return), copy, maps) {
            Ok(place) => place,
            Err(end) => break end,
        };
        walk.frames.push(place.word());
        if user + walk.frames.len() >= MAX_USER_FRAMES {
            break End::Ended(Reason::Truncated);
        }
    };
    if matches!(walk.end, End::Ended(reason) if reason.is_complete()) {
        walk.bad_pc = 0;
    }
    walk
}

/// The rule in force, or the end at a file without one.
fn rule_at(place: Place, maps: &impl Maps) -> Result<(u16, Option<Rule>), End> {
    match place {
        // The trampolines that only the code itself tells apart are not looked for: it is not in the copy.
        Place::Made(_) => Ok((CODE_FRAME_POINTER, FIXED.get(1).copied())),
        Place::File(file, offset) => match maps.rule(file, offset) {
            None => Err(End::Waits),
            Some(Err(reason)) => Err(End::Ended(reason)),
            Some(Ok(TableRule { code, rule })) => Ok((code, rule)),
        },
    }
}

/// What the kernel side met counts before what is mapped now.
fn place_of(image: ImageId, address: u64, copy: &StackCopy, maps: &mut impl Maps) -> Result<Place, End> {
    let met = copy.mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(&address));
    let (file, start, offset) = match met {
        Some(mapping) => (mapping.file, mapping.start, mapping.offset),
        None => match maps.find(image, address) {
            Found::Unknown => return Err(End::Unknown),
            Found::Nowhere => return Err(End::Ended(Reason::NoMapping)),
            Found::In(mapping) => (mapping.file, mapping.start, mapping.offset),
        },
    };
    let in_file = |file| Place::File(file, FileOffset(offset.0.wrapping_add(address.wrapping_sub(start))));
    Ok(file.map_or(Place::Made(address), in_file))
}

/// The one rule that a step can ask for.
struct One(Option<Rule>);

impl Rules for One {
    fn rule(&self, _: u32) -> Option<&Rule> {
        self.0.as_ref()
    }
}

/// The stack as it was copied.
struct Copied<'a> {
    copy: &'a StackCopy,
    more: &'a [Region],
    registers: [u64; 16],
    /// Something behind the end was asked for.
    short: bool,
    /// What was last asked for and is not there.
    missing: Option<u64>,
}

/// `N` words at an address, if they are among these bytes.
fn words_in<const N: usize>(base: u64, bytes: &[u8], address: u64) -> Option<[u64; N]> {
    let offset = usize::try_from(address.wrapping_sub(base)).ok()?;
    let (words, _) = bytes.get(offset..)?.get(..N * 8)?.as_chunks::<8>();
    let mut found = [0; N];
    for (to, word) in found.iter_mut().zip(words) {
        *to = u64::from_ne_bytes(*word);
    }
    Some(found)
}

impl Copied<'_> {
    fn words<const N: usize>(&mut self, address: u64) -> Option<[u64; N]> {
        let first = words_in(self.copy.base, &self.copy.bytes, address);
        let found = first.or_else(|| self.more.iter().find_map(|region| words_in(region.base, &region.bytes, address)));
        if found.is_none() {
            // A stack grows downwards: what lies a little above the copy is the rest of it.
            self.short |= address >= self.copy.base;
            self.missing = Some(address);
        }
        found
    }

    /// The reason for an outcome of the last step, from `place`.
    fn reason(&self, outcome: Outcome, place: Place) -> Reason {
        let unreadable = outcome == Reason::UnreadableStack as u32;
        let outcome = if matches!(place, Place::Made(_)) { end_in_made_code(outcome) } else { outcome };
        if unreadable && self.short {
            return Reason::CopyTooShort;
        }
        Reason::from_code(outcome).unwrap_or(Reason::TableDamaged)
    }
}

impl Memory for Copied<'_> {
    fn pair(&mut self, address: u64) -> Option<(u64, u64)> {
        self.words::<2>(address).map(|[first, second]| (first, second))
    }

    fn register(&self, number: u8) -> u64 {
        self.registers.get(usize::from(number)).copied().unwrap_or(0)
    }

    fn signal_frame(&mut self, sp: u64) -> Option<(u64, u64, u64)> {
        // struct ucontext: flags, link, stack (40 bytes), then r8-r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip.
        let [r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip] =
            self.words::<17>(sp.wrapping_add(40))?;
        self.registers = [rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, r12, r13, r14, r15];
        Some((rip, rsp, rbp))
    }
}
