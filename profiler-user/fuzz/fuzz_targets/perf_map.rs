//! Perf maps.
#![no_main]

libfuzzer_sys::fuzz_target!(init: profiler_fuzz::start("perf_map"), |input: &[u8]| profiler_fuzz::run(input));
