//! The dictionary of a file: rules that have no compact code; and what was not evaluated, by kind.

use profiler_ebpf::unwind::rule::{CODE_UNSUPPORTED, DICTIONARY, FIXED, Rule, compact};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Addresses that are remembered of each kind that is not evaluated.
const MAX_PLACES: usize = 4;

/// Rows of one kind that are not evaluated.
#[derive(Clone, Debug, Default)]
pub(super) struct Refused {
    pub(super) rows: u64,
    /// The addresses of the first of them.
    pub(super) places: Vec<u64>,
}

/// The dictionary of a file, and what could not go into it.
pub(super) struct Rules {
    dictionary: Vec<Rule>,
    codes: FxHashMap<Rule, u16>,
    refused: BTreeMap<&'static str, Refused>,
}

impl Rules {
    pub(super) fn new() -> Self {
        let codes = (DICTIONARY..).zip(FIXED).map(|(code, rule)| (rule, code)).collect();
        Rules { dictionary: FIXED.to_vec(), codes, refused: BTreeMap::new() }
    }

    /// Counts something that is not evaluated; `address`: of the code that it is about, if it is about some.
    pub(super) fn unsupported(&mut self, kind: &'static str, address: Option<u64>) {
        let refused = self.refused.entry(kind).or_default();
        refused.rows += 1;
        if refused.places.len() < MAX_PLACES {
            refused.places.extend(address);
        }
    }

    /// Dictionary, and what is not evaluated by kind.
    pub(super) fn finish(self) -> (Vec<Rule>, BTreeMap<&'static str, Refused>) {
        (self.dictionary, self.refused)
    }

    /// The code of a rule.
    pub(super) fn code_of(&mut self, rule: Rule) -> u16 {
        compact(&rule).unwrap_or_else(|| self.slot(rule))
    }

    fn slot(&mut self, rule: Rule) -> u16 {
        if let Some(code) = self.codes.get(&rule) {
            return *code;
        }
        let Some(code) = u16::try_from(self.dictionary.len()).ok().filter(|i| *i < DICTIONARY).map(|i| DICTIONARY | i)
        else {
            self.unsupported("dictionary of the file is full", None);
            return CODE_UNSUPPORTED;
        };
        self.dictionary.push(rule);
        self.codes.insert(rule, code);
        code
    }
}
