//! The BPF programs: one file a probe or a part of one. Kernel 6.1 or later, x86-64.
//!
//! Idioms that the verifier asks for, and why (measured on 6.1, 6.12 and 6.18):
//! - parts are global functions with one scalar argument and their state in a per-CPU map: each is verified once, so
//!   paths add up instead of multiplying;
//! - searches are arithmetic without branches (`unwind::bits`);
//! - no slice index that could panic: raw pointers with masks.

mod copy;
mod file;
mod inventory;
mod kernel;
mod kernel_locks;
mod key_of;
mod log;
mod mapping;
mod maps;
mod new_thread;
mod process;
mod quota;
mod rate;
mod record;
mod sample;
mod state;
mod steps;
mod switch;
mod threads;
mod vma;
mod waits;
mod wake;

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
