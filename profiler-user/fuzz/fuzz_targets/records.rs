//! Ring records.
#![no_main]

libfuzzer_sys::fuzz_target!(init: profiler_fuzz::start("records"), |input: &[u8]| profiler_fuzz::run(input));
