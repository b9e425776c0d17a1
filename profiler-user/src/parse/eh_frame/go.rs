//! Go's function table -> rows. The table says how deep the stack is at each instruction, the code where a function has set its
//! frame pointer.
//!
//! | where | rule |
//! | --- | --- |
//! | depth 0: entry, leaf without a frame, behind the epilogue | return address at RSP |
//! | until the frame pointer is set | by depth, RBP is still the caller's |
//! | compiled code from there on | frame pointer, any stack: it costs the fewest rows |
//! | assembly from there on | by depth, RBP saved: some use RBP for data (SHA-1, SHA-3, MD5, P-256) |
//! | code that sets RSP to anything (`systemstack`, `asmcgocall`) | frame pointer, any stack: depth says nothing there |

use super::rules::Rules;
use super::spans::{Cover, Span, Spans};
use crate::parse::ParseError;
use crate::parse::elf::Elf;
use crate::parse::go::setting::{SETTING, setting};
use crate::parse::go::text;
use crate::parse::pclntab::{Function, Pclntab, Stretch};
use profiler_ebpf::unwind::rule::{
    CODE_FRAME_POINTER_ANY_STACK, CODE_SIGNAL, CODE_STOP, KIND_REGISTER, RA_IN_REGISTER, RBP_AT_CFA, REGISTER_SP, Rule,
};

/// Functions at which a stack begins.
const ROOTS: [&[u8]; 3] = [b"runtime.goexit", b"runtime.mstart", b"runtime.rt0_go"];
/// Calls on another stack, whose root it is: what it calls returns to where the depth is greater than that of its frame.
const SWITCH: &[u8] = b"runtime.mcall";
/// Where signal handlers return to.
const SIGNAL_RETURNS: [&[u8]; 2] = [b"runtime.sigreturn__sigaction", b"runtime.sigreturn"];
/// Their callers, compiled before Go 1.26, save RBP below the stack for them, set it to there, and restore it afterwards.
const DUFF: [&[u8]; 2] = [b"runtime.duffzero", b"runtime.duffcopy"];
/// Functions that set RSP to another stack, for tables of versions without flags.
const WRITE_SP: [&[u8]; 3] = [b"runtime.gogo", b"runtime.morestack", b"runtime.clone"];

/// Code behind a function that is not executed: alignment.
const PADDING: u64 = 63;
/// Bytes of code that are read at once.
const BLOCK: u64 = 1 << 20;
/// `add rsp, n` in its longest form: so much before an epilogue of Go before 1.21 ends, RBP is the caller's again.
const RESTORED: u64 = 7;
/// Code of a function that is searched for where it leaves its stack.
const MAX_SWITCH: u64 = 1 << 10;

/// Go code of a file.
pub(super) struct Go {
    table: Pclntab,
    /// What addresses of the table are relative to.
    text: u64,
}

impl Go {
    /// The Go code of a file; `None` if it has none, or none that can be understood (which is counted).
    pub(super) fn read(elf: &Elf, rules: &mut Rules) -> Option<Go> {
        if !elf.is_go() {
            return None;
        }
        let found = Pclntab::read(elf).map(|table| text::start(elf, &table).map(|text| Go { table, text }));
        let found = found.ok().flatten();
        if found.is_none() {
            rules.unsupported("Go function table", None);
        }
        found
    }

    /// Adds every function that no unwind information covers.
    pub(super) fn add_functions(&self, spans: &mut Spans<'_>) {
        let mut reached = 0;
        for index in 0..self.table.len() {
            let (Some(function), Ok(number)) = (self.table.function(index), u32::try_from(index)) else { continue };
            if function.entry >= reached {
                reached = function.end;
                let start = self.text.saturating_add(function.entry);
                let end = self.text.saturating_add(function.end);
                spans.add(Span { start, end, cover: Cover::Go(number) });
            }
        }
    }

