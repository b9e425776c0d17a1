//! (kernel: to be filled)

pub mod cpu_clock;
pub mod landlock;
pub mod readable;
