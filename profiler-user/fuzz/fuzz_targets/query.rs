//! Queries of HTTP requests.
#![no_main]

libfuzzer_sys::fuzz_target!(init: profiler_fuzz::start("query"), |input: &[u8]| profiler_fuzz::run(input));
