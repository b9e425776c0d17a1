//! One row of call frame information -> a code. Rules that have no compact code go to the file's dictionary.

use super::Bytes;
use gimli::{
    CfaRule, Encoding, Expression, Operation, Register, RegisterRule, UnwindExpression, UnwindSection, UnwindTableRow,
};
use profiler_ebpf::unwind::rule::{
    CODE_STOP, CODE_UNSUPPORTED, DICTIONARY, FIXED, KIND_DEREF, KIND_PLT, KIND_REGISTER, RA_IN_REGISTER, RBP_AT_CFA,
    RBP_AT_RBP, RBP_UNDEFINED, REGISTER_BP, REGISTER_SP, Rule, compact,
};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

// DWARF numbers of x86-64.
const RBP: Register = Register(6);
const RSP: Register = Register(7);
const RETURN_ADDRESS: Register = Register(16);
/// Operations of an expression that are looked at; the known forms are shorter.
const MAX_OPERATIONS: usize = 12;

/// The dictionary of a file, and what could not go into it.
pub(super) struct Rules {
    dictionary: Vec<Rule>,
    codes: FxHashMap<Rule, u16>,
    not_evaluated: BTreeMap<&'static str, u64>,
}

impl Rules {
    pub(super) fn new() -> Self {
        let codes = (DICTIONARY..).zip(FIXED).map(|(code, rule)| (rule, code)).collect();
        Rules { dictionary: FIXED.to_vec(), codes, not_evaluated: BTreeMap::new() }
    }

    /// Counts something that is not evaluated.
    pub(super) fn unsupported(&mut self, kind: &'static str) {
        *self.not_evaluated.entry(kind).or_default() += 1;
    }

    /// (dictionary, not evaluated by kind).
    pub(super) fn finish(self) -> (Vec<Rule>, Vec<(String, u64)>) {
        (self.dictionary, self.not_evaluated.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect())
    }

    /// The code of a row.
    pub(super) fn code<'a>(
        &mut self,
        row: &UnwindTableRow<usize>,
        section: &impl UnwindSection<Bytes<'a>>,
        encoding: Encoding,
    ) -> u16 {
        let evaluate = Evaluate { section, encoding };
        match evaluate.rule(row) {
            Ok(None) => CODE_STOP,
            Ok(Some(rule)) => {
                if rule.rbp_kind == RBP_UNDEFINED {
                    self.unsupported("frame pointer rule");
                }
                self.code_of(rule)
            }
            Err(kind) => {
                self.unsupported(kind);
                CODE_UNSUPPORTED
            }
        }
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
            self.unsupported("dictionary of the file is full");
            return CODE_UNSUPPORTED;
        };
        self.dictionary.push(rule);
        self.codes.insert(rule, code);
        code
    }
}

struct Evaluate<'s, S> {
    section: &'s S,
    encoding: Encoding,
}

