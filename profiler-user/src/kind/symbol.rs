//! `symbol`: names of addresses of one process, those that it has now and those of profiles that were handed out.

use super::profiler::Profiler;
use super::subject::Subject;
use crate::event::Frame;
use crate::symbolize::builder::nameless;
use crate::symbolize::layout::{AddressBook, CodePoint};
use crate::worker::api::Symbolized;
use std::fmt::Write;
use std::sync::Arc;

/// The answer to `symbol`: addresses are separated by `+`; those that are no numbers or not in any mapping are skipped.
/// Blocking.
pub fn collect(profiler: &Profiler, subject: &Subject, question: &[u8]) -> String {
    let Subject::Process(known) = subject else {
        return "num_symbols: 0\n".to_owned();
    };
    let addresses = addresses(question);
    let mut answer = "num_symbols: 1\n".to_owned();
    if addresses.is_empty() {
        return answer;
    }
    let mut books = profiler.books.get(known.id);
    let mappings = if known.alive { profiler.processes.mappings(known.id) } else { Vec::new() };
    books.insert(0, Arc::new(AddressBook::of_mappings(&mappings)));
    // Code that it made is named for the program that it runs now.
    let image = mappings.first().map(|mapping| mapping.image);
    let point = |frame| image.map_or(CodePoint::from(frame), |image| CodePoint::new(frame, image));
    let found = |address: &u64| books.iter().find_map(|book| book.frame(*address)).map(|frame| (*address, frame));
    let found: Vec<(u64, Frame)> = addresses.iter().filter_map(found).collect();
    let names = profiler.symbolizer.names(found.iter().map(|(_, frame)| point(*frame)));
    for (address, frame) in found {
        let found = names.get(&point(frame)).map(AsRef::as_ref);
        let name = match found {
            // The innermost name is the one that covers the address in the source; Go answers it too.
            Some(Symbolized::Frames(frames)) => frames.first().map(|frame| frame.name.clone()),
            _ => None,
        };
        let name = name.unwrap_or_else(|| nameless(frame, found, &file_of(profiler, frame)).name);
        // Writing to a String does not fail.
        _ = writeln!(answer, "{address:#x} {}", name.replace(['\n', '\r'], " "));
    }
    answer
}

fn file_of(profiler: &Profiler, frame: Frame) -> String {
    match frame {
        Frame::Native { file, .. } => profiler.symbolizer.files().info(file).map(|info| info.path),
        Frame::Kernel { module, .. } => profiler.symbolizer.kernel().module(module).map(|module| module.name),
        Frame::Jit { .. } | Frame::Pseudo { .. } => None,
    }
    .unwrap_or_default()
}

/// The addresses of a question; words that are none are left out.
pub(crate) fn addresses(question: &[u8]) -> Vec<u64> {
    question.split(|byte| *byte == b'+').filter_map(parse_address).collect()
}

/// Hexadecimal with 0x, octal with 0, else decimal: Go's rules of base 0.
fn parse_address(word: &[u8]) -> Option<u64> {
    let text = str::from_utf8(word).ok()?;
    let digits = |text: &str, base| match text.as_bytes().first() {
        Some(b'+' | b'-') | None => None,
        Some(_) => u64::from_str_radix(text, base).ok(),
    };
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return digits(hex, 16);
    }
    match text.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => digits(octal, 8),
        _ => digits(text, 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_the_bases_of_go() {
        let check = |word: &str, wanted: Option<u64>| assert_eq!(parse_address(word.as_bytes()), wanted, "{word}");
        check("0x489f39", Some(0x0048_9f39));
        check("0X10", Some(16));
        check("010", Some(8));
        check("0", Some(0));
        check("4207417", Some(4_207_417));
        for bad in ["", "zz", "0x", "-1", "+1", "0x+1", "08", "0x1g", "18446744073709551616", " 1"] {
            check(bad, None);
        }
    }
}
