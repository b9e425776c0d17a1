//! Call frame information to unwind rows.
#![no_main]

libfuzzer_sys::fuzz_target!(init: profiler_fuzz::start("eh_frame"), |input: &[u8]| profiler_fuzz::run(input));
