//! Jitdumps.
#![no_main]

libfuzzer_sys::fuzz_target!(init: profiler_fuzz::start("jit_dump"), |input: &[u8]| profiler_fuzz::run(input));
