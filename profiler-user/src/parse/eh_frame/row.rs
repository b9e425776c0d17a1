//! One row of call frame information -> a rule, or the kind of what is not evaluated.

use super::Bytes;
use gimli::{
    CfaRule, Encoding, Expression, Operation, Register, RegisterRule, UnwindExpression, UnwindSection, UnwindTableRow,
};
use profiler_ebpf::unwind::rule::{
    KIND_DEREF, KIND_INDEXED, KIND_PLT, KIND_REGISTER, RA_AT_BASE, RA_IN_REGISTER, RBP_AT_BASE, RBP_AT_CFA, RBP_AT_RBP,
    RBP_IN_REGISTER, RBP_SAME, RBP_UNDEFINED, REGISTER_BP, REGISTER_SP, Rule,
};

// DWARF numbers of x86-64.
const RBP: Register = Register(6);
const RSP: Register = Register(7);
const RETURN_ADDRESS: Register = Register(16);
/// Operations of an expression that are looked at; the known forms are shorter.
const MAX_OPERATIONS: usize = 12;

/// What a section's expressions are read with.
pub(super) struct Evaluate<'s, S> {
    pub(super) section: &'s S,
    pub(super) encoding: Encoding,
}

/// Where the caller's value of a register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    /// Nothing is said, or the value is unchanged.
    Unchanged,
    /// There is no caller's value.
    Undefined,
    /// At CFA + n.
    AtCfa(i64),
    /// At register + n.
    At(Register, i64),
    /// In another register.
    In(Register),
    /// Some other rule.
    Unknown,
}

impl<'a, S: UnwindSection<Bytes<'a>>> Evaluate<'_, S> {
    /// The rule of a row; `None`: the root of the stack. The error names what is not evaluated.
    pub(super) fn rule(&self, row: &UnwindTableRow<usize>) -> Result<Option<Rule>, &'static str> {
        let return_address = self.place(row, RETURN_ADDRESS);
        if return_address == Where::Undefined {
            return Ok(None);
        }
        let mut rule = self.cfa(row.cfa())?;
        if rule.kind == KIND_PLT {
            return Ok(Some(rule));
        }
        put_return_address(&mut rule, return_address).ok_or("return address rule")?;
        put_rbp(&mut rule, self.place(row, RBP));
        put_rsp(&mut rule, self.place(row, RSP)).ok_or("stack pointer rule")?;
        Ok(Some(rule))
    }

    fn place(&self, row: &UnwindTableRow<usize>, register: Register) -> Where {
        match row.register(register) {
            None | Some(RegisterRule::SameValue) => Where::Unchanged,
            Some(RegisterRule::Undefined) => Where::Undefined,
            Some(RegisterRule::Offset(offset)) => Where::AtCfa(offset),
            Some(RegisterRule::Register(other)) => Where::In(other),
            Some(RegisterRule::Expression(expression)) => match self.operations(expression).as_deref() {
                Some([Operation::RegisterOffset { register, offset, .. }]) => Where::At(*register, *offset),
                _ => Where::Unknown,
            },
            Some(_) => Where::Unknown,
        }
    }

    fn cfa(&self, cfa: &CfaRule<usize>) -> Result<Rule, &'static str> {
        match cfa {
            CfaRule::RegisterAndOffset { register, offset } => register_and_offset(*register, *offset),
            CfaRule::Expression(expression) => self.cfa_expression(*expression).ok_or("CFA expression"),
        }
    }

    fn cfa_expression(&self, expression: UnwindExpression<usize>) -> Option<Rule> {
        use Operation::{And, Deref, Ge, Mul, Plus, PlusConstant, RegisterOffset, Shl, UnsignedConstant as Number};
        let operations = self.operations(expression)?;
        let (operations, addend) = match operations.as_slice() {
            [rest @ .., PlusConstant { value }] => (rest, *value),
            all => (all, 0),
        };
        match operations {
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
            ] if addend == 0 => {
                let threshold = u8::try_from(*threshold).ok()?;
                Some(Rule { kind: KIND_PLT, threshold, cfa_offset: 8, ..Rule::default() })
            }
            [RegisterOffset { register, offset, .. }] => {
                register_and_offset(*register, offset.checked_add_unsigned(addend)?).ok()
            }
            [RegisterOffset { register, offset, .. }, Deref { size: 8, space: false, .. }] => {
                dereference(*register, *offset, addend)
            }
            [
                RegisterOffset { register, offset, .. },
                RegisterOffset { register: index, offset: 0, .. },
                Number { value: 8 },
                Mul,
                Plus,
                Deref { size: 8, space: false, .. },
            ] => {
                let rule = dereference(*register, *offset, addend)?;
                Some(Rule { kind: KIND_INDEXED, threshold: general(*index)?, ..rule })
            }
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

fn register_and_offset(register: Register, offset: i64) -> Result<Rule, &'static str> {
    let cfa_register = cfa_register(register).ok_or("CFA register")?;
    let cfa_offset = i32::try_from(offset).or(Err("CFA offset"))?;
    Ok(Rule { kind: KIND_REGISTER, cfa_register, cfa_offset, ..Rule::default() })
}

