//! What is known of a file, in lines for people.

use crate::worker::api::{FileFacts, FileSurvey, UnwindTable};
use profiler_ebpf::unwind::rule::{
    DICTIONARY, KIND_DEREF, KIND_FRAME_POINTER, KIND_INDEXED, KIND_PLT, KIND_REGISTER, KIND_SIGNAL, KIND_STOP,
    RA_IN_REGISTER, REGISTER_BP, REGISTER_SP, Rule,
};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::path::Path;

/// Everything that is told of a file.
pub(super) struct Description<'a> {
    pub(super) path: &'a Path,
    pub(super) facts: FileFacts,
    pub(super) table: UnwindTable,
    pub(super) survey: FileSurvey,
    /// What came of the search for a debug file.
    pub(super) debug: Vec<String>,
}

impl Display for Description<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Description { facts, survey, .. } = self;
        writeln!(f, "{}", self.path.display())?;
        let go = if facts.go { ", with Go code" } else { "" };
        line(f, "form", format_args!("{}{go}", survey.form))?;
        let build_id = if facts.build_id.is_empty() { "none" } else { &facts.build_id };
        line(f, "build ID", build_id)?;
        let from = if survey.names_from.is_empty() { "nothing".to_owned() } else { survey.names_from.join(", ") };
        line(f, "names from", from)?;
        line(f, "functions", format_args!("{} in symbol tables", survey.symbols))?;
        for debug in &self.debug {
            line(f, "debug file", debug)?;
        }
        self.unwinding(f)
    }
}

impl Description<'_> {
    fn unwinding(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Description { survey, table, .. } = self;
        let of = |count: u64, whence: &str| (count > 0).then(|| format!("{count} functions by {whence}"));
        let described: Vec<String> = [
            of(survey.eh_frame, ".eh_frame"),
            of(survey.debug_frame, ".debug_frame"),
            of(survey.go_functions, "Go's function table"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let described =
            if described.is_empty() { "nothing: frame pointers are followed".to_owned() } else { described.join(", ") };
        line(f, "unwound by", described)?;
        if survey.overlapping > 0 {
            line(f, "overlapping", format_args!("{} functions, cut where the next one begins", survey.overlapping))?;
        }
        line(
            f,
            "table",
            format_args!("{} rows in {} pages, {} rules", table.rows.len(), table.pages.len(), table.rules.len()),
        )?;
        for (kind, rows) in kinds(table) {
            line(f, "", format_args!("{rows:>9} rows: {kind}"))?;
        }
        for refused in &survey.refused {
            let functions = if refused.functions.is_empty() {
                String::new()
            } else {
                format!(", in {}", refused.functions.join(", "))
            };
            line(f, "not evaluated", format_args!("{} ({} rows{functions})", refused.kind, refused.rows))?;
        }
        if survey.code > 0 {
            let share = survey.uncovered as f64 / survey.code as f64 * 100.0;
            let (uncovered, code, holes) = (survey.uncovered, survey.code, survey.holes);
            line(
                f,
                "not covered",
                format_args!("{uncovered} of {code} bytes of code ({share:.2} %) in {holes} pieces"),
            )?;
            for hole in &survey.largest {
                let name = if hole.name.is_empty() { "no symbol" } else { &hole.name };
                line(f, "", format_args!("{:>9} bytes at {:#x}: {name}", hole.size, hole.address))?;
            }
        }
        Ok(())
    }
}

fn line(f: &mut Formatter<'_>, name: &str, text: impl Display) -> fmt::Result {
    writeln!(f, "  {name:<14} {text}")
}

/// Rows by what their rule does, most first.
fn kinds(table: &UnwindTable) -> Vec<(&'static str, u64)> {
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    for (_, code) in &table.rows {
        *counts.entry(kind(*code, &table.rules)).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(kind, rows)| (std::cmp::Reverse(*rows), *kind));
    counts
}

fn kind(code: u16, rules: &[Rule]) -> &'static str {
    let rule = if code & DICTIONARY == 0 {
        Some(Rule::default())
    } else {
        rules.get(usize::from(code & !DICTIONARY)).copied()
    };
    match rule {
        Some(Rule { ra_kind: RA_IN_REGISTER, .. }) => "return address in a register",
        Some(Rule { kind: KIND_REGISTER, cfa_register, .. }) => match cfa_register {
            REGISTER_SP => "stack pointer and offset",
            REGISTER_BP => "frame pointer and offset",
            _ => "another register and offset, as it is in the running frame",
        },
        Some(Rule { kind: KIND_PLT, .. }) => "procedure linkage table",
        Some(Rule { kind: KIND_DEREF, .. }) => "saved in memory, as by realigned stacks",
        Some(Rule { kind: KIND_INDEXED, .. }) => "saved in memory behind a vector of a size in a register",
        Some(Rule { kind: KIND_STOP, .. }) => "where stacks begin",
        Some(Rule { kind: KIND_SIGNAL, .. }) => "signal frame",
        Some(Rule { kind: KIND_FRAME_POINTER, .. }) => "no unwind information, the frame pointer is followed",
        _ => "not evaluated, stacks end",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::api::{Hole, RefusedRules};
    use profiler_ebpf::unwind::rule::{CODE_RBP_FRAME, CODE_STOP, CODE_UNSUPPORTED, FIXED};

    #[test]
    fn a_file_is_told_in_lines() {
        let table = UnwindTable {
            rules: FIXED.to_vec(),
            pages: vec![(0, 5)],
            rows: vec![(0, 1), (1, 2), (2, CODE_RBP_FRAME), (3, CODE_STOP), (4, CODE_UNSUPPORTED)],
            has_unwind_info: true,
            ..UnwindTable::default()
        };
        let survey = FileSurvey {
            form: "position-independent program".into(),
            names_from: vec!["symbol table".into(), "lines (.debug_line)".into()],
            symbols: 7,
            eh_frame: 5,
            overlapping: 1,
            code: 4_000,
            uncovered: 100,
            holes: 2,
            largest: vec![
                Hole { address: 0x1000, size: 64, name: "mul".into() },
                Hole { address: 0x2000, size: 36, name: String::new() },
            ],
            refused: vec![RefusedRules {
                kind: "CFA expression".into(),
                rows: 1,
                functions: vec!["f".into(), "g".into()],
            }],
            ..FileSurvey::default()
        };
        let facts = FileFacts { build_id: "ab12".into(), ..FileFacts::default() };
        let debug = vec!["/x.debug is not used: it has another build ID".into()];
        let told = Description { path: Path::new("/usr/bin/tool"), facts, table, survey, debug }.to_string();
        insta::assert_snapshot!(told);
    }
}
