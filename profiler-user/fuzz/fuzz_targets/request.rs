//! What the agent sends to a worker, and the worker's answers.
#![no_main]

libfuzzer_sys::fuzz_target!(init: profiler_fuzz::start("request"), |input: &[u8]| profiler_fuzz::run(input));
