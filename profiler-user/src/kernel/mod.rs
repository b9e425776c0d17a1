//! (kernel: to be filled)
