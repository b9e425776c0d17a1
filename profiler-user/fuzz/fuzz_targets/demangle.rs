//! Mangled names.
#![no_main]

libfuzzer_sys::fuzz_target!(init: profiler_fuzz::start("demangle"), |input: &[u8]| profiler_fuzz::run(input));
