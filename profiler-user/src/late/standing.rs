//! The walk of a thread that stands: from its registers, in a copy of its stack, by what its process maps.

use super::Targets;
use super::walk::{End, Found, Maps, Region, Walk, walk_from_leaf};
use crate::event::{FileNumber, FileOffset, FrameWord, ImageId, MappingSeen, MonoTime, REGISTER_WORDS, StackCopy};
use crate::tables::TableRule;
use profiler_ebpf::abi::event::RED_ZONE;
use profiler_ebpf::reasons::Reason;
use profiler_ebpf::unwind::walk::Cursor;

/// Copies beside the first that a walk may ask for: the rest of a long stack, a signal's, Go's own and the one that it came from.
const MORE: usize = 4;
/// Code segment of 64-bit user code.
const USER_CS: u64 = 0x33;

/// Where the user half of a thread stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    cursor: Cursor,
    /// By DWARF number.
    registers: [u64; 16],
}

impl Standing {
    /// From `struct pt_regs` of x86-64. The error is why there is nothing to walk.
    pub fn new(words: &[u64; REGISTER_WORDS]) -> Result<Standing, Reason> {
        let [r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, system_call, pc, cs, _, sp, _] = *words;
        if pc == 0 && sp == 0 {
            // A thread that the kernel made for a process (io_uring, vhost): it never runs user code.
            return Err(Reason::NoUserStack);
        }
        match cs {
            USER_CS => {}
            _ if cs & 3 == 3 => return Err(Reason::Compat32),
            _ => return Err(Reason::NoRegisters),
        }
        // As the kernel side does: `syscall` leaves its return address in rcx too, a signal's or a program's first instruction
        // does not lie behind one.
        let behind_call = system_call != u64::MAX && cx == pc;
        let registers = [ax, dx, cx, bx, si, di, bp, sp, r8, r9, r10, r11, r12, r13, r14, r15];
        let is_return = u64::from(behind_call);
        Ok(Standing { cursor: Cursor { pc, sp, bp, is_return, all_registers: 1, by_frame_pointer: 0 }, registers })
    }

    /// The first address of its stack that a walk may ask for.
    pub fn stack(&self) -> u64 {
        self.cursor.sp.saturating_sub(RED_ZONE) & !7
    }

    /// Walks in `bytes`, which were copied from [`Standing::stack`] on, and goes on in what `copy` has from where the stack leads to
    /// something else: its rest, or another stack. User frames, leaf first, and how they end.
    pub fn walk(
        &self,
        image: ImageId,
        bytes: Vec<u8>,
        maps: &Mapped<'_>,
        mut copy_of: impl FnMut(u64) -> Option<Vec<u8>>,
    ) -> (Vec<FrameWord>, Reason) {
        let copy = StackCopy {
            cpu: 0,
            time: MonoTime(0),
            cursor: self.cursor,
            registers: self.registers,
            base: self.stack(),
            bytes,
            mappings: Vec::new(),
        };
        let mut more: Vec<Region> = Vec::new();
        let mut unreadable = false;
        let Walk { frames, end, .. } = loop {
            let walk = walk_from_leaf(image, &copy, &more, &mut &*maps);
            let base = walk.missing.map(|address| address & !7).filter(|_| more.len() < MORE);
            let Some(region) = base.and_then(|base| Some(Region { base, bytes: copy_of(base)? })) else { break walk };
            if region.bytes.is_empty() {
                unreadable = true;
                break walk;
            }
            more.push(region);
        };
        let status = match end {
            End::Ended(Reason::CopyTooShort) if unreadable => Reason::UnreadableStack,
            End::Ended(reason) => reason,
            End::Waits => Reason::TablePending,
            End::Unknown => Reason::NoMapping,
        };
        (frames, status)
    }
}

/// What a process maps, in address order, and the rules of its files.
pub struct Mapped<'a> {
    mappings: Vec<MappingSeen>,
    targets: &'a dyn Targets,
}

impl<'a> Mapped<'a> {
    /// Asks for the mappings of a program. Blocking.
    pub fn of(image: ImageId, targets: &'a dyn Targets) -> Mapped<'a> {
        let mut mappings = targets.mappings(image);
        mappings.sort_unstable_by_key(|mapping| mapping.start);
        Mapped { mappings, targets }
    }
}

impl Maps for &Mapped<'_> {
    fn find(&mut self, _: ImageId, address: u64) -> Found {
        let after = self.mappings.partition_point(|mapping| mapping.start <= address);
        let found = after.checked_sub(1).and_then(|at| self.mappings.get(at)).filter(|mapping| address < mapping.end);
        found.map_or(Found::Nowhere, |mapping| Found::In(*mapping))
    }

    fn rule(&self, file: FileNumber, offset: FileOffset) -> Option<Result<TableRule, Reason>> {
        self.targets.rule(file, offset)
    }
}
