//! End-to-end tests: the real agent, real programs, and truth from somewhere else. Run as root with `--test-threads=1`
//! (`cargo xtask test` does): each test has the host's CPUs and the kernel's BPF side for itself.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

// Who may ask by the Unix socket and by the network, and what he sees; the audit.
mod access;
// What the agent may take, and what one process may take of it.
mod budgets;
// The agent with few capabilities, and without each of them.
mod capabilities;
// What came out of public reports about other profilers; one test a case.
mod cases;
// The HTTP contract, by Go's clients and by the byte.
mod contract;
// The commands that ask an agent, or do without one.
mod commands;
// Stripped programs whose names are packed or elsewhere.
mod debug_files;
// Systemd, containers and pods: what `deploy/` holds.
mod deploy;
// What `pprofd doctor` says of this host and of poorer ones.
mod doctor;
// What goes wrong around the agent.
mod faults;
// Forms of files: compilers, linkers, debug information and places, in one table.
mod file_forms;
// Forms of programs: how they were built, linked, and what runs in them.
mod forms;
// Go programs.
mod go;
// Targets that want to harm.
mod hostile;
// The whole host: labels, kernel threads, lists, metrics.
mod host;
// Targets, and the agent, in namespaces of their own.
mod namespaces;
// Other kernels, in an emulator.
mod kernels;
// Programs that nobody has seen before.
mod late;
// Processes that begin, become something else, and end.
mod life;
// Threads as they stand.
mod threads;
// What created them.
mod threads_created;
// Whether the judges themselves are right: programs' clocks against perf and gdb, without the agent.
mod oracles;
// Profiles as input of the Go compiler.
mod pgo;
// Programs that people run: servers, compilers, packers, async runtimes.
mod programs;
// Limits of requests and answers, slow clients, and many of them.
mod limits;
// Files, names and stacks that other profilers stumble over.
mod reach;
// A server under load.
mod redis;
// Runtimes that interpret or make code: node, python3, java.
mod runtimes;
// Processes that live some milliseconds.
mod short;
// Programs whose debug information lies for a part in other files.
mod split_dwarf;
// Start and end of the agent: errors, exit codes, what is left behind.
mod startup;
// Shares, CPU time and complete stacks against the program's own clock, perf and gdb.
mod truth;
// Unwind rules beyond the common ones, each with a program that knows its stack.
mod unwinding;
mod waits;
