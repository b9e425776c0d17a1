//! What a file is and has, for people: its form, where its names come from, how its code is covered by unwind information.

use super::ParseError;
use super::eh_frame::{self, Examined, Refused};
use super::elf::Elf;
use super::symbols::Symbols;
use crate::worker::api::{FileSurvey, Hole, RefusedRules};
use object::elf::{ET_CORE, ET_DYN, ET_EXEC, ET_REL, SHT_DYNSYM, SHT_SYMTAB};

/// Sections that names and lines come from, as they are called, and what is in them.
const SECTIONS: [(&str, &str); 8] = [
    (".gnu_debugdata", "MiniDebugInfo"),
    (".gopclntab", "Go's function table"),
    (".debug_info", "debug information"),
    (".debug_line", "lines"),
    (".debug_types", "types"),
    (".zdebug_info", "debug information, packed in the older form"),
    (".zdebug_line", "lines, packed in the older form"),
    (".gnu_debugaltlink", "a link to what several debug files share"),
];

/// Looks at all of a file. `name` makes a symbol readable.
pub(super) fn survey(
    elf: &Elf,
    debug_file: Option<&Elf>,
    symbols: &Symbols,
    name: impl Fn(&str) -> String,
) -> Result<FileSurvey, ParseError> {
    let Examined { coverage, refused, .. } = eh_frame::examine(elf)?;
    let named = |symbol: &[u8]| name(&String::from_utf8_lossy(symbol));
    let largest = coverage.largest.iter().map(|hole| Hole {
        address: hole.start,
        size: hole.size,
        name: first_in(symbols, hole.start, hole.start.saturating_add(hole.size)).map(named).unwrap_or_default(),
    });
    Ok(FileSurvey {
        form: form(elf).to_owned(),
        names_from: names_from(elf, debug_file),
        symbols: symbols.iter().count() as u64,
        eh_frame: coverage.eh_frame,
        debug_frame: coverage.debug_frame,
        go_functions: coverage.go,
        overlapping: coverage.overlapping,
        code: coverage.code,
        uncovered: coverage.uncovered,
        holes: coverage.holes,
        largest: largest.collect(),
        refused: refused.iter().map(|refused| rules(refused, symbols, named)).collect(),
    })
}

fn form(elf: &Elf) -> &'static str {
    match (elf.kind(), elf.is_interpreted()) {
        (ET_EXEC, true) => "program at a fixed address",
        (ET_EXEC, false) => "static program at a fixed address",
        (ET_DYN, true) => "position-independent program",
        (ET_DYN, false) => "shared library, or static position-independent program",
        (ET_REL, _) => "object file, as kernel modules are",
        (ET_CORE, _) => "core dump",
        _ => "ELF file of an unknown type",
    }
}

fn names_from(elf: &Elf, debug_file: Option<&Elf>) -> Vec<String> {
    let mut names = Vec::new();
    for (elf, of) in [(Some(elf), ""), (debug_file, " of the debug file")] {
        let Some(elf) = elf else { continue };
        for (kind, what) in [(SHT_SYMTAB, "symbol table"), (SHT_DYNSYM, "dynamic symbol table")] {
            if elf.sections().iter().any(|section| section.kind == kind && section.size > 0) {
                names.push(format!("{what}{of}"));
            }
        }
        let there = SECTIONS.iter().filter(|(section, _)| elf.section(section).is_some());
        names.extend(there.map(|(section, what)| format!("{what} ({section}){of}")));
    }
    names
}

/// The function at an address, else the first one up to `end`.
fn first_in(symbols: &Symbols, start: u64, end: u64) -> Option<&[u8]> {
    let behind =
        || symbols.iter().skip_while(|symbol| symbol.address < start).take_while(|symbol| symbol.address < end);
    symbols.find(start).or_else(|| behind().next()).map(|symbol| symbol.name)
}

fn rules(refused: &Refused, symbols: &Symbols, named: impl Fn(&[u8]) -> String) -> RefusedRules {
    let of =
        |address: &u64| symbols.find(*address).map_or_else(|| format!("at {address:#x}"), |symbol| named(symbol.name));
    let mut functions: Vec<String> = refused.places.iter().map(of).collect();
    functions.dedup();
    RefusedRules { kind: refused.kind.to_owned(), rows: refused.rows, functions }
}
