//! The kernel side of pprofd as a library: what crosses the border (`abi`), why a stack ended or a record was lost
//! (`reasons`), and the stack walk (`unwind`), which the BPF programs and host tests run alike.
//!
//! It does no I/O. The BPF programs themselves are in `src/bpf/` and exist only for the BPF target (`src/main.rs`).
#![no_std]
#![warn(missing_docs)]

pub mod abi;
pub mod reasons;
pub mod unwind;