fn dereference(register: Register, offset: i64, addend: u64) -> Option<Rule> {
    Some(Rule {
        kind: KIND_DEREF,
        cfa_register: cfa_register(register)?,
        cfa_offset: i32::try_from(offset).ok()?,
        addend: i16::try_from(addend.cast_signed()).ok()?,
        ..Rule::default()
    })
}

fn put_return_address(rule: &mut Rule, place: Where) -> Option<()> {
    let above_base = match place {
        Where::Unchanged | Where::AtCfa(-8) => return Some(()),
        Where::In(register) => {
            (rule.ra_kind, rule.ra_register) = (RA_IN_REGISTER, general(register)?);
            return Some(());
        }
        place => above_base(rule, place)?,
    };
    at_base(rule, above_base)
}

/// RBP that cannot be found is lost, which is no loss as long as no caller needs it.
fn put_rbp(rule: &mut Rule, place: Where) {
    let (kind, offset) = match place {
        Where::Unchanged | Where::Undefined => (RBP_SAME, Some(0)),
        Where::AtCfa(offset) => (RBP_AT_CFA, Some(offset)),
        Where::At(RBP, offset) => (RBP_AT_RBP, Some(offset)),
        Where::At(register, offset) if cfa_register(register) == Some(rule.cfa_register) => {
            if rule.kind == KIND_REGISTER {
                (RBP_AT_CFA, offset.checked_sub(rule.cfa_offset.into()))
            } else {
                (RBP_AT_BASE, Some(offset))
            }
        }
        Where::In(register) => (RBP_IN_REGISTER, general(register).map(i64::from)),
        Where::At(..) | Where::Unknown => (RBP_UNDEFINED, Some(0)),
    };
    match offset.and_then(|o| i32::try_from(o).ok()) {
        Some(offset) => (rule.rbp_kind, rule.rbp_offset) = (kind, offset),
        None => rule.rbp_kind = RBP_UNDEFINED,
    }
}

/// The caller's RSP is the CFA, unless its own rule says otherwise: code that goes on elsewhere (`longjmp`, `setcontext`). What is
/// relative to the CFA is put relative to something else then, since the walk knows one of both only.
fn put_rsp(rule: &mut Rule, place: Where) -> Option<()> {
    match place {
        Where::Unchanged | Where::Undefined => Some(()),
        Where::In(register) => {
            let nothing_on_stack =
                rule.ra_kind == RA_IN_REGISTER && matches!(rule.rbp_kind, RBP_SAME | RBP_IN_REGISTER);
            if !nothing_on_stack {
                return None;
            }
            (rule.kind, rule.cfa_register, rule.cfa_offset) = (KIND_REGISTER, cfa_register(register)?, 0);
            Some(())
        }
        place => {
            let saved = above_base(rule, place)?;
            if rule.ra_kind != RA_AT_BASE && rule.ra_kind != RA_IN_REGISTER {
                let return_address = above_base(rule, Where::AtCfa(-8))?;
                at_base(rule, return_address)?;
            }
            if rule.rbp_kind == RBP_AT_CFA {
                (rule.rbp_kind, rule.rbp_offset) = (RBP_AT_BASE, rule.rbp_offset.checked_add(rule.cfa_offset)?);
            }
            (rule.kind, rule.cfa_offset) = (KIND_DEREF, i32::try_from(saved).ok()?);
            Some(())
        }
    }
}

