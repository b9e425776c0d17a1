//! Bit tricks that the BPF verifier must not see through: one instruction of inline assembly each on BPF, plain Rust on
//! the host.
//!
//! LLVM turns compare-and-mask arithmetic into selects; BPF has no conditional move, so they become branches and fork
//! the verifier's state at every step of a search. It also drops masks that it can prove and the verifier cannot.

/// `x & M`, with the bound visible to the verifier on the very register that indexes.
#[inline(always)]
pub fn mask<const M: i32>(x: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut x = x;
        // SAFETY: one register-to-register instruction, no memory, no stack.
        unsafe {
            core::arch::asm!("{0} &= {1}", inout(reg) x, const M, options(pure, nomem, nostack, preserves_flags))
        };
        x
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        x & i64::from(M).cast_unsigned()
    }
}

/// All ones if `x` is negative, else 0.
#[inline(always)]
pub fn ones_if_negative(x: i64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut x = x;
        // SAFETY: one register-to-register instruction, no memory, no stack.
        unsafe { core::arch::asm!("{0} s>>= 63", inout(reg) x, options(pure, nomem, nostack, preserves_flags)) };
        x as u64
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        (x >> 63).cast_unsigned()
    }
}

/// 1 if `x` is negative, else 0. Not `ones_if_negative(x) & 1`: kernels from 6.12 on fork their state at an AND with a
/// constant of a value in -1..=0.
#[inline(always)]
pub fn one_if_negative(x: i64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut x = x;
        // SAFETY: one register-to-register instruction, no memory, no stack.
        unsafe { core::arch::asm!("{0} >>= 63", inout(reg) x, options(pure, nomem, nostack, preserves_flags)) };
        x as u64
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        x.cast_unsigned() >> 63
    }
}
