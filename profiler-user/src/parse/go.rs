//! Go's own names: functions, lines and inlined calls of an address, as Go's runtime tells them, stripped or not.
//!
//! The function table has all but the trees of inlined calls. These lie among the data of functions, and where that begins only
//! the module's description says, in a word whose number differs by version: it is the one by which the trees make sense.

mod module;
pub(super) mod setting;
pub(super) mod text;

use super::dwarf::MAX_INLINED;
use super::elf::{Elf, read_u32};
use super::pclntab::{Function, InlineTree, Pclntab};
use crate::worker::api::SymbolFrame;
use module::Module;

/// Functions with inlined calls by which the start of the data of functions is told.
const PROBES: usize = 64;

/// Go code of a file.
pub(super) struct Go {
    table: Pclntab,
    /// What addresses of the table are relative to.
    text: u64,
    trees: Option<Trees>,
    /// The kind of functions that the compiler made to call others: a method of an embedded type, a deferred call.
    wrapper: Option<u8>,
}

/// Where trees of inlined calls lie, and their form.
#[derive(Clone, Copy, Debug)]
struct Trees {
    start: u64,
    form: Form,
}

/// Where an inlined call has its fields.
#[derive(Clone, Copy, Debug)]
struct Form {
    size: usize,
    kind: usize,
    name: usize,
    parent: usize,
    line: usize,
    /// The line is that where the function begins, not that of the call.
    has_start: bool,
}

const FORM_1_18: Form = Form { size: 20, kind: 2, name: 12, parent: 16, line: 8, has_start: false };
const FORM_1_20: Form = Form { size: 16, kind: 0, name: 4, parent: 8, line: 12, has_start: true };

/// A call that was inlined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    /// Of the function that is called.
    name: u32,
    /// Whose line is that of the call: so far behind the start of the function.
    parent: u32,
    line: u32,
    /// Of the function that is called, or 0.
    start_line: u32,
    kind: u8,
}

impl Go {
    /// The Go code of a file; `None` if it has none, or none that can be understood, which then costs nothing.
    pub(super) fn read(elf: &Elf) -> Option<Go> {
        if !elf.is_go() {
            return None;
        }
        let before = elf.source().left();
        let found = Go::understood(elf);
        if found.is_none() {
            elf.source().release(before.saturating_sub(elf.source().left()));
        }
        found
    }

    fn understood(elf: &Elf) -> Option<Go> {
        let table = Pclntab::read(elf).ok()?;
        let text = text::start(elf, &table)?;
        let trees = Module::find(elf, &table).and_then(|module| Trees::find(elf, &table, &module));
        let wrapper = wrapper(&table);
        Some(Go { table, text, trees, wrapper })
    }

    /// Has all that debug information has. Before Go 1.20 it does not say in which line a function begins.
    pub(super) fn is_complete(&self) -> bool {
        self.table.has_start_lines() && self.trees.is_some()
    }

    /// The frames of an address, innermost inlined call first; `None` if it is not of a function that has lines: it was not
    /// written in Go.
    pub(super) fn frames(&self, elf: &Elf, address: u64) -> Option<Vec<SymbolFrame>> {
        let address = address.checked_sub(self.text)?;
        self.frames_at(elf, address).or_else(|| self.frames_at(elf, self.returned_to(address)?))
    }

    /// The first address of a function that follows this one, which lies in the alignment behind another: where a signal
    /// handler returns to is not behind a call.
    fn returned_to(&self, address: u64) -> Option<u64> {
        self.table.find(address).filter(|function| self.table.has_lines(function))?;
        let next = address.checked_add(1)?;
        self.table.find(next).filter(|function| function.entry == next).map(|_| next)
    }

    fn frames_at(&self, elf: &Elf, address: u64) -> Option<Vec<SymbolFrame>> {
        let function = self.table.find(address).filter(|function| !function.name.is_empty())?;
        let mut line = self.table.line(&function, address)?;
        let mut frames = Vec::new();
        // Go shows no caller that is a wrapper.
        let shows = |kind: u8, frames: &[SymbolFrame]| frames.is_empty() || Some(kind) != self.wrapper;
        for call in self.calls(elf, &function, address) {
            let at = function.entry.saturating_add(call.parent.into());
            let Some(outer) = self.table.line(&function, at) else { break };
            if shows(call.kind, &frames) {
                frames.push(frame(self.table.name(call.name), line, call.start_line));
            }
            line = outer;
        }
        if shows(function.kind, &frames) {
            frames.push(frame(function.name, line, function.start_line));
        }
        Some(frames)
    }

