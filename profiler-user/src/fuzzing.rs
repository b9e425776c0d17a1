//! The door for fuzz targets: one function for each parser of foreign bytes. `fuzz/` drives them at random; the tests here
//! give them the seeds and everything that fuzzing ever found. Only there for tests and with the feature `fuzzing`.

pub mod bundle;
mod records;

use crate::http::fuzzing as query;
use crate::target::proc::fuzzing as proc;
use crate::worker::fuzzing::{files, go, made, protocol};
use std::fmt::Debug;

/// Is shown what a parser made of an input.
pub type Look<'l> = &'l mut dyn FnMut(&dyn Debug);

/// A parser of foreign bytes, as it is fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    /// Name of the target and of its folders of files.
    pub name: &'static str,
    /// Parses an input and shows what is found in it: one that is refused shows nothing. What must be true of the result
    /// whatever the input is asserted.
    pub run: fn(&[u8], Look),
    /// Inputs in which something is found, made by our own code: what it writes, the other side must read.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// An input made of a program file, if it has what this parser reads.
    pub of_program: fn(&[u8]) -> Option<Vec<u8>>,
}

/// Of the parts of a file. Most seeds of these are made of programs.
const fn of_files(name: &'static str, run: fn(&[u8], Look), of_program: fn(&[u8]) -> Option<Vec<u8>>) -> Target {
    Target { name, run, seeds: none, of_program }
}

/// Of anything else.
const fn of_texts(name: &'static str, run: fn(&[u8], Look), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, run, seeds, of_program: |_| None }
}

/// All targets.
pub const TARGETS: [Target; 12] = [
    of_texts("records", records::run, records::seeds),
    of_texts("proc", proc::run, none),
    Target { seeds: files::whole, ..of_files("elf", files::elf, files::small) },
    of_files("eh_frame", files::eh_frame, files::unwind_sections),
    of_files("dwarf", files::dwarf, files::debug_sections),
    of_files("gopclntab", files::gopclntab, go::sections),
    of_texts("perf_map", made::perf_map, none),
    of_texts("jit_dump", made::jit_dump, made::jit_dumps),
    of_texts("demangle", made::demangle, none),
    of_texts("request", protocol::request, protocol::requests),
    of_texts("reply", protocol::reply, protocol::replies),
    of_texts("query", query::run, none),
];

/// Its seeds are files.
fn none() -> Vec<Vec<u8>> {
    Vec::new()
}

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

#[cfg(test)]
mod tests;