    /// Rows of function `number`, as far as `span` reaches.
    pub(super) fn function(
        &self,
        number: u32,
        span: Span,
        code: &mut Code<'_>,
        rules: &mut Rules,
        at: &mut impl FnMut(u64, u16) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        let Some(function) = self.table.function(number as usize) else { return Ok(()) };
        let name = plain(function.name);
        if SIGNAL_RETURNS.contains(&name) {
            // It is returned to, not called: the lookup address (return address - 1) lies one byte before it.
            return at(span.start.saturating_sub(1), CODE_SIGNAL);
        }
        if DUFF.contains(&name) {
            return at(span.start, by_depth(0, true, rules));
        }
        let first = self.stretches(&function).find(|s| s.depth != 0);
        let frame = first.and_then(|first| Frame::find(first, code));
        if ROOTS.contains(&name) || (name == SWITCH && frame.is_none()) {
            return at(span.start, CODE_STOP);
        }
        let keeps = match first.and_then(|first| popped(first, code)) {
            Some(register) => Keeps::Popped(register),
            None => Keeps::of(&function, frame, || code.leaves(span)),
        };
        let mut reached = span.start;
        let mut stretches = self.stretches(&function).take_while(|s| s.start < span.end).peekable();
        while let Some(stretch) = stretches.next() {
            reached = stretch.end.min(span.end);
            let ends = stretches.peek().is_some_and(|next| next.depth == 0);
            keeps.rows(Stretch { end: reached, ..stretch }, ends, rules, at)?;
        }
        if reached.saturating_add(PADDING) < span.end {
            at(reached, CODE_FRAME_POINTER_ANY_STACK)?;
        }
        Ok(())
    }

    /// Stretches of one depth, by address.
    fn stretches(&self, function: &Function<'_>) -> impl Iterator<Item = Stretch> {
        let address = |relative: u64| self.text.saturating_add(relative);
        self.table.depths(function).map(move |s| Stretch { start: address(s.start), end: address(s.end), ..s })
    }
}

/// The name without what the linker adds.
fn plain(name: &[u8]) -> &[u8] {
    name.strip_suffix(b".abi0").unwrap_or(name)
}

/// How a function sets its frame pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    /// From here on it is set.
    set: u64,
    /// The epilogue restores RBP before RSP: Go before 1.21.
    restores_first: bool,
}

impl Frame {
    /// `first`: where the depth is no longer 0.
    fn find(first: Stretch, code: &mut Code<'_>) -> Option<Frame> {
        let before = first.start.checked_sub(1)?;
        let bytes = code.at(before)?;
        let (length, restores_first) = setting(&bytes, first.depth)?;
        Some(Frame { set: first.start.checked_add(length)?, restores_first })
    }
}

/// The register that the return address was popped to: `vfork`, whose child runs on the same stack. `first`: where the depth is no
/// longer 0.
fn popped(first: Stretch, code: &mut Code<'_>) -> Option<u8> {
    if first.depth != -8 {
        return None;
    }
    match *code.bytes(first.start.checked_sub(2)?, 2)? {
        // pop r8 to pop r15, whose numbers in DWARF are the same.
        [0x41, pop @ 0x58..=0x5f] => Some(8 + (pop & 7)),
        _ => None,
    }
}

/// What a function keeps where.
#[derive(Clone, Copy, Debug)]
enum Keeps {
    /// No frame pointer of its own, and from an address on RSP is anything.
    Leaves(u64),
    /// No frame pointer of its own.
    Depth,
    /// As `Depth`, and where it is less than none the return address is in a register.
    Popped(u8),
    /// A frame whose pointer is followed.
    Pointer(Frame),
    /// A frame with the caller's frame pointer at its top.
    Saved(Frame),
    /// As `Pointer`, and deeper than its frame it is on another stack.
    Switch(Frame),
}

impl Keeps {
    fn of(function: &Function<'_>, frame: Option<Frame>, leaves: impl FnOnce() -> u64) -> Keeps {
        let name = plain(function.name);
        let writes_sp = function.writes_sp || (!function.assembly && WRITE_SP.contains(&name));
        match frame {
            Some(frame) if name == SWITCH => Keeps::Switch(frame),
            Some(frame) if function.assembly && !writes_sp => Keeps::Saved(frame),
            Some(frame) => Keeps::Pointer(frame),
            None if writes_sp => Keeps::Leaves(leaves()),
            None => Keeps::Depth,
        }
    }

