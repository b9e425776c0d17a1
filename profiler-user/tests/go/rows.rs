//! Unwind rows of Go programs, judged by the `.debug_frame` that Go's linker writes, read with gimli, and by objdump.

use crate::common::rule_at;
use crate::program::{DOMAIN, Program, hex, run, worker};
use gimli::{BaseAddresses, CfaRule, DebugFrame, LittleEndian, Register, UnwindContext, UnwindSection};
use profiler_ebpf::unwind::rule::{
    CODE_FRAME_POINTER_ANY_STACK, CODE_SIGNAL, CODE_STOP, KIND_REGISTER, RBP_AT_CFA, RBP_SAME, REGISTER_SP,
};
use profiler_user::event::{FileNumber, FileOffset};
use profiler_user::worker::api::UnwindTable;
use std::fs;
use std::os::fd::AsFd;
use std::process::Command;

/// Frames of many sizes, also too large for a compact code; a leaf without one; assembly of the standard library that uses RBP.
const SOURCE: &str = "package main

import (
\t\"crypto/sha1\"
\t\"crypto/sha256\"
\t\"fmt\"
\t\"os\"
\t\"sort\"
)

//go:noinline
func leaf(n int) int {
\treturn n*3 + 1
}

//go:noinline
func large(n int) byte {
\tvar array [9000]byte
\tfor i := range array {
\t\tarray[i] = byte(leaf(n + i))
\t}
\tsort.Slice(array[:], func(a, b int) bool { return array[a] < array[b] })
\treturn array[n]
}

func main() {
\tfmt.Println(sha1.Sum([]byte{large(len(os.Args))}), sha256.Sum256([]byte{large(2)}))
}
";

const CGO: &str = "package main

// int twice(int x) { return x * 2; }
import \"C\"
import \"fmt\"

func main() { fmt.Println(C.twice(3)) }
";

fn table(program: &Program) -> UnwindTable {
    let table = worker().unwind_table(DOMAIN, FileNumber(1), program.open().as_fd()).unwrap();
    assert!(table.any_stack && table.has_unwind_info);
    table
}

/// (address, end, CFA - RSP) of every row of `.debug_frame`.
fn rows_by_gimli(bytes: &[u8]) -> Vec<(u64, u64, i64)> {
    let (section, bases) = (DebugFrame::new(bytes, LittleEndian), BaseAddresses::default());
    let (mut entries, mut context, mut rows) = (section.entries(&bases), UnwindContext::new(), Vec::new());
    while let Some(entry) = entries.next().unwrap() {
        let gimli::CieOrFde::Fde(partial) = entry else { continue };
        let fde = partial.parse(DebugFrame::cie_from_offset).unwrap();
        let mut table = fde.rows(&section, &bases, &mut context).unwrap();
        while let Some(row) = table.next_row().unwrap() {
            if let CfaRule::RegisterAndOffset { register: Register(7), offset } = row.cfa() {
                rows.push((row.start_address(), row.end_address(), *offset));
            }
        }
    }
    rows
}

/// Every address of every Go function has the CFA of `.debug_frame`, or follows a frame pointer where that has a frame.
fn check_depths(program: &Program) {
    let (table, names, to_offset) = (table(program), program.names(), program.to_offset());
    let (mut exact, mut followed) = (0u64, 0u64);
    for (start, end, expected) in
        rows_by_gimli(&fs::read(program.path()).unwrap()[program.section(".debug_frame").unwrap()])
    {
        let name = names.range(..=start).next_back().unwrap().1;
        for address in start..end {
            let (code, rule) = rule_at(&table, FileOffset(address.wrapping_add(to_offset)));
            let what = || format!("{address:#x} of {name}: {code:#x} {rule:?}, not {expected}");
            match code {
                CODE_STOP => {
                    let roots = ["runtime.goexit", "runtime.mcall", "runtime.mstart", "runtime.rt0_go"];
                    assert!(roots.contains(&name.trim_end_matches(".abi0")), "{}", what());
                }
                // Its first byte is the last one of what stands before it.
                CODE_SIGNAL => assert!(names.range(..=address + 1).next_back().unwrap().1.contains("sigreturn")),
                CODE_FRAME_POINTER_ANY_STACK => {
                    // They leave for another stack.
                    let writes_sp = ["gogo", "runtime.morestack", "runtime.clone"];
                    let frameless = writes_sp.contains(&name.trim_end_matches(".abi0"));
                    assert!(expected >= 16 || frameless, "{}", what());
                    followed += 1;
                }
                _ => {
                    let right = rule.kind == KIND_REGISTER && rule.cfa_register == REGISTER_SP;
                    assert!(right && i64::from(rule.cfa_offset) == expected, "{}", what());
                    exact += 1;
                }
            }
        }
    }
    assert!(exact > 20_000 && followed > 200_000, "{exact} by depth, {followed} by frame pointer");
}