/// How far above the CFA register's value a place is.
fn above_base(rule: &Rule, place: Where) -> Option<i64> {
    match place {
        Where::AtCfa(offset) if rule.kind == KIND_REGISTER => offset.checked_add(rule.cfa_offset.into()),
        Where::At(register, offset) if cfa_register(register) == Some(rule.cfa_register) => Some(offset),
        _ => None,
    }
}

fn at_base(rule: &mut Rule, above_base: i64) -> Option<()> {
    let words = u8::try_from(above_base / 8).ok().filter(|_| above_base % 8 == 0)?;
    (rule.ra_kind, rule.ra_register) = (RA_AT_BASE, words);
    Some(())
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

#[cfg(test)]
mod tests {
    use super::*;

    const RDX: Register = Register(1);
    const R8: Register = Register(8);
    const R9: Register = Register(9);

    /// CFA, return address, RBP, RSP -> the rule, if it can be evaluated.
    fn rule(cfa: Rule, return_address: Where, rbp: Where, rsp: Where) -> Option<Rule> {
        let mut rule = cfa;
        put_return_address(&mut rule, return_address)?;
        put_rbp(&mut rule, rbp);
        put_rsp(&mut rule, rsp)?;
        Some(rule)
    }

    fn cfa(register: Register, offset: i64) -> Rule {
        register_and_offset(register, offset).unwrap_or_default()
    }

    #[test]
    fn what_setcontext_says() {
        let saved = rule(cfa(RDX, 0), Where::AtCfa(168), Where::AtCfa(120), Where::AtCfa(160));
        let expected = Rule {
            kind: KIND_DEREF,
            cfa_register: 17,
            cfa_offset: 160,
            rbp_kind: RBP_AT_BASE,
            rbp_offset: 120,
            ra_kind: RA_AT_BASE,
            ra_register: 21,
            ..Rule::default()
        };
        assert_eq!(saved, Some(expected));
        // Below the structure, at no whole word, or too far above nothing is looked for.
        for at in [-16, 12, 8 * 256] {
            assert_eq!(rule(cfa(RDX, 0), Where::AtCfa(at), Where::Unchanged, Where::Unchanged), None, "{at}");
        }
    }

    #[test]
    fn what_longjmp_says() {
        let goes_on = rule(cfa(Register(5), 0), Where::In(RDX), Where::In(R9), Where::In(R8));
        let expected = Rule {
            cfa_register: 24,
            rbp_kind: RBP_IN_REGISTER,
            rbp_offset: 9,
            ra_kind: RA_IN_REGISTER,
            ra_register: 1,
            ..Rule::default()
        };
        assert_eq!(goes_on, Some(expected));
        // With RSP in a register nothing may be relative to the CFA.
        assert_eq!(rule(cfa(RSP, 8), Where::Unchanged, Where::Unchanged, Where::In(R8)), None);
        assert_eq!(rule(cfa(RSP, 8), Where::In(RDX), Where::AtCfa(-16), Where::In(R8)), None);
        assert_eq!(rule(cfa(RSP, 8), Where::Unchanged, Where::Unchanged, Where::Unknown), None);
    }

    #[test]
    fn a_frame_pointer_at_a_register_is_one_at_the_cfa_where_it_can_be() {
        let rbp = |cfa: Rule, at| {
            rule(cfa, Where::Unchanged, at, Where::Unchanged).map(|rule| (rule.rbp_kind, rule.rbp_offset))
        };
        assert_eq!(rbp(cfa(RSP, 200), Where::At(RSP, 160)), Some((RBP_AT_CFA, -40)));
        assert_eq!(rbp(cfa(RDX, 0), Where::At(RBP, 0)), Some((RBP_AT_RBP, 0)));
        let in_memory = dereference(RSP, 152, 8).unwrap_or_default();
        assert_eq!(rbp(in_memory, Where::At(RSP, 160)), Some((RBP_AT_BASE, 160)));
        assert_eq!(rbp(in_memory, Where::At(RDX, 160)).map(|rbp| rbp.0), Some(RBP_UNDEFINED));
        assert_eq!(rbp(cfa(RSP, 8), Where::Undefined), Some((RBP_SAME, 0)));
        assert_eq!(rbp(cfa(RSP, 8), Where::AtCfa(1 << 40)).map(|rbp| rbp.0), Some(RBP_UNDEFINED));
    }
}
