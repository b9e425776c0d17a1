//! Debug information to names and lines.
#![no_main]

libfuzzer_sys::fuzz_target!(init: profiler_fuzz::start("dwarf"), |input: &[u8]| profiler_fuzz::run(input));
