//! End-to-end tests: the real agent, real programs, and truth from somewhere else. Run as root with `--test-threads=1`
//! (`cargo xtask test` does): each test has the host's CPUs and the kernel's BPF side for itself.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

// Whether the judges themselves are right: programs' clocks against perf and gdb, without the agent.
mod oracles;
