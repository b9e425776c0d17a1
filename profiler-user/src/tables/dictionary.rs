//! The dictionary of rules that all files share: rule -> code.

use super::evict::PART_OF_ONE;
use crate::event::Pid;
use profiler_ebpf::abi::maps::DICTIONARY_SLOTS;
use profiler_ebpf::unwind::rule::{CODE_UNSUPPORTED, DICTIONARY, FIXED, Rule, compact};
use std::collections::HashMap;

/// Rules in use. Slots are never given back: 1,234 rules served 149 executables, of 32,768 slots. Files of one process bring
/// at most a part of them.
pub(super) struct Dictionary {
    codes: HashMap<Rule, u16>,
    rules: Vec<Rule>,
    /// Slots by the process whose files brought their rules.
    shares: HashMap<Pid, u64>,
    written: usize,
    /// Rules that found no slot and became "unsupported".
    refused: u64,
}

impl Dictionary {
    pub(super) fn new() -> Dictionary {
        let (codes, shares) = (HashMap::new(), HashMap::new());
        let mut dictionary = Dictionary { codes, rules: Vec::new(), shares, written: 0, refused: 0 };
        for rule in FIXED {
            let slot = dictionary.rules.len();
            dictionary.rules.push(rule);
            dictionary.codes.insert(rule, code(slot));
        }
        dictionary
    }

    /// The code of a rule of a file that a process brought; takes a slot if it needs one.
    pub(super) fn code(&mut self, rule: &Rule, process: Pid) -> u16 {
        if let Some(code) = compact(rule).or_else(|| self.codes.get(rule).copied()) {
            return code;
        }
        let share = self.shares.entry(process).or_default();
        if self.rules.len() >= DICTIONARY_SLOTS as usize || *share >= u64::from(DICTIONARY_SLOTS) / PART_OF_ONE {
            self.refused += 1;
            return CODE_UNSUPPORTED;
        }
        *share += 1;
        let code = code(self.rules.len());
        self.rules.push(*rule);
        self.codes.insert(*rule, code);
        code
    }

    /// Rules that the kernel has not got yet, with their slots; they count as written.
    pub(super) fn take_new(&mut self) -> Vec<(u32, Rule)> {
        let from = self.written;
        self.written = self.rules.len();
        let new = self.rules.get(from..).unwrap_or_default();
        (u32::try_from(from).unwrap_or(0)..).zip(new.iter().copied()).collect()
    }

    /// The rule of a code that has a slot.
    pub(super) fn rule(&self, code: u16) -> Option<Rule> {
        self.rules.get(usize::from(code & !DICTIONARY)).filter(|_| code & DICTIONARY != 0).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.rules.len()
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

fn code(slot: usize) -> u16 {
    DICTIONARY | u16::try_from(slot).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "small numbers of a test")]
mod tests {
    use super::*;
    use profiler_ebpf::unwind::rule::{CODE_FRAME_POINTER, KIND_DEREF, KIND_FRAME_POINTER};

    const ONE: Pid = Pid(1);

    #[test]
    fn fixed_rules_have_their_codes_and_new_ones_are_written_once() {
        let mut dictionary = Dictionary::new();
        assert_eq!(dictionary.code(&Rule { kind: KIND_FRAME_POINTER, ..Rule::default() }, ONE), CODE_FRAME_POINTER);
        assert_eq!(dictionary.take_new().len(), FIXED.len());
        let rule = Rule { kind: KIND_DEREF, cfa_offset: 8, ..Rule::default() };
        let code = dictionary.code(&rule, ONE);
        assert_eq!(dictionary.code(&rule, ONE), code);
        assert_eq!(dictionary.take_new(), vec![(FIXED.len() as u32, rule)]);
        assert!(dictionary.take_new().is_empty());
    }

    #[test]
    fn a_full_dictionary_refuses_and_counts() {
        let mut dictionary = Dictionary::new();
        for i in 0..40_000 {
            dictionary.code(&Rule { kind: KIND_DEREF, cfa_offset: i, ..Rule::default() }, Pid(i.cast_unsigned() % 10));
        }
        assert_eq!(dictionary.len(), DICTIONARY_SLOTS as usize);
        assert_eq!(dictionary.refused(), 40_000 - (u64::from(DICTIONARY_SLOTS) - FIXED.len() as u64));
    }

    #[test]
    fn files_of_one_process_do_not_take_all_slots() {
        let mut dictionary = Dictionary::new();
        let rule = |i| Rule { kind: KIND_DEREF, cfa_offset: i, ..Rule::default() };
        for i in 0..40_000 {
            dictionary.code(&rule(i), ONE);
        }
        assert_eq!(dictionary.len(), DICTIONARY_SLOTS as usize / 4 + FIXED.len());
        assert_eq!(dictionary.code(&rule(40_000), ONE), CODE_UNSUPPORTED);
        assert_ne!(dictionary.code(&rule(40_000), Pid(2)), CODE_UNSUPPORTED);
        assert_ne!(dictionary.code(&rule(40_000), ONE), CODE_UNSUPPORTED, "another brought it");
    }
}