impl<'a, S: UnwindSection<Bytes<'a>>> Evaluate<'_, S> {
    /// `None`: the root of the stack. The error names what is not evaluated.
    fn rule(&self, row: &UnwindTableRow<usize>) -> Result<Option<Rule>, &'static str> {
        let mut rule = Rule::default();
        match row.register(RETURN_ADDRESS) {
            Some(RegisterRule::Undefined) => return Ok(None),
            Some(RegisterRule::Offset(-8)) | None => {}
            Some(RegisterRule::Register(register)) => {
                rule.ra_kind = RA_IN_REGISTER;
                rule.ra_register = general(register).ok_or("return address rule")?;
            }
            Some(_) => return Err("return address rule"),
        }
        self.cfa(row.cfa(), &mut rule)?;
        if rule.kind != KIND_PLT {
            self.rbp(row, &mut rule);
        }
        Ok(Some(rule))
    }

    fn cfa(&self, cfa: &CfaRule<usize>, rule: &mut Rule) -> Result<(), &'static str> {
        match cfa {
            CfaRule::RegisterAndOffset { register, offset } => {
                rule.kind = KIND_REGISTER;
                rule.cfa_register = cfa_register(*register).ok_or("CFA register")?;
                rule.cfa_offset = i32::try_from(*offset).or(Err("CFA offset"))?;
                Ok(())
            }
            CfaRule::Expression(expression) => self.cfa_expression(*expression, rule).ok_or("CFA expression"),
        }
    }

    fn cfa_expression(&self, expression: UnwindExpression<usize>, rule: &mut Rule) -> Option<()> {
        use Operation::{And, Deref, Ge, Plus, PlusConstant, RegisterOffset, Shl, UnsignedConstant as Number};
        match self.operations(expression)?.as_slice() {
            [
                RegisterOffset { register: RSP, offset: 8, .. },
                RegisterOffset { register: RETURN_ADDRESS, offset: 0, .. },
                Number { value: 15 },
                And,
                Number { value: threshold },
                Ge,
                Number { value: 3 },
                Shl,
                Plus,
            ] => {
                rule.kind = KIND_PLT;
                rule.threshold = u8::try_from(*threshold).ok()?;
                rule.cfa_offset = 8;
            }
            [RegisterOffset { register, offset, .. }, Deref { size: 8, space: false, .. }] => {
                dereference(rule, *register, *offset, 0)?;
            }
            [RegisterOffset { register, offset, .. }, Deref { size: 8, space: false, .. }, PlusConstant { value }] => {
                dereference(rule, *register, *offset, *value)?;
            }
            _ => return None,
        }
        Some(())
    }

    fn rbp(&self, row: &UnwindTableRow<usize>, rule: &mut Rule) {
        let (kind, offset) = match row.register(RBP) {
            None | Some(RegisterRule::SameValue | RegisterRule::Undefined) => return,
            Some(RegisterRule::Offset(offset)) => (RBP_AT_CFA, Some(offset)),
            Some(RegisterRule::Expression(expression)) => (RBP_AT_RBP, self.rbp_expression(expression)),
            Some(_) => (RBP_UNDEFINED, None),
        };
        match offset.and_then(|o| i32::try_from(o).ok()) {
            Some(offset) => (rule.rbp_kind, rule.rbp_offset) = (kind, offset),
            None => rule.rbp_kind = RBP_UNDEFINED,
        }
    }

    /// RBP is saved at RBP + n: functions that realign their stack.
    fn rbp_expression(&self, expression: UnwindExpression<usize>) -> Option<i64> {
        match self.operations(expression)?.as_slice() {
            [Operation::RegisterOffset { register: RBP, offset, .. }] => Some(*offset),
            _ => None,
        }
    }

    fn operations(&self, expression: UnwindExpression<usize>) -> Option<Vec<Operation<Bytes<'a>>>> {
        let expression: Expression<Bytes<'a>> = expression.get(self.section).ok()?;
        let mut operations = Vec::with_capacity(MAX_OPERATIONS);
        let mut rest = expression.operations(self.encoding);
        while let Some(operation) = rest.next().ok()? {
            if operations.len() == MAX_OPERATIONS {
                return None;
            }
            operations.push(operation);
        }
        Some(operations)
    }
}

fn cfa_register(register: Register) -> Option<u8> {
    match register {
        RSP => Some(REGISTER_SP),
        RBP => Some(REGISTER_BP),
        other => general(other).map(|number| 16 + number),
    }
}

/// DWARF number of a general register.
fn general(register: Register) -> Option<u8> {
    u8::try_from(register.0).ok().filter(|number| *number < 16)
}

fn dereference(rule: &mut Rule, register: Register, offset: i64, addend: u64) -> Option<()> {
    rule.kind = KIND_DEREF;
    rule.cfa_register = cfa_register(register)?;
    rule.cfa_offset = i32::try_from(offset).ok()?;
    rule.addend = i16::try_from(addend.cast_signed()).ok()?;
    Some(())
}