    /// Rows for a stretch of one depth; `ends`: behind it the frame is gone.
    fn rows(
        self,
        range: Stretch,
        ends: bool,
        rules: &mut Rules,
        at: &mut impl FnMut(u64, u16) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        let Stretch { start, end, depth } = range;
        let (frame, code) = match self {
            Keeps::Leaves(from) => {
                if start < from {
                    at(start, by_depth(depth, false, rules))?;
                }
                return if from < end { at(start.max(from), CODE_FRAME_POINTER_ANY_STACK) } else { Ok(()) };
            }
            Keeps::Popped(ra_register) if depth == -8 => {
                let rule = Rule { kind: KIND_REGISTER, cfa_register: REGISTER_SP, ..Rule::default() };
                return at(start, rules.code_of(Rule { ra_kind: RA_IN_REGISTER, ra_register, ..rule }));
            }
            Keeps::Depth | Keeps::Popped(_) => return at(start, by_depth(depth, false, rules)),
            _ if depth <= 0 => return at(start, by_depth(depth, false, rules)),
            Keeps::Saved(frame) => (frame, by_depth(depth, true, rules)),
            Keeps::Switch(frame) if depth > 8 => (frame, CODE_STOP),
            Keeps::Switch(frame) | Keeps::Pointer(frame) => (frame, CODE_FRAME_POINTER_ANY_STACK),
        };
        if start < frame.set {
            at(start, by_depth(depth, false, rules))?;
        }
        let set = start.max(frame.set);
        if set < end {
            at(set, code)?;
        }
        let restored = set.max(end.saturating_sub(RESTORED));
        if ends && frame.restores_first && restored < end {
            at(restored, by_depth(depth, true, rules))?;
        }
        Ok(())
    }
}

/// The rule by depth; `saved`: the caller's RBP lies below the return address.
fn by_depth(depth: i32, saved: bool, rules: &mut Rules) -> u16 {
    let Some(cfa_offset) = depth.checked_add(8).filter(|_| depth >= 0) else { return CODE_FRAME_POINTER_ANY_STACK };
    let rule = Rule { kind: KIND_REGISTER, cfa_register: REGISTER_SP, cfa_offset, ..Rule::default() };
    rules.code_of(if saved { Rule { rbp_kind: RBP_AT_CFA, rbp_offset: -16, ..rule } } else { rule })
}

/// Code of a file by address, read in blocks.
pub(super) struct Code<'e> {
    elf: &'e Elf,
    start: u64,
    block: Vec<u8>,
}

impl<'e> Code<'e> {
    pub(super) fn new(elf: &'e Elf) -> Self {
        Code { elf, start: 0, block: Vec::new() }
    }

    /// The bytes at an address and behind it.
    fn at(&mut self, address: u64) -> Option<[u8; SETTING + 1]> {
        self.bytes(address, SETTING as u64 + 1)?.first_chunk().copied()
    }

    /// Where a function sets RSP for the first time, as far as bytes can tell; its start if they do not.
    fn leaves(&mut self, function: Span) -> u64 {
        let bytes =
            self.bytes(function.start, MAX_SWITCH.min(function.end.saturating_sub(function.start))).unwrap_or_default();
        let found = bytes.windows(3).position(sets_sp).unwrap_or(0);
        function.start.saturating_add(found as u64)
    }

    pub(super) fn bytes(&mut self, address: u64, length: u64) -> Option<&[u8]> {
        if self.held(address, length).is_none() {
            self.block = self.elf.bytes_at("code", address, BLOCK)?;
            self.start = address;
        }
        self.held(address, length)
    }

    fn held(&self, address: u64, length: u64) -> Option<&[u8]> {
        let from = usize::try_from(address.checked_sub(self.start)?).ok()?;
        self.block.get(from..)?.get(..usize::try_from(length).ok()?)
    }
}

