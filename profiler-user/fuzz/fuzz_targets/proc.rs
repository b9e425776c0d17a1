//! Texts of `/proc`.
#![no_main]

libfuzzer_sys::fuzz_target!(init: profiler_fuzz::start("proc"), |input: &[u8]| profiler_fuzz::run(input));
