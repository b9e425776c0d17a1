//! Whole files: headers, sections, symbols, notes, compressed and inner files.
#![no_main]

libfuzzer_sys::fuzz_target!(init: profiler_fuzz::start("elf"), |input: &[u8]| profiler_fuzz::run(input));
