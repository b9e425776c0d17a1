//! Host tests of the walk: the code that the BPF programs run, over a fake process. Here and not in `src/`, so that the
//! object does not become stale by a test.
#![allow(clippy::expect_used, clippy::cast_possible_truncation, reason = "small numbers of a test")]

/// `unwind::bits` against plain arithmetic.
mod bits;
/// The fake: memory, tables, and the loop that `bpf/steps.rs` runs.
mod fake;
/// Rows, memory and registers that a target or a damaged table may hold.
mod hostile;
/// A program that really calls, and so knows its stack.
mod machine;
/// `unwind::rule`: codes and rules say the same.
mod rule;
/// Single steps whose outcome is known.
mod step;
/// `unwind::table`: the search.
mod table;
/// Well-formed stacks are walked to their root.
mod walk;
/// `unwind::window`: only what was read.
mod window;
