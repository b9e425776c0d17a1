//! Go's function table to names, lines and unwind rows.
#![no_main]

libfuzzer_sys::fuzz_target!(init: profiler_fuzz::start("gopclntab"), |input: &[u8]| profiler_fuzz::run(input));