/// `mov rsp, ...` by its first bytes.
fn sets_sp(bytes: &[u8]) -> bool {
    match *bytes {
        [0x48 | 0x49, 0x8b, operands] => operands & 0x38 == 0x20,
        [0x48 | 0x4c, 0x89, operands] => operands & 0xc7 == 0xc4,
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use profiler_ebpf::unwind::rule::CODE_FRAME_POINTER_ANY_STACK as FOLLOW;

    #[test]
    fn setting_rsp_is_seen() {
        // mov rsp, [rbx]; mov rsp, [r12 + 0x38]; mov rsp, rsi; mov rsp, r12
        for code in [[0x48, 0x8b, 0x23], [0x49, 0x8b, 0x64], [0x48, 0x89, 0xf4], [0x4c, 0x89, 0xe4]] {
            assert!(sets_sp(&code), "{code:x?}");
        }
        // mov rax, [rsp]; mov r12, [rbx]; mov [rsp + 8], rax; mov rbp, rsp
        for code in [[0x48, 0x8b, 0x04], [0x4c, 0x8b, 0x23], [0x48, 0x89, 0x44], [0x48, 0x89, 0xe5]] {
            assert!(!sets_sp(&code), "{code:x?}");
        }
    }

    /// Rows of stretches (length, depth) from 100 on.
    fn rows(keeps: Keeps, stretches: &[(u64, i32)]) -> Vec<(u64, u16)> {
        let (mut rows, mut rules, mut start) = (Vec::new(), Rules::new(), 100);
        for (i, (length, depth)) in stretches.iter().enumerate() {
            let ends = stretches.get(i + 1).is_some_and(|next| next.1 == 0);
            let stretch = Stretch { start, end: start + length, depth: *depth };
            let mut at = |address, code| {
                rows.push((address, code));
                Ok(())
            };
            keeps.rows(stretch, ends, &mut rules, &mut at).unwrap();
            start += length;
        }
        rows.dedup_by_key(|row| row.1);
        rows
    }

    const SAVED: u16 = 2 << 9;

    #[test]
    fn rows_of_each_kind_of_function() {
        // push rbp; mov rbp, rsp; sub rsp, 32; ...; add rsp, 32; pop rbp; ret; ...
        let stretches = [(1, 0), (7, 8), (50, 40), (1, 8), (1, 0), (20, 40)];
        let frame = Frame { set: 104, restores_first: false };
        let common = [(100, 1), (101, 2), (104, FOLLOW), (159, 1), (160, FOLLOW)];
        assert_eq!(rows(Keeps::Pointer(frame), &stretches), common);
        let saved =
            [(100, 1), (101, 2), (104, SAVED | 2), (108, SAVED | 6), (158, SAVED | 2), (159, 1), (160, SAVED | 6)];
        assert_eq!(rows(Keeps::Saved(frame), &stretches), saved);
        let switch = [(100, 1), (101, 2), (104, FOLLOW), (108, CODE_STOP), (158, FOLLOW), (159, 1), (160, CODE_STOP)];
        assert_eq!(rows(Keeps::Switch(frame), &stretches), switch);
        assert_eq!(rows(Keeps::Depth, &stretches), [(100, 1), (101, 2), (108, 6), (158, 2), (159, 1), (160, 6)]);
        assert_eq!(rows(Keeps::Leaves(120), &stretches), [(100, 1), (101, 2), (108, 6), (120, FOLLOW)]);
        // The first slot behind the fixed ones.
        let vfork = [(100, 1), (110, 0x8006), (112, 1)];
        assert_eq!(rows(Keeps::Popped(12), &[(10, 0), (2, -8), (9, 0)]), vfork);
        // sub rsp, 40; mov [rsp + 32], rbp; lea rbp, [rsp + 32]; ...; mov rbp, [rsp + 32]; add rsp, 40; ret
        let older = Frame { set: 114, restores_first: true };
        let expected = [(100, 1), (104, 6), (114, FOLLOW), (157, SAVED | 6), (164, 1)];
        assert_eq!(rows(Keeps::Pointer(older), &[(4, 0), (60, 40), (1, 0)]), expected);
    }

    #[test]
    fn depths_that_no_stack_has_follow_the_frame_pointer() {
        for depth in [-8, i32::MIN, i32::MAX] {
            assert_eq!(by_depth(depth, false, &mut Rules::new()), FOLLOW);
        }
    }
}
