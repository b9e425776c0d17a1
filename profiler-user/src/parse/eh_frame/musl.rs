//! Where a program of the musl C library begins: its start files and its library have no unwind information, and their code keeps
//! no frame pointers, so nothing but the code itself says that the caller of `main` is the root of a stack.
//!
//! `_start` (or the loader's entry) is assembly that is the same everywhere. `__libc_start_main` ends in a jump to an address that
//! it takes just before: the function that calls `main`, whose name is in no table of a stripped library. In older releases
//! it calls `main` itself.

use super::spans::{Cover, Span, Spans};
use crate::parse::elf::Elf;
use crate::parse::symbols::{Symbol, Symbols};
use profiler_ebpf::unwind::rule::CODE_STOP;

/// `xor %rbp,%rbp; mov %rsp,%rdi; lea DISTANCE(%rip),%rsi; and $-16,%rsp; call`, in two parts.
const ENTRY: [&[u8]; 2] = [&[0x48, 0x31, 0xed, 0x48, 0x89, 0xe7, 0x48, 0x8d, 0x35], &[0x48, 0x83, 0xe4, 0xf0, 0xe8]];
/// Bytes of a distance.
const DISTANCE: usize = 4;
/// `lea DISTANCE(%rip),%rax`.
const TAKE: &[u8] = &[0x48, 0x8d, 0x05];
/// `jmp *%rax`.
const JUMP: &[u8] = &[0xff, 0xe0];
const FUNCTION: &[u8] = b"__libc_start_main";
/// Bytes of that function that are looked at.
const MAX_SIZE: u64 = 256;
/// Bytes of the function that calls `main`, at most; what follows it has nothing better.
const CALLER_SIZE: u64 = 56;

/// Adds the roots of stacks, unless something covers them.
pub(super) fn add(elf: &Elf, spans: &mut Spans<'_>) {
    let entry =
        elf.bytes_at("the start of a program", elf.entry(), (ENTRY[0].len() + DISTANCE + ENTRY[1].len()) as u64);
    if !entry.is_some_and(|bytes| is_entry(&bytes)) {
        return;
    }
    let symbols = Symbols::read(elf, &[]);
    let Some(Symbol { address, end, .. }) = symbols.iter().find(|symbol| symbol.name == FUNCTION) else { return };
    let size = end.saturating_sub(address).min(MAX_SIZE);
    let Some(bytes) = elf.bytes_at("the start of a program", address, size) else { return };
    let mut root = |start, end| spans.add_uncovered(Span { start, end, cover: Cover::Code(CODE_STOP) });
    root(address, end);
    if let Some(caller) = jumped_to(&bytes, address) {
        root(caller, caller.saturating_add(CALLER_SIZE));
    }
}

fn is_entry(bytes: &[u8]) -> bool {
    let rest = bytes.strip_prefix(ENTRY[0]).and_then(|rest| rest.get(DISTANCE..));
    rest.is_some_and(|rest| rest.starts_with(ENTRY[1]))
}

/// The address that is taken into RAX last before the jump there.
fn jumped_to(bytes: &[u8], address: u64) -> Option<u64> {
    let jump = bytes.windows(JUMP.len()).position(|window| window == JUMP)?;
    let before = bytes.get(..jump)?;
    let take = before.windows(TAKE.len()).rposition(|window| window == TAKE)?;
    let end = take + TAKE.len() + DISTANCE;
    let distance = before.get(take + TAKE.len()..end)?.first_chunk()?;
    address.checked_add(end as u64)?.checked_add_signed(i64::from(i32::from_le_bytes(*distance)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_is_known_by_its_code() {
        let entry = [ENTRY[0], &[1, 2, 3, 4], ENTRY[1]].concat();
        assert!(is_entry(&entry));
        assert!(!is_entry(&entry[1..]) && !is_entry(&entry[..entry.len() - 1]) && !is_entry(&[]));
    }

    #[test]
    fn the_caller_of_main_is_what_is_jumped_to() {
        // pop; lea -0x6d(%rip),%rax; pop; jmp *%rax, at 0x1000.
        let code = [&[0x5d][..], TAKE, &(-0x6d_i32).to_le_bytes(), &[0x5d], JUMP].concat();
        assert_eq!(jumped_to(&code, 0x1000), Some(0x1008 - 0x6d));
        assert_eq!(jumped_to(&code, 0), None, "below address zero");
        for cut in 0..code.len() {
            assert_eq!(jumped_to(&code[..cut], 0x1000), None, "{cut}");
        }
    }
}
