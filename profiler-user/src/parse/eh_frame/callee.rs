//! Frames whose CFA is in a register that callees preserve, while their RSP is anything: the dynamic loader's trampolines for
//! functions that are bound late, which save the vector registers in as much memory as the CPU needs.
//!
//! The walk does not follow such registers. But where the function calls another one directly, the callee has saved the register
//! at a known place below its own CFA, and that is the caller's RSP: the CFA is taken from there. It is wrong for the few
//! instructions before the callee has saved it and after it has restored it.

use super::go::Code;
use super::spans::{Cover, Span};
use super::{Bytes, is_bounded};
use gimli::{BaseAddresses, EhFrame, EhFrameOffset, Register, RegisterRule, UnwindContext, UnwindSection};
use profiler_ebpf::unwind::rule::{KIND_DEREF, KIND_REGISTER, RA_AT_CFA, RBP_AT_CFA, RBP_SAME, REGISTER_SP, Rule};
use std::collections::HashMap;

/// Bytes of a call by distance.
const CALL: usize = 5;
/// Bytes that are searched for calls under one row.
const MAX_SEARCHED: u64 = 4 << 10;
/// Callees of one file whose unwind information is read for this.
const MAX_CALLEES: usize = 256;
/// Rows of a callee that are looked at.
const MAX_ROWS: usize = 4 << 10;

/// Finds such calls; remembers where callees save registers.
pub(super) struct Callees<'a> {
    section: EhFrame<Bytes<'a>>,
    bases: &'a BaseAddresses,
    spans: &'a [Span],
    code: Code<'a>,
    known: HashMap<(u64, Register), Option<i32>>,
    context: UnwindContext<usize>,
}

impl<'a> Callees<'a> {
    /// `spans`: all of the file, sorted.
    pub(super) fn new(
        section: EhFrame<Bytes<'a>>,
        bases: &'a BaseAddresses,
        spans: &'a [Span],
        code: Code<'a>,
    ) -> Self {
        Callees { section, bases, spans, code, known: HashMap::new(), context: UnwindContext::new() }
    }

    /// Changes of the rule under a row (from `start` to `end`): where each holds from, and the rule; ascending.
    pub(super) fn changes(&mut self, start: u64, end: u64, rule: &Rule) -> Vec<(u64, Rule)> {
        let mut changes = Vec::new();
        let Some(register) = preserved(rule) else { return changes };
        let bytes = self.code.bytes(start, end.saturating_sub(start).min(MAX_SEARCHED)).unwrap_or_default();
        for (call, target) in calls(bytes, start) {
            let saved_at = self.saved_at(target, register);
            if let Some(changed) = saved_at.and_then(|saved_at| at_call(rule, saved_at)) {
                changes.extend([(call, changed), (call.saturating_add(CALL as u64), *rule)]);
            }
        }
        changes
    }

    /// Where the function at `address` saves the register for most of its code, relative to its CFA.
    fn saved_at(&mut self, address: u64, register: Register) -> Option<i32> {
        let key = (address, register);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        if self.known.len() >= MAX_CALLEES {
            return None;
        }
        let span = self.spans.binary_search_by_key(&address, |span| span.start).ok().and_then(|at| self.spans.get(at));
        let offset = span.and_then(|span| if let Cover::EhFrame(offset) = span.cover { Some(offset) } else { None });
        let found = offset.and_then(|offset| self.read(offset, register));
        self.known.insert(key, found);
        found
    }

    fn read(&mut self, offset: u32, register: Register) -> Option<i32> {
        let offset = EhFrameOffset(offset as usize);
        let fde = self.section.fde_from_offset(self.bases, offset, EhFrame::cie_from_offset).ok().filter(is_bounded)?;
        let mut table = fde.rows(&self.section, self.bases, &mut self.context).ok()?;
        let mut saved: HashMap<i64, u64> = HashMap::new();
        for _ in 0..MAX_ROWS {
            let Some(row) = table.next_row().ok()? else { break };
            if let Some(RegisterRule::Offset(at)) = row.register(register) {
                let bytes = row.end_address().saturating_sub(row.start_address());
                let sum = saved.entry(at).or_default();
                *sum = sum.saturating_add(bytes);
            }
        }
        let (at, bytes) = saved.into_iter().max_by_key(|(_, bytes)| *bytes)?;
        if bytes < fde.len() / 2 { None } else { i32::try_from(at).ok() }
    }
}

/// The preserved register that is the rule's CFA but for an offset: RBX, R12 to R15.
fn preserved(rule: &Rule) -> Option<Register> {
    let number = rule.cfa_register.checked_sub(16).filter(|number| matches!(number, 3 | 12..=15))?;
    let simple = rule.kind == KIND_REGISTER && rule.ra_kind == RA_AT_CFA;
    (simple && matches!(rule.rbp_kind, RBP_SAME | RBP_AT_CFA)).then_some(Register(number.into()))
}

/// Direct calls in some code at `start`: where each is, and what it calls.
fn calls(code: &[u8], start: u64) -> Vec<(u64, u64)> {
    let call = |(at, bytes): (usize, &[u8])| {
        let distance = bytes.strip_prefix(&[0xe8])?.first_chunk::<4>()?;
        let address = start.checked_add(at as u64)?;
        let behind = address.checked_add(CALL as u64)?;
        Some((address, behind.wrapping_add_signed(i32::from_le_bytes(*distance).into())))
    };
    code.windows(CALL).enumerate().filter_map(call).collect()
}

/// The rule at a call of a function that has saved the register at its CFA + `saved_at`.
fn at_call(rule: &Rule, saved_at: i32) -> Option<Rule> {
    let addend = i16::try_from(rule.cfa_offset).ok()?;
    Some(Rule { kind: KIND_DEREF, cfa_register: REGISTER_SP, cfa_offset: saved_at, addend, ..*rule })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use profiler_ebpf::unwind::rule::{RA_IN_REGISTER, RBP_AT_RBP};
    use proptest::prelude::*;

    #[test]
    fn a_direct_call_leads_to_where_the_register_was_saved() {
        let code = [0x90, 0xe8, 0x0b, 0, 0, 0, 0x90, 0xe8, 0xf3, 0xff, 0xff, 0xff, 0xe8, 1];
        assert_eq!(calls(&code, 0x1000), [(0x1001, 0x1011), (0x1007, 0xfff)]);
        let rule = Rule { cfa_register: 16 + 3, cfa_offset: 24, ..Rule::default() };
        assert_eq!(preserved(&rule), Some(Register(3)));
        let taken = Rule { kind: KIND_DEREF, cfa_offset: -56, addend: 24, ..Rule::default() };
        assert_eq!(at_call(&rule, -56), Some(taken));
        assert_eq!(at_call(&Rule { cfa_offset: 1 << 20, ..rule }, -56), None);
        for other in [
            Rule { cfa_register: 16 + 10, ..rule },
            Rule { cfa_register: REGISTER_SP, ..rule },
            Rule { kind: KIND_DEREF, ..rule },
            Rule { ra_kind: RA_IN_REGISTER, ..rule },
            Rule { rbp_kind: RBP_AT_RBP, ..rule },
        ] {
            assert_eq!(preserved(&other), None, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_calls_inside_of_them(code in proptest::collection::vec(prop_oneof![Just(0xe8), any::<u8>()], 0..100), start: u64) {
            for (call, _) in calls(&code, start) {
                prop_assert!(call - start + CALL as u64 <= code.len() as u64);
            }
        }
    }
}
