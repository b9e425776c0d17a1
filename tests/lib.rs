//! What the end-to-end tests are made of: the agent as a child process, programs whose stacks are known, a reader of
//! profiles that shares no code with the agent, and the judges (the programs' own clocks, perf, gdb, the kernel's account).
//!
//! Helpers fail by panicking with everything that is known, because their callers are tests.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

pub mod harness;
