//! What the tests of unwind rows share.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use profiler_ebpf::unwind::rule::{DICTIONARY, KIND_REGISTER, PAGE_BITS, RBP_AT_CFA, RBP_SAME, REGISTER_SP, Rule};
use profiler_user::event::FileOffset;
use profiler_user::worker::api::UnwindTable;

/// The code in force at an offset, and what it means as a rule of the dictionary.
pub(crate) fn rule_at(table: &UnwindTable, offset: FileOffset) -> (u16, Rule) {
    let page = table.pages[usize::try_from((offset.0 >> PAGE_BITS) - table.first_page).unwrap()];
    let rows = &table.rows[page.0 as usize..][..usize::from(page.1)];
    let within = offset.0 & ((1 << PAGE_BITS) - 1);
    let code = rows[rows.partition_point(|r| u64::from(r.0) <= within) - 1].1;
    if code & DICTIONARY != 0 {
        return (code, table.rules[usize::from(code & !DICTIONARY)]);
    }
    let rbp = i32::from(code >> 9);
    let rbp_kind = if rbp == 0 { RBP_SAME } else { RBP_AT_CFA };
    let (cfa_offset, rbp_offset) = (i32::from(code & 511) * 8, -8 * rbp);
    (code, Rule { kind: KIND_REGISTER, cfa_register: REGISTER_SP, rbp_kind, cfa_offset, rbp_offset, ..Rule::default() })
}