    /// The name of the function at an address, if it has no lines: C's that Go's linker linked.
    pub(super) fn name(&self, address: u64) -> Option<&[u8]> {
        let function = self.table.find(address.checked_sub(self.text)?)?;
        Some(function.name).filter(|name| !name.is_empty() && !self.table.has_lines(&function))
    }

    /// The inlined calls that an address belongs to, innermost first. A tree that is damaged ends there.
    fn calls(&self, elf: &Elf, function: &Function<'_>, address: u64) -> Vec<Call> {
        let tree = self.trees.zip(self.table.inline_tree(function));
        let next = |address: u64| {
            let (trees, tree) = tree?;
            let index = self.table.inlined(function, tree, address)?;
            trees.call(elf, tree, index).filter(|call| self.table.is_name(call.name))
        };
        let parent = |call: &Call| next(function.entry.checked_add(call.parent.into())?);
        std::iter::successors(next(address), parent).take(MAX_INLINED - 1).collect()
    }
}

impl Trees {
    /// By the first functions that have inlined calls.
    fn find(elf: &Elf, table: &Pclntab, module: &Module) -> Option<Trees> {
        let form = if table.has_start_lines() { FORM_1_20 } else { FORM_1_18 };
        let functions = (0..table.len()).filter_map(|index| table.function(index));
        let trees = functions.filter_map(|function| Some((function, table.inline_tree(&function)?)));
        let probes: Vec<_> = trees.take(PROBES).collect();
        let fits = |trees: &Trees| {
            let sense = probes.iter().filter(|(function, tree)| trees.makes_sense(elf, table, function, *tree));
            !probes.is_empty() && sense.count() * 8 >= probes.len() * 7
        };
        module.function_data().map(|start| Trees { start, form }).find(fits)
    }

    /// The first call of a tree is of a function, stands in some line, and was made in the function that has the tree.
    fn makes_sense(&self, elf: &Elf, table: &Pclntab, function: &Function<'_>, tree: InlineTree) -> bool {
        let is_inside = |call: &Call| u64::from(call.parent) < function.end - function.entry;
        let call = self.call(elf, tree, 0);
        call.is_some_and(|call| call.line != 0 && table.is_name(call.name) && is_inside(&call))
    }

    /// Call `index` of a tree.
    fn call(&self, elf: &Elf, tree: InlineTree, index: u32) -> Option<Call> {
        let size = self.form.size as u64;
        let address = self.start.checked_add(tree.offset.into())?.checked_add(size.checked_mul(index.into())?)?;
        let bytes = elf.bytes_at("an inlined call", address, size)?;
        let field = |at: usize| read_u32(&bytes, at);
        let (name, parent, line) = (field(self.form.name)?, field(self.form.parent)?, field(self.form.line)?);
        let start_line = if self.form.has_start { line } else { 0 };
        Some(Call { name, parent, line, start_line, kind: *bytes.get(self.form.kind)? })
    }
}

/// The only kind that functions have outside of the runtime.
fn wrapper(table: &Pclntab) -> Option<u8> {
    let mut functions = (0..table.len()).filter_map(|index| table.function(index));
    functions.find(|f| f.kind != 0 && !f.name.starts_with(b"runtime.")).map(|f| f.kind)
}

fn frame(name: &[u8], (file, line): (&[u8], u32), start_line: u32) -> SymbolFrame {
    let system_name = String::from_utf8_lossy(name).into_owned();
    let file = String::from_utf8_lossy(file).into_owned();
    SymbolFrame { name: shown(&system_name), system_name, file, line, column: 0, start_line }
}

/// A name as Go's own profiles show it: `main.F[go.shape.int]` is `main.F[...]`.
pub(super) fn shown(name: &str) -> String {
    let name = plain(name);
    let parts = name.split_once('[').zip(name.rsplit_once(']'));
    match parts {
        Some(((before, _), (inside, behind))) if inside.len() > before.len() => format!("{before}[...]{behind}"),
        _ => name.to_owned(),
    }
}

/// The name without what the linker adds in the symbol table.
fn plain(name: &str) -> &str {
    name.strip_suffix(".abi0").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_go_shows_them() {
        let names = [
            ("main.F[go.shape.int]", "main.F[...]"),
            ("main.(*Stack[go.shape.[]main.T[int]]).Push.func1", "main.(*Stack[...]).Push.func1"),
            ("main.F[...]", "main.F[...]"),
            ("main.plain", "main.plain"),
            ("main.odd]x[", "main.odd]x["),
            ("main.open[", "main.open["),
            ("runtime.systemstack.abi0", "runtime.systemstack"),
            ("[]", "[...]"),
        ];
        for (name, expected) in names {
            assert_eq!(shown(name), expected);
        }
    }
}
