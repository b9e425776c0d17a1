//! The kernel side of pprofd as a library: what crosses the border (`abi`), why a stack ended or a record was lost
//! (`reasons`), what a timer's tick stands for (`pace`), and the stack walk (`unwind`), which the BPF programs and host tests
//! run alike.
//!
//! It does no I/O. The BPF programs themselves are in `src/bpf/` and exist only for the BPF target (`src/main.rs`).
#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![cfg_attr(
    target_arch = "bpf",
    allow(clippy::pedantic, reason = "the BPF build is checked by the verifier; casts there are deliberate")
)]
#![warn(missing_docs)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_lossless,
    clippy::inline_always,
    clippy::verbose_bit_mask,
    reason = "address arithmetic of the walk is modular by design, and BPF needs every part inlined"
)]

pub mod abi;
pub mod pace;
pub mod reasons;
pub mod unwind;

/// The BPF object, built by `cargo xtask ebpf build`. Aligned, because it is parsed in place.
#[cfg(not(target_arch = "bpf"))]
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../prebuilt/profiler.x86_64.bpf.o");