/// Where objdump shows that a frame pointer is set and that it is restored.
fn check_frame_pointers(program: &Program) {
    let (table, to_offset) = (table(program), program.to_offset());
    let listing = run(Command::new("objdump").args(["-d", "--no-show-raw-insn", "-j", ".text"]).arg(program.path()));
    let lines = listing.lines().filter_map(|l| l.split_once(":\t"));
    let lines: Vec<(u64, &str)> = lines.map(|(at, code)| (hex(at.trim()), code.trim())).collect();
    let code_at = |address: u64| rule_at(&table, FileOffset(address.wrapping_add(to_offset)));
    let (mut set, mut restored) = (0, 0);
    for three in lines.windows(3) {
        let [(_, first), (second_at, second), (third_at, _)] = *three else { unreachable!() };
        let words = |code: &str| code.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        if words(first) == ["push", "%rbp"] && words(second) == ["mov", "%rsp,%rbp"] {
            let (before, after) = (code_at(second_at), code_at(third_at));
            // Until it is set it is the caller's.
            assert_eq!((before.1.rbp_kind, before.1.cfa_offset), (RBP_SAME, 16), "{second_at:#x} {before:?}");
            let saved = (after.1.rbp_kind, after.1.rbp_offset) == (RBP_AT_CFA, -16);
            assert!(after.0 == CODE_FRAME_POINTER_ANY_STACK || saved, "{third_at:#x} {after:?}");
            set += 1;
        }
        if words(first) == ["pop", "%rbp"] && words(second) == ["ret"] {
            assert_eq!(code_at(second_at).0, 1, "{second_at:#x}");
            restored += 1;
        }
    }
    assert!(set > 1000 && restored > 1000, "{set} frames set, {restored} restored");
}

#[test]
fn rows_of_a_go_program_are_those_of_its_debug_frame() {
    let program = Program::build(SOURCE, &["-ldflags=-compressdwarf=false"]);
    check_depths(&program);
    check_frame_pointers(&program);
}

#[test]
fn rows_of_a_position_independent_go_program_are_those_of_its_debug_frame() {
    let program = Program::build(SOURCE, &["-buildmode=pie", "-ldflags=-compressdwarf=false"]);
    check_depths(&program);
    check_frame_pointers(&program);
}

#[test]
fn rows_of_a_go_program_with_c_code_are_those_of_its_debug_frame() {
    for mode in ["-buildmode=exe", "-buildmode=pie"] {
        check_depths(&Program::build(CGO, &[mode, "-ldflags=-linkmode=external -compressdwarf=false"]));
    }
}

#[test]
fn a_stripped_go_program_has_the_same_rows() {
    for mode in ["-buildmode=exe", "-buildmode=pie"] {
        let whole = Program::build(SOURCE, &[mode, "-ldflags=-compressdwarf=false"]);
        let stripped = Program::build(SOURCE, &[mode, "-ldflags=-s -w"]);
        assert_eq!(table(&stripped), table(&whole), "{mode}");
    }
    let stripped = Program::build(CGO, &["-buildmode=pie", "-ldflags=-linkmode=external -s -w"]);
    assert!(table(&stripped).rows.len() > 5_000);
}
