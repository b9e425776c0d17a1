//! What a worker sends to the agent.
#![no_main]

libfuzzer_sys::fuzz_target!(init: profiler_fuzz::start("reply"), |input: &[u8]| profiler_fuzz::run(input));
